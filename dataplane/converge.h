/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Converge - when precopy has done enough. Pure functions: no clock, no state of their own.
 */

#ifndef WH_CONVERGE_H
#define WH_CONVERGE_H

#include <stdbool.h>
#include <stdint.h>

#include "wherry/clock.h"

/* The transfer rate as a running mean over about the last second of sending. Starts zeroed. */
struct wh_rate_mean {
	uint64_t bytes;
	uint64_t ns;
};

void wh_rate_mean_add(struct wh_rate_mean *mean, uint64_t bytes, uint64_t ns);

/* Bytes per second, 0 if nothing was sent yet. */
uint64_t wh_rate_mean_bps(const struct wh_rate_mean *mean);

/* Bytes per second, saturating; 0 if @ns is 0. */
uint64_t wh_bytes_per_s(uint64_t bytes, uint64_t ns);

/*
 * Whether what is left can be sent within the downtime target: @left_bytes at @rate_bps takes at
 * most @target_ns. Nothing left always can; without a rate, anything left can not.
 */
bool wh_converged(uint64_t left_bytes, uint64_t rate_bps, uint64_t target_ns);

/* The scan and the answer of a round take as long as this: with less to send, not much is won. */
#define WH_ROUND_WORTH_NS (2 * WH_NSEC_PER_MSEC)

/*
 * Whether another round would shorten the downtime of what converged: the round that began with
 * @before_bytes left at most half of that, so the next one should, too, and @left_bytes at
 * @rate_bps takes longer than @worth_ns.
 */
bool wh_round_helps(uint64_t before_bytes, uint64_t left_bytes, uint64_t rate_bps,
                    uint64_t worth_ns);

/*
 * Whether another round shortens the downtime at little cost. What the guest writes meanwhile is what
 * the migration becomes longer by, and the downtime becomes shorter by the rest of what is sent. Cheap is
 * three of that for one of this: the guest dirties at most a quarter of what is sent.
 */
bool wh_round_is_cheap(uint64_t dirty_bps, uint64_t rate_bps);

#endif
