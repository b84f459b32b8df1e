/* SPDX-License-Identifier: Apache-2.0 */

/*
 * wherry-tunnel - carries byte streams of one migration between sockets.
 *
 * Started by wherryd, which says on descriptor 3 what to carry (include/wherry/tunnel.h). It has no
 * options, resolves no names and opens no files; before the first byte comes from the network it is
 * nobody, with no privilege, and cannot call what could undo its limit.
 */

#include <errno.h>
#include <grp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "sandbox.h"
#include "tunnel_stream.h"

#include "wherry/fdpass.h"
#include "wherry/limits.h"
#include "wherry/tunnel.h"

/* The user that owns nothing, by the kernel's own convention. */
#define NOBODY 65534u

/* Events taken at once: each stream has two sides. */
#define EVENTS_MAX 64

#define COMMAND_KEY WH_STREAM_KEYS

union message {
	uint32_t type;
	struct wh_stream_connect connect;
	struct wh_stream_join join;
};

/* The daemon may be gone, and then nobody wants to know. */
static void say(enum wh_stream_type type, int code, const struct wh_error *why)
{
	struct wh_stream_failed msg = { .type = type, .code = code, .error = *why };
	int r = wh_fdpass_send(WH_WORKER_FD,
	                       &(struct wh_fdpass){ .data = &msg, .len = sizeof(msg) });

	(void)r;
}

static void on_refused(const struct wh_error *why)
{
	say(WH_STREAM_REFUSED, -EIO, why);
}

static int other_version(struct wh_error *err)
{
	return wh_fail(err, -EPROTO, "wherryd and wherry-tunnel are not of one version");
}

static int await_start(struct wh_stream_table *table, struct wh_error *err)
{
	int fds[1 +
	        WH_WORKER_HOLD_MAX]; /* those behind the first are kept open, for what they hold */
	uint32_t type;
	struct wh_fdpass msg = { .data = &type,
		                 .len = sizeof(type),
		                 .fds = fds,
		                 .fd_count = sizeof(fds) / sizeof(fds[0]) };
	int r = wh_fdpass_recv(WH_WORKER_FD, &msg);

	if (r <= 0)
		return wh_fail(err, r < 0 ? r : -EPIPE, "wherryd is gone");
	if (msg.len != sizeof(type) || type != WH_STREAM_START || msg.fd_count < 1)
		return other_version(err);
	table->stats =
		mmap(NULL, sizeof(*table->stats), PROT_READ | PROT_WRITE, MAP_SHARED, fds[0], 0);
	if (table->stats == MAP_FAILED)
		return wh_fail(err, -errno, "cannot map the stats page: %s", strerror(errno));
	wh_closep(&fds[0]);
	return 0;
}

static int drop_privileges(struct wh_error *err)
{
	if (geteuid() == 0 && (setgroups(0, NULL) < 0 || setresgid(NOBODY, NOBODY, NOBODY) < 0 ||
	                       setresuid(NOBODY, NOBODY, NOBODY) < 0))
		return wh_fail(err, -errno, "cannot give up privileges: %s", strerror(errno));
	/* The kernel forgets it where the user changes. A daemon that died before is seen as closed. */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
		return wh_fail(err, -errno, "prctl: %s", strerror(errno));
	return wh_sandbox_enter(err);
}

static bool is_connect(const union message *msg, const struct wh_fdpass *pass)
{
	return pass->len == sizeof(msg->connect) && msg->type == WH_STREAM_CONNECT &&
	       pass->fd_count == 1 && msg->connect.line_bytes <= sizeof(msg->connect.line) &&
	       strnlen(msg->connect.interface, IFNAMSIZ) < IFNAMSIZ;
}

static bool is_join(const union message *msg, const struct wh_fdpass *pass)
{
	const size_t head = offsetof(struct wh_stream_join, early);

	return pass->len >= head && msg->type == WH_STREAM_JOIN && pass->fd_count == 2 &&
	       pass->len == head + msg->join.early_bytes;
}

/* Return: 1, 0 if the daemon is gone, or -errno. */
static int obey(struct wh_stream_table *table, struct wh_error *err)
{
	static union message msg;
	int fds[2];
	struct wh_fdpass pass = { .data = &msg, .len = sizeof(msg), .fds = fds, .fd_count = 2 };
	int r = wh_fdpass_recv(WH_WORKER_FD, &pass);

	if (r <= 0)
		return r < 0 ? wh_fail(err, r, "wherryd: %s", strerror(-r)) : 0;
	if (is_connect(&msg, &pass))
		wh_stream_table_connect(table, fds[0], &msg.connect);
	else if (is_join(&msg, &pass))
		wh_stream_table_join(table, fds, &msg.join);
	else
		return other_version(err);
	return 1;
}

/* Return: 0 once the daemon is gone, or -errno. */
static int serve(struct wh_stream_table *table, struct wh_error *err)
{
	int r = wh_stream_table_watch(table, WH_WORKER_FD, COMMAND_KEY);

	if (r < 0)
		return wh_fail(err, r, "epoll: %s", strerror(-r));
	for (;;) {
		struct epoll_event events[EVENTS_MAX];
		bool commanded = false;
		int n = epoll_wait(table->epoll_fd, events, EVENTS_MAX,
		                   wh_stream_table_expire(table));

		if (n < 0 && errno != EINTR)
			return wh_fail(err, -errno, "epoll: %s", strerror(errno));
		for (int i = 0; i < n; i++) {
			if (events[i].data.u32 == COMMAND_KEY)
				commanded = true;
			else
				wh_stream_table_ready(table, events[i].data.u32, events[i].events);
		}
		/* Last: a new stream must not get events of one that was at its place. */
		r = commanded ? obey(table, err) : 1;
		if (r <= 0)
			return r;
	}
}

int main(void)
{
	static struct wh_stream_table table = { .refused = on_refused };
	struct wh_error err = { "" };
	int r;

	/* Nothing of a migration outlives its daemon. */
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	/* A side that is gone is an error like any other. */
	(void)signal(SIGPIPE, SIG_IGN);
	r = await_start(&table, &err);
	if (r == 0)
		r = wh_stream_table_init(&table, &err);
	if (r == 0)
		r = drop_privileges(&err);
	if (r == 0)
		r = serve(&table, &err);
	if (r < 0)
		say(WH_STREAM_FAILED, r, &err);
	return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
