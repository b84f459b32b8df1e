/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A record is used when it is all here. The buffer stays in the cache, so that what is put in
 * place from there has been read from memory once.
 */

#include "intake.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "wherry/assert.h"

/* What is received before it is known what it is: it may take the front of a long record. */
#define GLANCE_BYTES 65536u

/* The longest payload; a header is gone when its payload is waited for. */
#define BUFFER_BYTES WH_WRITE_LEN_MAX

int wh_intake_init(struct wh_intake *in, const struct wh_intake_config *cfg)
{
	*in = (struct wh_intake){ .cfg = *cfg };
	in->buffer = aligned_alloc(WH_PAGE_SIZE, BUFFER_BYTES);
	return in->buffer ? 0 : -ENOMEM;
}

void wh_intake_done(struct wh_intake *in)
{
	free(in->buffer);
	in->buffer = NULL;
}

/* A frame that is all here and still in the buffer: its owner had no room for it. */
static bool frame_waits(const struct wh_intake *in)
{
	return in->left > 0 && in->record.type == WH_RECORD_FRAME && in->have >= in->left;
}

struct wh_room wh_intake_room(const struct wh_intake *in)
{
	struct wh_room room = { .at = in->buffer + in->have };

	if (frame_waits(in))
		return room;
	if (in->left >= GLANCE_BYTES) {
		room.len = in->left - in->have;
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

/* Check a record's header: a peer's words are claims. */
static int check_record(const struct wh_intake *in, const struct wh_record *record)
{
	if (record->type == WH_RECORD_FRAME)
		return record->length > 0 && record->length <= WH_FRAME_RECORD_MAX ? 0 : -EPROTO;
	if (record->type != WH_RECORD_WRITE || record->region >= WH_REGIONS_MAX)
		return -EPROTO;

	if (record->length == 0 || record->length > WH_WRITE_LEN_MAX ||
	    record->length % WH_PAGE_SIZE || record->offset % WH_PAGE_SIZE ||
	    !wh_place_holds(&in->cfg.places[record->region], record->offset, record->length))
		return -EPROTO;
	return 0;
}

/* Put a whole WRITE in place. Return: bytes used, 0 if more must come first, or -errno. */
static int take_write(struct wh_intake *in, const uint8_t *data, uint32_t have)
{
	const uint32_t len = in->left;
	int r;

	if (have < len)
		return 0;
	r = wh_place_put(&in->cfg.places[in->record.region], data, len, in->record.offset);
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

/* Take one step through the received bytes. Return: bytes used, 0 if stuck, or -errno. */
static int take_some(struct wh_intake *in, const uint8_t *data, uint32_t have)
{
	int r;

	if (in->left > 0)
		return in->record.type == WH_RECORD_WRITE ? take_write(in, data, have)
		                                          : take_frame(in, data, have);
	if (have < WH_RECORD_HEADER)
		return 0;
	in->record = wh_record_decode(data);
	r = check_record(in, &in->record);
	if (r < 0)
		return r;
	in->left = in->record.length;
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
