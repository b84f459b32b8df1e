/* SPDX-License-Identifier: Apache-2.0 */

/*
 * From SWITCH on the link writes no more to RAM files: what it brings goes through the rule of
 * missing.h into the hypervisor's mapping, from the threads of the link's connections. Faults are
 * served by one more (fault.h).
 */

#include "postcopy_target.h"

#include <errno.h>
#include <sched.h>
#include <string.h>
#include <unistd.h>

#include "session.h"

#include "wherry/assert.h"
#include "wherry/limits.h"

/* How often a target looks whether its faults are still served. */
#define LOOK_NS (50 * WH_NSEC_PER_MSEC)

/* And at the end, for the last answers to faults: they come beside the link. */
#define LOOK_AT_END_NS WH_NSEC_PER_MSEC

static uint8_t order_of(uint32_t granule)
{
	return (uint8_t)__builtin_ctz(granule);
}

int wh_postcopy_granules(struct wh_target *target, struct wh_frame *ready, struct wh_error *err)
{
	uint32_t missing, fill;
	int r = wh_ram_granules(target->ram, &missing, &fill);

	if (r < 0)
		return wh_fail(err, r, "post-copy cannot fill this memory: %s", strerror(-r));
	ready->ready.missing_order = order_of(missing);
	ready->ready.fill_order = order_of(fill);
	return 0;
}

/*
 * Have pages read by RDMA, if the link has that. Called as soon as there will be some to read: until the guest runs here
 * nobody waits for it.
 */
static void open_reads(struct wh_target *target)
{
	struct wh_rdma_reads_config cfg = { .ram = target->ram,
		                            .ids = &target->ids,
		                            .missing = target->missing };
	uint32_t missing;

	if (!target->reads && wh_ram_granules(target->ram, &missing, &cfg.granule) == 0)
		target->reads = wh_transport_reads(target->link, &cfg);
}

int wh_postcopy_miss(struct wh_target *target, const struct wh_region *region, struct wh_run run)
{
	const bool first = wh_missing_left(target->missing) == 0;

	wh_missing_add(target->missing, region->first_page + run.first, run.count);
	wh_transport_discard(target->link, target->ids.peer[region - target->ram->regions],
	                     run.first * WH_PAGE_SIZE, (uint64_t)run.count * WH_PAGE_SIZE);
	if (first)
		open_reads(target);
	return wh_ram_empty(region, run);
}

int wh_postcopy_zero(struct wh_target *target, const struct wh_region *region, struct wh_run run)
{
	return wh_missing_zero(target->missing, region->first_page + run.first, run.count);
}

/* --- pages come ------------------------------------------------------------------------------- */

/* In a thread of the link: place what was pushed. */
static int put(void *context, uint64_t offset, const void *from, uint32_t len)
{
	const struct wh_target_region *region = context;
	const struct wh_target *target = region->target;
	const uint64_t first = region->first_page + offset / WH_PAGE_SIZE;
	int r = wh_missing_put(target->missing, first, len / WH_PAGE_SIZE, from);

	/* This ends: faults are served, and events taken with them; or that has failed. */
	while (r == -EAGAIN && !wh_fault_error(target->fault)) {
		(void)sched_yield();
		r = wh_missing_put(target->missing, first, len / WH_PAGE_SIZE, from);
	}
	return r;
}

/* Have the link write through put(). */
static int divert(struct wh_target *target)
{
	int r = 0;

	for (uint16_t i = 0; r == 0 && i < target->ram->count; i++) {
		const struct wh_region *region = &target->ram->regions[i];
		struct wh_memory memory = { .fd = -1,
			                    .writable = true,
			                    .bytes = region->bytes,
			                    .put = put,
			                    .context = &target->regions[i] };

		target->regions[i] = (struct wh_target_region){ .target = target,
			                                        .first_page = region->first_page };
		r = wh_transport_map(target->link, target->ids.peer[i], &memory);
	}
	return r;
}

/* Serve the faults of a hypervisor that is attached, and take pages. */
static int serve(struct wh_target *target)
{
	struct wh_fault_config cfg = {
		.missing = target->missing,
		.ram = target->ram,
		.ids = &target->ids,
		.clock = target->clock,
		.stats = target->stats,
		.urgent = wh_transport_urgent(target->link),
	};
	int r;

	if (target->resume)
		open_reads(target);
	cfg.reads = target->reads;
	target->fault = wh_fault_new(&cfg);
	if (!target->fault)
		return -ENOMEM;
	wh_target_seal(target);
	r = divert(target);
	if (r == 0 && !target->fault_by_hand)
		r = wh_fault_start(target->fault);
	return r;
}

static int begin(struct wh_target *target, struct wh_error *err)
{
	int r;

	if (wh_transport_urgent(target->link) < 0)
		return wh_fail(err, -EPROTO, "post-copy without an urgent connection");
	r = target->attach(target, &target->missing->fill, err);
	if (r < 0)
		return r;
	r = serve(target);
	if (r < 0)
		return wh_fail(err, r, "cannot begin post-copy: %s", strerror(-r));
	wh_stat_set(target->stats, WH_STAT_POSTCOPY_NS, wh_now_ns(target->clock));
	wh_session_move(target->stats, WH_SESSION_POSTCOPY);
	target->switched = true;
	return 0;
}

int wh_postcopy_switch(struct wh_target *target, struct wh_error *err)
{
	const struct wh_frame switched = { .kind = WH_FRAME_SWITCHED };
	int r;

	if (!target->missing)
		return wh_fail(err, -EOPNOTSUPP, "this migration was not set up for post-copy");
	wh_session_move(target->stats, WH_SESSION_ATTACHING);
	r = begin(target, err);
	if (r < 0)
		return r;
	r = wh_target_send(target, &switched);
	return r < 0 ? wh_fail(err, r, "answer to the source: %s", strerror(-r)) : 0;
}

/* --- after a failure -------------------------------------------------------------------------- */

/* Tell the source everything that is missing. */
static int tell_missing(struct wh_target *target)
{
	struct wh_frame frame = { .kind = WH_FRAME_MISSING };
	struct wh_run run;
	uint64_t at = 0;
	int r = 0;

	/* This ends: each turn gets further. */
	while (r == 0 && wh_missing_find(target->missing, at, WH_RUN_PAGES_MAX, &run)) {
		const struct wh_run part = wh_ram_clip(target->ram, run);
		const struct wh_region *region = wh_ram_region(target->ram, part.first);
		const uint16_t id = target->ids.peer[region - target->ram->regions];

		if (frame.zero.count == WH_ZERO_RUNS_MAX ||
		    (frame.zero.count > 0 && frame.zero.region != id)) {
			r = wh_target_send(target, &frame);
			frame.zero.count = 0;
		}
		frame.zero.region = id;
		frame.zero.runs[frame.zero.count++] =
			(struct wh_run){ .first = part.first - region->first_page,
			                 .count = part.count };
		at = part.first + part.count;
	}
	return r == 0 && frame.zero.count > 0 ? wh_target_send(target, &frame) : r;
}

int wh_postcopy_resume(struct wh_target *target, struct wh_error *err)
{
	struct wh_frame ready = { .kind = WH_FRAME_READY };
	int r = wh_postcopy_granules(target, &ready, err);

	if (r < 0)
		return r;
	r = tell_missing(target);
	if (r < 0)
		return wh_fail(err, r, "answer to the source: %s", strerror(-r));
	r = begin(target, err);
	if (r < 0)
		return r;
	r = wh_target_send(target, &ready);
	return r < 0 ? wh_fail(err, r, "answer to the source: %s", strerror(-r)) : 0;
}

/* --- the end ---------------------------------------------------------------------------------- */

int wh_postcopy_last_round(struct wh_target *target, struct wh_error *err)
{
	(void)err;
	target->ending = true;
	target->give_up_ns = wh_now_ns(target->clock) + WH_PEER_SILENCE_NS;
	return 0;
}

uint64_t wh_postcopy_deadline(const struct wh_target *target, uint64_t deadline_ns)
{
	uint64_t look_ns;

	if (!target->fault)
		return deadline_ns;
	look_ns = wh_now_ns(target->clock) + (target->ending ? LOOK_AT_END_NS : LOOK_NS);
	return look_ns < deadline_ns ? look_ns : deadline_ns;
}

/* Nothing is missing. Faults are served until the hypervisor is let go. */
static int end(struct wh_target *target, struct wh_error *err)
{
	int r;

	wh_session_move(target->stats, WH_SESSION_ATTACHING);
	wh_target_seal(target);
	r = target->detach(target, err);
	if (r < 0)
		return r;
	target->fault = wh_fault_free(target->fault);
	target->reads = wh_rdma_reads_free(target->reads);
	return 1;
}

int wh_postcopy_look(struct wh_target *target, struct wh_error *err)
{
	const uint64_t left = wh_missing_left(target->missing);
	int r = wh_fault_error(target->fault);

	if (r < 0)
		return wh_fail(err, r, "serving the guest's faults: %s", strerror(-r));
	if (!target->ending)
		return 0;
	if (left == 0)
		return end(target, err);
	if (wh_now_ns(target->clock) < target->give_up_ns)
		return 0;
	return wh_fail(err, -EPROTO, "the source has sent all it has, %ju pages are missing",
	               (uintmax_t)left);
}
