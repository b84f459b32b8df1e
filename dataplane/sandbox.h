/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WH_SANDBOX_H
#define WH_SANDBOX_H

#include "wherry/cleanup.h"
#include "wherry/error.h"

/*
 * Give up, for this process and for good, the system calls that a mover never makes and that could
 * undo what is imposed on it: bpf(2), with which it could detach its own limit, and those that
 * start programs. Call it before a byte is read from the network and before the first thread.
 *
 * Return: 0 or -errno.
 */
wh_must_check int wh_sandbox_enter(struct wh_error *err);

#endif
