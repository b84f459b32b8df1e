/* SPDX-License-Identifier: Apache-2.0 */

#include "rdma_chunks.h"

#include <errno.h>
#include <stdlib.h>

#include "wherry/assert.h"

static void list_init(struct wh_rdma_list *list)
{
	list->head = NULL;
	list->tail = &list->head;
}

void wh_rdma_chunks_init(struct wh_rdma_chunks *c)
{
	*c = (struct wh_rdma_chunks){ .order = 24 };
	list_init(&c->jobs);
	list_init(&c->tell);
}

void wh_rdma_chunks_done(struct wh_rdma_chunks *c)
{
	for (uint32_t i = 0; i < WH_REGIONS_MAX; i++)
		free(c->regions[i].chunks);
}

static uint64_t chunk_bytes(const struct wh_rdma_chunks *c)
{
	return UINT64_C(1) << c->order;
}

int wh_rdma_chunks_add(struct wh_rdma_chunks *c, uint16_t region, void *addr, uint64_t bytes)
{
	struct wh_rdma_region *r = &c->regions[region];
	const uint64_t count = (bytes + chunk_bytes(c) - 1) >> c->order;

	wh_assert(!r->chunks && bytes > 0);
	if (count > WH_RDMA_CHUNKS_MAX)
		return 0;
	r->count = (uint32_t)count;
	r->chunks = calloc(r->count, sizeof(*r->chunks));
	if (!r->chunks)
		return -ENOMEM;
	r->addr = addr;
	r->bytes = bytes;
	for (uint32_t i = 0; i < r->count; i++) {
		r->chunks[i].region = region;
		r->chunks[i].number = i;
	}
	return 0;
}

struct wh_rdma_chunk *wh_rdma_chunks_get(struct wh_rdma_chunks *c, uint16_t region, uint32_t number)
{
	struct wh_rdma_region *r = &c->regions[region];

	return r->chunks && number < r->count ? &r->chunks[number] : NULL;
}

struct wh_rdma_chunk *wh_rdma_chunks_at(struct wh_rdma_chunks *c, uint16_t region, uint64_t offset)
{
	const struct wh_rdma_region *r = &c->regions[region];

	return offset < r->bytes ? wh_rdma_chunks_get(c, region, (uint32_t)(offset >> c->order))
	                         : NULL;
}

uint8_t *wh_rdma_chunk_addr(const struct wh_rdma_chunks *c, const struct wh_rdma_chunk *chunk)
{
	return c->regions[chunk->region].addr + ((uint64_t)chunk->number << c->order);
}

uint64_t wh_rdma_chunk_bytes(const struct wh_rdma_chunks *c, const struct wh_rdma_chunk *chunk)
{
	const uint64_t left =
		c->regions[chunk->region].bytes - ((uint64_t)chunk->number << c->order);

	return left < chunk_bytes(c) ? left : chunk_bytes(c);
}

bool wh_rdma_chunks_fits(const struct wh_rdma_chunks *c, const struct wh_rdma_chunk *chunk)
{
	return c->pinned_bytes + wh_rdma_chunk_bytes(c, chunk) <= c->pinned_bytes_max;
}

/* --- what the thread is to do ----------------------------------------------------------------- */

static void queue_job(struct wh_rdma_chunks *c, struct wh_rdma_chunk *chunk)
{
	if (chunk->has_job)
		return;
	chunk->has_job = true;
	chunk->next_job = NULL;
	*c->jobs.tail = chunk;
	c->jobs.tail = &chunk->next_job;
}

void wh_rdma_chunks_enroll(struct wh_rdma_chunks *c, struct wh_rdma_chunk *chunk)
{
	wh_assert(chunk->state == WH_RDMA_CHUNK_IDLE);
	chunk->state = WH_RDMA_CHUNK_QUEUED;
	chunk->to_enroll = true;
	chunk->used = ++c->uses;
	c->pinned_bytes += wh_rdma_chunk_bytes(c, chunk);
	queue_job(c, chunk);
}

void wh_rdma_chunks_drop(struct wh_rdma_chunks *c, struct wh_rdma_chunk *chunk)
{
	wh_assert(chunk->users == 0 && chunk->state == WH_RDMA_CHUNK_READY);
	chunk->state = WH_RDMA_CHUNK_IDLE;
	chunk->stale = false;
	chunk->to_expel = true;
	c->pinned_bytes -= wh_rdma_chunk_bytes(c, chunk);
	queue_job(c, chunk);
}

static void renew(struct wh_rdma_chunks *c, struct wh_rdma_chunk *chunk)
{
	chunk->stale = false;
	chunk->state = WH_RDMA_CHUNK_QUEUED;
	chunk->to_expel = chunk->to_enroll = true;
	queue_job(c, chunk);
}

static bool may_be_dropped(const struct wh_rdma_chunk *chunk)
{
	return chunk->state == WH_RDMA_CHUNK_READY && chunk->users == 0 && chunk->awaited == 0 &&
	       chunk->peer == WH_RDMA_PEER_READY;
}

struct wh_rdma_chunk *wh_rdma_chunks_oldest(struct wh_rdma_chunks *c)
{
	struct wh_rdma_chunk *oldest = NULL;

	for (uint32_t i = 0; i < WH_REGIONS_MAX; i++)
		for (uint32_t j = 0; j < c->regions[i].count; j++) {
			struct wh_rdma_chunk *chunk = &c->regions[i].chunks[j];

			if (may_be_dropped(chunk) && (!oldest || chunk->used < oldest->used))
				oldest = chunk;
		}
	return oldest;
}

bool wh_rdma_chunk_is_ready(const struct wh_rdma_chunk *chunk)
{
	return chunk->state == WH_RDMA_CHUNK_READY && !chunk->stale;
}

void wh_rdma_chunks_use(struct wh_rdma_chunks *c, struct wh_rdma_chunk *chunk)
{
	wh_assert(wh_rdma_chunk_is_ready(chunk));
	chunk->users++;
	chunk->used = ++c->uses;
}

void wh_rdma_chunks_release(struct wh_rdma_chunks *c, struct wh_rdma_chunk *chunk)
{
	wh_assert(chunk->users > 0);
	chunk->users--;
	if (chunk->users == 0 && chunk->stale)
		renew(c, chunk);
}

/* The first chunk of those that have bytes of [@offset, @offset + @len), and the number behind. */
static uint32_t numbers_of(const struct wh_rdma_chunks *c, uint16_t region, uint64_t offset,
                           uint64_t len, uint32_t *behind)
{
	const uint64_t end = (offset + len + chunk_bytes(c) - 1) >> c->order;
	const uint32_t count = c->regions[region].count;

	*behind = end < count ? (uint32_t)end : count;
	return (uint32_t)(offset >> c->order);
}

void wh_rdma_chunks_discard(struct wh_rdma_chunks *c, uint16_t region, uint64_t offset,
                            uint64_t len)
{
	uint32_t behind;

	for (uint32_t i = numbers_of(c, region, offset, len, &behind); i < behind; i++) {
		struct wh_rdma_chunk *chunk = &c->regions[region].chunks[i];

		/* What is still queued will be enrolled with the memory that is there then. */
		if (chunk->state == WH_RDMA_CHUNK_READY && chunk->users == 0)
			renew(c, chunk);
		else if (chunk->state == WH_RDMA_CHUNK_READY || chunk->state == WH_RDMA_CHUNK_BUSY)
			chunk->stale = true;
	}
}

static bool is_held(const struct wh_rdma_chunk *chunk)
{
	return chunk->state != WH_RDMA_CHUNK_IDLE && chunk->state != WH_RDMA_CHUNK_FAILED;
}

bool wh_rdma_chunks_hold(struct wh_rdma_chunks *c, uint16_t region, uint64_t offset, uint64_t len)
{
	uint32_t behind;

	for (uint32_t i = numbers_of(c, region, offset, len, &behind); i < behind; i++)
		if (is_held(&c->regions[region].chunks[i]))
			return true;
	return false;
}

/* Post one job of @chunk. */
static void post_job(struct wh_rdma_chunks *c, struct wh_rdma_chunk *chunk)
{
	struct wh_rdma_job job = { .owner = chunk, .expels = chunk->to_expel };

	if (chunk->to_expel) {
		job.key = chunk->key;
		chunk->key = (struct wh_verbs_key){ .handle = NULL };
		chunk->to_expel = false;
	} else {
		job.addr = wh_rdma_chunk_addr(c, chunk);
		job.bytes = wh_rdma_chunk_bytes(c, chunk);
		job.rights = c->rights;
		chunk->to_enroll = false;
		chunk->state = WH_RDMA_CHUNK_BUSY;
	}
	wh_rdma_enroll_post(c->enroll, &job);
}

static void post_jobs(struct wh_rdma_chunks *c)
{
	/* This ends: each turn takes a job away, or there is no room. */
	while (c->jobs.head && wh_rdma_enroll_has_room(c->enroll)) {
		struct wh_rdma_chunk *chunk = c->jobs.head;

		post_job(c, chunk);
		if (chunk->to_enroll)
			continue;
		chunk->has_job = false;
		c->jobs.head = chunk->next_job;
		if (!c->jobs.head)
			c->jobs.tail = &c->jobs.head;
	}
}

/* Return: whether @chunk became ready, or failed. */
static bool take_result(struct wh_rdma_chunks *c, struct wh_rdma_chunk *chunk,
                        const struct wh_rdma_job *job)
{
	wh_assert(chunk->state == WH_RDMA_CHUNK_BUSY);
	if (job->result < 0) {
		chunk->state = WH_RDMA_CHUNK_FAILED;
		chunk->stale = false;
		c->pinned_bytes -= wh_rdma_chunk_bytes(c, chunk);
		return true;
	}
	chunk->key = job->key;
	chunk->state = WH_RDMA_CHUNK_READY;
	if (chunk->stale)
		renew(c, chunk);
	return chunk->state == WH_RDMA_CHUNK_READY;
}

struct wh_rdma_chunk *wh_rdma_chunks_work(struct wh_rdma_chunks *c)
{
	struct wh_rdma_job job;

	if (!c->enroll)
		return NULL;
	post_jobs(c);
	/* This ends: there are as many results as jobs were posted. */
	while (wh_rdma_enroll_take(c->enroll, &job)) {
		post_jobs(c);
		if (!job.expels && take_result(c, job.owner, &job))
			return job.owner;
	}
	post_jobs(c);
	return NULL;
}

void wh_rdma_chunks_expel(struct wh_rdma_chunks *c, struct wh_verbs *verbs)
{
	for (uint32_t i = 0; i < WH_REGIONS_MAX; i++)
		for (uint32_t j = 0; j < c->regions[i].count; j++) {
			struct wh_rdma_chunk *chunk = &c->regions[i].chunks[j];
			const struct wh_rdma_chunk clean = { .number = j, .region = (uint16_t)i };

			if (chunk->key.handle)
				wh_verbs_expel(verbs, &chunk->key);
			*chunk = clean;
		}
	c->enroll = NULL;
	c->pinned_bytes = 0;
	list_init(&c->jobs);
	list_init(&c->tell);
}

/* --- what the peer is to be told -------------------------------------------------------------- */

void wh_rdma_chunks_tell(struct wh_rdma_chunks *c, struct wh_rdma_chunk *chunk)
{
	if (chunk->is_told)
		return;
	chunk->is_told = true;
	chunk->next_tell = NULL;
	*c->tell.tail = chunk;
	c->tell.tail = &chunk->next_tell;
}

struct wh_rdma_chunk *wh_rdma_chunks_next_told(struct wh_rdma_chunks *c)
{
	struct wh_rdma_chunk *chunk = c->tell.head;

	if (!chunk)
		return NULL;
	chunk->is_told = false;
	c->tell.head = chunk->next_tell;
	if (!c->tell.head)
		c->tell.tail = &c->tell.head;
	return chunk;
}
