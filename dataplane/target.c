/* SPDX-License-Identifier: Apache-2.0 */

#include "target.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "session.h"
#include "wire.h"

#include "wherry/limits.h"

static enum wh_session_state state_of(const struct wh_target *target)
{
	return (enum wh_session_state)wh_stat_get(target->stats, WH_STAT_STATE);
}

static int send_frame(struct wh_target *target, const struct wh_frame *frame)
{
	uint8_t bytes[WH_FRAME_LEN_MAX];
	int r = wh_transport_send(target->link, bytes, wh_frame_encode(bytes, frame));

	/* One answer for each round: the queue is never full with a peer that keeps to that. */
	return r == WH_TX_FULL ? -EPROTO : r;
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
		if (target->local[i] == number)
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
	target->local[frame->region.id] = (int32_t)(region - target->ram->regions) + 1;
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

static int on_start(struct wh_target *target, const struct wh_frame *frame, struct wh_error *err)
{
	const struct wh_frame ready = { .kind = WH_FRAME_READY };
	int r;

	if (frame->start.page_size != WH_PAGE_SIZE)
		return wh_fail(err, -EPROTO, "the source has pages of %u bytes, %u expected",
		               frame->start.page_size, WH_PAGE_SIZE);
	if (frame->start.regions != target->agreed || target->agreed != target->ram->count)
		return wh_fail(err, -EPROTO, "the source has %u RAM regions, this side has %u",
		               frame->start.regions, target->ram->count);
	r = empty_ram(target->ram, err);
	if (r < 0)
		return r;
	wh_session_move(target->stats, WH_SESSION_PRECOPY);
	wh_stat_set(target->stats, WH_STAT_STARTED_NS, wh_now_ns(target->clock));
	r = send_frame(target, &ready);
	return r < 0 ? wh_fail(err, r, "answer to the source: %s", strerror(-r)) : 0;
}

static int on_zero(struct wh_target *target, const struct wh_frame *frame, struct wh_error *err)
{
	const struct wh_region *region;

	if (frame->zero.region >= WH_REGIONS_MAX || !target->local[frame->zero.region])
		return wh_fail(err, -EPROTO, "zero pages in unknown RAM %u", frame->zero.region);
	region = &target->ram->regions[target->local[frame->zero.region] - 1];

	for (uint16_t i = 0; i < frame->zero.count; i++) {
		const struct wh_run *run = &frame->zero.runs[i];
		const uint64_t pages = region->bytes / WH_PAGE_SIZE;
		int r;

		if (run->count == 0 || run->first > pages || run->count > pages - run->first)
			return wh_fail(err, -EPROTO, "zero pages behind the end of RAM '%s'",
			               region->name);
		r = wh_ram_punch(region, run->first * WH_PAGE_SIZE,
		                 (uint64_t)run->count * WH_PAGE_SIZE);
		if (r < 0)
			return wh_fail(err, r, "RAM '%s': %s", region->name, reason(region, r));
	}
	return 0;
}

/* The guest will run on this memory: nothing may be written to it any more. */
static void seal_ram(struct wh_target *target)
{
	for (uint16_t i = 0; i < WH_REGIONS_MAX; i++)
		if (target->local[i])
			wh_transport_unmap(target->link, i);
}

static int on_round_end(struct wh_target *target, const struct wh_frame *frame,
                        struct wh_error *err)
{
	const struct wh_frame landed = { .kind = WH_FRAME_ROUND_LANDED,
		                         .round_landed = { .round = frame->round_end.round } };
	int r;

	if (frame->round_end.round != target->round + 1)
		return wh_fail(err, -EPROTO, "round %u ended after round %u",
		               frame->round_end.round, target->round);
	target->round++;
	wh_stat_set(target->stats, WH_STAT_ROUND, target->round);
	if (frame->round_end.last) {
		seal_ram(target);
		wh_stat_set(target->stats, WH_STAT_LANDED_NS, wh_now_ns(target->clock));
		wh_session_move(target->stats, WH_SESSION_LANDED);
	}
	r = send_frame(target, &landed);
	return r < 0 ? wh_fail(err, r, "answer to the source: %s", strerror(-r)) : 0;
}

/* Which frames the source may send in which state. */
static bool is_expected(enum wh_frame_kind kind, enum wh_session_state state)
{
	switch (kind) {
	case WH_FRAME_REGION:
	case WH_FRAME_START:
		return state == WH_SESSION_OPENING;
	case WH_FRAME_ZERO:
	case WH_FRAME_ROUND_END:
		return state == WH_SESSION_PRECOPY;
	case WH_FRAME_READY:
	case WH_FRAME_ROUND_LANDED:
		return false;
	}
	return false;
}

static int on_frame(struct wh_target *target, const struct wh_event *event, struct wh_error *err)
{
	enum wh_session_state state = state_of(target);
	struct wh_frame frame;
	int r = wh_frame_decode(&frame, event->frame.data, event->frame.len);

	if (r < 0)
		return wh_fail(err, r, "a frame of %u bytes that is none", event->frame.len);
	if (!is_expected(frame.kind, state))
		return wh_fail(err, -EPROTO, "frame %d while %s", (int)frame.kind,
		               wh_session_state_name(state));
	switch (frame.kind) {
	case WH_FRAME_REGION:
		return on_region(target, &frame, err);
	case WH_FRAME_START:
		return on_start(target, &frame, err);
	case WH_FRAME_ZERO:
		return on_zero(target, &frame, err);
	case WH_FRAME_ROUND_END:
		return on_round_end(target, &frame, err);
	case WH_FRAME_READY:
	case WH_FRAME_ROUND_LANDED:
		break;
	}
	return -EPROTO; /* never expected, so not reached */
}

int wh_target_step(struct wh_target *target, uint64_t deadline_ns, struct wh_error *err)
{
	const bool landed = state_of(target) == WH_SESSION_LANDED;
	struct wh_event event;
	int r = wh_transport_poll(target->link, &event, 1, deadline_ns);

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
	if (r < 0)
		return r;
	return state_of(target) == WH_SESSION_LANDED ? WH_TARGET_LANDED : WH_TARGET_MORE;
}
