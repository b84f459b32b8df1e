/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The contents are copied before they are compressed: the guest may write to them meanwhile, and
 * zstd makes no promise about what it does with contents that change under it.
 */

#include "compress.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "wire.h"

#include "wherry/assert.h"
#include "wherry/limits.h"

/* Negative levels are faster by less than their frames are longer. */
#define LEVEL 1

struct wh_compressor {
	ZSTD_CCtx *zstd;
	uint8_t *contents; /* a copy that stands still */
};

struct wh_decompressor {
	ZSTD_DCtx *zstd;
	uint8_t *contents;
};

static uint8_t *new_buffer(void)
{
	return aligned_alloc(WH_PAGE_SIZE, WH_WRITE_LEN_MAX);
}

struct wh_compressor *wh_compressor_new(void)
{
	struct wh_compressor *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->zstd = ZSTD_createCCtx();
	c->contents = new_buffer();
	return c->zstd && c->contents ? c : wh_compressor_free(c);
}

struct wh_compressor *wh_compressor_free(struct wh_compressor *c)
{
	if (!c)
		return NULL;
	(void)ZSTD_freeCCtx(c->zstd); /* takes NULL, always succeeds */
	free(c->contents);
	free(c);
	return NULL;
}

uint8_t *wh_compressor_hold(struct wh_compressor *c, const void *from, uint32_t len)
{
	wh_assert(len <= WH_WRITE_LEN_MAX);
	return memcpy(c->contents, from, len);
}

/* Put a frame of the contents held behind a header of @header bytes. Return: as wh_compress(). */
static uint32_t put_frame(struct wh_compressor *c, uint8_t *to, uint32_t header, uint32_t len)
{
	size_t n;

	wh_assert(len > header && len <= WH_WRITE_LEN_MAX);
	n = ZSTD_compressCCtx(c->zstd, to + header, len - header - 1, c->contents, len, LEVEL);
	/* Mostly that there is no room. Whichever it is, the contents go as they are. */
	return ZSTD_isError(n) ? len : header + (uint32_t)n;
}

uint32_t wh_compress_held(struct wh_compressor *c, uint8_t *to, uint32_t len)
{
	struct wh_writer w = wh_writer_init(to, WH_COMPRESS_HEADER);

	wh_put_u32(&w, len);
	return put_frame(c, to, WH_COMPRESS_HEADER, len);
}

static uint32_t map_bytes(uint32_t len)
{
	return (len / WH_PAGE_SIZE + 7) / 8;
}

uint32_t wh_compress_delta(struct wh_compressor *c, uint8_t *to, uint32_t len, const uint8_t *known)
{
	const uint32_t header = WH_COMPRESS_HEADER + map_bytes(len);
	struct wh_writer w = wh_writer_init(to, header);

	wh_put_u32(&w, len);
	wh_put_bytes(&w, known, map_bytes(len));
	return put_frame(c, to, header, len);
}

uint32_t wh_compress(struct wh_compressor *c, uint8_t *to, const void *from, uint32_t len)
{
	(void)wh_compressor_hold(c, from, len);
	return wh_compress_held(c, to, len);
}

struct wh_decompressor *wh_decompressor_new(void)
{
	struct wh_decompressor *d = calloc(1, sizeof(*d));

	if (!d)
		return NULL;
	d->zstd = ZSTD_createDCtx();
	d->contents = new_buffer();
	return d->zstd && d->contents ? d : wh_decompressor_free(d);
}

struct wh_decompressor *wh_decompressor_free(struct wh_decompressor *d)
{
	if (!d)
		return NULL;
	(void)ZSTD_freeDCtx(d->zstd); /* takes NULL, always succeeds */
	free(d->contents);
	free(d);
	return NULL;
}

int wh_decompress_length(const uint8_t *payload, uint32_t len)
{
	struct wh_reader r = wh_reader_init(payload, len);
	uint32_t contents = wh_get_u32(&r);

	if (r.bad || contents == 0 || contents % WH_PAGE_SIZE || contents > WH_WRITE_LEN_MAX ||
	    contents < len)
		return -EPROTO;
	return (int)contents;
}

/* Have the contents of a payload with a header of @header bytes. Return: 0 or -EPROTO. */
static int take_frame(struct wh_decompressor *d, const uint8_t *payload, uint32_t header,
                      uint32_t len)
{
	const int contents = wh_decompress_length(payload, len);
	const uint8_t *frame = payload + header;

	if (contents < 0 || len <= header)
		return -EPROTO;
	/* zstd itself would take several frames in a row. */
	if (ZSTD_findFrameCompressedSize(frame, len - header) != len - header)
		return -EPROTO;
	if (ZSTD_decompressDCtx(d->zstd, d->contents, (size_t)contents, frame, len - header) !=
	    (size_t)contents)
		return -EPROTO;
	return 0;
}

int wh_decompress(struct wh_decompressor *d, const uint8_t *payload, uint32_t len,
                  const uint8_t **ret)
{
	int r = take_frame(d, payload, WH_COMPRESS_HEADER, len);

	if (r == 0)
		*ret = d->contents;
	return r;
}

int wh_decompress_delta(struct wh_decompressor *d, const uint8_t *payload, uint32_t len,
                        struct wh_decompressed_delta *ret)
{
	const int contents = wh_decompress_length(payload, len);
	const uint8_t *known = payload + WH_COMPRESS_HEADER;
	uint32_t pages, header;
	int r;

	if (contents < 0)
		return contents;
	pages = (uint32_t)contents / WH_PAGE_SIZE;
	header = WH_COMPRESS_HEADER + map_bytes((uint32_t)contents);
	if (len <= header || (pages % 8 > 0 && known[pages / 8] >> pages % 8))
		return -EPROTO;
	r = take_frame(d, payload, header, len);
	if (r == 0)
		*ret = (struct wh_decompressed_delta){ .contents = d->contents, .known = known };
	return r;
}
