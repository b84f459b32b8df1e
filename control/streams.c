/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Streams - as with a mover, the process' last message is looked for before its end is believed.
 *
 * A message that cannot be sent is not an error of its own: its sockets are closed, which their other ends
 * hear, and a process that takes no messages is found to be lost.
 */

#include "streams.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "companion.h"

#include "wherry/assert.h"
#include "wherry/fdpass.h"
#include "wherry/tunnel.h"

struct wh_streams {
	struct wh_watch said;
	struct wh_watch exited;
	struct wh_companion process;
	void (*refused)(void *ctx, const char *why);
	void (*failed)(void *ctx, const char *why);
	void *ctx;
	bool *gone; /* a callback closed it: as in lines.c */
};

static void fail(struct wh_streams *s, const char *why)
{
	void (*failed)(void *, const char *) = s->failed;

	s->failed = NULL; /* once */
	wh_watch_stop(&s->said);
	if (failed)
		failed(s->ctx, why);
}

static void refuse(const struct wh_streams *s, const char *why)
{
	if (s->refused)
		s->refused(s->ctx, why);
}

enum taken {
	TAKEN,
	NOTHING,
	GONE, /* a callback closed the streams */
};

static enum taken take_message(struct wh_streams *s)
{
	struct wh_stream_failed msg;
	struct wh_fdpass pass = { .data = &msg, .len = sizeof(msg) };
	bool gone = false;
	int r;

	if (!s->said.source)
		return NOTHING;
	r = wh_fdpass_recv(s->process.sock, &pass);
	if (r == -EAGAIN)
		return NOTHING;
	if (r == 0) {
		wh_watch_stop(&s->said); /* its exit says why */
		return NOTHING;
	}
	s->gone = &gone;
	msg.error.text[WH_ERROR_TEXT_MAX - 1] = '\0';
	if (r < 0 || pass.len != sizeof(msg))
		fail(s, "the tunnel sent something unreadable");
	else if (msg.type == WH_STREAM_REFUSED)
		refuse(s, msg.error.text);
	else
		fail(s, msg.error.text);
	if (gone)
		return GONE;
	s->gone = NULL;
	return TAKEN;
}

static void on_said(void *ctx, uint32_t events)
{
	(void)events;
	(void)take_message(ctx); /* if there are more, the loop comes back */
}

static void on_exited(void *ctx, uint32_t events)
{
	struct wh_streams *s = ctx;
	char why[96], how[64];

	(void)events;
	if (take_message(s) != NOTHING)
		return; /* the loop comes back; a dead process sends nothing more, so this ends */
	wh_watch_stop(&s->exited);
	wh_companion_reap(&s->process, how, sizeof(how));
	(void)snprintf(why, sizeof(why), "the tunnel %s", how);
	fail(s, why);
}

/* Return: 0 or -errno. */
static int tell(const struct wh_streams *s, void *message, size_t len, int *fds, size_t fd_count)
{
	return wh_fdpass_send(s->process.sock, &(struct wh_fdpass){ .data = message,
	                                                            .len = len,
	                                                            .fds = fds,
	                                                            .fd_count = fd_count });
}

static int begin(const struct wh_streams *s, const struct wh_streams_config *cfg)
{
	uint32_t type = WH_STREAM_START;
	int fds[1 + WH_WORKER_HOLD_MAX] = { s->process.stats_fd };

	wh_assert(cfg->hold_count <= WH_WORKER_HOLD_MAX);
	for (size_t i = 0; i < cfg->hold_count; i++)
		fds[1 + i] = cfg->hold_fds[i];
	return tell(s, &type, sizeof(type), fds, 1 + cfg->hold_count);
}

int wh_streams_open(struct wh_streams **ret, const struct wh_streams_config *cfg,
                    struct wh_error *err)
{
	wh_cleanup(wh_streams_closep) struct wh_streams *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return wh_fail(err, -ENOMEM, "out of memory");
	s->refused = cfg->refused;
	s->failed = cfg->failed;
	s->ctx = cfg->ctx;
	s->said = (struct wh_watch){ .ready = on_said, .ctx = s };
	s->exited = (struct wh_watch){ .ready = on_exited, .ctx = s };
	r = wh_companion_start(&s->process, cfg->program, cfg->procs_fd,
	                       sizeof(struct wh_tunnel_stats));
	if (r == 0)
		r = begin(s, cfg);
	if (r == 0)
		r = wh_watch_start(&s->said, cfg->loop, s->process.sock, EPOLLIN);
	if (r == 0)
		r = wh_watch_start(&s->exited, cfg->loop, s->process.pidfd, EPOLLIN);
	if (r < 0)
		return wh_fail(err, r, "cannot start the tunnel %s: %s", cfg->program,
		               strerror(-r));
	*ret = wh_steal(s);
	return 0;
}

void wh_streams_connect(struct wh_streams *s, int local, const struct wh_stream_to *to)
{
	const char *line = to->first_line;
	struct wh_stream_connect msg = { .type = WH_STREAM_CONNECT, .address = to->address };
	int r;

	wh_assert(strlen(to->interface) < IFNAMSIZ);
	(void)snprintf(msg.interface, sizeof(msg.interface), "%s", to->interface);
	if (line) {
		const size_t len = strlen(line);

		wh_assert(len <= WH_STREAM_LINE_MAX);
		memcpy(msg.line, line, len);
		msg.line[len] = '\n';
		msg.line_bytes = (uint32_t)len + 1;
	}
	r = tell(s, &msg, sizeof(msg), &local, 1);
	wh_closep(&local);
	(void)r; /* as explained above */
}

void wh_streams_join(struct wh_streams *s, int a, int b, const void *early, size_t early_len)
{
	struct wh_stream_join msg;
	int fds[2] = { a, b };
	int r;

	wh_assert(early_len <= sizeof(msg.early));
	msg.type = WH_STREAM_JOIN;
	msg.early_bytes = (uint32_t)early_len;
	if (early_len > 0)
		memcpy(msg.early, early, early_len);
	r = tell(s, &msg, offsetof(struct wh_stream_join, early) + early_len, fds, 2);
	wh_closep(&fds[0]);
	wh_closep(&fds[1]);
	(void)r; /* as explained above */
}

void wh_streams_bytes(const struct wh_streams *s, uint64_t *sent, uint64_t *received)
{
	const struct wh_tunnel_stats *stats = s->process.stats;

	*sent = atomic_load_explicit(&stats->sent_bytes, memory_order_relaxed);
	*received = atomic_load_explicit(&stats->received_bytes, memory_order_relaxed);
}

struct wh_streams *wh_streams_close(struct wh_streams *s)
{
	if (!s)
		return NULL;
	if (s->gone)
		*s->gone = true;
	wh_watch_stop(&s->said);
	wh_watch_stop(&s->exited);
	wh_companion_close(&s->process);
	free(s);
	return NULL;
}
