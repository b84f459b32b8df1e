/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Push - in which order post-copy sends what nobody has asked for yet.
 *
 *	behind the latest fault, in a window that widens while the guest walks on in it
 *	pages that the guest wrote to shortly before it stopped
 *	everything else, from the first page on
 *
 * Threads: one takes runs, another one serves faults.
 */

#ifndef WH_PUSH_H
#define WH_PUSH_H

#include <pthread.h>
#include <stdint.h>

#include "pageset.h"

#include "wherry/cleanup.h"

struct wh_push {
	pthread_mutex_t lock;       /* guards all of it */
	struct wh_pageset *pending; /* borrowed; what the destination lacks */
	struct wh_pageset *hot;     /* borrowed; may be NULL */
	uint64_t at;                /* the window: from here */
	uint64_t end;               /* to here */
	uint32_t window_pages;      /* how wide it was made */
	uint64_t served_pages;      /* taken out of @pending by faults */
};

void wh_push_init(struct wh_push *push, struct wh_pageset *pending, struct wh_pageset *hot);
void wh_push_done(struct wh_push *push);

/* Take the run to send next, of at most @max pages, a power of two. Return: false if none is left. */
bool wh_push_next(struct wh_push *push, uint32_t max, struct wh_run *ret);

/* The first page at or behind @from that is pending. Return: false if there is none. */
bool wh_push_find(struct wh_push *push, uint64_t from, uint64_t *ret);

/* The guest waits for these pages, and they are being sent: have what is behind them sent soon. */
void wh_push_served(struct wh_push *push, uint64_t page, uint32_t count);

uint64_t wh_push_served_pages(struct wh_push *push);

#endif
