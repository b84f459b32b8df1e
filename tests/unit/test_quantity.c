/* SPDX-License-Identifier: Apache-2.0 */

/* Quantities: docs/semantics.md section 1, from both sides of every boundary. */

#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "quantity.h"

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

#define Ki UINT64_C(1024)
#define Mi (1024 * Ki)
#define Gi (1024 * Mi)
#define Ti (1024 * Gi)
#define Pi (1024 * Ti)
#define Ei (1024 * Pi)

static void reads_what_kubernetes_reads(void **state)
{
	static const struct {
		const char *text;
		uint64_t value;
	} table[] = {
		{ "0", 0 },
		{ "0Mi", 0 },
		{ "0m", 0 },
		{ "-0", 0 },
		{ "0e999999999999", 0 },
		{ "64Mi", 64 * Mi },
		{ "2048Mi", 2048 * Mi },
		{ "1Gi", Gi },
		{ "1G", 1000000000 },
		{ "64M", 64000000 },
		{ "+64M", 64000000 },
		{ "0064M", 64000000 },
		{ "1.5Gi", Gi + Gi / 2 },
		{ "1.5G", 1500000000 },
		{ ".5Ki", 512 },
		{ "5.", 5 },
		{ "1.Gi", Gi },
		{ "1e9", 1000000000 },
		{ "1E3", 1000 },
		{ "1e+3", 1000 },
		{ "1500e-3", 2 },
		{ "1k", 1000 },
		{ "1Ki", Ki },
		{ "1T", UINT64_C(1000000000000) },
		{ "1P", UINT64_C(1000000000000000) },
		{ "1E", UINT64_C(1000000000000000000) },
		{ "1Ti", Ti },
		{ "1Pi", Pi },
		{ "1Ei", Ei },
		{ "1000000000n", 1 },
		{ "1000000u", 1 },
		{ "123456789", 123456789 },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(table); i++) {
		struct wh_error err = { 0 };
		uint64_t value = 77;

		print_message("# %s\n", table[i].text);
		assert_int_equal(wh_quantity_parse(&value, table[i].text, &err), 0);
		assert_true(value == table[i].value);
	}
}

static void rounds_up_to_whole_bytes_and_is_exact_otherwise(void **state)
{
	static const struct {
		const char *text;
		uint64_t value;
	} table[] = {
		{ "1000m", 1 },
		{ "1001m", 2 },
		{ "1500m", 2 },
		{ "1999999999n", 2 },
		{ "1.0000000000000000000000000000000000000000001", 2 },
		{ "1.0000000000000000000000000000000000000000000", 1 },
		{ "0.1Ki", 103 }, /* 102.4 */
		{ "1.1Gi", 1181116007 },
		/* Floating point would lose the last digits of these. */
		{ "9007199254740993", UINT64_C(9007199254740993) },
		{ "0.9007199254740993E", UINT64_C(900719925474099300) },
		{ "7.999999999999999999Ei", (uint64_t)INT64_MAX },
		{ "9223372036854775807", (uint64_t)INT64_MAX },
		{ "9223372036854775806.5", (uint64_t)INT64_MAX },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(table); i++) {
		struct wh_error err = { 0 };
		uint64_t value = 77;

		print_message("# %s\n", table[i].text);
		assert_int_equal(wh_quantity_parse(&value, table[i].text, &err), 0);
		assert_true(value == table[i].value);
	}
}

static void refuses_with_a_hint(void **state)
{
	static const struct {
		const char *text;
		int code;
		const char *hint; /* part of the words */
	} table[] = {
		{ "64MB", -EINVAL, "write 64M (powers of 1000) or 64Mi (powers of 1024)" },
		{ "64B", -EINVAL, "write 64" },
		{ "64MiB", -EINVAL, "write 64Mi" },
		{ "64MB/s", -EINVAL, "write 64M " },
		{ "64Mbps", -EINVAL, "bits" },
		{ "64Mbit", -EINVAL, "bits" },
		{ "64K", -EINVAL, "write 64k (powers of 1000) or 64Ki (powers of 1024)" },
		{ "64mi", -EINVAL, "write 64Mi" },
		{ "64MI", -EINVAL, "write 64Mi" },
		{ "64g", -EINVAL, "write 64G " },
		{ "64 Mi", -EINVAL, "blank" },
		{ " 64Mi", -EINVAL, "begin" },
		{ "64Mi ", -EINVAL, "blank" },
		{ "1e3.5", -EINVAL, "whole number after the e" },
		{ "1e", -EINVAL, "whole number after the e" },
		{ "1e+", -EINVAL, "whole number after the e" },
		{ "1e3M", -EINVAL, "whole number after the e" },
		{ "K", -EINVAL, "begin with a number" },
		{ "mi", -EINVAL, "begin with a number" },
		{ "Mi", -EINVAL, "begin with a number" },
		{ "", -EINVAL, "begin with a number" },
		{ ".", -EINVAL, "begin with a number" },
		{ "+", -EINVAL, "begin with a number" },
		{ "--1", -EINVAL, "begin with a number" },
		{ "unlimited", -EINVAL, "begin with a number" },
		{ "1.2.3", -EINVAL, "unknown unit" },
		{ "1,5Gi", -EINVAL, "unknown unit" },
		{ "0x10", -EINVAL, "unknown unit" },
		{ "1Zi", -EINVAL, "unknown unit" },
		{ "64m", -ERANGE, "64M" },
		{ "999m", -ERANGE, "999M" },
		{ "999999999n", -ERANGE, "less than 1 byte" },
		{ "0.5", -ERANGE, "less than 1 byte" },
		{ "0.0009Ki", -ERANGE, "less than 1 byte" },
		{ "1e-999999999999", -ERANGE, "less than 1 byte" },
		{ "-1", -ERANGE, "negative" },
		{ "-64Mi", -ERANGE, "negative" },
		{ "-1n", -ERANGE, "negative" },
		{ "9223372036854775808", -ERANGE, "too large" },
		{ "9223372036854775807.1", -ERANGE, "too large" },
		{ "8Ei", -ERANGE, "too large" },
		{ "16Ei", -ERANGE, "too large" },
		{ "18446744073709551616", -ERANGE, "too large" },
		{ "1e19", -ERANGE, "too large" },
		{ "1e999999999999", -ERANGE, "too large" },
		{ "99999999999999999999999999999999999999999999999999999999999999Ei", -ERANGE,
		  "too large" },
		{ "000000000000000000000000000000000000000000000000000000000000000001", -EINVAL,
		  "too long" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(table); i++) {
		struct wh_error err = { 0 };
		uint64_t value = 77;

		assert_int_equal(wh_quantity_parse(&value, table[i].text, &err), table[i].code);
		print_message("# %s\n", err.text);
		assert_non_null(strstr(err.text, table[i].hint));
		assert_true(value == 77);
	}
}

static void works_without_words(void **state)
{
	uint64_t value;

	(void)state;
	assert_int_equal(wh_quantity_parse(&value, "64MB", NULL), -EINVAL);
	assert_int_equal(wh_quantity_parse(&value, "64m", NULL), -ERANGE);
}

static void formats_the_shortest_exact_form(void **state)
{
	static const struct {
		uint64_t value;
		const char *text;
	} table[] = {
		{ 0, "0" },
		{ 1, "1" },
		{ 999, "999" },
		{ 1000, "1k" },
		{ 1001, "1001" },
		{ 1023, "1023" },
		{ 1024, "1Ki" },
		{ 64 * Mi, "64Mi" },
		{ 64 * Mi + 1, "67108865" },
		{ 64000000, "64M" },
		{ Gi + Gi / 2, "1536Mi" },
		{ 2048 * Mi, "2Gi" },
		{ 7 * Ei, "7Ei" },
		{ UINT64_C(9000000000000000000), "9E" },
		{ (uint64_t)INT64_MAX, "9223372036854775807" },
		{ UINT64_MAX, "18446744073709551615" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(table); i++) {
		char text[WH_QUANTITY_TEXT_MAX];

		wh_quantity_format(text, table[i].value);
		assert_string_equal(text, table[i].text);
	}
}

static void reads_back_what_it_formats(void **state)
{
	uint64_t seed = 88172645463325252u; /* xorshift64 */

	(void)state;
	for (int i = 0; i < 10000; i++) {
		char text[WH_QUANTITY_TEXT_MAX];
		uint64_t value;
		uint64_t back = 0;

		seed ^= seed << 13;
		seed ^= seed >> 7;
		seed ^= seed << 17;
		value = (seed >> 1) << (seed % 40) & INT64_MAX; /* many with a suffix */

		wh_quantity_format(text, value);
		assert_int_equal(wh_quantity_parse(&back, text, NULL), 0);
		assert_true(back == value);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_what_kubernetes_reads),
		cmocka_unit_test(rounds_up_to_whole_bytes_and_is_exact_otherwise),
		cmocka_unit_test(refuses_with_a_hint),
		cmocka_unit_test(works_without_words),
		cmocka_unit_test(formats_the_shortest_exact_form),
		cmocka_unit_test(reads_back_what_it_formats),
	};

	return cmocka_run_group_tests_name("quantity", tests, NULL, NULL);
}
