/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Two threads send: this one pushes over the link, in the order of push.h, and another answers
 * what the guest waits for (serve.h). They share the set of pending pages.
 *
 * Little is posted at once, in short runs: what is pushed because of a fault must not stand behind
 * much that was posted before it.
 */

#include "postcopy_source.h"

#include <errno.h>
#include <string.h>

#include "push.h"
#include "serve.h"

#include "wherry/limits.h"

/* Pages of one run that is pushed: 256 KiB. */
#define PUSH_PAGES 64u

/* What is posted leaves within this. */
#define BACKLOG_NS (20 * WH_NSEC_PER_MSEC)

/* --- what is missing -------------------------------------------------------------------------- */

/* Add what shares a granule with a page of @pages. */
static void round_out(const struct wh_ram *ram, struct wh_pageset *pages, uint32_t granule)
{
	struct wh_run run;
	uint64_t at = 0;

	while (granule > 1 && wh_pageset_find_run(pages, at, granule, &run)) {
		const struct wh_region *region = wh_ram_region(ram, run.first);
		const uint64_t behind = region->first_page + region->bytes / WH_PAGE_SIZE;
		const uint64_t first = run.first - (run.first - region->first_page) % granule;
		const uint64_t end = first + granule < behind ? first + granule : behind;

		wh_pageset_add(pages, first, end - first);
		at = end;
	}
}

static int flush(struct wh_precopy *p, struct wh_frame *frame)
{
	int r = frame->zero.count > 0 ? wh_precopy_send_frame(p, frame) : 0;

	frame->zero.count = 0;
	return r;
}

/* Add @run, of one region, to the frame; send the frame first if it has no room for it. */
static int tell(struct wh_precopy *p, struct wh_frame *frame, struct wh_run run)
{
	const struct wh_region *region = wh_ram_region(p->ram, run.first);
	const uint16_t id = (uint16_t)(region - p->ram->regions);
	int r = 0;

	if (frame->zero.count == WH_ZERO_RUNS_MAX || frame->zero.region != id)
		r = flush(p, frame);
	frame->zero.region = id;
	frame->zero.runs[frame->zero.count++] =
		(struct wh_run){ .first = run.first - region->first_page, .count = run.count };
	wh_transport_forget(p->link, id, (run.first - region->first_page) * WH_PAGE_SIZE,
	                    (uint64_t)run.count * WH_PAGE_SIZE);
	return r;
}

int wh_postcopy_announce(struct wh_postcopy_source *postcopy, struct wh_pageset *pages)
{
	struct wh_precopy *p = postcopy->precopy;
	struct wh_frame frame = { .kind = WH_FRAME_MISSING };
	struct wh_run run;
	uint64_t at = 0;

	round_out(p->ram, pages, postcopy->missing_granule);
	while (wh_pageset_find_run(pages, at, WH_RUN_PAGES_MAX, &run)) {
		at = run.first + run.count;
		while (run.count > 0) {
			const struct wh_run part = wh_ram_clip(p->ram, run);
			int r = tell(p, &frame, part);

			if (r < 0)
				return r;
			run.first += part.count;
			run.count -= part.count;
		}
	}
	return flush(p, &frame);
}

/* --- sending it ------------------------------------------------------------------------------- */

struct sending {
	struct wh_postcopy_source *postcopy;
	struct wh_push push;
	struct wh_serve *serve;
	uint64_t served_pages; /* of them, accounted */
};

/* Called often while something is sent: account what the other thread did. */
static int look(void *context)
{
	struct sending *s = context;
	struct wh_precopy *p = s->postcopy->precopy;
	uint64_t served;

	if (s->postcopy->serve_by)
		s->postcopy->serve_by(s->postcopy->context, s->serve);
	served = wh_push_served_pages(&s->push);
	p->left_pages -= served - s->served_pages;
	s->served_pages = served;
	p->urgent_bytes =
		wh_serve_sent_bytes(s->serve) + wh_stat_get(p->stats, WH_STAT_RDMA_READ_BYTES);
	wh_stat_set(p->stats, WH_STAT_PUSH_BYTES, p->data_pages * WH_PAGE_SIZE);
	return wh_serve_error(s->serve);
}

/* Send whole granules: a part of one cannot be placed. */
static int send_granules(struct wh_precopy *p, struct wh_run run)
{
	int r = 0;

	/* A run may reach into the next region, which has whole granules, too. */
	while (r == 0 && run.count > 0) {
		const struct wh_run part = wh_ram_clip(p->ram, run);

		r = wh_precopy_send_data(p, part);
		run.first += part.count;
		run.count -= part.count;
	}
	return r;
}

static int push_all(struct sending *s)
{
	const uint32_t granule = s->postcopy->fill_granule;
	struct wh_precopy *p = s->postcopy->precopy;
	const uint32_t max = granule > PUSH_PAGES ? granule : PUSH_PAGES;
	struct wh_run run;
	int r = 0;

	/* This ends: each turn takes pages out of the set. */
	while (r == 0 && wh_push_next(&s->push, max, &run))
		r = granule > 1 ? send_granules(p, run) : wh_precopy_send_run(p, run);
	return r;
}

static int run(struct sending *s, struct wh_error *err)
{
	struct wh_precopy *p = s->postcopy->precopy;
	int r;

	p->look = look;
	p->context = s;
	p->ends_early = false;
	p->backlog_ns = BACKLOG_NS;
	p->dirty_bps = 0;
	p->postcopy = true;
	if (p->copies)
		wh_copies_peer_lost(p->copies);
	round_out(p->ram, s->postcopy->hot, s->postcopy->fill_granule);
	wh_precopy_begin_round(p); /* counts what is pending: nobody may take of it meanwhile */
	r = s->postcopy->serve_by ? 0 : wh_serve_start(s->serve);
	if (r == 0)
		r = push_all(s);
	if (r == 0)
		r = wh_precopy_end_round(p, true);
	p->look = NULL;
	if (r == 0)
		r = look(s);
	return r < 0 ? wh_fail(err, r, "post-copy: %s", strerror(-r)) : 0;
}

int wh_postcopy_finish(struct wh_postcopy_source *postcopy, struct wh_error *err)
{
	struct wh_precopy *p = postcopy->precopy;
	struct sending s = { .postcopy = postcopy };
	const struct wh_rdma_lend_config lend = { .ram = p->ram, .clock = p->clock };
	struct wh_serve_config cfg = {
		.ram = p->ram,
		.push = &s.push,
		.stats = p->stats,
		.clock = p->clock,
		.granule = postcopy->fill_granule,
		.urgent = wh_transport_urgent(p->link),
	};
	int r;

	wh_push_init(&s.push, p->pending, postcopy->hot);
	cfg.lend = wh_transport_lend(p->link, &lend);
	s.serve = wh_serve_new(&cfg);
	r = s.serve ? run(&s, err) : wh_fail(err, -ENOMEM, "out of memory");
	s.serve = wh_serve_free(s.serve);
	cfg.lend = wh_rdma_lend_free(cfg.lend);
	wh_push_done(&s.push);
	return r;
}
