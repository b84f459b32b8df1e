/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The source's way through a migration, from top to bottom:
 *
 *	agree on the regions; begin to track
 *	round 1: what the guest ever touched
 *	round n: what it wrote meanwhile, until that can be sent within the downtime target
 *	have the guest stopped
 *	last pass: what it wrote until then
 */

#include "source.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "converge.h"
#include "precopy.h"
#include "session.h"
#include "wire.h"

#include "wherry/assert.h"
#include "wherry/limits.h"

static int send_frame(struct wh_source *source, const struct wh_frame *frame)
{
	uint8_t bytes[WH_FRAME_LEN_MAX];
	int r;

	/* This ends: frames leave, or the link fails. The destination is silent meanwhile. */
	do {
		struct wh_event event;

		r = wh_transport_send(source->link, bytes, wh_frame_encode(bytes, frame));
		if (r == WH_TX_FULL && wh_transport_poll(source->link, &event, 1, UINT64_MAX) != 0)
			return -EPROTO;
	} while (r == WH_TX_FULL);
	return r;
}

static int await_ready(struct wh_source *source)
{
	struct wh_frame frame;
	struct wh_event event;
	int r = wh_transport_poll(source->link, &event, 1, UINT64_MAX);

	if (r < 0)
		return r;
	if (event.type != WH_EVENT_FRAME)
		return -ECONNRESET;
	r = wh_frame_decode(&frame, event.frame.data, event.frame.len);
	if (r < 0)
		return r;
	return frame.kind == WH_FRAME_READY ? 0 : -EPROTO;
}

/* Tell the destination what there is, and wait until it agrees. */
static int agree(struct wh_source *source)
{
	const struct wh_ram *ram = source->ram;
	struct wh_frame frame;
	int r = 0;

	for (uint16_t i = 0; r == 0 && i < ram->count; i++) {
		frame = (struct wh_frame){ .kind = WH_FRAME_REGION,
			                   .region = { .id = i, .bytes = ram->regions[i].bytes } };
		memcpy(frame.region.name, ram->regions[i].name, sizeof(frame.region.name));
		r = send_frame(source, &frame);
	}
	if (r < 0)
		return r;
	frame = (struct wh_frame){ .kind = WH_FRAME_START,
		                   .start = { .page_size = WH_PAGE_SIZE, .regions = ram->count } };
	r = send_frame(source, &frame);
	return r < 0 ? r : await_ready(source);
}

static uint64_t bytes(uint64_t pages)
{
	return pages * WH_PAGE_SIZE;
}

/* What the guest wrote since the last time, or gave back. */
static int collect_written(struct wh_precopy *p)
{
	int r = wh_dirty_collect(p->dirty, p->pending);

	return r < 0 ? r : wh_ram_add_gone(p->ram, p->pending);
}

/* The same when it stands still. */
static int collect_last(struct wh_precopy *p)
{
	int r = wh_dirty_collect_last(p->dirty, p->pending);

	return r < 0 ? r : wh_ram_add_gone(p->ram, p->pending);
}

/* What the guest wrote since the last collect, over @period_ns. Return: bytes left, or -errno. */
static int collect(struct wh_precopy *p, uint64_t period_ns, uint64_t *left_bytes)
{
	int r = collect_written(p);

	if (r < 0)
		return r;
	*left_bytes = bytes(wh_pageset_count(p->pending));
	p->dirty_bps = wh_bytes_per_s(*left_bytes, period_ns);
	wh_stat_set(p->stats, WH_STAT_DIRTY_BPS, p->dirty_bps);
	wh_stat_set(p->stats, WH_STAT_LEFT_BYTES, *left_bytes);
	return 0;
}

/*
 * Rounds, until what is left fits into the downtime target and gets no smaller. The daemon ends it
 * if it never fits.
 */
static int run_rounds(struct wh_source *source, struct wh_precopy *p)
{
	struct wh_rate_mean rate = { 0 };
	struct wh_round round;
	uint64_t left_bytes = bytes(wh_ram_touched_pages(p->ram));
	uint64_t before_bytes;
	uint64_t rate_bps;

	do {
		int r;

		before_bytes = left_bytes;
		r = wh_precopy_round(p, false, &round);
		if (r < 0)
			return r;
		/* What is left counts in huge pages, and many of theirs will be left out, too. */
		wh_rate_mean_add(&rate, bytes(round.data_pages + round.same_pages),
		                 round.duration_ns);
		rate_bps = wh_rate_mean_bps(&rate);
		wh_stat_set(p->stats, WH_STAT_RATE_BPS, rate_bps);

		r = collect(p, round.duration_ns, &left_bytes);
		if (r < 0)
			return r;
	} while (!wh_converged(left_bytes, rate_bps, source->downtime_target_ns) ||
	         wh_round_helps(before_bytes, left_bytes, rate_bps));
	return 0;
}

/* The guest stands still: send what it wrote until then. */
static int last_pass(struct wh_source *source, struct wh_precopy *p)
{
	struct wh_round round;
	int r;

	wh_session_move(p->stats, WH_SESSION_LAST_PASS);
	wh_stat_set(p->stats, WH_STAT_STOPPED_NS, wh_now_ns(source->clock));
	r = collect_last(p);
	if (r < 0)
		return r;
	p->dirty_bps = 0;
	wh_stat_set(p->stats, WH_STAT_SCANNED_NS, wh_now_ns(source->clock));
	r = wh_precopy_round(p, true, &round);
	if (r < 0)
		return r;
	wh_stat_set(p->stats, WH_STAT_LANDED_NS, wh_now_ns(source->clock));
	wh_session_move(p->stats, WH_SESSION_LANDED);
	return 0;
}

static int move_memory(struct wh_source *source, struct wh_precopy *p, struct wh_error *err)
{
	int r;

	wh_stat_set(p->stats, WH_STAT_RAM_BYTES, bytes(p->ram->pages));
	p->find_touched = true;
	r = run_rounds(source, p);
	if (r < 0)
		return wh_fail(err, r, "precopy, round %u: %s", p->round, strerror(-r));

	wh_stat_set(p->stats, WH_STAT_CONVERGED_NS, wh_now_ns(source->clock));
	wh_session_move(p->stats, WH_SESSION_CONVERGED);
	r = source->stop_guest(source, err);
	if (r < 0)
		return r;
	r = last_pass(source, p);
	return r < 0 ? wh_fail(err, r, "last pass: %s", strerror(-r)) : 0;
}

int wh_source_run(struct wh_source *source, struct wh_error *err)
{
	wh_cleanup(wh_pageset_freep) struct wh_pageset *pending =
		wh_pageset_new(source->ram->pages);
	struct wh_precopy precopy = {
		.link = source->link,
		.ram = source->ram,
		.clock = source->clock,
		.stats = source->stats,
		.copies = source->copies,
		.pending = pending,
	};
	int r;

	wh_assert(source->copies || !wh_ram_has_huge(source->ram));
	if (!pending)
		return wh_fail(err, -ENOMEM, "out of memory");
	r = agree(source);
	if (r < 0)
		return wh_fail(err, r, "no agreement with the destination on the guest's RAM: %s",
		               strerror(-r));
	wh_session_move(source->stats, WH_SESSION_ATTACHING);
	r = source->track(source, err);
	if (r < 0)
		return r;
	precopy.dirty = source->dirty;
	wh_session_move(source->stats, WH_SESSION_PRECOPY);
	wh_stat_set(source->stats, WH_STAT_STARTED_NS, wh_now_ns(source->clock));
	return move_memory(source, &precopy, err);
}
