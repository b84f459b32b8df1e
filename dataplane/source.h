/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Source - the side of a migration where the guest runs.
 *
 * Threads: all calls from one.
 */

#ifndef WH_SOURCE_H
#define WH_SOURCE_H

#include <stdbool.h>
#include <stdint.h>

#include "copies.h"
#include "dirty.h"
#include "postcopy_source.h"
#include "ram.h"

#include "wherry/clock.h"
#include "wherry/error.h"
#include "wherry/stats.h"
#include "wherry/transport.h"
#include "wherry/worker.h"

enum {
	WH_SOURCE_AGAIN = 1,
};

/* All pointers are borrowed. */
struct wh_source {
	const struct wh_ram *ram; /* mapped */
	struct wh_transport *link;
	const struct wh_clock *clock;
	struct wh_stats *stats;
	uint64_t downtime_target_ns;
	struct wh_copies *copies; /* until @link is closed; NULL where all pages are small */

	/*
	 * The guest's longest read with O_DIRECT takes less than this, from the moment that the tracker sees
	 * its pages written. 0: it has no such disks. See echo.h.
	 */
	uint64_t echo_ns;

	/* Begin to track the guest; sets @dirty, and may set @crew. Return: 0 or -errno. */
	int (*track)(struct wh_source *source, struct wh_error *err);
	struct wh_dirty *dirty;
	struct wh_crew *crew; /* looks for zero pages; or NULL */

	/* Ask for the guest to be stopped; it goes on for a moment. Return: 0 or -errno. */
	int (*converged)(struct wh_source *source, struct wh_error *err);

	/*
	 * Wait until the guest stands still. Return: 0; WH_SOURCE_AGAIN: it runs, send what it has
	 * written and ask again; or -errno.
	 */
	int (*stop_guest)(struct wh_source *source, struct wh_error *err);

	/*
	 * Not NULL: the rounds do not end before they are to, and this is called when they could have ended
	 * for the first time. Return: 0 or -errno.
	 */
	int (*lingers)(struct wh_source *source);
	bool is_near; /* it was called */

	/* Whether the rounds are to end, asked often: enum wh_switch_mode, or -errno; or NULL. */
	int (*switch_mode)(struct wh_source *source);

	/* The destination's READY says that post-copy cannot be: a switch to it has no effect. */
	void (*no_postcopy)(struct wh_source *source);

	/* The guest may run at the destination, which lacks pages. Return: 0 or -errno. */
	int (*switched)(struct wh_source *source, struct wh_error *err);

	/* As in struct wh_postcopy_source. */
	void (*serve_by)(void *context, struct wh_serve *serve);
	void *context; /* for the callbacks */

	bool resume;           /* post-copy goes on: nothing is tracked, nobody is stopped */
	bool became_postcopy;  /* set when that is so */
	int mode;              /* what switch_mode() said */
	uint64_t rate_bps;     /* of the rounds so far */
	uint8_t missing_order; /* of the destination's READY */
	uint8_t fill_order;
};

/**
 * wh_source_run() - Move the guest's memory
 *
 * Return: 0 when the destination has every byte and the guest stands still here; or -errno, and the
 * guest is where it was. Once switched() was called, that may be at the destination, and post-copy
 * can be resumed.
 */
wh_must_check int wh_source_run(struct wh_source *source, struct wh_error *err);

#endif
