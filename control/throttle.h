/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Throttle - slows the vCPUs of one guest, by the CPU time that their threads get.
 *
 * Each vCPU's thread gets a group of its own (cpu_group.h), so that one that is idle gives nothing
 * to one that is not. The hypervisor's other threads are as fast as ever.
 *
 * QEMU's own way of slowing vCPUs (cpu-throttle-initial and so on) is no use here: only the thread
 * of a migration that carries RAM turns it on. docs/decisions has more.
 *
 * Life: groups outlive this process. The next one undoes them with wh_throttle_sweep().
 *
 * Threads: one at a time.
 */

#ifndef WH_THROTTLE_H
#define WH_THROTTLE_H

#include <stddef.h>
#include <sys/types.h>

#include "wherry/cleanup.h"
#include "wherry/error.h"

struct wh_throttle;

struct wh_throttle_config {
	const char *id; /* of the migration */
	pid_t pid;      /* of the hypervisor */
	const pid_t *threads;
	size_t count; /* at most WH_VCPUS_MAX; one thread may run several vCPUs, and is named often */
};

/**
 * wh_throttle_open() - Put the threads into groups, at full speed
 * @ret:	receives the throttle; owned by the caller, untouched on failure
 * @err:	receives the reason in words: why this guest cannot be slowed
 *
 * Return: 0 or -errno, and then all is as it was.
 */
wh_must_check int wh_throttle_open(struct wh_throttle **ret, const struct wh_throttle_config *cfg,
                                   struct wh_error *err);

/* Let the threads lose @percent of their time. 0 is full speed, and takes effect at once. */
wh_must_check int wh_throttle_set(struct wh_throttle *throttle, unsigned percent,
                                  struct wh_error *err);

/*
 * Full speed, groups removed, object freed; that the hypervisor is gone is fine. Return: 0 or -errno
 * if a group, which does nothing any more, is left.
 */
int wh_throttle_close(struct wh_throttle *throttle, struct wh_error *err);

/* Undo what an earlier wherryd did for migration @id. Return: how many groups, or -errno. */
wh_must_check int wh_throttle_sweep(const char *id, struct wh_error *err);

#endif
