/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Target - the side of a migration where the guest will run.
 *
 * It only reacts: page contents are placed by the transport, and a frame is one step.
 *
 * Threads: all calls from one.
 */

#ifndef WH_TARGET_H
#define WH_TARGET_H

#include <stdbool.h>
#include <stdint.h>

#include "ram.h"

#include "wherry/clock.h"
#include "wherry/error.h"
#include "wherry/stats.h"
#include "wherry/transport.h"

/* All pointers are borrowed. Starts zeroed but for them. */
struct wh_target {
	const struct wh_ram *ram;
	struct wh_transport *link;
	const struct wh_clock *clock;
	struct wh_stats *stats;

	uint16_t agreed;               /* regions that both sides have */
	int32_t local[WH_REGIONS_MAX]; /* the peer's region id -> ours + 1, 0 if unknown */
	uint32_t round;                /* the last one that ended */
};

enum wh_target_step {
	WH_TARGET_MORE,   /* call again */
	WH_TARGET_LANDED, /* every byte is here, the source knows; call again until CLOSED */
	WH_TARGET_CLOSED, /* the source said goodbye after that */
};

/**
 * wh_target_step() - Take what the link has, or wait for it
 * @deadline_ns: CLOCK_MONOTONIC; a time already past means "do not wait"
 *
 * Return: enum wh_target_step, or -errno: the migration is over and the memory is of no use.
 */
wh_must_check int wh_target_step(struct wh_target *target, uint64_t deadline_ns,
                                 struct wh_error *err);

#endif
