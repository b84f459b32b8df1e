/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Lab - a place to try kernel features in: a network namespace with only a loopback device, and
 * a cgroup leaf. Both are gone afterwards, however the test ends.
 */

#ifndef WH_LAB_H
#define WH_LAB_H

#include <sys/types.h>

#include "cgroup.h"

#define LAB_SKIP 77

struct lab {
	int parent_fd;
	struct wh_cgroup *leaf;
};

/*
 * Run @body in a lab, in a process of its own. Return: what main() returns; LAB_SKIP, after
 * saying why, if this machine cannot provide a lab.
 */
int lab_run(const char *name, int (*body)(const struct lab *lab));

/* Run @child in a new process inside the leaf; it exits with what @child returns. */
pid_t lab_spawn(const struct lab *lab, int (*child)(void *arg), void *arg);

/* Wait for @pid. Return: its exit code, or -1 if a signal ended it. */
int lab_wait(pid_t pid);

#endif
