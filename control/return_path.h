/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Return path - what an incoming QEMU says to the outgoing one, as far as it has to be understood.
 *
 * Each message is a type and a length, both of 16 bits and big-endian, and as many bytes as that. They
 * may come in pieces of any size.
 */

#ifndef WH_RETURN_PATH_H
#define WH_RETURN_PATH_H

#include <stddef.h>
#include <stdint.h>

#include "wherry/cleanup.h"

/* Zeroed memory is one that has heard nothing. */
struct wh_return_path {
	uint8_t header[4];
	size_t header_bytes;
	size_t skip_bytes; /* of the message that is being read */
};

/*
 * Read on. Return: 1 if the message was among it that allows the source to stop its guest
 * (MIG_RP_MSG_SWITCHOVER_ACK): nothing is to be read after that; 0 if it was not; -EPROTO for
 * what no QEMU says before it.
 */
wh_must_check int wh_return_path_read(struct wh_return_path *path, const void *data, size_t len);

#endif
