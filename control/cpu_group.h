/* SPDX-License-Identifier: Apache-2.0 */

/*
 * CPU group - a cgroup for one thread of another process, in which its CPU time has a limit.
 *
 *	GROUP/			where the thread was, whoever made that
 *	GROUP/wherry.ID.TID/	the group: of this one thread, for as long as it is slowed
 *
 * The group is made below the one that the thread is in. So whatever limits the thread there, and
 * whatever counts or finds it there, still does; and to undo it nothing has to be remembered: a
 * thread goes one up, and the group is removed.
 *
 * The hierarchy is the one that has the controller "cpu". Where that is of version 1, a thread may
 * be moved alone. In version 2 it takes a threaded cgroup, and these can be below one that has
 *
 *	the controller "cpu" on offer: systemd gives it to units that have a CPUWeight= or CPUQuota=,
 *	or Delegate=cpu;
 *	no cgroups with processes below it, and hands on no other controller but those for threads.
 *
 * That is so for a hypervisor in a service or scope of its own, and below libvirt's vCPU groups.
 * Where it is not so, nothing is changed to make it so: that would change things for others.
 *
 * Paths are relative to the root of the hierarchy, and "." is that.
 *
 * Threads: one at a time.
 */

#ifndef WH_CPU_GROUP_H
#define WH_CPU_GROUP_H

#include <stdbool.h>
#include <sys/types.h>

#include "throttle_plan.h"

#include "wherry/cleanup.h"
#include "wherry/error.h"
#include "wherry/limits.h"

/* Room for the path of a cgroup: the kernel writes none that is longer into /proc. */
#define WH_CPU_PATH_MAX 4096u

struct wh_cpu_tree {
	int fd; /* the root of the hierarchy; -1 if it is not open */
	bool v2;
};

struct wh_cpu_thread {
	pid_t pid;
	pid_t tid;
};

struct wh_cpu_group {
	char *path;              /* from malloc() */
	unsigned have_per_mille; /* of a CPU: what cgroups above leave the thread anyway */
};

/* Find the hierarchy. Return: 0, -ENOENT if the host has none with the controller, or -errno. */
wh_must_check int wh_cpu_tree_open(struct wh_cpu_tree *ret, struct wh_error *err);
void wh_cpu_tree_close(struct wh_cpu_tree *tree);

/**
 * wh_cpu_group_make() - Put a thread into a group of its own, without a limit
 * @ret:	receives the group, to be given to wh_cpu_group_undo(); untouched on failure
 * @thread:	which one; it must be of that process
 * @id:		of the migration: what wh_cpu_group_sweep() finds the group by
 *
 * Return: 0; -ESRCH if there is no such thread; -EOPNOTSUPP with the remedy if its cgroup cannot
 * have one below; or -errno. On failure all is as it was.
 */
wh_must_check int wh_cpu_group_make(struct wh_cpu_group *ret, const struct wh_cpu_tree *tree,
                                    const char *id, struct wh_cpu_thread thread,
                                    struct wh_error *err);

/* Take @percent of what the thread has; 0 takes nothing. Return: 0 or -errno. */
wh_must_check int wh_cpu_group_slow(const struct wh_cpu_group *group,
                                    const struct wh_cpu_tree *tree, unsigned percent,
                                    struct wh_error *err);

/*
 * Let its threads have all again, put them where they were, remove the group and free what @group
 * holds. Return: 0, also if all is gone already, or -errno; then the limit at least is gone.
 */
int wh_cpu_group_undo(struct wh_cpu_group *group, const struct wh_cpu_tree *tree,
                      struct wh_error *err);

/* Undo all groups of migration @id, wherever they are. Return: how many, or the first -errno. */
wh_must_check int wh_cpu_group_sweep(const struct wh_cpu_tree *tree, const char *id,
                                     struct wh_error *err);

/*
 * The path of a thread's cgroup, from the text of its /proc/PID/task/TID/cgroup. Return: 0, or
 * -EPROTO if it has none that can be seen from here.
 */
wh_must_check int wh_cpu_path_parse(char path[WH_CPU_PATH_MAX], const char *text, bool v2);

/* What "QUOTA PERIOD" is of a CPU, 1 to 1000; a quota of -1, or "max", is none. */
unsigned wh_cpu_quota_parse(const char *text);

#endif
