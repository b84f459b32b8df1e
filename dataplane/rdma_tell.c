/* SPDX-License-Identifier: Apache-2.0 */

/* What the two ends say to each other of RDMA, beside the session. */

#include "rdma_link.h"

#include <stdio.h>

/* To be said of a chunk any more. */
#define NOTHING 0

int wh_rdma_tell(struct wh_rdma_link *link, const struct wh_rdma_frame *frame)
{
	uint8_t bytes[WH_RDMA_FRAME_MAX];
	int r = link->beside->ops->send(link->beside, bytes, wh_rdma_frame_encode(bytes, frame));

	link->beside_full = r == WH_TX_FULL;
	link->told += r == 0;
	return r;
}

/* DOWN or CLOSED. */
static int tell_over(struct wh_rdma_link *link)
{
	struct wh_rdma_frame frame = { .kind = link->passive ? WH_RDMA_CLOSED : WH_RDMA_DOWN,
		                       .over = { .landed = link->tell_landed } };
	int r;

	(void)snprintf(frame.over.reason, sizeof(frame.over.reason), "%s", link->reason);
	r = wh_rdma_tell(link, &frame);
	if (r == 0)
		link->tell_over = false;
	return r;
}

static int tell_offer(struct wh_rdma_link *link)
{
	const struct wh_rdma_frame frame = {
		.kind = WH_RDMA_OFFER,
		.offer = { .port = wh_verbs_port(link->verbs),
		           .pairs = (uint16_t)link->options.pairs,
		           .chunk_order = (uint16_t)link->chunks.order,
		           .pinned_bytes_max = link->chunks.pinned_bytes_max },
	};
	int r = wh_rdma_tell(link, &frame);

	if (r == 0)
		link->tell_offer = false;
	return r;
}

static bool has_lost(const struct wh_rdma_link *link)
{
	for (const struct wh_rdma_slot *slot = link->waiting; slot; slot = slot->next_waiting)
		if (slot->lost > 0)
			return true;
	return false;
}

static int tell_resent(struct wh_rdma_link *link)
{
	const struct wh_rdma_frame frame = { .kind = WH_RDMA_RESENT };
	int r;

	if (has_lost(link))
		return 0;
	r = wh_rdma_tell(link, &frame);
	if (r == 0)
		link->must_resend = false;
	return r;
}

/* --- chunks ----------------------------------------------------------------------------------- */

static int source_says(const struct wh_rdma_chunk *chunk)
{
	if (chunk->peer == WH_RDMA_PEER_TO_ASK)
		return WH_RDMA_WANT;
	return chunk->peer == WH_RDMA_PEER_TO_FREE ? WH_RDMA_FREE : NOTHING;
}

/* What an end says of @chunk: enum wh_rdma_frame_kind, or NOTHING. */
static int says(const struct wh_rdma_link *link, const struct wh_rdma_chunk *chunk)
{
	if (!link->passive)
		return source_says(chunk);
	return chunk->state == WH_RDMA_CHUNK_READY ? WH_RDMA_KEYS : WH_RDMA_REFUSED;
}

/* Put chunks of which the same is to be said into @frame, those said first. */
static void gather(const struct wh_rdma_link *link, struct wh_rdma_frame *frame)
{
	const struct wh_rdma_chunk *chunk = link->chunks.tell.head;
	const int kind = says(link, chunk);

	frame->kind = (enum wh_rdma_frame_kind)kind;
	frame->list.count = 0;
	for (; chunk && frame->list.count < WH_RDMA_LIST_MAX && says(link, chunk) == kind;
	     chunk = chunk->next_tell)
		frame->list.chunks[frame->list.count++] = (struct wh_rdma_chunk_id){
			.region = chunk->region,
			.number = chunk->number,
			.key = chunk->key.remote,
			.addr = (uintptr_t)wh_rdma_chunk_addr(&link->chunks, chunk),
		};
}

/* The oldest chunk of the list has been told of as @kind. */
static void take_told(struct wh_rdma_link *link, enum wh_rdma_frame_kind kind)
{
	struct wh_rdma_chunk *chunk = wh_rdma_chunks_next_told(&link->chunks);

	if (kind == WH_RDMA_WANT)
		chunk->peer = WH_RDMA_PEER_ASKED;
	else if (kind == WH_RDMA_FREE)
		chunk->peer = WH_RDMA_PEER_NONE;
}

int wh_rdma_tell_of_chunks(struct wh_rdma_link *link)
{
	int r = 0;

	/* This ends: each turn takes chunks off the list. */
	while (r == 0 && link->chunks.tell.head) {
		struct wh_rdma_frame frame;

		if (says(link, link->chunks.tell.head) == NOTHING) {
			(void)wh_rdma_chunks_next_told(&link->chunks);
			continue;
		}
		gather(link, &frame);
		r = wh_rdma_tell(link, &frame);
		for (uint16_t i = 0; r == 0 && i < frame.list.count; i++)
			take_told(link, frame.kind);
	}
	return r;
}

/* --- all of it -------------------------------------------------------------------------------- */

int wh_rdma_tell_all(struct wh_rdma_link *link)
{
	int r = 0;

	if (link->tell_offer)
		r = tell_offer(link);
	if (r == 0 && link->tell_over)
		r = tell_over(link);
	if (r == 0 && link->must_resend)
		r = tell_resent(link);
	if (r == 0 && link->state == WH_RDMA_UP)
		r = wh_rdma_tell_of_chunks(link);
	return r;
}
