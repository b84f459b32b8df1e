/* SPDX-License-Identifier: Apache-2.0 */

/*
 * RPC frames - what a libvirtd says on a connection, as far as it has to be understood.
 *
 * A frame is its length, then program, version, procedure, type, serial and status, each of 32 bits and
 * big-endian, and the rest. Replies to calls can be held back, while keep-alive and events go on: a client
 * that waits for an answer waits on, and does not think the other side dead.
 *
 * Source: libvirt, src/rpc/virnetprotocol.x.
 */

#ifndef WH_RPC_FRAMES_H
#define WH_RPC_FRAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wherry/cleanup.h"

#define WH_RPC_HEADER_BYTES 28u

/* What libvirt allows. */
#define WH_RPC_FRAME_MAX (32u << 20)

/* One frame's beginning. */
struct wh_rpc_frame {
	uint32_t bytes; /* of the whole frame */
	bool reply;     /* to a call, and not of the keep-alive */
	bool good;      /* what was called did not fail */
};

/*
 * Read the beginning of a frame. Return: 1; 0 if there are too few bytes to tell; -EPROTO if it is none.
 */
wh_must_check int wh_rpc_frame_read(struct wh_rpc_frame *ret, const void *data, size_t len);

#endif
