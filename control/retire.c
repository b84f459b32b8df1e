/* SPDX-License-Identifier: Apache-2.0 */

#include "retire.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "wherry/fdpass.h"
#include "wherry/limits.h"

/* Remove a socket nobody listens on: QEMU removes its own, unless it was killed. */
static void unlink_dead_socket(const char *path)
{
	wh_cleanup(wh_closep) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	struct stat st;

	if (fd < 0 || strlen(path) >= sizeof(addr.sun_path))
		return;
	if (lstat(path, &st) < 0 || !S_ISSOCK(st.st_mode))
		return;
	memcpy(addr.sun_path, path, strlen(path));
	if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 && errno == ECONNREFUSED)
		(void)unlink(path); /* a stale socket harms nobody, should this fail */
}

static void finish(struct wh_retire *t)
{
	wh_retire_stop(t);
	(void)wh_ram_unlink(t->ram); /* files that are not the guest's any more are left alone */
	unlink_dead_socket(t->qmp_path);
	t->done(t->ctx);
}

static void on_exited(void *ctx, uint32_t events)
{
	(void)events;
	finish(ctx);
}

static void on_late(void *ctx)
{
	struct wh_retire *t = ctx;

	if (wh_process_kill(&t->vmm, SIGKILL) < 0)
		finish(t);
}

/* What started the hypervisor may still be at work: a script, with children of its own. */
static void kill_launcher(const struct wh_process *launcher)
{
	wh_cleanup(wh_closep) int fd = wh_process_open(launcher);

	if (fd >= 0)
		(void)kill(-launcher->pid, SIGKILL); /* it leads a session of its own */
}

void wh_retire_start(struct wh_retire *t, sd_event *loop)
{
	t->loop = loop;
	t->watch = (struct wh_watch){ .ready = on_exited, .ctx = t };
	t->timer = (struct wh_timer){ .fired = on_late, .ctx = t };
	t->pidfd = wh_process_open(&t->vmm);
	if (t->pidfd < 0)
		kill_launcher(&t->launcher);
	if (t->pidfd < 0 || wh_watch_start(&t->watch, loop, t->pidfd, EPOLLIN) < 0) {
		finish(t);
		return;
	}
	wh_timer_start(&t->timer, loop, WH_QUIT_NS);
	if (t->leave)
		return;
	if (t->qmp)
		wh_qmp_call(t->qmp, "quit", NULL, NULL, NULL);
	else /* gone already: then the watch says so */
		(void)wh_process_kill(&t->vmm, t->kill ? SIGKILL : SIGTERM);
}

void wh_retire_stop(struct wh_retire *t)
{
	wh_watch_stop(&t->watch);
	wh_timer_stop(&t->timer);
	if (t->loop)
		wh_closep(&t->pidfd);
	t->loop = NULL;
}
