/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A write is posted as soon as its chunk is known to both devices, in pieces, and waits until then;
 * what cannot go by RDMA goes over TCP. Nothing orders two writes, so those that wait overtake each
 * other freely.
 *
 * A write is reported as written when all of its pieces are complete. So when RDMA breaks, what is
 * not complete is still in the caller's memory, and is sent again from there - after the target
 * has said that nothing of it can land late (CLOSED), over TCP, and RESENT behind it.
 *
 * The chunks known to the target are chosen here, for both sides: what was not used for the longest
 * time goes when there is no room for what is needed now.
 */

#include "rdma_link.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "wherry/assert.h"
#include "wherry/clock.h"

/* A work's cookie, from below: its slot, its pages, and the chunk it uses. */
#define SLOT_BITS   12u
#define PAGES_BITS  7u
#define REGION_BITS 7u
#define CHUNK_SHIFT (SLOT_BITS + PAGES_BITS + REGION_BITS)

static_assert(1u << SLOT_BITS >= WH_QUEUE_DEPTH_MAX, "a slot's number fits");
static_assert(1u << PAGES_BITS > WH_RDMA_WRITE_LEN_MAX / WH_PAGE_SIZE, "a work's pages fit");
static_assert(1u << REGION_BITS >= WH_REGIONS_MAX, "a region's number fits");
static_assert(UINT64_C(1) << CHUNK_SHIFT <= WH_VERBS_COOKIES / WH_RDMA_CHUNKS_MAX,
              "a chunk's, too");

static uint64_t cookie_of(uint32_t slot, const struct wh_rdma_chunk *chunk, uint32_t bytes)
{
	return slot | (uint64_t)(bytes / WH_PAGE_SIZE) << SLOT_BITS |
	       (uint64_t)chunk->region << (SLOT_BITS + PAGES_BITS) |
	       (uint64_t)chunk->number << CHUNK_SHIFT;
}

/* @count bits of @cookie, from bit @shift on. */
static uint32_t field(uint64_t cookie, uint32_t shift, uint32_t count)
{
	return (uint32_t)(cookie >> shift & ((UINT64_C(1) << count) - 1));
}

int wh_rdma_source_init(struct wh_rdma_link *link, uint32_t depth)
{
	link->depth = depth;
	link->slots = calloc(depth, sizeof(*link->slots));
	link->unused = calloc(depth, sizeof(*link->unused));
	link->written = calloc(depth, sizeof(*link->written));
	link->waiting_tail = &link->waiting;
	if (!link->slots || !link->unused || !link->written)
		return -ENOMEM;
	for (uint32_t i = 0; i < depth; i++)
		link->unused[link->unused_count++] = i;
	return 0;
}

void wh_rdma_source_done(struct wh_rdma_link *link)
{
	free(link->slots);
	free(link->unused);
	free(link->written);
}

/* --- slots ------------------------------------------------------------------------------------ */

static uint32_t number_of(const struct wh_rdma_link *link, const struct wh_rdma_slot *slot)
{
	return (uint32_t)(slot - link->slots);
}

static void wait_on(struct wh_rdma_link *link, struct wh_rdma_slot *slot)
{
	if (slot->waits)
		return;
	slot->waits = true;
	slot->next_waiting = NULL;
	*link->waiting_tail = slot;
	link->waiting_tail = &slot->next_waiting;
}

static bool is_posted(const struct wh_rdma_slot *slot)
{
	return slot->next == slot->w.len && slot->lost == 0;
}

/* Report @slot if nothing of it is left to do. */
static void finish_if_done(struct wh_rdma_link *link, struct wh_rdma_slot *slot)
{
	if (!slot->in_use || slot->waits || !is_posted(slot) || slot->works || slot->beside)
		return;
	slot->in_use = false;
	link->written[link->written_count++] = slot->w.cookie;
	link->unused[link->unused_count++] = number_of(link, slot);
}

uint64_t wh_rdma_source_posted(const struct wh_rdma_link *link)
{
	uint64_t oldest = UINT64_MAX;

	for (const struct wh_rdma_slot *slot = link->waiting; slot; slot = slot->next_waiting)
		if (slot->sequence < oldest)
			oldest = slot->sequence;
	return oldest;
}

static void stop_awaiting(struct wh_rdma_slot *slot)
{
	if (slot->awaits)
		slot->awaits->awaited--;
	slot->awaits = NULL;
}

static void await(struct wh_rdma_slot *slot, struct wh_rdma_chunk *chunk)
{
	if (slot->awaits == chunk)
		return;
	stop_awaiting(slot);
	slot->awaits = chunk;
	chunk->awaited++;
}

/* --- chunks ----------------------------------------------------------------------------------- */

static void set_peer(struct wh_rdma_link *link, struct wh_rdma_chunk *chunk,
                     enum wh_rdma_peer_state state)
{
	chunk->peer = state;
	wh_rdma_chunks_tell(&link->chunks, chunk);
}

/* Make room for @chunk. Return: whether there is. */
static bool make_room(struct wh_rdma_link *link, const struct wh_rdma_chunk *chunk)
{
	/* This ends: each turn drops a chunk, or there is none to drop. */
	while (!wh_rdma_chunks_fits(&link->chunks, chunk)) {
		struct wh_rdma_chunk *oldest = wh_rdma_chunks_oldest(&link->chunks);

		if (!oldest)
			return false;
		wh_rdma_chunks_drop(&link->chunks, oldest);
		set_peer(link, oldest, WH_RDMA_PEER_TO_FREE);
	}
	return true;
}

/* See to it that @chunk can be used one day, if there is room. */
static void request(struct wh_rdma_link *link, struct wh_rdma_chunk *chunk)
{
	if (chunk->state == WH_RDMA_CHUNK_IDLE) {
		if (!make_room(link, chunk))
			return;
		wh_rdma_chunks_enroll(&link->chunks, chunk);
	}
	if (chunk->peer == WH_RDMA_PEER_NONE)
		set_peer(link, chunk, WH_RDMA_PEER_TO_ASK);
	else if (chunk->peer == WH_RDMA_PEER_TO_FREE)
		chunk->peer = WH_RDMA_PEER_READY; /* nobody has heard of it yet */
}

static bool is_refused(const struct wh_rdma_chunk *chunk)
{
	return chunk->state == WH_RDMA_CHUNK_FAILED || chunk->peer == WH_RDMA_PEER_REFUSED;
}

static bool is_usable(const struct wh_rdma_chunk *chunk)
{
	return wh_rdma_chunk_is_ready(chunk) && chunk->peer == WH_RDMA_PEER_READY;
}

/* Of no use to this side, or to the other one: let go of what there is of it. */
static void abandon(struct wh_rdma_link *link, struct wh_rdma_chunk *chunk)
{
	if (chunk->peer == WH_RDMA_PEER_REFUSED && chunk->state == WH_RDMA_CHUNK_READY &&
	    chunk->users == 0)
		wh_rdma_chunks_drop(&link->chunks, chunk);
	if (chunk->state == WH_RDMA_CHUNK_FAILED && chunk->peer == WH_RDMA_PEER_READY)
		set_peer(link, chunk, WH_RDMA_PEER_TO_FREE);
	else if (chunk->state == WH_RDMA_CHUNK_FAILED && chunk->peer == WH_RDMA_PEER_TO_ASK)
		chunk->peer = WH_RDMA_PEER_NONE;
}

void wh_rdma_source_chunk(struct wh_rdma_link *link, struct wh_rdma_chunk *chunk)
{
	abandon(link, chunk);
	link->try_waiting = true;
}

/* --- posting ---------------------------------------------------------------------------------- */

/* Post [@from, @from + @len) of @slot over TCP. Return: 0, WH_TX_FULL or -errno. */
static int post_beside(struct wh_rdma_link *link, struct wh_rdma_slot *slot, uint32_t from,
                       uint32_t len)
{
	struct wh_write w = slot->w;
	int r;

	w.cookie = number_of(link, slot);
	w.src_offset += from;
	w.dst_offset += from;
	w.copy = w.copy ? (const uint8_t *)w.copy + from : NULL;
	w.len = len;
	r = link->beside->ops->write(link->beside, &w);
	if (r == 0)
		slot->beside++;
	return r;
}

/* Whether the next piece of @slot may leave by RDMA one day. */
static bool may_go_by_rdma(const struct wh_rdma_link *link, const struct wh_rdma_slot *slot)
{
	return link->state != WH_RDMA_OVER && !slot->only_beside;
}

/*
 * Pay for @bytes that are about to be posted. What was paid for and found no room is not paid for
 * twice. Return: whether they may go now.
 */
static bool pay(struct wh_rdma_link *link, uint32_t bytes)
{
	const uint64_t now_ns = link->rate.bucket ? wh_now_ns(&wh_clock_monotonic) : 0;
	uint64_t wait_ns;

	if (!link->rate.bucket || link->paid_bytes >= bytes)
		return true;
	wait_ns = wh_rate_take(&link->rate, bytes - link->paid_bytes, now_ns);
	if (wait_ns == 0)
		link->paid_bytes = bytes;
	else if (wait_ns != WH_RATE_AWAIT && (!link->wake_ns || now_ns + wait_ns < link->wake_ns))
		link->wake_ns = now_ns + wait_ns;
	return wait_ns == 0;
}

/* Post a piece of @slot from @chunk. Return: bytes, or 0 if it has to wait. */
static uint32_t post_piece(struct wh_rdma_link *link, struct wh_rdma_slot *slot,
                           struct wh_rdma_chunk *chunk)
{
	const uint64_t offset = slot->w.src_offset + slot->next;
	const uint64_t into = offset & ((UINT64_C(1) << link->chunks.order) - 1);
	const uint64_t room = wh_rdma_chunk_bytes(&link->chunks, chunk) - into;
	const uint32_t max = wh_rate_write_max(&link->rate);
	uint32_t left = slot->w.len - slot->next;
	struct wh_verbs_work work = {
		.local_addr = wh_rdma_chunk_addr(&link->chunks, chunk) + into,
		.remote_addr = chunk->peer_addr + into,
		.local_key = chunk->key.local,
		.remote_key = chunk->peer_key,
	};
	int r;

	left = left < room ? left : (uint32_t)room;
	work.len = wh_rdma_pairs_piece(link->pairs, offset, left < max ? left : max);
	work.cookie = cookie_of(number_of(link, slot), chunk, work.len);
	if (!pay(link, work.len))
		return 0;
	r = wh_rdma_pairs_write(link->pairs, slot->w.dst_region, offset, &work);
	if (r < 0)
		wh_rdma_give_up(link, wh_verbs_reason(link->verbs));
	if (r != 0)
		return 0;
	link->paid_bytes -= link->rate.bucket ? work.len : 0;
	wh_rdma_chunks_use(&link->chunks, chunk);
	link->rdma_bytes += work.len;
	return work.len;
}

/* Post what can go of @slot by RDMA. */
static void post_by_rdma(struct wh_rdma_link *link, struct wh_rdma_slot *slot)
{
	/* This ends: each turn posts a piece, or something has to be waited for. */
	while (slot->next < slot->w.len && link->state == WH_RDMA_UP && !slot->only_beside) {
		struct wh_rdma_chunk *chunk = wh_rdma_chunks_at(&link->chunks, slot->w.src_region,
		                                                slot->w.src_offset + slot->next);
		uint32_t len = 0;

		if (!chunk || is_refused(chunk)) {
			slot->only_beside = true;
			break;
		}
		await(slot, chunk);
		if (is_usable(chunk))
			len = post_piece(link, slot, chunk);
		else
			request(link, chunk);
		if (len == 0)
			return;
		slot->next += len;
		slot->by_rdma = slot->next;
		slot->barrier = link->barrier;
		slot->works++;
	}
	stop_awaiting(slot);
}

/* Post what can go of @slot. Return: 0, WH_TX_FULL if something has to wait, or -errno. */
static int post(struct wh_rdma_link *link, struct wh_rdma_slot *slot)
{
	int r = 0;

	if (may_go_by_rdma(link, slot))
		post_by_rdma(link, slot);
	if (may_go_by_rdma(link, slot))
		return slot->next == slot->w.len && slot->lost == 0 ? 0 : WH_TX_FULL;
	if (slot->lost > 0 && link->state == WH_RDMA_OVER) {
		r = post_beside(link, slot, 0, slot->lost);
		if (r == 0)
			slot->lost = 0;
	}
	if (r == 0 && slot->next < slot->w.len) {
		r = post_beside(link, slot, slot->next, slot->w.len - slot->next);
		if (r == 0)
			slot->next = slot->w.len;
	}
	if (r < 0)
		return r;
	return is_posted(slot) ? 0 : WH_TX_FULL;
}

int wh_rdma_source_pump(struct wh_rdma_link *link)
{
	struct wh_rdma_slot **at = &link->waiting;
	int r = 0;

	if (!link->try_waiting)
		return 0;
	link->try_waiting = false;
	while (*at && r >= 0) {
		struct wh_rdma_slot *slot = *at;

		r = post(link, slot);
		if (r != 0) {
			at = &slot->next_waiting;
			continue;
		}
		*at = slot->next_waiting;
		if (!*at)
			link->waiting_tail = at;
		slot->waits = false;
		finish_if_done(link, slot);
	}
	return r < 0 ? r : 0;
}

/* Memory that the device cannot or need not know: copies, and what goes to another place. */
static bool is_plain(const struct wh_rdma_link *link, const struct wh_write *w)
{
	return !w->copy && w->src_region == w->dst_region && w->src_offset == w->dst_offset &&
	       link->regions[w->src_region].addr;
}

int wh_rdma_source_write(struct wh_rdma_link *link, const struct wh_write *w)
{
	struct wh_rdma_slot *slot;
	int r;

	/* Those in flight and those to be reported are @depth at most. */
	if (link->unused_count <= link->written_count)
		return WH_TX_FULL;
	slot = &link->slots[link->unused[--link->unused_count]];
	*slot = (struct wh_rdma_slot){ .w = *w,
		                       .sequence = link->sequence++,
		                       .in_use = true,
		                       .only_beside = !is_plain(link, w) };
	/* What RDMA brings is not what TCP brought before. */
	if (may_go_by_rdma(link, slot))
		link->beside->ops->forget(link->beside, w->dst_region, w->dst_offset, w->len);
	r = post(link, slot);
	if (r == WH_TX_FULL)
		wait_on(link, slot);
	return r < 0 ? r : 0;
}

/* --- what has become of it -------------------------------------------------------------------- */

void wh_rdma_source_complete(struct wh_rdma_link *link, uint64_t cookie)
{
	struct wh_rdma_slot *slot = &link->slots[field(cookie, 0, SLOT_BITS)];
	const uint16_t region = (uint16_t)field(cookie, SLOT_BITS + PAGES_BITS, REGION_BITS);
	struct wh_rdma_chunk *chunk =
		wh_rdma_chunks_get(&link->chunks, region, (uint32_t)(cookie >> CHUNK_SHIFT));

	wh_assert(slot->works > 0 && chunk);
	slot->works--;
	if (link->rate.bucket)
		wh_rate_done(&link->rate,
		             (uint64_t)field(cookie, SLOT_BITS, PAGES_BITS) * WH_PAGE_SIZE);
	wh_rdma_chunks_release(&link->chunks, chunk);
	abandon(link, chunk);
	link->try_waiting = true;
	finish_if_done(link, slot);
}

void wh_rdma_source_beside_written(struct wh_rdma_link *link, uint64_t number)
{
	struct wh_rdma_slot *slot = &link->slots[number];

	wh_assert(number < link->depth && slot->beside > 0);
	slot->beside--;
	link->try_waiting = true;
	finish_if_done(link, slot);
}

/*
 * Whether @slot has landed if the target says that all has: it knows of what was posted before the last
 * frame. After that nothing should have been, and if it was, TCP will show it.
 */
static bool is_known_to_target(const struct wh_rdma_link *link, const struct wh_rdma_slot *slot)
{
	return slot->barrier != link->barrier;
}

void wh_rdma_source_fall_back(struct wh_rdma_link *link, bool landed)
{
	for (uint32_t i = 0; i < link->depth; i++) {
		struct wh_rdma_slot *slot = &link->slots[i];

		if (!slot->in_use)
			continue;
		slot->awaits = NULL; /* there are no chunks any more */
		if (slot->works > 0 && !(landed && is_known_to_target(link, slot))) {
			slot->lost = slot->by_rdma;
			link->beside->ops->forget(link->beside, slot->w.dst_region,
			                          slot->w.dst_offset, slot->lost);
		}
		slot->works = 0;
		if (slot->lost > 0)
			wait_on(link, slot);
		finish_if_done(link, slot);
	}
	link->try_waiting = true;
}

/* --- what the target says ---------------------------------------------------------------------- */

static int on_offer(struct wh_rdma_link *link, const struct wh_rdma_frame *frame)
{
	if (link->state == WH_RDMA_BROKEN)
		return 0; /* the target does not know yet */
	if (link->state != WH_RDMA_OPENING)
		return -EPROTO;
	if (frame->offer.chunk_order != link->chunks.order) {
		wh_rdma_give_up(link, "the two sides have chunks of different sizes");
		return 0;
	}
	link->options.pairs = frame->offer.pairs;
	if (frame->offer.pinned_bytes_max < link->options.pinned_bytes_max)
		link->options.pinned_bytes_max = frame->offer.pinned_bytes_max;
	link->state = WH_RDMA_CONNECTING;
	wh_rdma_begin(link, frame->offer.port);
	return 0;
}

/* KEYS and REFUSED: what was asked for. */
static int on_answer(struct wh_rdma_link *link, const struct wh_rdma_frame *frame)
{
	if (link->state == WH_RDMA_BROKEN)
		return 0;
	for (uint16_t i = 0; i < frame->list.count; i++) {
		const struct wh_rdma_chunk_id *id = &frame->list.chunks[i];
		struct wh_rdma_chunk *chunk =
			wh_rdma_chunks_get(&link->chunks, id->region, id->number);

		if (!chunk || chunk->peer != WH_RDMA_PEER_ASKED)
			return -EPROTO;
		chunk->peer = frame->kind == WH_RDMA_KEYS ? WH_RDMA_PEER_READY
		                                          : WH_RDMA_PEER_REFUSED;
		chunk->peer_key = id->key;
		chunk->peer_addr = id->addr;
		abandon(link, chunk);
	}
	link->try_waiting = true;
	return 0;
}

static int on_closed(struct wh_rdma_link *link, const struct wh_rdma_frame *frame)
{
	const char *reason = link->state == WH_RDMA_BROKEN && !frame->over.landed
	                             ? link->reason
	                             : frame->over.reason;

	if (link->state == WH_RDMA_OVER)
		return -EPROTO;
	wh_rdma_take_down(link);
	link->state = WH_RDMA_OVER;
	link->tell_over = false;
	link->must_resend = true;
	wh_rdma_source_fall_back(link, frame->over.landed);
	if (link->carries && *reason)
		link->carries(link->context, WH_TRANSPORT_TCP, reason);
	return 0;
}

int wh_rdma_source_frame(struct wh_rdma_link *link, const struct wh_rdma_frame *frame)
{
	switch (frame->kind) {
	case WH_RDMA_OFFER:
		return on_offer(link, frame);
	case WH_RDMA_KEYS:
	case WH_RDMA_REFUSED:
		return on_answer(link, frame);
	case WH_RDMA_CLOSED:
		return on_closed(link, frame);
	case WH_RDMA_DATA: /* not for us */
	case WH_RDMA_WANT:
	case WH_RDMA_FREE:
	case WH_RDMA_DOWN:
	case WH_RDMA_RESENT:
		return -EPROTO;
	}
	return -EPROTO;
}
