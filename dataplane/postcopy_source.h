/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Post-copy, the source's side - the guest runs at the destination before its memory is there.
 *
 *	announce	while the guest still runs here: these pages the destination lacks
 *	switch over	it stands still: and these; from here on it may run there
 *	finish		send them: the ones it waits for at once, all others behind them
 *
 * Threads: the session's, and one of its own in finish.
 */

#ifndef WH_POSTCOPY_SOURCE_H
#define WH_POSTCOPY_SOURCE_H

#include <stdint.h>

#include "precopy.h"

#include "wherry/cleanup.h"
#include "wherry/error.h"

struct wh_serve;

/* All pointers are borrowed. Starts zeroed but for them and the granules. */
struct wh_postcopy_source {
	struct wh_precopy *precopy; /* with its link, memory and pending pages */
	struct wh_pageset *hot;     /* pages written to last */
	uint32_t missing_granule;   /* pages; as the destination's READY said */
	uint32_t fill_granule;

	/* For tests, which have no threads: act on what the guest waits for. Else NULL. */
	void (*serve_by)(void *context, struct wh_serve *serve);
	void *context;
};

/*
 * Tell the destination that it lacks all of @pages, which are rounded out to what it can lack.
 * Between rounds. Return: 0 or -errno.
 */
wh_must_check int wh_postcopy_announce(struct wh_postcopy_source *postcopy,
                                       struct wh_pageset *pages);

/*
 * Send all that is pending. Return: 0 when the destination has every byte, or -errno: what it has
 * it keeps, and post-copy can be resumed.
 */
wh_must_check int wh_postcopy_finish(struct wh_postcopy_source *postcopy, struct wh_error *err);

#endif
