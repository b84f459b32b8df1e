/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The thread keeps three requests in its ring:
 *
 *	SENDMSG		a batch of records: headers from here, page contents from lent memory
 *	RECV		whatever the peer sends, also to see at once that it is gone
 *	READ		of its bell, so that a put into its queue ends the wait
 *
 * and does everything between two waits: parse what came, place page contents in the RAM file,
 * gather the next batch.
 *
 * The contents of a long write go from the RAM file to the socket by sendfile(): the kernel hands
 * pages on and copies none. A guest that writes to such a page before it has left may send its
 * newer contents; it will be sent again. A copy that the caller made is never sent so: it may be used
 * for something else as soon as the socket has it.
 *
 * Contents that are compressed or copied (pack.h) are in a buffer that the next batch will take.
 */

#include "transport_uring.h"

#include <errno.h>
#include <liburing.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <unistd.h>

#include "intake.h"
#include "pack.h"

#include "wherry/assert.h"
#include "wherry/fdpass.h"

/* Records of one SENDMSG. */
#define BATCH_RECORDS 64u

/* The bytes after which a batch is large enough: with one write more, all of it can be packed. */
#define BATCH_BYTES (WH_PACK_BYTES - WH_WRITE_LEN_MAX)

/* From this length on a write is long. Below, a system call more costs as much as the copy. */
#define LONG_WRITE (64u * 1024u)

enum request {
	REQ_SEND = 1,
	REQ_RECV,
	REQ_BELL,
};

struct item {
	bool is_frame;
	union {
		struct wh_write write;
		struct {
			const uint8_t *payload; /* in @frames_out */
			uint32_t len;
		} frame;
	};
};

struct batch {
	struct item items[BATCH_RECORDS];
	uint8_t headers[BATCH_RECORDS][WH_RECORD_HEADER];
	struct iovec iov[2 * BATCH_RECORDS];
	struct msghdr msg; /* what is left of @iov */
	uint32_t count;
	bool long_last; /* the last item is long: only its header is in @iov */
	bool busy;      /* SENDMSG is on its way */
};

struct wh_conn {
	int fd;
	struct wh_bell *owner;
	const struct wh_memory *regions;
	struct io_uring ring;
	bool ring_made;

	pthread_t thread;
	bool thread_runs;
	_Atomic bool stop;
	struct wh_bell bell;
	bool bell_busy;
	uint64_t bell_value;

	struct wh_queue items;  /* owner -> thread, struct item */
	struct wh_queue events; /* thread -> owner, struct wh_conn_event */

	struct batch out;
	struct wh_pack pack;
	struct wh_intake in;
	bool receiving; /* RECV is on its way */
	bool ended;     /* the peer will send no more */
	int error;      /* the thread's; once set, it ends */

	/* Frames lie in rings of WH_CONN_FRAMES; each counter has one writer. */
	uint8_t *frames_out;
	uint8_t *frames_in;
	uint64_t frames_posted;           /* owner */
	_Atomic uint64_t frames_sent;     /* thread */
	uint64_t frames_received;         /* thread */
	_Atomic uint64_t frames_released; /* owner */

	_Atomic uint64_t landed;
	_Atomic bool watched; /* the owner waits for @landed */
	_Atomic uint64_t sent_bytes;
};

static uint8_t *frame_slot(uint8_t *ring, uint64_t number)
{
	return ring + number % WH_CONN_FRAMES * WH_FRAME_RECORD_MAX;
}

static void tell(struct wh_conn *conn, const struct wh_conn_event *event)
{
	/* There is room for all writes and frames at once. */
	wh_assert(wh_queue_put(&conn->events, event));
}

/* --- sending ---------------------------------------------------------------------------------- */

static void *contents_of(const struct wh_conn *conn, const struct wh_write *w)
{
	if (w->copy)
		return (void *)(uintptr_t)w->copy;
	return (uint8_t *)(uintptr_t)conn->regions[w->src_region].addr + w->src_offset;
}

/* The record of a write, whose contents go to @iov if SENDMSG is to send them. */
static struct wh_record begin_write(struct wh_conn *conn, const struct wh_write *w,
                                    struct iovec *iov)
{
	void *contents = contents_of(conn, w);
	struct batch *out = &conn->out;
	struct wh_record record = { .type = WH_RECORD_WRITE,
		                    .region = w->dst_region,
		                    .length = w->len,
		                    .offset = w->dst_offset };
	const uint8_t *packed = wh_pack_write(&conn->pack, w, contents, &record);

	if (packed)
		contents = (void *)(uintptr_t)packed;
	out->long_last = !packed && !w->copy && w->len >= LONG_WRITE;
	*iov = (struct iovec){ .iov_base = contents,
		               .iov_len = out->long_last ? 0 : record.length };
	return record;
}

/* Append @item to the batch. Return: the bytes it adds, before they are compressed. */
static uint32_t add_to_batch(struct wh_conn *conn, const struct item *item)
{
	struct batch *out = &conn->out;
	struct iovec *iov = &out->iov[2 * (size_t)out->count];
	uint8_t *header = out->headers[out->count];
	struct wh_record record = { .type = WH_RECORD_FRAME };

	out->items[out->count++] = *item;
	iov[0] = (struct iovec){ .iov_base = header, .iov_len = WH_RECORD_HEADER };
	if (!item->is_frame) {
		record = begin_write(conn, &item->write, &iov[1]);
		wh_record_encode(header, &record);
		return WH_RECORD_HEADER + item->write.len;
	}
	record.length = item->frame.len;
	wh_record_encode(header, &record);
	iov[1] = (struct iovec){ .iov_base = (void *)(uintptr_t)item->frame.payload,
		                 .iov_len = record.length };
	return WH_RECORD_HEADER + record.length;
}

static void submit_send(struct wh_conn *conn)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&conn->ring);

	wh_assert(sqe); /* three requests at most */
	io_uring_prep_sendmsg(sqe, conn->fd, &conn->out.msg,
	                      MSG_NOSIGNAL | MSG_WAITALL | (conn->out.long_last ? MSG_MORE : 0));
	io_uring_sqe_set_data64(sqe, REQ_SEND);
	conn->out.busy = true;
}

static void start_send(struct wh_conn *conn)
{
	struct batch *out = &conn->out;
	uint32_t bytes = 0;
	struct item item;

	if (out->busy)
		return;
	out->count = 0;
	out->long_last = false;
	wh_pack_begin(&conn->pack);
	while (out->count < BATCH_RECORDS && bytes < BATCH_BYTES && !out->long_last &&
	       wh_queue_take(&conn->items, &item))
		bytes += add_to_batch(conn, &item);
	if (out->count == 0)
		return;
	out->msg = (struct msghdr){ .msg_iov = out->iov, .msg_iovlen = 2 * (size_t)out->count };
	submit_send(conn);
}

/* Take @n sent bytes off the front of what is left. */
static void advance(struct msghdr *msg, size_t n)
{
	while (msg->msg_iovlen > 0 && (n > 0 || msg->msg_iov->iov_len == 0)) {
		struct iovec *iov = msg->msg_iov;
		size_t part = n < iov->iov_len ? n : iov->iov_len;

		iov->iov_base = (uint8_t *)iov->iov_base + part;
		iov->iov_len -= part;
		n -= part;
		if (iov->iov_len == 0) {
			msg->msg_iov++;
			msg->msg_iovlen--;
		}
	}
}

static void count_sent(struct wh_conn *conn, uint64_t bytes)
{
	atomic_fetch_add_explicit(&conn->sent_bytes, bytes, memory_order_relaxed);
}

static void finish_batch(struct wh_conn *conn)
{
	for (uint32_t i = 0; i < conn->out.count; i++) {
		const struct item *item = &conn->out.items[i];

		if (item->is_frame)
			atomic_fetch_add(&conn->frames_sent, 1);
		else
			tell(conn, &(struct wh_conn_event){ .type = WH_CONN_WRITTEN,
			                                    .cookie = item->write.cookie });
	}
	wh_bell_ring(conn->owner);
}

/* Send the contents of a long write, whose header has just left. Return: 0 or -errno. */
static int send_long(struct wh_conn *conn, const struct wh_write *w)
{
	off_t at = (off_t)w->src_offset;
	const off_t end = at + w->len;

	while (at < end) {
		ssize_t n = sendfile(conn->fd, conn->regions[w->src_region].fd, &at,
		                     (size_t)(end - at));

		if (n < 0 && errno != EINTR)
			return -errno;
		if (n == 0)
			return -EIO; /* the RAM file was cut short */
		if (n > 0)
			count_sent(conn, (uint64_t)n);
	}
	return 0;
}

static void on_sent(struct wh_conn *conn, int result)
{
	conn->out.busy = false;
	if (result < 0) {
		conn->error = result;
		return;
	}
	count_sent(conn, (uint64_t)result);
	advance(&conn->out.msg, (size_t)result);
	if (conn->out.msg.msg_iovlen > 0) {
		submit_send(conn);
		return;
	}
	if (conn->out.long_last)
		conn->error = send_long(conn, &conn->out.items[conn->out.count - 1].write);
	if (!conn->error)
		finish_batch(conn);
}

/* --- receiving -------------------------------------------------------------------------------- */

static void start_recv(struct wh_conn *conn)
{
	const struct wh_room room = wh_intake_room(&conn->in);
	struct io_uring_sqe *sqe;

	if (conn->receiving || conn->ended || room.len == 0)
		return;
	sqe = io_uring_get_sqe(&conn->ring);
	wh_assert(sqe); /* three requests at most */
	io_uring_prep_recv(sqe, conn->fd, room.at, room.len, room.whole ? MSG_WAITALL : 0);
	io_uring_sqe_set_data64(sqe, REQ_RECV);
	conn->receiving = true;
}

static void on_received(struct wh_conn *conn, int result)
{
	conn->receiving = false;
	if (result > 0)
		wh_intake_add(&conn->in, (uint32_t)result);
	else if (result == 0)
		conn->ended = true;
	else
		conn->error = result;
}

/* Keep a frame for the owner, if there is a slot. */
static bool on_frame(void *context, const uint8_t *payload, uint32_t len)
{
	struct wh_conn *conn = context;
	uint8_t *slot = frame_slot(conn->frames_in, conn->frames_received);

	if (conn->frames_received - atomic_load(&conn->frames_released) == WH_CONN_FRAMES)
		return false;
	conn->frames_received++;
	memcpy(slot, payload, len);
	tell(conn, &(struct wh_conn_event){ .type = WH_CONN_FRAME,
	                                    .frame = { .data = slot, .len = len } });
	wh_bell_ring(conn->owner);
	return true;
}

static void on_landed(void *context)
{
	struct wh_conn *conn = context;

	atomic_fetch_add(&conn->landed, 1);
	if (atomic_load(&conn->watched))
		wh_bell_ring(conn->owner);
}

static void take_received(struct wh_conn *conn)
{
	if (!conn->error && !conn->receiving)
		conn->error = wh_intake_parse(&conn->in);
	if (!conn->error && conn->ended)
		conn->error = wh_intake_end(&conn->in);
}

/* --- the thread ------------------------------------------------------------------------------- */

static void start_bell(struct wh_conn *conn)
{
	struct io_uring_sqe *sqe;

	if (conn->bell_busy)
		return;
	sqe = io_uring_get_sqe(&conn->ring);
	wh_assert(sqe); /* three requests at most */
	io_uring_prep_read(sqe, conn->bell.fd, &conn->bell_value, sizeof(conn->bell_value), 0);
	io_uring_sqe_set_data64(sqe, REQ_BELL);
	conn->bell_busy = true;
}

static void on_completion(struct wh_conn *conn, const struct io_uring_cqe *cqe)
{
	switch ((enum request)cqe->user_data) {
	case REQ_SEND:
		on_sent(conn, cqe->res);
		break;
	case REQ_RECV:
		on_received(conn, cqe->res);
		break;
	case REQ_BELL:
		conn->bell_busy = false;
		break;
	}
}

/*
 * Submit what is ready and wait for something to complete. While a batch is on its way, new items
 * need not wake us: they are looked at when it has left.
 */
static void submit_and_wait(struct wh_conn *conn)
{
	struct io_uring_cqe *cqe;
	unsigned seen = 0, head;
	bool sleep = true;
	int r;

	if (!conn->out.busy) {
		wh_bell_arm(&conn->bell);
		sleep = wh_queue_empty(&conn->items);
	}
	r = io_uring_submit_and_wait(&conn->ring, sleep ? 1 : 0);
	wh_bell_disarm(&conn->bell);
	if (r < 0 && r != -EINTR)
		conn->error = r;

	io_uring_for_each_cqe(&conn->ring, head, cqe)
	{
		on_completion(conn, cqe);
		seen++;
	}
	io_uring_cq_advance(&conn->ring, seen);
}

static void *conn_thread(void *arg)
{
	struct wh_conn *conn = arg;
	struct wh_conn_event last = { .type = WH_CONN_FAILED };

	/* Ends when the owner stops it, or with the connection. */
	while (!conn->error && !atomic_load(&conn->stop)) {
		start_send(conn);
		start_recv(conn);
		start_bell(conn);
		submit_and_wait(conn);
		take_received(conn);
	}
	if (conn->error == -ESHUTDOWN)
		last.type = WH_CONN_CLOSED;
	else
		last.error = conn->error;
	if (conn->error) {
		tell(conn, &last);
		wh_bell_ring(conn->owner);
	}
	return NULL;
}

/* --- the owner's side ------------------------------------------------------------------------- */

static int set_up(struct wh_conn *conn, const struct wh_conn_config *cfg)
{
	const struct wh_intake_config intake = {
		.places = cfg->places,
		.frame = on_frame,
		.landed = on_landed,
		.context = conn,
	};
	uint32_t messages = cfg->queue_depth + 2 * WH_CONN_FRAMES + 1;
	int r;

	r = wh_intake_init(&conn->in, &intake);
	if (r == 0)
		r = wh_pack_init(&conn->pack, cfg->fd, cfg->compression, cfg->delta);
	if (r == 0)
		r = wh_bell_init(&conn->bell);
	if (r == 0)
		r = wh_queue_init(&conn->items, messages, sizeof(struct item));
	if (r == 0)
		r = wh_queue_init(&conn->events, messages, sizeof(struct wh_conn_event));
	if (r < 0)
		return r;
	conn->frames_out = calloc(WH_CONN_FRAMES, WH_FRAME_RECORD_MAX);
	conn->frames_in = calloc(WH_CONN_FRAMES, WH_FRAME_RECORD_MAX);
	if (!conn->frames_out || !conn->frames_in)
		return -ENOMEM;
	r = io_uring_queue_init(8, &conn->ring, 0);
	if (r < 0)
		return r;
	conn->ring_made = true;
	r = -pthread_create(&conn->thread, NULL, conn_thread, conn);
	conn->thread_runs = r == 0;
	if (r == 0)
		(void)pthread_setname_np(conn->thread, "wherry-conn"); /* for top(1) */
	return r;
}

int wh_conn_start(struct wh_conn **ret, const struct wh_conn_config *cfg)
{
	/* Its queues are aligned to cache lines, which calloc() knows nothing of. */
	struct wh_conn *conn = aligned_alloc(_Alignof(struct wh_conn), sizeof(*conn));
	int r;

	if (!conn)
		return -ENOMEM;
	memset(conn, 0, sizeof(*conn));
	conn->fd = cfg->fd;
	conn->bell.fd = -1;
	conn->owner = cfg->owner;
	conn->regions = cfg->regions;
	r = set_up(conn, cfg);
	if (r < 0) {
		conn->fd = -1;
		(void)wh_conn_stop(conn);
		return r;
	}
	*ret = conn;
	return 0;
}

struct wh_conn *wh_conn_stop(struct wh_conn *conn)
{
	if (!conn)
		return NULL;
	if (conn->thread_runs) {
		atomic_store(&conn->stop, true);
		wh_bell_wake(&conn->bell);
		(void)shutdown(conn->fd, SHUT_RDWR); /* ends a sendfile() */
		(void)pthread_join(conn->thread, NULL);
	}
	if (conn->ring_made)
		io_uring_queue_exit(&conn->ring);
	wh_closep(&conn->fd);
	wh_intake_done(&conn->in);
	wh_pack_done(&conn->pack);
	wh_bell_done(&conn->bell);
	wh_queue_done(&conn->items);
	wh_queue_done(&conn->events);
	free(conn->frames_out);
	free(conn->frames_in);
	free(conn);
	return NULL;
}

void wh_conn_write(struct wh_conn *conn, const struct wh_write *w)
{
	const struct item item = { .is_frame = false, .write = *w };

	wh_assert(wh_queue_put(&conn->items, &item));
	wh_bell_ring(&conn->bell);
}

int wh_conn_send(struct wh_conn *conn, const void *payload, uint32_t len)
{
	struct item item = { .is_frame = true };
	uint8_t *slot = frame_slot(conn->frames_out, conn->frames_posted);

	wh_assert(len <= WH_FRAME_RECORD_MAX);
	if (!wh_conn_has_frame_room(conn))
		return WH_TX_FULL;
	memcpy(slot, payload, len);
	conn->frames_posted++;
	item.frame.payload = slot;
	item.frame.len = len;
	wh_assert(wh_queue_put(&conn->items, &item));
	wh_bell_ring(&conn->bell);
	return 0;
}

bool wh_conn_has_frame_room(const struct wh_conn *conn)
{
	return conn->frames_posted - atomic_load(&conn->frames_sent) < WH_CONN_FRAMES;
}

bool wh_conn_take(struct wh_conn *conn, struct wh_conn_event *ret)
{
	return wh_queue_take(&conn->events, ret);
}

void wh_conn_release(struct wh_conn *conn)
{
	atomic_fetch_add(&conn->frames_released, 1);
	wh_bell_wake(&conn->bell); /* it may be stuck for want of a slot */
}

uint64_t wh_conn_landed(const struct wh_conn *conn)
{
	return atomic_load(&conn->landed);
}

void wh_conn_watch(struct wh_conn *conn, bool on)
{
	atomic_store(&conn->watched, on);
}

struct wh_sent wh_conn_sent(const struct wh_conn *conn)
{
	return (struct wh_sent){
		.bytes = atomic_load_explicit(&conn->sent_bytes, memory_order_relaxed),
		.compressed_raw_bytes =
			atomic_load_explicit(&conn->pack.raw_bytes, memory_order_relaxed),
		.compressed_bytes = atomic_load_explicit(&conn->pack.bytes, memory_order_relaxed),
		.delta_raw_bytes =
			atomic_load_explicit(&conn->pack.delta_raw_bytes, memory_order_relaxed),
		.delta_bytes = atomic_load_explicit(&conn->pack.delta_bytes, memory_order_relaxed),
	};
}
