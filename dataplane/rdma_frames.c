/* SPDX-License-Identifier: Apache-2.0 */

#include "rdma_frames.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "wire.h"

#define FLAG_LANDED 1u

static_assert(6 + WH_RDMA_LIST_MAX * 18 <= WH_RDMA_FRAME_MAX, "a full list fits");

/* --- writing ---------------------------------------------------------------------------------- */

static void put_list(struct wh_writer *w, const struct wh_rdma_frame *frame)
{
	wh_put_u16(w, frame->list.count);
	for (uint16_t i = 0; i < frame->list.count; i++) {
		const struct wh_rdma_chunk_id *chunk = &frame->list.chunks[i];

		wh_put_u16(w, chunk->region);
		wh_put_u32(w, chunk->number);
		if (frame->kind != WH_RDMA_KEYS)
			continue;
		wh_put_u32(w, chunk->key);
		wh_put_u64(w, chunk->addr);
	}
}

static void put_over(struct wh_writer *w, const struct wh_rdma_frame *frame)
{
	const size_t len = strnlen(frame->over.reason, WH_RDMA_REASON_MAX - 1);

	wh_put_u16(w, frame->over.landed ? FLAG_LANDED : 0);
	wh_put_u16(w, (uint16_t)len);
	wh_put_bytes(w, frame->over.reason, len);
}

static void put_offer(struct wh_writer *w, const struct wh_rdma_frame *frame)
{
	wh_put_u16(w, frame->offer.port);
	wh_put_u16(w, frame->offer.pairs);
	wh_put_u16(w, frame->offer.chunk_order);
	wh_put_u64(w, frame->offer.pinned_bytes_max);
}

uint32_t wh_rdma_frame_encode(uint8_t to[WH_RDMA_FRAME_MAX], const struct wh_rdma_frame *frame)
{
	struct wh_writer w = wh_writer_init(to, WH_RDMA_FRAME_MAX);

	wh_put_u16(&w, (uint16_t)frame->kind);
	wh_put_u16(&w, 0);
	switch (frame->kind) {
	case WH_RDMA_DATA:
		wh_put_u32(&w, frame->data.barrier);
		wh_put_bytes(&w, frame->data.data, frame->data.len);
		break;
	case WH_RDMA_OFFER:
		put_offer(&w, frame);
		break;
	case WH_RDMA_WANT:
	case WH_RDMA_KEYS:
	case WH_RDMA_REFUSED:
	case WH_RDMA_FREE:
		put_list(&w, frame);
		break;
	case WH_RDMA_DOWN:
	case WH_RDMA_CLOSED:
		put_over(&w, frame);
		break;
	case WH_RDMA_RESENT:
		break;
	}
	return (uint32_t)(w.at - to);
}

/* --- reading ---------------------------------------------------------------------------------- */

static int get_data(struct wh_reader *r, struct wh_rdma_frame *ret)
{
	ret->data.barrier = wh_get_u32(r);
	ret->data.data = r->at;
	ret->data.len = (uint32_t)(r->end - r->at);
	r->at = r->end;
	return ret->data.len >= 1 && ret->data.len <= WH_FRAME_LEN_MAX ? 0 : -EPROTO;
}

static int get_offer(struct wh_reader *r, struct wh_rdma_frame *ret)
{
	ret->offer.port = wh_get_u16(r);
	ret->offer.pairs = wh_get_u16(r);
	ret->offer.chunk_order = wh_get_u16(r);
	ret->offer.pinned_bytes_max = wh_get_u64(r);
	if (ret->offer.pairs < 1 || ret->offer.pairs > WH_RDMA_PAIRS_MAX ||
	    ret->offer.chunk_order < WH_RDMA_CHUNK_ORDER_MIN ||
	    ret->offer.chunk_order > WH_RDMA_CHUNK_ORDER_MAX)
		return -EPROTO;
	return 0;
}

static int get_list(struct wh_reader *r, struct wh_rdma_frame *ret)
{
	ret->list.count = wh_get_u16(r);
	if (ret->list.count < 1 || ret->list.count > WH_RDMA_LIST_MAX)
		return -EPROTO;
	for (uint16_t i = 0; i < ret->list.count; i++) {
		struct wh_rdma_chunk_id *chunk = &ret->list.chunks[i];

		*chunk = (struct wh_rdma_chunk_id){ .region = wh_get_u16(r) };
		chunk->number = wh_get_u32(r);
		if (chunk->region >= WH_REGIONS_MAX)
			return -EPROTO;
		if (ret->kind != WH_RDMA_KEYS)
			continue;
		chunk->key = wh_get_u32(r);
		chunk->addr = wh_get_u64(r);
	}
	return 0;
}

static int get_over(struct wh_reader *r, struct wh_rdma_frame *ret)
{
	const uint16_t flags = wh_get_u16(r);
	const uint16_t len = wh_get_u16(r);

	if (flags & ~FLAG_LANDED || len >= WH_RDMA_REASON_MAX)
		return -EPROTO;
	ret->over.landed = flags & FLAG_LANDED;
	memset(ret->over.reason, 0, sizeof(ret->over.reason));
	wh_get_bytes(r, ret->over.reason, len);
	/* It is printed one day. */
	for (uint16_t i = 0; i < len; i++)
		if (ret->over.reason[i] < ' ' || ret->over.reason[i] > '~')
			ret->over.reason[i] = '?';
	return 0;
}

static int get_fields(struct wh_reader *r, struct wh_rdma_frame *ret)
{
	switch (ret->kind) {
	case WH_RDMA_DATA:
		return get_data(r, ret);
	case WH_RDMA_OFFER:
		return get_offer(r, ret);
	case WH_RDMA_WANT:
	case WH_RDMA_KEYS:
	case WH_RDMA_REFUSED:
	case WH_RDMA_FREE:
		return get_list(r, ret);
	case WH_RDMA_DOWN:
	case WH_RDMA_CLOSED:
		return get_over(r, ret);
	case WH_RDMA_RESENT:
		return 0;
	}
	return -EPROTO;
}

int wh_rdma_frame_decode(struct wh_rdma_frame *ret, const void *data, uint32_t len)
{
	struct wh_reader r = wh_reader_init(data, len);
	int result;

	ret->kind = (enum wh_rdma_frame_kind)wh_get_u16(&r);
	(void)wh_get_u16(&r); /* reserved */
	result = get_fields(&r, ret);
	return result < 0 ? result : wh_reader_done(&r);
}
