/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Wire - the bytes that movers exchange: docs/wire-protocol.md, version 1.
 *
 * A connection carries records. Each begins with a header of WH_RECORD_HEADER bytes, and its
 * payload follows. FRAME records carry the frames of wh_transport_send(), whose contents are the
 * session's own messages. All numbers are little-endian and append-only.
 *
 * Bytes from the peer are read only through the reader below. It never reads past its end: it
 * turns bad and stays so, and a decoder asks once, at its own end.
 *
 * Threads: values, no state.
 */

#ifndef WH_WIRE_H
#define WH_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pageset.h"

#include "wherry/cleanup.h"
#include "wherry/limits.h"

#define WH_WIRE_VERSION  1u
#define WH_WIRE_MAGIC    0x59524857u /* "WHRY" */
#define WH_RECORD_HEADER 16u
#define WH_HELLO_BYTES   28u
#define WH_WELCOME_BYTES 4u
#define WH_SPAN_BYTES    4u /* payload of FETCH, ZEROES, READ_GRANT and HAVE */
#define WH_OFFER_BYTES   8u
#define WH_KEY_BYTES     12u

/* Pages of one FETCH, or one fill granule if that has more: at 64 MiB/s they take 4 ms. */
#define WH_FETCH_PAGES_MAX 64u

struct wh_reader {
	const uint8_t *at;
	const uint8_t *end;
	bool bad;
};

struct wh_writer {
	uint8_t *at;
	uint8_t *end;
	bool bad;
};

struct wh_reader wh_reader_init(const void *data, size_t len);
uint16_t wh_get_u16(struct wh_reader *r);
uint32_t wh_get_u32(struct wh_reader *r);
uint64_t wh_get_u64(struct wh_reader *r);
void wh_get_bytes(struct wh_reader *r, void *to, size_t len);

/* Return: 0 if every byte was read and none was missing, else -EPROTO. */
wh_must_check int wh_reader_done(const struct wh_reader *r);

struct wh_writer wh_writer_init(void *data, size_t len);
void wh_put_u16(struct wh_writer *w, uint16_t v);
void wh_put_u32(struct wh_writer *w, uint32_t v);
void wh_put_u64(struct wh_writer *w, uint64_t v);
void wh_put_bytes(struct wh_writer *w, const void *from, size_t len);

/* The table of record types. */
enum wh_record_type {
	WH_RECORD_HELLO = 1,       /* the connecting side's first record */
	WH_RECORD_WELCOME = 2,     /* the answer to it */
	WH_RECORD_WRITE = 3,       /* page contents: place @length bytes at @offset of @region */
	WH_RECORD_FRAME = 4,       /* a frame, behind the numbers of writes that come before it */
	WH_RECORD_WRITE_ZSTD = 5,  /* a WRITE whose contents are compressed */
	WH_RECORD_WRITE_DELTA = 6, /* the same, of what differs from what is there */
	WH_RECORD_FETCH = 7,       /* urgent: send these pages now */
	WH_RECORD_ZEROES = 8,      /* urgent, an answer to it: they are zero */

	/* Urgent, all of them: pages that are read by RDMA (rdma_reads.h, rdma_lend.h). */
	WH_RECORD_READ_OFFER = 9,  /* target: connect there, to be read from */
	WH_RECORD_READ_KEY = 10,   /* source: this chunk may be read */
	WH_RECORD_READ_GRANT = 11, /* source: so many more bytes may be read */
	WH_RECORD_HAVE = 12,       /* target: these were read, and are placed */
	WH_RECORD_READ_DONE = 13,  /* target: no more of this chunk is read */
	WH_RECORD_READ_OVER = 14,  /* both: nothing is read any more */
};

struct wh_record {
	uint16_t type; /* enum wh_record_type, as the peer says */
	uint16_t region;
	uint32_t length; /* bytes of payload that follow */
	uint64_t offset; /* bytes into the region */
};

void wh_record_encode(uint8_t to[WH_RECORD_HEADER], const struct wh_record *record);
struct wh_record wh_record_decode(const uint8_t from[WH_RECORD_HEADER]);

/* What a connection is for. */
enum wh_hello_kind {
	WH_HELLO_BULK = 0,
	WH_HELLO_URGENT = 1, /* for the pages that a guest waits for in post-copy */
};

struct wh_hello {
	uint16_t connection;  /* which one this is, from 0 */
	uint16_t connections; /* how many there will be, but for the urgent one */
	uint16_t kind;        /* enum wh_hello_kind */
	uint8_t token[WH_TOKEN_BYTES];
};

void wh_hello_encode(uint8_t to[WH_HELLO_BYTES], const struct wh_hello *hello);

/* Return: 0, -EPROTO if this is no hello, -EPROTONOSUPPORT if its version is not ours. */
wh_must_check int wh_hello_decode(struct wh_hello *ret, const uint8_t from[WH_HELLO_BYTES]);

void wh_welcome_encode(uint8_t to[WH_WELCOME_BYTES]);
wh_must_check int wh_welcome_decode(const uint8_t from[WH_WELCOME_BYTES]);

/* The payload of FETCH, ZEROES and HAVE: how many bytes of the region, from the record's offset. Of
 * READ_GRANT: how many. */
void wh_span_encode(uint8_t to[WH_SPAN_BYTES], uint32_t bytes);
uint32_t wh_span_decode(const uint8_t from[WH_SPAN_BYTES]);

/* The payload of READ_OFFER. */
struct wh_read_offer {
	uint16_t port;
	uint16_t chunk_order; /* a chunk has 2^order bytes */
	uint32_t bytes;       /* that may be granted and not told as HAVE, at most */
};

void wh_read_offer_encode(uint8_t to[WH_OFFER_BYTES], const struct wh_read_offer *offer);
struct wh_read_offer wh_read_offer_decode(const uint8_t from[WH_OFFER_BYTES]);

/* The payload of READ_KEY. */
struct wh_read_key {
	uint64_t addr; /* of the chunk's first byte, as the source's device knows it */
	uint32_t key;
};

void wh_read_key_encode(uint8_t to[WH_KEY_BYTES], const struct wh_read_key *key);
struct wh_read_key wh_read_key_decode(const uint8_t from[WH_KEY_BYTES]);

/* The table of frame kinds; who sends it. */
enum wh_frame_kind {
	WH_FRAME_REGION = 1,       /* source: one region of the guest */
	WH_FRAME_START = 2,        /* source: those were all */
	WH_FRAME_READY = 3,        /* target: the regions are agreed */
	WH_FRAME_ZERO = 4,         /* source: these runs are zero */
	WH_FRAME_ROUND_END = 5,    /* source: the round is over */
	WH_FRAME_ROUND_LANDED = 6, /* target: the round is in memory */
	WH_FRAME_MISSING = 7,      /* source, or a target that resumes: these runs are still owed */
	WH_FRAME_SWITCH = 8,       /* source: it is post-copy from here */
	WH_FRAME_SWITCHED = 9,     /* target: the guest may run here */
	WH_FRAME_RESUME = 10,      /* source: in place of START, post-copy goes on */
};

/* The largest granule that READY may tell: 2 MiB, as a power of two of pages. */
#define WH_GRANULE_ORDER_MAX 9u

/* In place of both of its orders: there can be no post-copy. */
#define WH_GRANULE_NONE 0xffu

/* Runs in one ZERO or MISSING frame: what fits into WH_FRAME_LEN_MAX. */
#define WH_ZERO_RUNS_MAX 256u

struct wh_frame {
	enum wh_frame_kind kind;
	union {
		struct {
			uint16_t id;
			uint64_t bytes;
			char name[WH_NAME_MAX]; /* NUL-terminated */
		} region;
		struct {
			uint32_t page_size;
			uint16_t regions;
		} start; /* START and RESUME */
		struct {
			uint8_t missing_order; /* granule of MISSING runs: 2^order pages */
			uint8_t fill_order;    /* granule of what is sent in post-copy */
		} ready;
		struct {
			uint16_t region;
			uint16_t count;                       /* 1 to WH_ZERO_RUNS_MAX */
			struct wh_run runs[WH_ZERO_RUNS_MAX]; /* pages of the region */
		} zero;                                       /* ZERO and MISSING */
		struct {
			uint32_t round;
			bool last; /* the guest stands still: nothing will follow */
		} round_end;
		struct {
			uint32_t round;
		} round_landed;
	};
};

/* Return: the length in bytes; every frame that meets its limits fits. */
uint32_t wh_frame_encode(uint8_t to[WH_FRAME_LEN_MAX], const struct wh_frame *frame);

/* Return: 0; -EPROTO, with @ret in no particular state, if the bytes are no frame. */
wh_must_check int wh_frame_decode(struct wh_frame *ret, const void *data, uint32_t len);

#endif
