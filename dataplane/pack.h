/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Pack - compresses what a connection sends, where that pays or was asked for; and has pages that
 * are sent again go as what differs (delta.h).
 *
 * Threads: the connection's own, but for the counters.
 */

#ifndef WH_PACK_H
#define WH_PACK_H

#include <stdatomic.h>
#include <stdint.h>

#include "compress.h"
#include "compress_pays.h"
#include "delta.h"
#include "wire.h"

#include "wherry/cleanup.h"
#include "wherry/limits.h"
#include "wherry/transport.h"

/* What wh_pack_write() is given between two wh_pack_begin(), at most. */
#define WH_PACK_BYTES (3u << 20)

struct wh_pack {
	int fd; /* the connection's, borrowed */
	enum wh_compression mode;
	struct wh_delta *delta; /* all connections', borrowed; NULL in mode WH_COMPRESSION_NONE */
	struct wh_compressor *compressor; /* owned; NULL in mode WH_COMPRESSION_NONE */
	uint8_t *buffer;                  /* owned; what is to be sent, the same */
	uint32_t used;                    /* bytes of it */
	struct wh_compress_pays pays;
	uint32_t since_look;              /* bytes of contents */
	_Atomic uint64_t raw_bytes;       /* of contents that were compressed */
	_Atomic uint64_t bytes;           /* what became of them */
	_Atomic uint64_t delta_raw_bytes; /* of contents sent as differences */
	_Atomic uint64_t delta_bytes;     /* what became of them */
};

/* @pack is zeroed. Return: 0 or -ENOMEM. */
wh_must_check int wh_pack_init(struct wh_pack *pack, int fd, enum wh_compression mode,
                               struct wh_delta *delta);
void wh_pack_done(struct wh_pack *pack);

/* What wh_pack_write() returned so far is no longer used. */
void wh_pack_begin(struct wh_pack *pack);

/*
 * How to send @w, whose contents are at @contents and may change. Return: what to send in their
 * place, borrowed until wh_pack_begin(), with @record's type and length set; NULL to send them as
 * they are.
 */
const uint8_t *wh_pack_write(struct wh_pack *pack, const struct wh_write *w, const void *contents,
                             struct wh_record *record);

#endif
