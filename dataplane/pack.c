/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Now and then the socket is looked at: how much the peer has, and whether anything waits. While
 * writes go as they are, a little of one is compressed from time to time, only to know.
 */

#include "pack.h"

#include <errno.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "wherry/assert.h"
#include "wherry/clock.h"
#include "wherry/limits.h"

/* Contents from one look to the next: for a page alone, it would cost as much as to send it. */
#define LOOK_EVERY (4 * WH_PAGE_SIZE)

int wh_pack_init(struct wh_pack *pack, int fd, enum wh_compression mode)
{
	pack->fd = fd;
	pack->mode = mode;
	if (mode == WH_COMPRESSION_NONE)
		return 0;
	pack->compressor = wh_compressor_new();
	pack->buffer = malloc(WH_PACK_BYTES);
	return pack->compressor && pack->buffer ? 0 : -ENOMEM;
}

void wh_pack_done(struct wh_pack *pack)
{
	pack->compressor = wh_compressor_free(pack->compressor);
	free(pack->buffer);
	pack->buffer = NULL;
}

/* Compress to the end of the buffer, and learn what it costs and brings. */
static uint32_t compress(struct wh_pack *pack, const void *contents, uint32_t len)
{
	const uint64_t start_ns = wh_now_ns(&wh_clock_monotonic);
	uint32_t compressed;

	wh_assert(len <= WH_PACK_BYTES - pack->used);
	compressed = wh_compress(pack->compressor, pack->buffer + pack->used, contents, len);
	wh_compress_pays_measured(&pack->pays, len, compressed,
	                          wh_now_ns(&wh_clock_monotonic) - start_ns);
	return compressed;
}

/*
 * The bytes that wait for the link, and not for the peer to take what it has: a peer that is slow to
 * put contents in place is no faster when they come compressed.
 */
static uint64_t backlog(const struct tcp_info *info)
{
	const uint64_t on_their_way =
		info->tcpi_bytes_sent - info->tcpi_bytes_retrans - info->tcpi_bytes_acked;

	return on_their_way + info->tcpi_snd_mss <= info->tcpi_snd_wnd ? info->tcpi_notsent_bytes
	                                                               : 0;
}

/* Look at the socket, and at some contents if it is time to. */
static void look(struct wh_pack *pack, const void *contents, uint32_t len)
{
	struct tcp_info info = { 0 };
	socklen_t size = sizeof(info);
	struct wh_socket_look now = { .now_ns = wh_now_ns(&wh_clock_monotonic) };

	/* If it fails, so will sending; and nothing waits. */
	(void)getsockopt(pack->fd, IPPROTO_TCP, TCP_INFO, &info, &size);
	now.acked_bytes = info.tcpi_bytes_acked;
	now.backlog_bytes = backlog(&info);
	wh_compress_pays_look(&pack->pays, &now);
	if (wh_compress_pays_wants_sample(&pack->pays))
		(void)compress(pack, contents, len < WH_COMPRESS_SAMPLE ? len : WH_COMPRESS_SAMPLE);
}

/* Whether it pays to compress these contents now. */
static bool pays(struct wh_pack *pack, const void *contents, uint32_t len)
{
	pack->since_look += len;
	if (pack->since_look >= LOOK_EVERY) {
		pack->since_look = 0;
		look(pack, contents, len);
	}
	return wh_compress_pays_now(&pack->pays, len);
}

void wh_pack_begin(struct wh_pack *pack)
{
	pack->used = 0;
}

const uint8_t *wh_pack_write(struct wh_pack *pack, const void *contents, uint32_t len,
                             uint32_t *ret)
{
	const uint8_t *at;

	if (pack->mode == WH_COMPRESSION_NONE)
		return NULL;
	if (pack->mode == WH_COMPRESSION_AUTO && !pays(pack, contents, len))
		return NULL;
	*ret = compress(pack, contents, len);
	if (*ret == len)
		return NULL;
	at = pack->buffer + pack->used;
	pack->used += *ret;
	atomic_fetch_add_explicit(&pack->raw_bytes, len, memory_order_relaxed);
	atomic_fetch_add_explicit(&pack->bytes, *ret, memory_order_relaxed);
	return at;
}
