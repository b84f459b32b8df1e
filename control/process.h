/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Process - a process that is not, or no longer, our child, told from a later one with its pid.
 */

#ifndef WH_PROCESS_H
#define WH_PROCESS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "wherry/cleanup.h"

struct wh_process {
	pid_t pid;      /* 0 if there is none */
	uint64_t start; /* clock ticks after boot, from /proc/PID/stat */
};

/* Name the process that has @pid now. Return: 0, -ESRCH, or -errno. */
wh_must_check int wh_process_identify(struct wh_process *ret, pid_t pid);

/* A pidfd, the caller's. Return: the descriptor, -ESRCH if the process is gone, or -errno. */
wh_must_check int wh_process_open(const struct wh_process *process);

/* Send @signal if the process is still there. Return: 0, -ESRCH if it is gone, or -errno. */
int wh_process_kill(const struct wh_process *process, int signal);

/*
 * Have it stand still, by SIGSTOP: once this is 0, it has made its last step until it is thawed. Waits for that,
 * some 50 us, and more where CPUs are short; if it takes longer than 1 s the process goes on, and it is
 * -ETIMEDOUT. Return: 0, -ESRCH, or -errno.
 */
wh_must_check int wh_process_freeze(const struct wh_process *process);
int wh_process_thaw(const struct wh_process *process);

/* Whether it has ended. One that cannot be looked at, as descriptors are short, has not. */
bool wh_process_is_gone(const struct wh_process *process);

/* Whether it stands still like this, whoever did it. */
bool wh_process_is_frozen(const struct wh_process *process);

#endif
