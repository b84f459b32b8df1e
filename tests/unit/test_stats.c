/* SPDX-License-Identifier: Apache-2.0 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "wherry/stats.h"

static void every_value_has_a_name_of_its_own_and_help(void **state)
{
	(void)state;
	for (int i = 0; i < WH_STAT_COUNT; i++) {
		assert_non_null(wh_stat_table[i].name);
		assert_non_null(wh_stat_table[i].help);
		for (int j = 0; j < i; j++)
			assert_string_not_equal(wh_stat_table[i].name, wh_stat_table[j].name);
	}
}

static void a_suffix_is_the_unit(void **state)
{
	(void)state;
	assert_string_equal(wh_stat_table[WH_STAT_PAGE_BYTES].name, "page_bytes");
	assert_string_equal(wh_stat_table[WH_STAT_RATE_BPS].name, "rate_bps");
	assert_string_equal(wh_stat_table[WH_STAT_LANDED_NS].name, "landed_ns");
}

static void values_are_set_added_to_and_kept_apart(void **state)
{
	struct wh_stats stats = { 0 };

	(void)state;
	wh_stat_set(&stats, WH_STAT_PAGE_BYTES, 5);
	wh_stat_add(&stats, WH_STAT_PAGE_BYTES, UINT64_C(1) << 40);

	assert_int_equal(wh_stat_get(&stats, WH_STAT_PAGE_BYTES), (UINT64_C(1) << 40) + 5);
	for (int i = 0; i < WH_STAT_COUNT; i++)
		if (i != WH_STAT_PAGE_BYTES)
			assert_int_equal(wh_stat_get(&stats, (enum wh_stat)i), 0);
}

static void a_wait_is_counted_by_its_binary_logarithm(void **state)
{
	struct wh_stats stats = { 0 };

	(void)state;
	wh_stat_count_fault(&stats, 0);
	wh_stat_count_fault(&stats, 1);
	wh_stat_count_fault(&stats, 65535);
	wh_stat_count_fault(&stats, 65536);
	wh_stat_count_fault(&stats, UINT64_C(1) << 50);

	assert_int_equal(wh_stat_fault_bucket(&stats, 0), 2);
	assert_int_equal(wh_stat_fault_bucket(&stats, 15), 1);
	assert_int_equal(wh_stat_fault_bucket(&stats, 16), 1);
	assert_int_equal(wh_stat_fault_bucket(&stats, WH_FAULT_BUCKETS - 1), 1);
	assert_int_equal(wh_stat_get(&stats, WH_STAT_STALL_NS), 131072 + (UINT64_C(1) << 50));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_value_has_a_name_of_its_own_and_help),
		cmocka_unit_test(a_suffix_is_the_unit),
		cmocka_unit_test(values_are_set_added_to_and_kept_apart),
		cmocka_unit_test(a_wait_is_counted_by_its_binary_logarithm),
	};

	return cmocka_run_group_tests_name("stats", tests, NULL, NULL);
}
