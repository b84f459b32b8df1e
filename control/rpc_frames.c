/* SPDX-License-Identifier: Apache-2.0 */

#include "rpc_frames.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

#define REMOTE_PROGRAM 0x20008086u

/* "keep" */
#define KEEP_ALIVE_PROGRAM 0x6b656570u

/* REMOTE_PROC_DOMAIN_MIGRATE_FINISH3_PARAMS */
#define PROCEDURE_FINISH 306u

enum type {
	TYPE_CALL = 0,
	TYPE_REPLY = 1,
	TYPE_CALL_WITH_FDS = 4,
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
	bool alive;

	if (len < WH_RPC_HEADER_BYTES)
		return 0;
	type = word(frame, 4);
	ret->bytes = word(frame, 0);
	if (ret->bytes < WH_RPC_HEADER_BYTES || ret->bytes > WH_RPC_FRAME_MAX || type >= TYPES)
		return -EPROTO;
	alive = word(frame, 1) == KEEP_ALIVE_PROGRAM;
	ret->call = (type == TYPE_CALL || type == TYPE_CALL_WITH_FDS) && !alive;
	ret->reply = (type == TYPE_REPLY || type == TYPE_REPLY_WITH_FDS) && !alive;
	ret->finish = (ret->call || ret->reply) && word(frame, 1) == REMOTE_PROGRAM &&
	              word(frame, 3) == PROCEDURE_FINISH;
	ret->good = word(frame, 6) == 0;
	return 1;
}

bool wh_rpc_is_cancelled(const void *data, size_t len)
{
	const size_t words = len / sizeof(uint32_t); /* XDR has nothing else */

	return word(data, words - 1) != 0;
}
