/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The ring is cut into slots, one for each read. A slot is taken until its pages are placed and told:
 *
 *	free -> reading -> here -> taken -> free
 *	           |                 ^
 *	           +----> failed ----+
 *
 * A chunk is lent from the source's READ_KEY until this side says READ_DONE, when it misses nothing in
 * there and reads nothing of it. So the source never has to ask for a chunk back. Pages that are
 * missing only ever become fewer: one look at each is enough to know when there is none.
 *
 * What the device has not finished when it fails may be in the ring or not: it is failed. The pages
 * are still missing then, and the owner asks for them by FETCH.
 */

#include "rdma_reads.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "fault.h"
#include "rdma_chunks.h"
#include "rdma_way.h"
#include "verbs.h"

#include "wherry/assert.h"

/* Works in flight: a work is of 256 KiB at most. */
#define DEPTH (WH_RDMA_READS_BYTES / WH_RDMA_WRITE_LEN_MAX)

/* Reads at once. */
#define SLOTS_MAX DEPTH

/* Lent chunks that one look asks whether they are still needed. */
#define CHUNKS_AT_A_LOOK 8u

/* Bytes of a reason, with what is said before it. */
#define REASON_MAX 256u

enum state {
	WAITING, /* for the source to connect */
	UP,
	OVER,
};

enum slot_state {
	SLOT_FREE,
	SLOT_READING,
	SLOT_HERE,
	SLOT_FAILED,
	SLOT_TAKEN,
};

struct chunk {
	uint64_t addr; /* at the source */
	uint64_t at;   /* no page of it before this one is missing */
	uint32_t key;
	uint32_t reads; /* that are not ended */
	uint32_t number;
	uint16_t region; /* ours */
	bool is_lent;
};

struct slot {
	enum slot_state state;
	struct wh_run run;
	struct chunk *chunk;
	uint32_t works; /* in flight */
};

struct reads {
	struct wh_rdma_reads base;
	struct wh_rdma_reads_config cfg;
	struct wh_rdma_way way;
	enum state state;
	bool offered;
	bool tell_over; /* READ_OVER is still to be said */

	struct wh_verbs *verbs; /* owned; NULL once it is over */
	struct wh_verbs_key key;
	uint8_t *ring; /* owned */
	struct slot slots[SLOTS_MAX];
	uint32_t slot_count, slot_bytes;
	uint32_t works;        /* in flight */
	uint32_t credit_bytes; /* may be asked for */
	uint32_t asked_bytes;  /* are, and not told as HAVE */

	uint32_t order;
	struct chunk *chunks[WH_REGIONS_MAX]; /* owned; NULL where a region has none */
	struct chunk **lent;                  /* owned; room for all */
	uint32_t lent_count, next_lent;
};

static struct reads *reads_of(struct wh_rdma_reads *reads)
{
	return (struct reads *)reads;
}

/* --- the end ---------------------------------------------------------------------------------- */

static void close_verbs(struct reads *r)
{
	if (!r->verbs)
		return;
	wh_verbs_cut(r->verbs);
	wh_verbs_expel(r->verbs, &r->key);
	r->verbs = wh_verbs_close(r->verbs);
	r->base.fd = -1;
}

/* Nothing is read any more, because of @reason. */
static void give_up(struct reads *r, const char *reason)
{
	char why[REASON_MAX];

	if (r->state == OVER)
		return;
	(void)snprintf(why, sizeof(why), "post-copy does not read by RDMA: %s",
	               *reason ? reason : "it broke, and the device does not say why");
	close_verbs(r);
	r->state = OVER;
	r->tell_over = r->offered;
	for (uint32_t i = 0; i < r->slot_count; i++)
		if (r->slots[i].state == SLOT_READING)
			r->slots[i].state = SLOT_FAILED;
	if (r->way.carries)
		r->way.carries(r->way.context, WH_TRANSPORT_TCP, why);
}

static void reads_free(struct wh_rdma_reads *reads)
{
	struct reads *r = reads_of(reads);

	close_verbs(r);
	for (uint32_t i = 0; i < WH_REGIONS_MAX; i++)
		free(r->chunks[i]);
	free(r->lent);
	if (r->ring)
		(void)munmap(r->ring, WH_RDMA_READS_BYTES);
	free(r);
}

/* --- chunks ----------------------------------------------------------------------------------- */

static uint64_t chunk_bytes(const struct reads *r)
{
	return UINT64_C(1) << r->order;
}

static uint64_t chunks_of(const struct reads *r, const struct wh_region *region)
{
	const uint64_t count = (region->bytes + chunk_bytes(r) - 1) >> r->order;

	return count > WH_RDMA_CHUNKS_MAX ? 0 : count;
}

static uint64_t first_page(const struct reads *r, const struct chunk *chunk)
{
	return r->cfg.ram->regions[chunk->region].first_page +
	       chunk->number * (chunk_bytes(r) / WH_PAGE_SIZE);
}

static uint64_t end_page(const struct reads *r, const struct chunk *chunk)
{
	const struct wh_region *region = &r->cfg.ram->regions[chunk->region];
	const uint64_t end = first_page(r, chunk) + chunk_bytes(r) / WH_PAGE_SIZE;
	const uint64_t behind = region->first_page + region->bytes / WH_PAGE_SIZE;

	return end < behind ? end : behind;
}

/* The chunk that all of @run is in and that is lent, or NULL. */
static struct chunk *chunk_of(const struct reads *r, struct wh_run run)
{
	const struct wh_region *region = wh_ram_region(r->cfg.ram, run.first);
	struct chunk *chunk = r->chunks[region - r->cfg.ram->regions];

	if (!chunk)
		return NULL;
	chunk += (run.first - region->first_page) * WH_PAGE_SIZE >> r->order;
	return chunk->is_lent && run.first + run.count <= end_page(r, chunk) ? chunk : NULL;
}

static int make_chunks(struct reads *r)
{
	uint64_t count = 0;

	for (uint16_t i = 0; i < r->cfg.ram->count; i++) {
		const uint64_t of_region = chunks_of(r, &r->cfg.ram->regions[i]);

		r->chunks[i] = of_region ? calloc(of_region, sizeof(*r->chunks[i])) : NULL;
		if (of_region && !r->chunks[i])
			return -ENOMEM;
		for (uint32_t j = 0; j < of_region; j++) {
			r->chunks[i][j].region = i;
			r->chunks[i][j].number = j;
		}
		count += of_region;
	}
	r->lent = calloc(count + 1, sizeof(struct chunk *));
	return r->lent ? 0 : -ENOMEM;
}

static int hand_back(struct reads *r, struct wh_urgent *urgent, uint32_t place)
{
	struct chunk *chunk = r->lent[place];
	const struct wh_record record = {
		.type = WH_RECORD_READ_DONE,
		.region = r->cfg.ids->peer[chunk->region],
		.offset = (uint64_t)chunk->number << r->order,
	};

	chunk->is_lent = false;
	r->lent[place] = r->lent[--r->lent_count];
	return wh_urgent_put(urgent, &record, NULL);
}

/* Give back what is not needed any more, of some lent chunks. Return: 0 or -errno. */
static int hand_some_back(struct reads *r, struct wh_urgent *urgent)
{
	int ret = 0;

	for (uint32_t i = 0; ret == 0 && i < CHUNKS_AT_A_LOOK && r->lent_count > 0; i++) {
		const uint32_t place = r->next_lent++ % r->lent_count;
		struct chunk *chunk = r->lent[place];
		const uint64_t end = end_page(r, chunk);

		chunk->at = wh_missing_next(r->cfg.missing, chunk->at, end);
		if (chunk->at == end && chunk->reads == 0)
			ret = hand_back(r, urgent, place);
	}
	return ret;
}

/* --- what the source says --------------------------------------------------------------------- */

static int on_key(struct reads *r, const struct wh_record *record, const uint8_t *payload)
{
	const struct wh_read_key key = wh_read_key_decode(payload);
	const int32_t local = record->region < WH_REGIONS_MAX ? r->cfg.ids->local[record->region]
	                                                      : 0;
	struct chunk *chunk;

	if (local == 0 || !r->chunks[local - 1] ||
	    record->offset >= r->cfg.ram->regions[local - 1].bytes ||
	    record->offset % chunk_bytes(r))
		return -EPROTO;
	chunk = &r->chunks[local - 1][record->offset >> r->order];
	if (chunk->is_lent || key.addr + chunk_bytes(r) < key.addr)
		return -EPROTO;
	if (r->state == OVER)
		return 0; /* the source does not know yet */
	chunk->addr = key.addr;
	chunk->key = key.key;
	chunk->at = first_page(r, chunk);
	chunk->is_lent = true;
	r->lent[r->lent_count++] = chunk;
	return 0;
}

static int on_grant(struct reads *r, const uint8_t *payload)
{
	const uint32_t bytes = wh_span_decode(payload);

	if (bytes == 0 || bytes > WH_RDMA_READS_BYTES - r->credit_bytes - r->asked_bytes)
		return -EPROTO;
	r->credit_bytes += bytes;
	return 0;
}

static int reads_record(struct wh_rdma_reads *reads, const struct wh_record *record,
                        const uint8_t *payload)
{
	struct reads *r = reads_of(reads);

	if (!r->offered)
		return -EPROTO;
	if (record->type == WH_RECORD_READ_KEY)
		return on_key(r, record, payload);
	if (record->type == WH_RECORD_READ_GRANT)
		return on_grant(r, payload);
	if (record->type != WH_RECORD_READ_OVER)
		return -EPROTO;
	give_up(r, "the source ended it");
	r->tell_over = false;
	return 0;
}

/* --- reading ---------------------------------------------------------------------------------- */

static uint8_t *memory_of(const struct reads *r, const struct slot *slot)
{
	return r->ring + (size_t)(slot - r->slots) * r->slot_bytes;
}

static struct slot *free_slot(struct reads *r)
{
	for (uint32_t i = 0; i < r->slot_count; i++)
		if (r->slots[i].state == SLOT_FREE)
			return &r->slots[i];
	return NULL;
}

/* Post all works of @slot. Return: 0 or -errno. */
static int post(struct reads *r, struct slot *slot)
{
	const uint32_t max = wh_verbs_caps(r->verbs)->write_len_max;
	const uint32_t bytes = slot->run.count * WH_PAGE_SIZE;
	const uint64_t into = (slot->run.first - first_page(r, slot->chunk)) * WH_PAGE_SIZE;
	int ret = 0;

	for (uint32_t at = 0; ret == 0 && at < bytes; at += max) {
		const struct wh_verbs_work work = {
			.cookie = (uint64_t)(slot - r->slots),
			.local_addr = memory_of(r, slot) + at,
			.local_key = r->key.local,
			.remote_addr = slot->chunk->addr + into + at,
			.remote_key = slot->chunk->key,
			.len = bytes - at < max ? bytes - at : max,
			.signalled = true,
		};

		ret = wh_verbs_read(r->verbs, 0, &work);
		slot->works += ret == 0;
	}
	r->works += slot->works;
	return ret;
}

/* Whether @bytes may be asked for now. */
static bool has_room(const struct reads *r, uint32_t bytes)
{
	const uint32_t max = wh_verbs_caps(r->verbs)->write_len_max;

	return bytes <= r->slot_bytes && bytes <= r->credit_bytes &&
	       r->works + (bytes + max - 1) / max <= DEPTH;
}

static int reads_ask(struct wh_rdma_reads *reads, struct wh_run run)
{
	struct reads *r = reads_of(reads);
	const uint32_t bytes = run.count * WH_PAGE_SIZE;
	struct chunk *chunk;
	struct slot *slot;

	if (r->state != UP || !has_room(r, bytes))
		return WH_RDMA_READS_NO;
	chunk = chunk_of(r, run);
	slot = chunk ? free_slot(r) : NULL;
	if (!slot)
		return WH_RDMA_READS_NO;
	*slot = (struct slot){ .run = run, .chunk = chunk };
	if (post(r, slot) < 0) {
		give_up(r, wh_verbs_reason(r->verbs));
		return WH_RDMA_READS_NO;
	}
	slot->state = SLOT_READING;
	chunk->reads++;
	r->credit_bytes -= bytes;
	r->asked_bytes += bytes;
	return 0;
}

static bool reads_take(struct wh_rdma_reads *reads, struct wh_rdma_read *ret)
{
	struct reads *r = reads_of(reads);

	for (uint32_t i = 0; i < r->slot_count; i++) {
		struct slot *slot = &r->slots[i];

		if (slot->state != SLOT_HERE && slot->state != SLOT_FAILED)
			continue;
		*ret = (struct wh_rdma_read){
			.run = slot->run,
			.contents = slot->state == SLOT_HERE ? memory_of(r, slot) : NULL,
			.slot = i,
		};
		slot->state = SLOT_TAKEN;
		return true;
	}
	return false;
}

static int reads_end(struct wh_rdma_reads *reads, struct wh_urgent *urgent,
                     const struct wh_rdma_read *read)
{
	struct reads *r = reads_of(reads);
	struct slot *slot = &r->slots[read->slot];
	const uint32_t bytes = slot->run.count * WH_PAGE_SIZE;
	const struct wh_region *region = wh_ram_region(r->cfg.ram, slot->run.first);
	const struct wh_record record = {
		.type = WH_RECORD_HAVE,
		.region = r->cfg.ids->peer[region - r->cfg.ram->regions],
		.length = WH_SPAN_BYTES,
		.offset = (slot->run.first - region->first_page) * WH_PAGE_SIZE,
	};

	wh_assert(slot->state == SLOT_TAKEN);
	slot->state = SLOT_FREE;
	slot->chunk->reads--;
	r->asked_bytes -= bytes;
	return read->contents ? wh_urgent_span(urgent, &record, bytes) : 0;
}

/* --- going on --------------------------------------------------------------------------------- */

static int tell_offer(struct reads *r, struct wh_urgent *urgent)
{
	const struct wh_record record = { .type = WH_RECORD_READ_OFFER, .length = WH_OFFER_BYTES };
	const struct wh_read_offer offer = {
		.port = wh_verbs_port(r->verbs),
		.chunk_order = (uint16_t)r->order,
		.bytes = WH_RDMA_READS_BYTES,
	};
	uint8_t payload[WH_OFFER_BYTES];

	r->offered = true;
	wh_read_offer_encode(payload, &offer);
	return wh_urgent_put(urgent, &record, payload);
}

static int tell_over(struct reads *r, struct wh_urgent *urgent)
{
	const struct wh_record record = { .type = WH_RECORD_READ_OVER };

	r->tell_over = false;
	return wh_urgent_put(urgent, &record, NULL);
}

/* Go on with connecting. */
static void advance(struct reads *r)
{
	struct wh_error err = { "" };
	int ret = wh_verbs_advance(r->verbs, &err);

	if (ret > 0) {
		ret = wh_verbs_enroll(r->verbs, r->ring, WH_RDMA_READS_BYTES, WH_VERBS_LOCAL_WRITE,
		                      &r->key);
		if (ret == 0)
			r->state = UP;
		else
			(void)wh_fail(&err, ret, "memory to read into: %s", strerror(-ret));
	}
	if (ret < 0)
		give_up(r, err.text);
}

static void on_completion(struct reads *r, const struct wh_completion *c)
{
	struct slot *slot;

	if (c->kind != WH_COMPLETION_READ || c->error)
		return; /* a failure comes out of the next poll, with words */
	wh_assert(c->cookie < r->slot_count);
	slot = &r->slots[c->cookie];
	wh_assert(slot->state == SLOT_READING && slot->works > 0);
	r->works--;
	if (--slot->works == 0)
		slot->state = SLOT_HERE;
}

/* Take what has been read. */
static void take_completions(struct reads *r)
{
	struct wh_completion completions[DEPTH];
	bool failed = false;
	int n;

	/* This ends: there are no more completions than works, and one for the peer's mark. */
	do {
		n = wh_verbs_poll(r->verbs, completions, DEPTH);
		for (int i = 0; i < n; i++) {
			on_completion(r, &completions[i]);
			failed |= completions[i].error != 0;
		}
	} while (n > 0);
	if (n < 0 || failed)
		give_up(r, wh_verbs_reason(r->verbs));
}

static int reads_look(struct wh_rdma_reads *reads, struct wh_urgent *urgent)
{
	struct reads *r = reads_of(reads);
	int ret = 0;

	if (r->state == WAITING && !r->offered)
		ret = tell_offer(r, urgent);
	if (r->state == WAITING)
		advance(r);
	if (r->state == UP)
		take_completions(r);
	if (ret == 0 && r->state == UP)
		ret = hand_some_back(r, urgent);
	if (ret == 0 && r->tell_over)
		ret = tell_over(r, urgent);
	return ret;
}

/* The source hears it before it sees the connection end, and need not wonder why. */
static void reads_stop(struct wh_rdma_reads *reads, struct wh_urgent *urgent)
{
	struct reads *r = reads_of(reads);
	int ret = 0;

	if (r->state != OVER && r->offered)
		ret = tell_over(r, urgent);
	if (ret == 0)
		ret = wh_urgent_flush(urgent);
	(void)ret; /* who cannot be told has gone already */
	r->state = OVER;
	close_verbs(r);
}

static bool reads_arm(struct wh_rdma_reads *reads)
{
	struct reads *r = reads_of(reads);
	int ret;

	if (r->state != UP)
		return !r->tell_over;
	ret = wh_verbs_arm(r->verbs);
	if (ret < 0)
		give_up(r, wh_verbs_reason(r->verbs));
	return ret > 0;
}

/* --- the beginning ---------------------------------------------------------------------------- */

static const struct wh_rdma_reads_ops rdma_ops = {
	.look = reads_look,
	.arm = reads_arm,
	.ask = reads_ask,
	.take = reads_take,
	.end = reads_end,
	.record = reads_record,
	.stop = reads_stop,
	.free = reads_free,
};

static void open_verbs(struct reads *r)
{
	const struct wh_verbs_config cfg = {
		.passive = true,
		.address = r->way.address,
		.local = r->way.local,
		.pairs = 1,
		.depth = DEPTH,
		.marks = 1, /* none comes, but a queue has room for one at least */
		.token = r->way.token,
	};
	struct wh_error err = { "" };

	if (wh_verbs_open(&r->verbs, &cfg, &err) < 0)
		give_up(r, err.text);
	else
		r->base.fd = wh_verbs_fd(r->verbs);
}

/* As large as what may be asked for at once. */
static void cut_ring(struct reads *r)
{
	const uint32_t pages = r->cfg.granule > WH_FETCH_PAGES_MAX ? r->cfg.granule
	                                                           : WH_FETCH_PAGES_MAX;

	r->slot_bytes = pages * WH_PAGE_SIZE;
	r->slot_count = WH_RDMA_READS_BYTES / r->slot_bytes;
}

struct wh_rdma_reads *wh_rdma_reads_new(const struct wh_rdma_way *way,
                                        const struct wh_rdma_reads_config *cfg)
{
	struct reads *r = calloc(1, sizeof(*r));
	void *ring;

	if (!r)
		return NULL;
	r->base = (struct wh_rdma_reads){ .ops = &rdma_ops, .fd = -1 };
	r->cfg = *cfg;
	r->way = *way;
	r->order = (uint32_t)__builtin_ctzll(way->options.chunk_bytes);
	cut_ring(r);
	ring = mmap(NULL, WH_RDMA_READS_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
	            -1, 0);
	r->ring = ring == MAP_FAILED ? NULL : ring;
	if (!r->ring || make_chunks(r) < 0)
		return wh_rdma_reads_free(&r->base);
	open_verbs(r);
	return &r->base;
}
