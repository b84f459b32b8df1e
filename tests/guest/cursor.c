/* SPDX-License-Identifier: Apache-2.0 */

#include "cursor.h"

#include "pages.h"

#define NS_PER_S      1000000000ull
#define CATCH_UP_NS   (NS_PER_S / 20)
#define PAGES_PER_MIB (1024 * 1024 / PAGE_BYTES)

/* What scatters pages: a prime above any count of them, so that it visits each. */
#define SCATTER 2654435761u

const char *const pattern_names[PATTERN_COUNT] = {
	[PATTERN_SEQ] = "seq",
	[PATTERN_RANDOM] = "random",
	[PATTERN_ZIPF] = "zipf",
};

struct cursor cursor_make(uint32_t count, uint32_t rate_mib, enum pattern pattern)
{
	struct cursor c = { .pattern = pattern, .count = count, .random = SCATTER };

	c.stride = pattern == PATTERN_SEQ ? 1 : SCATTER % count;
	if (c.stride == 0)
		c.stride = 1;
	if (rate_mib > 0)
		c.interval_ns = NS_PER_S * CURSOR_BATCH / ((uint64_t)rate_mib * PAGES_PER_MIB);
	return c;
}

/* A guest that stood still makes up for a moment of it, not for all: that would be a burst. */
bool cursor_due(struct cursor *c, uint64_t now_ns)
{
	if (now_ns < c->next_ns)
		return false;
	if (c->next_ns + CATCH_UP_NS < now_ns)
		c->next_ns = now_ns - CATCH_UP_NS;
	c->next_ns += c->interval_ns;
	return true;
}

/*
 * Ranks from 2^k on, up to twice as much, are as likely together for each k: a 1 / rank in steps,
 * and no logarithm to take.
 */
static uint32_t zipf_rank(struct cursor *c)
{
	const uint32_t octaves = 32u - (uint32_t)__builtin_clz(c->count);
	uint32_t first;

	c->random = c->random * UINT64_C(6364136223846793005) + 1442695040888963407u;
	first = 1u << (c->random >> 33) % octaves;
	/* The highest octave may reach beyond the last page. */
	return (first - 1 + (uint32_t)(c->random >> 11) % first) % c->count;
}

uint32_t cursor_step(struct cursor *c)
{
	if (c->pattern == PATTERN_ZIPF)
		return (uint32_t)((uint64_t)zipf_rank(c) * c->stride % c->count);
	c->at = (uint32_t)(((uint64_t)c->at + c->stride) % c->count);
	return c->at;
}
