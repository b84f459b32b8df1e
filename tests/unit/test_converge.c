/* SPDX-License-Identifier: Apache-2.0 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "converge.h"

#include "wherry/clock.h"

#define MIB (UINT64_C(1) << 20)

static void what_takes_exactly_the_target_fits(void **state)
{
	(void)state;
	/* 300 MiB at 1000 MiB/s is 300 ms. */
	assert_true(wh_converged(300 * MIB, 1000 * MIB, 300 * WH_NSEC_PER_MSEC));
	assert_false(wh_converged(300 * MIB + 1, 1000 * MIB, 300 * WH_NSEC_PER_MSEC));
	assert_false(wh_converged(300 * MIB, 1000 * MIB - 1, 300 * WH_NSEC_PER_MSEC));
	assert_false(wh_converged(300 * MIB, 1000 * MIB, 300 * WH_NSEC_PER_MSEC - 1));
}

static void nothing_left_always_fits(void **state)
{
	(void)state;
	assert_true(wh_converged(0, 0, 0));
	assert_true(wh_converged(0, 1, 0));
	assert_true(wh_converged(0, UINT64_MAX, UINT64_MAX));
}

static void without_a_rate_nothing_fits(void **state)
{
	(void)state;
	assert_false(wh_converged(1, 0, UINT64_MAX));
	assert_false(wh_converged(UINT64_MAX, 0, UINT64_MAX));
	assert_false(wh_converged(1, UINT64_MAX, 0));
}

static void huge_numbers_do_not_wrap_around(void **state)
{
	(void)state;
	assert_true(wh_converged(UINT64_MAX, UINT64_MAX, WH_NSEC_PER_SEC));
	assert_false(wh_converged(UINT64_MAX, UINT64_MAX, WH_NSEC_PER_SEC - 1));
	assert_false(wh_converged(UINT64_MAX, 1, WH_NSEC_PER_SEC));
	assert_true(wh_converged(1, UINT64_MAX, UINT64_MAX));
}

static void a_rate_is_bytes_over_seconds(void **state)
{
	(void)state;
	assert_int_equal(wh_bytes_per_s(1000, WH_NSEC_PER_SEC), 1000);
	assert_int_equal(wh_bytes_per_s(1000, WH_NSEC_PER_SEC / 4), 4000);
	assert_int_equal(wh_bytes_per_s(1, 3 * WH_NSEC_PER_SEC), 0);
	assert_int_equal(wh_bytes_per_s(0, 1), 0);
}

static void a_rate_over_no_time_is_zero(void **state)
{
	(void)state;
	assert_int_equal(wh_bytes_per_s(1000, 0), 0);
}

static void a_rate_beyond_64_bits_is_the_largest(void **state)
{
	(void)state;
	assert_true(wh_bytes_per_s(UINT64_MAX, WH_NSEC_PER_SEC) == UINT64_MAX);
	assert_true(wh_bytes_per_s(UINT64_MAX, 1) == UINT64_MAX);
}

static void the_mean_of_nothing_is_zero(void **state)
{
	const struct wh_rate_mean mean = { 0 };

	(void)state;
	assert_int_equal(wh_rate_mean_bps(&mean), 0);
}

static void the_mean_weighs_samples_by_their_time(void **state)
{
	struct wh_rate_mean mean = { 0 };

	(void)state;
	wh_rate_mean_add(&mean, 100 * MIB, 100 * WH_NSEC_PER_MSEC);
	wh_rate_mean_add(&mean, 100 * MIB, 300 * WH_NSEC_PER_MSEC);

	assert_int_equal(wh_rate_mean_bps(&mean), 500 * MIB);
}

static void the_mean_forgets_what_is_long_ago(void **state)
{
	struct wh_rate_mean mean = { 0 };

	(void)state;
	wh_rate_mean_add(&mean, 60000 * MIB, 60 * WH_NSEC_PER_SEC);
	for (int i = 0; i < 40; i++)
		wh_rate_mean_add(&mean, 10 * MIB, 100 * WH_NSEC_PER_MSEC);

	/* 4 s at 100 MiB/s after 60 s at 1000 MiB/s. */
	assert_in_range(wh_rate_mean_bps(&mean), 100 * MIB, 110 * MIB);
}

static void one_long_sample_counts_in_full(void **state)
{
	struct wh_rate_mean mean = { 0 };

	(void)state;
	wh_rate_mean_add(&mean, 64000 * MIB, 64 * WH_NSEC_PER_SEC);

	assert_int_equal(wh_rate_mean_bps(&mean), 1000 * MIB);
}

static void another_round_helps_while_each_leaves_half(void **state)
{
	(void)state;
	assert_true(wh_round_helps(200 * MIB, 100 * MIB, 1000 * MIB, WH_ROUND_WORTH_NS));
	assert_false(wh_round_helps(200 * MIB, 100 * MIB + 1, 1000 * MIB, WH_ROUND_WORTH_NS));
	assert_false(wh_round_helps(100 * MIB, 100 * MIB, 1000 * MIB, WH_ROUND_WORTH_NS));
	assert_true(wh_round_helps(UINT64_MAX, 100 * MIB, 1000 * MIB, WH_ROUND_WORTH_NS));
}

static void another_round_does_not_help_where_little_is_left(void **state)
{
	(void)state;
	/* 2 MiB at 1000 MiB/s take 2 ms. */
	assert_false(wh_round_helps(200 * MIB, 0, 1000 * MIB, WH_ROUND_WORTH_NS));
	assert_false(wh_round_helps(200 * MIB, 2 * MIB, 1000 * MIB, WH_ROUND_WORTH_NS));
	assert_true(wh_round_helps(200 * MIB, 2 * MIB + 1, 1000 * MIB, WH_ROUND_WORTH_NS));
	assert_false(wh_round_helps(0, 0, 0, WH_ROUND_WORTH_NS));
}

static void what_is_little_is_the_callers_to_say(void **state)
{
	(void)state;
	assert_false(wh_round_helps(200 * MIB, 40 * MIB, 1000 * MIB, 40 * WH_NSEC_PER_MSEC));
	assert_true(wh_round_helps(200 * MIB, 40 * MIB + 1, 1000 * MIB, 40 * WH_NSEC_PER_MSEC));
}

static void a_round_is_cheap_while_a_quarter_of_it_is_written_anew(void **state)
{
	(void)state;
	assert_true(wh_round_is_cheap(250 * MIB, 1000 * MIB));
	assert_false(wh_round_is_cheap(250 * MIB + 1, 1000 * MIB));
	assert_true(wh_round_is_cheap(0, 1000 * MIB));
	assert_false(wh_round_is_cheap(1, 0));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_takes_exactly_the_target_fits),
		cmocka_unit_test(nothing_left_always_fits),
		cmocka_unit_test(without_a_rate_nothing_fits),
		cmocka_unit_test(huge_numbers_do_not_wrap_around),
		cmocka_unit_test(a_rate_is_bytes_over_seconds),
		cmocka_unit_test(a_rate_over_no_time_is_zero),
		cmocka_unit_test(a_rate_beyond_64_bits_is_the_largest),
		cmocka_unit_test(the_mean_of_nothing_is_zero),
		cmocka_unit_test(the_mean_weighs_samples_by_their_time),
		cmocka_unit_test(the_mean_forgets_what_is_long_ago),
		cmocka_unit_test(one_long_sample_counts_in_full),
		cmocka_unit_test(another_round_helps_while_each_leaves_half),
		cmocka_unit_test(another_round_does_not_help_where_little_is_left),
		cmocka_unit_test(what_is_little_is_the_callers_to_say),
		cmocka_unit_test(a_round_is_cheap_while_a_quarter_of_it_is_written_anew),
	};

	return cmocka_run_group_tests_name("converge", tests, NULL, NULL);
}
