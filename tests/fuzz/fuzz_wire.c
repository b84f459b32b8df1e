/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The wire parser under libFuzzer: whatever the peer sends, as each thing it could be.
 *
 * Beyond not crashing: what is accepted keeps to the limits, a frame that was accepted and is
 * written again reads as the same frame, byte for byte, and contents that were decompressed are
 * there to the last byte.
 */

#include <stdlib.h>
#include <string.h>

#include "compress.h"
#include "rdma_frames.h"
#include "wire.h"

#include "wherry/assert.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_record(const uint8_t from[WH_RECORD_HEADER])
{
	const struct wh_record record = wh_record_decode(from);
	uint8_t again[WH_RECORD_HEADER];

	wh_record_encode(again, &record);
	wh_assert(memcmp(again, from, sizeof(again)) == 0);
}

static void try_hello(const uint8_t from[WH_HELLO_BYTES])
{
	uint8_t again[WH_HELLO_BYTES];
	struct wh_hello hello, back;

	if (wh_hello_decode(&hello, from) < 0)
		return;
	wh_assert(hello.connections <= WH_CONNECTIONS_MAX);
	wh_assert(hello.connection < hello.connections && hello.kind <= WH_HELLO_URGENT);
	wh_hello_encode(again, &hello);
	wh_assert(wh_hello_decode(&back, again) == 0);
	wh_assert(back.connection == hello.connection && back.connections == hello.connections);
	wh_assert(memcmp(back.token, hello.token, sizeof(back.token)) == 0);
}

static void try_welcome(const uint8_t from[WH_WELCOME_BYTES])
{
	uint8_t again[WH_WELCOME_BYTES];

	wh_welcome_encode(again);
	wh_assert((wh_welcome_decode(from) == 0) == (memcmp(again, from, 2) == 0));
}

static void try_reads(const uint8_t *from)
{
	const struct wh_read_offer offer = wh_read_offer_decode(from);
	const struct wh_read_key key = wh_read_key_decode(from);
	uint8_t again[WH_KEY_BYTES];

	wh_read_offer_encode(again, &offer);
	wh_assert(memcmp(again, from, WH_OFFER_BYTES) == 0);
	wh_read_key_encode(again, &key);
	wh_assert(memcmp(again, from, WH_KEY_BYTES) == 0);
}

static void check_limits(const struct wh_frame *frame)
{
	if (frame->kind == WH_FRAME_REGION)
		wh_assert(*frame->region.name &&
		          strnlen(frame->region.name, WH_NAME_MAX) < WH_NAME_MAX);
	if (frame->kind == WH_FRAME_READY && frame->ready.fill_order != WH_GRANULE_NONE)
		wh_assert(frame->ready.missing_order <= WH_GRANULE_ORDER_MAX &&
		          frame->ready.fill_order <= frame->ready.missing_order);
	if (frame->kind == WH_FRAME_ZERO || frame->kind == WH_FRAME_MISSING)
		wh_assert(frame->zero.count >= 1 && frame->zero.count <= WH_ZERO_RUNS_MAX);
}

static void try_frame(const uint8_t *data, uint32_t size)
{
	uint8_t first[WH_FRAME_LEN_MAX], second[WH_FRAME_LEN_MAX];
	struct wh_frame frame, back;
	uint32_t len;

	if (wh_frame_decode(&frame, data, size) < 0)
		return;
	check_limits(&frame);
	len = wh_frame_encode(first, &frame);

	/* Only the reserved bytes may differ: they are read past, and written as zero. */
	wh_assert(len == size && memcmp(first, data, 2) == 0);
	wh_assert(memcmp(first + 4, data + 4, len - 4) == 0);
	wh_assert(wh_frame_decode(&back, first, len) == 0);
	wh_assert(wh_frame_encode(second, &back) == len && memcmp(first, second, len) == 0);
}

static void try_rdma_frame(const uint8_t *data, uint32_t size)
{
	uint8_t again[WH_RDMA_FRAME_MAX];
	struct wh_rdma_frame frame;
	uint32_t len;

	if (wh_rdma_frame_decode(&frame, data, size) < 0)
		return;
	len = wh_rdma_frame_encode(again, &frame);
	wh_assert(len == size && memcmp(again, data, 2) == 0);
	/* What cannot be printed of a reason is replaced. */
	if (frame.kind != WH_RDMA_DOWN && frame.kind != WH_RDMA_CLOSED)
		wh_assert(memcmp(again + 4, data + 4, len - 4) == 0);
}

static void try_payload(const uint8_t *data, uint32_t size)
{
	static struct wh_decompressor *d;
	int claimed = wh_decompress_length(data, size);
	const uint8_t *contents;

	if (!d)
		d = wh_decompressor_new();
	wh_assert(d);
	if (wh_decompress(d, data, size, &contents) < 0)
		return;
	wh_assert(claimed >= (int)size && claimed <= (int)WH_WRITE_LEN_MAX);
	wh_assert(claimed % WH_PAGE_SIZE == 0);
	/* A sanitizer would tell of bytes that are not there. */
	for (int i = 0; i < claimed; i += 64)
		(void)*(const volatile uint8_t *)(contents + i);
}

static void try_delta(const uint8_t *data, uint32_t size)
{
	static struct wh_decompressor *d;
	struct wh_decompressed_delta delta;
	int pages;

	if (!d)
		d = wh_decompressor_new();
	wh_assert(d);
	if (wh_decompress_delta(d, data, size, &delta) < 0)
		return;
	pages = wh_decompress_length(data, size) / (int)WH_PAGE_SIZE;
	wh_assert(pages > 0 && pages <= (int)WH_RUN_PAGES_MAX);
	for (int i = 0; i < pages; i++)
		(void)*(const volatile uint8_t *)(delta.contents + (size_t)i * WH_PAGE_SIZE);
	for (int i = pages; i < (pages + 7) / 8 * 8; i++)
		wh_assert(!(delta.known[i / 8] >> i % 8 & 1));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size >= WH_RECORD_HEADER)
		try_record(data);
	if (size >= WH_HELLO_BYTES)
		try_hello(data);
	if (size >= WH_WELCOME_BYTES)
		try_welcome(data);
	if (size >= WH_KEY_BYTES)
		try_reads(data);
	if (size <= WH_FRAME_LEN_MAX)
		try_frame(data, (uint32_t)size);
	if (size <= WH_RDMA_FRAME_MAX)
		try_rdma_frame(data, (uint32_t)size);
	if (size <= WH_WRITE_LEN_MAX)
		try_payload(data, (uint32_t)size);
	if (size <= WH_WRITE_LEN_MAX)
		try_delta(data, (uint32_t)size);
	return 0;
}
