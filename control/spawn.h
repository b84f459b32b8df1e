/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Spawn - start a program with nothing of ours but what it is given.
 *
 * The child has standard input from /dev/null, our standard output and error, our environment,
 * no other descriptor, and default signals.
 */

#ifndef WH_SPAWN_H
#define WH_SPAWN_H

#include <stdbool.h>
#include <sys/types.h>

#include "wherry/cleanup.h"

struct wh_spawn {
	char *const *argv; /* ends in NULL; argv[0] is a path or is looked up in PATH */
	int procs_fd;      /* enter the cgroup with this cgroup.procs; -1 to stay */
	int worker_fd;     /* becomes WH_WORKER_FD; -1 for none */
	bool die_with_us;  /* the kernel kills it when we end */
	bool new_session;
};

/**
 * wh_spawn() - Start it
 * @ret_pid:	receives the child, to be waited for
 * @ret_pidfd:	receives a pidfd of it, the caller's
 *
 * Return: 0 once the program runs, or -errno, also if it could not be executed.
 */
wh_must_check int wh_spawn(pid_t *ret_pid, int *ret_pidfd, const struct wh_spawn *how);

#endif
