/* SPDX-License-Identifier: Apache-2.0 */

#include "rpc_frames.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

/* "keep" */
#define KEEP_ALIVE_PROGRAM 0x6b656570u

enum type {
	TYPE_REPLY = 1,
	TYPE_REPLY_WITH_FDS = 5,
	TYPES = 6,
};

static uint32_t word(const uint8_t *frame, size_t i)
{
	uint32_t value;

	memcpy(&value, frame + i * sizeof(value), sizeof(value));
	return be32toh(value);
}

int wh_rpc_frame_read(struct wh_rpc_frame *ret, const void *data, size_t len)
{
	const uint8_t *frame = data;
	uint32_t type;

	if (len < WH_RPC_HEADER_BYTES)
		return 0;
	type = word(frame, 4);
	ret->bytes = word(frame, 0);
	if (ret->bytes < WH_RPC_HEADER_BYTES || ret->bytes > WH_RPC_FRAME_MAX || type >= TYPES)
		return -EPROTO;
	ret->reply = (type == TYPE_REPLY || type == TYPE_REPLY_WITH_FDS) &&
	             word(frame, 1) != KEEP_ALIVE_PROGRAM;
	ret->good = word(frame, 6) == 0;
	return 1;
}
