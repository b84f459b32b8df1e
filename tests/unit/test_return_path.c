/* SPDX-License-Identifier: Apache-2.0 */

/* The message that allows a source to stop its guest is found, however the bytes are cut. */

#include "return_path.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* SHUT and PONG with four bytes each, one of a later QEMU with three, and the one that counts. */
static const uint8_t said[] = {
	0, 1, 0, 4, 0, 7, 0, 7, /* contents that look like it */
	0, 2, 0, 4, 0, 0, 0, 7, /**/
	0, 9, 0, 3, 0, 7, 0,    /**/
	0, 7, 0, 0,
};

static void the_message_is_found_in_one_piece(void **state)
{
	struct wh_return_path path = { 0 };

	(void)state;
	assert_int_equal(wh_return_path_read(&path, said, sizeof(said)), 1);
}

static void the_message_is_found_at_its_last_byte(void **state)
{
	(void)state;
	for (size_t piece = 1; piece < sizeof(said); piece++) {
		struct wh_return_path path = { 0 };
		size_t at = 0;

		for (; at + piece < sizeof(said); at += piece)
			assert_int_equal(wh_return_path_read(&path, said + at, piece), 0);
		assert_int_equal(wh_return_path_read(&path, said + at, sizeof(said) - at), 1);
	}
}

static void what_no_qemu_says_is_refused(void **state)
{
	static const uint8_t invalid[] = { 0, 0, 0, 0 };
	static const uint8_t bitmap[] = { 0, 5, 0, 1, 'x' };
	struct wh_return_path first = { 0 }, second = { 0 };

	(void)state;
	assert_int_equal(wh_return_path_read(&first, invalid, sizeof(invalid)), -EPROTO);
	assert_int_equal(wh_return_path_read(&second, bitmap, sizeof(bitmap)), -EPROTO);
}

static void nothing_is_no_message(void **state)
{
	struct wh_return_path path = { 0 };

	(void)state;
	assert_int_equal(wh_return_path_read(&path, said, 0), 0);
	assert_int_equal(wh_return_path_read(&path, said, sizeof(said)), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_message_is_found_in_one_piece),
		cmocka_unit_test(the_message_is_found_at_its_last_byte),
		cmocka_unit_test(what_no_qemu_says_is_refused),
		cmocka_unit_test(nothing_is_no_message),
	};

	return cmocka_run_group_tests_name("return_path", tests, NULL, NULL);
}
