/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Stream table - level-triggered: each way waits for one thing, bytes in one socket or room in the other.
 *
 * Pipes and their descriptors are made before the first stream, and by a process that still has its
 * privileges: the kernel counts the pipes of others, and makes them small when they are many.
 */

#include "tunnel_stream.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tcp_socket.h"

#include "wherry/assert.h"
#include "wherry/clock.h"
#include "wherry/fdpass.h"

/* Pipes full of one stream before others get their turn. */
#define TURNS_MAX 8u

static uint32_t key_of(const struct wh_stream_table *t, const struct wh_stream *s, int side)
{
	return (uint32_t)(s - t->streams) * 2 + (uint32_t)side;
}

static void unwatch(const struct wh_stream_table *t, struct wh_stream *s, int side)
{
	/* By hand: who gave us the socket may not have closed it yet. */
	if (!s->gone[side])
		(void)epoll_ctl(t->epoll_fd, EPOLL_CTL_DEL, s->fd[side], NULL);
	s->gone[side] = true;
}

static void end(const struct wh_stream_table *t, struct wh_stream *s)
{
	for (int side = 0; side < 2; side++) {
		unwatch(t, s, side);
		wh_closep(&s->fd[side]);
		wh_way_drop(&s->way[side]);
	}
	s->deadline_ns = 0;
}

/* It takes nothing any more; what it has said is still there to be read. */
static void lose(const struct wh_stream_table *t, struct wh_stream *s, int side)
{
	unwatch(t, s, side);
	wh_way_drop(&s->way[1 - side]);
}

/* Move what can be moved from @side to the other. */
static void carry(const struct wh_stream_table *t, struct wh_stream *s, int side)
{
	struct wh_way *way = &s->way[side];

	/* This ends: a side that is gone has a last byte. */
	for (uint32_t turn = 0; !way->closed && (turn < TURNS_MAX || s->gone[side]); turn++) {
		if (way->held_bytes == 0 && !way->ended) {
			int r = wh_way_fill(way, s->fd[side]);

			if (r == 0 && !s->gone[side])
				return;
			if (r < 0)
				lose(t, s, side);
			if (r <= 0)
				way->ended = true;
		}
		if (wh_way_drain(way, s->fd[1 - side]) < 0)
			lose(t, s, 1 - side);
		if (way->held_bytes > 0)
			return;
	}
}

static void watch_for(const struct wh_stream_table *t, struct wh_stream *s, int side)
{
	const struct wh_way *in = &s->way[side];
	const struct wh_way *out = &s->way[1 - side];
	struct epoll_event event = { .data.u32 = key_of(t, s, side) };

	if (!in->ended && in->held_bytes == 0)
		event.events |= EPOLLIN;
	if (out->held_bytes > 0)
		event.events |= EPOLLOUT;
	if (s->gone[side] || event.events == s->watched[side])
		return;
	wh_assert(epoll_ctl(t->epoll_fd, EPOLL_CTL_MOD, s->fd[side], &event) == 0);
	s->watched[side] = event.events;
}

static void move(const struct wh_stream_table *t, struct wh_stream *s)
{
	carry(t, s, 0);
	carry(t, s, 1);
	/* The second may have found that the first is gone, and nothing else will tell of that. */
	if (s->gone[0])
		carry(t, s, 0);
	if (s->way[0].closed && s->way[1].closed) {
		end(t, s);
		return;
	}
	watch_for(t, s, 0);
	watch_for(t, s, 1);
}

static struct wh_stream *find_free(struct wh_stream_table *t)
{
	for (uint32_t i = 0; i < WH_STREAMS_MAX; i++)
		if (t->streams[i].fd[0] < 0)
			return &t->streams[i];
	return NULL;
}

static bool is_network(int fd)
{
	int domain = AF_UNIX;
	socklen_t len = sizeof(domain);

	return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) == 0 && domain != AF_UNIX;
}

/*
 * A host that is gone is noticed also where nothing is sent. What is sent may wait for a QEMU that
 * reads late, for as long as that takes: whether its host lives is for wherryd to find out.
 */
static int set_options(int fd)
{
	const int silence_s = (int)(WH_PEER_SILENCE_NS / WH_NSEC_PER_SEC);

	if (wh_tcp_set(fd, IPPROTO_TCP, TCP_NODELAY, 1) < 0 ||
	    wh_tcp_set(fd, SOL_SOCKET, SO_KEEPALIVE, 1) < 0 ||
	    wh_tcp_set(fd, IPPROTO_TCP, TCP_KEEPIDLE, 1) < 0 ||
	    wh_tcp_set(fd, IPPROTO_TCP, TCP_KEEPINTVL, 1) < 0 ||
	    wh_tcp_set(fd, IPPROTO_TCP, TCP_KEEPCNT, silence_s) < 0)
		return -errno;
	return 0;
}

static int prepare(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
		return -errno;
	return is_network(fd) ? set_options(fd) : 0;
}

/* A new stream between @a and @b, which it owns on success alone; nothing moves yet. 0 or -errno. */
static int add(struct wh_stream_table *t, struct wh_stream **ret, const int fds[2],
               const void *early, size_t early_len)
{
	struct wh_stream *s = find_free(t);
	const bool inward = is_network(fds[0]) && !is_network(fds[1]);
	int r;

	if (!s)
		return -EUSERS;
	s->way[inward].carried_bytes = &t->stats->sent_bytes;
	s->way[!inward].carried_bytes = &t->stats->received_bytes;
	r = wh_way_begin(&s->way[0], early, early_len);
	if (r == 0)
		r = wh_way_begin(&s->way[1], NULL, 0);
	for (int side = 0; r == 0 && side < 2; side++) {
		struct epoll_event event = { .data.u32 = key_of(t, s, side) };

		r = prepare(fds[side]);
		if (r == 0 && epoll_ctl(t->epoll_fd, EPOLL_CTL_ADD, fds[side], &event) < 0)
			r = -errno;
	}
	if (r < 0) {
		(void)epoll_ctl(t->epoll_fd, EPOLL_CTL_DEL, fds[0], NULL);
		wh_way_drop(&s->way[0]);
		return r;
	}
	memcpy(s->fd, fds, sizeof(s->fd));
	s->gone[0] = s->gone[1] = false;
	s->watched[0] = s->watched[1] = 0;
	s->deadline_ns = 0;
	*ret = s;
	return 0;
}

static void refuse(const struct wh_stream_table *t, int r, const char *what)
{
	struct wh_error err;

	(void)wh_fail(&err, r, "%s: %s", what,
	              r == -EUSERS ? "too many streams already" : strerror(-r));
	t->refused(&err);
}

int wh_stream_table_init(struct wh_stream_table *t, struct wh_error *err)
{
	int r = 0;

	for (uint32_t i = 0; i < WH_STREAMS_MAX; i++) {
		t->streams[i].fd[0] = t->streams[i].fd[1] = -1;
		for (int way = 0; way < 2; way++)
			t->streams[i].way[way].pipe[0] = t->streams[i].way[way].pipe[1] = -1;
	}
	t->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (t->epoll_fd < 0)
		return wh_fail(err, -errno, "epoll: %s", strerror(errno));
	for (uint32_t i = 0; r == 0 && i < WH_STREAMS_MAX; i++) {
		r = wh_way_init(&t->streams[i].way[0]);
		if (r == 0)
			r = wh_way_init(&t->streams[i].way[1]);
	}
	return r < 0 ? wh_fail(err, r, "cannot make pipes: %s", strerror(-r)) : 0;
}

int wh_stream_table_watch(struct wh_stream_table *t, int fd, uint32_t key)
{
	struct epoll_event event = { .events = EPOLLIN, .data.u32 = key };

	return epoll_ctl(t->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

/* Return: a socket that is about to be connected, or -errno. */
static int begin_connect(const struct wh_stream_connect *to)
{
	const sa_family_t family = to->address.any.sa_family;
	wh_cleanup(wh_closep) int fd = wh_tcp_socket(family, to->interface, NULL);
	int r;

	if (fd < 0)
		return fd;
	r = wh_tcp_congestion(fd, "auto", NULL);
	if (r == 0)
		r = prepare(fd);
	if (r < 0)
		return r;
	if (connect(fd, &to->address.any,
	            family == AF_INET6 ? sizeof(to->address.v6) : sizeof(to->address.v4)) < 0 &&
	    errno != EINPROGRESS)
		return -errno;
	return wh_steal_fd(&fd);
}

void wh_stream_table_connect(struct wh_stream_table *t, int local,
                             const struct wh_stream_connect *to)
{
	int fds[2] = { local, begin_connect(to) };
	struct epoll_event event = { .events = EPOLLOUT };
	struct wh_stream *s = NULL;
	int r = fds[1] < 0 ? fds[1] : add(t, &s, fds, to->line, to->line_bytes);

	if (!s) {
		wh_closep(&fds[0]);
		wh_closep(&fds[1]);
		refuse(t, r, "cannot connect");
		return;
	}
	s->deadline_ns = wh_now_ns(&wh_clock_monotonic) + WH_CONNECT_NS;
	event.data.u32 = key_of(t, s, 1);
	wh_assert(epoll_ctl(t->epoll_fd, EPOLL_CTL_MOD, fds[1], &event) == 0);
	s->watched[1] = event.events;
}

void wh_stream_table_join(struct wh_stream_table *t, const int fds[2],
                          const struct wh_stream_join *join)
{
	struct wh_stream *s = NULL;
	int r = add(t, &s, fds, join->early, join->early_bytes);

	if (s) {
		move(t, s);
		return;
	}
	(void)close(fds[0]);
	(void)close(fds[1]);
	refuse(t, r, "cannot carry a stream");
}

/* Something happened before the connection is there. Return: whether it is now. */
static bool finish_connect(const struct wh_stream_table *t, struct wh_stream *s, int side)
{
	int error = 0;
	socklen_t len = sizeof(error);

	if (side == 0) {
		end(t, s); /* who wanted it is gone */
		return false;
	}
	if (getsockopt(s->fd[1], SOL_SOCKET, SO_ERROR, &error, &len) < 0)
		error = errno;
	if (error) {
		end(t, s);
		refuse(t, -error, "cannot connect");
		return false;
	}
	s->deadline_ns = 0;
	return true;
}

void wh_stream_table_ready(struct wh_stream_table *t, uint32_t key, uint32_t events)
{
	struct wh_stream *s = &t->streams[key / 2];
	const int side = (int)(key % 2);

	wh_assert(key < WH_STREAM_KEYS);
	/* The other side's event came first and ended it, or told that this one is gone. */
	if (s->fd[0] < 0 || s->gone[side])
		return;
	if (s->deadline_ns != 0 && !finish_connect(t, s, side))
		return;
	if (events & (EPOLLHUP | EPOLLERR))
		lose(t, s, side);
	move(t, s);
}

int wh_stream_table_expire(struct wh_stream_table *t)
{
	const uint64_t now_ns = wh_now_ns(&wh_clock_monotonic);
	uint64_t next_ns = UINT64_MAX;

	for (uint32_t i = 0; i < WH_STREAMS_MAX; i++) {
		struct wh_stream *s = &t->streams[i];

		if (s->deadline_ns == 0)
			continue;
		if (s->deadline_ns <= now_ns) {
			end(t, s);
			refuse(t, -ETIMEDOUT, "cannot connect");
		} else if (s->deadline_ns < next_ns) {
			next_ns = s->deadline_ns;
		}
	}
	return next_ns == UINT64_MAX ? -1 : (int)((next_ns - now_ns) / WH_NSEC_PER_MSEC) + 1;
}
