/* SPDX-License-Identifier: Apache-2.0 */

#include "push.h"

#include "wherry/assert.h"

/* The window at first: a guest that jumps about gets little that it does not ask for. */
#define WINDOW_PAGES_MIN 16u

/* And at most: 8 MiB, what a fast network carries while a guest works through the first of it. */
#define WINDOW_PAGES_MAX 2048u

void wh_push_init(struct wh_push *push, struct wh_pageset *pending, struct wh_pageset *hot)
{
	*push = (struct wh_push){ .pending = pending, .hot = hot };
	wh_assert(pthread_mutex_init(&push->lock, NULL) == 0);
}

void wh_push_done(struct wh_push *push)
{
	(void)pthread_mutex_destroy(&push->lock);
}

/* From the window, if anything in it is still pending. */
static bool next_in_window(struct wh_push *push, uint32_t max, struct wh_run *ret)
{
	if (push->at >= push->end ||
	    !wh_pageset_take_run_in(push->pending, push->at, push->end, max, ret))
		return false;
	push->at = ret->first + ret->count;
	return true;
}

/* From the hot pages: those of them that are still pending. */
static bool next_hot(struct wh_push *push, uint32_t max, struct wh_run *ret)
{
	struct wh_run hot;

	/* This ends: each turn takes pages out of the set. */
	while (push->hot && wh_pageset_take_run(push->hot, max, &hot))
		if (wh_pageset_take_run_in(push->pending, hot.first, hot.first + hot.count, max,
		                           ret)) {
			const uint64_t end = ret->first + ret->count;

			if (end < hot.first + hot.count)
				wh_pageset_add(push->hot, end, hot.first + hot.count - end);
			return true;
		}
	return false;
}

bool wh_push_next(struct wh_push *push, uint32_t max, struct wh_run *ret)
{
	bool some;

	(void)pthread_mutex_lock(&push->lock);
	some = next_in_window(push, max, ret) || next_hot(push, max, ret) ||
	       wh_pageset_take_run(push->pending, max, ret);
	(void)pthread_mutex_unlock(&push->lock);
	return some;
}

bool wh_push_find(struct wh_push *push, uint64_t from, uint64_t *ret)
{
	struct wh_run run;
	bool some;

	(void)pthread_mutex_lock(&push->lock);
	some = wh_pageset_find_run(push->pending, from, 1, &run);
	(void)pthread_mutex_unlock(&push->lock);
	if (some)
		*ret = run.first;
	return some;
}

/* A fault a little behind the last one, or in its window, is a walk. */
static void move_window(struct wh_push *push, uint64_t page, uint32_t count)
{
	const uint64_t from = push->end - push->window_pages;
	const bool walks = push->window_pages > 0 && page >= from && page <= push->end;

	if (!walks)
		push->window_pages = WINDOW_PAGES_MIN;
	else if (push->window_pages < WINDOW_PAGES_MAX)
		push->window_pages *= 2;
	if (push->window_pages < count)
		push->window_pages = count;
	push->at = page + count;
	push->end = push->at + push->window_pages;
}

void wh_push_served(struct wh_push *push, uint64_t page, uint32_t count)
{
	(void)pthread_mutex_lock(&push->lock);
	for (uint32_t i = 0; i < count; i++)
		if (wh_pageset_has(push->pending, page + i)) {
			wh_pageset_remove(push->pending, page + i);
			push->served_pages++;
		}
	move_window(push, page, count);
	(void)pthread_mutex_unlock(&push->lock);
}

uint64_t wh_push_served_pages(struct wh_push *push)
{
	uint64_t pages;

	(void)pthread_mutex_lock(&push->lock);
	pages = push->served_pages;
	(void)pthread_mutex_unlock(&push->lock);
	return pages;
}
