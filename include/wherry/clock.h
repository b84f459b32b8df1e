/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WH_CLOCK_H
#define WH_CLOCK_H

#include <stdint.h>

#define WH_NSEC_PER_SEC  UINT64_C(1000000000)
#define WH_NSEC_PER_MSEC UINT64_C(1000000)

/* Time, as something a test can hold still. */
struct wh_clock {
	uint64_t (*now_ns)(const struct wh_clock *clock); /* CLOCK_MONOTONIC */
};

/* The real one. */
extern const struct wh_clock wh_clock_monotonic;

static inline uint64_t wh_now_ns(const struct wh_clock *clock)
{
	return clock->now_ns(clock);
}

#endif
