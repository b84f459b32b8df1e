/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The newest window takes what is reported; all others are closed, and become due as a whole, the
 * wait after their last page was reported. So a page is due once the wait has passed, and a part of the
 * wait later at most: the more windows, the fewer pages are left when the guest stops, and the
 * more memory it takes.
 *
 * There is always room for another: a window takes pages for at least a part of the wait, and after as
 * many parts as there are closed windows the oldest is due.
 */

#include "echo.h"

#include <stdbool.h>
#include <stdlib.h>

#include "wherry/assert.h"

/* A bit for each page in each of them. The last pass has what was reported within 4/3 of the wait. */
#define WINDOWS 4u

/* Of the wait, which a window takes pages for. */
#define PARTS (WINDOWS - 1)

struct window {
	struct wh_pageset *pages; /* owned */
	uint64_t count;
	uint64_t first_ns; /* when the first of its pages were reported */
	uint64_t last_ns;
};

struct wh_echo {
	uint64_t wait_ns;
	struct wh_pageset *fresh;       /* owned */
	struct window windows[WINDOWS]; /* from the newest to the oldest */
};

struct wh_echo *wh_echo_new(uint64_t pages, uint64_t wait_ns)
{
	struct wh_echo *echo = calloc(1, sizeof(*echo));

	wh_assert(wait_ns > 0);
	if (!echo)
		return NULL;
	echo->wait_ns = wait_ns;
	echo->fresh = wh_pageset_new(pages);
	for (uint32_t i = 0; i < WINDOWS; i++) {
		echo->windows[i].pages = wh_pageset_new(pages);
		if (!echo->fresh || !echo->windows[i].pages)
			return wh_echo_free(echo);
	}
	return echo;
}

struct wh_echo *wh_echo_free(struct wh_echo *echo)
{
	if (!echo)
		return NULL;
	echo->fresh = wh_pageset_free(echo->fresh);
	for (uint32_t i = 0; i < WINDOWS; i++)
		echo->windows[i].pages = wh_pageset_free(echo->windows[i].pages);
	free(echo);
	return NULL;
}

uint64_t wh_echo_wait_ns(const struct wh_echo *echo)
{
	return echo->wait_ns;
}

struct wh_pageset *wh_echo_fresh(struct wh_echo *echo)
{
	return echo->fresh;
}

/* Move all pages of @window to @into. Return: how many. */
static uint64_t empty(struct window *window, struct wh_pageset *into)
{
	const uint64_t count = window->count;

	if (count > 0) {
		wh_pageset_merge(into, window->pages);
		wh_pageset_clear(window->pages);
	}
	window->count = 0;
	return count;
}

/* What is reported again waits again. */
static void take_out_fresh(struct wh_echo *echo)
{
	for (uint32_t i = 0; i < WINDOWS; i++) {
		struct window *window = &echo->windows[i];

		if (window->count == 0)
			continue;
		wh_pageset_subtract(window->pages, echo->fresh);
		window->count = wh_pageset_count(window->pages);
	}
}

static void add_fresh(struct wh_echo *echo, uint64_t now_ns)
{
	struct window *newest = &echo->windows[0];

	if (newest->count == 0)
		newest->first_ns = now_ns;
	wh_pageset_merge(newest->pages, echo->fresh);
	newest->count = wh_pageset_count(newest->pages);
	newest->last_ns = now_ns;
}

/* Move the pages of all closed windows that are due to @pending. Return: how many. */
static uint64_t take_due(struct wh_echo *echo, uint64_t now_ns, struct wh_pageset *pending)
{
	uint64_t due = 0;

	for (uint32_t i = 1; i < WINDOWS; i++)
		if (now_ns - echo->windows[i].last_ns >= echo->wait_ns)
			due += empty(&echo->windows[i], pending);
	return due;
}

/* Close the newest window if it has taken pages for long enough. What is due has been taken. */
static void close_newest(struct wh_echo *echo, uint64_t now_ns)
{
	const struct window oldest = echo->windows[WINDOWS - 1];

	if (echo->windows[0].count == 0 ||
	    now_ns - echo->windows[0].first_ns < echo->wait_ns / PARTS + 1)
		return;
	wh_assert(oldest.count == 0);
	for (uint32_t i = WINDOWS - 1; i > 0; i--)
		echo->windows[i] = echo->windows[i - 1];
	echo->windows[0] = oldest;
}

uint64_t wh_echo_note(struct wh_echo *echo, uint64_t now_ns, struct wh_pageset *pending)
{
	const bool any_fresh = wh_pageset_count(echo->fresh) > 0;
	uint64_t due;

	if (any_fresh)
		take_out_fresh(echo);
	due = take_due(echo, now_ns, pending);
	close_newest(echo, now_ns);
	due += take_due(echo, now_ns, pending); /* the one just closed, if scans are far apart */
	if (any_fresh)
		add_fresh(echo, now_ns);
	wh_pageset_merge(pending, echo->fresh);
	wh_pageset_clear(echo->fresh);
	return due;
}

uint64_t wh_echo_pages(const struct wh_echo *echo)
{
	uint64_t pages = 0;

	for (uint32_t i = 0; i < WINDOWS; i++)
		pages += echo->windows[i].count;
	return pages;
}

void wh_echo_take_all(struct wh_echo *echo, struct wh_pageset *into)
{
	for (uint32_t i = 0; i < WINDOWS; i++)
		(void)empty(&echo->windows[i], into);
}
