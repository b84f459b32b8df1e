/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Target - the side of a migration where the guest will run.
 *
 * It only reacts: page contents are placed by the transport, and a frame is one step. In post-copy
 * (postcopy_target.h) a thread of its own serves the guest's faults.
 *
 * Threads: all calls from one.
 */

#ifndef WH_TARGET_H
#define WH_TARGET_H

#include <stdbool.h>
#include <stdint.h>

#include "fault.h"
#include "missing.h"
#include "ram.h"
#include "wire.h"

#include "wherry/clock.h"
#include "wherry/error.h"
#include "wherry/stats.h"
#include "wherry/transport.h"

/* A region that post-copy places pages of. */
struct wh_target_region {
	struct wh_target *target;
	uint64_t first_page;
};

/* All pointers but @fault are borrowed. Starts zeroed but for them and what says so. */
struct wh_target {
	const struct wh_ram *ram;
	struct wh_transport *link;
	const struct wh_clock *clock;
	struct wh_stats *stats;

	/* For post-copy; NULL without it. The caller sets these. */
	struct wh_missing *missing;
	bool resume; /* it goes on: @missing has what is owed, and RESUME is what the source says */

	/* Have the hypervisor forget what it maps of memory that is kept, while there is time. NULL: no. */
	void (*loosen)(struct wh_target *target);

	/* Have the hypervisor wait where a page is missing. Return: 0 or -errno. */
	int (*attach)(struct wh_target *target, struct wh_fill **fill, struct wh_error *err);

	/* Nothing is missing: let it go, while faults are still served. Return: 0 or -errno. */
	int (*detach)(struct wh_target *target, struct wh_error *err);
	void *context;      /* for the callbacks */
	bool fault_by_hand; /* for tests, which have no threads: they make the steps of @fault */

	struct wh_fault *fault; /* owned; while it is post-copy */
	struct wh_rdma_reads
		*reads; /* owned; from when it is known to become that, if there is RDMA */
	struct wh_target_region regions[WH_REGIONS_MAX];
	bool switched;       /* post-copy began, and the caller was not told yet */
	bool ending;         /* the source has sent all */
	uint64_t give_up_ns; /* then: what is not here by then does not come */

	uint16_t agreed; /* regions that both sides have */
	struct wh_region_ids ids;
	uint32_t round; /* the last one that ended */
};

enum wh_target_step {
	WH_TARGET_MORE,     /* call again */
	WH_TARGET_SWITCHED, /* the guest may run here, in post-copy; said once, call again */
	WH_TARGET_LANDED,   /* every byte is here, the source knows; call again until CLOSED */
	WH_TARGET_CLOSED,   /* the source said goodbye after that */
};

/**
 * wh_target_step() - Take what the link has, or wait for it
 * @deadline_ns: CLOCK_MONOTONIC; a time already past means "do not wait"
 *
 * Return: enum wh_target_step, or -errno: the migration is over and the memory is of no use, but
 * for post-copy, which can be resumed.
 */
wh_must_check int wh_target_step(struct wh_target *target, uint64_t deadline_ns,
                                 struct wh_error *err);

/* Take memory back from the link, and end the thread that serves faults, if there is one. */
void wh_target_done(struct wh_target *target);

/* The region that the source calls @id, or NULL. */
const struct wh_region *wh_target_region(const struct wh_target *target, uint16_t id);

/* The guest will run on this memory: nothing is written to it any more. */
void wh_target_seal(struct wh_target *target);

/* Send a frame. Return: 0 or -errno. */
wh_must_check int wh_target_send(struct wh_target *target, const struct wh_frame *frame);

#endif
