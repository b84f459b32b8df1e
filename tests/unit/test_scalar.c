/* SPDX-License-Identifier: Apache-2.0 */

/* Words without quotes: what Kubernetes takes them for, and how numbers look as JSON. */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "scalar.h"

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

static void tells_types_as_kubernetes_does(void **state)
{
	static const struct {
		const char *text;
		enum wh_scalar_type type;
	} table[] = {
		{ "", WH_SCALAR_NULL },         { "~", WH_SCALAR_NULL },
		{ "null", WH_SCALAR_NULL },     { "NULL", WH_SCALAR_NULL },
		{ "nULL", WH_SCALAR_STRING },   { "true", WH_SCALAR_TRUE },
		{ "TRUE", WH_SCALAR_TRUE },     { "tRue", WH_SCALAR_STRING },
		{ "False", WH_SCALAR_FALSE },   { "y", WH_SCALAR_YES },
		{ "on", WH_SCALAR_YES },        { "Yes", WH_SCALAR_YES },
		{ "n", WH_SCALAR_NO },          { "OFF", WH_SCALAR_NO },
		{ "5", WH_SCALAR_NUMBER },      { "-5", WH_SCALAR_NUMBER },
		{ "+5", WH_SCALAR_NUMBER },     { "1_000", WH_SCALAR_NUMBER },
		{ "_1", WH_SCALAR_STRING },     { "1.5", WH_SCALAR_NUMBER },
		{ ".5", WH_SCALAR_NUMBER },     { "5.", WH_SCALAR_NUMBER },
		{ ".", WH_SCALAR_STRING },      { "-", WH_SCALAR_STRING },
		{ "1e9", WH_SCALAR_NUMBER },    { "1E+9", WH_SCALAR_NUMBER },
		{ "1e", WH_SCALAR_STRING },     { "e9", WH_SCALAR_STRING },
		{ "0x1f", WH_SCALAR_NUMBER },   { "0x", WH_SCALAR_STRING },
		{ "0x1g", WH_SCALAR_STRING },   { "0o17", WH_SCALAR_NUMBER },
		{ "0o18", WH_SCALAR_STRING },   { "0b101", WH_SCALAR_NUMBER },
		{ "0b2", WH_SCALAR_STRING },    { "0644", WH_SCALAR_NUMBER },
		{ ".inf", WH_SCALAR_NUMBER },   { "-.inf", WH_SCALAR_NUMBER },
		{ ".nan", WH_SCALAR_NUMBER },   { "inf", WH_SCALAR_STRING },
		{ "64Mi", WH_SCALAR_STRING },   { "192.0.2.1", WH_SCALAR_STRING },
		{ "1-2", WH_SCALAR_STRING },    { "2026-03-02", WH_SCALAR_STRING },
		{ "Always", WH_SCALAR_STRING },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(table); i++) {
		if (wh_scalar_type(table[i].text) != table[i].type)
			fail_msg("'%s' is of type %d", table[i].text,
			         (int)wh_scalar_type(table[i].text));
	}
}

static void writes_numbers_as_json_does(void **state)
{
	static const struct {
		const char *text;
		const char *json;
	} table[] = {
		{ "0", "0" },
		{ "-0", "0" },
		{ "5", "5" },
		{ "+5", "5" },
		{ "-5", "-5" },
		{ "1_000", "1000" },
		{ "9223372036854775807", "9223372036854775807" },
		{ "-9223372036854775808", "-9223372036854775808" },
		{ "0x1f", "31" },
		{ "-0x1f", "-31" },
		{ "0x7fffffffffffffff", "9223372036854775807" },
		{ "0o17", "15" },
		{ "0644", "420" },
		{ "00", "0" },
		{ "08", "8" },
		{ "0b101", "5" },
		{ "1.5", "1.5" },
		{ "0.1", "0.1" },
		{ ".5", "0.5" },
		{ "-.5", "-0.5" },
		{ "5.", "5" },
		{ "-0.", "0" },
		{ "99999999999999999999.", "99999999999999999999.0" },
		{ "00.25", "0.25" },
		{ "5.e3", "5e3" },
		{ "1e9", "1e9" },
		{ "1E+9", "1E+9" },
		{ "1.5e-3", "1.5e-3" },
		{ "1e-999", "1e-999" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(table); i++) {
		char json[WH_SCALAR_NUMBER_MAX];

		assert_int_equal(wh_scalar_number(json, table[i].text), 0);
		assert_string_equal(json, table[i].json);
	}
}

static void refuses_numbers_that_others_could_not_read(void **state)
{
	static const char *const table[] = {
		"9223372036854775808",
		"-9223372036854775809",
		"0x8000000000000000",
		"99999999999999999999999999",
		"1e999",
		"-1e999",
		".inf",
		"-.inf",
		".nan",
		/* 65 characters. */
		"1.000000000000000000000000000000000000000000000000000000000000000",
	};

	(void)state;
	for (size_t i = 0; i < COUNT(table); i++) {
		char json[WH_SCALAR_NUMBER_MAX] = "77";

		assert_int_equal(wh_scalar_type(table[i]), WH_SCALAR_NUMBER);
		if (wh_scalar_number(json, table[i]) != -ERANGE)
			fail_msg("'%s' became %s", table[i], json);
		assert_string_equal(json, "77");
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tells_types_as_kubernetes_does),
		cmocka_unit_test(writes_numbers_as_json_does),
		cmocka_unit_test(refuses_numbers_that_others_could_not_read),
	};

	return cmocka_run_group_tests_name("scalar", tests, NULL, NULL);
}
