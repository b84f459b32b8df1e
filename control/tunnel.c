/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Tunnel - two pipes, each a buffer between a socket to read and a socket to write.
 *
 * Whatever happens on a socket, both pipes are moved as far as they go, and what the sockets are
 * watched for follows from what the pipes wait for. Who uses the tunnel learns of its end from
 * the two QEMUs, who say more than the tunnel could.
 */

#include "tunnel.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "files.h"

#include "wherry/fdpass.h"

/* A read of a side that is held back that brings less is taken for nothing. */
#define TRICKLE_BYTES 4096

struct pipe {
	char data[WH_TUNNEL_BYTES];
	size_t start;
	size_t end;
	bool hold;   /* take what is there and no more */
	bool held;   /* nothing was */
	bool ended;  /* no more to read */
	bool closed; /* and the writing side was told */
};

struct wh_tunnel {
	sd_event *loop;
	struct wh_watch watch[2];
	int fd[2];
	struct pipe pipe[2]; /* [0] reads fd[0] and writes fd[1], [1] the other way */
};

/* Return: false on an error that ends the tunnel. */
static bool fill(struct pipe *p, int fd)
{
	ssize_t n;

	if (p->ended || p->held || p->end == sizeof(p->data))
		return true;
	n = recv(fd, p->data + p->end, sizeof(p->data) - p->end, MSG_DONTWAIT);
	if (n < 0)
		return errno == EAGAIN || errno == EINTR;
	p->ended = n == 0;
	p->held = p->hold && n < TRICKLE_BYTES;
	p->end += (size_t)n;
	return true;
}

static bool drain(struct pipe *p, int fd)
{
	if (p->start < p->end) {
		ssize_t n = send(fd, p->data + p->start, p->end - p->start,
		                 MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0)
			return errno == EAGAIN || errno == EINTR;
		p->start += (size_t)n;
	}
	if (p->start == p->end)
		p->start = p->end = 0; /* at once: whether there is room decides what is watched */
	if (p->ended && p->start == p->end && !p->closed) {
		(void)shutdown(fd, SHUT_WR); /* fails only if the other end is gone already */
		p->closed = true;
	}
	return true;
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
	if (!in->ended && !in->held && in->end < sizeof(in->data))
		events |= EPOLLIN;
	if (out->start < out->end)
		events |= EPOLLOUT;
	wh_watch_change(&t->watch[i], events);
}

static void move(struct wh_tunnel *t)
{
	bool good = true;

	if (t->fd[0] < 0)
		return;
	for (int i = 0; i < 2 && good; i++)
		good = fill(&t->pipe[i], t->fd[i]) && drain(&t->pipe[i], t->fd[1 - i]);
	if (!good || (t->pipe[0].closed && t->pipe[1].closed)) {
		stop(t);
		return;
	}
	watch_for(t, 0);
	watch_for(t, 1);
}

static void on_side(struct wh_tunnel *t, int i, uint32_t events)
{
	if (events & (EPOLLHUP | EPOLLERR))
		t->pipe[i].hold = t->pipe[i].held = false; /* for its last words */
	move(t);
	if (t->fd[0] < 0 || !(events & (EPOLLHUP | EPOLLERR)) || !t->pipe[i].ended)
		return;

	/* This side takes nothing any more. The other still gets what was read; epoll would go
	 * on reporting the hangup, so it is not asked again. */
	wh_watch_stop(&t->watch[i]);
	t->pipe[1 - i].ended = true;
	t->pipe[1 - i].closed = true;
	t->pipe[1 - i].start = t->pipe[1 - i].end;
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
	if (cfg->early_len > WH_TUNNEL_BYTES)
		return -EMSGSIZE;
	if (cfg->early_len > 0)
		memcpy(t->pipe[0].data, cfg->early, cfg->early_len);
	t->pipe[0].end = cfg->early_len;
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

struct wh_tunnel *wh_tunnel_close(struct wh_tunnel *t)
{
	if (!t)
		return NULL;
	stop(t);
	free(t);
	return NULL;
}
