/* SPDX-License-Identifier: Apache-2.0 */

#include "loop.h"

#include <time.h>

#include "wherry/assert.h"

/* A timer may be for less than a millisecond: a guest may stand still until it fires. */
#define ACCURACY_US 1

static int on_ready(sd_event_source *source, int fd, uint32_t events, void *ctx)
{
	struct wh_watch *w = ctx;

	(void)source;
	(void)fd;
	w->ready(w->ctx, events); /* may end the life of @w */
	return 0;
}

int wh_watch_start(struct wh_watch *w, sd_event *loop, int fd, uint32_t events)
{
	wh_watch_stop(w);
	return sd_event_add_io(loop, &w->source, fd, events, on_ready, w);
}

void wh_watch_change(struct wh_watch *w, uint32_t events)
{
	wh_assert(w->source);
	wh_assert(sd_event_source_set_io_events(w->source, events) >= 0);
}

void wh_watch_stop(struct wh_watch *w)
{
	w->source = sd_event_source_disable_unref(w->source);
}

static int on_fired(sd_event_source *source, uint64_t usec, void *ctx)
{
	struct wh_timer *t = ctx;

	(void)source;
	(void)usec;
	wh_timer_stop(t);
	t->fired(t->ctx); /* may end the life of @t */
	return 0;
}

void wh_timer_start(struct wh_timer *t, sd_event *loop, uint64_t after_ns)
{
	wh_timer_stop(t);
	wh_assert(sd_event_add_time_relative(loop, &t->source, CLOCK_MONOTONIC, after_ns / 1000,
	                                     ACCURACY_US, on_fired, t) >= 0);
}

void wh_timer_stop(struct wh_timer *t)
{
	t->source = sd_event_source_disable_unref(t->source);
}
