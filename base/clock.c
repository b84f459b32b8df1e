/* SPDX-License-Identifier: Apache-2.0 */

#include "wherry/clock.h"

#include <time.h>

#include "wherry/assert.h"

static uint64_t monotonic_ns(const struct wh_clock *clock)
{
	struct timespec ts;

	(void)clock;
	wh_assert(clock_gettime(CLOCK_MONOTONIC, &ts) == 0);
	return (uint64_t)ts.tv_sec * WH_NSEC_PER_SEC + (uint64_t)ts.tv_nsec;
}

const struct wh_clock wh_clock_monotonic = { .now_ns = monotonic_ns };
