/* SPDX-License-Identifier: Apache-2.0 */

#include "waits.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define PARTS_SHIFT 4u

uint32_t waits_bucket(uint64_t ns)
{
	uint32_t octave;

	if (ns < WAITS_PARTS)
		return (uint32_t)ns;
	octave = 63u - PARTS_SHIFT - (uint32_t)__builtin_clzll(ns);
	return octave * WAITS_PARTS + (uint32_t)(ns >> octave);
}

uint64_t waits_above(uint32_t bucket)
{
	const uint32_t next = bucket + 1;

	if (next < 2 * WAITS_PARTS)
		return next;
	return (uint64_t)(next % WAITS_PARTS + WAITS_PARTS) << (next / WAITS_PARTS - 1);
}

void waits_begin(struct waits *w, uint64_t now_ns)
{
	w->last_ns = now_ns;
}

void waits_note(struct waits *w, uint64_t now_ns)
{
	struct waits_pass *pass = &w->passes[w->passed % 2];
	const uint64_t ns = now_ns - w->last_ns;

	w->last_ns = now_ns;
	pass->counts[waits_bucket(ns)]++;
	pass->accesses++;
	if (ns > pass->worst_ns)
		pass->worst_ns = ns;
	if (ns >= WAITS_STALL_NS)
		pass->stalled_ns += ns;
}

static uint64_t in_bucket(const struct waits *w, uint32_t bucket)
{
	return w->passes[0].counts[bucket] + w->passes[1].counts[bucket];
}

static uint64_t accesses_of(const struct waits *w)
{
	return w->passes[0].accesses + w->passes[1].accesses;
}

uint64_t waits_all_but_ns(const struct waits *w, uint64_t share)
{
	const uint64_t some = accesses_of(w) / share;
	uint64_t above = 0;
	uint32_t bucket = WAITS_BUCKETS;

	while (bucket > 0 && above <= some)
		above += in_bucket(w, --bucket);
	return waits_above(bucket);
}

static void print_powers(const struct waits *w)
{
	uint64_t count = 0;

	for (uint32_t bucket = 0; bucket < WAITS_BUCKETS; bucket++) {
		const uint64_t above = waits_above(bucket);

		count += in_bucket(w, bucket);
		if (count == 0 || (above & (above - 1)) != 0)
			continue;
		printf(" %" PRIu64 ":%" PRIu64, above, count);
		count = 0;
	}
	printf("\n");
}

void waits_print(const struct waits *w)
{
	const struct waits_pass *a = &w->passes[0], *b = &w->passes[1];

	printf("memguest: waits pass=%" PRIu64 " accesses=%" PRIu64 " worst_ns=%" PRIu64
	       " p99_ns=%" PRIu64 " p999_ns=%" PRIu64 " stalled_ns=%" PRIu64 " below_ns",
	       w->passed + 1, accesses_of(w), a->worst_ns > b->worst_ns ? a->worst_ns : b->worst_ns,
	       waits_all_but_ns(w, 100), waits_all_but_ns(w, 1000), a->stalled_ns + b->stalled_ns);
	print_powers(w);
}

void waits_end_pass(struct waits *w)
{
	w->passed++;
	memset(&w->passes[w->passed % 2], 0, sizeof(w->passes[0]));
}
