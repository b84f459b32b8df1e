/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Walk - how many pages to ask for at once, when the guest waits for the first of them.
 *
 * A guest that jumps about gets the page that it waits for. One that walks through its memory would
 * wait for the next page right away, and again for each one: it gets as many at once as come within
 * a few milliseconds. So it waits as long in all, if the network is what it waits for, but seldom.
 *
 * Threads: it belongs to one.
 */

#ifndef WH_WALK_H
#define WH_WALK_H

#include <stdint.h>

#include "wire.h"

#include "wherry/cleanup.h"

/* Walks known at once: the latest ones. A guest has several processors, each of which reads here and writes there. */
#define WH_WALKS 16u

struct wh_walk {
	uint64_t next;     /* where it is expected: behind what was asked for last */
	uint32_t pages;    /* asked for last; 0 if there is no such walk */
	uint64_t asked_at; /* count of questions when it was */
};

struct wh_walks {
	struct wh_walk walks[WH_WALKS];
	uint64_t asked;
	uint32_t most; /* pages that come soon enough */
};

void wh_walks_init(struct wh_walks *walks);

/* The guest waits for @page, and @room pages from there on are missing: ask for so many of them. */
uint32_t wh_walks_ask(struct wh_walks *walks, uint64_t page, uint32_t room);

/* @pages that were asked for took @ns. */
void wh_walks_answered(struct wh_walks *walks, uint32_t pages, uint64_t ns);

#endif
