/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "golden.h"
#include "unhex.h"
#include "wire.h"

/* --- records and the greeting ----------------------------------------------------------------- */

static const struct {
	struct wh_record record;
	const char *hex;
} records[] = {
	{ { .type = WH_RECORD_HELLO, .length = WH_HELLO_BYTES }, GOLDEN_RECORD_HELLO },
	{ { .type = WH_RECORD_WELCOME, .length = WH_WELCOME_BYTES }, GOLDEN_RECORD_WELCOME },
	{ { .type = WH_RECORD_WRITE,
	    .region = 0x0102,
	    .length = WH_WRITE_LEN_MAX,
	    .offset = UINT64_C(0x3456789abcdef000) },
	  GOLDEN_RECORD_WRITE },
	{ { .type = WH_RECORD_FRAME, .length = 44 }, GOLDEN_RECORD_FRAME },
	{ { .type = WH_RECORD_WRITE_ZSTD, .region = 2, .length = 23, .offset = 0x7000 },
	  GOLDEN_RECORD_WRITE_ZSTD },
	{ { .type = WH_RECORD_WRITE_DELTA, .region = 2, .length = 24, .offset = 0x7000 },
	  GOLDEN_RECORD_WRITE_DELTA },
	{ { .type = WH_RECORD_FETCH, .region = 2, .length = WH_SPAN_BYTES, .offset = 0x7000 },
	  GOLDEN_RECORD_FETCH },
	{ { .type = WH_RECORD_ZEROES, .region = 2, .length = WH_SPAN_BYTES, .offset = 0x7000 },
	  GOLDEN_RECORD_ZEROES },
	{ { .type = WH_RECORD_READ_OFFER, .length = WH_OFFER_BYTES }, GOLDEN_RECORD_READ_OFFER },
	{ { .type = WH_RECORD_READ_KEY, .region = 2, .length = WH_KEY_BYTES, .offset = 1u << 24 },
	  GOLDEN_RECORD_READ_KEY },
	{ { .type = WH_RECORD_READ_GRANT, .length = WH_SPAN_BYTES }, GOLDEN_RECORD_READ_GRANT },
	{ { .type = WH_RECORD_HAVE, .region = 2, .length = WH_SPAN_BYTES, .offset = 0x7000 },
	  GOLDEN_RECORD_HAVE },
	{ { .type = WH_RECORD_READ_DONE, .region = 2, .offset = 1u << 24 },
	  GOLDEN_RECORD_READ_DONE },
	{ { .type = WH_RECORD_READ_OVER }, GOLDEN_RECORD_READ_OVER },
};

static void record_headers_have_their_golden_bytes(void **state)
{
	uint8_t golden[WH_FRAME_LEN_MAX], bytes[WH_RECORD_HEADER];

	(void)state;
	for (size_t i = 0; i < sizeof(records) / sizeof(records[0]); i++) {
		struct wh_record back;

		assert_int_equal(unhex(golden, records[i].hex), WH_RECORD_HEADER);
		wh_record_encode(bytes, &records[i].record);
		assert_memory_equal(bytes, golden, sizeof(bytes));

		back = wh_record_decode(golden);
		assert_int_equal(back.type, records[i].record.type);
		assert_int_equal(back.region, records[i].record.region);
		assert_int_equal(back.length, records[i].record.length);
		assert_int_equal(back.offset, records[i].record.offset);
	}
}

static const struct wh_hello greeting = {
	.connection = 3,
	.connections = 4,
	.token = { 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15 },
};

static void hello_has_its_golden_bytes(void **state)
{
	uint8_t golden[WH_FRAME_LEN_MAX], bytes[WH_HELLO_BYTES];
	struct wh_hello back;

	(void)state;
	assert_int_equal(unhex(golden, GOLDEN_HELLO), WH_HELLO_BYTES);
	wh_hello_encode(bytes, &greeting);
	assert_memory_equal(bytes, golden, sizeof(bytes));
	assert_memory_equal(bytes, "WHRY", 4);

	assert_int_equal(wh_hello_decode(&back, golden), 0);
	assert_int_equal(back.connection, greeting.connection);
	assert_int_equal(back.connections, greeting.connections);
	assert_memory_equal(back.token, greeting.token, sizeof(back.token));
}

static void the_urgent_hello_has_its_golden_bytes(void **state)
{
	uint8_t golden[WH_FRAME_LEN_MAX], bytes[WH_HELLO_BYTES];
	struct wh_hello urgent = greeting;
	struct wh_hello back;

	(void)state;
	urgent.connection = 0;
	urgent.kind = WH_HELLO_URGENT;
	assert_int_equal(unhex(golden, GOLDEN_HELLO_URGENT), WH_HELLO_BYTES);
	wh_hello_encode(bytes, &urgent);
	assert_memory_equal(bytes, golden, sizeof(bytes));
	assert_int_equal(wh_hello_decode(&back, golden), 0);
	assert_int_equal(back.kind, WH_HELLO_URGENT);
}

static void a_span_has_its_golden_bytes(void **state)
{
	uint8_t golden[WH_FRAME_LEN_MAX], bytes[WH_SPAN_BYTES];

	(void)state;
	assert_int_equal(unhex(golden, GOLDEN_SPAN), WH_SPAN_BYTES);
	wh_span_encode(bytes, WH_WRITE_LEN_MAX);
	assert_memory_equal(bytes, golden, sizeof(bytes));
	assert_int_equal(wh_span_decode(golden), WH_WRITE_LEN_MAX);
}

static void an_offer_of_reads_has_its_golden_bytes(void **state)
{
	const struct wh_read_offer offer = { .port = 40000, .chunk_order = 24, .bytes = 4u << 20 };
	uint8_t golden[WH_FRAME_LEN_MAX], bytes[WH_OFFER_BYTES];
	struct wh_read_offer back;

	(void)state;
	assert_int_equal(unhex(golden, GOLDEN_READ_OFFER), WH_OFFER_BYTES);
	wh_read_offer_encode(bytes, &offer);
	assert_memory_equal(bytes, golden, sizeof(bytes));
	back = wh_read_offer_decode(golden);
	assert_int_equal(back.port, offer.port);
	assert_int_equal(back.chunk_order, offer.chunk_order);
	assert_int_equal(back.bytes, offer.bytes);
}

static void a_key_to_read_by_has_its_golden_bytes(void **state)
{
	const struct wh_read_key key = { .addr = UINT64_C(0x1122334455667788), .key = 0xaabbccdd };
	uint8_t golden[WH_FRAME_LEN_MAX], bytes[WH_KEY_BYTES];
	struct wh_read_key back;

	(void)state;
	assert_int_equal(unhex(golden, GOLDEN_READ_KEY), WH_KEY_BYTES);
	wh_read_key_encode(bytes, &key);
	assert_memory_equal(bytes, golden, sizeof(bytes));
	back = wh_read_key_decode(golden);
	assert_int_equal(back.addr, key.addr);
	assert_int_equal(back.key, key.key);
}

/* Decode a hello in which byte @at is @value. */
static int decode_spoilt_hello(size_t at, uint8_t value)
{
	struct wh_hello back = { .connection = 77 };
	uint8_t bytes[WH_HELLO_BYTES];
	int r;

	wh_hello_encode(bytes, &greeting);
	bytes[at] = value;
	r = wh_hello_decode(&back, bytes);
	if (r < 0)
		assert_int_equal(back.connection, 77);
	return r;
}

static void hello_of_something_else_or_another_version_is_refused(void **state)
{
	(void)state;
	for (size_t at = 0; at < 4; at++)
		assert_int_equal(decode_spoilt_hello(at, 'X'), -EPROTO);
	assert_int_equal(decode_spoilt_hello(4, 0), -EPROTONOSUPPORT);
	assert_int_equal(decode_spoilt_hello(4, 2), -EPROTONOSUPPORT);
	assert_int_equal(decode_spoilt_hello(5, 1), -EPROTONOSUPPORT);
	assert_int_equal(decode_spoilt_hello(10, 2), -EPROTO); /* a kind of connection */
	assert_int_equal(decode_spoilt_hello(11, 1), -EPROTO);
}

static int decode_hello(uint16_t connection, uint16_t connections)
{
	const struct wh_hello hello = { .connection = connection, .connections = connections };
	uint8_t bytes[WH_HELLO_BYTES];
	struct wh_hello back;

	wh_hello_encode(bytes, &hello);
	return wh_hello_decode(&back, bytes);
}

static void hello_counts_connections_within_the_limit(void **state)
{
	(void)state;
	assert_int_equal(decode_hello(0, 1), 0);
	assert_int_equal(decode_hello(WH_CONNECTIONS_MAX - 1, WH_CONNECTIONS_MAX), 0);
	assert_int_equal(decode_hello(0, 0), -EPROTO);
	assert_int_equal(decode_hello(1, 1), -EPROTO);
	assert_int_equal(decode_hello(UINT16_MAX, 1), -EPROTO);
	assert_int_equal(decode_hello(0, WH_CONNECTIONS_MAX + 1), -EPROTO);
	assert_int_equal(decode_hello(WH_CONNECTIONS_MAX, WH_CONNECTIONS_MAX + 1), -EPROTO);
	assert_int_equal(decode_hello(0, UINT16_MAX), -EPROTO);
}

static void welcome_has_its_golden_bytes_and_one_version(void **state)
{
	uint8_t golden[WH_FRAME_LEN_MAX], bytes[WH_WELCOME_BYTES];

	(void)state;
	assert_int_equal(unhex(golden, GOLDEN_WELCOME), WH_WELCOME_BYTES);
	wh_welcome_encode(bytes);
	assert_memory_equal(bytes, golden, sizeof(bytes));

	assert_int_equal(wh_welcome_decode(golden), 0);
	golden[0] = 2;
	assert_int_equal(wh_welcome_decode(golden), -EPROTONOSUPPORT);
}

/* --- frames ----------------------------------------------------------------------------------- */

static const struct {
	struct wh_frame frame;
	const char *hex;
} frames[] = {
	{ { .kind = WH_FRAME_REGION,
	    .region = { .id = 0x0102, .bytes = UINT64_C(0x140000000), .name = "ram0" } },
	  GOLDEN_REGION },
	{ { .kind = WH_FRAME_START, .start = { .page_size = 4096, .regions = 3 } }, GOLDEN_START },
	{ { .kind = WH_FRAME_READY }, GOLDEN_READY },
	{ { .kind = WH_FRAME_ZERO,
	    .zero = { .region = 1,
	              .count = 2,
	              .runs = { { 5, 3 }, { UINT64_C(0x1122334455667788), UINT32_MAX } } } },
	  GOLDEN_ZERO },
	{ { .kind = WH_FRAME_ROUND_END, .round_end = { .round = 0x12345678, .last = false } },
	  GOLDEN_ROUND_END },
	{ { .kind = WH_FRAME_ROUND_END, .round_end = { .round = 9, .last = true } },
	  GOLDEN_ROUND_END_LAST },
	{ { .kind = WH_FRAME_ROUND_LANDED, .round_landed = { .round = 0x12345678 } },
	  GOLDEN_ROUND_LANDED },
	{ { .kind = WH_FRAME_READY, .ready = { .missing_order = 9 } }, GOLDEN_READY_HUGE },
	{ { .kind = WH_FRAME_READY,
	    .ready = { .missing_order = WH_GRANULE_NONE, .fill_order = WH_GRANULE_NONE } },
	  GOLDEN_READY_NONE },
	{ { .kind = WH_FRAME_MISSING,
	    .zero = { .region = 1,
	              .count = 2,
	              .runs = { { 5, 3 }, { UINT64_C(0x1122334455667788), UINT32_MAX } } } },
	  GOLDEN_MISSING },
	{ { .kind = WH_FRAME_SWITCH }, GOLDEN_SWITCH },
	{ { .kind = WH_FRAME_SWITCHED }, GOLDEN_SWITCHED },
	{ { .kind = WH_FRAME_RESUME, .start = { .page_size = 4096, .regions = 3 } },
	  GOLDEN_RESUME },
};

#define FRAMES (sizeof(frames) / sizeof(frames[0]))

static void assert_same_zero(const struct wh_frame *a, const struct wh_frame *b)
{
	assert_int_equal(a->zero.region, b->zero.region);
	assert_int_equal(a->zero.count, b->zero.count);
	for (uint16_t i = 0; i < a->zero.count; i++) {
		assert_int_equal(a->zero.runs[i].first, b->zero.runs[i].first);
		assert_int_equal(a->zero.runs[i].count, b->zero.runs[i].count);
	}
}

static void assert_same_frame(const struct wh_frame *a, const struct wh_frame *b)
{
	assert_int_equal(a->kind, b->kind);
	switch (a->kind) {
	case WH_FRAME_REGION:
		assert_int_equal(a->region.id, b->region.id);
		assert_int_equal(a->region.bytes, b->region.bytes);
		assert_string_equal(a->region.name, b->region.name);
		break;
	case WH_FRAME_START:
	case WH_FRAME_RESUME:
		assert_int_equal(a->start.page_size, b->start.page_size);
		assert_int_equal(a->start.regions, b->start.regions);
		break;
	case WH_FRAME_READY:
		assert_int_equal(a->ready.missing_order, b->ready.missing_order);
		assert_int_equal(a->ready.fill_order, b->ready.fill_order);
		break;
	case WH_FRAME_SWITCH:
	case WH_FRAME_SWITCHED:
		break;
	case WH_FRAME_ZERO:
	case WH_FRAME_MISSING:
		assert_same_zero(a, b);
		break;
	case WH_FRAME_ROUND_END:
		assert_int_equal(a->round_end.round, b->round_end.round);
		assert_int_equal(a->round_end.last, b->round_end.last);
		break;
	case WH_FRAME_ROUND_LANDED:
		assert_int_equal(a->round_landed.round, b->round_landed.round);
		break;
	}
}

static void frames_are_written_as_their_golden_bytes(void **state)
{
	uint8_t golden[WH_FRAME_LEN_MAX], bytes[WH_FRAME_LEN_MAX];

	(void)state;
	for (size_t i = 0; i < FRAMES; i++) {
		uint32_t len = unhex(golden, frames[i].hex);

		assert_int_equal(wh_frame_encode(bytes, &frames[i].frame), len);
		assert_memory_equal(bytes, golden, len);
	}
}

static void frames_are_read_from_their_golden_bytes(void **state)
{
	uint8_t golden[WH_FRAME_LEN_MAX];
	struct wh_frame frame;

	(void)state;
	for (size_t i = 0; i < FRAMES; i++) {
		assert_int_equal(wh_frame_decode(&frame, golden, unhex(golden, frames[i].hex)), 0);
		assert_same_frame(&frame, &frames[i].frame);
	}
}

static void every_kind_has_golden_bytes(void **state)
{
	(void)state;
	for (int kind = WH_FRAME_REGION; kind <= WH_FRAME_RESUME; kind++) {
		size_t i = 0;

		while (i < FRAMES && (int)frames[i].frame.kind != kind)
			i++;
		assert_true(i < FRAMES);
	}
}

/* Decode a copy that ends where its memory does, so that a sanitizer sees a step too far. */
static int decode_copy(const uint8_t *bytes, uint32_t len)
{
	uint8_t *copy = malloc(len ? len : 1);
	struct wh_frame frame;
	int r;

	assert_non_null(copy);
	memcpy(copy, bytes, len);
	r = wh_frame_decode(&frame, copy, len);
	free(copy);
	return r;
}

static void every_truncation_is_refused(void **state)
{
	uint8_t golden[WH_FRAME_LEN_MAX];

	(void)state;
	for (size_t i = 0; i < FRAMES; i++) {
		uint32_t whole = unhex(golden, frames[i].hex);

		for (uint32_t len = 0; len < whole; len++)
			assert_int_equal(decode_copy(golden, len), -EPROTO);
	}
}

static void a_trailing_byte_is_refused(void **state)
{
	uint8_t golden[WH_FRAME_LEN_MAX] = { 0 };

	(void)state;
	for (size_t i = 0; i < FRAMES; i++) {
		uint32_t len = unhex(golden, frames[i].hex);

		golden[len] = 0;
		assert_int_equal(decode_copy(golden, len + 1), -EPROTO);
	}
}

static void unknown_kinds_are_refused(void **state)
{
	static const uint16_t kinds[] = { 0, WH_FRAME_RESUME + 1, 0x0100, UINT16_MAX };

	(void)state;
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		const uint8_t bytes[] = { (uint8_t)kinds[i], (uint8_t)(kinds[i] >> 8), 0, 0 };

		assert_int_equal(decode_copy(bytes, sizeof(bytes)), -EPROTO);
	}
}

/* A REGION frame that claims a name of @len bytes, and has @there of them. */
static int decode_name(uint16_t len, const char *name, uint32_t there)
{
	uint8_t bytes[WH_FRAME_LEN_MAX];
	struct wh_writer w = wh_writer_init(bytes, sizeof(bytes));

	wh_put_u16(&w, WH_FRAME_REGION);
	wh_put_u16(&w, 0);
	wh_put_u16(&w, 0);
	wh_put_u64(&w, WH_PAGE_SIZE);
	wh_put_u16(&w, len);
	wh_put_bytes(&w, name, there);
	assert_false(w.bad);
	return decode_copy(bytes, (uint32_t)(w.at - bytes));
}

static void names_have_a_least_and_a_greatest_length(void **state)
{
	char name[WH_NAME_MAX + 1];

	(void)state;
	memset(name, 'x', sizeof(name));
	assert_int_equal(decode_name(1, name, 1), 0);
	assert_int_equal(decode_name(WH_NAME_MAX - 1, name, WH_NAME_MAX - 1), 0);
	assert_int_equal(decode_name(0, name, 0), -EPROTO);
	assert_int_equal(decode_name(WH_NAME_MAX, name, WH_NAME_MAX), -EPROTO);
	assert_int_equal(decode_name(UINT16_MAX, name, WH_NAME_MAX), -EPROTO);
}

static void names_hold_no_nul(void **state)
{
	(void)state;
	assert_int_equal(decode_name(4, "ra\0m", 4), -EPROTO);
	assert_int_equal(decode_name(4, "ram\0", 4), -EPROTO);
}

/* A ZERO frame that claims @count runs, and has @there of them. */
static int decode_runs(uint16_t count, uint32_t there)
{
	uint8_t bytes[WH_FRAME_LEN_MAX];
	struct wh_writer w = wh_writer_init(bytes, sizeof(bytes));

	wh_put_u16(&w, WH_FRAME_ZERO);
	wh_put_u16(&w, 0);
	wh_put_u16(&w, 0);
	wh_put_u16(&w, count);
	for (uint32_t i = 0; i < there; i++) {
		wh_put_u64(&w, i);
		wh_put_u32(&w, 1);
	}
	assert_false(w.bad);
	return decode_copy(bytes, (uint32_t)(w.at - bytes));
}

static void zero_runs_have_a_least_and_a_greatest_number(void **state)
{
	(void)state;
	assert_int_equal(decode_runs(1, 1), 0);
	assert_int_equal(decode_runs(WH_ZERO_RUNS_MAX, WH_ZERO_RUNS_MAX), 0);
	assert_int_equal(decode_runs(0, 0), -EPROTO);
	assert_int_equal(decode_runs(WH_ZERO_RUNS_MAX + 1, WH_ZERO_RUNS_MAX + 1), -EPROTO);
	assert_int_equal(decode_runs(UINT16_MAX, WH_ZERO_RUNS_MAX), -EPROTO);
	assert_int_equal(decode_runs(2, 1), -EPROTO);
}

static void the_largest_zero_frame_survives_the_way(void **state)
{
	struct wh_frame frame = { .kind = WH_FRAME_ZERO, .zero = { .count = WH_ZERO_RUNS_MAX } };
	uint8_t bytes[WH_FRAME_LEN_MAX];
	struct wh_frame back;
	uint32_t len;

	(void)state;
	for (uint32_t i = 0; i < WH_ZERO_RUNS_MAX; i++)
		frame.zero.runs[i] = (struct wh_run){ .first = UINT64_MAX - i, .count = i + 1 };

	len = wh_frame_encode(bytes, &frame);

	assert_int_equal(len, 4 + 4 + 12 * WH_ZERO_RUNS_MAX);
	assert_int_equal(wh_frame_decode(&back, bytes, len), 0);
	assert_same_frame(&back, &frame);
}

static int decode_ready(uint8_t missing_order, uint8_t fill_order)
{
	const uint8_t bytes[] = { WH_FRAME_READY, 0, missing_order, fill_order };

	return decode_copy(bytes, sizeof(bytes));
}

static void granules_are_at_most_huge_pages_and_filled_in_parts_of_them(void **state)
{
	(void)state;
	assert_int_equal(decode_ready(0, 0), 0);
	assert_int_equal(decode_ready(9, 0), 0);
	assert_int_equal(decode_ready(9, 9), 0);
	assert_int_equal(decode_ready(10, 0), -EPROTO);
	assert_int_equal(decode_ready(0, 9), -EPROTO);
	assert_int_equal(decode_ready(UINT8_MAX, 0), -EPROTO);
	assert_int_equal(decode_ready(0, UINT8_MAX), -EPROTO);
}

static void a_round_end_has_one_flag(void **state)
{
	uint8_t golden[WH_FRAME_LEN_MAX];
	uint32_t len = unhex(golden, GOLDEN_ROUND_END);

	(void)state;
	golden[8] = 2;
	assert_int_equal(decode_copy(golden, len), -EPROTO);
	golden[8] = 3;
	assert_int_equal(decode_copy(golden, len), -EPROTO);
	golden[8] = 0;
	golden[11] = 0x80;
	assert_int_equal(decode_copy(golden, len), -EPROTO);
}

/* --- the reader ------------------------------------------------------------------------------- */

static void a_reader_that_is_bad_stays_bad_and_reads_zero(void **state)
{
	const uint8_t bytes[] = { 1, 2, 3 };
	struct wh_reader r = wh_reader_init(bytes, sizeof(bytes));

	(void)state;
	assert_int_equal(wh_get_u16(&r), 0x0201);
	assert_int_equal(wh_get_u16(&r), 0);
	assert_true(r.bad);
	wh_get_bytes(&r, (uint8_t[1]){ 0 }, 1); /* one byte is there, but it is too late */
	assert_int_equal(wh_get_u64(&r), 0);
	assert_int_equal(wh_reader_done(&r), -EPROTO);
}

static void a_writer_never_writes_past_its_end(void **state)
{
	uint8_t bytes[] = { 9, 9, 9, 9 };
	struct wh_writer w = wh_writer_init(bytes, 3);

	(void)state;
	wh_put_u16(&w, 0x0201);
	wh_put_u16(&w, 0x0403);
	assert_true(w.bad);
	wh_put_bytes(&w, "x", 1);
	assert_memory_equal(bytes, ((uint8_t[]){ 1, 2, 9, 9 }), 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(record_headers_have_their_golden_bytes),
		cmocka_unit_test(hello_has_its_golden_bytes),
		cmocka_unit_test(the_urgent_hello_has_its_golden_bytes),
		cmocka_unit_test(a_span_has_its_golden_bytes),
		cmocka_unit_test(an_offer_of_reads_has_its_golden_bytes),
		cmocka_unit_test(a_key_to_read_by_has_its_golden_bytes),
		cmocka_unit_test(hello_of_something_else_or_another_version_is_refused),
		cmocka_unit_test(hello_counts_connections_within_the_limit),
		cmocka_unit_test(welcome_has_its_golden_bytes_and_one_version),
		cmocka_unit_test(frames_are_written_as_their_golden_bytes),
		cmocka_unit_test(frames_are_read_from_their_golden_bytes),
		cmocka_unit_test(every_kind_has_golden_bytes),
		cmocka_unit_test(every_truncation_is_refused),
		cmocka_unit_test(a_trailing_byte_is_refused),
		cmocka_unit_test(unknown_kinds_are_refused),
		cmocka_unit_test(names_have_a_least_and_a_greatest_length),
		cmocka_unit_test(names_hold_no_nul),
		cmocka_unit_test(zero_runs_have_a_least_and_a_greatest_number),
		cmocka_unit_test(the_largest_zero_frame_survives_the_way),
		cmocka_unit_test(granules_are_at_most_huge_pages_and_filled_in_parts_of_them),
		cmocka_unit_test(a_round_end_has_one_flag),
		cmocka_unit_test(a_reader_that_is_bad_stays_bad_and_reads_zero),
		cmocka_unit_test(a_writer_never_writes_past_its_end),
	};

	return cmocka_run_group_tests_name("wire", tests, NULL, NULL);
}
