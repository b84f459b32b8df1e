/* SPDX-License-Identifier: Apache-2.0 */

/* Types of scalars. Objects with keys are tested by test_settings.c and test_config.c. */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "value.h"

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

static struct wh_yaml_node scalar(const char *text, bool quoted)
{
	return (struct wh_yaml_node){
		.type = WH_YAML_SCALAR,
		.file = "f",
		.line = 3,
		.column = 9,
		.text = (char *)text, /* only read */
		.quoted = quoted,
	};
}

static void tells_strings_from_other_types(void **state)
{
	static const struct {
		const char *text;
		bool quoted;
		int result;
	} table[] = {
		{ "a", false, 0 },          { "/run/x", false, 0 },
		{ "192.0.2.1", false, 0 },  { "2001:db8::1", false, 0 },
		{ "::1", false, 0 },        { "1a", false, 0 },
		{ "64Mi", false, 0 },       { "infinity", false, 0 },
		{ "-", false, 0 },          { "true", true, 0 },
		{ "5", true, 0 },           { "null", true, 0 },
		{ "", true, -EINVAL },      { "", false, -EINVAL },
		{ "~", false, -EINVAL },    { "null", false, -EINVAL },
		{ "true", false, -EINVAL }, { "FALSE", false, -EINVAL },
		{ "yes", false, -EINVAL },  { "Off", false, -EINVAL },
		{ "5", false, -EINVAL },    { "-5", false, -EINVAL },
		{ "+.5", false, -EINVAL },  { "1e9", false, -EINVAL },
		{ "0x1f", false, -EINVAL },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(table); i++) {
		const struct wh_yaml_node node = scalar(table[i].text, table[i].quoted);
		const char *text = "untouched";
		struct wh_error err = { 0 };

		print_message("# %s\n", table[i].text);
		assert_int_equal(wh_value_string(&text, &node, &err), table[i].result);
		assert_string_equal(text, table[i].result ? "untouched" : table[i].text);
		assert_int_equal(!!*err.text, !!table[i].result);
	}
}

static void keeps_integers_within_their_bounds(void **state)
{
	static const struct {
		const char *text;
		int result;
		uint64_t value;
	} table[] = {
		{ "1", -EINVAL, 0 },
		{ "2", 0, 2 },
		{ "9", 0, 9 },
		{ "10", -EINVAL, 0 },
		{ "18446744073709551615", -EINVAL, 0 },
		{ "18446744073709551618", -EINVAL, 0 }, /* 2, if it wrapped around */
		{ "+2", -EINVAL, 0 },
		{ "02", -EINVAL, 0 },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(table); i++) {
		const struct wh_yaml_node node = scalar(table[i].text, false);
		struct wh_error err = { 0 };
		uint64_t value = 0;

		assert_int_equal(wh_value_integer(&value, &node, 2, 9, &err), table[i].result);
		assert_int_equal(value, table[i].value);
	}
}

static void the_words_begin_with_the_place(void **state)
{
	const struct wh_yaml_node node = scalar("maybe", false);
	struct wh_error err = { 0 };
	bool value = true;

	(void)state;
	assert_int_equal(wh_value_boolean(&value, &node, &err), -EINVAL);
	assert_string_equal(err.text,
	                    "f:3:9: 'maybe' is not right; write true or false, without quotes");
	assert_true(value);
	assert_int_equal(wh_value_boolean(&value, &node, NULL), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tells_strings_from_other_types),
		cmocka_unit_test(keeps_integers_within_their_bounds),
		cmocka_unit_test(the_words_begin_with_the_place),
	};

	return cmocka_run_group_tests_name("value", tests, NULL, NULL);
}
