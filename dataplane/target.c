/* SPDX-License-Identifier: Apache-2.0 */

#include "target.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "postcopy_target.h"
#include "session.h"

#include "wherry/limits.h"

static enum wh_session_state state_of(const struct wh_target *target)
{
	return (enum wh_session_state)wh_stat_get(target->stats, WH_STAT_STATE);
}

int wh_target_send(struct wh_target *target, const struct wh_frame *frame)
{
	uint8_t bytes[WH_FRAME_LEN_MAX];
	struct wh_event event;
	int r;

	/* This ends: frames leave, or the link fails. A source that waits for them says nothing. */
	do {
		r = wh_transport_send(target->link, bytes, wh_frame_encode(bytes, frame));
		if (r == WH_TX_FULL && wh_transport_poll(target->link, &event, 1, UINT64_MAX) != 0)
			return -EPROTO;
	} while (r == WH_TX_FULL);
	return r;
}

const struct wh_region *wh_target_region(const struct wh_target *target, uint16_t id)
{
	const int32_t local = id < WH_REGIONS_MAX ? target->ids.local[id] : 0;

	return local ? &target->ram->regions[local - 1] : NULL;
}

static const struct wh_region *find_region(const struct wh_ram *ram, const char *name)
{
	for (uint16_t i = 0; i < ram->count; i++)
		if (!strcmp(ram->regions[i].name, name))
			return &ram->regions[i];
	return NULL;
}

/* Whether the source gave an id to @region before. */
static bool has_id(const struct wh_target *target, const struct wh_region *region)
{
	const int32_t number = (int32_t)(region - target->ram->regions) + 1;

	for (uint16_t i = 0; i < WH_REGIONS_MAX; i++)
		if (target->ids.local[i] == number)
			return true;
	return false;
}

static int on_region(struct wh_target *target, const struct wh_frame *frame, struct wh_error *err)
{
	const struct wh_region *region = find_region(target->ram, frame->region.name);
	struct wh_memory memory;
	int r;

	if (!region)
		return wh_fail(err, -EPROTO, "the source has RAM '%s', this side has not",
		               frame->region.name);
	if (region->bytes != frame->region.bytes)
		return wh_fail(err, -EPROTO,
		               "RAM '%s' has %" PRIu64 " bytes at the source, %" PRIu64 " here",
		               region->name, frame->region.bytes, region->bytes);
	if (frame->region.id >= WH_REGIONS_MAX)
		return wh_fail(err, -EPROTO, "RAM '%s' has an id out of range", region->name);
	if (has_id(target, region))
		return wh_fail(err, -EPROTO, "RAM '%s' is given twice", region->name);

	memory = (struct wh_memory){ .fd = region->fd, .writable = true, .bytes = region->bytes };
	r = wh_transport_map(target->link, frame->region.id, &memory);
	if (r == -EEXIST)
		return wh_fail(err, -EPROTO, "RAM id %u is given twice", frame->region.id);
	if (r < 0)
		return wh_fail(err, r, "cannot write to RAM '%s': %s", region->name, strerror(-r));
	target->ids.local[frame->region.id] = (int32_t)(region - target->ram->regions) + 1;
	target->ids.peer[region - target->ram->regions] = frame->region.id;
	target->agreed++;
	return 0;
}

/* Why making memory zero failed. */
static const char *reason(const struct wh_region *region, int r)
{
	if (r == -ENOSPC && region->page_bytes > WH_PAGE_SIZE)
		return "there are not enough free huge pages";
	return strerror(-r);
}

/* Memory the guest never touched is not sent: it must be zero here. */
static int empty_ram(const struct wh_ram *ram, struct wh_error *err)
{
	for (uint16_t i = 0; i < ram->count; i++) {
		int r = wh_ram_punch(&ram->regions[i], 0, ram->regions[i].bytes);

		if (r < 0)
			return wh_fail(err, r, "cannot empty RAM '%s': %s", ram->regions[i].name,
			               reason(&ram->regions[i], r));
	}
	return 0;
}

/* Whether what the source counted is what is here: START and RESUME. */
static int check_start(const struct wh_target *target, const struct wh_frame *frame,
                       struct wh_error *err)
{
	if (frame->start.page_size != WH_PAGE_SIZE)
		return wh_fail(err, -EPROTO, "the source has pages of %u bytes, %u expected",
		               frame->start.page_size, WH_PAGE_SIZE);
	if (frame->start.regions != target->agreed || target->agreed != target->ram->count)
		return wh_fail(err, -EPROTO, "the source has %u RAM regions, this side has %u",
		               frame->start.regions, target->ram->count);
	return 0;
}

/* Not all memory can be filled while it is waited for. All else goes on without post-copy. */
static int offer_postcopy(struct wh_target *target, struct wh_frame *ready, struct wh_error *err)
{
	int r = wh_postcopy_granules(target, ready, err);

	if (r != -EOPNOTSUPP)
		return r;
	target->missing = NULL;
	ready->ready.missing_order = ready->ready.fill_order = WH_GRANULE_NONE;
	return 0;
}

static int on_start(struct wh_target *target, const struct wh_frame *frame, struct wh_error *err)
{
	struct wh_frame ready = { .kind = WH_FRAME_READY };
	int r = check_start(target, frame, err);

	if (r == 0)
		r = empty_ram(target->ram, err);
	if (r == 0 && target->missing)
		r = offer_postcopy(target, &ready, err);
	if (r < 0)
		return r;
	if (target->missing && target->loosen && wh_ram_keeps(target->ram)) {
		wh_session_move(target->stats, WH_SESSION_ATTACHING);
		target->loosen(target);
	}
	wh_session_move(target->stats, WH_SESSION_PRECOPY);
	wh_stat_set(target->stats, WH_STAT_STARTED_NS, wh_now_ns(target->clock));
	r = wh_target_send(target, &ready);
	return r < 0 ? wh_fail(err, r, "answer to the source: %s", strerror(-r)) : 0;
}

static int on_resume(struct wh_target *target, const struct wh_frame *frame, struct wh_error *err)
{
	int r = check_start(target, frame, err);

	return r < 0 ? r : wh_postcopy_resume(target, err);
}

/* Act on runs of ZERO or MISSING: @act takes one of a region. */
static int on_runs(struct wh_target *target, const struct wh_frame *frame,
                   int (*act)(struct wh_target *, const struct wh_region *, struct wh_run),
                   struct wh_error *err)
{
	const struct wh_region *region = wh_target_region(target, frame->zero.region);

	if (!region)
		return wh_fail(err, -EPROTO, "pages of unknown RAM %u", frame->zero.region);
	for (uint16_t i = 0; i < frame->zero.count; i++) {
		int r;

		if (!wh_region_holds(region, frame->zero.runs[i]))
			return wh_fail(err, -EPROTO, "pages behind the end of RAM '%s'",
			               region->name);
		r = act(target, region, frame->zero.runs[i]);
		if (r < 0)
			return wh_fail(err, r, "RAM '%s': %s", region->name, reason(region, r));
	}
	return 0;
}

/* What a device holds on to is written over: it would go on with the pages that are there now. */
static int punch(struct wh_target *target, const struct wh_region *region, struct wh_run run)
{
	const uint16_t id = target->ids.peer[region - target->ram->regions];
	const uint64_t offset = run.first * WH_PAGE_SIZE;
	const uint64_t bytes = (uint64_t)run.count * WH_PAGE_SIZE;

	if (wh_transport_pins(target->link, id, offset, bytes))
		return wh_ram_wipe(region, offset, bytes);
	return wh_ram_punch(region, offset, bytes);
}

static int on_zero(struct wh_target *target, const struct wh_frame *frame, struct wh_error *err)
{
	return on_runs(target, frame, target->fault ? wh_postcopy_zero : punch, err);
}

static int on_missing(struct wh_target *target, const struct wh_frame *frame, struct wh_error *err)
{
	if (!target->missing)
		return wh_fail(err, -EOPNOTSUPP, "this migration was not set up for post-copy");
	return on_runs(target, frame, wh_postcopy_miss, err);
}

/* The guest will run on this memory: nothing may be written to it any more. */
void wh_target_seal(struct wh_target *target)
{
	for (uint16_t i = 0; i < WH_REGIONS_MAX; i++)
		if (target->ids.local[i])
			wh_transport_unmap(target->link, i);
}

/* Tell the source that the round is here. */
static int answer_round(struct wh_target *target, struct wh_error *err)
{
	const struct wh_frame landed = { .kind = WH_FRAME_ROUND_LANDED,
		                         .round_landed = { .round = target->round } };
	int r = wh_target_send(target, &landed);

	return r < 0 ? wh_fail(err, r, "answer to the source: %s", strerror(-r)) : 0;
}

/* Every byte is here. */
static int land(struct wh_target *target, struct wh_error *err)
{
	wh_stat_set(target->stats, WH_STAT_LANDED_NS, wh_now_ns(target->clock));
	wh_session_move(target->stats, WH_SESSION_LANDED);
	return answer_round(target, err);
}

static int on_round_end(struct wh_target *target, const struct wh_frame *frame,
                        struct wh_error *err)
{
	if (frame->round_end.round != target->round + 1)
		return wh_fail(err, -EPROTO, "round %u ended after round %u",
		               frame->round_end.round, target->round);
	target->round++;
	wh_stat_set(target->stats, WH_STAT_ROUND, target->round);
	if (!frame->round_end.last)
		return target->fault ? wh_fail(err, -EPROTO, "a round in post-copy")
		                     : answer_round(target, err);
	if (target->fault)
		return wh_postcopy_last_round(target, err);
	wh_target_seal(target);
	return land(target, err);
}

/* Which frames the source may send in which state. */
static bool is_expected(const struct wh_target *target, enum wh_frame_kind kind)
{
	const enum wh_session_state state = state_of(target);

	switch (kind) {
	case WH_FRAME_REGION:
		return state == WH_SESSION_OPENING;
	case WH_FRAME_START:
		return state == WH_SESSION_OPENING && !target->resume;
	case WH_FRAME_RESUME:
		return state == WH_SESSION_OPENING && target->resume;
	case WH_FRAME_ZERO:
	case WH_FRAME_ROUND_END:
		return state == WH_SESSION_PRECOPY ||
		       (state == WH_SESSION_POSTCOPY && !target->ending);
	case WH_FRAME_MISSING:
	case WH_FRAME_SWITCH:
		return state == WH_SESSION_PRECOPY;
	case WH_FRAME_READY:
	case WH_FRAME_ROUND_LANDED:
	case WH_FRAME_SWITCHED:
		return false;
	}
	return false;
}

static int on_frame(struct wh_target *target, const struct wh_event *event, struct wh_error *err)
{
	struct wh_frame frame;
	int r = wh_frame_decode(&frame, event->frame.data, event->frame.len);

	if (r < 0)
		return wh_fail(err, r, "a frame of %u bytes that is none", event->frame.len);
	if (!is_expected(target, frame.kind))
		return wh_fail(err, -EPROTO, "frame %d while %s", (int)frame.kind,
		               wh_session_state_name(state_of(target)));
	switch (frame.kind) {
	case WH_FRAME_REGION:
		return on_region(target, &frame, err);
	case WH_FRAME_START:
		return on_start(target, &frame, err);
	case WH_FRAME_ZERO:
		return on_zero(target, &frame, err);
	case WH_FRAME_ROUND_END:
		return on_round_end(target, &frame, err);
	case WH_FRAME_MISSING:
		return on_missing(target, &frame, err);
	case WH_FRAME_SWITCH:
		return wh_postcopy_switch(target, err);
	case WH_FRAME_RESUME:
		return on_resume(target, &frame, err);
	case WH_FRAME_READY:
	case WH_FRAME_ROUND_LANDED:
	case WH_FRAME_SWITCHED:
		break;
	}
	return -EPROTO; /* never expected, so not reached */
}

/* What the caller is to know after a step that went well. */
static int outcome(struct wh_target *target)
{
	if (state_of(target) == WH_SESSION_LANDED)
		return WH_TARGET_LANDED;
	if (!target->switched)
		return WH_TARGET_MORE;
	target->switched = false;
	return WH_TARGET_SWITCHED;
}

int wh_target_step(struct wh_target *target, uint64_t deadline_ns, struct wh_error *err)
{
	const bool landed = state_of(target) == WH_SESSION_LANDED;
	struct wh_event event;
	int r = wh_transport_poll(target->link, &event, 1,
	                          wh_postcopy_deadline(target, deadline_ns));

	/* Once every byte is here, it does not matter how the link ends. */
	if (landed && (r < 0 || (r > 0 && event.type == WH_EVENT_CLOSED)))
		return WH_TARGET_CLOSED;
	if (r < 0)
		return wh_fail(err, r, "the link to the source: %s", strerror(-r));
	if (r > 0 && event.type == WH_EVENT_CLOSED)
		return wh_fail(err, -ECONNRESET, "the source closed the link early");
	if (r > 0 && event.type != WH_EVENT_FRAME)
		return wh_fail(err, -EPROTO, "a write was completed that nobody posted");
	if (r > 0)
		r = on_frame(target, &event, err);
	if (r == 0 && target->fault)
		r = wh_postcopy_look(target, err);
	if (r > 0)
		r = land(target, err);
	return r < 0 ? r : outcome(target);
}

void wh_target_done(struct wh_target *target)
{
	/* The link's threads place pages by the rules of what ends here. */
	wh_target_seal(target);
	target->fault = wh_fault_free(target->fault);
	target->reads = wh_rdma_reads_free(target->reads);
}
