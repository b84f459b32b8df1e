/* SPDX-License-Identifier: Apache-2.0 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "name.h"

#define LONGEST "a23456789012345678901234567890123456789012345678901234567890123"

static void accepts_dns_labels(void **state)
{
	static const char *const names[] = { "a", "0", "db1", "a-b", "a--b", LONGEST };

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		assert_true(wh_name_valid(names[i]));
}

static void refuses_everything_else(void **state)
{
	static const char *const names[] = { "",    "-",   "-a",  "a-", "A",       "a.b",
		                             "a_b", "a b", "a/b", "..", "\xc3\xa4" };

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		assert_false(wh_name_valid(names[i]));
	assert_false(wh_name_valid(LONGEST "4"));
}

static const char *nearest(const char *wrong, size_t *distance)
{
	struct wh_nearest search = { .wrong = wrong };

	wh_nearest_offer(&search, "network");
	wh_nearest_offer(&search, "allowPostCopy");
	wh_nearest_offer(&search, "progressTimeout");
	*distance = search.distance;
	return search.best;
}

static void finds_the_name_with_the_fewest_changes(void **state)
{
	size_t distance;

	(void)state;
	assert_string_equal(nearest("network", &distance), "network");
	assert_int_equal(distance, 0);
	assert_string_equal(nearest("allowpostcopy", &distance), "allowPostCopy");
	assert_int_equal(distance, 2);
	assert_string_equal(nearest("progresTimeouts", &distance), "progressTimeout");
	assert_int_equal(distance, 2);
	assert_string_equal(nearest("", &distance), "network");
	assert_int_equal(distance, 7);
}

static void survives_words_longer_than_any_name(void **state)
{
	size_t distance;

	(void)state;
	assert_non_null(nearest(LONGEST LONGEST LONGEST, &distance));
	assert_true(distance <= 64);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(accepts_dns_labels),
		cmocka_unit_test(refuses_everything_else),
		cmocka_unit_test(finds_the_name_with_the_fewest_changes),
		cmocka_unit_test(survives_words_longer_than_any_name),
	};

	return cmocka_run_group_tests_name("name", tests, NULL, NULL);
}
