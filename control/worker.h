/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Worker - one wherry-mover process, seen from wherryd: include/wherry/worker.h.
 *
 * The mover starts inside its cgroup, with its end of the socket and nothing else of ours. Its last
 * word is LANDED, ARRIVED after post-copy, or FAILED; if it ends before, @failed tells. Closing
 * kills it.
 *
 * Threads: the loop's own. Callbacks may close the worker.
 */

#ifndef WH_CONTROL_WORKER_H
#define WH_CONTROL_WORKER_H

#include <stdbool.h>

#include "loop.h"

#include "wherry/cleanup.h"
#include "wherry/error.h"
#include "wherry/stats.h"
#include "wherry/worker.h"

struct wh_worker;

struct wh_worker_handler {
	void (*listening)(void *ctx, uint16_t port);
	/* What carries pages from now on, and why it is TCP if RDMA was asked for. */
	void (*transport)(void *ctx, enum wh_transport_kind kind, const char *why);
	void (*open)(void *ctx);
	void (*no_postcopy)(void *ctx);
	void (*near)(void *ctx); /* only of a source that lingers */
	void (*converged)(void *ctx);
	void (*landed)(void *ctx, const struct wh_worker_landed *landed);
	void (*arrived)(void *ctx);                           /* after a LANDED of post-copy */
	void (*failed)(void *ctx, int code, const char *why); /* also if it died by itself */
	void *ctx;
};

struct wh_worker_config {
	sd_event *loop;
	char *mover;  /* the program */
	int procs_fd; /* cgroup.procs of its cgroup, borrowed */
	struct wh_worker_handler handler;
};

/* Descriptors for START besides the stats page, all borrowed. */
struct wh_worker_fds {
	/* RAM files, the missing file and the bucket if there are to be any, then those to hold. */
	int fds[WH_REGIONS_MAX + 2 + WH_WORKER_HOLD_MAX];
	size_t count;
};

/* Start the process. Return: 0 or -errno. */
wh_must_check int wh_worker_open(struct wh_worker **ret, const struct wh_worker_config *cfg,
                                 struct wh_error *err);

/* Tell it what to do. Return: 0 or -errno. */
wh_must_check int wh_worker_begin(struct wh_worker *worker, const struct wh_worker_start *start,
                                  const struct wh_worker_fds *fds, struct wh_error *err);

/* Tell a source that the guest stands still. Return: 0 or -errno. */
wh_must_check int wh_worker_finish(struct wh_worker *worker, struct wh_error *err);

/* Tell a source that converged to make one more round, and converge again. Return: 0 or -errno. */
wh_must_check int wh_worker_again(struct wh_worker *worker, struct wh_error *err);

/* Tell a source to end its rounds, for what comes then. Return: 0 or -errno. */
wh_must_check int wh_worker_switch(struct wh_worker *worker, enum wh_switch_mode mode,
                                   struct wh_error *err);

/* What it has counted; valid until the worker is closed. */
const struct wh_stats *wh_worker_stats(const struct wh_worker *worker);

/*
 * End it, without waiting here: by SIGTERM, and SIGKILL if that takes too long, or by SIGKILL, for one that
 * has no hypervisor to let go of. It says nothing more; @ended is called when it is gone, and may close
 * the worker. Return: false if it is gone already: then @ended is not called.
 */
bool wh_worker_stop(struct wh_worker *worker, int signal, void (*ended)(void *ctx), void *ctx);

/* Kill it if it lives, and wait for its end. Accepts NULL, returns NULL. */
struct wh_worker *wh_worker_close(struct wh_worker *worker);

WH_DEFINE_CLEANUP(struct wh_worker, wh_worker_close)

#endif
