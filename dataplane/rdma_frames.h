/* SPDX-License-Identifier: Apache-2.0 */

/*
 * RDMA frames - what the two ends of a link with RDMA say to each other about it, beside the
 * session: docs/wire-protocol.md, "RDMA beside the link".
 *
 * They travel as frames of the TCP link. The session's own frames are inside of DATA.
 *
 * Threads: values, no state.
 */

#ifndef WH_RDMA_FRAMES_H
#define WH_RDMA_FRAMES_H

#include <stdbool.h>
#include <stdint.h>

#include "wherry/cleanup.h"
#include "wherry/limits.h"

/* The table of kinds; who sends it. */
enum wh_rdma_frame_kind {
	WH_RDMA_DATA = 1,    /* both: a frame of the session, due when a barrier has arrived */
	WH_RDMA_OFFER = 2,   /* target: connect there */
	WH_RDMA_WANT = 3,    /* source: these chunks will be written to */
	WH_RDMA_KEYS = 4,    /* target: with these keys */
	WH_RDMA_REFUSED = 5, /* target: these chunks cannot */
	WH_RDMA_FREE = 6,    /* source: these chunks will not be written to any more */
	WH_RDMA_DOWN = 7,    /* source: RDMA is over here */
	WH_RDMA_CLOSED = 8,  /* target: it is over here, nothing lands by it any more */
	WH_RDMA_RESENT = 9,  /* source: what did not land by it has been sent before this */
};

/* What DATA adds to the frame in it. */
#define WH_RDMA_DATA_HEADER 8u

/* Chunks in one frame. */
#define WH_RDMA_LIST_MAX 64u

/* Text of a reason, with the final NUL. */
#define WH_RDMA_REASON_MAX 200u

/* One chunk of a region. @key and @addr: of KEYS only. */
struct wh_rdma_chunk_id {
	uint16_t region;
	uint32_t number; /* from the region's start, in chunks */
	uint32_t key;
	uint64_t addr; /* of the chunk's first byte, as the target's device knows it */
};

struct wh_rdma_frame {
	enum wh_rdma_frame_kind kind;
	union {
		struct {
			uint32_t barrier; /* 0: due at once */
			const uint8_t *data;
			uint32_t len; /* 1 to WH_FRAME_LEN_MAX */
		} data;
		struct {
			uint16_t port;
			uint16_t pairs;       /* that carry writes */
			uint16_t chunk_order; /* a chunk has 2^order bytes */
			uint64_t pinned_bytes_max;
		} offer;
		struct {
			uint16_t count; /* 1 to WH_RDMA_LIST_MAX */
			struct wh_rdma_chunk_id chunks[WH_RDMA_LIST_MAX];
		} list; /* WANT, KEYS, REFUSED, FREE */
		struct {
			bool landed; /* CLOSED: in good order, and what was posted before the last DATA has landed */
			char reason[WH_RDMA_REASON_MAX]; /* in words, maybe empty */
		} over;                                  /* DOWN and CLOSED */
	};
};

/* Chunks have 2^WH_RDMA_CHUNK_ORDER_MIN bytes at least, a page, and at most 2^_MAX. */
#define WH_RDMA_CHUNK_ORDER_MIN 12u
#define WH_RDMA_CHUNK_ORDER_MAX 30u

#define WH_RDMA_FRAME_MAX (WH_RDMA_DATA_HEADER + WH_FRAME_LEN_MAX)

/* Return: the length in bytes. */
uint32_t wh_rdma_frame_encode(uint8_t to[WH_RDMA_FRAME_MAX], const struct wh_rdma_frame *frame);

/* @ret->data.data points into @data. Return: 0; or -EPROTO if the bytes are no such frame. */
wh_must_check int wh_rdma_frame_decode(struct wh_rdma_frame *ret, const void *data, uint32_t len);

#endif
