/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A link of N TCP connections (transport_uring.h), one thread each.
 *
 * A write goes to the connection with the fewest bytes on their way. Frames travel on connection
 * 0, each behind a list: how many writes had been posted on every connection before it. The
 * receiver holds a frame back until as many have landed. That is all it takes to make a frame a
 * barrier over all connections.
 */

#include "transport_ops.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "delta.h"
#include "intake.h"
#include "place.h"
#include "tcp.h"
#include "transport_uring.h"
#include "wire.h"

#include "wherry/assert.h"
#include "wherry/clock.h"
#include "wherry/fdpass.h"
#include "wherry/limits.h"

struct lane {
	struct wh_conn *conn; /* owned */
	uint64_t posted;      /* writes, since the start */
	uint64_t left_bytes;  /* of writes posted and not yet written */
	bool closed;          /* by the peer: nothing more will land */
};

/* A posted write's way back to the caller: its cookie, and what to account. */
struct slot {
	uint64_t cookie;
	uint32_t lane;
	uint32_t len;
};

struct link {
	struct wh_transport base;
	struct lane lanes[WH_CONNECTIONS_MAX];
	uint32_t lane_count;
	int urgent; /* owned, or -1 */
	int beside; /* borrowed: ends a wait, too; or -1 */
	struct wh_memory regions[WH_REGIONS_MAX];
	struct wh_bell bell;
	struct wh_place places[WH_REGIONS_MAX]; /* owned; of the regions that are writable */

	struct wh_delta *delta; /* owned; NULL if nothing is compressed */
	struct slot *slots;     /* owned, one for each write in flight */
	uint32_t *unused;       /* owned, stack of unused slots */
	uint32_t unused_count;

	bool have_frame; /* @frame waits for writes to land */
	bool lent_frame; /* the caller holds a frame until the next poll */
	bool full;       /* the caller waits for room for a frame */
	struct wh_conn_event frame;
	int error; /* the link is lost */
};

static struct link *link_of(struct wh_transport *transport)
{
	return (struct link *)transport;
}

/* --- opening ---------------------------------------------------------------------------------- */

static struct wh_transport *tcp_close(struct wh_transport *transport)
{
	struct link *link = link_of(transport);

	for (uint32_t i = 0; i < link->lane_count; i++)
		link->lanes[i].conn = wh_conn_stop(link->lanes[i].conn);
	wh_bell_done(&link->bell);
	wh_closep(&link->urgent);
	for (uint32_t i = 0; i < WH_REGIONS_MAX; i++)
		wh_place_done(&link->places[i]);
	link->delta = wh_delta_free(link->delta);
	free(link->slots);
	free(link->unused);
	free(link);
	return NULL;
}

static struct link *new_link(uint32_t queue_depth)
{
	struct link *link = calloc(1, sizeof(*link));

	if (!link)
		return NULL;
	link->base.ops = &wh_transport_tcp;
	link->urgent = link->beside = -1;
	for (uint32_t i = 0; i < WH_REGIONS_MAX; i++)
		wh_place_init(&link->places[i]);
	link->slots = calloc(queue_depth, sizeof(*link->slots));
	link->unused = calloc(queue_depth, sizeof(*link->unused));
	if (wh_bell_init(&link->bell) < 0 || !link->slots || !link->unused) {
		(void)tcp_close(&link->base);
		return NULL;
	}
	for (uint32_t i = 0; i < queue_depth; i++)
		link->unused[link->unused_count++] = i;
	return link;
}

static int start_lanes(struct link *link, struct wh_tcp *tcp, const struct wh_link_config *config)
{
	while (link->lane_count < tcp->count) {
		const struct wh_conn_config cfg = {
			.fd = tcp->fds[link->lane_count],
			.queue_depth = config->queue_depth,
			.compression = config->compression,
			.delta = link->delta,
			.regions = link->regions,
			.owner = &link->bell,
			.places = link->places,
		};
		int r = wh_conn_start(&link->lanes[link->lane_count].conn, &cfg);

		if (r < 0)
			return r;
		tcp->fds[link->lane_count++] = -1; /* the connection has it now */
	}
	return 0;
}

static int tcp_open(struct wh_transport **ret, const struct wh_link_config *cfg,
                    struct wh_error *err)
{
	wh_cleanup(wh_transport_closep) struct wh_transport *transport = NULL;
	struct link *link = new_link(cfg->queue_depth);
	struct wh_tcp tcp;
	int r;

	if (!link)
		return wh_fail(err, -ENOMEM, "out of memory");
	transport = &link->base;
	if (!cfg->passive && cfg->compression != WH_COMPRESSION_NONE) {
		link->delta = wh_delta_new();
		if (!link->delta)
			return wh_fail(err, -ENOMEM, "out of memory");
	}
	r = wh_tcp_open(&tcp, cfg, err);
	if (r < 0)
		return r;
	link->urgent = wh_steal_fd(&tcp.urgent);
	r = start_lanes(link, &tcp, cfg);
	wh_tcp_close(&tcp);
	if (r < 0)
		return wh_fail(err, r, "cannot start a connection: %s", strerror(-r));
	*ret = wh_steal(transport);
	return 0;
}

static int tcp_map(struct wh_transport *transport, uint16_t region, const struct wh_memory *memory)
{
	struct link *link = link_of(transport);

	if (link->regions[region].bytes > 0)
		return -EEXIST;
	link->regions[region] = *memory;
	if (!memory->writable)
		return 0;
	if (memory->put) {
		wh_place_divert(&link->places[region], memory);
		return 0;
	}
	return wh_place_lend(&link->places[region], memory->fd, memory->bytes);
}

static void tcp_unmap(struct wh_transport *transport, uint16_t region)
{
	struct link *link = link_of(transport);

	wh_place_take_back(&link->places[region]);
	link->regions[region].bytes = 0;
}

/* --- sending ---------------------------------------------------------------------------------- */

static uint32_t least_busy(const struct link *link)
{
	uint32_t best = 0;

	for (uint32_t i = 1; i < link->lane_count; i++)
		if (link->lanes[i].left_bytes < link->lanes[best].left_bytes)
			best = i;
	return best;
}

static int tcp_write(struct wh_transport *transport, const struct wh_write *w)
{
	struct link *link = link_of(transport);
	struct wh_write posted = *w;
	struct slot *slot;
	struct lane *lane;

	if (link->error)
		return link->error;
	if (link->unused_count == 0)
		return WH_TX_FULL;

	posted.cookie = link->unused[--link->unused_count];
	slot = &link->slots[posted.cookie];
	*slot = (struct slot){ .cookie = w->cookie, .lane = least_busy(link), .len = w->len };
	lane = &link->lanes[slot->lane];
	lane->posted++;
	lane->left_bytes += w->len;
	wh_conn_write(lane->conn, &posted);
	return 0;
}

static void tcp_forget(struct wh_transport *transport, uint16_t region, uint64_t offset,
                       uint64_t len)
{
	wh_delta_forget(link_of(transport)->delta, region, offset, len);
}

static int tcp_send(struct wh_transport *transport, const void *data, uint32_t len)
{
	struct link *link = link_of(transport);
	uint8_t payload[WH_FRAME_RECORD_MAX];
	struct wh_writer w = wh_writer_init(payload, sizeof(payload));
	int r;

	if (link->error)
		return link->error;
	for (uint32_t i = 0; i < link->lane_count; i++)
		wh_put_u64(&w, link->lanes[i].posted);
	wh_put_bytes(&w, data, len);
	wh_assert(!w.bad);
	r = wh_conn_send(link->lanes[0].conn, payload, (uint32_t)(w.at - payload));
	link->full = r == WH_TX_FULL;
	return r;
}

/* --- receiving -------------------------------------------------------------------------------- */

/*
 * Return: 1 if every write that @link->frame waits for has landed, 0 if not yet, or -errno. On its
 * own connection they came before it, or the list is wrong.
 */
static int frame_is_due(const struct link *link)
{
	struct wh_reader r = wh_reader_init(link->frame.frame.data, link->frame.frame.len);

	for (uint32_t i = 0; i < link->lane_count; i++) {
		if (wh_conn_landed(link->lanes[i].conn) >= wh_get_u64(&r))
			continue;
		if (i == 0)
			return -EPROTO;
		return link->lanes[i].closed ? -ECONNRESET : 0;
	}
	return 1;
}

static void watch_lanes(struct link *link, bool on)
{
	for (uint32_t i = 0; i < link->lane_count; i++)
		wh_conn_watch(link->lanes[i].conn, on);
}

/* Hand out the held frame if it is due. Return: the number of events, 0 or 1, or -errno. */
static int deliver_frame(struct link *link, struct wh_event *ret)
{
	const uint32_t list = 8 * link->lane_count;
	int r;

	if (!link->have_frame || link->lent_frame)
		return 0;
	watch_lanes(link, true);
	r = frame_is_due(link);
	if (r <= 0)
		return r;
	watch_lanes(link, false);
	*ret = (struct wh_event){
		.type = WH_EVENT_FRAME,
		.frame = { .data = link->frame.frame.data + list,
		           .len = link->frame.frame.len - list },
	};
	link->have_frame = false;
	link->lent_frame = true;
	return 1;
}

static uint32_t on_written(struct link *link, uint64_t number, struct wh_event *ret)
{
	const struct slot *slot = &link->slots[number];

	link->lanes[slot->lane].left_bytes -= slot->len;
	link->unused[link->unused_count++] = (uint32_t)number;
	*ret = (struct wh_event){ .type = WH_EVENT_WRITTEN, .cookie = slot->cookie };
	return 1;
}

static int on_frame(struct link *link, const struct wh_conn_event *event)
{
	/* Frames come on connection 0, with a list and at least one byte behind it. */
	if (link->have_frame || event->frame.len <= 8 * link->lane_count)
		return -EPROTO;
	link->frame = *event;
	link->have_frame = true;
	return 0;
}

/* Take one event of @lane. Return: the number of events written to @ret, 0 or 1, or -errno. */
static int take_event(struct link *link, uint32_t lane, struct wh_event *ret)
{
	struct wh_conn_event event;

	/* A frame that is held back holds back what follows it on its connection. */
	if ((lane == 0 && link->have_frame) || !wh_conn_take(link->lanes[lane].conn, &event))
		return 0;
	switch (event.type) {
	case WH_CONN_WRITTEN:
		return (int)on_written(link, event.cookie, ret);
	case WH_CONN_FRAME:
		return lane == 0 ? on_frame(link, &event) : -EPROTO;
	case WH_CONN_CLOSED:
		link->lanes[lane].closed = true;
		return 0;
	case WH_CONN_FAILED:
		return event.error;
	}
	return -EPROTO;
}

/* Take what is there. Return: the number of events, or -errno. */
static int collect(struct link *link, struct wh_event *events, uint32_t max)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < link->lane_count; i++) {
		uint32_t before;

		do {
			int n;

			before = count;
			if (count == max)
				return (int)count;
			n = take_event(link, i, &events[count]);
			if (n < 0)
				return n;
			count += (uint32_t)n;
		} while (count > before);
	}
	if (count < max) {
		int n = deliver_frame(link, &events[count]);

		if (n < 0)
			return n;
		count += (uint32_t)n;
	}
	/* The peer closed in good order: say so when everything else is said. */
	if (count == 0 && link->lanes[0].closed && !link->have_frame)
		events[count++] = (struct wh_event){ .type = WH_EVENT_CLOSED };
	return (int)count;
}

static void tcp_watch(struct wh_transport *transport, int fd)
{
	link_of(transport)->beside = fd;
}

/* Wait for the bell. Return: 1 if it rang, 0 at the deadline, -EAGAIN if @beside is readable. */
static int wait(struct link *link, uint64_t deadline_ns)
{
	struct pollfd p[] = { { .fd = link->bell.fd, .events = POLLIN },
		              { .fd = link->beside, .events = POLLIN } };
	uint64_t now = wh_now_ns(&wh_clock_monotonic);
	uint64_t left = deadline_ns > now ? deadline_ns - now : 0;
	struct timespec ts = { .tv_sec = (time_t)(left / WH_NSEC_PER_SEC),
		               .tv_nsec = (long)(left % WH_NSEC_PER_SEC) };
	eventfd_t rings;

	if (left == 0 || ppoll(p, 2, &ts, NULL) == 0)
		return 0;
	if (p[0].revents)
		(void)eventfd_read(link->bell.fd, &rings);
	return p[1].revents ? -EAGAIN : 1;
}

/* Whether a frame that found the queue full would find room now: said once. */
static bool has_room_again(struct link *link)
{
	if (!link->full || !wh_conn_has_frame_room(link->lanes[0].conn))
		return false;
	link->full = false;
	return true;
}

static int tcp_poll(struct wh_transport *transport, struct wh_event *events, uint32_t max,
                    uint64_t deadline_ns)
{
	struct link *link = link_of(transport);
	int rang = 1;
	int n = link->error;

	if (link->lent_frame) {
		link->lent_frame = false;
		wh_conn_release(link->lanes[0].conn);
	}
	/* This ends: the deadline passes if nothing else happens. */
	while (n == 0 && rang > 0) {
		wh_bell_arm(&link->bell);
		n = collect(link, events, max);
		if (n == 0 && has_room_again(link))
			break;
		if (n == 0)
			rang = wait(link, deadline_ns);
	}
	wh_bell_disarm(&link->bell);
	if (n < 0)
		link->error = n;
	return n == 0 && rang < 0 ? rang : n;
}

static int tcp_urgent(const struct wh_transport *transport)
{
	return ((const struct link *)transport)->urgent;
}

static struct wh_sent tcp_sent(const struct wh_transport *transport)
{
	const struct link *link = (const struct link *)transport;
	struct wh_sent all = { 0 };

	for (uint32_t i = 0; i < link->lane_count; i++) {
		const struct wh_sent sent = wh_conn_sent(link->lanes[i].conn);

		all.bytes += sent.bytes;
		all.compressed_raw_bytes += sent.compressed_raw_bytes;
		all.compressed_bytes += sent.compressed_bytes;
		all.delta_raw_bytes += sent.delta_raw_bytes;
		all.delta_bytes += sent.delta_bytes;
	}
	return all;
}

const struct wh_transport_ops wh_transport_tcp = {
	.scheme = "tcp",
	.open = tcp_open,
	.close = tcp_close,
	.map = tcp_map,
	.unmap = tcp_unmap,
	.write = tcp_write,
	.forget = tcp_forget,
	.watch = tcp_watch,
	.send = tcp_send,
	.poll = tcp_poll,
	.urgent = tcp_urgent,
	.sent = tcp_sent,
};
