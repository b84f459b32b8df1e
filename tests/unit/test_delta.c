/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A sender with its copies, and a peer's memory beside them: whatever is sent as a difference must
 * come out there as it was.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "delta.h"

#define REGION 3
#define PAGES  ((uint32_t)WH_RUN_PAGES_MAX)

/* Pages that are sure not to fit all. */
#define TOO_MANY 20000u

struct fixture {
	struct wh_delta *delta;
	uint8_t *peer; /* memory of PAGES pages */
	uint32_t round;
};

static int setup(void **state)
{
	static struct fixture f;

	f = (struct fixture){ .delta = wh_delta_new(), .round = 2 };
	f.peer = calloc(PAGES, WH_PAGE_SIZE);
	assert_true(f.delta && f.peer);
	*state = &f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	f->delta = wh_delta_free(f->delta);
	free(f->peer);
	return 0;
}

/* Send @count pages from @first on, all bytes of page i being @value + i. Return: those known. */
static uint32_t send(struct fixture *f, uint32_t first, uint32_t count, uint8_t value)
{
	const struct wh_write w = { .dst_region = REGION,
		                    .dst_offset = (uint64_t)first * WH_PAGE_SIZE,
		                    .len = count * WH_PAGE_SIZE,
		                    .round = f->round };
	uint8_t *contents = malloc(w.len);
	uint8_t known[WH_DELTA_MAP_BYTES] = { 0 };
	uint32_t n;

	assert_non_null(contents);
	for (uint32_t i = 0; i < count; i++)
		memset(contents + (size_t)i * WH_PAGE_SIZE, value + (int)i, WH_PAGE_SIZE);
	n = wh_delta_take(f->delta, &w, contents, known).known;
	for (uint32_t i = 0; i < count; i++) {
		uint8_t *there = f->peer + (size_t)(first + i) * WH_PAGE_SIZE;

		if (!wh_delta_is_known(known, i))
			memset(there, 0, WH_PAGE_SIZE);
		wh_delta_apply(there, contents + (size_t)i * WH_PAGE_SIZE, WH_PAGE_SIZE);
		assert_int_equal(there[0], (uint8_t)(value + i));
		assert_memory_equal(there, there + 1, WH_PAGE_SIZE - 1);
	}
	free(contents);
	return n;
}

static void a_page_sent_again_is_a_difference(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(send(f, 7, 1, 10), 0);
	f->round++;
	assert_int_equal(send(f, 7, 1, 20), 1);
	f->round++;
	assert_int_equal(send(f, 7, 1, 30), 1);
}

static void pages_are_known_one_by_one(void **state)
{
	struct fixture *f = *state;

	(void)send(f, 1, 3, 10);
	(void)send(f, 8, 1, 10);
	f->round++;
	assert_int_equal(send(f, 0, 16, 20), 4);
	f->round++;
	assert_int_equal(send(f, 0, PAGES, 30), 16);
	f->round++;
	assert_int_equal(send(f, 0, PAGES, 40), PAGES);
}

static void a_page_that_was_forgotten_is_none(void **state)
{
	struct fixture *f = *state;

	(void)send(f, 0, PAGES, 10);
	f->round++;
	wh_delta_forget(f->delta, REGION, UINT64_C(5) * WH_PAGE_SIZE, UINT64_C(2) * WH_PAGE_SIZE);
	wh_delta_forget(f->delta, REGION + 1, 0, (uint64_t)PAGES * WH_PAGE_SIZE);
	memset(f->peer + (size_t)5 * WH_PAGE_SIZE, 'z', (size_t)2 * WH_PAGE_SIZE);
	assert_int_equal(send(f, 0, PAGES, 20), PAGES - 2);
}

/* Send one page of a guest that is too large, in @round. Return: whether it was known. */
static bool send_one(struct fixture *f, uint64_t page)
{
	static uint8_t contents[WH_PAGE_SIZE];
	const struct wh_write w = { .dst_region = REGION,
		                    .dst_offset = page * WH_PAGE_SIZE,
		                    .len = WH_PAGE_SIZE,
		                    .round = f->round };
	uint8_t known[WH_DELTA_MAP_BYTES] = { 0 };

	return wh_delta_take(f->delta, &w, contents, known).known == 1;
}

static uint32_t send_too_many(struct fixture *f, uint64_t first)
{
	uint32_t known = 0;

	for (uint64_t i = 0; i < TOO_MANY; i++)
		known += send_one(f, first + i);
	f->round++;
	return known;
}

static void what_fits_of_too_much_stays_known(void **state)
{
	struct fixture *f = *state;
	uint32_t known;

	assert_int_equal(send_too_many(f, 0), 0);
	known = send_too_many(f, 0);
	assert_in_range(known, TOO_MANY / 4, TOO_MANY / 2);
	for (int i = 0; i < 5; i++)
		assert_int_equal(send_too_many(f, 0), known);
}

static void what_is_no_longer_sent_makes_room(void **state)
{
	struct fixture *f = *state;
	uint32_t known;

	(void)send_too_many(f, 0);
	known = send_too_many(f, 0);
	(void)send_too_many(f, TOO_MANY);
	(void)send_too_many(f, TOO_MANY);
	assert_int_equal(send_too_many(f, TOO_MANY), known);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_page_sent_again_is_a_difference), TEST(pages_are_known_one_by_one),
		TEST(a_page_that_was_forgotten_is_none), TEST(what_fits_of_too_much_stays_known),
		TEST(what_is_no_longer_sent_makes_room),
	};

	return cmocka_run_group_tests_name("delta", tests, NULL, NULL);
}
