/* SPDX-License-Identifier: Apache-2.0 */

#include "companion.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "spawn.h"

#include "wherry/fdpass.h"

static int make_stats(struct wh_companion *c, size_t bytes)
{
	void *page;

	c->stats_fd = memfd_create("wherry-stats", MFD_CLOEXEC);
	if (c->stats_fd < 0 || ftruncate(c->stats_fd, (off_t)bytes) < 0)
		return -errno;
	page = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, c->stats_fd, 0);
	if (page == MAP_FAILED)
		return -errno;
	c->stats = page;
	c->stats_bytes = bytes;
	return 0;
}

int wh_companion_start(struct wh_companion *c, char *program, int procs_fd, size_t stats_bytes)
{
	char *const argv[] = { program, NULL };
	wh_cleanup(wh_closep) int theirs = -1;
	int pair[2];
	int r;

	*c = WH_COMPANION_NONE;
	r = make_stats(c, stats_bytes);
	if (r < 0)
		return r;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
		return -errno;
	c->sock = pair[0];
	theirs = pair[1];
	/* Its end blocks, as a program expects of any descriptor. */
	if (fcntl(theirs, F_SETFL, 0) < 0)
		return -errno;
	return wh_spawn(&c->pid, &c->pidfd,
	                &(struct wh_spawn){
				.argv = argv,
				.procs_fd = procs_fd,
				.worker_fd = theirs,
				.die_with_us = true,
			});
}

void wh_companion_reap(struct wh_companion *c, char *how, size_t size)
{
	siginfo_t info = { 0 };

	while (waitid(P_PID, (id_t)c->pid, &info, WEXITED) < 0 && errno == EINTR)
		;
	c->pid = 0;
	if (info.si_code == CLD_EXITED)
		(void)snprintf(how, size, "ended with status %d", info.si_status);
	else
		(void)snprintf(how, size, "was killed by signal %d (%s)", info.si_status,
		               strsignal(info.si_status)); /* NOLINT: one thread */
}

void wh_companion_close(struct wh_companion *c)
{
	char how[64];

	if (c->pid > 0) {
		/* Our child, not yet waited for: it is the right one. */
		(void)kill(c->pid, SIGKILL);
		wh_companion_reap(c, how, sizeof(how));
	}
	wh_closep(&c->sock);
	wh_closep(&c->pidfd);
	wh_closep(&c->stats_fd);
	if (c->stats)
		(void)munmap(c->stats, c->stats_bytes);
	c->stats = NULL;
}
