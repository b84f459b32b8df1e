/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Remote - make another process's main thread run system calls, with ptrace.
 *
 * Between open and close the thread stands still. Close puts it back exactly where it was: the
 * kernel restarts the system call it slept in, and signals that arrived meanwhile are sent again.
 * A caller that dies in between leaves the thread with the wrong registers, so keep it short; death
 * by PR_SET_PDEATHSIG waits until close.
 *
 * Threads: ptrace ties it to the thread that opened it.
 */

#ifndef WH_REMOTE_H
#define WH_REMOTE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "wherry/cleanup.h"
#include "wherry/error.h"

struct wh_remote;

/* Return: 0; -EOPNOTSUPP on a machine that is not x86-64; or -errno. */
wh_must_check int wh_remote_open(struct wh_remote **ret, pid_t pid, struct wh_error *err);

struct wh_remote *wh_remote_close(struct wh_remote *remote);

/* Run a system call there. Return: its result, a negative errno included. */
wh_must_check long wh_remote_call(struct wh_remote *remote, long number, uint64_t arg0,
                                  uint64_t arg1, uint64_t arg2);

/* As wh_remote_call() for ioctl(@fd, @request, @arg): @arg's @len bytes, at most
 * WH_REMOTE_ARG_MAX, are copied there before and back afterwards. */
#define WH_REMOTE_ARG_MAX 256u
wh_must_check long wh_remote_ioctl(struct wh_remote *remote, int fd, unsigned long request,
                                   void *arg, size_t len);

WH_DEFINE_CLEANUP(struct wh_remote, wh_remote_close)

#endif
