/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Throttle plan - when a guest is slowed, and by how much: docs/semantics.md section 3.
 *
 * The rule and its numbers are those of QEMU's auto-converge, so that a guest fares as it is used to:
 * a round after which more than half of what it could carry is dirty again counts, two of them in a
 * row are a step, the first step is 20 %, each further one 10 % more, and 99 % the last.
 *
 * Pure functions: what time it is and what the data plane has counted is told by the caller.
 */

#ifndef WH_THROTTLE_PLAN_H
#define WH_THROTTLE_PLAN_H

#include <stdbool.h>
#include <stdint.h>

#define WH_THROTTLE_MAX_PERCENT 99u

/* A plan of zeroed memory has seen nothing. */
struct wh_throttle_plan {
	uint64_t round;     /* the last that was judged */
	uint64_t judged_ns; /* when */
	unsigned high;      /* of those before it in a row, how many counted */
	unsigned percent;   /* of their time that the vCPUs are to lose */
};

/* What the data plane says. */
struct wh_throttle_sample {
	uint64_t round;     /* under way, from 1 */
	uint64_t dirty_bps; /* by the guest, in the round before */
	uint64_t rate_bps;  /* copied */
};

/* Take note of @sample. Return: whether it is time for another step, and @plan->percent says which. */
bool wh_throttle_plan_judge(struct wh_throttle_plan *plan, const struct wh_throttle_sample *sample,
                            uint64_t now_ns);

/* CPU time that a thread may have in each period. */
struct wh_throttle_quota {
	uint32_t quota_us;
	uint32_t period_us;
};

/*
 * @percent, at most WH_THROTTLE_MAX_PERCENT, off what a thread has: @have_per_mille of a CPU, 1 to
 * 1000, where a cgroup above it limits it already.
 */
struct wh_throttle_quota wh_throttle_quota(unsigned percent, unsigned have_per_mille);

#endif
