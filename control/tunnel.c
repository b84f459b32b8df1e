/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Tunnel - two pipes, each a buffer between a socket to read and a socket to write.
 *
 * Whatever happens on a socket, both pipes are moved as far as they go, and what the sockets are
 * watched for follows from what the pipes wait for. Who uses the tunnel learns of its end from
 * the two QEMUs, who say more than the tunnel could.
 *
 * A pipe that may be held has all the memory it may need from the beginning; the kernel gives it as it
 * is written to.
 */

#include "tunnel.h"

#include <errno.h>
#include <linux/sockios.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "files.h"
#include "return_path.h"
#include "rpc_frames.h"

#include "wherry/fdpass.h"

/* A read of a side that is held back that brings less is taken for nothing. */
#define TRICKLE_BYTES 4096

struct pipe {
	char *data;
	size_t start;
	size_t end;
	size_t ready;         /* what is sorted: the rest may not pass yet */
	size_t passing_bytes; /* of the frame that passes */
	bool sorted;          /* else all is ready as it comes */
	bool at_gate;         /* a frame waits to be let through */
	bool told;            /* and that was said */
	size_t limit;         /* that @end may reach */
	bool hold;            /* take what is there and no more */
	bool held;            /* nothing was */
	bool shut;            /* until the release nothing is passed on */
	bool ended;           /* no more to read */
	bool closed;          /* and the writing side was told */
};

struct wh_tunnel {
	sd_event *loop;
	struct wh_watch watch[2];
	int fd[2];
	bool gone[2];        /* hung up: read to its last byte without being watched */
	struct pipe pipe[2]; /* [0] reads fd[0] and writes fd[1], [1] the other way */
	struct wh_return_path return_path;
	bool await_ack;
	bool hold_replies;
	bool finishing; /* Finish was passed on, and is not answered */
	bool good;      /* the answer that waits */
	char *held;     /* frames; NULL but for WH_TUNNEL_RPC */
	size_t held_bytes;
	void (*said_all)(void *ctx, int result); /* NULL once called */
	void (*at_gate)(void *ctx, enum wh_tunnel_gate gate);
	void *ctx;
};

static void shut(struct pipe *p)
{
	p->shut = true;
	p->limit = WH_TUNNEL_HELD_BYTES;
}

/* Return: 0, or -errno that ends the tunnel. */
static int fill(struct pipe *p, int fd)
{
	ssize_t n;

	if (p->ended || p->closed || p->held || p->end >= p->limit)
		return 0;
	n = recv(fd, p->data + p->end, p->limit - p->end, MSG_DONTWAIT);
	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	p->ended = n == 0;
	p->held = p->hold && n < TRICKLE_BYTES;
	p->end += (size_t)n;
	return 0;
}

static void make_room(struct pipe *p)
{
	if (p->start == p->end)
		p->start = p->end = p->ready = 0;
	if (!p->sorted || p->start < p->ready || p->start == 0)
		return;
	memmove(p->data, p->data + p->start, p->end - p->start);
	p->end -= p->start;
	p->start = p->ready = 0;
}

static int drain(struct pipe *p, int fd)
{
	const size_t end = p->sorted ? p->ready : p->end;

	if (p->shut || p->closed)
		return 0;
	if (p->start < end) {
		ssize_t n =
			send(fd, p->data + p->start, end - p->start, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0)
			return errno == EAGAIN || errno == EINTR ? 0 : -errno;
		p->start += (size_t)n;
	}
	make_room(p); /* at once: whether there is room decides what is watched */
	if (p->ended && p->start == p->end) {
		(void)shutdown(fd, SHUT_WR); /* fails only if the other end is gone already */
		p->closed = true;
	}
	return 0;
}

static void stop(struct wh_tunnel *t)
{
	for (int i = 0; i < 2; i++) {
		wh_watch_stop(&t->watch[i]);
		wh_closep(&t->fd[i]);
	}
}

static void watch_for(struct wh_tunnel *t, int i)
{
	const struct pipe *in = &t->pipe[i];
	const struct pipe *out = &t->pipe[1 - i];
	uint32_t events = 0;

	if (!t->watch[i].source)
		return;
	if (!in->ended && !in->closed && !in->held && in->end < in->limit)
		events |= EPOLLIN;
	if (out->start < (out->sorted ? out->ready : out->end) && !out->shut)
		events |= EPOLLOUT;
	wh_watch_change(&t->watch[i], events);
}

/* Before @a can hear it: so nothing passes that it says because of it. */
static int look_for_ack(struct wh_tunnel *t, size_t from)
{
	const struct pipe *p = &t->pipe[1];
	int r = 0;

	if (t->await_ack)
		r = wh_return_path_read(&t->return_path, p->data + from, p->end - from);
	if (r <= 0)
		return r;
	t->await_ack = false;
	shut(&t->pipe[0]);
	return 0;
}

/* What was held goes on where the next frame would begin. */
static void insert_held(struct wh_tunnel *t)
{
	struct pipe *p = &t->pipe[1];

	memmove(p->data + p->ready + t->held_bytes, p->data + p->ready, p->end - p->ready);
	memcpy(p->data + p->ready, t->held, t->held_bytes);
	p->end += t->held_bytes;
	t->held_bytes = 0;
}

/* Take the next frame out of the pipe, if it is there as a whole. Return: 1, 0, or -errno. */
static int take_out(struct wh_tunnel *t, size_t bytes)
{
	struct pipe *p = &t->pipe[1];
	const size_t len = p->end - p->ready;

	if (t->held_bytes + bytes > WH_TUNNEL_BYTES)
		return -EMSGSIZE;
	if (len < bytes)
		return 0;
	memcpy(t->held + t->held_bytes, p->data + p->ready, bytes);
	memmove(p->data + p->ready, p->data + p->ready + bytes, len - bytes);
	t->held_bytes += bytes;
	p->end -= bytes;
	return 1;
}

/* The frame passes. */
static void let_through(struct pipe *p, size_t bytes)
{
	p->passing_bytes = bytes;
	p->at_gate = p->told = false;
}

/* Whether the next frame of pipe @i is one to stop before: 1, 0, or -errno. */
static int is_gate(const struct wh_tunnel *t, int i, const struct wh_rpc_frame *frame)
{
	const struct pipe *p = &t->pipe[i];
	const size_t len = p->end - p->ready;

	if (!t->at_gate || !frame->finish)
		return 0;
	if (i == 1)
		return frame->reply && t->finishing;
	if (frame->bytes > WH_TUNNEL_BYTES)
		return -EMSGSIZE; /* a few KiB are usual */
	return frame->call && len >= frame->bytes &&
	       !wh_rpc_is_cancelled(p->data + p->ready, frame->bytes);
}

/* A call of Finish is looked at once all of it is there. */
static bool is_partial(const struct wh_tunnel *t, int i, const struct wh_rpc_frame *frame)
{
	const struct pipe *p = &t->pipe[i];

	return t->at_gate && i == 0 && frame->finish && p->end - p->ready < frame->bytes;
}

/* What to do with the next frame. Return: 1, 0 if it is to stay where it is, or -errno. */
static int sort_frame(struct wh_tunnel *t, int i, const struct wh_rpc_frame *frame)
{
	struct pipe *p = &t->pipe[i];
	int r = is_gate(t, i, frame);

	if (i == 1 && t->hold_replies && frame->reply)
		return take_out(t, frame->bytes);
	if (r < 0)
		return r;
	if (r > 0) {
		p->at_gate = true;
		t->good = frame->good;
		return 0;
	}
	if (is_partial(t, i, frame))
		return 0;
	let_through(p, frame->bytes);
	return 1;
}

/* Look at one frame, or at the rest of one. Return: 1, 0 if there is too little of it, or -errno. */
static int sort_one(struct wh_tunnel *t, int i)
{
	struct pipe *p = &t->pipe[i];
	const size_t len = p->end - p->ready;
	struct wh_rpc_frame frame;
	int r;

	if (p->passing_bytes > 0) {
		const size_t n = len < p->passing_bytes ? len : p->passing_bytes;

		p->ready += n;
		p->passing_bytes -= n;
		return n > 0;
	}
	if (p->at_gate)
		return 0;
	if (i == 1 && t->held_bytes > 0 && !t->hold_replies)
		insert_held(t);
	r = wh_rpc_frame_read(&frame, p->data + p->ready, p->end - p->ready);
	return r > 0 ? sort_frame(t, i, &frame) : r;
}

static int sort(struct wh_tunnel *t, int i)
{
	int r = 1;

	while (t->pipe[i].sorted && r > 0)
		r = sort_one(t, i);
	return r > 0 ? 0 : r;
}

/* Move what can be moved from side @i to the other. Return: 0, or -errno that ends the tunnel. */
static int carry(struct wh_tunnel *t, int i)
{
	struct pipe *p = &t->pipe[i];
	size_t end;
	int r;

	/* This ends: a side that is gone has a last byte. */
	do {
		end = p->end;
		r = fill(p, t->fd[i]);
		/* It has failed, and somebody has taken the error: nothing more comes. */
		if (t->gone[i] && p->end == end && end < p->limit)
			p->ended = true;
		if (r == 0 && i == 1 && p->end > end)
			r = look_for_ack(t, end);
		if (r == 0)
			r = sort(t, i);
		if (r == 0)
			r = drain(p, t->fd[1 - i]);
	} while (r == 0 && t->gone[i] && !p->ended && !p->closed && p->end < p->limit);
	return r;
}

static void tell(struct wh_tunnel *t, int result)
{
	void (*said_all)(void *, int) = t->said_all;

	t->said_all = NULL;
	if (said_all)
		said_all(t->ctx, result);
}

/* Return: whether somebody was told, who may have ended the life of @t. */
static bool tell_of_gate(struct wh_tunnel *t)
{
	for (int i = 0; i < 2; i++) {
		if (!t->pipe[i].at_gate || t->pipe[i].told)
			continue;
		t->pipe[i].told = true;
		t->at_gate(t->ctx, i == 0 ? WH_GATE_CALL : t->good ? WH_GATE_GOOD : WH_GATE_BAD);
		return true;
	}
	return false;
}

/* May end the life of @t. */
static void move(struct wh_tunnel *t)
{
	int r;

	if (t->fd[0] < 0)
		return;
	/* What @b says decides whether what @a says is passed on. */
	r = carry(t, 1);
	if (r == 0)
		r = carry(t, 0);
	if (r < 0 || (t->pipe[0].closed && t->pipe[1].closed)) {
		stop(t);
		tell(t, r < 0 ? r : t->pipe[0].ended ? 0 : -EPIPE);
		return;
	}
	watch_for(t, 0);
	watch_for(t, 1);
	if (!tell_of_gate(t) && t->pipe[0].ended)
		tell(t, 0);
}

/* A side takes nothing any more. The other still gets what it has said, and is closed then. */
static void lose(struct wh_tunnel *t, int i)
{
	struct pipe *to = &t->pipe[1 - i];

	wh_watch_stop(&t->watch[i]); /* epoll would go on reporting it */
	t->gone[i] = true;
	t->pipe[i].hold = t->pipe[i].held = false;
	to->start = to->end = to->ready = 0;
	to->passing_bytes = 0;
	to->at_gate = to->told = false;
	to->closed = true;
}

static void on_side(struct wh_tunnel *t, int i, uint32_t events)
{
	if (events & (EPOLLHUP | EPOLLERR))
		lose(t, i);
	move(t);
}

static void on_a(void *ctx, uint32_t events)
{
	on_side(ctx, 0, events);
}

static void on_b(void *ctx, uint32_t events)
{
	on_side(ctx, 1, events);
}

static int make_pipes(struct wh_tunnel *t, enum wh_tunnel_mode mode)
{
	for (int i = 0; i < 2; i++) {
		const bool held = i == 0 && mode == WH_TUNNEL_HOLD_ALL;

		/* Twice: for what is held, and comes back. */
		t->pipe[i].data = malloc(held ? WH_TUNNEL_HELD_BYTES : 2 * WH_TUNNEL_BYTES);
		t->pipe[i].limit = WH_TUNNEL_BYTES;
		if (!t->pipe[i].data)
			return -ENOMEM;
	}
	if (mode == WH_TUNNEL_HOLD_ALL)
		shut(&t->pipe[0]);
	if (mode != WH_TUNNEL_RPC)
		return 0;
	t->pipe[0].sorted = t->pipe[1].sorted = true;
	t->held = malloc(WH_TUNNEL_BYTES);
	return t->held ? 0 : -ENOMEM;
}

static int take_early(struct pipe *p, const void *early, size_t len)
{
	if (len > WH_TUNNEL_BYTES)
		return -EMSGSIZE;
	if (len > 0)
		memcpy(p->data, early, len);
	p->end = len;
	return 0;
}

int wh_tunnel_open(struct wh_tunnel **ret, const struct wh_tunnel_config *cfg)
{
	wh_cleanup(wh_tunnel_closep) struct wh_tunnel *t = calloc(1, sizeof(*t));
	wh_cleanup(wh_closep) int a = cfg->a;
	wh_cleanup(wh_closep) int b = cfg->b;
	int r;

	if (!t)
		return -ENOMEM;
	t->fd[0] = wh_steal_fd(&a);
	t->fd[1] = wh_steal_fd(&b);
	t->said_all = cfg->said_all;
	t->at_gate = cfg->at_gate;
	t->ctx = cfg->ctx;
	r = make_pipes(t, cfg->mode);
	if (r == 0)
		r = take_early(&t->pipe[0], cfg->early, cfg->early_len);
	if (r < 0)
		return r;
	t->watch[0] = (struct wh_watch){ .ready = on_a, .ctx = t };
	t->watch[1] = (struct wh_watch){ .ready = on_b, .ctx = t };
	for (int i = 0; i < 2; i++) {
		r = wh_watch_start(&t->watch[i], cfg->loop, t->fd[i], EPOLLIN | EPOLLOUT);
		if (r < 0)
			return r;
	}
	*ret = wh_steal(t);
	return 0;
}

void wh_tunnel_hold(struct wh_tunnel *t, bool hold)
{
	t->pipe[0].hold = hold;
	if (hold)
		return;
	t->pipe[0].held = false;
	move(t);
}

void wh_tunnel_hold_replies(struct wh_tunnel *t)
{
	t->hold_replies = true;
}

void wh_tunnel_go_on(struct wh_tunnel *t)
{
	for (int i = 0; i < 2; i++) {
		struct pipe *p = &t->pipe[i];
		struct wh_rpc_frame frame;

		if (!p->at_gate ||
		    wh_rpc_frame_read(&frame, p->data + p->ready, p->end - p->ready) <= 0)
			continue;
		let_through(p, frame.bytes);
		t->finishing = i == 0;
	}
	move(t);
}

bool wh_tunnel_was_read(const struct wh_tunnel *t)
{
	const struct pipe *p = &t->pipe[1];
	int unread = 0;

	/* Of a unix socket this is what the other end has not taken yet. */
	return t->fd[0] >= 0 && !t->gone[0] && p->passing_bytes == 0 && p->start == p->end &&
	       ioctl(t->fd[0], SIOCOUTQ, &unread) == 0 && unread == 0;
}

void wh_tunnel_hold_after_ack(struct wh_tunnel *t)
{
	t->await_ack = true;
	t->pipe[0].shut = false;
	move(t);
}

void wh_tunnel_release(struct wh_tunnel *t)
{
	t->await_ack = false;
	t->hold_replies = false;
	t->pipe[0].shut = false;
	t->pipe[0].limit = WH_TUNNEL_BYTES;
	move(t);
}

bool wh_tunnel_is_holding(const struct wh_tunnel *t)
{
	return t->pipe[0].shut || t->held_bytes > 0;
}

struct wh_tunnel *wh_tunnel_close(struct wh_tunnel *t)
{
	if (!t)
		return NULL;
	stop(t);
	free(t->pipe[0].data);
	free(t->pipe[1].data);
	free(t->held);
	free(t);
	return NULL;
}
