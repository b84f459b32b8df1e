/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Events - the last things that wherryd has logged, for whoever asks by the API.
 *
 * Every line of the log at level info or worse is an event, with the same fields; each has a
 * number, one more than the one before. The oldest make room for new ones: WH_EVENTS_MAX of
 * WH_EVENTS_BYTES_MAX together are kept.
 *
 * Threads: one.
 */

#ifndef WH_EVENTS_H
#define WH_EVENTS_H

#include <stdint.h>

#include "json.h"

#include "wherry/cleanup.h"
#include "wherry/log.h"

struct wh_events;

/* Never NULL. The first event will be number 1. */
struct wh_events *wh_events_new(void);

/* Accepts NULL, returns NULL. */
struct wh_events *wh_events_free(struct wh_events *events);

/* A tap of the log: @events is a struct wh_events, the event is copied. */
void wh_events_add(void *events, const struct wh_log_event *event);

/*
 * Put into @answer what came after the event of number @after:
 *
 *	events	a list, oldest first, each with "number", "node" (@node), "time", "ms", "level",
 *		"event" and "fields"
 *	last	number to ask with the next time
 *	missed	how many came after @after and are no longer kept
 *
 * A number that has not been given yet is of an earlier wherryd, and means 0.
 */
void wh_events_after(const struct wh_events *events, uint64_t after, const char *node,
                     json_t *answer);

WH_DEFINE_CLEANUP(struct wh_events, wh_events_free)

#endif
