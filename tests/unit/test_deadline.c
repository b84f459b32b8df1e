/* SPDX-License-Identifier: Apache-2.0 */

/* Deadlines at both sides of each boundary of docs/semantics.md section 3. */

#include "deadline.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "wherry/clock.h"

#define GIB (UINT64_C(1) << 30)
#define MS  WH_NSEC_PER_MSEC
#define S   WH_NSEC_PER_SEC

static const uint64_t start_ns = 1000 * S;

static struct wh_settings settings_of(uint32_t completion, uint32_t progress)
{
	return (struct wh_settings){
		.completion_s_per_gib = completion,
		.progress_s = progress,
	};
}

static enum wh_verdict check_at(struct wh_deadline *d, const struct wh_settings *s,
                                struct wh_left left, uint64_t after_ns)
{
	return wh_deadline_check(d, s, left, start_ns + after_ns);
}

static void allows_time_by_size(void **state)
{
	static const struct {
		uint32_t s_per_gib;
		uint64_t bytes;
		uint64_t ns;
	} cases[] = {
		{ 800, 6 * GIB, 4800 * S },
		{ 800, GIB, 800 * S },
		{ 800, GIB - 1, 800 * S },
		{ 800, 0, 800 * S },
		{ 800, GIB + GIB / 2, 1200 * S },
		{ 1, GIB + 1, 1001 * MS }, /* rounded up to the next millisecond */
		{ 1, GIB + GIB / 1000 + 1, 1002 * MS },
		{ 0, GIB, UINT64_MAX },
		{ UINT32_MAX, UINT64_MAX, UINT64_MAX },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct wh_settings s = settings_of(cases[i].s_per_gib, 0);

		assert_int_equal(wh_deadline_acceptable_ns(&s, cases[i].bytes), cases[i].ns);
	}
}

static void ends_a_migration_only_after_the_acceptable_time(void **state)
{
	struct wh_settings s = settings_of(2, 0);
	struct wh_left left = { .round_bytes = 5, .left_bytes = 5 };
	struct wh_deadline d;

	(void)state;
	wh_deadline_start(&d, 3 * GIB, start_ns);

	assert_int_equal(check_at(&d, &s, left, 6 * S), WH_IN_TIME);
	assert_int_equal(check_at(&d, &s, left, 6 * S + 1), WH_TOO_LONG);
}

static void ends_a_migration_only_after_the_progress_timeout(void **state)
{
	struct wh_settings s = settings_of(0, 150);
	struct wh_left left = { .round_bytes = 100, .left_bytes = 40 };
	struct wh_deadline d;

	(void)state;
	wh_deadline_start(&d, GIB, start_ns);
	assert_int_equal(check_at(&d, &s, left, S), WH_IN_TIME);
	assert_int_equal(check_at(&d, &s, left, 2 * S), WH_IN_TIME); /* 100, then 40: progress */

	assert_int_equal(check_at(&d, &s, left, 152 * S), WH_IN_TIME);
	assert_int_equal(check_at(&d, &s, left, 152 * S + 1), WH_NO_PROGRESS);
}

static void sending_again_what_is_dirtied_again_is_no_progress(void **state)
{
	struct wh_settings s = settings_of(0, 10);
	struct wh_deadline d;

	(void)state;
	wh_deadline_start(&d, GIB, start_ns);
	assert_int_equal(check_at(&d, &s, (struct wh_left){ 100, 100 }, 0), WH_IN_TIME);

	for (uint64_t t = 1; t <= 10; t++)
		assert_int_equal(check_at(&d, &s, (struct wh_left){ 101, 101 - t }, t * S),
		                 WH_IN_TIME);

	assert_int_equal(check_at(&d, &s, (struct wh_left){ 101, 1 }, 10 * S + 1), WH_NO_PROGRESS);
}

static void a_round_smaller_than_all_before_may_take_its_time(void **state)
{
	struct wh_settings s = settings_of(0, 10);
	struct wh_deadline d;

	(void)state;
	wh_deadline_start(&d, GIB, start_ns);

	for (uint64_t t = 0; t < 100; t++)
		assert_int_equal(check_at(&d, &s, (struct wh_left){ 1000, 1000 - t }, t * 9 * S),
		                 WH_IN_TIME);
}

static void a_torn_sample_does_not_hide_later_progress(void **state)
{
	struct wh_settings s = settings_of(0, 10);
	struct wh_deadline d;

	(void)state;
	wh_deadline_start(&d, GIB, start_ns);
	assert_int_equal(check_at(&d, &s, (struct wh_left){ 1000, 1 }, 0), WH_IN_TIME);

	/* The new round's size, with the left of the round before. */
	assert_int_equal(check_at(&d, &s, (struct wh_left){ 500, 0 }, S), WH_IN_TIME);

	assert_int_equal(check_at(&d, &s, (struct wh_left){ 500, 499 }, 11 * S), WH_IN_TIME);
	assert_int_equal(check_at(&d, &s, (struct wh_left){ 500, 499 }, 21 * S), WH_IN_TIME);
}

static void a_zero_switches_each_check_off(void **state)
{
	struct wh_settings s = settings_of(0, 0);
	struct wh_deadline d;

	(void)state;
	wh_deadline_start(&d, GIB, start_ns);

	assert_int_equal(check_at(&d, &s, (struct wh_left){ 9, 9 }, 1000000 * S), WH_IN_TIME);
}

static void says_which_key_and_that_post_copy_is_missing(void **state)
{
	struct wh_settings s = settings_of(800, 150);
	struct wh_deadline d;
	struct wh_error err;

	(void)state;
	wh_deadline_start(&d, 6 * GIB, start_ns);

	wh_deadline_explain(&err, WH_TOO_LONG, &d, &s);
	assert_non_null(strstr(err.text, "completionTimeoutPerGiB 800"));
	assert_non_null(strstr(err.text, "1h20m"));
	assert_null(strstr(err.text, "post-copy"));
	s.allow_post_copy = true;
	wh_deadline_explain(&err, WH_TOO_LONG, &d, &s);
	assert_non_null(strstr(err.text, "post-copy"));
	wh_deadline_explain(&err, WH_NO_PROGRESS, &d, &s);
	assert_non_null(strstr(err.text, "150 s (progressTimeout)"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(allows_time_by_size),
		cmocka_unit_test(ends_a_migration_only_after_the_acceptable_time),
		cmocka_unit_test(ends_a_migration_only_after_the_progress_timeout),
		cmocka_unit_test(sending_again_what_is_dirtied_again_is_no_progress),
		cmocka_unit_test(a_round_smaller_than_all_before_may_take_its_time),
		cmocka_unit_test(a_torn_sample_does_not_hide_later_progress),
		cmocka_unit_test(a_zero_switches_each_check_off),
		cmocka_unit_test(says_which_key_and_that_post_copy_is_missing),
	};

	return cmocka_run_group_tests_name("deadline", tests, NULL, NULL);
}
