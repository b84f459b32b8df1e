/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Cursor - which page is next, and when.
 *
 * A cursor moves over a guest's pages in an order that is one of a few, at a given pace. Its users
 * pass the time in and visit CURSOR_BATCH pages whenever it is due.
 *
 *	seq	one after the other, and again from the first
 *	random	the same, each page once in a pass, but scattered: whoever moves the guest meets
 *		no two of them side by side
 *	zipf	some often and most rarely: nearly in proportion to 1 / rank, and scattered as well
 *
 * Threads: a cursor belongs to one.
 */

#ifndef WH_GUEST_CURSOR_H
#define WH_GUEST_CURSOR_H

#include <stdbool.h>
#include <stdint.h>

#define CURSOR_BATCH 16u /* pages between two looks at the clock: below 1 ms */

enum pattern {
	PATTERN_SEQ,
	PATTERN_RANDOM,
	PATTERN_ZIPF,
	PATTERN_COUNT,
};

extern const char *const pattern_names[PATTERN_COUNT];

struct cursor {
	uint64_t interval_ns; /* of one batch; 0 is as fast as possible */
	uint64_t next_ns;
	uint64_t random;
	enum pattern pattern;
	uint32_t count; /* of pages to visit */
	uint32_t stride;
	uint32_t at;
};

/* Over @count pages, at least 1; @rate_mib MiB each second, 0 is as fast as possible. */
struct cursor cursor_make(uint32_t count, uint32_t rate_mib, enum pattern pattern);

/* Whether a batch is due at @now_ns; it counts as visited then. */
bool cursor_due(struct cursor *c, uint64_t now_ns);

/* The next page. */
uint32_t cursor_step(struct cursor *c);

#endif
