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
#include "rdma_frames.h"
#include "unhex.h"

static const struct {
	struct wh_rdma_frame frame;
	const char *hex;
} frames[] = {
	{ { .kind = WH_RDMA_DATA,
	    .data = { .barrier = 0x12345678, .data = (const uint8_t *)"f", .len = 1 } },
	  GOLDEN_RDMA_DATA },
	{ { .kind = WH_RDMA_OFFER,
	    .offer = { .port = 40000,
	               .pairs = 4,
	               .chunk_order = 24,
	               .pinned_bytes_max = UINT64_C(64) << 20 } },
	  GOLDEN_RDMA_OFFER },
	{ { .kind = WH_RDMA_WANT,
	    .list = { .count = 2,
	              .chunks = { { .region = 1, .number = 5 },
	                          { .region = 2, .number = 0x12345678 } } } },
	  GOLDEN_RDMA_WANT },
	{ { .kind = WH_RDMA_KEYS,
	    .list = { .count = 1,
	              .chunks = { { .region = 1,
	                            .number = 5,
	                            .key = 0xaabbccdd,
	                            .addr = UINT64_C(0x1122334455667788) } } } },
	  GOLDEN_RDMA_KEYS },
	{ { .kind = WH_RDMA_REFUSED,
	    .list = { .count = 1, .chunks = { { .region = 1, .number = 5 } } } },
	  GOLDEN_RDMA_REFUSED },
	{ { .kind = WH_RDMA_FREE,
	    .list = { .count = 1, .chunks = { { .region = 1, .number = 5 } } } },
	  GOLDEN_RDMA_FREE },
	{ { .kind = WH_RDMA_DOWN, .over = { .reason = "gone" } }, GOLDEN_RDMA_DOWN },
	{ { .kind = WH_RDMA_CLOSED, .over = { .landed = true } }, GOLDEN_RDMA_CLOSED },
	{ { .kind = WH_RDMA_RESENT }, GOLDEN_RDMA_RESENT },
};

#define FRAMES (sizeof(frames) / sizeof(frames[0]))

static void frames_have_their_golden_bytes(void **state)
{
	(void)state;
	for (size_t i = 0; i < FRAMES; i++) {
		uint8_t golden[WH_RDMA_FRAME_MAX], bytes[WH_RDMA_FRAME_MAX];
		const uint32_t len = unhex(golden, frames[i].hex);
		struct wh_rdma_frame back;

		assert_int_equal(wh_rdma_frame_encode(bytes, &frames[i].frame), len);
		assert_memory_equal(bytes, golden, len);

		assert_int_equal(wh_rdma_frame_decode(&back, golden, len), 0);
		assert_int_equal(wh_rdma_frame_encode(bytes, &back), len);
		assert_memory_equal(bytes, golden, len);
	}
}

/* DATA may be shorter: its end is that of the frame in it. */
static void a_byte_too_few_or_too_many_is_a_breach(void **state)
{
	(void)state;
	for (size_t i = 1; i < FRAMES; i++) {
		uint8_t bytes[WH_RDMA_FRAME_MAX] = { 0 };
		const uint32_t len = unhex(bytes, frames[i].hex);
		struct wh_rdma_frame back;

		for (uint32_t cut = 0; cut < len; cut++)
			assert_int_equal(wh_rdma_frame_decode(&back, bytes, cut), -EPROTO);
		assert_int_equal(wh_rdma_frame_decode(&back, bytes, len + 1), -EPROTO);
	}
}

static void what_is_out_of_range_is_a_breach(void **state)
{
	static const char *const wrong[] = {
		"0000 0000",                                 /* kinds */
		"0a00 0000",                                 /* that there are not */
		"0100 0000 78563412",                        /* no frame in it */
		"0200 0000 409c 0000 1800 0000000400000000", /* no pair */
		"0200 0000 409c 0900 1800 0000000400000000", /* too many */
		"0200 0000 409c 0400 0b00 0000000400000000", /* chunks below a page */
		"0200 0000 409c 0400 1f00 0000000400000000", /* above 1 GiB */
		"0300 0000 0000",                            /* an empty list */
		"0300 0000 4100",                            /* too long a list */
		"0300 0000 0100 8000 05000000",              /* a region out of range */
		"0700 0000 0200 0000",                       /* a flag that there is not */
		"0700 0000 0000 c800",                       /* too long a reason */
	};
	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		uint8_t bytes[WH_RDMA_FRAME_MAX];
		struct wh_rdma_frame back;

		assert_int_equal(wh_rdma_frame_decode(&back, bytes, unhex(bytes, wrong[i])),
		                 -EPROTO);
	}
}

static void a_reason_is_printable(void **state)
{
	uint8_t bytes[WH_RDMA_FRAME_MAX];
	const uint32_t len = unhex(bytes, "0700 0000 0000 0400 670a1b65");
	struct wh_rdma_frame back;

	(void)state;
	assert_int_equal(wh_rdma_frame_decode(&back, bytes, len), 0);

	assert_string_equal(back.over.reason, "g??e");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(frames_have_their_golden_bytes),
		cmocka_unit_test(a_byte_too_few_or_too_many_is_a_breach),
		cmocka_unit_test(what_is_out_of_range_is_a_breach),
		cmocka_unit_test(a_reason_is_printable),
	};

	return cmocka_run_group_tests_name("rdma_frames", tests, NULL, NULL);
}
