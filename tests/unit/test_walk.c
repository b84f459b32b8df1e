/* SPDX-License-Identifier: Apache-2.0 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "walk.h"

#include "wherry/clock.h"

#define ROOM    1000u
#define FAR     UINT64_C(1000000)
#define A_WHILE (100 * WH_NSEC_PER_MSEC)

static struct wh_walks walks;

static int setup(void **state)
{
	(void)state;
	wh_walks_init(&walks);
	return 0;
}

/* Walk on from @page for @times questions. Return: how many pages the last one was for. */
static uint32_t walk_on(uint64_t *page, uint32_t times)
{
	uint32_t pages = 0;

	for (uint32_t i = 0; i < times; i++) {
		pages = wh_walks_ask(&walks, *page, ROOM);
		*page += pages;
	}
	return pages;
}

static void who_jumps_gets_one_page(void **state)
{
	(void)state;
	for (uint32_t i = 0; i < 100; i++) {
		assert_int_equal(wh_walks_ask(&walks, FAR + i * FAR, ROOM), 1);
		assert_int_equal(wh_walks_ask(&walks, FAR - UINT64_C(1000) * i - 1, ROOM), 1);
	}
}

static void who_walks_gets_twice_as_many_each_time(void **state)
{
	uint64_t page = FAR;

	(void)state;
	for (uint32_t pages = 1; pages <= WH_FETCH_PAGES_MAX; pages *= 2)
		assert_int_equal(walk_on(&page, 1), pages);
	assert_int_equal(walk_on(&page, 1), WH_FETCH_PAGES_MAX);
}

static void a_walk_goes_on_behind_pages_that_were_pushed(void **state)
{
	uint64_t page = FAR;

	(void)state;
	assert_int_equal(walk_on(&page, 3), 4);
	page += 40;
	assert_int_equal(walk_on(&page, 1), 8);
	page += 1000;
	assert_int_equal(walk_on(&page, 1), 1);
}

static void several_walks_go_on_side_by_side(void **state)
{
	uint64_t page[WH_WALKS];

	(void)state;
	for (uint32_t i = 0; i < WH_WALKS; i++)
		page[i] = FAR * (i + 1);
	for (uint32_t pages = 1; pages <= 16; pages *= 2)
		for (uint32_t i = 0; i < WH_WALKS; i++)
			assert_int_equal(walk_on(&page[i], 1), pages);
}

static void no_more_is_asked_for_than_is_missing(void **state)
{
	uint64_t page = FAR;

	(void)state;
	assert_int_equal(walk_on(&page, 4), 8);
	assert_int_equal(wh_walks_ask(&walks, page, 3), 3);
	assert_int_equal(wh_walks_ask(&walks, page + 3, ROOM), 6);
}

static void over_a_slow_network_less_is_asked_for(void **state)
{
	uint64_t page = FAR;

	(void)state;
	assert_int_equal(walk_on(&page, 10), WH_FETCH_PAGES_MAX);
	for (uint32_t pages = WH_FETCH_PAGES_MAX; pages > 1; pages /= 2) {
		wh_walks_answered(&walks, pages, A_WHILE);
		assert_int_equal(walk_on(&page, 1), pages / 2);
	}
	wh_walks_answered(&walks, 1, A_WHILE);
	assert_int_equal(walk_on(&page, 1), 1);
}

static void once_the_network_is_fast_again_more_is_asked_for(void **state)
{
	uint64_t page = FAR;
	uint32_t pages;

	(void)state;
	pages = walk_on(&page, 10);
	wh_walks_answered(&walks, pages, A_WHILE);
	wh_walks_answered(&walks, 1, 1); /* of one page, which says nothing about many */
	assert_int_equal(walk_on(&page, 2), WH_FETCH_PAGES_MAX / 2);
	wh_walks_answered(&walks, WH_FETCH_PAGES_MAX / 2, 1);
	assert_int_equal(walk_on(&page, 2), WH_FETCH_PAGES_MAX);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup(fn, setup)
	const struct CMUnitTest tests[] = {
		TEST(who_jumps_gets_one_page),
		TEST(who_walks_gets_twice_as_many_each_time),
		TEST(a_walk_goes_on_behind_pages_that_were_pushed),
		TEST(several_walks_go_on_side_by_side),
		TEST(no_more_is_asked_for_than_is_missing),
		TEST(over_a_slow_network_less_is_asked_for),
		TEST(once_the_network_is_fast_again_more_is_asked_for),
	};

	return cmocka_run_group_tests_name("walk", tests, NULL, NULL);
}
