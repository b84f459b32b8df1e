/* SPDX-License-Identifier: Apache-2.0 */

/*
 * RPC frames - what a libvirtd says on a connection, as far as it has to be understood.
 *
 * A frame is its length, then program, version, procedure, type, serial and status, each of 32 bits and
 * big-endian, and the rest. Replies to calls can be held back, while keep-alive and events go on: a client
 * that waits for an answer waits on, and does not think the other side dead.
 *
 * One call is known by its number: Finish, by which the source's libvirt tells the target's that the guest is to
 * run there, or, if its last word says so, that it is not.
 *
 * Source: libvirt, src/rpc/virnetprotocol.x, src/remote/remote_protocol.x.
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
	bool call;      /* not of the keep-alive, as what follows */
	bool reply;
	bool finish; /* the one or the other, of Finish */
	bool good;   /* reply: what was called did not fail */
};

/*
 * Read the beginning of a frame. Return: 1; 0 if there are too few bytes to tell; -EPROTO if it is none.
 */
wh_must_check int wh_rpc_frame_read(struct wh_rpc_frame *ret, const void *data, size_t len);

/* Whether a call of Finish, of which all is there, says that the guest stays where it is. */
bool wh_rpc_is_cancelled(const void *data, size_t len);

#endif
