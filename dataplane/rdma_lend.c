/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A chunk is enrolled by the thread of rdma_enroll.h, and lent until the destination gives it back:
 *
 *	idle -> enrolled -> its key is told (READ_KEY) -> it is given back (READ_DONE) -> dropped
 *
 * Two ways lead there: a FETCH for a page in it, and a walk through all that is pending. The walk has
 * few chunks enrolled at once, so that what is fetched has not to wait behind many. It goes through memory
 * once: what was given back is not needed again.
 */

#include "rdma_lend.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "rate.h"
#include "rdma_chunks.h"
#include "rdma_reads.h"
#include "rdma_room.h"
#include "rdma_way.h"
#include "verbs.h"

#include "wherry/assert.h"
#include "wherry/fdpass.h"

/* Chunks that are being enrolled because of the walk. */
#define AHEAD_MAX 2u

/* How often a limit is asked whether there is something to be had. */
#define ASK_NS (10 * WH_NSEC_PER_MSEC)

/* Bytes of a reason, with what is said before it. */
#define REASON_MAX 256u

enum state {
	WAITING, /* for an offer */
	CONNECTING,
	UP,
	OVER,
};

struct lend {
	struct wh_rdma_lend base;
	struct wh_rdma_lend_config cfg;
	struct wh_rdma_way way;
	struct wh_rate rate;
	enum state state;
	bool tell_over; /* READ_OVER is still to be said */
	uint64_t give_up_ns;

	struct wh_verbs *verbs;        /* owned; NULL before and after */
	struct wh_rdma_enroll *enroll; /* owned; while it is up */
	struct wh_rdma_chunks chunks;
	uint32_t enrolling; /* chunks */
	uint64_t walked;    /* the chunks of the pages before this one were looked at */
	int epoll;          /* owned */

	uint32_t bytes_max;     /* that may be granted and not told as read */
	uint32_t granted_bytes; /* are */
};

static struct lend *lend_of(struct wh_rdma_lend *lend)
{
	return (struct lend *)lend;
}

static void watch(struct lend *l, int fd)
{
	struct epoll_event event = { .events = EPOLLIN };

	(void)epoll_ctl(l->epoll, EPOLL_CTL_ADD, fd, &event); /* else it is looked at less often */
}

/* A device that is removed may keep the descriptor's file open. */
static void unwatch(struct lend *l, int fd)
{
	(void)epoll_ctl(l->epoll, EPOLL_CTL_DEL, fd, NULL);
}

/* --- the end ---------------------------------------------------------------------------------- */

static void take_down(struct lend *l)
{
	if (!l->verbs)
		return;
	unwatch(l, wh_verbs_fd(l->verbs));
	wh_verbs_cut(l->verbs);
	if (l->enroll)
		unwatch(l, wh_rdma_enroll_fd(l->enroll));
	l->enroll = wh_rdma_enroll_free(l->enroll);
	wh_rdma_chunks_expel(&l->chunks, l->verbs);
	l->verbs = wh_verbs_close(l->verbs);
	l->base.wake_ns = UINT64_MAX;
}

/* Nothing is lent any more. */
static void end(struct lend *l, bool tell)
{
	take_down(l);
	l->state = OVER;
	l->tell_over = tell;
}

/* The same, because of @reason. */
static void give_up(struct lend *l, const char *reason)
{
	char why[REASON_MAX];

	(void)snprintf(why, sizeof(why), "post-copy is not read by RDMA: %s",
	               *reason ? reason : "it broke, and the device does not say why");
	end(l, true);
	if (l->way.carries)
		l->way.carries(l->way.context, WH_TRANSPORT_TCP, why);
}

static void lend_free(struct wh_rdma_lend *lend)
{
	struct lend *l = lend_of(lend);

	take_down(l);
	wh_rdma_chunks_done(&l->chunks);
	wh_closep(&l->epoll);
	free(l);
}

/* --- what the destination says ---------------------------------------------------------------- */

static int make_chunks(struct lend *l)
{
	int r = 0;

	for (uint16_t i = 0; r == 0 && i < l->cfg.ram->count; i++) {
		const struct wh_region *region = &l->cfg.ram->regions[i];

		/* Holes among huge pages must stay holes. */
		if (region->addr && region->page_bytes == WH_PAGE_SIZE)
			r = wh_rdma_chunks_add(&l->chunks, i, region->addr, region->bytes);
	}
	return r;
}

/* Set how much may be enrolled at once. Return: 0 or -EPERM. */
static int set_room(struct lend *l, bool on_demand, struct wh_error *err)
{
	return wh_rdma_room(l->way.options.pinned_bytes_max, l->way.options.chunk_bytes, on_demand,
	                    &l->chunks.pinned_bytes_max, err);
}

static int begin(struct lend *l, uint16_t port, struct wh_error *err)
{
	const struct wh_verbs_config cfg = {
		.address = l->way.address,
		.local = l->way.local,
		.port = port,
		.pairs = 1,
		.depth =
			1, /* nothing is posted here, and no mark comes: a queue has room for one at least */
		.marks = 1,
		.token = l->way.token,
	};
	int r = set_room(l, l->way.options.odp, err);

	if (r == 0 && make_chunks(l) < 0)
		r = wh_fail(err, -ENOMEM, "out of memory");
	return r < 0 ? r : wh_verbs_open(&l->verbs, &cfg, err);
}

static int on_offer(struct lend *l, const uint8_t *payload)
{
	const struct wh_read_offer offer = wh_read_offer_decode(payload);
	struct wh_error err = { "" };

	if (l->state != WAITING || offer.port == 0 || offer.bytes == 0 ||
	    offer.bytes > WH_RDMA_READS_BYTES)
		return -EPROTO;
	if (offer.chunk_order != l->chunks.order) {
		give_up(l, "the two sides have chunks of different sizes");
		return 0;
	}
	l->bytes_max = offer.bytes;
	if (begin(l, offer.port, &err) < 0) {
		give_up(l, err.text);
		return 0;
	}
	l->state = CONNECTING;
	l->base.wake_ns = l->give_up_ns = wh_now_ns(l->cfg.clock) + WH_RDMA_CONNECT_NS;
	watch(l, wh_verbs_fd(l->verbs));
	return 0;
}

/* Whether the destination was told the key of @chunk. */
static bool is_lent(const struct wh_rdma_chunk *chunk)
{
	return chunk && chunk->peer == WH_RDMA_PEER_READY;
}

static int on_done(struct lend *l, const struct wh_record *record)
{
	struct wh_rdma_chunk *chunk = NULL;

	if (l->state == OVER)
		return 0; /* the destination does not know yet */
	if (record->region < WH_REGIONS_MAX && record->offset % l->way.options.chunk_bytes == 0)
		chunk = wh_rdma_chunks_at(&l->chunks, record->region, record->offset);
	if (!is_lent(chunk))
		return -EPROTO;
	chunk->peer = WH_RDMA_PEER_NONE;
	wh_rdma_chunks_drop(&l->chunks, chunk);
	return 0;
}

static int lend_record(struct wh_rdma_lend *lend, const struct wh_record *record,
                       const uint8_t *payload)
{
	struct lend *l = lend_of(lend);

	if (record->type == WH_RECORD_READ_OFFER)
		return on_offer(l, payload);
	if (l->state == WAITING)
		return -EPROTO;
	if (record->type == WH_RECORD_READ_DONE)
		return on_done(l, record);
	if (record->type != WH_RECORD_READ_OVER)
		return -EPROTO;
	end(l, false);
	return 0;
}

static int lend_have(struct wh_rdma_lend *lend, uint32_t bytes)
{
	struct lend *l = lend_of(lend);

	if (bytes > l->granted_bytes)
		return -EPROTO;
	l->granted_bytes -= bytes;
	wh_rate_charge(&l->rate, bytes, wh_now_ns(l->cfg.clock));
	return 0;
}

/* --- chunks ----------------------------------------------------------------------------------- */

static struct wh_rdma_chunk *chunk_of(struct lend *l, uint64_t page)
{
	const struct wh_region *region = wh_ram_region(l->cfg.ram, page);

	return wh_rdma_chunks_at(&l->chunks, (uint16_t)(region - l->cfg.ram->regions),
	                         (page - region->first_page) * WH_PAGE_SIZE);
}

/* The page behind the last one of the chunk that @page is in, or would be. */
static uint64_t behind_chunk(const struct lend *l, uint64_t page)
{
	const struct wh_region *region = wh_ram_region(l->cfg.ram, page);
	const uint64_t pages = l->way.options.chunk_bytes / WH_PAGE_SIZE;
	const uint64_t behind = region->first_page + region->bytes / WH_PAGE_SIZE;
	const uint64_t end = page + pages - (page - region->first_page) % pages;

	return end < behind ? end : behind;
}

static void enroll(struct lend *l, struct wh_rdma_chunk *chunk)
{
	wh_rdma_chunks_enroll(&l->chunks, chunk);
	l->enrolling++;
}

static void lend_want(struct wh_rdma_lend *lend, uint64_t page)
{
	struct lend *l = lend_of(lend);
	struct wh_rdma_chunk *chunk = l->state == UP ? chunk_of(l, page) : NULL;

	if (chunk && chunk->state == WH_RDMA_CHUNK_IDLE && wh_rdma_chunks_fits(&l->chunks, chunk))
		enroll(l, chunk);
}

static void walk(struct lend *l, struct wh_push *push)
{
	uint64_t page;

	/* This ends: each turn gets further. */
	while (l->enrolling < AHEAD_MAX && wh_push_find(push, l->walked, &page)) {
		struct wh_rdma_chunk *chunk = chunk_of(l, page);

		if (chunk && chunk->state == WH_RDMA_CHUNK_IDLE) {
			if (!wh_rdma_chunks_fits(&l->chunks, chunk))
				return;
			enroll(l, chunk);
		}
		l->walked = behind_chunk(l, page);
	}
}

static int tell_key(struct lend *l, struct wh_urgent *urgent, struct wh_rdma_chunk *chunk)
{
	const struct wh_record record = {
		.type = WH_RECORD_READ_KEY,
		.region = chunk->region,
		.length = WH_KEY_BYTES,
		.offset = (uint64_t)chunk->number << l->chunks.order,
	};
	const struct wh_read_key key = {
		.addr = (uintptr_t)wh_rdma_chunk_addr(&l->chunks, chunk),
		.key = chunk->key.remote,
	};
	uint8_t payload[WH_KEY_BYTES];

	chunk->peer = WH_RDMA_PEER_READY;
	wh_read_key_encode(payload, &key);
	return wh_urgent_put(urgent, &record, payload);
}

/* Take what the thread has done. Return: 0 or -errno. */
static int take_chunks(struct lend *l, struct wh_urgent *urgent)
{
	struct wh_rdma_chunk *chunk;
	int r = 0;

	/* This ends: each was posted once. */
	while (r == 0 && (chunk = wh_rdma_chunks_work(&l->chunks))) {
		l->enrolling--;
		if (wh_rdma_chunk_is_ready(chunk))
			r = tell_key(l, urgent, chunk);
	}
	return r;
}

/* --- going on --------------------------------------------------------------------------------- */

/* Return: 0, -ENOMEM or -EPERM. */
static int come_up(struct lend *l, struct wh_error *err)
{
	const struct wh_verbs_caps *caps = wh_verbs_caps(l->verbs);
	const bool on_demand = l->way.options.odp && caps->on_demand;
	int r = set_room(l, on_demand, err); /* now the device is known */

	if (r < 0)
		return r;
	l->enroll = wh_rdma_enroll_new(l->verbs);
	if (!l->enroll)
		return wh_fail(err, -ENOMEM, "out of memory");
	watch(l, wh_rdma_enroll_fd(l->enroll));
	l->chunks.enroll = l->enroll;
	l->chunks.rights = WH_VERBS_REMOTE_READ | (on_demand ? WH_VERBS_ON_DEMAND : 0u);
	l->rate.kernel_charges = caps->in_kernel;
	l->state = UP;
	return 0;
}

static void advance(struct lend *l)
{
	struct wh_error err = { "" };
	int r = wh_verbs_advance(l->verbs, &err);

	if (r > 0)
		r = come_up(l, &err);
	if (r < 0)
		give_up(l, err.text);
	else if (l->state == CONNECTING && wh_now_ns(l->cfg.clock) >= l->give_up_ns)
		give_up(l, "the destination cannot be reached by RDMA");
}

/* Nothing is posted here: what there is to hear is that it is over. */
static void listen_to_device(struct lend *l)
{
	struct wh_completion completions[WH_POLL_BATCH];
	int n;

	/* This ends: there are few receives, and nothing else to complete. */
	do
		n = wh_verbs_poll(l->verbs, completions, WH_POLL_BATCH);
	while (n > 0);
	/* A destination that ends the connection says why itself, if there is something to say. */
	if (n == -ECONNRESET)
		end(l, true);
	else if (n < 0)
		give_up(l, wh_verbs_reason(l->verbs));
}

/* Grant what may be read, if that is worth a record. Return: 0 or -errno. */
static int grant(struct lend *l, struct wh_urgent *urgent)
{
	const struct wh_record record = { .type = WH_RECORD_READ_GRANT, .length = WH_SPAN_BYTES };
	const uint64_t now_ns = wh_now_ns(l->cfg.clock);
	const uint64_t unpaid = wh_rate_unpaid_max(&l->rate, now_ns);
	const uint32_t max = unpaid < l->bytes_max ? (uint32_t)unpaid : l->bytes_max;
	uint32_t more;

	l->base.wake_ns = max == 0 ? now_ns + ASK_NS : UINT64_MAX;
	if (l->granted_bytes >= max || max - l->granted_bytes < max / 4)
		return 0;
	more = max - l->granted_bytes;
	l->granted_bytes = max;
	return wh_urgent_span(urgent, &record, more);
}

static int tell_over(struct lend *l, struct wh_urgent *urgent)
{
	const struct wh_record record = { .type = WH_RECORD_READ_OVER };

	l->tell_over = false;
	return wh_urgent_put(urgent, &record, NULL);
}

static int lend_look(struct wh_rdma_lend *lend, struct wh_urgent *urgent, struct wh_push *push)
{
	struct lend *l = lend_of(lend);
	int r = 0;

	if (l->state == CONNECTING)
		advance(l);
	if (l->state == UP)
		listen_to_device(l);
	if (l->state == UP) {
		walk(l, push);
		r = take_chunks(l, urgent);
		if (r == 0)
			r = grant(l, urgent);
	}
	if (r == 0 && l->tell_over)
		r = tell_over(l, urgent);
	return r;
}

/* --- the beginning ---------------------------------------------------------------------------- */

static const struct wh_rdma_lend_ops rdma_ops = {
	.look = lend_look,
	.want = lend_want,
	.have = lend_have,
	.record = lend_record,
	.free = lend_free,
};

struct wh_rdma_lend *wh_rdma_lend_new(const struct wh_rdma_way *way,
                                      const struct wh_rdma_lend_config *cfg)
{
	struct lend *l = calloc(1, sizeof(*l));

	if (!l)
		return NULL;
	l->cfg = *cfg;
	l->way = *way;
	l->rate.bucket = way->bucket;
	wh_rdma_chunks_init(&l->chunks);
	l->chunks.order = (uint32_t)__builtin_ctzll(way->options.chunk_bytes);
	l->epoll = epoll_create1(EPOLL_CLOEXEC);
	l->base = (struct wh_rdma_lend){ .ops = &rdma_ops, .fd = l->epoll, .wake_ns = UINT64_MAX };
	return l->epoll < 0 ? wh_rdma_lend_free(&l->base) : &l->base;
}
