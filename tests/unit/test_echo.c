/* SPDX-License-Identifier: Apache-2.0 */

/* Pages that are sent once more: dataplane/echo.h. Times are in units of their own. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "echo.h"

#define PAGES 1000u
#define WAIT  UINT64_C(90)

struct fixture {
	struct wh_echo *echo;
	struct wh_pageset *pending;
};

static int setup(void **state)
{
	static struct fixture f;

	f.echo = wh_echo_new(PAGES, WAIT);
	f.pending = wh_pageset_new(PAGES);
	*state = &f;
	return f.echo && f.pending ? 0 : -1;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	f->echo = wh_echo_free(f->echo);
	f->pending = wh_pageset_free(f->pending);
	return 0;
}

/* A scan that ended at @now reports @page, and all that is pending is sent. Return: what was due. */
static uint64_t report(struct fixture *f, uint64_t now, uint64_t page)
{
	uint64_t due;

	wh_pageset_add(wh_echo_fresh(f->echo), page, 1);
	due = wh_echo_note(f->echo, now, f->pending);
	assert_true(wh_pageset_has(f->pending, page));
	wh_pageset_clear(f->pending);
	return due;
}

/* A scan that ended at @now reports nothing. Return: what was due, which stays pending. */
static uint64_t wait_until(struct fixture *f, uint64_t now)
{
	return wh_echo_note(f->echo, now, f->pending);
}

static void what_is_reported_is_pending_at_once(void **state)
{
	struct fixture *f = *state;

	wh_pageset_add(wh_echo_fresh(f->echo), 7, 3);

	assert_int_equal(wh_echo_note(f->echo, 0, f->pending), 0);

	assert_int_equal(wh_pageset_count(f->pending), 3);
	assert_int_equal(wh_pageset_count(wh_echo_fresh(f->echo)), 0);
	assert_int_equal(wh_echo_pages(f->echo), 3);
}

static void a_page_is_pending_once_more_when_the_wait_has_passed(void **state)
{
	struct fixture *f = *state;

	(void)report(f, 10, 5);
	assert_int_equal(wait_until(f, 10 + WAIT / 2), 0);
	assert_int_equal(wait_until(f, 10 + WAIT - 1), 0);
	assert_int_equal(wh_pageset_count(f->pending), 0);

	assert_int_equal(wait_until(f, 10 + WAIT), 1);

	assert_true(wh_pageset_has(f->pending, 5));
	assert_int_equal(wh_echo_pages(f->echo), 0);
	wh_pageset_clear(f->pending);
	assert_int_equal(wait_until(f, 10 + 9 * WAIT), 0);
}

/* However scans and windows fall: never too soon, and not later than a third of the wait. */
static void no_page_is_due_before_the_wait_has_passed(void **state)
{
	struct fixture *f = *state;
	uint64_t reported[PAGES] = { 0 };
	uint64_t due = 0;
	uint64_t now = 1;

	for (uint64_t i = 0; i < PAGES; i++, now += 1 + i * i % 13) {
		wh_pageset_add(wh_echo_fresh(f->echo), i, 1);
		reported[i] = now;
		due += wh_echo_note(f->echo, now, f->pending);
		for (uint64_t page = 0; page < i; page++) {
			if (!wh_pageset_has(f->pending, page))
				assert_true(reported[page] == 0 ||
				            now < reported[page] + 4 * WAIT / 3 + 14);
			else if (reported[page] > 0)
				assert_true(now >= reported[page] + WAIT);
			if (wh_pageset_has(f->pending, page))
				reported[page] = 0;
		}
		wh_pageset_clear(f->pending);
	}
	assert_in_range(due, PAGES / 2, PAGES - wh_echo_pages(f->echo));
	assert_int_equal(due + wh_echo_pages(f->echo), PAGES);
}

static void a_page_that_is_reported_again_waits_again(void **state)
{
	struct fixture *f = *state;

	(void)report(f, 10, 5);
	(void)wait_until(f, 10 + WAIT / 2);
	assert_int_equal(report(f, 9 + WAIT, 5), 0);
	assert_int_equal(wh_echo_pages(f->echo), 1);
	assert_int_equal(wait_until(f, 10 + WAIT), 0);
	assert_int_equal(wait_until(f, 8 + 2 * WAIT), 0);

	assert_int_equal(wait_until(f, 9 + 2 * WAIT), 1);
}

static void a_page_that_is_written_all_the_time_is_never_due(void **state)
{
	struct fixture *f = *state;

	for (uint64_t now = 0; now < 20 * WAIT; now += WAIT / 5)
		assert_int_equal(report(f, now, 5), 0);

	assert_int_equal(wh_echo_pages(f->echo), 1);
}

static void scans_may_be_far_apart(void **state)
{
	struct fixture *f = *state;

	for (uint64_t i = 0; i < 10; i++)
		(void)report(f, i * 7 * WAIT, i);

	assert_int_equal(wait_until(f, 70 * WAIT), 1);
	assert_int_equal(wh_echo_pages(f->echo), 0);
}

static void all_can_be_taken_before_it_is_due(void **state)
{
	struct fixture *f = *state;

	for (uint64_t i = 0; i < 10; i++)
		(void)report(f, i * WAIT / 8, i);

	wh_echo_take_all(f->echo, f->pending);

	assert_int_equal(wh_pageset_count(f->pending), 10);
	assert_int_equal(wh_echo_pages(f->echo), 0);
	wh_pageset_clear(f->pending);
	assert_int_equal(wait_until(f, 100 * WAIT), 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(what_is_reported_is_pending_at_once),
		TEST(a_page_is_pending_once_more_when_the_wait_has_passed),
		TEST(no_page_is_due_before_the_wait_has_passed),
		TEST(a_page_that_is_reported_again_waits_again),
		TEST(a_page_that_is_written_all_the_time_is_never_due),
		TEST(scans_may_be_far_apart),
		TEST(all_can_be_taken_before_it_is_due),
	};

	return cmocka_run_group_tests_name("echo", tests, NULL, NULL);
}
