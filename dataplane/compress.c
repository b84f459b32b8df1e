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

uint32_t wh_compress(struct wh_compressor *c, uint8_t *to, const void *from, uint32_t len)
{
	struct wh_writer w = wh_writer_init(to, WH_COMPRESS_HEADER);
	size_t n;

	wh_assert(len > WH_COMPRESS_HEADER && len <= WH_WRITE_LEN_MAX);
	memcpy(c->contents, from, len);
	wh_put_u32(&w, len);
	n = ZSTD_compressCCtx(c->zstd, to + WH_COMPRESS_HEADER, len - WH_COMPRESS_HEADER - 1,
	                      c->contents, len, LEVEL);
	/* Mostly that there is no room. Whichever it is, the contents go as they are. */
	return ZSTD_isError(n) ? len : WH_COMPRESS_HEADER + (uint32_t)n;
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

int wh_decompress(struct wh_decompressor *d, const uint8_t *payload, uint32_t len,
                  const uint8_t **ret)
{
	int contents = wh_decompress_length(payload, len);
	const uint8_t *frame = payload + WH_COMPRESS_HEADER;

	if (contents < 0)
		return contents;
	/* zstd itself would take several frames in a row. */
	if (ZSTD_findFrameCompressedSize(frame, len - WH_COMPRESS_HEADER) !=
	    len - WH_COMPRESS_HEADER)
		return -EPROTO;
	if (ZSTD_decompressDCtx(d->zstd, d->contents, (size_t)contents, frame,
	                        len - WH_COMPRESS_HEADER) != (size_t)contents)
		return -EPROTO;
	*ret = d->contents;
	return 0;
}
