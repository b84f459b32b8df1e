/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WH_PRECOPY_H
#define WH_PRECOPY_H

#include <stdbool.h>
#include <stdint.h>

#include "copies.h"
#include "crew.h"
#include "dirty.h"
#include "look.h"
#include "pageset.h"
#include "ram.h"
#include "wire.h"

#include "wherry/clock.h"
#include "wherry/stats.h"
#include "wherry/transport.h"

struct wh_echo;

/* Where pages are mostly zero, so many are taken at once: then a crew is worth waking. */
#define WH_ZERO_RUN_PAGES  (32u * WH_RUN_PAGES_MAX)
#define WH_ZERO_RUN_BLOCKS (WH_ZERO_RUN_PAGES / WH_LOOK_PAGES + 1)

/* All pointers are borrowed from the session. Starts zeroed but for them. */
struct wh_precopy {
	struct wh_transport *link;
	const struct wh_ram *ram;
	struct wh_dirty *dirty;
	const struct wh_clock *clock;
	struct wh_stats *stats;
	struct wh_copies *copies;   /* NULL where all pages are small */
	struct wh_crew *crew;       /* looks for zero pages where there are many; or NULL */
	struct wh_look *looks;      /* one for each of the crew but the first */
	struct wh_pageset *pending; /* pages to send; the caller fills it between rounds */
	struct wh_pageset *gone; /* given back once, and not sent since; as large, starts empty */
	struct wh_echo *echo;    /* the caller's: what is to be sent again; or NULL */
	uint64_t owed_pages;     /* of it, what is not pending yet */
	uint64_t dirty_bps;      /* what the guest dirtied last, for the estimate of what is left */

	/* Asked often, or NULL. Return: 0; 1: end this round early; -errno: give up. */
	int (*look)(void *context);
	void *context;
	uint64_t
		backlog_ns; /* post no more than leaves within this; 0: as much as the link takes */
	bool find_touched;  /* set by the caller: the next round looks for what was ever touched */
	bool postcopy;      /* set by the caller: the peer has no older version of what is sent */

	uint32_t round;        /* number of the current round, from 1 */
	bool landed;           /* the destination has confirmed it */
	uint64_t start_ns;     /* of the round */
	uint64_t left_pages;   /* of the round: not looked at yet, or posted and still here */
	uint64_t ahead_pages;  /* of it: not looked for yet, an estimate */
	uint64_t look_at_ns;   /* the time to look again */
	bool ends_early;       /* the last look said so */
	bool awaits_switched;  /* the destination has still to answer SWITCH */
	uint64_t rate_bps;     /* measured last */
	uint64_t urgent_bytes; /* handed to the network beside the link */
	uint32_t in_flight;    /* writes posted and not yet written */
	uint64_t in_flight_pages;
	uint64_t data_pages;    /* of the round: sent as data */
	uint64_t same_pages;    /* of the round: left out, the destination has them */
	uint64_t written_pages; /* of them, those that have left */
	uint32_t runs;          /* since memory was mapped anew */
	struct wh_look sample;  /* finds what is zero */
	bool mostly_zero;       /* the run before */
	bool has_gone;          /* @gone is not empty, or was not once */
	struct wh_run looked_at;
	bool any_gone;                      /* some pages may be given back, of it, too */
	uint32_t found[WH_ZERO_RUN_BLOCKS]; /* what is zero of it, by block */
	struct wh_frame zero;               /* runs of zero pages found and not yet told */
};

struct wh_round {
	uint64_t data_pages; /* sent as data; zero pages do not count */
	uint64_t same_pages; /* left out, because the destination has them */
	uint64_t duration_ns;
};

/**
 * wh_precopy_round() - Send every pending page, and wait until all have landed
 *
 * If it is to end early, what was not sent stays pending.
 *
 * @last:	the guest stands still, and no round will follow
 * @ret:	receives what the round moved; untouched on failure
 *
 * Return: 0 once the destination has every page, or a negative errno. After a failure the session
 * is over: pages may have left that are no longer pending.
 */
int wh_precopy_round(struct wh_precopy *p, bool last, struct wh_round *ret);

/* The parts of a round, for post-copy, which chooses what to send next by itself. */

void wh_precopy_begin_round(struct wh_precopy *p);

/* Send @run, which is no longer pending. Return: 0, 1 if the round is to end, or -errno. */
wh_must_check int wh_precopy_send_run(struct wh_precopy *p, struct wh_run run);

/* The same for a run in one region whose contents are sent as they are, zero or not. */
wh_must_check int wh_precopy_send_data(struct wh_precopy *p, struct wh_run run);

/*
 * Wait until @until_ns, between rounds; less long if the next round is to end early.
 * Return: 0 or -errno.
 */
wh_must_check int wh_precopy_wait(struct wh_precopy *p, uint64_t until_ns);

/* Wait until all has landed. Return: 0 or -errno. */
wh_must_check int wh_precopy_end_round(struct wh_precopy *p, bool last);

/* Send a frame; between rounds. Return: 0 or -errno. */
wh_must_check int wh_precopy_send_frame(struct wh_precopy *p, const struct wh_frame *frame);

/* Wait until the peer has acted on all frames that it was sent; between rounds. Return: 0 or -errno. */
wh_must_check int wh_precopy_settle(struct wh_precopy *p);

/* Say SWITCH and wait for the answer. Return: 0 or -errno. */
wh_must_check int wh_precopy_switch(struct wh_precopy *p);

#endif
