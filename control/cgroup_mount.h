/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Cgroup mounts - where this host has its cgroup hierarchies.
 *
 * There is one of version 2, and on older and hybrid hosts several of version 1, each with some of
 * the controllers. Where they are is in /proc/self/mountinfo.
 */

#ifndef WH_CGROUP_MOUNT_H
#define WH_CGROUP_MOUNT_H

#include <stdbool.h>

#include "wherry/cleanup.h"
#include "wherry/error.h"

/*
 * The mount point that @line of mountinfo names, if it is a cgroup hierarchy of version 2 (@controller
 * NULL), or the one of version 1 with @controller. It is inside @line, which is changed. Return: it,
 * or NULL.
 */
char *wh_cgroup_mount_match(char *line, const char *controller);

/* Open the root of that hierarchy. Return: the descriptor, the caller's; -ENOENT; or -errno. */
wh_must_check int wh_cgroup_mount_open(const char *controller, struct wh_error *err);

/* Whether @word is one of @list, whose words are separated by commas. */
bool wh_cgroup_has_word(const char *list, const char *word);

#endif
