/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Fault - the destination's end of a guest's wait for a page.
 *
 *	fault -> is the page owed?  yes: read it by RDMA (rdma_reads.h), or else FETCH it,
 *	                                 and what is behind it (walk.h)
 *	                                 -> place what comes, wake
 *	                            no:  it is zero
 *
 * Threads: step and new are for one; start makes one for the steps. The others' are any.
 */

#ifndef WH_FAULT_H
#define WH_FAULT_H

#include <stdint.h>

#include "missing.h"
#include "ram.h"
#include "rdma_reads.h"

#include "wherry/cleanup.h"
#include "wherry/clock.h"
#include "wherry/limits.h"
#include "wherry/stats.h"

/* How the two sides call the same regions. */
struct wh_region_ids {
	int32_t local[WH_REGIONS_MAX]; /* the peer's id -> ours + 1, 0 if unknown */
	uint16_t peer[WH_REGIONS_MAX]; /* ours -> the peer's */
};

/* All borrowed. */
struct wh_fault_config {
	struct wh_missing *missing; /* with its fill */
	const struct wh_ram *ram;
	const struct wh_region_ids *ids;
	const struct wh_clock *clock;
	struct wh_stats *stats;
	struct wh_rdma_reads *reads; /* or NULL: every page is fetched */
	int urgent;                  /* the urgent connection */
};

struct wh_fault;

/* Return: NULL if out of memory. */
struct wh_fault *wh_fault_new(const struct wh_fault_config *cfg);

/* Take what there is, or wait for it, no longer than @timeout_ms. Return: 0 or -errno. */
wh_must_check int wh_fault_step(struct wh_fault *fault, int timeout_ms);

/* Have a thread do that until it fails or is stopped; all others of this process yield to guests.
 * Return: 0 or -errno. */
wh_must_check int wh_fault_start(struct wh_fault *fault);

/* Why the steps ended, a negative errno; 0 while they go on. */
int wh_fault_error(const struct wh_fault *fault);

/* End the thread, if there is one. Accepts NULL, returns NULL. */
struct wh_fault *wh_fault_free(struct wh_fault *fault);

#endif
