/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Compress - page contents as the payload of a WRITE_ZSTD or WRITE_DELTA record, and back.
 *
 * The payload is the contents' length, for a delta a bit for each page, and one zstd frame
 * (docs/wire-protocol.md).
 *
 * Threads: each object belongs to one.
 */

#ifndef WH_COMPRESS_H
#define WH_COMPRESS_H

#include <stdint.h>

#include "wherry/cleanup.h"

/* A payload is longer than this. */
#define WH_COMPRESS_HEADER 4u

struct wh_compressor;

/* Return: NULL if there is no memory. */
struct wh_compressor *wh_compressor_new(void);
struct wh_compressor *wh_compressor_free(struct wh_compressor *c);

/*
 * Compress @len bytes, at most WH_WRITE_LEN_MAX, which the guest may be writing to; @to has room
 * for as many. Return: the payload's length; @len if it would not be shorter than the contents, and
 * then there is nothing of use at @to.
 */
wh_must_check uint32_t wh_compress(struct wh_compressor *c, uint8_t *to, const void *from,
                                   uint32_t len);

/*
 * Take a copy of @len bytes, at most WH_WRITE_LEN_MAX, which the guest may be writing to. Return: the
 * copy, of the compressor, until the next call.
 */
uint8_t *wh_compressor_hold(struct wh_compressor *c, const void *from, uint32_t len);

/* wh_compress() of that copy. */
wh_must_check uint32_t wh_compress_held(struct wh_compressor *c, uint8_t *to, uint32_t len);

/* The same as the payload of a WRITE_DELTA; the copy holds differences where @known says so. */
wh_must_check uint32_t wh_compress_delta(struct wh_compressor *c, uint8_t *to, uint32_t len,
                                         const uint8_t *known);

struct wh_decompressor;

/* Return: NULL if there is no memory. */
struct wh_decompressor *wh_decompressor_new(void);
struct wh_decompressor *wh_decompressor_free(struct wh_decompressor *d);

/*
 * The contents' length that a payload of @len bytes claims. Return: that, or -EPROTO if none may
 * have it: not whole pages, more than WH_WRITE_LEN_MAX, less than the payload.
 */
wh_must_check int wh_decompress_length(const uint8_t *payload, uint32_t len);

/*
 * Have the contents, borrowed until the next call, in @ret. Their length is what
 * wh_decompress_length() says. Return: 0 or -EPROTO.
 */
wh_must_check int wh_decompress(struct wh_decompressor *d, const uint8_t *payload, uint32_t len,
                                const uint8_t **ret);

struct wh_decompressed_delta {
	uint8_t *contents;    /* the decompressor's, until its next call */
	const uint8_t *known; /* in the payload; a bit for each page: it is a difference */
};

/* The same for the payload of a WRITE_DELTA. */
wh_must_check int wh_decompress_delta(struct wh_decompressor *d, const uint8_t *payload,
                                      uint32_t len, struct wh_decompressed_delta *ret);

#endif
