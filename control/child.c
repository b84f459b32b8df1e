/* SPDX-License-Identifier: Apache-2.0 */

#include "child.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/wait.h>

#include "spawn.h"

#include "wherry/fdpass.h"

struct wh_child {
	struct wh_watch watch;
	struct wh_process process;
	int pidfd;
	void (*ended)(void *ctx, const char *how); /* NULL if nobody cares */
	void *ctx;
};

static void free_child(struct wh_child *c)
{
	wh_watch_stop(&c->watch);
	wh_closep(&c->pidfd);
	free(c);
}

static void on_exit_seen(void *ctx, uint32_t events)
{
	struct wh_child *c = ctx;
	void (*ended)(void *, const char *) = c->ended;
	void *ended_ctx = c->ctx;
	siginfo_t info = { 0 };
	char how[64];

	(void)events;
	while (waitid(P_PID, (id_t)c->process.pid, &info, WEXITED) < 0 && errno == EINTR)
		;
	(void)snprintf(how, sizeof(how),
	               info.si_code == CLD_EXITED ? "ended with status %d"
	                                          : "was killed by signal %d",
	               info.si_status);
	free_child(c);
	if (ended)
		ended(ended_ctx, how);
}

int wh_child_start(struct wh_child **ret, const struct wh_child_config *cfg, struct wh_error *err)
{
	struct wh_child *c = calloc(1, sizeof(*c));
	pid_t pid;
	int r;

	if (!c)
		return wh_fail(err, -ENOMEM, "out of memory");
	c->pidfd = -1;
	c->ended = cfg->ended;
	c->ctx = cfg->ctx;
	c->watch = (struct wh_watch){ .ready = on_exit_seen, .ctx = c };
	r = wh_spawn(
		&pid, &c->pidfd,
		&(struct wh_spawn){
			.argv = cfg->argv, .procs_fd = -1, .worker_fd = -1, .new_session = true });
	if (r == 0)
		r = wh_process_identify(&c->process, pid);
	if (r == 0)
		r = wh_watch_start(&c->watch, cfg->loop, c->pidfd, EPOLLIN);
	if (r < 0) {
		free_child(c);
		return wh_fail(err, r, "cannot start %s: %s", cfg->argv[0], strerror(-r));
	}
	*ret = c;
	return 0;
}

const struct wh_process *wh_child_process(const struct wh_child *c)
{
	return &c->process;
}

void wh_child_forget(struct wh_child *c)
{
	c->ended = NULL;
}
