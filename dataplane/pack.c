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
#include <string.h>
#include <sys/socket.h>

#include "wherry/assert.h"
#include "wherry/clock.h"
#include "wherry/limits.h"

/* Contents from one look to the next: for a page alone, it would cost as much as to send it. */
#define LOOK_EVERY (4 * WH_PAGE_SIZE)

int wh_pack_init(struct wh_pack *pack, int fd, enum wh_compression mode, struct wh_delta *delta)
{
	pack->fd = fd;
	pack->mode = mode;
	pack->delta = delta;
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

/* Compress what is held to the end of the buffer, and learn what it costs and brings. */
static uint32_t compress_held(struct wh_pack *pack, uint32_t len, uint64_t start_ns)
{
	uint32_t compressed;

	wh_assert(len <= WH_PACK_BYTES - pack->used);
	compressed = wh_compress_held(pack->compressor, pack->buffer + pack->used, len);
	wh_compress_pays_measured(&pack->pays, len, compressed,
	                          wh_now_ns(&wh_clock_monotonic) - start_ns);
	return compressed;
}

static uint32_t compress(struct wh_pack *pack, const void *contents, uint32_t len)
{
	const uint64_t start_ns = wh_now_ns(&wh_clock_monotonic);

	(void)wh_compressor_hold(pack->compressor, contents, len);
	return compress_held(pack, len, start_ns);
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

static void look_now_and_then(struct wh_pack *pack, const void *contents, uint32_t len)
{
	pack->since_look += len;
	if (pack->mode == WH_COMPRESSION_AUTO && pack->since_look >= LOOK_EVERY) {
		pack->since_look = 0;
		look(pack, contents, len);
	}
}

void wh_pack_begin(struct wh_pack *pack)
{
	pack->used = 0;
}

static bool wants_compressed(const struct wh_pack *pack, uint32_t len)
{
	return pack->mode == WH_COMPRESSION_ZSTD || wh_compress_pays_now(&pack->pays, len);
}

/* In the first round nothing is sent again, and of most that is sent nothing will be. */
static bool wants_delta(const struct wh_pack *pack, const struct wh_write *w)
{
	return w->round > 1 && (pack->mode == WH_COMPRESSION_ZSTD || wh_delta_pays(&pack->pays));
}

/* Send the next @len bytes of the buffer as @type. */
static const uint8_t *send_packed(struct wh_pack *pack, struct wh_record *record, uint16_t type,
                                  uint32_t len)
{
	const uint8_t *at = pack->buffer + pack->used;

	pack->used += len;
	record->type = type;
	record->length = len;
	return at;
}

static void count(_Atomic uint64_t *counter, uint32_t more)
{
	atomic_fetch_add_explicit(counter, more, memory_order_relaxed);
}

static const uint8_t *send_compressed(struct wh_pack *pack, struct wh_record *record, uint32_t len,
                                      uint32_t compressed)
{
	count(&pack->raw_bytes, len);
	count(&pack->bytes, compressed);
	return send_packed(pack, record, WH_RECORD_WRITE_ZSTD, compressed);
}

/* Send the contents held, of which there is a copy for next time: only they may leave. */
static const uint8_t *send_held(struct wh_pack *pack, const uint8_t *held, uint32_t len,
                                struct wh_record *record)
{
	uint32_t compressed = len;

	wh_assert(len <= WH_PACK_BYTES - pack->used);
	if (wants_compressed(pack, len))
		compressed = compress_held(pack, len, wh_now_ns(&wh_clock_monotonic));
	if (compressed < len)
		return send_compressed(pack, record, len, compressed);
	memcpy(pack->buffer + pack->used, held, len);
	return send_packed(pack, record, WH_RECORD_WRITE, len);
}

/* Send what is held, some of it differences. Return: NULL if that is not shorter. */
static const uint8_t *send_differences(struct wh_pack *pack, uint32_t len, const uint8_t *known,
                                       struct wh_record *record)
{
	uint32_t compressed;

	wh_assert(len <= WH_PACK_BYTES - pack->used);
	compressed = wh_compress_delta(pack->compressor, pack->buffer + pack->used, len, known);
	if (compressed == len)
		return NULL;
	count(&pack->delta_raw_bytes, len);
	count(&pack->delta_bytes, compressed);
	return send_packed(pack, record, WH_RECORD_WRITE_DELTA, compressed);
}

/* Send what differs, where it is known what the peer has; and know what it has from now on. */
static const uint8_t *send_delta(struct wh_pack *pack, const struct wh_write *w,
                                 const void *contents, struct wh_record *record)
{
	const uint64_t start_ns = wh_now_ns(&wh_clock_monotonic);
	uint8_t known[WH_DELTA_MAP_BYTES] = { 0 };
	uint8_t *held = wh_compressor_hold(pack->compressor, contents, w->len);
	const struct wh_delta_taken taken = wh_delta_take(pack->delta, w, held, known);
	const uint8_t *at;

	if (taken.known == 0)
		return taken.kept > 0 || wants_compressed(pack, w->len)
		               ? send_held(pack, held, w->len, record)
		               : NULL;
	at = send_differences(pack, w->len, known, record);
	wh_delta_pays_measured(&pack->pays, w->len, at ? record->length : w->len,
	                       wh_now_ns(&wh_clock_monotonic) - start_ns);
	if (!at)
		wh_delta_forget(pack->delta, w->dst_region, w->dst_offset, w->len);
	return at;
}

const uint8_t *wh_pack_write(struct wh_pack *pack, const struct wh_write *w, const void *contents,
                             struct wh_record *record)
{
	uint32_t compressed;

	if (pack->mode == WH_COMPRESSION_NONE)
		return NULL;
	look_now_and_then(pack, contents, w->len);
	if (wants_delta(pack, w))
		return send_delta(pack, w, contents, record);
	wh_delta_forget(pack->delta, w->dst_region, w->dst_offset, w->len);
	if (!wants_compressed(pack, w->len))
		return NULL;
	compressed = compress(pack, contents, w->len);
	return compressed < w->len ? send_compressed(pack, record, w->len, compressed) : NULL;
}
