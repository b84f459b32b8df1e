/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Loop - what wherryd needs of sd-event, with its own units and types.
 *
 * A watch or a timer lives inside its owner. Zeroed memory is a stopped one; stopping twice is
 * right. The callback may stop or restart its own watch or timer.
 *
 * Threads: the loop's own.
 */

#ifndef WH_LOOP_H
#define WH_LOOP_H

#include <stdint.h>

#include <systemd/sd-event.h>

#include "wherry/cleanup.h"

struct wh_watch {
	sd_event_source *source;
	void (*ready)(void *ctx, uint32_t events); /* EPOLLIN, EPOLLOUT, EPOLLHUP, EPOLLERR */
	void *ctx;
};

struct wh_timer {
	sd_event_source *source;
	void (*fired)(void *ctx);
	void *ctx;
};

/* Call @w->ready whenever @fd (borrowed) has one of @events. Return: 0 or -errno. */
wh_must_check int wh_watch_start(struct wh_watch *w, sd_event *loop, int fd, uint32_t events);
/* Wait for other events; 0 pauses. The watch must have been started. */
void wh_watch_change(struct wh_watch *w, uint32_t events);
void wh_watch_stop(struct wh_watch *w);

/*
 * Call @t->fired once, @after_ns from now; a running timer starts again. A process that has no
 * memory for a timer ends here: its journal knows what it was doing.
 */
void wh_timer_start(struct wh_timer *t, sd_event *loop, uint64_t after_ns);
void wh_timer_stop(struct wh_timer *t);

#endif
