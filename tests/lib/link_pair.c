/* SPDX-License-Identifier: Apache-2.0 */

#include "link_pair.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "wherry/clock.h"
#include "wherry/limits.h"

/* One end waits so long, then the other is looked at. */
#define SLICE_NS (100 * UINT64_C(1000))

struct kept_event {
	struct kept_event *next;
	int result; /* of the poll */
	struct wh_event event;
	uint8_t data[WH_FRAME_LEN_MAX];
};

static void end_init(struct link_pair *pair, struct link_end *end, struct wh_transport *link)
{
	end->pair = pair;
	end->link = link;
	end->memory = new_memory(memfd_create("memory", MFD_CLOEXEC));
	lend(link, &end->memory);
}

void link_pair_init(struct link_pair *pair, struct wh_transport *source,
                    struct wh_transport *target)
{
	*pair = (struct link_pair){ .round = 0 };
	end_init(pair, &pair->source, source);
	end_init(pair, &pair->target, target);
}

static void end_done(struct link_end *end)
{
	end->link = wh_transport_close(end->link);
	memory_done(&end->memory);
	while (end->kept) {
		struct kept_event *next = end->kept->next;

		free(end->kept);
		end->kept = next;
	}
	free(end->lent);
}

void link_pair_done(struct link_pair *pair)
{
	end_done(&pair->source);
	end_done(&pair->target);
}

static void keep(struct link_end *end, int result, const struct wh_event *event)
{
	struct kept_event **at = &end->kept;
	struct kept_event *kept = calloc(1, sizeof(*kept));

	assert_non_null(kept);
	kept->result = result;
	kept->event = *event;
	if (result == 1 && event->type == WH_EVENT_FRAME) {
		memcpy(kept->data, event->frame.data, event->frame.len);
		kept->event.frame.data = kept->data;
	}
	end->ended = result < 0 || event->type == WH_EVENT_CLOSED;
	while (*at)
		at = &(*at)->next;
	*at = kept;
}

/* Let @end get on. */
static void look_at(struct link_end *end)
{
	struct wh_event event = { .type = WH_EVENT_CLOSED };
	int r;

	if (!end->link || end->ended)
		return;
	r = wh_transport_poll(end->link, &event, 1, 0);
	if (r != 0)
		keep(end, r, &event);
}

static struct link_end *other(struct link_end *end)
{
	return end == &end->pair->source ? &end->pair->target : &end->pair->source;
}

static void turn(struct link_pair *pair)
{
	pair->turns++;
	if (pair->turn)
		pair->turn(pair);
}

int await_at(struct link_end *end, struct wh_event *ret)
{
	const uint64_t deadline_ns = in(PATIENCE_NS);
	int r = 0;

	free(end->lent);
	end->lent = end->kept;
	if (end->kept) {
		end->kept = end->lent->next;
		end->ended = false;
		*ret = end->lent->event;
		return end->lent->result;
	}
	while (r == 0 && wh_now_ns(&wh_clock_monotonic) < deadline_ns) {
		turn(end->pair);
		look_at(other(end));
		r = wh_transport_poll(end->link, ret, 1, in(SLICE_NS));
	}
	return r;
}

void await_frame_at(struct link_end *end, const void *data, uint32_t len)
{
	struct wh_event event = { .type = WH_EVENT_CLOSED };

	assert_int_equal(await_at(end, &event), 1);
	assert_int_equal(event.type, WH_EVENT_FRAME);
	assert_int_equal(event.frame.len, len);
	assert_memory_equal(event.frame.data, data, len);
}

int post_pages(struct link_pair *pair, uint64_t page, uint32_t pages, uint64_t cookie)
{
	return wh_transport_write(pair->source.link,
	                          &(struct wh_write){ .cookie = cookie,
	                                              .src_offset = page * WH_PAGE_SIZE,
	                                              .dst_offset = page * WH_PAGE_SIZE,
	                                              .len = pages * WH_PAGE_SIZE,
	                                              .src_region = REGION,
	                                              .dst_region = REGION,
	                                              .round = pair->round });
}

uint32_t post_for_sure(struct link_pair *pair, uint64_t page, uint32_t pages)
{
	struct wh_event event;
	uint32_t left = 0;
	int r = post_pages(pair, page, pages, 0);

	while (r == WH_TX_FULL) {
		assert_int_equal(await_at(&pair->source, &event), 1);
		left++;
		r = post_pages(pair, page, pages, 0);
	}
	assert_int_equal(r, 0);
	return left;
}

uint32_t roll(uint64_t *random, uint32_t sides)
{
	*random = *random * UINT64_C(6364136223846793005) + 1442695040888963407u;
	return (uint32_t)(*random >> 33) % sides;
}

void write_all(struct link_pair *pair)
{
	uint64_t random = 7;
	uint32_t in_flight = 0, at = 0;
	struct wh_event event;

	while (at < PAGES) {
		const uint32_t room = PAGES - at < 512 ? PAGES - at : 512;
		const uint32_t pages = 1 + roll(&random, roll(&random, 2) ? room : 1);

		in_flight += 1 - post_for_sure(pair, at, pages);
		at += pages;
	}
	assert_int_equal(wh_transport_send(pair->source.link, "done", 4), 0);
	await_frame_at(&pair->target, "done", 4);
	assert_memory_equal(pair->target.memory.addr, pair->source.memory.addr, BYTES);
	for (; in_flight > 0; in_flight--)
		assert_int_equal(await_at(&pair->source, &event), 1);
}
