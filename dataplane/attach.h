/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Attach - get a userfaultfd of a hypervisor that knows nothing of it.
 *
 * A userfaultfd belongs to the process that makes it. So the hypervisor's main thread is stopped
 * with ptrace, made to run userfaultfd(2) and the ioctls that register its guest memory, and let
 * go again, within a few milliseconds. The descriptor is copied here with pidfd_getfd(2) and
 * closed there: from then on ours is the only one, and when it is closed, by us or by our death,
 * the kernel unregisters the memory and the hypervisor is as it was.
 *
 * Needs CAP_SYS_PTRACE. x86-64 only: elsewhere wh_attach() returns -EOPNOTSUPP.
 */

#ifndef WH_ATTACH_H
#define WH_ATTACH_H

#include <sys/types.h>

#include "vmm_map.h"

#include "wherry/cleanup.h"
#include "wherry/error.h"

/**
 * wh_attach() - Register @map for asynchronous write protection
 *
 * Return: a userfaultfd of @pid, non-blocking and the caller's; -EBUSY if something else tracks
 * that memory already; or -errno. After a failure the process is as it was before.
 */
wh_must_check int wh_attach(pid_t pid, const struct wh_vmm_map *map, struct wh_error *err);

/**
 * wh_attach_faults() - Have the process wait where @map has no page yet
 * @there:	receives the userfaultfd's number in the process, where it stays open
 *
 * Where memory is kept it waits for every page.
 *
 * So that nobody else's death ends the waiting: without any descriptor the kernel would unregister
 * the memory, and a page that is yet to come would read as zero.
 *
 * Return: as wh_attach().
 */
wh_must_check int wh_attach_faults(pid_t pid, const struct wh_vmm_map *map, int *there,
                                   struct wh_error *err);

/**
 * wh_attach_loosen() - Have the process forget what it maps of @range
 *
 * The memory stays where it is. Who touches it maps it again, or waits for it, if it is registered by
 * then. The process stands still meanwhile, for 100 ms for each GiB in small pages.
 *
 * Return: 0 or -errno.
 */
wh_must_check int wh_attach_loosen(pid_t pid, const struct wh_vmm_range *range,
                                   struct wh_error *err);

/* Copy descriptor @there of process @pid. Return: ours, or -errno. */
wh_must_check int wh_attach_take(pid_t pid, int there, struct wh_error *err);

/* Have the process close it. Return: 0 or -errno. */
wh_must_check int wh_attach_drop(pid_t pid, int there, struct wh_error *err);

#endif
