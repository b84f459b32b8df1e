/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What pack says to send, done to a peer's memory: that has to become what left. The guest writes all
 * the time: also after pack has looked at contents, and before those leave that are sent as they are.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "pack.h"

#define PAGES  64u
#define ROUNDS 20000u

struct fixture {
	struct wh_delta *delta;
	struct wh_pack pack;
	struct wh_decompressor *d;
	uint64_t random;
	uint8_t guest[PAGES * WH_PAGE_SIZE];
	uint8_t peer[PAGES * WH_PAGE_SIZE];
	uint32_t whole, compressed, differences; /* writes that left so */
};

static struct fixture the_fixture;

static int setup(void **state)
{
	struct fixture *f = &the_fixture;

	*f = (struct fixture){ .delta = wh_delta_new(), .d = wh_decompressor_new(), .random = 1 };
	assert_true(f->delta && f->d);
	assert_int_equal(wh_pack_init(&f->pack, -1, WH_COMPRESSION_ZSTD, f->delta), 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	wh_pack_done(&f->pack);
	f->d = wh_decompressor_free(f->d);
	f->delta = wh_delta_free(f->delta);
	return 0;
}

static uint32_t roll(struct fixture *f, uint32_t sides)
{
	f->random = f->random * UINT64_C(6364136223846793005) + 1442695040888963407u;
	return (uint32_t)(f->random >> 40) % sides;
}

/* The guest writes to [@at, @at + @len): a little, all of it, or nothing. */
static void write_some(struct fixture *f, size_t at, uint32_t len)
{
	switch (roll(f, 4)) {
	case 0:
		for (uint32_t i = 0; i < len; i++)
			f->guest[at + i] = (uint8_t)roll(f, 256);
		break;
	case 1:
		memset(f->guest + at, (int)roll(f, 256), len);
		break;
	case 2:
		for (int i = 0; i < 3; i++)
			f->guest[at + roll(f, len)]++;
		break;
	default:
		break;
	}
}

static void take_delta(struct fixture *f, const uint8_t *payload, uint32_t payload_len,
                       const struct wh_write *w)
{
	struct wh_decompressed_delta delta;

	assert_int_equal(wh_decompress_delta(f->d, payload, payload_len, &delta), 0);
	for (uint32_t i = 0; i < w->len / WH_PAGE_SIZE; i++) {
		uint8_t *there = f->peer + w->dst_offset + (size_t)i * WH_PAGE_SIZE;

		if (!wh_delta_is_known(delta.known, i))
			memset(there, 0, WH_PAGE_SIZE);
		wh_delta_apply(there, delta.contents + (size_t)i * WH_PAGE_SIZE, WH_PAGE_SIZE);
	}
}

/* Do at the peer what pack said. */
static void take(struct fixture *f, const uint8_t *payload, const struct wh_record *record,
                 const struct wh_write *w)
{
	const uint8_t *contents = payload;

	switch ((enum wh_record_type)record->type) {
	case WH_RECORD_WRITE_DELTA:
		take_delta(f, payload, record->length, w);
		f->differences++;
		return;
	case WH_RECORD_WRITE_ZSTD:
		assert_int_equal(wh_decompress(f->d, payload, record->length, &contents), 0);
		f->compressed++;
		break;
	case WH_RECORD_WRITE:
		assert_int_equal(record->length, w->len);
		f->whole++;
		break;
	case WH_RECORD_HELLO:
	case WH_RECORD_WELCOME:
	case WH_RECORD_FRAME:
	case WH_RECORD_FETCH:
	case WH_RECORD_ZEROES:
	case WH_RECORD_READ_OFFER:
	case WH_RECORD_READ_KEY:
	case WH_RECORD_READ_GRANT:
	case WH_RECORD_HAVE:
	case WH_RECORD_READ_DONE:
	case WH_RECORD_READ_OVER:
		fail();
	}
	memcpy(f->peer + w->dst_offset, contents, w->len);
}

/* Send some pages. */
static void send_some(struct fixture *f, uint32_t round)
{
	static uint8_t before[PAGES * WH_PAGE_SIZE];
	const uint32_t first = roll(f, PAGES);
	const uint32_t count = 1 + roll(f, PAGES - first < 3 ? PAGES - first : 3);
	const struct wh_write w = { .dst_offset = (uint64_t)first * WH_PAGE_SIZE,
		                    .len = count * WH_PAGE_SIZE,
		                    .round = roll(f, 20) ? round : 0 };
	struct wh_record record = { .type = WH_RECORD_WRITE, .length = w.len };
	uint8_t *contents = f->guest + w.dst_offset;
	const uint8_t *packed;

	write_some(f, w.dst_offset, w.len);
	memcpy(before, contents, w.len);
	wh_pack_begin(&f->pack);
	packed = wh_pack_write(&f->pack, &w, contents, &record);
	write_some(f, w.dst_offset, w.len);
	if (packed) {
		take(f, packed, &record, &w);
		assert_memory_equal(f->peer + w.dst_offset, before, w.len);
	} else {
		take(f, contents, &record, &w);
	}
}

static void whatever_the_guest_writes_the_peer_has_what_left(void **state)
{
	struct fixture *f = *state;

	for (uint32_t round = 1; round <= ROUNDS; round++)
		send_some(f, round);
	/* Each way must have been tried for this to mean anything. */
	assert_in_range(f->whole, ROUNDS / 50, ROUNDS);
	assert_in_range(f->compressed, ROUNDS / 50, ROUNDS);
	assert_in_range(f->differences, ROUNDS / 10, ROUNDS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(whatever_the_guest_writes_the_peer_has_what_left,
		                                setup, teardown),
	};

	return cmocka_run_group_tests_name("pack", tests, NULL, NULL);
}
