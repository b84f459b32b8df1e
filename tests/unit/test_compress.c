/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "compress.h"
#include "contents.h"
#include "golden.h"
#include "unhex.h"

#include "wherry/limits.h"

struct fixture {
	struct wh_compressor *c;
	struct wh_decompressor *d;
	uint8_t *contents, *payload;
};

static int setup(void **state)
{
	static struct fixture f;

	f.c = wh_compressor_new();
	f.d = wh_decompressor_new();
	f.contents = malloc(WH_WRITE_LEN_MAX);
	f.payload = malloc(WH_WRITE_LEN_MAX);
	assert_true(f.c && f.d && f.contents && f.payload);
	*state = &f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	f->c = wh_compressor_free(f->c);
	f->d = wh_decompressor_free(f->d);
	free(f->contents);
	free(f->payload);
	return 0;
}

static void contents_come_back_as_they_were(void **state)
{
	static const uint32_t lens[] = { WH_PAGE_SIZE, 7 * WH_PAGE_SIZE, WH_WRITE_LEN_MAX };
	struct fixture *f = *state;

	fill_text(f->contents, WH_WRITE_LEN_MAX);
	for (size_t i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
		const uint32_t len = wh_compress(f->c, f->payload, f->contents, lens[i]);
		const uint8_t *back;

		assert_in_range(len, 1, lens[i] / 2);
		assert_int_equal(wh_decompress_length(f->payload, len), lens[i]);
		assert_int_equal(wh_decompress(f->d, f->payload, len, &back), 0);
		assert_memory_equal(back, f->contents, lens[i]);
	}
}

static void contents_that_do_not_become_shorter_stay_as_they_are(void **state)
{
	static const uint32_t lens[] = { WH_PAGE_SIZE, WH_WRITE_LEN_MAX };
	struct fixture *f = *state;

	fill_random(f->contents, WH_WRITE_LEN_MAX);
	for (size_t i = 0; i < sizeof(lens) / sizeof(lens[0]); i++)
		assert_int_equal(wh_compress(f->c, f->payload, f->contents, lens[i]), lens[i]);
}

static void the_golden_payload_is_a_page(void **state)
{
	struct fixture *f = *state;
	uint8_t payload[128];
	uint32_t len = unhex(payload, GOLDEN_ZSTD);
	const uint8_t *back;

	memset(f->contents, 'w', WH_PAGE_SIZE);
	assert_int_equal(wh_decompress_length(payload, len), WH_PAGE_SIZE);
	assert_int_equal(wh_decompress(f->d, payload, len, &back), 0);
	assert_memory_equal(back, f->contents, WH_PAGE_SIZE);
}

static void a_payload_cut_short_or_with_more_behind_it_is_refused(void **state)
{
	struct fixture *f = *state;
	uint8_t payload[128] = { 0 };
	const uint32_t len = unhex(payload, GOLDEN_ZSTD);
	const uint8_t *back;

	for (uint32_t i = 0; i < 2 * len; i++)
		if (i != len)
			assert_int_equal(wh_decompress(f->d, payload, i, &back), -EPROTO);
	/* A second frame. */
	memcpy(payload + len, payload + WH_COMPRESS_HEADER, len - WH_COMPRESS_HEADER);
	assert_int_equal(wh_decompress(f->d, payload, 2 * len - WH_COMPRESS_HEADER, &back),
	                 -EPROTO);
}

static void differences_come_back_with_the_pages_they_are_of(void **state)
{
	const uint8_t known[2] = { 0x81, 0x02 };
	const uint32_t len = 10 * WH_PAGE_SIZE;
	struct fixture *f = *state;
	struct wh_decompressed_delta back;
	uint32_t n;

	fill_text(f->contents, len);
	(void)wh_compressor_hold(f->c, f->contents, len);
	n = wh_compress_delta(f->c, f->payload, len, known);
	assert_in_range(n, 1, len / 2);
	assert_int_equal(wh_decompress_length(f->payload, n), len);
	assert_int_equal(wh_decompress_delta(f->d, f->payload, n, &back), 0);
	assert_memory_equal(back.contents, f->contents, len);
	assert_memory_equal(back.known, known, sizeof(known));
}

static void the_golden_delta_is_the_difference_to_a_page(void **state)
{
	struct fixture *f = *state;
	struct wh_decompressed_delta back;
	uint8_t payload[128];
	uint32_t len = unhex(payload, GOLDEN_DELTA);

	memset(f->contents, 'w', WH_PAGE_SIZE);
	assert_int_equal(wh_decompress_delta(f->d, payload, len, &back), 0);
	assert_memory_equal(back.contents, f->contents, WH_PAGE_SIZE);
	assert_int_equal(back.known[0], 1);
}

static void a_delta_cut_short_or_of_pages_it_does_not_have_is_refused(void **state)
{
	struct fixture *f = *state;
	struct wh_decompressed_delta back;
	uint8_t payload[128] = { 0 };
	const uint32_t len = unhex(payload, GOLDEN_DELTA);

	for (uint32_t i = 0; i < 2 * len; i++)
		if (i != len)
			assert_int_equal(wh_decompress_delta(f->d, payload, i, &back), -EPROTO);
	payload[WH_COMPRESS_HEADER] = 0x03;
	assert_int_equal(wh_decompress_delta(f->d, payload, len, &back), -EPROTO);
	payload[WH_COMPRESS_HEADER] = 0x80;
	assert_int_equal(wh_decompress_delta(f->d, payload, len, &back), -EPROTO);
}

static void a_length_that_none_may_have_is_refused(void **state)
{
	static const uint32_t lens[] = {
		0,         1, WH_PAGE_SIZE - 1, WH_PAGE_SIZE + 1, WH_WRITE_LEN_MAX + WH_PAGE_SIZE,
		UINT32_MAX
	};
	uint8_t payload[WH_PAGE_SIZE + 1] = { 0 };

	(void)state;
	for (size_t i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
		memcpy(payload, &lens[i], sizeof(lens[i])); /* little-endian, as this machine is */
		assert_int_equal(wh_decompress_length(payload, 64), -EPROTO);
	}
	/* Longer than what it stands for. */
	memcpy(payload, &(uint32_t){ WH_PAGE_SIZE }, 4);
	assert_int_equal(wh_decompress_length(payload, WH_PAGE_SIZE), WH_PAGE_SIZE);
	assert_int_equal(wh_decompress_length(payload, WH_PAGE_SIZE + 1), -EPROTO);
	assert_int_equal(wh_decompress_length(payload, 3), -EPROTO);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(contents_come_back_as_they_were),
		TEST(contents_that_do_not_become_shorter_stay_as_they_are),
		TEST(the_golden_payload_is_a_page),
		TEST(a_payload_cut_short_or_with_more_behind_it_is_refused),
		TEST(differences_come_back_with_the_pages_they_are_of),
		TEST(the_golden_delta_is_the_difference_to_a_page),
		TEST(a_delta_cut_short_or_of_pages_it_does_not_have_is_refused),
		TEST(a_length_that_none_may_have_is_refused),
	};

	return cmocka_run_group_tests_name("compress", tests, NULL, NULL);
}
