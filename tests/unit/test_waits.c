/* SPDX-License-Identifier: Apache-2.0 */

/* What the guest's program says about its waits is what post-copy is compared by. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "waits.h"

#define START_NS (UINT64_C(1) << 40)

static struct waits waits;

static int setup(void **state)
{
	(void)state;
	waits = (struct waits){ 0 };
	waits_begin(&waits, START_NS);
	return 0;
}

static void note(uint32_t times, uint64_t ns)
{
	for (uint32_t i = 0; i < times; i++)
		waits_note(&waits, waits.last_ns + ns);
}

static void a_time_is_below_the_end_of_its_bucket_and_not_far(void **state)
{
	(void)state;
	for (uint64_t ns = 0; ns < UINT64_C(1) << 50; ns += 1 + ns / 7) {
		const uint32_t bucket = waits_bucket(ns);

		assert_in_range(bucket, 0, WAITS_BUCKETS - 1);
		assert_in_range(waits_above(bucket), ns + 1, ns + 1 + ns / WAITS_PARTS);
		assert_true(bucket == 0 || waits_above(bucket - 1) <= ns);
	}
	assert_in_range(waits_bucket(UINT64_MAX), 0, WAITS_BUCKETS - 1);
}

static void one_access_in_a_hundred_may_take_longer(void **state)
{
	(void)state;
	note(9900, 1000);
	note(100, 1000000);
	assert_in_range(waits_all_but_ns(&waits, 100), 1001, 1064);
	note(100, 1000000);
	assert_in_range(waits_all_but_ns(&waits, 100), 1000001, 1062501);
}

static void what_is_held_up_counts_from_a_bound_on(void **state)
{
	(void)state;
	note(3, WAITS_STALL_NS - 1);
	note(2, WAITS_STALL_NS);
	assert_int_equal(waits.passes[0].stalled_ns, 2 * WAITS_STALL_NS);
	assert_int_equal(waits.passes[0].worst_ns, WAITS_STALL_NS);
}

static void a_pass_counts_until_the_next_but_one_begins(void **state)
{
	(void)state;
	note(10, 1000000);
	waits_end_pass(&waits);
	note(10, 1000);
	assert_in_range(waits_all_but_ns(&waits, 1000), 1000001, 1062501);
	waits_end_pass(&waits);
	note(10, 1000);
	assert_in_range(waits_all_but_ns(&waits, 1000), 1001, 1064);
}

static void a_time_in_which_nothing_was_due_is_no_access(void **state)
{
	(void)state;
	note(1, 10);
	waits_begin(&waits, waits.last_ns + 1000000);
	note(1, 10);
	assert_int_equal(waits.passes[0].worst_ns, 10);
	assert_int_equal(waits.passes[0].accesses, 2);
}

#define TEST(fn) cmocka_unit_test_setup(fn, setup)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_time_is_below_the_end_of_its_bucket_and_not_far),
		TEST(one_access_in_a_hundred_may_take_longer),
		TEST(what_is_held_up_counts_from_a_bound_on),
		TEST(a_pass_counts_until_the_next_but_one_begins),
		TEST(a_time_in_which_nothing_was_due_is_no_access),
	};

	return cmocka_run_group_tests_name("waits", tests, NULL, NULL);
}
