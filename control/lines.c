/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Lines - buffers in front of a socket.
 *
 * A callback may close the connection that calls it. Then the reader, which looks after each callback, frees it.
 *
 * Errors while sending are not reported from within the send: its caller is usually in the
 * middle of something. They are kept, and come out of the loop with the next turn.
 */

#include "lines.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "wherry/assert.h"
#include "wherry/fdpass.h"
#include "wherry/limits.h"

#define READ_BYTES 4096u

struct buffer {
	char *data;
	size_t start; /* first byte not yet used */
	size_t end;
	size_t size;
};

struct wh_lines {
	struct wh_lines_config cfg;
	struct wh_watch watch;
	struct buffer in;
	struct buffer out;
	size_t scanned; /* bytes of @in after start known to hold no newline */
	int fd;
	const char *broken; /* why nothing can be sent any more, NULL if it can */
	bool in_callback;
	bool closed;
};

/* Make room for @more bytes after the end. Return: 0 or -ENOMEM. */
static int reserve(struct buffer *b, size_t more)
{
	size_t used = b->end - b->start;
	size_t size;
	char *data;

	if (b->start > 0) {
		memmove(b->data, b->data + b->start, used);
		b->start = 0;
		b->end = used;
	}
	if (b->size - b->end >= more)
		return 0;
	size = (used + more) * 2;
	data = realloc(b->data, size);
	if (!data)
		return -ENOMEM;
	b->data = data;
	b->size = size;
	return 0;
}

static void fail(struct wh_lines *l, const char *why)
{
	wh_watch_stop(&l->watch);
	l->cfg.closed(l->cfg.ctx, why);
}

static void flush(struct wh_lines *l)
{
	struct buffer *b = &l->out;

	/* This ends: each turn sends something or stops. */
	while (b->start < b->end && !l->broken) {
		ssize_t n = send(l->fd, b->data + b->start, b->end - b->start,
		                 MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EAGAIN)
			break;
		if (n < 0 && errno != EINTR)
			l->broken = strerror(errno);
		if (n > 0)
			b->start += (size_t)n;
	}
	if (l->watch.source)
		wh_watch_change(&l->watch,
		                EPOLLIN | (b->start < b->end || l->broken ? EPOLLOUT : 0));
}

void wh_lines_send(struct wh_lines *l, const char *text)
{
	size_t len = strlen(text);
	struct buffer *b = &l->out;

	if (l->broken || l->fd < 0)
		return;
	if (b->end - b->start + len + 1 > WH_OUTPUT_MAX)
		l->broken = "the other end does not read";
	else if (reserve(b, len + 1) < 0)
		l->broken = "out of memory";
	if (!l->broken) {
		memcpy(b->data + b->end, text, len);
		b->data[b->end + len] = '\n';
		b->end += len + 1;
	}
	flush(l);
}

/* Hand out the complete lines of the input. Return: false if the connection is gone. */
static bool deliver(struct wh_lines *l)
{
	struct buffer *b = &l->in;

	/* This ends: each turn uses up a line. */
	for (;;) {
		char *from = b->data + b->start;
		char *end = memchr(from + l->scanned, '\n', b->end - b->start - l->scanned);

		if (!end) {
			l->scanned = b->end - b->start;
			break;
		}
		*end = '\0';
		b->start += (size_t)(end - from) + 1;
		l->scanned = 0;
		l->in_callback = true;
		l->cfg.line(l->cfg.ctx, from, (size_t)(end - from));
		l->in_callback = false;
		if (l->closed) {
			free(l);
			return false;
		}
		if (l->fd < 0)
			return false;
	}
	if (b->end - b->start < l->cfg.line_max)
		return true;
	fail(l, "a line is too long");
	return false;
}

/* Read once. Return: NULL, or why no more can be read; @empty says that nothing was there. */
static const char *fill(struct wh_lines *l, bool *empty)
{
	struct buffer *b = &l->in;
	ssize_t n;

	*empty = false;
	if (reserve(b, READ_BYTES) < 0)
		return "out of memory";
	n = recv(l->fd, b->data + b->end, b->size - b->end, MSG_DONTWAIT);
	if (n > 0)
		b->end += (size_t)n;
	else if (n < 0 && (errno == EAGAIN || errno == EINTR))
		*empty = true;
	else
		return n < 0 ? strerror(errno) : "the other end closed the connection";
	return NULL;
}

static void on_ready(void *ctx, uint32_t events)
{
	struct wh_lines *l = ctx;
	const char *why = l->broken;
	bool empty = !(events & (EPOLLIN | EPOLLHUP | EPOLLERR));

	if (!why && (events & EPOLLOUT))
		flush(l);
	/* This ends when the socket is empty: the peer is no faster than we are for long. */
	while (!why && !empty) {
		why = fill(l, &empty);
		if (!why && !empty && !deliver(l))
			return;
	}
	if (why)
		fail(l, why);
}

int wh_lines_open(struct wh_lines **ret, int fd, const struct wh_lines_config *cfg)
{
	wh_cleanup(wh_lines_closep) struct wh_lines *l = calloc(1, sizeof(*l));
	int r;

	if (!l) {
		wh_closep(&fd);
		return -ENOMEM;
	}
	l->fd = fd;
	l->cfg = *cfg;
	l->watch = (struct wh_watch){ .ready = on_ready, .ctx = l };
	if (fcntl(fd, F_SETFL, O_NONBLOCK) < 0)
		return -errno;
	r = wh_watch_start(&l->watch, cfg->loop, fd, EPOLLIN);
	if (r < 0)
		return r;
	*ret = wh_steal(l);
	return 0;
}

void wh_lines_redirect(struct wh_lines *l, const struct wh_lines_config *cfg)
{
	l->cfg = *cfg;
}

int wh_lines_fd(const struct wh_lines *l)
{
	return l->fd;
}

size_t wh_lines_rest(const struct wh_lines *l, const char **ret)
{
	*ret = l->in.data + l->in.start;
	return l->in.end - l->in.start;
}

int wh_lines_take_fd(struct wh_lines *l)
{
	int fd = l->fd;

	wh_watch_stop(&l->watch);
	l->fd = -1;
	return fd;
}

struct wh_lines *wh_lines_close(struct wh_lines *l)
{
	if (!l)
		return NULL;
	wh_watch_stop(&l->watch);
	wh_closep(&l->fd);
	free(l->in.data);
	free(l->out.data);
	l->closed = true;
	if (!l->in_callback)
		free(l);
	return NULL;
}
