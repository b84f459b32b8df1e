/* SPDX-License-Identifier: Apache-2.0 */

#include "urgent.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "wherry/assert.h"

/* A record of the longest payload, and room so that one receive may bring many short ones. */
#define IN_BYTES (WH_WRITE_LEN_MAX + 65536u)

int wh_urgent_init(struct wh_urgent *urgent, int fd)
{
	urgent->fd = fd;
	urgent->in = malloc(IN_BYTES);
	return urgent->in ? 0 : -ENOMEM;
}

void wh_urgent_done(struct wh_urgent *urgent)
{
	free(urgent->in);
	urgent->in = NULL;
}

int wh_urgent_receive(struct wh_urgent *urgent)
{
	ssize_t n;

	/* What was taken makes room; what is left of a record moves to the front. */
	urgent->have -= urgent->used;
	memmove(urgent->in, urgent->in + urgent->used, urgent->have);
	urgent->used = 0;
	n = recv(urgent->fd, urgent->in + urgent->have, IN_BYTES - urgent->have, MSG_DONTWAIT);
	if (n == 0)
		return -ECONNRESET;
	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	urgent->have += (uint32_t)n;
	return 0;
}

/* Whether a record of this kind may have such a length. */
static bool is_sound(const struct wh_record *record)
{
	switch (record->type) {
	case WH_RECORD_FETCH:
	case WH_RECORD_ZEROES:
	case WH_RECORD_READ_GRANT:
	case WH_RECORD_HAVE:
		return record->length == WH_SPAN_BYTES;
	case WH_RECORD_READ_OFFER:
		return record->length == WH_OFFER_BYTES;
	case WH_RECORD_READ_KEY:
		return record->length == WH_KEY_BYTES;
	case WH_RECORD_READ_DONE:
	case WH_RECORD_READ_OVER:
		return record->length == 0;
	case WH_RECORD_WRITE:
		return record->length > 0 && record->length <= WH_WRITE_LEN_MAX &&
		       record->length % WH_PAGE_SIZE == 0;
	default:
		return false;
	}
}

int wh_urgent_next(struct wh_urgent *urgent, struct wh_record *record, const uint8_t **payload)
{
	const uint8_t *at = urgent->in + urgent->used;
	const uint32_t have = urgent->have - urgent->used;

	if (have < WH_RECORD_HEADER)
		return 0;
	*record = wh_record_decode(at);
	if (!is_sound(record))
		return -EPROTO;
	if (have < WH_RECORD_HEADER + record->length)
		return 0;
	*payload = at + WH_RECORD_HEADER;
	urgent->used += WH_RECORD_HEADER + record->length;
	return 1;
}

int wh_urgent_put(struct wh_urgent *urgent, const struct wh_record *record, const void *payload)
{
	uint8_t *at;
	int r = 0;

	wh_assert(record->length <= WH_URGENT_SHORT_MAX);
	if (sizeof(urgent->out) - urgent->out_len < WH_RECORD_HEADER + record->length)
		r = wh_urgent_flush(urgent);
	if (r < 0)
		return r;
	at = urgent->out + urgent->out_len;
	wh_record_encode(at, record);
	if (record->length > 0)
		memcpy(at + WH_RECORD_HEADER, payload, record->length);
	urgent->out_len += WH_RECORD_HEADER + record->length;
	return 0;
}

int wh_urgent_span(struct wh_urgent *urgent, const struct wh_record *record, uint32_t bytes)
{
	uint8_t payload[WH_SPAN_BYTES];

	wh_assert(record->length == WH_SPAN_BYTES);
	wh_span_encode(payload, bytes);
	return wh_urgent_put(urgent, record, payload);
}

/* Send all of @iov, which is used up. Return: 0 or -errno. */
static int send_all(struct wh_urgent *urgent, struct iovec *iov, size_t count)
{
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = count };

	/* This ends: bytes leave, or the connection fails. */
	while (msg.msg_iovlen > 0) {
		ssize_t n = sendmsg(urgent->fd, &msg, MSG_NOSIGNAL);

		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0)
			atomic_fetch_add_explicit(&urgent->sent_bytes, (uint64_t)n,
			                          memory_order_relaxed);
		while (msg.msg_iovlen > 0 && n >= (ssize_t)msg.msg_iov->iov_len) {
			n -= (ssize_t)msg.msg_iov->iov_len;
			msg.msg_iov++;
			msg.msg_iovlen--;
		}
		if (msg.msg_iovlen > 0 && n > 0) {
			msg.msg_iov->iov_base = (uint8_t *)msg.msg_iov->iov_base + n;
			msg.msg_iov->iov_len -= (size_t)n;
		}
	}
	return 0;
}

int wh_urgent_flush(struct wh_urgent *urgent)
{
	struct iovec iov = { .iov_base = urgent->out, .iov_len = urgent->out_len };

	if (urgent->out_len == 0)
		return 0;
	urgent->out_len = 0;
	return send_all(urgent, &iov, 1);
}

int wh_urgent_write(struct wh_urgent *urgent, const struct wh_record *record, const void *payload)
{
	uint8_t header[WH_RECORD_HEADER];
	struct iovec iov[] = {
		{ .iov_base = urgent->out, .iov_len = urgent->out_len },
		{ .iov_base = header, .iov_len = sizeof(header) },
		{ .iov_base = (void *)(uintptr_t)payload, .iov_len = record->length },
	};
	const size_t skip = urgent->out_len == 0;

	urgent->out_len = 0;
	wh_record_encode(header, record);
	return send_all(urgent, iov + skip, 3 - skip);
}
