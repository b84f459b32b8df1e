/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Precopy - send memory while the guest keeps running.
 *
 * A round sends every page that was pending when it began:
 *
 *	take a run -> data: write it        -> ROUND_END -> wait for ROUND_LANDED
 *	   ^          zero: note it, tell many at once
 *	   +---- until none is pending
 *
 * The wait is what makes the next round safe: writes may overtake frames, so a page that becomes
 * data must not be written while the peer has still to be told that it was zero.
 *
 * The tracker protects pages again before it reports them, so a page written during a round is
 * reported by the next collect. A page may be sent twice; none is missed. How many rounds to run
 * is not decided here.
 *
 * A round allocates nothing. It can't run out of memory half way.
 *
 * There is no deadline: a dead link fails by itself, and whether a slow one is too slow is for
 * the daemon to judge (progressTimeout), which then kills the mover.
 */

#include "precopy.h"

#include <errno.h>

#include "converge.h"
#include "zero.h"

#include "wherry/assert.h"
#include "wherry/limits.h"

#define FOREVER UINT64_MAX

/* How far ahead memory is asked for, so that looking at it need not wait. */
#define LOOK_AHEAD ((size_t)8 * WH_PAGE_SIZE)

/* Shorter runs are not worth a system call. */
#define POPULATE_PAGES 64u

/* A rate over less than this is noise. */
#define RATE_NS_MIN (100 * WH_NSEC_PER_MSEC)

/* Publish what has left. */
static void note_sent(struct wh_precopy *p)
{
	const struct wh_sent sent = wh_transport_sent(p->link);

	wh_stat_set(p->stats, WH_STAT_WIRE_BYTES, sent.bytes);
	wh_stat_set(p->stats, WH_STAT_COMPRESSED_RAW_BYTES, sent.compressed_raw_bytes);
	wh_stat_set(p->stats, WH_STAT_COMPRESSED_BYTES, sent.compressed_bytes);
	wh_stat_set(p->stats, WH_STAT_DELTA_RAW_BYTES, sent.delta_raw_bytes);
	wh_stat_set(p->stats, WH_STAT_DELTA_BYTES, sent.delta_bytes);
}

/* Publish how much is left: what the round has still here, and what was probably dirtied since. */
static void note_left(struct wh_precopy *p)
{
	uint64_t since_ns = wh_now_ns(p->clock) - p->start_ns;
	uint64_t left =
		p->left_pages * WH_PAGE_SIZE + p->dirty_bps / WH_NSEC_PER_MSEC * since_ns / 1000;

	wh_stat_set(p->stats, WH_STAT_LEFT_BYTES, left);
	if (since_ns >= RATE_NS_MIN)
		wh_stat_set(p->stats, WH_STAT_RATE_BPS,
		            wh_bytes_per_s(p->written_pages * WH_PAGE_SIZE, since_ns));
	note_sent(p);
}

/* The destination is silent until the round is over, and then says so once. */
static int on_frame(struct wh_precopy *p, const struct wh_event *event)
{
	struct wh_frame frame;
	int r = wh_frame_decode(&frame, event->frame.data, event->frame.len);

	if (r < 0)
		return r;
	if (frame.kind != WH_FRAME_ROUND_LANDED || frame.round_landed.round != p->round ||
	    p->landed)
		return -EPROTO;
	p->landed = true;
	return 0;
}

static int on_event(struct wh_precopy *p, const struct wh_event *event)
{
	switch (event->type) {
	case WH_EVENT_WRITTEN:
		wh_assert(p->in_flight > 0 && event->cookie <= p->left_pages);
		p->in_flight--;
		p->left_pages -= event->cookie;
		p->written_pages += event->cookie;
		return 0;
	case WH_EVENT_FRAME:
		return on_frame(p, event);
	case WH_EVENT_CLOSED:
		return -ECONNRESET;
	}
	return -EPROTO;
}

/* Wait for something to happen on the link. */
static int reap(struct wh_precopy *p)
{
	struct wh_event events[WH_POLL_BATCH];
	int n = wh_transport_poll(p->link, events, WH_POLL_BATCH, FOREVER);

	if (n < 0)
		return n;
	for (int i = 0; i < n; i++) {
		int r = on_event(p, &events[i]);

		if (r < 0)
			return r;
	}
	note_left(p);
	return 0;
}

static int send_frame(struct wh_precopy *p, const struct wh_frame *frame)
{
	uint8_t bytes[WH_FRAME_LEN_MAX];
	uint32_t len = wh_frame_encode(bytes, frame);
	int r = wh_transport_send(p->link, bytes, len);

	/* This ends: frames leave, or the link fails. */
	while (r == WH_TX_FULL) {
		r = reap(p);
		if (r == 0)
			r = wh_transport_send(p->link, bytes, len);
	}
	return r;
}

static int send_data(struct wh_precopy *p, struct wh_run run)
{
	const struct wh_region *region = wh_ram_region(p->ram, run.first);
	const uint64_t offset = (run.first - region->first_page) * WH_PAGE_SIZE;
	const uint16_t id = (uint16_t)(region - p->ram->regions);
	const struct wh_write write = {
		.cookie = run.count,
		.src_offset = offset,
		.dst_offset = offset,
		.len = run.count * WH_PAGE_SIZE,
		.src_region = id,
		.dst_region = id,
		.round = p->round,
	};
	int r = wh_transport_write(p->link, &write);

	/* This ends: writes leave, or the link fails. */
	while (r == WH_TX_FULL) {
		r = reap(p);
		if (r == 0)
			r = wh_transport_write(p->link, &write);
	}
	if (r < 0)
		return r;
	p->in_flight++;
	p->data_pages += run.count;
	wh_stat_add(p->stats, WH_STAT_PAGE_BYTES, write.len);
	return 0;
}

/* Tell the zero runs found so far. */
static int flush_zero(struct wh_precopy *p)
{
	int r;

	if (p->zero.zero.count == 0)
		return 0;
	p->zero.kind = WH_FRAME_ZERO;
	r = send_frame(p, &p->zero);
	p->zero.zero.count = 0;
	return r;
}

static int send_zero(struct wh_precopy *p, struct wh_run run)
{
	const struct wh_region *region = wh_ram_region(p->ram, run.first);
	const uint16_t id = (uint16_t)(region - p->ram->regions);
	int r = 0;

	if (p->zero.zero.count == WH_ZERO_RUNS_MAX || p->zero.zero.region != id)
		r = flush_zero(p);
	if (r < 0)
		return r;
	wh_transport_forget(p->link, id, (run.first - region->first_page) * WH_PAGE_SIZE,
	                    (uint64_t)run.count * WH_PAGE_SIZE);
	p->zero.zero.region = id;
	p->zero.zero.runs[p->zero.zero.count++] =
		(struct wh_run){ .first = run.first - region->first_page, .count = run.count };
	p->left_pages -= run.count;
	wh_stat_add(p->stats, WH_STAT_ZERO_BYTES, (uint64_t)run.count * WH_PAGE_SIZE);
	return 0;
}

/* A page that was given back is a hole; reading it through the mapping would fill it again. */
static bool is_zero(struct wh_precopy *p, uint64_t page)
{
	const struct wh_region *region = wh_ram_region(p->ram, page);
	const uint8_t *at;

	if (wh_dirty_removed(p->dirty, page) && wh_ram_is_hole(p->ram, page)) {
		wh_dirty_forget(p->dirty, page);
		return true;
	}
	at = (const uint8_t *)region->addr + (page - region->first_page) * WH_PAGE_SIZE;
	__builtin_prefetch(at + LOOK_AHEAD);
	return wh_page_is_zero(at);
}

/* Send a run that lies in one region, in pieces that are all data or all zero. */
static int send_run(struct wh_precopy *p, struct wh_run run)
{
	while (run.count > 0) {
		const bool zero = is_zero(p, run.first);
		struct wh_run piece = { .first = run.first, .count = 1 };
		int r;

		while (piece.count < run.count && is_zero(p, run.first + piece.count) == zero)
			piece.count++;
		r = zero ? send_zero(p, piece) : send_data(p, piece);
		if (r < 0)
			return r;
		run.first += piece.count;
		run.count -= piece.count;
	}
	return 0;
}

static int send_pending(struct wh_precopy *p)
{
	struct wh_run run;

	while (wh_pageset_take_run(p->pending, WH_RUN_PAGES_MAX, &run)) {
		while (run.count > 0) {
			const struct wh_run part = wh_ram_clip(p->ram, run);
			int r;

			/* That would fill the holes of a guest that gave memory back. */
			if (part.count >= POPULATE_PAGES && !wh_dirty_any_removed(p->dirty))
				wh_ram_populate(p->ram, part);
			r = send_run(p, part);
			if (r < 0)
				return r;
			if (part.count >= POPULATE_PAGES)
				wh_ram_forget(p->ram, part);
			run.first += part.count;
			run.count -= part.count;
		}
		note_left(p);
	}
	return flush_zero(p);
}

static int end_round(struct wh_precopy *p, bool last)
{
	const struct wh_frame frame = { .kind = WH_FRAME_ROUND_END,
		                        .round_end = { .round = p->round, .last = last } };
	int r = send_frame(p, &frame);

	while (r == 0 && !(p->landed && p->in_flight == 0))
		r = reap(p);
	return r;
}

int wh_precopy_round(struct wh_precopy *p, bool last, struct wh_round *ret)
{
	int r;

	wh_assert(p->in_flight == 0);
	p->round++;
	p->landed = false;
	p->data_pages = 0;
	p->written_pages = 0;
	p->start_ns = wh_now_ns(p->clock);
	p->left_pages = wh_pageset_count(p->pending);
	wh_stat_set(p->stats, WH_STAT_ROUND, p->round);
	wh_stat_set(p->stats, WH_STAT_ROUND_BYTES, p->left_pages * WH_PAGE_SIZE);

	r = send_pending(p);
	if (r == 0)
		r = end_round(p, last);
	if (r < 0)
		return r;

	*ret = (struct wh_round){ .data_pages = p->data_pages,
		                  .duration_ns = wh_now_ns(p->clock) - p->start_ns };
	return 0;
}
