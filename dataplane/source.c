/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The source's way through a migration, from top to bottom:
 *
 *	agree on the regions; begin to track
 *	wait until reads have ended that were under way then, if the guest's disks have O_DIRECT
 *	round 1: what the guest ever touched
 *	round n: what it wrote meanwhile, until that can be sent within the downtime target; and what
 *	         such reads may have changed since (echo.h)
 *	have the guest stopped
 *	last pass: what it wrote until then
 *
 * Or, when it was told to switch to post-copy:
 *
 *	end the round early; say what the destination lacks
 *	have the guest stopped; say what it wrote until then
 *	the guest runs there: send all of that (postcopy_source.h)
 */

#include "source.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "converge.h"
#include "echo.h"
#include "precopy.h"
#include "session.h"
#include "wire.h"

#include "wherry/assert.h"
#include "wherry/limits.h"

/*
 * What a round posts leaves within this: so long it takes to end one early, beside what the kernel
 * holds. A link that is fast gets as much as it can take.
 */
#define ROUND_BACKLOG_NS (125 * WH_NSEC_PER_MSEC)

/* So few are given back in a millisecond or two, while the guest stands still. */
#define ANNOUNCE_PAGES 2048

/* A guest that writes too fast for that is not waited for. */
#define ANNOUNCEMENTS_MAX 4u

/* All waits for the rounds before the last pass, the hypervisors as well: for none longer than this. */
#define LINGER_NS (100 * WH_NSEC_PER_MSEC)

/*
 * With this left, the hypervisors begin to get ready. They take a moment, in which the guest writes on, so a
 * round beside that costs nothing.
 */
#define NEARLY_NS (60 * WH_NSEC_PER_MSEC)

/* Rounds after that one are made if they take no longer than this. */
#define AGAIN_NS (100 * WH_NSEC_PER_MSEC)

/* The guest runs on until they have ended, or even beside them: so less to send pays, too. */
#define AGAIN_WORTH_NS (WH_NSEC_PER_MSEC / 4)

/*
 * Rounds are no shorter than this part of the wait for reads with O_DIRECT: what has still to be sent
 * because of them does not become less sooner, and each scan costs the guest faults.
 */
#define ROUNDS_PER_WAIT 12u

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

/* Take the next frame. Return: 0 or -errno. */
static int await_frame(struct wh_source *source, struct wh_frame *ret)
{
	struct wh_event event;
	int r = wh_transport_poll(source->link, &event, 1, UINT64_MAX);

	if (r < 0)
		return r;
	if (event.type != WH_EVENT_FRAME)
		return -ECONNRESET;
	return wh_frame_decode(ret, event.frame.data, event.frame.len);
}

/* What a destination that resumes lacks. Return: 0, or -EPROTO if that cannot be. */
static int add_missing(const struct wh_ram *ram, const struct wh_frame *frame,
                       struct wh_pageset *pending)
{
	const struct wh_region *region = &ram->regions[frame->zero.region];

	if (frame->zero.region >= ram->count)
		return -EPROTO;
	for (uint16_t i = 0; i < frame->zero.count; i++) {
		const struct wh_run run = frame->zero.runs[i];

		if (!wh_region_holds(region, run))
			return -EPROTO;
		wh_pageset_add(pending, region->first_page + run.first, run.count);
	}
	return 0;
}

/* Whether all regions have whole granules to fill. */
static bool are_whole(const struct wh_ram *ram, uint8_t fill_order)
{
	for (uint16_t i = 0; i < ram->count && fill_order != WH_GRANULE_NONE; i++)
		if (ram->regions[i].bytes % ((uint64_t)WH_PAGE_SIZE << fill_order))
			return false;
	return true;
}

static int await_ready(struct wh_source *source, struct wh_pageset *pending)
{
	struct wh_frame frame;
	int r = await_frame(source, &frame);

	/* This ends: each names pages, and READY follows, or the link fails. */
	while (r == 0 && source->resume && frame.kind == WH_FRAME_MISSING) {
		r = add_missing(source->ram, &frame, pending);
		if (r == 0)
			r = await_frame(source, &frame);
	}
	if (r < 0)
		return r;
	if (frame.kind != WH_FRAME_READY ||
	    (source->resume && frame.ready.missing_order == WH_GRANULE_NONE))
		return -EPROTO;
	source->missing_order = frame.ready.missing_order;
	source->fill_order = frame.ready.fill_order;
	return are_whole(source->ram, source->fill_order) ? 0 : -EPROTO;
}

/* Tell the destination what there is, and wait until it agrees. */
static int agree(struct wh_source *source, struct wh_pageset *pending)
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
	frame = (struct wh_frame){ .kind = source->resume ? WH_FRAME_RESUME : WH_FRAME_START,
		                   .start = { .page_size = WH_PAGE_SIZE, .regions = ram->count } };
	r = send_frame(source, &frame);
	return r < 0 ? r : await_ready(source, pending);
}

static uint64_t bytes(uint64_t pages)
{
	return pages * WH_PAGE_SIZE;
}

/* What the guest wrote since the last time, or gave back. */
static int collect_written(struct wh_precopy *p, struct wh_pageset *into)
{
	int r = wh_dirty_collect(p->dirty, into);

	return r < 0 ? r : wh_ram_add_gone(p->ram, into);
}

/* The same when it stands still. */
static int collect_last(struct wh_precopy *p, struct wh_pageset *into)
{
	int r = wh_dirty_collect_last(p->dirty, into);

	return r < 0 ? r : wh_ram_add_gone(p->ram, into);
}

/*
 * Add what is to be sent next to the pending pages: what the guest wrote, and what was sent too soon
 * after it was reported. Return: 0 or -errno; @fresh_pages: how many the guest wrote.
 */
static int collect_pending(struct wh_precopy *p, uint64_t *fresh_pages)
{
	struct wh_pageset *fresh = p->echo ? wh_echo_fresh(p->echo) : p->pending;
	int r = collect_written(p, fresh);

	if (r < 0)
		return r;
	*fresh_pages = wh_pageset_count(fresh);
	if (!p->echo)
		return 0;
	wh_stat_add(p->stats, WH_STAT_ECHO_BYTES,
	            bytes(wh_echo_note(p->echo, wh_now_ns(p->clock), p->pending)));
	p->owed_pages = wh_echo_pages(p->echo) - *fresh_pages; /* those are in it, and pending */
	return 0;
}

/* What the guest wrote since this round began. Return: 0 or -errno; @left_bytes: what is left to send. */
static int collect(struct wh_precopy *p, uint64_t *left_bytes)
{
	const uint64_t period_ns = wh_now_ns(p->clock) - p->start_ns;
	uint64_t fresh_pages;
	int r = collect_pending(p, &fresh_pages);

	if (r < 0)
		return r;
	*left_bytes = bytes(wh_pageset_count(p->pending) + p->owed_pages);
	p->dirty_bps = wh_bytes_per_s(bytes(fresh_pages), period_ns);
	wh_stat_set(p->stats, WH_STAT_DIRTY_BPS, p->dirty_bps);
	wh_stat_set(p->stats, WH_STAT_LEFT_BYTES, *left_bytes);
	return 0;
}

/* Asked by the rounds: whether to end. */
static int look(void *context)
{
	struct wh_source *source = context;
	int mode = source->mode;

	if (mode == WH_SWITCH_NONE)
		mode = source->switch_mode(source);
	if (mode < 0)
		return mode;
	if (mode == WH_SWITCH_POSTCOPY && source->missing_order == WH_GRANULE_NONE)
		mode = WH_SWITCH_NONE; /* the daemon knows, or is about to */
	source->mode = mode;
	return mode != WH_SWITCH_NONE;
}

/*
 * Rounds, until what is left fits into the downtime target and gets no smaller, or they are to end.
 * The daemon sees to that if it never fits.
 */
static int run_rounds_once(struct wh_source *source, struct wh_precopy *p,
                           struct wh_rate_mean *rate)
{
	struct wh_round round;
	/* With an echo, no round follows these: see round_meanwhile(). */
	const uint64_t worth_ns = p->echo ? WH_ROUND_WORTH_NS : NEARLY_NS;
	uint64_t left_bytes = bytes(wh_ram_touched_pages(p->ram));
	uint64_t before_bytes;

	do {
		int r;

		before_bytes = left_bytes;
		r = wh_precopy_round(p, false, &round);
		if (r < 0)
			return r;
		/* What is left counts in huge pages, and many of theirs will be left out, too. */
		wh_rate_mean_add(rate, bytes(round.data_pages + round.same_pages),
		                 round.duration_ns);
		source->rate_bps = wh_rate_mean_bps(rate);
		wh_stat_set(p->stats, WH_STAT_RATE_BPS, source->rate_bps);

		if (p->echo)
			r = wh_precopy_wait(p, p->start_ns + source->echo_ns / ROUNDS_PER_WAIT);
		if (r == 0 && source->mode != WH_SWITCH_NONE)
			return 0;
		if (r == 0)
			r = collect(p, &left_bytes);
		if (r < 0)
			return r;
	} while (!wh_converged(left_bytes, source->rate_bps, source->downtime_target_ns) ||
	         wh_round_helps(before_bytes, left_bytes, source->rate_bps, worth_ns));
	return 0;
}

/* Little is left, and becomes more for a while: not more than the guest can be stopped for. */
static int linger(struct wh_source *source, struct wh_precopy *p)
{
	int r = source->is_near ? 0 : source->lingers(source);

	source->is_near = true;
	return r < 0 ? r : wh_precopy_wait(p, wh_now_ns(p->clock) + LINGER_NS);
}

static int run_rounds(struct wh_source *source, struct wh_precopy *p)
{
	struct wh_rate_mean rate = { 0 };
	int r = run_rounds_once(source, p, &rate);

	/* This ends: the daemon says so, or the link fails. */
	while (r == 0 && source->lingers && source->mode == WH_SWITCH_NONE) {
		r = linger(source, p);
		if (r == 0 && source->mode == WH_SWITCH_NONE)
			r = run_rounds_once(source, p, &rate);
	}
	return r;
}

/* Whether to send @left_bytes in a round before the guest is stopped; the one before left @before_bytes. */
static bool round_again_helps(const struct wh_source *source, const struct wh_precopy *p,
                              uint64_t before_bytes, uint64_t left_bytes)
{
	if (!wh_round_helps(before_bytes, left_bytes, source->rate_bps, AGAIN_WORTH_NS) ||
	    !wh_converged(left_bytes, source->rate_bps, AGAIN_NS))
		return false;
	return !wh_converged(left_bytes, source->rate_bps, source->downtime_target_ns) ||
	       wh_round_is_cheap(p->dirty_bps, source->rate_bps);
}

/* To get ready to stop the guest took a moment, and it went on writing: send that, too, if it is worth it. */
static int go_round_again(struct wh_source *source, struct wh_precopy *p)
{
	uint64_t left_bytes = UINT64_MAX;

	if (p->echo)
		return 0; /* all that is pending may still change: it would be sent twice */

	/* This ends: each leaves at most half of what the one before left. */
	for (;;) {
		const uint64_t before_bytes = left_bytes;
		struct wh_round round;
		int r = collect(p, &left_bytes);

		if (r < 0 || !round_again_helps(source, p, before_bytes, left_bytes))
			return r;
		r = wh_precopy_round(p, false, &round);
		if (r < 0)
			return r;
	}
}

/* The guest stands still: send what it wrote until then. */
static int last_pass(struct wh_source *source, struct wh_precopy *p)
{
	struct wh_round round;
	int r;

	wh_session_move(p->stats, WH_SESSION_LAST_PASS);
	wh_stat_set(p->stats, WH_STAT_STOPPED_NS, wh_now_ns(source->clock));
	r = collect_last(p, p->pending);
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

/* The rounds are over, one way or another. */
static void end_rounds(struct wh_precopy *p)
{
	p->look = NULL;
	p->ends_early = false;
	p->backlog_ns = 0;
}

/*
 * What reads with O_DIRECT may still change becomes pending: from here on nothing is sent before the guest
 * stands still, and then they have ended.
 */
static void end_echo(struct wh_precopy *p)
{
	uint64_t before;

	if (!p->echo)
		return;
	before = wh_pageset_count(p->pending);
	wh_echo_take_all(p->echo, p->pending);
	wh_stat_add(p->stats, WH_STAT_ECHO_BYTES, bytes(wh_pageset_count(p->pending) - before));
	p->owed_pages = 0;
}

static int converge(struct wh_source *source, struct wh_precopy *p, struct wh_error *err)
{
	wh_stat_set(p->stats, WH_STAT_CONVERGED_NS, wh_now_ns(source->clock));
	wh_session_move(p->stats, WH_SESSION_CONVERGED);
	return source->converged(source, err);
}

/* Send what is pending, while the hypervisors get ready. */
static int round_meanwhile(struct wh_source *source, struct wh_precopy *p, struct wh_error *err)
{
	struct wh_round round;
	int r;

	if (source->mode != WH_SWITCH_NONE || p->echo)
		return 0; /* the guest is stopped at once; or all that is pending may still change */
	if (wh_pageset_count(p->pending) == 0)
		return 0;
	r = wh_precopy_round(p, false, &round);
	return r < 0 ? wh_fail(err, r, "the round before the last pass: %s", strerror(-r)) : 0;
}

/* Have the guest stopped, with as little left to send as is worth it. */
static int stop_after_rounds(struct wh_source *source, struct wh_precopy *p, struct wh_error *err)
{
	int r = converge(source, p, err);

	if (r == 0)
		r = round_meanwhile(source, p, err);
	if (r == 0)
		r = source->stop_guest(source, err);
	/* This ends: the daemon asks for it once or twice. */
	while (r == WH_SOURCE_AGAIN) {
		r = go_round_again(source, p);
		if (r < 0)
			return wh_fail(err, r, "a round before the last pass: %s", strerror(-r));
		r = source->converged(source, err);
		if (r == 0)
			r = source->stop_guest(source, err);
	}
	return r;
}

/* --- post-copy -------------------------------------------------------------------------------- */

/*
 * What the guest has written is hot. Say which of it was not pending before, and is now.
 * Return: how many pages, or -errno.
 */
static int64_t announce_fresh(struct wh_postcopy_source *postcopy, struct wh_pageset *fresh)
{
	struct wh_pageset *pending = postcopy->precopy->pending;
	int r;

	wh_pageset_merge(postcopy->hot, fresh);
	wh_pageset_subtract(fresh, pending);
	r = wh_postcopy_announce(postcopy, fresh);
	wh_pageset_merge(pending, fresh);
	return r < 0 ? r : (int64_t)wh_pageset_count(fresh);
}

/* The guest runs: say what it has written since the last time, and have it given back. */
static int64_t announce_more(struct wh_postcopy_source *postcopy)
{
	struct wh_precopy *p = postcopy->precopy;
	wh_cleanup(wh_pageset_freep) struct wh_pageset *fresh = wh_pageset_new(p->ram->pages);
	int64_t pages = fresh ? collect_written(p, fresh) : -ENOMEM;
	int r;

	if (pages == 0)
		pages = announce_fresh(postcopy, fresh);
	if (pages < 0)
		return pages;
	r = wh_precopy_settle(p);
	return r < 0 ? r : pages;
}

/*
 * Say what is pending while the guest runs, until little is left to say: the destination takes 100 ms
 * to give back 512 MiB, and the guest must not stand still for that.
 */
static int announce_all(struct wh_postcopy_source *postcopy)
{
	struct wh_precopy *p = postcopy->precopy;
	int r = wh_postcopy_announce(postcopy, p->pending);
	int64_t pages = r < 0 ? r : ANNOUNCE_PAGES + 1;

	if (r == 0)
		r = wh_precopy_settle(p);
	for (uint32_t i = 0; r == 0 && pages > ANNOUNCE_PAGES && i < ANNOUNCEMENTS_MAX; i++) {
		pages = announce_more(postcopy);
		r = pages < 0 ? (int)pages : 0;
	}
	return r;
}

/* The guest stands still: say what it wrote until then, and that it may run there. */
static int hand_over(struct wh_source *source, struct wh_postcopy_source *postcopy)
{
	struct wh_precopy *p = postcopy->precopy;
	wh_cleanup(wh_pageset_freep) struct wh_pageset *fresh = wh_pageset_new(p->ram->pages);
	int r;

	wh_session_move(p->stats, WH_SESSION_LAST_PASS);
	wh_stat_set(p->stats, WH_STAT_STOPPED_NS, wh_now_ns(source->clock));
	r = fresh ? collect_last(p, fresh) : -ENOMEM;
	if (r == 0) {
		const int64_t pages = announce_fresh(postcopy, fresh);

		r = pages < 0 ? (int)pages : 0;
	}
	wh_stat_set(p->stats, WH_STAT_SCANNED_NS, wh_now_ns(source->clock));
	return r < 0 ? r : wh_precopy_switch(p);
}

/* The guest may run there: send what that lacks. */
static int send_rest(struct wh_source *source, struct wh_postcopy_source *postcopy,
                     struct wh_error *err)
{
	struct wh_stats *stats = source->stats;
	int r;

	source->became_postcopy = true;
	wh_stat_set(stats, WH_STAT_POSTCOPY_NS, wh_now_ns(source->clock));
	wh_session_move(stats, WH_SESSION_POSTCOPY);
	r = source->switched(source, err);
	if (r == 0)
		r = wh_postcopy_finish(postcopy, err);
	if (r < 0)
		return r;
	wh_stat_set(stats, WH_STAT_LANDED_NS, wh_now_ns(source->clock));
	wh_session_move(stats, WH_SESSION_LANDED);
	return 0;
}

/* What is pending is told while the guest runs: so there is little to tell while it stands still. */
static int become_postcopy(struct wh_source *source, struct wh_postcopy_source *postcopy,
                           struct wh_error *err)
{
	struct wh_precopy *p = postcopy->precopy;
	int r;

	if (wh_transport_urgent(p->link) < 0)
		return wh_fail(err, -EOPNOTSUPP, "this migration was not set up for post-copy");
	r = collect_written(p, postcopy->hot);
	if (r == 0) {
		wh_pageset_merge(p->pending, postcopy->hot);
		r = announce_all(postcopy);
	}
	if (r < 0)
		return wh_fail(err, r, "announcing post-copy: %s", strerror(-r));
	r = converge(source, p, err);
	if (r == 0)
		r = source->stop_guest(source, err);
	if (r > 0) /* what is missing was told: no round fits in between */
		return wh_fail(err, -EPROTO, "one more round on the way to post-copy");
	if (r < 0)
		return r;
	r = hand_over(source, postcopy);
	if (r < 0)
		return wh_fail(err, r, "switching to post-copy: %s", strerror(-r));
	return send_rest(source, postcopy, err);
}

static int run_postcopy(struct wh_source *source, struct wh_precopy *p, struct wh_error *err)
{
	wh_cleanup(wh_pageset_freep) struct wh_pageset *hot = wh_pageset_new(p->ram->pages);
	struct wh_postcopy_source postcopy = {
		.precopy = p,
		.hot = hot,
		.serve_by = source->serve_by,
		.context = source->context,
	};

	/* Else look() did not let it come to this. */
	wh_assert(source->missing_order < 32 && source->fill_order < 32);
	postcopy.missing_granule = 1u << source->missing_order;
	postcopy.fill_granule = 1u << source->fill_order;
	if (!hot)
		return wh_fail(err, -ENOMEM, "out of memory");
	return source->resume ? send_rest(source, &postcopy, err)
	                      : become_postcopy(source, &postcopy, err);
}

/* --- the session ------------------------------------------------------------------------------ */

static int move_memory(struct wh_source *source, struct wh_precopy *p, struct wh_error *err)
{
	int r;

	wh_stat_set(p->stats, WH_STAT_STARTED_NS, wh_now_ns(p->clock));
	wh_stat_set(p->stats, WH_STAT_RAM_BYTES, bytes(p->ram->pages));
	p->find_touched = true;
	r = run_rounds(source, p);
	end_rounds(p);
	end_echo(p);
	if (r < 0)
		return wh_fail(err, r, "precopy, round %u: %s", p->round, strerror(-r));
	if (source->mode == WH_SWITCH_POSTCOPY)
		return run_postcopy(source, p, err);
	r = stop_after_rounds(source, p, err);
	if (r < 0)
		return r;
	r = last_pass(source, p);
	return r < 0 ? wh_fail(err, r, "last pass: %s", strerror(-r)) : 0;
}

/*
 * Tracking has just begun. Reads with O_DIRECT that were under way then are never reported: nothing is copied
 * before they have ended. Return: 0 or -errno.
 */
static int await_reads(struct wh_source *source, struct wh_precopy *p, struct wh_error *err)
{
	int r = 0;

	if (p->echo)
		r = wh_precopy_wait(p, wh_now_ns(p->clock) + source->echo_ns);
	return r < 0 ? wh_fail(err, r, "waiting for the disks: %s", strerror(-r)) : 0;
}

/* For all of a crew but the first. */
static struct wh_look *new_looks(uint32_t crew)
{
	struct wh_look *looks = crew > 1 ? aligned_alloc(WH_PAGE_SIZE, (crew - 1) * sizeof(*looks))
	                                 : NULL;

	if (looks)
		memset(looks, 0, (crew - 1) * sizeof(*looks));
	return looks;
}

static void free_looks(struct wh_look **looks)
{
	free(*looks);
}

int wh_source_run(struct wh_source *source, struct wh_error *err)
{
	wh_cleanup(free_looks) struct wh_look *looks = NULL;
	wh_cleanup(wh_pageset_freep) struct wh_pageset *pending =
		wh_pageset_new(source->ram->pages);
	wh_cleanup(wh_pageset_freep) struct wh_pageset *gone = wh_pageset_new(source->ram->pages);
	const uint64_t echo_ns = source->resume ? 0 : source->echo_ns;
	wh_cleanup(wh_echo_freep) struct wh_echo *echo =
		echo_ns > 0 ? wh_echo_new(source->ram->pages, echo_ns) : NULL;
	struct wh_precopy precopy = {
		.link = source->link,
		.ram = source->ram,
		.clock = source->clock,
		.stats = source->stats,
		.copies = source->copies,
		.pending = pending,
		.gone = gone,
		.echo = echo,
		.look = source->switch_mode ? look : NULL,
		.context = source,
		.backlog_ns = ROUND_BACKLOG_NS,
	};
	int r;

	wh_assert(source->copies || !wh_ram_has_huge(source->ram));
	if (!pending || !gone || (echo_ns > 0 && !echo))
		return wh_fail(err, -ENOMEM, "out of memory");
	r = agree(source, pending);
	if (r < 0)
		return wh_fail(err, r, "no agreement with the destination on the guest's RAM: %s",
		               strerror(-r));
	if (source->resume) {
		end_rounds(&precopy);
		return run_postcopy(source, &precopy, err);
	}
	if (source->missing_order == WH_GRANULE_NONE && source->no_postcopy)
		source->no_postcopy(source);
	wh_session_move(source->stats, WH_SESSION_ATTACHING);
	r = source->track(source, err);
	if (r < 0)
		return r;
	precopy.dirty = source->dirty;
	looks = source->crew ? new_looks(wh_crew_size(source->crew)) : NULL;
	precopy.looks = looks;
	precopy.crew = looks ? source->crew : NULL; /* without memory there is one who looks */
	wh_session_move(source->stats, WH_SESSION_PRECOPY);
	r = await_reads(source, &precopy, err);
	return r < 0 ? r : move_memory(source, &precopy, err);
}
