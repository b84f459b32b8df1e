/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Beat - a count that the guest advances all the time, for somebody who reads its memory from outside.
 *
 * While a guest stands still its clock does, too: no program in it can tell for how long. The machine
 * below can, where the guest's RAM is a file.
 */

#ifndef WH_GUEST_BEAT_H
#define WH_GUEST_BEAT_H

#include <stdint.h>

/* What the guest sleeps between two; waking up takes it some time on top. */
#define BEAT_NS 250000u

/* Any numbers that nobody else has at the beginning of a page. */
#define BEAT_MARK_0 UINT64_C(0x8f3bd17a5ce2946d)
#define BEAT_MARK_1 UINT64_C(0xc7409e5be81326fa)

/* The beginning of a page that holds nothing else. */
struct beat {
	uint64_t mark[2];
	uint64_t count;
	uint64_t
		inverse; /* of the count; written after it: if they differ, one of the two is older */
};

/* Begin to beat, in a process of its own with real-time priority. */
void beat_start(void);

#endif
