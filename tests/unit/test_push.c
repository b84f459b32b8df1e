/* SPDX-License-Identifier: Apache-2.0 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "push.h"

#define PAGES 8192u
#define MAX   64u

struct fixture {
	struct wh_pageset *pending, *hot;
	struct wh_push push;
};

static int setup(void **state)
{
	static struct fixture f;

	f.pending = wh_pageset_new(PAGES);
	f.hot = wh_pageset_new(PAGES);
	wh_pageset_add(f.pending, 0, PAGES);
	wh_push_init(&f.push, f.pending, f.hot);
	*state = &f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	wh_push_done(&f->push);
	f->pending = wh_pageset_free(f->pending);
	f->hot = wh_pageset_free(f->hot);
	return 0;
}

static void assert_next(struct fixture *f, uint64_t first, uint32_t count)
{
	struct wh_run run;

	assert_true(wh_push_next(&f->push, MAX, &run));
	assert_int_equal(run.first, first);
	assert_int_equal(run.count, count);
}

static void without_faults_it_goes_from_the_first_page_to_the_last(void **state)
{
	struct fixture *f = *state;
	struct wh_run run;

	for (uint64_t page = 0; page < PAGES; page += MAX)
		assert_next(f, page, MAX);
	assert_false(wh_push_next(&f->push, MAX, &run));
}

static void hot_pages_come_before_the_rest(void **state)
{
	struct fixture *f = *state;

	wh_pageset_add(f->hot, 1000, 8);
	wh_pageset_add(f->hot, 4000, 2);
	assert_next(f, 1000, 8);
	assert_next(f, 4000, 2);
	assert_next(f, 0, MAX);
}

static void of_hot_pages_only_those_are_sent_that_are_pending(void **state)
{
	struct fixture *f = *state;

	wh_pageset_add(f->hot, 1000, 8);
	wh_pageset_remove(f->pending, 1000);
	wh_pageset_remove(f->pending, 1003);
	assert_next(f, 1001, 2);
	assert_next(f, 1004, 4);
	assert_next(f, 0, MAX);
}

static void what_is_behind_a_fault_comes_first(void **state)
{
	struct fixture *f = *state;

	wh_pageset_add(f->hot, 10, 1);
	wh_push_served(&f->push, 5000, 1);
	assert_next(f, 5001, 16);
	assert_next(f, 10, 1);
	assert_next(f, 0, 10);
}

static void a_page_that_was_served_is_not_pushed(void **state)
{
	struct fixture *f = *state;

	wh_push_served(&f->push, 3, 1);
	wh_push_served(&f->push, PAGES - 1, 1);
	assert_next(f, 0, 3);
	assert_next(f, 4, MAX - 4);
	assert_int_equal(wh_push_served_pages(&f->push), 2);
	wh_push_served(&f->push, 3, 1); /* again: it was no longer pending */
	assert_int_equal(wh_push_served_pages(&f->push), 2);
}

/* How many pages come behind a fault on @page before something else does. */
static uint32_t window_behind(struct fixture *f, uint64_t page)
{
	uint32_t pages = 0;
	struct wh_run run;

	wh_push_served(&f->push, page, 1);
	while (wh_push_next(&f->push, MAX, &run) && run.first == page + 1 + pages)
		pages += run.count;
	return pages;
}

static void the_window_widens_while_the_guest_walks(void **state)
{
	struct fixture *f = *state;
	uint64_t page = 1000;
	uint32_t window = window_behind(f, page);

	assert_int_equal(window, 16);
	for (uint32_t wider = 32; wider <= 1024; wider *= 2) {
		page += 1 + window; /* the first page that was not pushed */
		window = window_behind(f, page);
		assert_int_equal(window, wider);
	}
}

static void the_window_narrows_when_the_guest_jumps(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(window_behind(f, 1000), 16);
	assert_int_equal(window_behind(f, 1017), 32);
	assert_int_equal(window_behind(f, 6000), 16);
}

static void a_window_ends_with_the_memory(void **state)
{
	struct fixture *f = *state;

	wh_push_served(&f->push, PAGES - 3, 1);
	assert_next(f, PAGES - 2, 2);
	assert_next(f, 0, MAX);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(without_faults_it_goes_from_the_first_page_to_the_last),
		TEST(hot_pages_come_before_the_rest),
		TEST(of_hot_pages_only_those_are_sent_that_are_pending),
		TEST(what_is_behind_a_fault_comes_first),
		TEST(a_page_that_was_served_is_not_pushed),
		TEST(the_window_widens_while_the_guest_walks),
		TEST(the_window_narrows_when_the_guest_jumps),
		TEST(a_window_ends_with_the_memory),
	};

	return cmocka_run_group_tests_name("push", tests, NULL, NULL);
}
