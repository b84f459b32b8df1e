/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Each direction has a list of parcels, oldest first. A write is read out of the sender's memory
 * when it departs, which is some time after it was posted, and lands in pieces some time later:
 * the worst that a socket buffer and a network may do. Writes land in any order; a frame lands
 * when everything before it has. Most writes leave as what differs from what was sent before.
 */

#include "transport_loop.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "delta.h"
#include "transport_ops.h"

#include "wherry/assert.h"
#include "wherry/limits.h"

/* Frames on their way in one direction. */
#define FRAMES_MAX 64u

/* The longest a turn takes. */
#define TURN_NS_MAX 50000u

struct parcel {
	struct parcel *next;
	bool is_frame;
	bool departed; /* its bytes are in @data */
	struct wh_write write;
	uint32_t landed;                   /* bytes of @data in place */
	uint8_t known[WH_DELTA_MAP_BYTES]; /* pages of @data that are differences */
	uint32_t len;
	uint8_t data[];
};

struct end {
	struct wh_transport base;
	struct wh_loop *loop;
	struct end *peer;
	bool open;
	struct wh_memory regions[WH_REGIONS_MAX];
	uint32_t queue_depth;
	uint32_t in_flight;      /* writes posted here and not yet departed */
	uint32_t frames;         /* posted here and not yet taken by the peer */
	bool full;               /* the caller waits for room for a frame */
	bool watched;            /* something may happen beside the link: wait for one turn only */
	struct parcel *outbound; /* owned; posted here, oldest first */
	struct parcel *inbox;    /* owned; frames that landed here, oldest first */
	struct parcel *lent;     /* owned; the frame of the last poll */
	uint64_t *departed;      /* owned; cookies to report, room for @queue_depth */
	uint32_t departed_count;
	uint64_t sent_bytes;
	struct wh_delta *delta; /* owned */
	uint64_t delta_pages;   /* sent as differences */
};

struct wh_loop {
	const struct wh_loop_world *world;
	struct end source;
	struct end target;
	uint64_t random;
	uint32_t landings;
	int broken; /* negative errno once the link is lost */
};

/* The one world there is; two at once were never needed. */
static struct wh_loop *the_loop = NULL;

/* xorshift64*: small, and the same everywhere. */
static uint32_t roll(struct wh_loop *loop, uint32_t sides)
{
	loop->random ^= loop->random >> 12;
	loop->random ^= loop->random << 25;
	loop->random ^= loop->random >> 27;
	return (uint32_t)((loop->random * UINT64_C(0x2545F4914F6CDD1D)) >> 33) % sides;
}

struct wh_loop *wh_loop_new(const struct wh_loop_world *world)
{
	struct wh_loop *loop = calloc(1, sizeof(*loop));

	wh_assert(!the_loop);
	if (!loop)
		return NULL;
	loop->world = world;
	loop->random = world->seed * UINT64_C(0x9E3779B97F4A7C15) + 1;
	loop->source = (struct end){ .loop = loop, .peer = &loop->target };
	loop->target = (struct end){ .loop = loop, .peer = &loop->source };
	the_loop = loop;
	return loop;
}

void wh_loop_break(struct wh_loop *loop, int code)
{
	if (!loop->broken)
		loop->broken = code;
}

struct wh_loop *wh_loop_free(struct wh_loop *loop)
{
	if (!loop)
		return NULL;
	wh_assert(!loop->source.open && !loop->target.open);
	the_loop = NULL;
	free(loop);
	return NULL;
}

static struct end *end_of(struct wh_transport *transport)
{
	return (struct end *)transport;
}

static int loop_open(struct wh_transport **ret, const struct wh_link_config *cfg,
                     struct wh_error *err)
{
	struct end *end;

	if (!the_loop || strcmp(cfg->uri + strlen("loop://"), the_loop->world->name) != 0)
		return wh_fail(err, -ECONNREFUSED, "there is no such world");
	end = cfg->passive ? &the_loop->target : &the_loop->source;
	wh_assert(!end->open);
	end->departed = calloc(cfg->queue_depth, sizeof(*end->departed));
	end->delta = wh_delta_new();
	end->delta_pages = 0;
	if (!end->departed || !end->delta)
		return wh_fail(err, -ENOMEM, "out of memory");
	end->base.ops = &wh_transport_loop;
	end->queue_depth = cfg->queue_depth;
	end->watched = false;
	end->open = true;
	*ret = &end->base;
	return 0;
}

static void free_all(struct parcel *parcel)
{
	while (parcel) {
		struct parcel *next = parcel->next;

		free(parcel);
		parcel = next;
	}
}

static struct wh_transport *loop_close(struct wh_transport *transport)
{
	struct end *end = end_of(transport);

	free_all(end->outbound);
	free_all(end->inbox);
	free(end->lent);
	free(end->departed);
	end->delta = wh_delta_free(end->delta);
	end->outbound = end->inbox = end->lent = NULL;
	end->departed = NULL;
	end->open = false;
	return NULL;
}

static int loop_map(struct wh_transport *transport, uint16_t region, const struct wh_memory *memory)
{
	struct end *end = end_of(transport);

	if (end->regions[region].bytes > 0)
		return -EEXIST;
	end->regions[region] = *memory;
	return 0;
}

static void loop_unmap(struct wh_transport *transport, uint16_t region)
{
	end_of(transport)->regions[region].bytes = 0;
}

static void append(struct parcel **list, struct parcel *parcel)
{
	while (*list)
		list = &(*list)->next;
	parcel->next = NULL;
	*list = parcel;
}

static int post(struct end *end, const struct parcel *like, const void *data)
{
	struct parcel *parcel = calloc(1, sizeof(*parcel) + like->len);

	if (!parcel)
		return -ENOMEM;
	memcpy(parcel, like, sizeof(*parcel));
	if (data)
		memcpy(parcel->data, data, like->len);
	append(&end->outbound, parcel);
	return 0;
}

static int loop_write(struct wh_transport *transport, const struct wh_write *w)
{
	struct end *end = end_of(transport);
	const struct parcel like = { .write = *w, .len = w->len };

	if (end->loop->broken)
		return end->loop->broken;
	if (end->in_flight + end->departed_count == end->queue_depth)
		return WH_TX_FULL;
	end->in_flight++;
	return post(end, &like, NULL);
}

static void loop_watch(struct wh_transport *transport, int fd)
{
	(void)fd;
	end_of(transport)->watched = true;
}

static void loop_forget(struct wh_transport *transport, uint16_t region, uint64_t offset,
                        uint64_t len)
{
	wh_delta_forget(end_of(transport)->delta, region, offset, len);
}

static int loop_send(struct wh_transport *transport, const void *data, uint32_t len)
{
	struct end *end = end_of(transport);
	const struct parcel like = { .is_frame = true, .departed = true, .len = len };

	if (end->loop->broken)
		return end->loop->broken;
	end->full = end->frames == FRAMES_MAX;
	if (end->full)
		return WH_TX_FULL;
	end->frames++;
	return post(end, &like, data);
}

/* Read a write's bytes: from now on the sender's memory may change. */
static void depart(struct end *from, struct parcel *parcel)
{
	const struct wh_memory *memory = &from->regions[parcel->write.src_region];

	memcpy(parcel->data,
	       parcel->write.copy ? parcel->write.copy
	                          : (const uint8_t *)memory->addr + parcel->write.src_offset,
	       parcel->len);
	if (parcel->write.round > 0 && roll(from->loop, 4) > 0)
		from->delta_pages +=
			wh_delta_take(from->delta, &parcel->write, parcel->data, parcel->known)
				.known;
	else
		wh_delta_forget(from->delta, parcel->write.dst_region, parcel->write.dst_offset,
		                parcel->len);
	parcel->departed = true;
	from->departed[from->departed_count++] = parcel->write.cookie;
	from->in_flight--;
	from->sent_bytes += parcel->len;
}

/* Turn the differences in the next @len bytes, which go to @offset, into contents. */
static int add_what_is_there(int fd, struct parcel *parcel, uint32_t len, uint64_t offset)
{
	uint8_t there[WH_PAGE_SIZE];
	uint32_t at = parcel->landed, part;

	for (; len > 0; at += part, offset += part, len -= part) {
		const uint32_t left = WH_PAGE_SIZE - at % WH_PAGE_SIZE;

		part = len < left ? len : left;
		if (!wh_delta_is_known(parcel->known, at / WH_PAGE_SIZE))
			continue;
		if (pread(fd, there, part, (off_t)offset) != (ssize_t)part)
			return -EIO;
		wh_delta_apply(parcel->data + at, there, part);
	}
	return 0;
}

/* Place the next piece of a write. Return: 0 or the link's error. */
static int land_piece(struct end *to, struct parcel *parcel)
{
	const struct wh_memory *memory = &to->regions[parcel->write.dst_region];
	const uint32_t left = parcel->len - parcel->landed;
	uint32_t len = roll(to->loop, 2) ? left : roll(to->loop, left) + 1;
	uint64_t offset = parcel->write.dst_offset + parcel->landed;
	int r;

	if (!memory->writable || offset > memory->bytes || len > memory->bytes - offset)
		return -EPROTO;
	to->loop->landings++;
	if (to->loop->landings == to->loop->world->full_after)
		return -ENOSPC;
	if (to->loop->landings == to->loop->world->reset_after)
		return -ECONNRESET;
	if (memory->put) {
		parcel->landed += len;
		return parcel->landed < parcel->len
		               ? 0
		               : memory->put(memory->context, parcel->write.dst_offset,
		                             parcel->data, parcel->len);
	}
	r = add_what_is_there(memory->fd, parcel, len, offset);
	if (r < 0)
		return r;
	parcel->landed += len;
	if (pwrite(memory->fd, parcel->data + parcel->landed - len, len, (off_t)offset) !=
	    (ssize_t)len)
		return -errno;
	return 0;
}

/* The parcel that something happens to next, by the link to it. */
static struct parcel **pick(struct end *from)
{
	struct parcel **at = &from->outbound;
	uint32_t count = 0, skip;

	/* Only what stands before the first frame may move; or that frame, if it is the first. */
	for (struct parcel *p = from->outbound; p && !p->is_frame; p = p->next)
		count++;
	if (count == 0)
		return at;
	for (skip = roll(from->loop, count); skip > 0 && *at; skip--)
		at = &(*at)->next;
	return at;
}

/* Let one thing happen to what is on its way from @from. */
static void advance(struct end *from)
{
	struct parcel **at = pick(from);
	struct parcel *parcel = *at;
	int r = 0;

	if (!parcel)
		return;
	if (!parcel->departed)
		depart(from, parcel);
	else if (!parcel->is_frame)
		r = land_piece(from->peer, parcel);
	if (r < 0)
		wh_loop_break(from->loop, r);
	if (parcel->is_frame) {
		*at = parcel->next;
		append(&from->peer->inbox, parcel);
	} else if (parcel->landed == parcel->len) {
		*at = parcel->next;
		free(parcel);
	}
}

/* Hand out what there is for @end. */
static uint32_t collect(struct end *end, struct wh_event *events, uint32_t max)
{
	uint32_t count = 0;

	while (count < max && end->departed_count > 0)
		events[count++] =
			(struct wh_event){ .type = WH_EVENT_WRITTEN,
			                   .cookie = end->departed[--end->departed_count] };
	if (count < max && end->inbox) {
		end->lent = end->inbox;
		end->inbox = end->inbox->next;
		end->peer->frames--;
		events[count++] = (struct wh_event){ .type = WH_EVENT_FRAME,
			                             .frame = { .data = end->lent->data,
			                                        .len = end->lent->len } };
	}
	if (count == 0 && !end->peer->open)
		events[count++] = (struct wh_event){ .type = WH_EVENT_CLOSED };
	return count;
}

static int loop_poll(struct wh_transport *transport, struct wh_event *events, uint32_t max,
                     uint64_t deadline_ns)
{
	struct end *end = end_of(transport);
	struct wh_loop *loop = end->loop;
	const struct wh_loop_world *world = loop->world;
	uint32_t count = 0;

	free(end->lent);
	end->lent = NULL;

	/* This ends: each turn takes time, and the world's step ends a run that goes nowhere. */
	while (!loop->broken) {
		count = collect(end, events, max);
		if (count > 0 || wh_now_ns(world->clock) >= deadline_ns)
			break;
		if (end->full && end->frames < FRAMES_MAX) {
			end->full = false;
			break;
		}
		advance(roll(loop, 8) ? end : end->peer);
		advance(end->peer);
		world->step(world->context, roll(loop, TURN_NS_MAX) + 1);
		if (end->watched && !loop->broken)
			return -EAGAIN;
	}
	return loop->broken ? loop->broken : (int)count;
}

static int loop_urgent(const struct wh_transport *transport)
{
	const struct end *end = (const struct end *)transport;

	return end->loop->world->urgent[end == &end->loop->target];
}

static struct wh_sent loop_sent(const struct wh_transport *transport)
{
	const struct end *end = (const struct end *)transport;

	return (struct wh_sent){ .bytes = end->sent_bytes,
		                 .delta_raw_bytes = end->delta_pages * WH_PAGE_SIZE };
}

const struct wh_transport_ops wh_transport_loop = {
	.scheme = "loop",
	.open = loop_open,
	.close = loop_close,
	.map = loop_map,
	.unmap = loop_unmap,
	.write = loop_write,
	.forget = loop_forget,
	.watch = loop_watch,
	.send = loop_send,
	.poll = loop_poll,
	.urgent = loop_urgent,
	.sent = loop_sent,
};
