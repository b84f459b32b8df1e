/* SPDX-License-Identifier: Apache-2.0 */

#include "return_path.h"

#include <errno.h>

/* QEMU's numbers: enum mig_rp_message_type of migration/migration.c. Later versions append to it. */
enum {
	RP_INVALID = 0,
	RP_RECV_BITMAP =
		5, /* followed by more than its length says; only in a recovery of post-copy */
	RP_SWITCHOVER_ACK = 7,
};

static uint16_t be16(const uint8_t *at)
{
	return (uint16_t)(at[0] << 8 | at[1]);
}

/* A header is complete. Return: as wh_return_path_read(). */
static int judge(struct wh_return_path *p)
{
	const uint16_t type = be16(p->header);

	p->header_bytes = 0;
	p->skip_bytes = be16(p->header + 2);
	if (type == RP_INVALID || type == RP_RECV_BITMAP)
		return -EPROTO;
	/* It has no contents; if it ever gets some, it has been said all the same. */
	return type == RP_SWITCHOVER_ACK;
}

int wh_return_path_read(struct wh_return_path *p, const void *data, size_t len)
{
	const uint8_t *at = data;
	const uint8_t *end = at + len;

	while (at < end) {
		const size_t left = (size_t)(end - at);
		const size_t skip = p->skip_bytes < left ? p->skip_bytes : left;
		int r = 0;

		p->skip_bytes -= skip;
		at += skip;
		if (at == end)
			break;
		p->header[p->header_bytes++] = *at++;
		if (p->header_bytes == sizeof(p->header))
			r = judge(p);
		if (r != 0)
			return r;
	}
	return 0;
}
