/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A record is used when it is all here, and a WRITE that is long piece by piece. The buffer stays in
 * the cache, so that what is put in place from there has been read from memory once.
 */

#include "intake.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "delta.h"

#include "wherry/assert.h"

/* What is received before it is known what it is: it may take the front of a long record. */
#define GLANCE_BYTES 65536u

/* The longest payload; a header is gone when its payload is waited for. */
#define BUFFER_BYTES WH_WRITE_LEN_MAX

int wh_intake_init(struct wh_intake *in, const struct wh_intake_config *cfg)
{
	*in = (struct wh_intake){ .cfg = *cfg };
	in->buffer = aligned_alloc(WH_PAGE_SIZE, BUFFER_BYTES);
	in->decompressor = wh_decompressor_new();
	return in->buffer && in->decompressor ? 0 : -ENOMEM;
}

void wh_intake_done(struct wh_intake *in)
{
	free(in->buffer);
	in->buffer = NULL;
	in->decompressor = wh_decompressor_free(in->decompressor);
}

/* A frame that is all here and still in the buffer: its owner had no room for it. */
static bool frame_waits(const struct wh_intake *in)
{
	return in->left > 0 && in->record.type == WH_RECORD_FRAME && in->have >= in->left;
}

/* How much of the payload must be here to be used. */
static uint32_t awaited(const struct wh_intake *in)
{
	return in->left < in->piece ? in->left : in->piece;
}

struct wh_room wh_intake_room(const struct wh_intake *in)
{
	struct wh_room room = { .at = in->buffer + in->have };

	if (frame_waits(in))
		return room;
	if (in->left >= GLANCE_BYTES) {
		room.len = awaited(in) - in->have;
		room.whole = true;
	} else {
		room.len = GLANCE_BYTES - in->have;
	}
	return room;
}

void wh_intake_add(struct wh_intake *in, uint32_t len)
{
	wh_assert(len <= BUFFER_BYTES - in->have);
	in->have += len;
}

/* Whether @len bytes of contents may go where @record says. */
static bool fits(const struct wh_intake *in, const struct wh_record *record, uint32_t len)
{
	return len > 0 && len <= WH_WRITE_LEN_MAX && len % WH_PAGE_SIZE == 0 &&
	       record->offset % WH_PAGE_SIZE == 0 && record->region < WH_REGIONS_MAX &&
	       wh_place_holds(&in->cfg.places[record->region], record->offset, len);
}

/* Check a record's header: a peer's words are claims. */
static int check_record(const struct wh_intake *in, const struct wh_record *record)
{
	switch (record->type) {
	case WH_RECORD_FRAME:
		return record->length > 0 && record->length <= WH_FRAME_RECORD_MAX ? 0 : -EPROTO;
	case WH_RECORD_WRITE:
		return fits(in, record, record->length) ? 0 : -EPROTO;
	case WH_RECORD_WRITE_ZSTD:
	case WH_RECORD_WRITE_DELTA:
		/* Where its contents go is checked when their length is here. */
		return record->length > WH_COMPRESS_HEADER && record->length <= WH_WRITE_LEN_MAX
		               ? 0
		               : -EPROTO;
	default:
		return -EPROTO;
	}
}

/* Put the next piece of a WRITE in place. Return: bytes used, 0 if more must come first, or -errno. */
static int take_write(struct wh_intake *in, const uint8_t *data, uint32_t have)
{
	const uint32_t len = awaited(in);
	int r;

	if (have < len)
		return 0;
	r = wh_place_put(&in->cfg.places[in->record.region], data, len, in->record.offset);
	if (r < 0)
		return r;
	in->record.offset += len;
	in->left -= len;
	if (in->left == 0)
		in->cfg.landed(in->cfg.context);
	return (int)len;
}

/* Turn the differences of a delta into contents: what is there was sent in an earlier round. */
static int add_what_is_there(struct wh_intake *in, const struct wh_decompressed_delta *delta,
                             uint32_t len)
{
	struct wh_place *place = &in->cfg.places[in->record.region];
	uint8_t there[WH_PAGE_SIZE];
	int r;

	for (uint32_t at = 0; at < len; at += WH_PAGE_SIZE) {
		if (!wh_delta_is_known(delta->known, at / WH_PAGE_SIZE))
			continue;
		r = wh_place_get(place, there, WH_PAGE_SIZE, in->record.offset + at);
		if (r < 0)
			return r;
		wh_delta_apply(delta->contents + at, there, WH_PAGE_SIZE);
	}
	return 0;
}

/* Decompress the payload to the record's contents. Return: 0 or -errno. */
static int unpack(struct wh_intake *in, const uint8_t *data, uint32_t contents_len,
                  const uint8_t **ret)
{
	struct wh_decompressed_delta delta;
	int r;

	if (in->record.type == WH_RECORD_WRITE_ZSTD)
		return wh_decompress(in->decompressor, data, in->left, ret);
	r = wh_decompress_delta(in->decompressor, data, in->left, &delta);
	if (r == 0)
		r = add_what_is_there(in, &delta, contents_len);
	if (r == 0)
		*ret = delta.contents;
	return r;
}

/* The same for a whole WRITE_ZSTD or WRITE_DELTA. */
static int take_compressed(struct wh_intake *in, const uint8_t *data, uint32_t have)
{
	const uint32_t len = in->left;
	const uint8_t *contents;
	int r, contents_len;

	if (have < len)
		return 0;
	contents_len = wh_decompress_length(data, len);
	if (contents_len < 0 || !fits(in, &in->record, (uint32_t)contents_len))
		return -EPROTO;
	r = unpack(in, data, (uint32_t)contents_len, &contents);
	if (r == 0)
		r = wh_place_put(&in->cfg.places[in->record.region], contents,
		                 (uint32_t)contents_len, in->record.offset);
	if (r < 0)
		return r;
	in->left = 0;
	in->cfg.landed(in->cfg.context);
	return (int)len;
}

/* Hand a whole FRAME to the owner. Return: as take_write(). */
static int take_frame(struct wh_intake *in, const uint8_t *data, uint32_t have)
{
	const uint32_t len = in->left;

	if (have < len || !in->cfg.frame(in->cfg.context, data, len))
		return 0;
	in->left = 0;
	return (int)len;
}

static int take_payload(struct wh_intake *in, const uint8_t *data, uint32_t have)
{
	if (in->record.type == WH_RECORD_WRITE)
		return take_write(in, data, have);
	if (in->record.type == WH_RECORD_FRAME)
		return take_frame(in, data, have);
	return take_compressed(in, data, have);
}

/* Take one step through the received bytes. Return: bytes used, 0 if stuck, or -errno. */
static int take_some(struct wh_intake *in, const uint8_t *data, uint32_t have)
{
	int r;

	if (in->left > 0)
		return take_payload(in, data, have);
	if (have < WH_RECORD_HEADER)
		return 0;
	in->record = wh_record_decode(data);
	r = check_record(in, &in->record);
	if (r < 0)
		return r;
	in->left = in->piece = in->record.length;
	if (in->record.type == WH_RECORD_WRITE)
		in->piece = wh_place_piece(&in->cfg.places[in->record.region]);
	return (int)WH_RECORD_HEADER;
}

int wh_intake_parse(struct wh_intake *in)
{
	uint32_t at = 0;
	int used = 1;

	while (used > 0) {
		used = take_some(in, in->buffer + at, in->have - at);
		if (used > 0)
			at += (uint32_t)used;
	}

	/* What is left moves to the front. */
	in->have -= at;
	memmove(in->buffer, in->buffer + at, in->have);
	return used;
}

int wh_intake_end(const struct wh_intake *in)
{
	if (frame_waits(in))
		return 0;
	return in->have > 0 || in->left > 0 ? -ECONNRESET : -ESHUTDOWN;
}
