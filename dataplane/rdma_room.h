/* SPDX-License-Identifier: Apache-2.0 */

/*
 * RDMA room - how much memory one migration may have known to a device at once.
 *
 * Threads: no state.
 */

#ifndef WH_RDMA_ROOM_H
#define WH_RDMA_ROOM_H

#include <stdbool.h>
#include <stdint.h>

#include "wherry/cleanup.h"
#include "wherry/error.h"

/*
 * How many bytes may be enrolled at once: @wanted, or what this process may pin if that is less, unless
 * they are enrolled @on_demand. Return: 0; or -EPERM if that is less than a chunk of @chunk_bytes, with
 * what to do about it in @err.
 */
wh_must_check int wh_rdma_room(uint64_t wanted, uint64_t chunk_bytes, bool on_demand, uint64_t *ret,
                               struct wh_error *err);

#endif
