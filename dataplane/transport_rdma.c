/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A TCP link, and RDMA beside it for page contents (docs/decisions, "RDMA goes beside a TCP link").
 *
 * Each frame of the session travels over TCP behind the number of a barrier: a mark on every queue
 * pair, posted after the writes before the frame. The receiver holds the frame until that barrier
 * has arrived. TCP's own writes are ordered by the link beside. So a frame is due when everything
 * before it has landed, whichever way it came.
 *
 * RDMA may break at any moment, or never come up. Then both ends take down what they have, the
 * target first, and all goes over TCP:
 *
 *	source                       target
 *	  DOWN       ---------->       destroys its queue pairs and keys
 *	             <----------       CLOSED
 *	  sends again what is not known to have landed
 *	  RESENT     ---------->       all barriers count as arrived
 *
 * A target that sees it first says CLOSED by itself.
 */

#include "rdma_link.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <unistd.h>

#include "rdma_lend.h"
#include "rdma_reads.h"
#include "rdma_way.h"

#include "wherry/assert.h"
#include "wherry/clock.h"
#include "wherry/fdpass.h"

/* Frames behind a barrier that is not known to have arrived; then the writes are waited for. */
#define UNSETTLED_MAX 1024u

/* The same at the receiver, with what was on its way; each has a page at most. */
#define HELD_MAX 4096u

/* Completions taken at once. */
#define BATCH 64u

static struct wh_rdma_link *link_of(struct wh_transport *transport)
{
	return (struct wh_rdma_link *)transport;
}

/* --- what happens beside TCP ------------------------------------------------------------------- */

/* Take what is complete. */
static void take_completions(struct wh_rdma_link *link)
{
	uint64_t cookies[BATCH];
	int n;

	do {
		n = wh_rdma_pairs_poll(link->pairs, cookies, BATCH);
		for (int i = 0; i < n; i++)
			wh_rdma_source_complete(link, cookies[i]);
	} while (n > 0);
	if (n < 0) {
		const char *words = wh_verbs_reason(link->verbs);

		/* That works were flushed is no reason. */
		wh_rdma_give_up(link, *words || n == -ECANCELED ? words : strerror(-n));
		return;
	}
	link->arrived = wh_rdma_pairs_arrived(link->pairs);
	if (wh_rdma_pairs_in_flight(link->pairs) == 0)
		link->unsettled = 0;
}

static void take_chunks(struct wh_rdma_link *link)
{
	struct wh_rdma_chunk *chunk;

	while ((chunk = wh_rdma_chunks_work(&link->chunks))) {
		if (link->passive)
			wh_rdma_target_chunk(link, chunk);
		else
			wh_rdma_source_chunk(link, chunk);
	}
}

/* Look at everything but TCP. */
static void look_beside(struct wh_rdma_link *link)
{
	if (link->verbs && (link->state == WH_RDMA_OPENING || link->state == WH_RDMA_CONNECTING))
		wh_rdma_advance(link);
	if (link->state == WH_RDMA_UP)
		take_completions(link);
	if (link->state == WH_RDMA_UP)
		take_chunks(link);
	if (link->state == WH_RDMA_UP && link->wake_ns &&
	    wh_now_ns(&wh_clock_monotonic) >= link->wake_ns) {
		link->wake_ns = 0; /* there may be something to be had from the bucket */
		link->try_waiting = true;
	}
}

/* --- sending ---------------------------------------------------------------------------------- */

/* Send the oldest frame of the session. Return: 0, WH_TX_FULL if it has to wait, or -errno. */
static int send_oldest(struct wh_rdma_link *link)
{
	const struct wh_rdma_out *out = &link->out[link->out_first];
	struct wh_rdma_frame frame = { .kind = WH_RDMA_DATA,
		                       .data = { .data = out->data, .len = out->len } };
	int r = 0;

	if (link->state == WH_RDMA_BROKEN || link->must_resend ||
	    wh_rdma_source_posted(link) < out->after || link->unsettled >= UNSETTLED_MAX)
		return WH_TX_FULL;
	if (link->state == WH_RDMA_UP)
		r = wh_rdma_pairs_barrier(link->pairs, &frame.data.barrier);
	if (r < 0)
		wh_rdma_give_up(link, wh_verbs_reason(link->verbs));
	if (r != 0)
		return WH_TX_FULL;
	r = wh_rdma_tell(link, &frame);
	if (r != 0)
		return r;
	link->barrier = frame.data.barrier;
	link->unsettled += frame.data.barrier != 0;
	link->out_first = (link->out_first + 1) % WH_RDMA_OUT_MAX;
	link->out_count--;
	return 0;
}

/* Send what can go. Return: 0 or -errno. */
static int flush(struct wh_rdma_link *link)
{
	int r = wh_rdma_source_pump(link);

	if (r == 0 && !link->beside_full)
		r = wh_rdma_tell_all(link);
	while (r == 0 && link->out_count > 0 && !link->beside_full)
		r = send_oldest(link);
	return r < 0 ? r : 0;
}

/* Remember that the link is lost. */
static int done_with(struct wh_rdma_link *link, int r)
{
	if (r < 0)
		link->error = r;
	return r;
}

static int rdma_write(struct wh_transport *transport, const struct wh_write *w)
{
	struct wh_rdma_link *link = link_of(transport);
	int r = link->error;

	if (r == 0)
		r = wh_rdma_source_write(link, w);
	if (r == 0 && link->state == WH_RDMA_UP && !link->beside_full) {
		const int told = wh_rdma_tell_of_chunks(link);

		r = told < 0 ? told : 0;
	}
	return done_with(link, r);
}

static int rdma_send(struct wh_transport *transport, const void *data, uint32_t len)
{
	struct wh_rdma_link *link = link_of(transport);
	struct wh_rdma_out *out;

	if (link->error)
		return link->error;
	link->caller_full = link->out_count == WH_RDMA_OUT_MAX;
	if (link->caller_full)
		return WH_TX_FULL;
	out = &link->out[(link->out_first + link->out_count++) % WH_RDMA_OUT_MAX];
	out->after = link->sequence;
	out->len = len;
	memcpy(out->data, data, len);
	return done_with(link, flush(link));
}

static void rdma_forget(struct wh_transport *transport, uint16_t region, uint64_t offset,
                        uint64_t len)
{
	struct wh_rdma_link *link = link_of(transport);

	link->beside->ops->forget(link->beside, region, offset, len);
}

/* --- receiving -------------------------------------------------------------------------------- */

static int hold(struct wh_rdma_link *link, const struct wh_rdma_frame *frame)
{
	struct wh_rdma_held *held;

	if (link->held_count == HELD_MAX)
		return -EPROTO;
	held = malloc(sizeof(*held) + frame->data.len);
	if (!held)
		return -ENOMEM;
	held->next = NULL;
	held->barrier = frame->data.barrier;
	held->len = frame->data.len;
	memcpy(held->data, frame->data.data, held->len);
	*link->held_tail = held;
	link->held_tail = &held->next;
	link->held_count++;
	return 0;
}

static int on_frame(struct wh_rdma_link *link, const struct wh_event *event)
{
	struct wh_rdma_frame frame;
	int r = wh_rdma_frame_decode(&frame, event->frame.data, event->frame.len);

	if (r < 0)
		return r;
	if (frame.kind == WH_RDMA_DATA)
		return hold(link, &frame);
	return link->passive ? wh_rdma_target_frame(link, &frame)
	                     : wh_rdma_source_frame(link, &frame);
}

static int on_event(struct wh_rdma_link *link, const struct wh_event *event)
{
	switch (event->type) {
	case WH_EVENT_WRITTEN:
		wh_rdma_source_beside_written(link, event->cookie);
		return 0;
	case WH_EVENT_FRAME:
		return on_frame(link, event);
	case WH_EVENT_CLOSED:
		link->beside_closed = true;
		return 0;
	}
	return -EPROTO;
}

static bool is_due(const struct wh_rdma_link *link, const struct wh_rdma_held *held)
{
	return held->barrier == 0 || link->resent || (int32_t)(link->arrived - held->barrier) >= 0;
}

static void release_lent(struct wh_rdma_link *link)
{
	free(link->lent);
	link->lent = NULL;
}

static struct wh_event lend_oldest(struct wh_rdma_link *link)
{
	struct wh_rdma_held *held = link->held;

	link->held = held->next;
	if (!link->held)
		link->held_tail = &link->held;
	link->held_count--;
	link->lent = held;
	return (struct wh_event){ .type = WH_EVENT_FRAME,
		                  .frame = { .data = held->data, .len = held->len } };
}

/* Hand out what there is. Return: the number of events, or -errno. */
static int collect(struct wh_rdma_link *link, struct wh_event *events, uint32_t max)
{
	uint32_t count = 0;

	while (count < max && link->written_count > 0)
		events[count++] =
			(struct wh_event){ .type = WH_EVENT_WRITTEN,
			                   .cookie = link->written[--link->written_count] };
	if (count < max && link->held && is_due(link, link->held))
		events[count++] = lend_oldest(link);
	if (count > 0 || !link->beside_closed)
		return (int)count;
	if (link->held)
		return -ECONNRESET; /* what it waits for does not come any more */
	events[0] = (struct wh_event){ .type = WH_EVENT_CLOSED };
	return 1;
}

static uint64_t earlier(uint64_t deadline_ns, uint64_t wake_ns)
{
	return wake_ns && wake_ns < deadline_ns ? wake_ns : deadline_ns;
}

/* Have what RDMA brings end the wait. Return: whether to wait; else look once more. */
static bool arm(struct wh_rdma_link *link)
{
	int r;

	if (link->state != WH_RDMA_UP)
		return true;
	r = wh_rdma_pairs_push(link->pairs);
	if (r == 0)
		r = wh_verbs_arm(link->verbs);
	if (r < 0)
		wh_rdma_give_up(link, wh_verbs_reason(link->verbs));
	return r > 0;
}

/* Wait for TCP, and what else there is. Return: 1 if something may have happened, 0, or -errno. */
static int await_event(struct wh_rdma_link *link, uint64_t deadline_ns)
{
	struct wh_event event;
	int r = link->beside->ops->poll(link->beside, &event, 1,
	                                earlier(deadline_ns, link->wake_ns));

	if (r == -EAGAIN) /* @epoll is readable */
		return 1;
	if (r > 0)
		r = on_event(link, &event);
	else if (r == 0)
		return link->wake_ns && wh_now_ns(&wh_clock_monotonic) >= link->wake_ns;
	return r < 0 ? r : 1;
}

/* One turn. Return: the number of events, 0 if there are none yet, or -errno. */
static int turn(struct wh_rdma_link *link, struct wh_event *events, uint32_t max)
{
	int r;

	look_beside(link);
	r = flush(link);
	return r < 0 ? r : collect(link, events, max);
}

/* Whether a frame of the caller's that found the queue full would find room now: said once. */
static bool has_room_again(struct wh_rdma_link *link)
{
	if (!link->caller_full || link->out_count == WH_RDMA_OUT_MAX)
		return false;
	link->caller_full = false;
	return true;
}

static int rdma_poll(struct wh_transport *transport, struct wh_event *events, uint32_t max,
                     uint64_t deadline_ns)
{
	struct wh_rdma_link *link = link_of(transport);
	bool was_full = false; /* TCP, in the last wait */
	bool idle = false;     /* that wait brought nothing */
	int n = link->error;

	release_lent(link);
	/* This ends: the deadline passes if nothing else happens. */
	while (n == 0) {
		const uint64_t told = link->told;
		int r;

		n = turn(link, events, max);
		if (n != 0 || has_room_again(link))
			break;
		/* TCP ends a wait at its deadline, or as it has room: then this turn made use of that. */
		if (idle && !(was_full && (link->told > told || !link->beside_full)))
			break;
		if (!arm(link))
			continue;
		was_full = link->beside_full;
		r = await_event(link, deadline_ns);
		if (r < 0)
			n = r;
		idle = r == 0;
		link->beside_full = false;
	}
	return done_with(link, n);
}

/* --- memory ----------------------------------------------------------------------------------- */

static int rdma_map(struct wh_transport *transport, uint16_t region, const struct wh_memory *memory)
{
	struct wh_rdma_link *link = link_of(transport);
	const bool writable = memory->writable && !memory->put;
	int r = link->beside->ops->map(link->beside, region, memory);

	if (r < 0)
		return r;
	link->regions[region] = *memory;
	/* What is lent again was sealed before: RDMA is over. */
	if (link->chunks.regions[region].chunks || (link->passive ? !writable : !memory->addr))
		return 0;
	/* The target maps what is asked for. */
	return wh_rdma_chunks_add(&link->chunks, region,
	                          link->passive ? NULL : (void *)(uintptr_t)memory->addr,
	                          memory->bytes);
}

static void rdma_unmap(struct wh_transport *transport, uint16_t region)
{
	struct wh_rdma_link *link = link_of(transport);

	link->beside->ops->unmap(link->beside, region);
	if (link->passive)
		wh_rdma_target_seal(link, "", false);
}

static bool rdma_pins(struct wh_transport *transport, uint16_t region, uint64_t offset,
                      uint64_t len)
{
	return wh_rdma_chunks_hold(&link_of(transport)->chunks, region, offset, len);
}

static void rdma_discard(struct wh_transport *transport, uint16_t region, uint64_t offset,
                         uint64_t len)
{
	struct wh_rdma_link *link = link_of(transport);

	if (link->passive)
		wh_rdma_target_seal(link, "memory is given back for post-copy", true);
	else
		wh_rdma_chunks_discard(&link->chunks, region, offset, len);
}

/* --- opening ---------------------------------------------------------------------------------- */

static void free_held(struct wh_rdma_link *link)
{
	while (link->held) {
		struct wh_rdma_held *next = link->held->next;

		free(link->held);
		link->held = next;
	}
}

static struct wh_transport *rdma_close(struct wh_transport *transport)
{
	struct wh_rdma_link *link = link_of(transport);

	wh_rdma_take_down(link);
	if (link->beside)
		link->beside = link->beside->ops->close(link->beside);
	for (uint32_t i = 0; link->passive && i < WH_REGIONS_MAX; i++)
		if (link->chunks.regions[i].addr)
			(void)munmap(link->chunks.regions[i].addr, link->chunks.regions[i].bytes);
	wh_rdma_chunks_done(&link->chunks);
	release_lent(link);
	free_held(link);
	wh_rdma_source_done(link);
	wh_closep(&link->epoll);
	free(link->out);
	free(link);
	return NULL;
}

/* The address of an "rdma://ADDRESS:PORT" or "rdma://[ADDRESS]:PORT". */
static void set_address(struct wh_rdma_link *link, const char *uri)
{
	const char *at = strstr(uri, "://") + 3;
	const char *end = strrchr(at, ':');
	const bool brackets = *at == '[';

	/* The link beside has refused what is none. */
	if (!end)
		end = at + strlen(at);
	(void)snprintf(link->address, sizeof(link->address), "%.*s", (int)(end - at) - 2 * brackets,
	               at + brackets);
}

static struct wh_rdma_link *new_link(const struct wh_link_config *cfg)
{
	struct wh_rdma_link *link = calloc(1, sizeof(*link));

	if (!link)
		return NULL;
	link->base.ops = &wh_transport_rdma;
	wh_rdma_chunks_init(&link->chunks);
	link->held_tail = &link->held;
	link->passive = cfg->passive;
	link->options = cfg->rdma;
	link->rate.bucket = cfg->bucket;
	link->carries = cfg->carries;
	link->context = cfg->context;
	link->chunks.order = (uint32_t)__builtin_ctzll(cfg->rdma.chunk_bytes);
	(void)snprintf(link->local, sizeof(link->local), "%s", cfg->local);
	memcpy(link->token, cfg->token, sizeof(link->token));
	link->epoll = epoll_create1(EPOLL_CLOEXEC);
	link->out = calloc(WH_RDMA_OUT_MAX, sizeof(*link->out));
	if (wh_rdma_source_init(link, cfg->queue_depth) < 0 || link->epoll < 0 || !link->out) {
		(void)rdma_close(&link->base);
		return NULL;
	}
	return link;
}

static int rdma_open(struct wh_transport **ret, const struct wh_link_config *cfg,
                     struct wh_error *err)
{
	wh_cleanup(wh_transport_closep) struct wh_transport *transport = NULL;
	struct wh_rdma_link *link;
	int r;

	wh_assert(cfg->rdma.pairs >= 1 && cfg->rdma.pairs <= WH_RDMA_PAIRS_MAX);
	wh_assert(__builtin_popcountll(cfg->rdma.chunk_bytes) == 1);
	link = new_link(cfg);
	if (!link)
		return wh_fail(err, -ENOMEM, "out of memory");
	transport = &link->base;
	r = wh_rdma_beside->open(&link->beside, cfg, err);
	if (r < 0)
		return r;
	link->beside->ops->watch(link->beside, link->epoll);
	set_address(link, cfg->uri);
	if (cfg->passive) {
		link->tell_offer = true;
		wh_rdma_begin(link, 0);
		r = flush(link);
	}
	if (r < 0)
		return wh_fail(err, r, "the offer of RDMA: %s", strerror(-r));
	*ret = wh_steal(transport);
	return 0;
}

static int rdma_urgent(const struct wh_transport *transport)
{
	const struct wh_rdma_link *link = (const struct wh_rdma_link *)transport;

	return link->beside->ops->urgent(link->beside);
}

static struct wh_rdma_way way_of(const struct wh_transport *transport)
{
	const struct wh_rdma_link *link = (const struct wh_rdma_link *)transport;

	return (struct wh_rdma_way){ .address = link->address,
		                     .local = link->local,
		                     .token = link->token,
		                     .options = link->options,
		                     .bucket = link->rate.bucket,
		                     .carries = link->carries,
		                     .context = link->context };
}

static struct wh_rdma_reads *rdma_reads(const struct wh_transport *transport,
                                        const struct wh_rdma_reads_config *cfg)
{
	const struct wh_rdma_way way = way_of(transport);

	return wh_rdma_reads_new(&way, cfg);
}

static struct wh_rdma_lend *rdma_lend(const struct wh_transport *transport,
                                      const struct wh_rdma_lend_config *cfg)
{
	const struct wh_rdma_way way = way_of(transport);

	return wh_rdma_lend_new(&way, cfg);
}

static struct wh_sent rdma_sent(const struct wh_transport *transport)
{
	const struct wh_rdma_link *link = (const struct wh_rdma_link *)transport;
	struct wh_sent sent = link->beside->ops->sent(link->beside);

	sent.bytes += link->rdma_bytes;
	sent.rdma_bytes = link->rdma_bytes;
	return sent;
}

const struct wh_transport_ops wh_transport_rdma = {
	.scheme = "rdma",
	.open = rdma_open,
	.close = rdma_close,
	.map = rdma_map,
	.unmap = rdma_unmap,
	.write = rdma_write,
	.forget = rdma_forget,
	.pins = rdma_pins,
	.discard = rdma_discard,
	.send = rdma_send,
	.poll = rdma_poll,
	.urgent = rdma_urgent,
	.reads = rdma_reads,
	.lend = rdma_lend,
	.sent = rdma_sent,
};
