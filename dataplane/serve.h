/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Serve - the source's end of a guest's wait for a page: takes a FETCH, answers it.
 *
 * Every FETCH is answered, also for a page that was pushed: that may be in a queue for long. Where there is
 * RDMA, the destination reads most pages itself, and says that it has them (rdma_lend.h).
 *
 * Threads: step and new are for one; start makes one for the steps. The others' are any.
 */

#ifndef WH_SERVE_H
#define WH_SERVE_H

#include <stdint.h>

#include "push.h"
#include "ram.h"
#include "rdma_lend.h"

#include "wherry/cleanup.h"
#include "wherry/clock.h"
#include "wherry/stats.h"

/* All borrowed. */
struct wh_serve_config {
	const struct wh_ram *ram; /* mapped */
	struct wh_push *push;
	struct wh_stats *stats;
	struct wh_rdma_lend *lend; /* or NULL: nothing is read by RDMA */
	const struct wh_clock *clock;
	uint32_t granule; /* pages that the destination fills as one */
	int urgent;       /* the urgent connection */
};

struct wh_serve;

/* Return: NULL if out of memory. */
struct wh_serve *wh_serve_new(const struct wh_serve_config *cfg);

/* Take what there is, or wait for it, no longer than @timeout_ms. Return: 0 or -errno. */
wh_must_check int wh_serve_step(struct wh_serve *serve, int timeout_ms);

/* Have a thread do that until it fails or is stopped; all others of this process yield to guests.
 * Return: 0 or -errno. */
wh_must_check int wh_serve_start(struct wh_serve *serve);

/* Why the steps ended, a negative errno; 0 while they go on. */
int wh_serve_error(const struct wh_serve *serve);

/* Handed to the network, but for what was read by RDMA. */
uint64_t wh_serve_sent_bytes(const struct wh_serve *serve);

/* End the thread, if there is one. Accepts NULL, returns NULL. */
struct wh_serve *wh_serve_free(struct wh_serve *serve);

#endif
