/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Spawn - fork, set up, execute.
 *
 * The child reports why it could not execute through a pipe that closes when it does.
 */

#include "spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <signal.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "files.h"

#include "wherry/fdpass.h"
#include "wherry/worker.h"

static int enter_cgroup(int procs_fd)
{
	return procs_fd >= 0 && write(procs_fd, "0", 1) < 0 ? -errno : 0;
}

static int take_descriptors(const struct wh_spawn *how)
{
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC);

	if (null < 0 || dup2(null, STDIN_FILENO) < 0)
		return -errno;
	/* Everything of ours is close-on-exec already; this also covers what a library forgot. */
	if (syscall(SYS_close_range, 3, ~0u, CLOSE_RANGE_CLOEXEC) < 0)
		return -errno;
	if (how->worker_fd < 0)
		return 0;
	if (how->worker_fd == WH_WORKER_FD)
		return fcntl(WH_WORKER_FD, F_SETFD, 0) < 0 ? -errno : 0;
	return dup2(how->worker_fd, WH_WORKER_FD) < 0 ? -errno : 0;
}

static int reset_signals(void)
{
	sigset_t none;

	(void)sigemptyset(&none);
	return -pthread_sigmask(SIG_SETMASK, &none, NULL);
}

/* In the child. Return: -errno; does not return if all went well. */
static int become(const struct wh_spawn *how, pid_t parent)
{
	int r = enter_cgroup(how->procs_fd);

	if (r == 0 && how->new_session && setsid() < 0)
		r = -errno;
	if (r == 0 && how->die_with_us && prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
		r = -errno;
	/* The parent may have died before that. */
	if (r == 0 && how->die_with_us && getppid() != parent)
		r = -ECHILD;
	if (r == 0)
		r = take_descriptors(how);
	if (r == 0)
		r = reset_signals();
	if (r < 0)
		return r;
	(void)execvp(how->argv[0], how->argv);
	return -errno;
}

int wh_spawn(pid_t *ret_pid, int *ret_pidfd, const struct wh_spawn *how)
{
	wh_cleanup(wh_closep) int in = -1;
	wh_cleanup(wh_closep) int pidfd = -1;
	const pid_t parent = getpid();
	int pipe_fds[2];
	int code = 0;
	pid_t pid;
	ssize_t n;

	if (pipe2(pipe_fds, O_CLOEXEC) < 0)
		return -errno;
	in = pipe_fds[0];
	pid = fork();
	if (pid == 0) {
		/* Out of the way of what will be at WH_WORKER_FD. */
		int report = fcntl(pipe_fds[1], F_DUPFD_CLOEXEC, WH_WORKER_FD + 1);

		(void)close(pipe_fds[1]);
		code = become(how, parent);
		(void)!write(report, &code, sizeof(code)); /* nobody else could be told */
		_exit(127);
	}
	code = pid < 0 ? -errno : 0;
	(void)close(pipe_fds[1]);
	if (pid < 0)
		return code;

	do
		n = read(in, &code, sizeof(code));
	while (n < 0 && errno == EINTR);
	pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (n == 0 && pidfd >= 0) {
		*ret_pid = pid;
		*ret_pidfd = wh_steal_fd(&pidfd);
		return 0;
	}
	if (n == 0)
		code = -errno;
	(void)kill(pid, SIGKILL);
	(void)waitpid(pid, NULL, 0); /* it is ours and about to end */
	return code;
}
