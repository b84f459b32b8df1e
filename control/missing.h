/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Missing - the file in which a target's movers keep which pages the source still owes.
 *
 * It outlives movers and wherryd, not the machine: neither does the guest. So it belongs beside
 * wherryd's socket, on a tmpfs, where a store to it never waits for a disk.
 */

#ifndef WH_MISSING_H
#define WH_MISSING_H

#include <stdint.h>

#include "wherry/cleanup.h"
#include "wherry/error.h"

/* Make a zeroed one for a guest of @ram_bytes. Return: its descriptor, or -errno. */
wh_must_check int wh_missing_make(const char *path, uint64_t ram_bytes, struct wh_error *err);

/* Open the one that is there. Return: its descriptor, or -errno. */
wh_must_check int wh_missing_open(const char *path, uint64_t ram_bytes, struct wh_error *err);

#endif
