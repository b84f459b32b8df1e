/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "wherry/error.h"

static void the_code_comes_back_and_the_words_are_kept(void **state)
{
	struct wh_error err = { "" };

	(void)state;
	assert_int_equal(wh_fail(&err, -ENOENT, "no '%s' in %d", "ram0", 3), -ENOENT);
	assert_string_equal(err.text, "no 'ram0' in 3");
}

static void context_goes_in_front_of_the_reason(void **state)
{
	struct wh_error err = { "" };

	(void)state;
	assert_int_equal(wh_fail(&err, -EIO, "reason"), -EIO);
	assert_int_equal(wh_context(&err, -EIO, "cannot open %s", "a"), -EIO);
	assert_int_equal(wh_context(&err, -EINVAL, "migration 7"), -EINVAL);
	assert_string_equal(err.text, "migration 7: cannot open a: reason");
}

static void without_an_error_only_the_code_comes_back(void **state)
{
	(void)state;
	assert_int_equal(wh_fail(NULL, -EIO, "%s", "x"), -EIO);
	assert_int_equal(wh_context(NULL, -EIO, "%s", "x"), -EIO);
}

static void what_does_not_fit_is_cut_off(void **state)
{
	struct wh_error err = { "" };
	char words[2 * WH_ERROR_TEXT_MAX];

	(void)state;
	memset(words, 'x', sizeof(words) - 1);
	words[sizeof(words) - 1] = '\0';

	assert_int_equal(wh_fail(&err, -EIO, "%s", words), -EIO);
	assert_int_equal(strlen(err.text), WH_ERROR_TEXT_MAX - 1);

	assert_int_equal(wh_context(&err, -EIO, "here"), -EIO);
	assert_int_equal(strlen(err.text), WH_ERROR_TEXT_MAX - 1);
	assert_memory_equal(err.text, "here: xxx", 9);

	assert_int_equal(wh_context(&err, -EIO, "%s", words), -EIO);
	assert_int_equal(strlen(err.text), WH_ERROR_TEXT_MAX - 1);
}

static void of_many_words_the_middle_is_left_out(void **state)
{
	struct wh_error err = { "" };
	char words[WH_ERROR_TEXT_MAX] = "first";
	const size_t fits = WH_ERROR_TEXT_MAX - sizeof("qemu: ...");

	(void)state;
	assert_int_equal(wh_quote(&err, -EIO, "qemu", "it is well"), -EIO);
	assert_string_equal(err.text, "qemu: it is well");

	memset(words + 5, 'x', fits - 9);
	memcpy(words + fits - 4, "last", 5);
	assert_int_equal(wh_quote(&err, -EIO, "qemu", words), -EIO);
	assert_int_equal(strlen(err.text), strlen("qemu: ") + fits);
	assert_null(strstr(err.text, "..."));

	memcpy(words + fits - 4, "xlast", 6);
	assert_int_equal(wh_quote(&err, -EIO, "qemu", words), -EIO);
	assert_int_equal(strlen(err.text), WH_ERROR_TEXT_MAX - 1);
	assert_memory_equal(err.text, "qemu: firstx", 12);
	assert_non_null(strstr(err.text, "x...x"));
	assert_memory_equal(err.text + WH_ERROR_TEXT_MAX - 6, "xlast", 6);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_code_comes_back_and_the_words_are_kept),
		cmocka_unit_test(context_goes_in_front_of_the_reason),
		cmocka_unit_test(without_an_error_only_the_code_comes_back),
		cmocka_unit_test(what_does_not_fit_is_cut_off),
		cmocka_unit_test(of_many_words_the_middle_is_left_out),
	};

	return cmocka_run_group_tests_name("error", tests, NULL, NULL);
}
