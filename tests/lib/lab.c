/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Lab - two processes: one runs the test, the other waits for it and cleans up.
 *
 * The namespace has no name and dies with the test. The cgroups are removed by the waiting
 * process, with whatever still runs in them, also if the test crashed or a signal came.
 */

#include "lab.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "wherry/assert.h"
#include "wherry/clock.h"
#include "wherry/fdpass.h"

#define CLEANUP_NS (5 * WH_NSEC_PER_SEC)

/* Jumbo frames, as on a migration network. By default loopback has segments of 64 KiB. */
#define LO_MTU 9000

static int skip(const char *why)
{
	(void)fprintf(stderr, "skipped: %s\n", why);
	return LAB_SKIP;
}

static int enter_network(void)
{
	struct ifreq up = { .ifr_name = "lo", .ifr_flags = IFF_UP };
	struct ifreq mtu = { .ifr_name = "lo", .ifr_mtu = LO_MTU };
	int fd;
	int r;

	if (unshare(CLONE_NEWNET) < 0)
		return -errno;
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	r = ioctl(fd, SIOCSIFMTU, &mtu) < 0 || ioctl(fd, SIOCSIFFLAGS, &up) < 0 ? -errno : 0;
	(void)close(fd);
	return r;
}

static _Noreturn void run_body(struct lab *lab, int (*body)(const struct lab *lab),
                               const sigset_t *signals)
{
	int r = enter_network();

	if (r < 0)
		_exit(skip("no network namespace can be made"));
	wh_assert(pthread_sigmask(SIG_UNBLOCK, signals, NULL) == 0);
	r = body(lab);
	(void)fflush(NULL); /* what the test has said; nothing to do if it cannot be said */
	_exit(r);
}

/* Wait until @pid ends. A signal meant for us ends it, too. Return: our exit code. */
static int wait_for_body(pid_t pid, const sigset_t *signals)
{
	int status;

	/* This ends: the body ends by itself or is killed; meson has a timeout. */
	for (;;) {
		int signal = 0;

		wh_assert(sigwait(signals, &signal) == 0);
		if (signal != SIGCHLD)
			(void)kill(pid, SIGKILL);
		if (waitpid(pid, &status, signal == SIGCHLD ? WNOHANG : 0) == pid)
			return WIFEXITED(status) ? WEXITSTATUS(status) : EXIT_FAILURE;
	}
}

static int remove_parent(int parent_fd, const char *name)
{
	struct wh_error err = { 0 };
	int root_fd;
	int r;

	r = wh_cgroup_sweep(parent_fd, wh_now_ns(&wh_clock_monotonic) + CLEANUP_NS, &err);
	if (r >= 0)
		r = wh_cgroup_open_parent(&root_fd, "", &err);
	if (r < 0) {
		(void)fprintf(stderr, "cleanup: %s\n", err.text);
		return EXIT_FAILURE;
	}
	r = unlinkat(root_fd, name, AT_REMOVEDIR);
	if (r < 0)
		perror(name);
	wh_closep(&root_fd);
	return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

int lab_run(const char *name, int (*body)(const struct lab *lab))
{
	struct lab lab = { .parent_fd = -1 };
	struct wh_error err;
	char parent[64];
	sigset_t signals;
	pid_t pid;
	int r;

	if (geteuid() != 0)
		return skip("root is needed to make cgroups and load BPF programs");
	(void)snprintf(parent, sizeof(parent), "wherry-test-%s-%d", name, getpid());
	if (wh_cgroup_open_parent(&lab.parent_fd, parent, &err) < 0 ||
	    wh_cgroup_create(&lab.leaf, lab.parent_fd, "leaf", &err) < 0)
		return skip(err.text);

	(void)sigemptyset(&signals);
	(void)sigaddset(&signals, SIGINT);
	(void)sigaddset(&signals, SIGTERM);
	(void)sigaddset(&signals, SIGHUP);
	(void)sigaddset(&signals, SIGCHLD);
	wh_assert(pthread_sigmask(SIG_BLOCK, &signals, NULL) == 0);
	pid = fork();
	wh_assert(pid >= 0);
	if (pid == 0)
		run_body(&lab, body, &signals);

	r = wait_for_body(pid, &signals);
	lab.leaf = wh_cgroup_close(lab.leaf);
	if (remove_parent(lab.parent_fd, parent) != EXIT_SUCCESS && r == EXIT_SUCCESS)
		r = EXIT_FAILURE;
	wh_closep(&lab.parent_fd);
	return r;
}

pid_t lab_spawn(const struct lab *lab, int (*child)(void *arg), void *arg)
{
	int procs_fd = wh_cgroup_procs(lab->leaf, NULL);
	pid_t pid = fork();

	wh_assert(procs_fd >= 0 && pid >= 0);
	if (pid == 0) {
		if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || write(procs_fd, "0", 1) != 1)
			_exit(EXIT_FAILURE);
		_exit(child(arg));
	}
	wh_closep(&procs_fd);
	return pid;
}

int lab_wait(pid_t pid)
{
	int status;

	wh_assert(waitpid(pid, &status, 0) == pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}
