/* SPDX-License-Identifier: Apache-2.0 */

#include "wire.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <string.h>

#include "wherry/assert.h"

#define FLAG_LAST 1u

static_assert(4 + 4 + WH_ZERO_RUNS_MAX * 12 <= WH_FRAME_LEN_MAX, "a full ZERO frame fits");

struct wh_reader wh_reader_init(const void *data, size_t len)
{
	const uint8_t *at = data;

	return (struct wh_reader){ .at = at, .end = at + len };
}

void wh_get_bytes(struct wh_reader *r, void *to, size_t len)
{
	if (r->bad || (size_t)(r->end - r->at) < len) {
		r->bad = true;
		memset(to, 0, len);
		return;
	}
	memcpy(to, r->at, len);
	r->at += len;
}

uint16_t wh_get_u16(struct wh_reader *r)
{
	uint16_t v;

	wh_get_bytes(r, &v, sizeof(v));
	return le16toh(v);
}

uint32_t wh_get_u32(struct wh_reader *r)
{
	uint32_t v;

	wh_get_bytes(r, &v, sizeof(v));
	return le32toh(v);
}

uint64_t wh_get_u64(struct wh_reader *r)
{
	uint64_t v;

	wh_get_bytes(r, &v, sizeof(v));
	return le64toh(v);
}

int wh_reader_done(const struct wh_reader *r)
{
	return r->bad || r->at != r->end ? -EPROTO : 0;
}

struct wh_writer wh_writer_init(void *data, size_t len)
{
	uint8_t *at = data;

	return (struct wh_writer){ .at = at, .end = at + len };
}

void wh_put_bytes(struct wh_writer *w, const void *from, size_t len)
{
	if (w->bad || (size_t)(w->end - w->at) < len) {
		w->bad = true;
		return;
	}
	memcpy(w->at, from, len);
	w->at += len;
}

void wh_put_u16(struct wh_writer *w, uint16_t v)
{
	v = htole16(v);
	wh_put_bytes(w, &v, sizeof(v));
}

void wh_put_u32(struct wh_writer *w, uint32_t v)
{
	v = htole32(v);
	wh_put_bytes(w, &v, sizeof(v));
}

void wh_put_u64(struct wh_writer *w, uint64_t v)
{
	v = htole64(v);
	wh_put_bytes(w, &v, sizeof(v));
}

void wh_record_encode(uint8_t to[WH_RECORD_HEADER], const struct wh_record *record)
{
	struct wh_writer w = wh_writer_init(to, WH_RECORD_HEADER);

	wh_put_u16(&w, record->type);
	wh_put_u16(&w, record->region);
	wh_put_u32(&w, record->length);
	wh_put_u64(&w, record->offset);
	wh_assert(!w.bad && w.at == w.end);
}

struct wh_record wh_record_decode(const uint8_t from[WH_RECORD_HEADER])
{
	struct wh_reader r = wh_reader_init(from, WH_RECORD_HEADER);
	struct wh_record record;

	record.type = wh_get_u16(&r);
	record.region = wh_get_u16(&r);
	record.length = wh_get_u32(&r);
	record.offset = wh_get_u64(&r);
	wh_assert(wh_reader_done(&r) == 0);
	return record;
}

void wh_hello_encode(uint8_t to[WH_HELLO_BYTES], const struct wh_hello *hello)
{
	struct wh_writer w = wh_writer_init(to, WH_HELLO_BYTES);

	wh_put_u32(&w, WH_WIRE_MAGIC);
	wh_put_u16(&w, WH_WIRE_VERSION);
	wh_put_u16(&w, hello->connection);
	wh_put_u16(&w, hello->connections);
	wh_put_u16(&w, hello->kind);
	wh_put_bytes(&w, hello->token, sizeof(hello->token));
	wh_assert(!w.bad && w.at == w.end);
}

int wh_hello_decode(struct wh_hello *ret, const uint8_t from[WH_HELLO_BYTES])
{
	struct wh_reader r = wh_reader_init(from, WH_HELLO_BYTES);
	struct wh_hello hello;

	if (wh_get_u32(&r) != WH_WIRE_MAGIC)
		return -EPROTO;
	if (wh_get_u16(&r) != WH_WIRE_VERSION)
		return -EPROTONOSUPPORT;
	hello.connection = wh_get_u16(&r);
	hello.connections = wh_get_u16(&r);
	hello.kind = wh_get_u16(&r);
	wh_get_bytes(&r, hello.token, sizeof(hello.token));
	if (wh_reader_done(&r) < 0 || hello.connections > WH_CONNECTIONS_MAX ||
	    hello.connection >= hello.connections || hello.kind > WH_HELLO_URGENT)
		return -EPROTO;
	*ret = hello;
	return 0;
}

void wh_welcome_encode(uint8_t to[WH_WELCOME_BYTES])
{
	struct wh_writer w = wh_writer_init(to, WH_WELCOME_BYTES);

	wh_put_u16(&w, WH_WIRE_VERSION);
	wh_put_u16(&w, 0);
	wh_assert(!w.bad && w.at == w.end);
}

int wh_welcome_decode(const uint8_t from[WH_WELCOME_BYTES])
{
	struct wh_reader r = wh_reader_init(from, WH_WELCOME_BYTES);

	return wh_get_u16(&r) == WH_WIRE_VERSION ? 0 : -EPROTONOSUPPORT;
}

void wh_span_encode(uint8_t to[WH_SPAN_BYTES], uint32_t bytes)
{
	struct wh_writer w = wh_writer_init(to, WH_SPAN_BYTES);

	wh_put_u32(&w, bytes);
	wh_assert(!w.bad && w.at == w.end);
}

uint32_t wh_span_decode(const uint8_t from[WH_SPAN_BYTES])
{
	struct wh_reader r = wh_reader_init(from, WH_SPAN_BYTES);

	return wh_get_u32(&r);
}

void wh_read_offer_encode(uint8_t to[WH_OFFER_BYTES], const struct wh_read_offer *offer)
{
	struct wh_writer w = wh_writer_init(to, WH_OFFER_BYTES);

	wh_put_u16(&w, offer->port);
	wh_put_u16(&w, offer->chunk_order);
	wh_put_u32(&w, offer->bytes);
	wh_assert(!w.bad && w.at == w.end);
}

struct wh_read_offer wh_read_offer_decode(const uint8_t from[WH_OFFER_BYTES])
{
	struct wh_reader r = wh_reader_init(from, WH_OFFER_BYTES);
	struct wh_read_offer offer;

	offer.port = wh_get_u16(&r);
	offer.chunk_order = wh_get_u16(&r);
	offer.bytes = wh_get_u32(&r);
	wh_assert(wh_reader_done(&r) == 0);
	return offer;
}

void wh_read_key_encode(uint8_t to[WH_KEY_BYTES], const struct wh_read_key *key)
{
	struct wh_writer w = wh_writer_init(to, WH_KEY_BYTES);

	wh_put_u64(&w, key->addr);
	wh_put_u32(&w, key->key);
	wh_assert(!w.bad && w.at == w.end);
}

struct wh_read_key wh_read_key_decode(const uint8_t from[WH_KEY_BYTES])
{
	struct wh_reader r = wh_reader_init(from, WH_KEY_BYTES);
	struct wh_read_key key;

	key.addr = wh_get_u64(&r);
	key.key = wh_get_u32(&r);
	wh_assert(wh_reader_done(&r) == 0);
	return key;
}

static void encode_region(struct wh_writer *w, const struct wh_frame *f)
{
	size_t len = strnlen(f->region.name, sizeof(f->region.name) - 1);

	wh_put_u16(w, f->region.id);
	wh_put_u64(w, f->region.bytes);
	wh_put_u16(w, (uint16_t)len);
	wh_put_bytes(w, f->region.name, len);
}

static int decode_region(struct wh_reader *r, struct wh_frame *f)
{
	uint16_t len;

	f->region.id = wh_get_u16(r);
	f->region.bytes = wh_get_u64(r);
	len = wh_get_u16(r);
	if (len == 0 || len >= sizeof(f->region.name))
		return -EPROTO;
	wh_get_bytes(r, f->region.name, len);
	f->region.name[len] = '\0';
	return strlen(f->region.name) == len ? 0 : -EPROTO;
}

static void encode_zero(struct wh_writer *w, const struct wh_frame *f)
{
	wh_put_u16(w, f->zero.region);
	wh_put_u16(w, f->zero.count);
	for (uint16_t i = 0; i < f->zero.count; i++) {
		wh_put_u64(w, f->zero.runs[i].first);
		wh_put_u32(w, f->zero.runs[i].count);
	}
}

static int decode_zero(struct wh_reader *r, struct wh_frame *f)
{
	f->zero.region = wh_get_u16(r);
	f->zero.count = wh_get_u16(r);
	if (f->zero.count == 0 || f->zero.count > WH_ZERO_RUNS_MAX)
		return -EPROTO;
	for (uint16_t i = 0; i < f->zero.count; i++) {
		f->zero.runs[i].first = wh_get_u64(r);
		f->zero.runs[i].count = wh_get_u32(r);
	}
	return 0;
}

static void encode_round_end(struct wh_writer *w, const struct wh_frame *f)
{
	wh_put_u32(w, f->round_end.round);
	wh_put_u32(w, f->round_end.last ? FLAG_LAST : 0);
}

static int decode_round_end(struct wh_reader *r, struct wh_frame *f)
{
	uint32_t flags;

	f->round_end.round = wh_get_u32(r);
	flags = wh_get_u32(r);
	f->round_end.last = flags == FLAG_LAST;
	return flags > FLAG_LAST ? -EPROTO : 0;
}

/* What stands in the place that is reserved in other frames. */
static uint16_t granules_of(const struct wh_frame *f)
{
	return (uint16_t)(f->ready.missing_order | f->ready.fill_order << 8);
}

static int decode_granules(uint16_t field, struct wh_frame *f)
{
	f->ready.missing_order = (uint8_t)field;
	f->ready.fill_order = (uint8_t)(field >> 8);
	if (f->ready.missing_order == WH_GRANULE_NONE && f->ready.fill_order == WH_GRANULE_NONE)
		return 0;
	return f->ready.missing_order <= WH_GRANULE_ORDER_MAX &&
	                       f->ready.fill_order <= f->ready.missing_order
	               ? 0
	               : -EPROTO;
}

uint32_t wh_frame_encode(uint8_t to[WH_FRAME_LEN_MAX], const struct wh_frame *frame)
{
	struct wh_writer w = wh_writer_init(to, WH_FRAME_LEN_MAX);

	wh_put_u16(&w, (uint16_t)frame->kind);
	wh_put_u16(&w, frame->kind == WH_FRAME_READY ? granules_of(frame) : 0);
	switch (frame->kind) {
	case WH_FRAME_REGION:
		encode_region(&w, frame);
		break;
	case WH_FRAME_START:
	case WH_FRAME_RESUME:
		wh_put_u32(&w, frame->start.page_size);
		wh_put_u16(&w, frame->start.regions);
		break;
	case WH_FRAME_READY:
	case WH_FRAME_SWITCH:
	case WH_FRAME_SWITCHED:
		break;
	case WH_FRAME_ZERO:
	case WH_FRAME_MISSING:
		encode_zero(&w, frame);
		break;
	case WH_FRAME_ROUND_END:
		encode_round_end(&w, frame);
		break;
	case WH_FRAME_ROUND_LANDED:
		wh_put_u32(&w, frame->round_landed.round);
		break;
	}
	wh_assert(!w.bad);
	return (uint32_t)(w.at - to);
}

/* @reserved: what stands between kind and fields. */
static int decode_body(struct wh_reader *r, struct wh_frame *f, uint16_t reserved)
{
	switch (f->kind) {
	case WH_FRAME_REGION:
		return decode_region(r, f);
	case WH_FRAME_START:
	case WH_FRAME_RESUME:
		f->start.page_size = wh_get_u32(r);
		f->start.regions = wh_get_u16(r);
		return 0;
	case WH_FRAME_READY:
		return decode_granules(reserved, f);
	case WH_FRAME_SWITCH:
	case WH_FRAME_SWITCHED:
		return 0;
	case WH_FRAME_ZERO:
	case WH_FRAME_MISSING:
		return decode_zero(r, f);
	case WH_FRAME_ROUND_END:
		return decode_round_end(r, f);
	case WH_FRAME_ROUND_LANDED:
		f->round_landed.round = wh_get_u32(r);
		return 0;
	}
	return -EPROTO; /* a kind that this version does not know */
}

int wh_frame_decode(struct wh_frame *ret, const void *data, uint32_t len)
{
	struct wh_reader r = wh_reader_init(data, len);
	uint16_t reserved;
	int err;

	ret->kind = (enum wh_frame_kind)wh_get_u16(&r);
	reserved = wh_get_u16(&r);
	err = decode_body(&r, ret, reserved);
	return err < 0 ? err : wh_reader_done(&r);
}
