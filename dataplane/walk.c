/* SPDX-License-Identifier: Apache-2.0 */

#include "walk.h"

#include "wherry/clock.h"

/* Who waits for another page meanwhile may wait for so long: less than a display takes to change. */
#define SOON_NS (8 * WH_NSEC_PER_MSEC)

/* Pages that were pushed meanwhile are passed without a word: so many times what was asked for. */
#define PASSED_MAX 16u

void wh_walks_init(struct wh_walks *walks)
{
	*walks = (struct wh_walks){ .most = WH_FETCH_PAGES_MAX };
}

/* The walk that @page goes on with, or NULL. */
static struct wh_walk *find(struct wh_walks *walks, uint64_t page)
{
	for (uint32_t i = 0; i < WH_WALKS; i++) {
		struct wh_walk *walk = &walks->walks[i];

		if (page >= walk->next && page - walk->next <= (uint64_t)walk->pages * PASSED_MAX &&
		    walk->pages > 0)
			return walk;
	}
	return NULL;
}

static struct wh_walk *oldest(struct wh_walks *walks)
{
	struct wh_walk *oldest = &walks->walks[0];

	for (uint32_t i = 1; i < WH_WALKS; i++)
		if (walks->walks[i].asked_at < oldest->asked_at)
			oldest = &walks->walks[i];
	return oldest;
}

uint32_t wh_walks_ask(struct wh_walks *walks, uint64_t page, uint32_t room)
{
	struct wh_walk *walk = find(walks, page);
	uint32_t pages = 1;

	if (walk)
		pages = 2 * walk->pages;
	else
		walk = oldest(walks);
	if (pages > walks->most)
		pages = walks->most;
	if (pages > room)
		pages = room;
	*walk = (struct wh_walk){ .next = page + pages,
		                  .pages = pages,
		                  .asked_at = ++walks->asked };
	return pages;
}

void wh_walks_answered(struct wh_walks *walks, uint32_t pages, uint64_t ns)
{
	/* It says something only about as many as that. */
	if (ns > SOON_NS && pages > 1 && pages <= walks->most)
		walks->most = pages / 2;
	else if (ns < SOON_NS / 4 && pages >= walks->most && walks->most < WH_FETCH_PAGES_MAX)
		walks->most *= 2;
}
