/* SPDX-License-Identifier: Apache-2.0 */

/* Memlock - RLIMIT_MEMLOCK, which memory that is pinned for a device counts against. */

#ifndef WH_MEMLOCK_H
#define WH_MEMLOCK_H

#include <stdint.h>

#include "wherry/error.h"

/*
 * See to it that this process and its children, each, may pin @bytes: raise the limit where it is lower. Who
 * has CAP_IPC_LOCK has no limit. Return: 0, or -EPERM with the remedy in words.
 */
wh_must_check int wh_memlock_allow(uint64_t bytes, struct wh_error *err);

/* What may be pinned now, in bytes; UINT64_MAX: all. */
uint64_t wh_memlock_bytes(void);

#endif
