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
 * the daemon to judge (progressTimeout), which then kills the mover. Or it has the round end early;
 * so that this is soon, no more is posted at once than leaves within a fraction of a second.
 */

#include "precopy.h"

#include <errno.h>

#include "converge.h"
#include "zero.h"

#include "wherry/assert.h"
#include "wherry/limits.h"

/* Each run lies in two page tables at most, wherever the memory is mapped. */
#define RUNS_MAX (WH_PAGE_TABLES_MAX / 2)

#define FOREVER UINT64_MAX

/* Memory that was ever touched is looked for in pieces: so many at most, each at least so large. */
#define TOUCHED_PIECES    64u
#define TOUCHED_PAGES_MIN 65536u

/* A rate over less than this is noise. */
#define RATE_NS_MIN (100 * WH_NSEC_PER_MSEC)

/* How often the owner is asked whether to go on. */
#define LOOK_NS (10 * WH_NSEC_PER_MSEC)

/* Posted at once while the rate is not known yet. */
#define BUDGET_BYTES_FIRST (UINT64_C(16) << 20)

/* Publish what has left. */
static void note_sent(struct wh_precopy *p)
{
	const struct wh_sent sent = wh_transport_sent(p->link);

	wh_stat_set(p->stats, WH_STAT_WIRE_BYTES, sent.bytes + p->urgent_bytes);
	wh_stat_set(p->stats, WH_STAT_COMPRESSED_RAW_BYTES, sent.compressed_raw_bytes);
	wh_stat_set(p->stats, WH_STAT_COMPRESSED_BYTES, sent.compressed_bytes);
	wh_stat_set(p->stats, WH_STAT_DELTA_RAW_BYTES, sent.delta_raw_bytes);
	wh_stat_set(p->stats, WH_STAT_DELTA_BYTES, sent.delta_bytes);
	wh_stat_set(p->stats, WH_STAT_RDMA_BYTES,
	            sent.rdma_bytes + wh_stat_get(p->stats, WH_STAT_RDMA_READ_BYTES));
}

/* Publish how much is left: what the round has still here, and what was probably dirtied since. */
static void note_left(struct wh_precopy *p)
{
	uint64_t since_ns = wh_now_ns(p->clock) - p->start_ns;
	uint64_t left = (p->left_pages + p->ahead_pages + p->owed_pages) * WH_PAGE_SIZE +
	                p->dirty_bps / WH_NSEC_PER_MSEC * since_ns / 1000;

	wh_stat_set(p->stats, WH_STAT_LEFT_BYTES, left);
	if (since_ns >= RATE_NS_MIN) {
		p->rate_bps = wh_bytes_per_s(p->written_pages * WH_PAGE_SIZE, since_ns);
		wh_stat_set(p->stats, WH_STAT_RATE_BPS, p->rate_bps);
	}
	note_sent(p);
}

/* Ask the owner now and then. Return: 0 to go on, 1 to end the round, or -errno. */
static int look(struct wh_precopy *p)
{
	const uint64_t now_ns = p->look ? wh_now_ns(p->clock) : 0;
	int r;

	if (!p->look || now_ns < p->look_at_ns)
		return p->ends_early;
	p->look_at_ns = now_ns + LOOK_NS;
	r = p->look(p->context);
	if (r > 0)
		p->ends_early = true;
	return r < 0 ? r : p->ends_early;
}

/* Bytes that may be posted at once: what leaves within the owner's time. */
static uint64_t budget_bytes(const struct wh_precopy *p)
{
	uint64_t bytes;

	if (p->backlog_ns == 0)
		return UINT64_MAX;
	if (p->rate_bps == 0)
		return BUDGET_BYTES_FIRST;
	bytes = p->rate_bps / WH_NSEC_PER_MSEC * p->backlog_ns / 1000;
	return bytes > WH_WRITE_LEN_MAX ? bytes : WH_WRITE_LEN_MAX;
}

/* The destination is silent until it has an answer to give, and then says so once. */
static int on_frame(struct wh_precopy *p, const struct wh_event *event)
{
	struct wh_frame frame;
	int r = wh_frame_decode(&frame, event->frame.data, event->frame.len);

	if (r < 0)
		return r;
	if (frame.kind == WH_FRAME_SWITCHED && p->awaits_switched) {
		p->awaits_switched = false;
		return 0;
	}
	if (frame.kind != WH_FRAME_ROUND_LANDED || frame.round_landed.round != p->round ||
	    p->landed)
		return -EPROTO;
	p->landed = true;
	return 0;
}

/* A write's cookie: its pages, and the copy that it was sent from. */
static uint64_t cookie_of(uint32_t pages, uint32_t copy)
{
	return (uint64_t)copy << 32 | pages;
}

static void on_written(struct wh_precopy *p, uint64_t cookie)
{
	const uint32_t pages = (uint32_t)cookie;

	wh_assert(p->in_flight > 0 && pages <= p->left_pages);
	p->in_flight--;
	p->in_flight_pages -= pages;
	p->left_pages -= pages;
	p->written_pages += pages;
	if (p->copies)
		wh_copies_release(p->copies, (uint32_t)(cookie >> 32));
}

static int on_event(struct wh_precopy *p, const struct wh_event *event)
{
	switch (event->type) {
	case WH_EVENT_WRITTEN:
		on_written(p, event->cookie);
		return 0;
	case WH_EVENT_FRAME:
		return on_frame(p, event);
	case WH_EVENT_CLOSED:
		return -ECONNRESET;
	}
	return -EPROTO;
}

/* Wait for something to happen on the link, until @until_ns or the time to look up. */
static int await_events(struct wh_precopy *p, uint64_t until_ns)
{
	const uint64_t look_ns = p->look ? wh_now_ns(p->clock) + LOOK_NS : FOREVER;
	struct wh_event events[WH_POLL_BATCH];
	int n = wh_transport_poll(p->link, events, WH_POLL_BATCH,
	                          look_ns < until_ns ? look_ns : until_ns);
	int early = n < 0 ? n : look(p);

	if (early < 0)
		return early;
	for (int i = 0; i < n; i++) {
		int r = on_event(p, &events[i]);

		if (r < 0)
			return r;
	}
	return 0;
}

static int reap(struct wh_precopy *p)
{
	int r = await_events(p, FOREVER);

	if (r == 0)
		note_left(p);
	return r;
}

int wh_precopy_wait(struct wh_precopy *p, uint64_t until_ns)
{
	int r = look(p);

	/* This ends: time passes, or the link fails. */
	while (r == 0 && !p->ends_early && wh_now_ns(p->clock) < until_ns)
		r = await_events(p, until_ns);
	return r < 0 ? r : 0;
}

int wh_precopy_send_frame(struct wh_precopy *p, const struct wh_frame *frame)
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

/* Send @run, from its place in memory, or from @copy, which is number @number. */
static int send_data(struct wh_precopy *p, struct wh_run run, const uint8_t *copy, uint32_t number)
{
	const struct wh_region *region = wh_ram_region(p->ram, run.first);
	const uint64_t offset = (run.first - region->first_page) * WH_PAGE_SIZE;
	const uint16_t id = (uint16_t)(region - p->ram->regions);
	const struct wh_write write = {
		.cookie = cookie_of(run.count, number),
		.copy = copy,
		.src_offset = offset,
		.dst_offset = offset,
		.len = run.count * WH_PAGE_SIZE,
		.src_region = id,
		.dst_region = id,
		.round = p->postcopy ? 0 : p->round,
	};
	const uint64_t budget = budget_bytes(p);
	int r = 0;

	/* These end: writes leave, or the link fails. */
	while (r == 0 && p->in_flight > 0 && p->in_flight_pages * WH_PAGE_SIZE + write.len > budget)
		r = reap(p);
	if (r == 0)
		r = wh_transport_write(p->link, &write);
	while (r == WH_TX_FULL) {
		r = reap(p);
		if (r == 0)
			r = wh_transport_write(p->link, &write);
	}
	if (r < 0)
		return r;
	p->in_flight++;
	p->in_flight_pages += run.count;
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
	r = wh_precopy_send_frame(p, &p->zero);
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

/* Whether a page was given back, as far as the guest was tracked here. */
static bool any_removed(const struct wh_precopy *p)
{
	return p->dirty && wh_dirty_any_removed(p->dirty);
}

/*
 * Pages that were given back and are holes by now are told as zero once, and are no concern of the
 * tracker's from then on.
 */
static void forget_holes(struct wh_precopy *p, uint64_t first, uint32_t count)
{
	for (uint64_t page = first; page < first + count; page++)
		if (wh_dirty_removed(p->dirty, page) && wh_ram_is_hole(p->ram, page))
			wh_dirty_forget(p->dirty, page);
}

/* Which pages of @part are zero: a bit for each. They are in one block. */
static uint32_t find_zero(struct wh_precopy *p, struct wh_look *look, struct wh_run part)
{
	const struct wh_region *region = wh_ram_region(p->ram, part.first);
	const uint64_t at = part.first - region->first_page;

	if (p->any_gone)
		forget_holes(p, part.first, part.count);
	if (part.count == WH_LOOK_PAGES && !p->any_gone)
		return wh_look_block(look, region, at);
	return wh_look_pages(look, region, at, part.count);
}

/* What @run, in one region, has of the block that is number @number of those it touches. */
static struct wh_run part_of(const struct wh_precopy *p, struct wh_run run, uint64_t number)
{
	const struct wh_region *region = wh_ram_region(p->ram, run.first);
	const uint32_t before = (uint32_t)((run.first - region->first_page) % WH_LOOK_PAGES);
	const uint64_t begin = number ? number * WH_LOOK_PAGES - before : 0;
	const uint64_t end = (number + 1) * WH_LOOK_PAGES - before;

	return (struct wh_run){ .first = run.first + begin,
		                .count = (uint32_t)((end < run.count ? end : run.count) - begin) };
}

static int look_at_part(void *context, uint32_t member, uint64_t number)
{
	struct wh_precopy *p = context;
	struct wh_look *look = member ? &p->looks[member - 1] : &p->sample;

	p->found[number] = find_zero(p, look, part_of(p, p->looked_at, number));
	return 0;
}

/*
 * Find what is zero of @run. Of other pages only a sample is looked at, which is soon done; so it is alone
 * where most are zero that this keeps more than one busy.
 */
static int look_at_run(struct wh_precopy *p, struct wh_run run)
{
	const struct wh_run first = part_of(p, run, 0);
	const uint64_t parts = 1 + (run.count - first.count + WH_LOOK_PAGES - 1) / WH_LOOK_PAGES;
	uint64_t zero_pages = 0;
	int r = 0;

	p->looked_at = run;
	if (p->crew && p->mostly_zero && !p->any_gone)
		r = wh_crew_run(p->crew, look_at_part, p, parts);
	else
		for (uint64_t i = 0; i < parts; i++)
			(void)look_at_part(p, 0, i); /* returns 0 */
	for (uint64_t i = 0; i < parts; i++)
		zero_pages += (uint32_t)__builtin_popcount(p->found[i]);
	p->mostly_zero = zero_pages * 2 > run.count;
	return r;
}

/* Before @run is looked at: remember what was given back of it. */
static void note_gone(struct wh_precopy *p, struct wh_run run)
{
	p->any_gone = any_removed(p);
	for (uint64_t page = run.first; p->any_gone && page < run.first + run.count; page++)
		if (wh_dirty_removed(p->dirty, page))
			wh_pageset_add(p->gone, page, 1);
	p->has_gone |= p->any_gone;
}

/*
 * A device that knows the guest's memory goes on with the page that was there before this one was
 * given back. So before contents of a page are sent that may be another one by now, the link is
 * told. And as it fills holes, a page that it holds and that is zero is taken for gone: until the
 * guest writes to it, that is what it is or becomes.
 */
static void discard_gone(struct wh_precopy *p, struct wh_run part, uint32_t zero)
{
	const struct wh_region *region = wh_ram_region(p->ram, part.first);
	const uint16_t id = (uint16_t)(region - p->ram->regions);

	for (uint32_t i = 0; i < part.count; i++) {
		const uint64_t page = part.first + i;
		const uint64_t offset = (page - region->first_page) * WH_PAGE_SIZE;
		const bool removed = p->any_gone && wh_dirty_removed(p->dirty, page);

		if (!wh_pageset_has(p->gone, page))
			continue;
		if (zero >> i & 1) {
			if (removed && wh_transport_pins(p->link, id, offset, WH_PAGE_SIZE))
				wh_dirty_forget(p->dirty, page);
			continue;
		}
		wh_transport_discard(p->link, id, offset, WH_PAGE_SIZE);
		if (!removed)
			wh_pageset_remove(p->gone, page);
	}
}

/* The same for all of a run that was looked at. */
static void discard_gone_of_run(struct wh_precopy *p, struct wh_run run)
{
	struct wh_run part = { 0 };

	if (!p->has_gone)
		return;
	for (uint64_t number = 0; part.first + part.count < run.first + run.count; number++) {
		part = part_of(p, run, number);
		discard_gone(p, part, p->found[number]);
	}
}

static int send_alike(struct wh_precopy *p, struct wh_run run, bool zero)
{
	if (run.count == 0)
		return 0;
	return zero ? send_zero(p, run) : send_data(p, run, NULL, 0);
}

/* Send a run of a region with small pages, in pieces that are all data or all zero. */
static int send_small(struct wh_precopy *p, struct wh_run run)
{
	struct wh_run piece = { .first = run.first };
	struct wh_run part = { 0 };
	bool piece_zero = false;
	int r;

	note_gone(p, run);
	r = look_at_run(p, run);
	if (r == 0)
		discard_gone_of_run(p, run);
	for (uint64_t number = 0; r == 0 && part.first + part.count < run.first + run.count;
	     number++) {
		part = part_of(p, run, number);
		for (uint32_t i = 0; r == 0 && i < part.count; i++) {
			const bool is_zero = p->found[number] >> i & 1;

			/* No write has parts of two huge pages. */
			if (is_zero != piece_zero || (part.first + i) % WH_RUN_PAGES_MAX == 0) {
				r = send_alike(p, piece, piece_zero);
				piece = (struct wh_run){ .first = part.first + i };
				piece_zero = is_zero;
			}
			piece.count++;
		}
	}
	return r < 0 ? r : send_alike(p, piece, piece_zero);
}

/* A mover's page tables must not grow with the guest. @count pages were sent. */
static int bound_page_tables(struct wh_precopy *p, uint32_t count)
{
	p->runs += (count + WH_RUN_PAGES_MAX - 1) / WH_RUN_PAGES_MAX;
	if (p->runs < RUNS_MAX)
		return 0;
	p->runs = 0;
	if (p->ram->pages * WH_PAGE_SIZE / WH_PAGE_TABLE_BYTES < WH_PAGE_TABLES_MAX)
		return 0;
	return wh_ram_map_anew(p->ram);
}

/* Huge pages are copied and compared: see changed.h. */
static int send_piece(struct wh_precopy *p, const struct wh_copies_piece *piece)
{
	switch (piece->kind) {
	case WH_COPIES_DATA:
		return send_data(p, piece->run, piece->contents, wh_copies_hold(p->copies));
	case WH_COPIES_ZERO:
		return send_zero(p, piece->run);
	case WH_COPIES_SAME:
		p->left_pages -= piece->run.count;
		p->same_pages += piece->run.count;
		wh_stat_add(p->stats, WH_STAT_UNCHANGED_BYTES,
		            (uint64_t)piece->run.count * WH_PAGE_SIZE);
		return 0;
	}
	return -EINVAL; /* there are no others */
}

/* A page that reads as zero may be gone or not: it is told as zero, and that is what it becomes. */
static void forget_removed(struct wh_precopy *p, const struct wh_copies_piece *piece)
{
	for (uint32_t i = 0; i < piece->run.count; i++)
		if (wh_dirty_removed(p->dirty, piece->run.first + i) &&
		    wh_page_is_zero(piece->contents + (size_t)i * WH_PAGE_SIZE))
			wh_dirty_forget(p->dirty, piece->run.first + i);
}

/* Copy a run of a region with huge pages. Return: 0 or -errno. */
static int copy_huge(struct wh_precopy *p, struct wh_run run)
{
	int r = wh_copies_make(p->copies, run);

	/* This ends: writes leave, or the link fails. */
	while (r == WH_COPIES_FULL) {
		r = reap(p);
		if (r == 0)
			r = wh_copies_make(p->copies, run);
	}
	return r;
}

/* Send a run of a region with huge pages. */
static int send_huge(struct wh_precopy *p, struct wh_run run)
{
	struct wh_copies_piece piece;
	int r = copy_huge(p, run);

	while (r == 0 && wh_copies_next(p->copies, &piece)) {
		if (any_removed(p))
			forget_removed(p, &piece);
		r = send_piece(p, &piece);
	}
	return r;
}

/* The copy of @run as one write, whatever is in it. */
static int send_copy(struct wh_precopy *p, struct wh_run run)
{
	struct wh_copies_piece piece;
	int r = copy_huge(p, run);

	if (r < 0)
		return r;
	wh_copies_all(p->copies, &piece);
	return send_data(p, run, piece.contents, wh_copies_hold(p->copies));
}

static bool is_huge(const struct wh_precopy *p, struct wh_run run)
{
	return wh_ram_region(p->ram, run.first)->page_bytes > WH_PAGE_SIZE;
}

int wh_precopy_send_data(struct wh_precopy *p, struct wh_run run)
{
	return is_huge(p, run) ? send_copy(p, run) : send_data(p, run, NULL, 0);
}

int wh_precopy_send_run(struct wh_precopy *p, struct wh_run run)
{
	/* A run may reach into the next regions. */
	while (run.count > 0) {
		struct wh_run part = wh_ram_clip(p->ram, run);
		const uint32_t room = WH_RUN_PAGES_MAX - (uint32_t)(part.first % WH_RUN_PAGES_MAX);
		int r;

		if (is_huge(p, part) && part.count > room)
			part.count = room;
		r = is_huge(p, part) ? send_huge(p, part) : send_small(p, part);
		if (r == 0)
			r = bound_page_tables(p, part.count);
		if (r < 0)
			return r;
		run.first += part.count;
		run.count -= part.count;
	}
	note_left(p);
	return look(p);
}

/* Return: 0, also if the round is to end and pages are left; or -errno. */
static int send_pending(struct wh_precopy *p)
{
	struct wh_run run;
	int r = look(p);

	while (r == 0 &&
	       wh_pageset_take_run(p->pending,
	                           p->mostly_zero ? WH_ZERO_RUN_PAGES : WH_RUN_PAGES_MAX, &run))
		r = wh_precopy_send_run(p, run);
	return r < 0 ? r : 0;
}

/*
 * The first round sends what the guest ever touched. It is looked for piece by piece, so that the
 * link is not idle meanwhile. If the round is to end, the rest is looked for all the same: what is not
 * pending is taken for zero.
 */
static int send_touched(struct wh_precopy *p)
{
	const uint64_t piece = p->ram->pages / TOUCHED_PIECES;
	struct wh_touched touched = { 0 };
	bool more = true;
	int r = 0;

	while (r == 0 && more) {
		const uint64_t before = touched.found;
		uint64_t found;

		r = wh_ram_add_touched(p->ram, &touched,
		                       piece > TOUCHED_PAGES_MIN ? piece : TOUCHED_PAGES_MIN,
		                       p->pending);
		if (r < 0)
			return r;
		more = r > 0;
		found = touched.found - before;
		p->left_pages += found;
		p->ahead_pages = more && p->ahead_pages > found ? p->ahead_pages - found : 0;
		r = send_pending(p);
	}
	wh_stat_set(p->stats, WH_STAT_UNTOUCHED_BYTES,
	            (p->ram->pages - touched.found) * WH_PAGE_SIZE);
	return r;
}

int wh_precopy_end_round(struct wh_precopy *p, bool last)
{
	const struct wh_frame frame = { .kind = WH_FRAME_ROUND_END,
		                        .round_end = { .round = p->round, .last = last } };
	int r = flush_zero(p);

	if (r == 0)
		r = wh_precopy_send_frame(p, &frame);
	while (r == 0 && !(p->landed && p->in_flight == 0))
		r = reap(p);
	return r;
}

int wh_precopy_settle(struct wh_precopy *p)
{
	const uint64_t rate_bps = p->rate_bps;
	int r;

	wh_assert(p->in_flight == 0);
	p->round++;
	p->landed = false;
	r = wh_precopy_end_round(p, false);
	p->rate_bps = rate_bps; /* that nothing was sent meanwhile says nothing about it */
	return r;
}

int wh_precopy_switch(struct wh_precopy *p)
{
	const struct wh_frame frame = { .kind = WH_FRAME_SWITCH };
	int r;

	p->awaits_switched = true;
	r = wh_precopy_send_frame(p, &frame);
	while (r == 0 && p->awaits_switched)
		r = reap(p);
	return r;
}

void wh_precopy_begin_round(struct wh_precopy *p)
{
	wh_assert(p->in_flight == 0);
	p->round++;
	p->landed = false;
	p->data_pages = 0;
	p->same_pages = 0;
	p->written_pages = 0;
	p->start_ns = wh_now_ns(p->clock);
	p->left_pages = wh_pageset_count(p->pending);
	wh_stat_set(p->stats, WH_STAT_ROUND, p->round);
	p->ahead_pages = p->find_touched ? wh_ram_touched_pages(p->ram) : 0;
	wh_stat_set(p->stats, WH_STAT_ROUND_BYTES,
	            (p->left_pages + p->ahead_pages + p->owed_pages) * WH_PAGE_SIZE);
}

int wh_precopy_round(struct wh_precopy *p, bool last, struct wh_round *ret)
{
	int r;

	wh_precopy_begin_round(p);
	r = p->find_touched ? send_touched(p) : send_pending(p);
	p->find_touched = false;
	if (r == 0)
		r = wh_precopy_end_round(p, last);
	if (r < 0)
		return r;

	*ret = (struct wh_round){ .data_pages = p->data_pages,
		                  .same_pages = p->same_pages,
		                  .duration_ns = wh_now_ns(p->clock) - p->start_ns };
	return 0;
}
