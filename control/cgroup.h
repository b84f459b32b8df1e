/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Cgroup - one leaf of the cgroup v2 tree for each mover.
 *
 *	MOUNT/wherry/		the parent, of one daemon alone
 *	MOUNT/wherry/ID/	a leaf, of one mover
 *
 * A leaf is where a limit hangs, and how everything of a mover is found and killed. It may hold
 * processes but no further cgroups. A leaf outlives the daemon; the next one finds it with
 * wh_cgroup_sweep().
 *
 * To start a process inside a leaf, give clone3() its @dir_fd with CLONE_INTO_CGROUP, or let the
 * child write "0" to the descriptor of wh_cgroup_procs() between fork and exec.
 *
 * Threads: one at a time for each object.
 */

#ifndef WH_CGROUP_H
#define WH_CGROUP_H

#include <stddef.h>
#include <stdint.h>

#include "wherry/cleanup.h"
#include "wherry/error.h"
#include "wherry/limits.h"

struct wh_cgroup {
	int parent_fd; /* directory of the parent; its own descriptor */
	int dir_fd;    /* directory of the leaf */
	char name[WH_NAME_MAX];
};

/**
 * wh_cgroup_open_parent() - Open the directory that leaves are made in, making it if needed
 * @ret_fd:	receives the descriptor; owned by the caller, untouched on failure
 * @path:	below the cgroup v2 mount, wherever that is: "wherry", "wherry/a"
 *
 * Return: 0; -ENOENT if no cgroup v2 hierarchy is mounted; -EINVAL for a path that leads
 * elsewhere; or -errno.
 */
wh_must_check int wh_cgroup_open_parent(int *ret_fd, const char *path, struct wh_error *err);

/**
 * wh_cgroup_create() - Make a leaf
 * @ret:	receives the leaf; owned by the caller, untouched on failure
 * @name:	a plain directory name, shorter than WH_NAME_MAX
 *
 * Return: 0, -EEXIST if there is one of that name, or -errno.
 */
wh_must_check int wh_cgroup_create(struct wh_cgroup **ret, int parent_fd, const char *name,
                                   struct wh_error *err);

/* Open a leaf that is there. Return: 0, -ENOENT, or -errno. */
wh_must_check int wh_cgroup_open(struct wh_cgroup **ret, int parent_fd, const char *name,
                                 struct wh_error *err);

/* Let go of the object; the leaf stays. Accepts NULL. Returns NULL. */
struct wh_cgroup *wh_cgroup_close(struct wh_cgroup *group);

/* A descriptor of cgroup.procs to write to. Return: the descriptor, the caller's; or -errno. */
wh_must_check int wh_cgroup_procs(const struct wh_cgroup *group, struct wh_error *err);

/**
 * wh_cgroup_kill() - Kill every process in the leaf, and wait until they are gone
 * @deadline_ns: CLOCK_MONOTONIC; a time already past means "do not wait"
 *
 * Return: 0 once the leaf is empty, -ETIMEDOUT, or -errno.
 */
wh_must_check int wh_cgroup_kill(const struct wh_cgroup *group, uint64_t deadline_ns,
                                 struct wh_error *err);

/* Remove the empty leaf. Return: 0, also if it is gone already; -EBUSY if not empty; -errno. */
wh_must_check int wh_cgroup_remove(const struct wh_cgroup *group, struct wh_error *err);

/**
 * wh_cgroup_sweep() - Kill and remove every leaf that an earlier daemon left
 * @deadline_ns: CLOCK_MONOTONIC, for all of them together
 *
 * Return: the number of leaves removed, or the first failure; the others are swept all the same.
 */
wh_must_check int wh_cgroup_sweep(int parent_fd, uint64_t deadline_ns, struct wh_error *err);

WH_DEFINE_CLEANUP(struct wh_cgroup, wh_cgroup_close)

#endif
