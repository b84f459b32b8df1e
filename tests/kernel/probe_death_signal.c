/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What ends a mover whose daemon is gone: PR_SET_PDEATHSIG. Its descriptors, and so its tracking,
 * its sockets and its limit, go with it.
 *
 * The signal comes when the *thread* that forked ends, so a mover is started by the main thread.
 */

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tap.h"

#define PAUSE_MS 200  /* long enough for a signal on its way */
#define WAIT_MS  5000 /* long enough for anything that happens at all */

/* The writing end is open in the child alone: the reading end is at its end when it is dead. */
struct child {
	int alive[2];
	pid_t pid;
};

static bool ends_within(const struct child *c, int wait_ms)
{
	struct pollfd end = { .fd = c->alive[0], .events = POLLIN };

	return poll(&end, 1, wait_ms) == 1 && end.revents & POLLHUP;
}

static void make_pipe(struct child *c)
{
	tap_need(pipe(c->alive) == 0, "pipe");
}

static void fork_child(struct child *c)
{
	c->pid = fork();
	tap_need(c->pid >= 0, "fork");
	if (c->pid > 0)
		return;
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
		_exit(1);
	if (write(c->alive[1], "", 1) == 1)
		(void)pause();
	_exit(0);
}

static void wait_until_armed(const struct child *c)
{
	char byte;

	tap_need(read(c->alive[0], &byte, 1) == 1, "the child's start");
}

static void dies_with_a_killed_parent(void)
{
	struct child c = { .pid = -1 };
	pid_t parent;

	make_pipe(&c);
	parent = fork();
	tap_need(parent >= 0, "fork");
	if (parent == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		fork_child(&c);
		(void)close(c.alive[1]);
		(void)pause();
		_exit(0);
	}
	(void)close(c.alive[1]);
	wait_until_armed(&c);
	tap_ok(!ends_within(&c, 0), "the child lives as long as its parent");

	(void)kill(parent, SIGKILL);
	tap_ok(ends_within(&c, WAIT_MS),
	       "a killed parent takes it along, with all its descriptors");
	(void)waitpid(parent, NULL, 0);
	(void)close(c.alive[0]);
}

static void *fork_and_end(void *arg)
{
	struct child *c = arg;

	fork_child(c);
	wait_until_armed(c);
	return NULL;
}

static void dies_with_the_thread_that_forked(void)
{
	struct child c = { .pid = -1 };
	pthread_t thread;
	int status = 0;

	make_pipe(&c);
	tap_need(pthread_create(&thread, NULL, fork_and_end, &c) == 0, "pthread_create");
	(void)pthread_join(thread, NULL);
	(void)close(c.alive[1]);

	tap_ok(ends_within(&c, WAIT_MS), "a child of a thread dies when that THREAD ends");
	tap_need(waitpid(c.pid, &status, 0) == c.pid, "waitpid");
	tap_ok(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "by the signal, not by itself");
	(void)close(c.alive[0]);
}

static void lives_on_beside_other_threads(void)
{
	struct child c = { .pid = -1 };

	make_pipe(&c);
	fork_child(&c);
	(void)close(c.alive[1]);
	wait_until_armed(&c);

	tap_ok(!ends_within(&c, PAUSE_MS), "a child of the main thread lives on");
	(void)kill(c.pid, SIGKILL);
	(void)waitpid(c.pid, NULL, 0);
	(void)close(c.alive[0]);
}

int main(void)
{
	dies_with_a_killed_parent();
	dies_with_the_thread_that_forked();
	lives_on_beside_other_threads();
	return tap_done();
}
