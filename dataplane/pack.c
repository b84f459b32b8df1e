/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Before a write the socket is looked at: how much the peer has, and whether anything waits. While
 * writes go as they are, short ones do not ask, because that would cost as much as to send them;
 * and a little of a longer one is compressed now and then, only to know.
 */

#include "pack.h"

#include <errno.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "wherry/clock.h"
#include "wherry/limits.h"

/* Shorter writes do not ask. */
#define LOOK_MIN (4 * WH_PAGE_SIZE)

/* Contents compressed only to know what it would bring, at most. */
#define SAMPLE (64u * 1024u)

int wh_pack_init(struct wh_pack *pack, int fd, enum wh_compression mode)
{
	pack->fd = fd;
	pack->mode = mode;
	if (mode == WH_COMPRESSION_NONE)
		return 0;
	pack->compressor = wh_compressor_new();
	return pack->compressor ? 0 : -ENOMEM;
}

void wh_pack_done(struct wh_pack *pack)
{
	pack->compressor = wh_compressor_free(pack->compressor);
}

/* Compress, and learn what it costs and brings. */
static const uint8_t *compress(struct wh_pack *pack, const void *contents, uint32_t len,
                               uint32_t *ret)
{
	const uint64_t start_ns = wh_now_ns(&wh_clock_monotonic);
	const uint8_t *payload = wh_compress(pack->compressor, contents, len, ret);

	wh_compress_pays_measured(&pack->pays, len, *ret,
	                          wh_now_ns(&wh_clock_monotonic) - start_ns);
	return payload;
}

/* Look at the socket and decide. */
static void look(struct wh_pack *pack, const void *contents, uint32_t len)
{
	struct tcp_info info = { 0 };
	socklen_t size = sizeof(info);
	struct wh_socket_look now = { .now_ns = wh_now_ns(&wh_clock_monotonic) };
	uint32_t unused;

	/* If it fails, so will sending; and nothing waits. */
	(void)getsockopt(pack->fd, IPPROTO_TCP, TCP_INFO, &info, &size);
	now.acked_bytes = info.tcpi_bytes_acked;
	now.backlog = info.tcpi_notsent_bytes > 0;
	wh_compress_pays_look(&pack->pays, &now);
	if (wh_compress_pays_wants_sample(&pack->pays))
		(void)compress(pack, contents, len < SAMPLE ? len : SAMPLE, &unused);
}

const uint8_t *wh_pack_write(struct wh_pack *pack, const void *contents, uint32_t len,
                             uint32_t *ret)
{
	const uint8_t *payload;

	if (pack->mode == WH_COMPRESSION_NONE)
		return NULL;
	if (pack->mode == WH_COMPRESSION_AUTO && (pack->pays.on || len >= LOOK_MIN))
		look(pack, contents, len);
	if (pack->mode == WH_COMPRESSION_AUTO && !pack->pays.on)
		return NULL;
	payload = compress(pack, contents, len, ret);
	if (payload) {
		atomic_fetch_add_explicit(&pack->raw_bytes, len, memory_order_relaxed);
		atomic_fetch_add_explicit(&pack->bytes, *ret, memory_order_relaxed);
	}
	return payload;
}
