/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A thread has one request under way at a time, or one that stays.
 *
 *	ring, sqpoll	one RECV that stays, into buffers that were handed over before (Linux 6.12). A
 *			buffer is filled from the front by as many receives as it takes, so that
 *			a chunk of the memory ends up in one
 *	fixed		READ_FIXED into a registered buffer; to send, SEND_ZC from registered memory
 *	chain		two SPLICEs, file to pipe and pipe to socket
 *
 * The socket and the file are registered. The kernel runs what a completion needs when we ask for
 * completions, not when a packet comes.
 */

#include "floor_ring.h"

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "wherry/clock.h"

#define PAGE    4096u
#define BUFFERS 2u                /* one is filled while the other is put in place */
#define SLICE   ((size_t)1 << 30) /* the most that can be registered as one buffer */
#define SLICES  64u
#define PIPE    (1u << 20) /* what anybody may have */
#define IDLE_MS 1000u      /* until the kernel's polling thread sleeps */

/* Numbers that Debian 12's liburing does not have yet. */
#define REGISTER_NAPI 27u
#define PBUF_RING_INC 2u

struct completion {
	int res;
	uint32_t flags;
};

enum file { SOCKET, RAM, PIPE_OUT, PIPE_IN, FILES };

struct floor_ring {
	struct floor_ring_config cfg;
	struct io_uring ring;
	uint8_t *buffers;
	struct io_uring_buf_ring *provided;
	bool armed;
	size_t have;    /* received and not released */
	uint64_t taken; /* buffers released */
	uint32_t notes; /* of SEND_ZC, that are to come */
	int pipe[2];
};

static void check(int r, const char *what)
{
	if (r >= 0)
		return;
	/* There is nowhere else to say it. */
	(void)fprintf(stderr, "floor_ring: %s: %s\n", what, strerror(-r));
	exit(EXIT_FAILURE);
}

static bool way_is(const struct floor_ring *r, const char *name)
{
	return !strcmp(r->cfg.way, name);
}

bool floor_ring_serves(const char *way)
{
	return !strcmp(way, "ring") || !strcmp(way, "sqpoll") || !strcmp(way, "chain") ||
	       !strncmp(way, "fixed", strlen("fixed"));
}

/* --- opening ---------------------------------------------------------------------------------- */

static int enroll(const struct floor_ring *r, unsigned what, void *arg, unsigned count)
{
	return syscall(SYS_io_uring_register, r->ring.ring_fd, what, arg, count) < 0 ? -errno : 0;
}

static void give_buffer(struct floor_ring *r, uint64_t number)
{
	io_uring_buf_ring_add(r->provided, r->buffers + number % BUFFERS * r->cfg.chunk,
	                      (unsigned)r->cfg.chunk, (unsigned short)(number % BUFFERS),
	                      BUFFERS - 1, 0);
	io_uring_buf_ring_advance(r->provided, 1);
}

static void provide_buffers(struct floor_ring *r)
{
	struct {
		uint64_t addr;
		uint32_t entries;
		uint16_t group, flags;
		uint64_t reserved[3];
	} reg = { .entries = BUFFERS, .flags = PBUF_RING_INC };

	r->provided = aligned_alloc(PAGE, PAGE);
	check(r->provided ? 0 : -ENOMEM, "memory");
	memset(r->provided, 0, PAGE);
	reg.addr = (uintptr_t)r->provided;
	check(enroll(r, IORING_REGISTER_PBUF_RING, &reg, 1), "buffer ring (Linux 6.12)");
	for (uint64_t i = 0; i < BUFFERS; i++)
		give_buffer(r, i);
}

static void register_share(struct floor_ring *r)
{
	struct iovec slices[SLICES];
	unsigned count = 0;

	for (size_t at = 0; at < r->cfg.bytes && count < SLICES; at += SLICE) {
		const size_t left = r->cfg.bytes - at;

		slices[count++] = (struct iovec){ r->cfg.from + at, left < SLICE ? left : SLICE };
	}
	check(io_uring_register_buffers(&r->ring, slices, count), "registered memory");
}

static void register_buffer(struct floor_ring *r)
{
	const struct iovec buffer = { r->buffers, r->cfg.chunk };

	check(io_uring_register_buffers(&r->ring, &buffer, 1), "registered buffer");
}

static void poll_busily(struct floor_ring *r)
{
	struct {
		uint32_t us;
		uint8_t prefer, pad[3];
		uint64_t reserved;
	} napi = { .us = r->cfg.poll_us, .prefer = 1 };

	if (r->cfg.poll_us)
		check(enroll(r, REGISTER_NAPI, &napi, 1), "NAPI busy polling (Linux 6.9)");
}

static void set_up(struct floor_ring *r)
{
	struct io_uring_params params = { .flags = IORING_SETUP_SINGLE_ISSUER |
		                                   IORING_SETUP_DEFER_TASKRUN };
	int files[FILES] = { r->cfg.socket, r->cfg.file, -1, -1 };

	if (way_is(r, "sqpoll"))
		params = (struct io_uring_params){ .flags = IORING_SETUP_SQPOLL,
			                           .sq_thread_idle = IDLE_MS };
	check(io_uring_queue_init_params(64, &r->ring, &params), "io_uring (Linux 6.1)");
	if (way_is(r, "chain")) {
		check(pipe2(r->pipe, O_CLOEXEC) == 0 &&
		                      fcntl(r->pipe[0], F_SETPIPE_SZ, PIPE) == (int)PIPE
		              ? 0
		              : -errno,
		      "pipe");
		files[PIPE_OUT] = r->pipe[0];
		files[PIPE_IN] = r->pipe[1];
	}
	check(io_uring_register_files(&r->ring, files, FILES), "registered files");
	poll_busily(r);
}

struct floor_ring *floor_ring_open(const struct floor_ring_config *cfg)
{
	struct floor_ring *r = calloc(1, sizeof(*r));

	check(r ? 0 : -ENOMEM, "memory");
	r->cfg = *cfg;
	set_up(r);
	if (cfg->from) {
		if (!way_is(r, "chain"))
			register_share(r);
		return r;
	}
	r->buffers = aligned_alloc(PAGE, BUFFERS * cfg->chunk);
	check(r->buffers ? 0 : -ENOMEM, "memory");
	if (!strncmp(cfg->way, "fixed", strlen("fixed")))
		register_buffer(r);
	else
		provide_buffers(r);
	return r;
}

/* --- waiting ---------------------------------------------------------------------------------- */

static struct io_uring_sqe *new_request(struct floor_ring *r)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&r->ring);

	check(sqe ? 0 : -EBUSY, "full ring");
	return sqe;
}

static void submit_and_wait(struct floor_ring *r)
{
	const uint64_t until_ns = wh_now_ns(&wh_clock_monotonic) + r->cfg.spin_us * UINT64_C(1000);

	if (!r->cfg.spin_us) {
		check(io_uring_submit_and_wait(&r->ring, 1), "wait");
		return;
	}
	check(io_uring_submit(&r->ring), "submit");
	while (!io_uring_cq_ready(&r->ring) && wh_now_ns(&wh_clock_monotonic) < until_ns)
		check(io_uring_get_events(&r->ring), "look");
	check(io_uring_submit_and_wait(&r->ring, 1), "wait");
}

static struct completion take(struct floor_ring *r)
{
	struct completion taken;
	struct io_uring_cqe *cqe;

	/* This ends: each request completes. */
	while (io_uring_peek_cqe(&r->ring, &cqe) < 0)
		submit_and_wait(r);
	taken = (struct completion){ .res = cqe->res, .flags = cqe->flags };
	io_uring_cqe_seen(&r->ring, cqe);
	if (taken.flags & IORING_CQE_F_NOTIF)
		r->notes--;
	return taken;
}

/* The next completion that is no note. */
static struct completion next(struct floor_ring *r)
{
	struct completion done = take(r);

	while (done.flags & IORING_CQE_F_NOTIF)
		done = take(r);
	return done;
}

/* --- receiving -------------------------------------------------------------------------------- */

static void arm(struct floor_ring *r)
{
	struct io_uring_sqe *sqe = new_request(r);

	io_uring_prep_recv_multishot(sqe, SOCKET, NULL, 0, 0);
	sqe->flags |= IOSQE_FIXED_FILE | IOSQE_BUFFER_SELECT;
	sqe->buf_group = 0;
	r->armed = true;
}

static void receive_provided(struct floor_ring *r, size_t len)
{
	while (r->have < len) {
		struct completion done;

		if (!r->armed)
			arm(r);
		done = next(r);
		r->armed = done.flags & IORING_CQE_F_MORE;
		if (done.res != -ENOBUFS)
			check(done.res > 0 ? 0 : done.res < 0 ? done.res : -ECONNRESET, "receive");
		r->have += done.res > 0 ? (size_t)done.res : 0;
	}
}

static void receive_fixed(struct floor_ring *r, size_t len)
{
	while (r->have < len) {
		struct io_uring_sqe *sqe = new_request(r);
		struct completion done;

		io_uring_prep_read_fixed(sqe, SOCKET, r->buffers + r->have,
		                         (unsigned)(len - r->have), 0, 0);
		sqe->flags |= IOSQE_FIXED_FILE;
		done = next(r);
		check(done.res > 0 ? 0 : done.res < 0 ? done.res : -ECONNRESET, "read");
		r->have += (size_t)done.res;
	}
}

const uint8_t *floor_ring_receive(struct floor_ring *r, size_t len)
{
	if (!r->provided) {
		receive_fixed(r, len);
		return r->buffers;
	}
	receive_provided(r, len);
	return r->buffers + r->taken % BUFFERS * r->cfg.chunk;
}

void floor_ring_release(struct floor_ring *r, size_t len)
{
	r->have -= len;
	if (r->provided)
		give_buffer(r, r->taken++);
}

void floor_ring_write(struct floor_ring *r, size_t len, off_t offset)
{
	struct io_uring_sqe *sqe = new_request(r);

	io_uring_prep_write_fixed(sqe, RAM, r->buffers, (unsigned)len, (uint64_t)offset, 0);
	sqe->flags |= IOSQE_FIXED_FILE;
	check(next(r).res == (int)len ? 0 : -EIO, "write");
}

/* --- sending ---------------------------------------------------------------------------------- */

static size_t send_registered(struct floor_ring *r, size_t at, size_t left)
{
	const size_t slice_left = SLICE - at % SLICE;
	const size_t room = slice_left < r->cfg.chunk ? slice_left : r->cfg.chunk;
	struct io_uring_sqe *sqe = new_request(r);
	struct completion done;

	io_uring_prep_send_zc_fixed(sqe, SOCKET, r->cfg.from + at, left < room ? left : room,
	                            MSG_NOSIGNAL | MSG_WAITALL, 0, (unsigned)(at / SLICE));
	sqe->flags |= IOSQE_FIXED_FILE;
	done = next(r);
	check(done.res > 0 ? 0 : done.res, "send");
	r->notes += done.flags & IORING_CQE_F_MORE ? 1 : 0;
	return (size_t)done.res;
}

/* What comes out of the file goes on to what is asked for next. */
static void splice_fixed(struct floor_ring *r, enum file from, int64_t offset, enum file to,
                         size_t len)
{
	struct io_uring_sqe *sqe = new_request(r);

	io_uring_prep_splice(sqe, (int)from, offset, (int)to, -1, (unsigned)len,
	                     SPLICE_F_FD_IN_FIXED | SPLICE_F_MORE);
	sqe->flags |= IOSQE_FIXED_FILE | (from == RAM ? IOSQE_IO_LINK : 0);
}

static size_t send_chain(struct floor_ring *r, off_t offset, size_t left)
{
	const size_t len = left < PIPE ? left : PIPE;

	splice_fixed(r, RAM, offset, PIPE_IN, len);
	splice_fixed(r, PIPE_OUT, -1, SOCKET, len);
	check(next(r).res == (int)len ? 0 : -EIO, "splice from the file");
	check(next(r).res == (int)len ? 0 : -EIO, "splice to the socket");
	return len;
}

size_t floor_ring_send(struct floor_ring *r, off_t offset, size_t at, size_t left)
{
	if (way_is(r, "chain"))
		return send_chain(r, offset, left);
	return send_registered(r, at, left);
}

struct floor_ring *floor_ring_close(struct floor_ring *r)
{
	if (!r)
		return NULL;
	while (r->notes > 0)
		(void)take(r); /* until then the memory is lent */
	io_uring_queue_exit(&r->ring);
	if (way_is(r, "chain")) {
		(void)close(r->pipe[0]);
		(void)close(r->pipe[1]);
	}
	free(r->provided);
	free(r->buffers);
	free(r);
	return NULL;
}
