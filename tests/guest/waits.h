/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Waits - how long a program's accesses to its pages take, as the program itself sees it.
 *
 * What counts as one access is the time since the one before it ended: so nothing that holds the program
 * up is left out, wherever in the guest it happened. A pass is once through all of its memory.
 *
 * While the guest is stopped, its clock is as well: a hand-over is not in here, but all that comes
 * after it is.
 *
 * Threads: it belongs to one.
 */

#ifndef WH_GUEST_WAITS_H
#define WH_GUEST_WAITS_H

#include <stdint.h>

/* Each power of two of nanoseconds is divided into so many buckets: what they tell is at most 1/16 too much. */
#define WAITS_PARTS   16u
#define WAITS_BUCKETS (61u * WAITS_PARTS)

/* A page that is there takes one microsecond or two. What takes this long was held up. */
#define WAITS_STALL_NS 16384u

struct waits_pass {
	uint64_t counts[WAITS_BUCKETS];
	uint64_t accesses;
	uint64_t worst_ns;
	uint64_t stalled_ns; /* of those that were held up */
};

struct waits {
	struct waits_pass passes[2]; /* the last one and the current one, in turns */
	uint64_t passed;             /* passes that have ended */
	uint64_t last_ns;            /* the end of the last access */
};

/* The next access begins now. */
void waits_begin(struct waits *w, uint64_t now_ns);

/* An access has ended now, and the next one begins. */
void waits_note(struct waits *w, uint64_t now_ns);

/*
 * Print, of the current pass and the one before it together:
 *
 *	memguest: waits pass=7 accesses=524288 worst_ns=9731 p99_ns=1088 p999_ns=2048 stalled_ns=0 below_ns 1024:9 ...
 *
 * Each pair at the end is a power of two, and how many accesses took less than that, but not less than half.
 */
void waits_print(const struct waits *w);

/* The current pass is over. */
void waits_end_pass(struct waits *w);

/* In the current pass and the one before it: what all accesses but one in @share took less than. */
uint64_t waits_all_but_ns(const struct waits *w, uint64_t share);

/* The bucket of a time, and the least time above all of a bucket. */
uint32_t waits_bucket(uint64_t ns);
uint64_t waits_above(uint32_t bucket);

#endif
