/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Worker - a process, a socket, and a page.
 *
 * The process' end and its last message come on two descriptors, in any order. So the message
 * is always looked for before the end is believed.
 */

#include "worker.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>

#include "companion.h"

#include "wherry/assert.h"
#include "wherry/clock.h"
#include "wherry/fdpass.h"
#include "wherry/session.h"

/* Milliseconds that a mover gets to let go of the hypervisor. */
#define ATTACH_TURNS_MAX 100

struct wh_worker {
	struct wh_worker_handler handler;
	struct wh_watch said;
	struct wh_watch exited;
	struct wh_companion process;
	const struct wh_stats *stats; /* borrowed from it */
	bool over;                    /* it has said its last word */
	sd_event *loop;               /* borrowed */
	struct wh_timer late;
	void (*ended)(void *ctx); /* it is being stopped, if not NULL */
	void *ended_ctx;
	bool in_callback;
	bool closed; /* by that callback: freed once it returns, as in lines.c */
};

union message {
	uint32_t type;
	struct wh_worker_listening listening;
	struct wh_worker_transport transport;
	struct wh_worker_landed landed;
	struct wh_worker_failed failed;
};

static size_t size_of(uint32_t type)
{
	if (type == WH_WORKER_LISTENING)
		return sizeof(struct wh_worker_listening);
	if (type == WH_WORKER_TRANSPORT)
		return sizeof(struct wh_worker_transport);
	if (type == WH_WORKER_LANDED)
		return sizeof(struct wh_worker_landed);
	return type == WH_WORKER_FAILED ? sizeof(struct wh_worker_failed)
	                                : sizeof(struct wh_worker_note);
}

static void fail(struct wh_worker *w, int code, const char *why)
{
	w->over = true;
	wh_watch_stop(&w->said);
	w->handler.failed(w->handler.ctx, code, why);
}

static void dispatch(struct wh_worker *w, union message *m)
{
	switch ((enum wh_worker_type)m->type) {
	case WH_WORKER_LISTENING:
		w->handler.listening(w->handler.ctx, m->listening.port);
		return;
	case WH_WORKER_TRANSPORT:
		m->transport.why.text[WH_ERROR_TEXT_MAX - 1] = '\0';
		w->handler.transport(w->handler.ctx,
		                     m->transport.kind == WH_TRANSPORT_RDMA ? WH_TRANSPORT_RDMA
		                                                            : WH_TRANSPORT_TCP,
		                     m->transport.why.text);
		return;
	case WH_WORKER_OPEN:
		w->handler.open(w->handler.ctx);
		return;
	case WH_WORKER_NO_POSTCOPY:
		w->handler.no_postcopy(w->handler.ctx);
		return;
	case WH_WORKER_NEAR:
		if (w->handler.near)
			w->handler.near(w->handler.ctx);
		return;
	case WH_WORKER_CONVERGED:
		w->handler.converged(w->handler.ctx);
		return;
	case WH_WORKER_LANDED:
		w->over = !m->landed.postcopy;
		w->handler.landed(w->handler.ctx, &m->landed);
		return;
	case WH_WORKER_ARRIVED:
		w->over = true;
		w->handler.arrived(w->handler.ctx);
		return;
	case WH_WORKER_FAILED:
		m->failed.error.text[WH_ERROR_TEXT_MAX - 1] = '\0';
		fail(w, m->failed.code < 0 ? m->failed.code : -EPROTO, m->failed.error.text);
		return;
	case WH_WORKER_START:
	case WH_WORKER_FINISH:
	case WH_WORKER_AGAIN:
	case WH_WORKER_SWITCH:
		break;
	}
	fail(w, -EPROTO, "the mover said what a mover cannot say");
}

enum taken {
	TAKEN,
	NOTHING,
	GONE, /* a callback closed the worker */
};

static enum taken take_message(struct wh_worker *w)
{
	union message m = { 0 };
	struct wh_fdpass pass = { .data = &m, .len = sizeof(m) };
	int r;

	if (w->over)
		return NOTHING;
	r = wh_fdpass_recv(w->process.sock, &pass);
	if (r == -EAGAIN)
		return NOTHING;
	if (r == 0) {
		wh_watch_stop(&w->said); /* its exit says why */
		return NOTHING;
	}
	w->in_callback = true;
	if (r < 0 || pass.len < sizeof(m.type) || pass.len != size_of(m.type))
		fail(w, r < 0 ? r : -EPROTO, "the mover sent something unreadable");
	else
		dispatch(w, &m);
	w->in_callback = false;
	if (!w->closed)
		return TAKEN;
	free(w);
	return GONE;
}

static void on_said(void *ctx, uint32_t events)
{
	(void)events;
	(void)take_message(ctx); /* if there are more, the loop comes back */
}

static void on_exited(void *ctx, uint32_t events)
{
	struct wh_worker *w = ctx;
	char why[96], how[64];
	enum taken taken;

	(void)events;
	/* This ends: a dead process sends nothing more. */
	do
		taken = take_message(w);
	while (taken == TAKEN);
	if (taken == GONE)
		return;
	wh_watch_stop(&w->exited);
	wh_companion_reap(&w->process, how, sizeof(how));
	if (w->ended) {
		wh_timer_stop(&w->late);
		w->ended(w->ended_ctx); /* may close it */
		return;
	}
	if (w->over)
		return;
	(void)snprintf(why, sizeof(why), "the mover %s", how);
	fail(w, -ECHILD, why);
}

static int start(struct wh_worker *w, const struct wh_worker_config *cfg)
{
	int r = wh_companion_start(&w->process, cfg->mover, cfg->procs_fd, sizeof(struct wh_stats));

	if (r < 0)
		return r;
	w->stats = w->process.stats;
	w->said = (struct wh_watch){ .ready = on_said, .ctx = w };
	w->exited = (struct wh_watch){ .ready = on_exited, .ctx = w };
	r = wh_watch_start(&w->said, cfg->loop, w->process.sock, EPOLLIN);
	if (r < 0)
		return r;
	return wh_watch_start(&w->exited, cfg->loop, w->process.pidfd, EPOLLIN);
}

int wh_worker_open(struct wh_worker **ret, const struct wh_worker_config *cfg, struct wh_error *err)
{
	wh_cleanup(wh_worker_closep) struct wh_worker *w = calloc(1, sizeof(*w));
	int r;

	if (!w)
		return wh_fail(err, -ENOMEM, "out of memory");
	w->process = WH_COMPANION_NONE;
	w->handler = cfg->handler;
	w->loop = cfg->loop;
	r = start(w, cfg);
	if (r < 0)
		return wh_fail(err, r, "cannot start the mover %s: %s", cfg->mover, strerror(-r));
	*ret = wh_steal(w);
	return 0;
}

int wh_worker_begin(struct wh_worker *w, const struct wh_worker_start *start_message,
                    const struct wh_worker_fds *more, struct wh_error *err)
{
	int fds[3 + WH_REGIONS_MAX + WH_WORKER_HOLD_MAX];
	struct wh_worker_start copy = *start_message;
	struct wh_fdpass pass = {
		.data = &copy, .len = sizeof(copy), .fds = fds, .fd_count = 1 + more->count
	};
	int r;

	const bool missing = copy.role == WH_ROLE_TARGET && copy.postcopy;

	wh_assert(more->count ==
	          copy.region_count + missing + (copy.bucket != 0) + copy.hold_count);
	fds[0] = w->process.stats_fd;
	memcpy(fds + 1, more->fds, more->count * sizeof(int));
	r = wh_fdpass_send(w->process.sock, &pass);
	if (r < 0)
		return wh_fail(err, r, "cannot instruct the mover: %s", strerror(-r));
	return 0;
}

static int tell(struct wh_worker *w, void *message, size_t len, struct wh_error *err)
{
	struct wh_fdpass pass = { .data = message, .len = len };
	int r = wh_fdpass_send(w->process.sock, &pass);

	return r < 0 ? wh_fail(err, r, "cannot instruct the mover: %s", strerror(-r)) : 0;
}

static int tell_type(struct wh_worker *w, enum wh_worker_type type, struct wh_error *err)
{
	struct wh_worker_note note = { .type = type };

	return tell(w, &note, sizeof(note), err);
}

int wh_worker_finish(struct wh_worker *w, struct wh_error *err)
{
	return tell_type(w, WH_WORKER_FINISH, err);
}

int wh_worker_again(struct wh_worker *w, struct wh_error *err)
{
	return tell_type(w, WH_WORKER_AGAIN, err);
}

int wh_worker_switch(struct wh_worker *w, enum wh_switch_mode mode, struct wh_error *err)
{
	struct wh_worker_switch message = { .type = WH_WORKER_SWITCH, .mode = mode };

	return tell(w, &message, sizeof(message), err);
}

const struct wh_stats *wh_worker_stats(const struct wh_worker *w)
{
	return w->stats;
}

/*
 * For a moment the source's mover has a thread of the hypervisor run its calls, and killed then it
 * would leave it with the wrong registers. That takes milliseconds: wait for it.
 */
static void let_go(const struct wh_worker *w)
{
	const struct timespec turn = { .tv_nsec = (long)WH_NSEC_PER_MSEC };

	for (int i = 0;
	     i < ATTACH_TURNS_MAX && wh_stat_get(w->stats, WH_STAT_STATE) == WH_SESSION_ATTACHING;
	     i++)
		(void)nanosleep(&turn, NULL);
}

static void on_late(void *ctx)
{
	const struct wh_worker *w = ctx;

	(void)kill(w->process.pid,
	           SIGKILL); /* our child, not yet waited for; its end is awaited already */
}

bool wh_worker_stop(struct wh_worker *w, int signal, void (*ended)(void *ctx), void *ctx)
{
	if (w->process.pid == 0)
		return false;
	w->over = true;
	wh_watch_stop(&w->said);
	w->ended = ended;
	w->ended_ctx = ctx;
	(void)kill(w->process.pid, signal);
	w->late = (struct wh_timer){ .fired = on_late, .ctx = w };
	wh_timer_start(&w->late, w->loop, WH_MOVER_END_NS);
	return true;
}

struct wh_worker *wh_worker_close(struct wh_worker *w)
{
	if (!w)
		return NULL;
	wh_watch_stop(&w->said);
	wh_watch_stop(&w->exited);
	wh_timer_stop(&w->late);
	if (w->process.pid > 0)
		let_go(w);
	wh_companion_close(&w->process);
	w->closed = true;
	if (!w->in_callback)
		free(w);
	return NULL;
}
