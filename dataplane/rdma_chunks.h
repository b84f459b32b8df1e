/* SPDX-License-Identifier: Apache-2.0 */

/*
 * RDMA chunks - which pieces of the regions lent to a link the device knows.
 *
 * Chunks have a power of two of bytes and lie in one region; a region's last may be shorter. What
 * is to be enrolled or dropped is queued here and done by the thread of rdma_enroll.h.
 *
 * A chunk in use, or that somebody waits for, is never dropped. One whose memory was given back
 * (wh_rdma_chunks_discard()) is enrolled anew when it is no longer in use: the device would go on
 * with the pages that were there before.
 *
 * Threads: one.
 */

#ifndef WH_RDMA_CHUNKS_H
#define WH_RDMA_CHUNKS_H

#include <stdbool.h>
#include <stdint.h>

#include "rdma_enroll.h"

#include "wherry/cleanup.h"
#include "wherry/limits.h"

/* Of one region: 16 TiB in the smallest that are of use. */
#define WH_RDMA_CHUNKS_MAX (1u << 20)

/* Of the keys of this side. */
enum wh_rdma_chunk_state {
	WH_RDMA_CHUNK_IDLE,
	WH_RDMA_CHUNK_QUEUED, /* for the thread */
	WH_RDMA_CHUNK_BUSY,   /* there */
	WH_RDMA_CHUNK_READY,
	WH_RDMA_CHUNK_FAILED,
};

/* At the source: of the key at the peer. */
enum wh_rdma_peer_state {
	WH_RDMA_PEER_NONE,
	WH_RDMA_PEER_TO_ASK,
	WH_RDMA_PEER_ASKED,
	WH_RDMA_PEER_READY,
	WH_RDMA_PEER_TO_FREE,
	WH_RDMA_PEER_REFUSED,
};

struct wh_rdma_chunk {
	struct wh_rdma_chunk *next_job;  /* for the thread */
	struct wh_rdma_chunk *next_tell; /* for the owner: what the peer is to be told about */
	struct wh_verbs_key key;
	uint64_t used;    /* when, in uses of any chunk */
	uint32_t users;   /* works that use the key */
	uint32_t awaited; /* writes that wait for it */
	uint32_t number;  /* in its region */
	uint16_t region;
	bool stale;               /* enrolled, but of memory that is gone */
	bool to_enroll, to_expel; /* what the thread is to do; expel comes first */
	bool has_job;             /* linked by @next_job */
	bool is_told;             /* linked by @next_tell */
	enum wh_rdma_chunk_state state;

	/* At the source. */
	enum wh_rdma_peer_state peer;
	uint32_t peer_key;
	uint64_t peer_addr;
};

struct wh_rdma_list {
	struct wh_rdma_chunk *head;
	struct wh_rdma_chunk **tail;
};

struct wh_rdma_region {
	uint8_t *addr; /* borrowed; NULL if it cannot be enrolled */
	uint64_t bytes;
	struct wh_rdma_chunk *chunks; /* owned */
	uint32_t count;
};

/* Plain: its fields may be read. */
struct wh_rdma_chunks {
	struct wh_rdma_region regions[WH_REGIONS_MAX];
	uint32_t order;        /* chunks of 2^order bytes; set before there are regions */
	uint32_t rights;       /* enum wh_verbs_rights of what is enrolled */
	uint64_t pinned_bytes; /* enrolled, or about to be */
	uint64_t pinned_bytes_max;
	uint64_t uses;
	struct wh_rdma_enroll *enroll; /* borrowed; NULL while RDMA is not up */
	struct wh_rdma_list jobs, tell;
};

void wh_rdma_chunks_init(struct wh_rdma_chunks *c);

/* All keys must have been expelled, by wh_rdma_chunks_expel(). */
void wh_rdma_chunks_done(struct wh_rdma_chunks *c);

/* Cut @bytes at @addr into chunks, if they are not too many. Return: 0 or -ENOMEM. */
wh_must_check int wh_rdma_chunks_add(struct wh_rdma_chunks *c, uint16_t region, void *addr,
                                     uint64_t bytes);

/* The chunk that is number @number of @region, or NULL. */
struct wh_rdma_chunk *wh_rdma_chunks_get(struct wh_rdma_chunks *c, uint16_t region,
                                         uint32_t number);

/* The chunk that holds byte @offset of @region, or NULL. */
struct wh_rdma_chunk *wh_rdma_chunks_at(struct wh_rdma_chunks *c, uint16_t region, uint64_t offset);

uint8_t *wh_rdma_chunk_addr(const struct wh_rdma_chunks *c, const struct wh_rdma_chunk *chunk);
uint64_t wh_rdma_chunk_bytes(const struct wh_rdma_chunks *c, const struct wh_rdma_chunk *chunk);

/* Whether @chunk, which is idle, could be enrolled within the bytes that may be pinned. */
bool wh_rdma_chunks_fits(const struct wh_rdma_chunks *c, const struct wh_rdma_chunk *chunk);

void wh_rdma_chunks_enroll(struct wh_rdma_chunks *c, struct wh_rdma_chunk *chunk);
void wh_rdma_chunks_drop(struct wh_rdma_chunks *c, struct wh_rdma_chunk *chunk);

/* The chunk that was not used for the longest time, of those that may be dropped; or NULL. */
struct wh_rdma_chunk *wh_rdma_chunks_oldest(struct wh_rdma_chunks *c);

/* Whether the memory of @chunk can be used now. */
bool wh_rdma_chunk_is_ready(const struct wh_rdma_chunk *chunk);

void wh_rdma_chunks_use(struct wh_rdma_chunks *c, struct wh_rdma_chunk *chunk);
void wh_rdma_chunks_release(struct wh_rdma_chunks *c, struct wh_rdma_chunk *chunk);

/* Memory in [@offset, @offset + @len) is given back, or is about to be. */
void wh_rdma_chunks_discard(struct wh_rdma_chunks *c, uint16_t region, uint64_t offset,
                            uint64_t len);

/* Whether any memory in [@offset, @offset + @len) is enrolled, or about to be. */
bool wh_rdma_chunks_hold(struct wh_rdma_chunks *c, uint16_t region, uint64_t offset, uint64_t len);

/*
 * Hand what is queued to the thread, and take its results. Return: a chunk that became ready or
 * failed, or NULL if there is none any more.
 */
struct wh_rdma_chunk *wh_rdma_chunks_work(struct wh_rdma_chunks *c);

/* The thread has ended: expel all keys, and queue nothing. */
void wh_rdma_chunks_expel(struct wh_rdma_chunks *c, struct wh_verbs *verbs);

/* Have @chunk come out of wh_rdma_chunks_next_told() once. */
void wh_rdma_chunks_tell(struct wh_rdma_chunks *c, struct wh_rdma_chunk *chunk);
struct wh_rdma_chunk *wh_rdma_chunks_next_told(struct wh_rdma_chunks *c);

#endif
