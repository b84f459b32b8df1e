/* SPDX-License-Identifier: Apache-2.0 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "zero.h"

#include "wherry/limits.h"

static _Alignas(WH_PAGE_SIZE) uint8_t page[WH_PAGE_SIZE];

static int setup(void **state)
{
	(void)state;
	memset(page, 0, sizeof(page));
	return 0;
}

static void every_supported_method_knows_a_zero_page(void **state)
{
	(void)state;
	for (const struct wh_zero_method *m = wh_zero_methods; m->name; m++)
		if (m->supported())
			assert_true(m->is_zero(page));
}

/* Try one method with each byte alone, in its lowest and its highest bit. */
static void try_every_byte(const struct wh_zero_method *m)
{
	for (size_t i = 0; i < sizeof(page); i++) {
		page[i] = 0x01;
		assert_false(m->is_zero(page));
		page[i] = 0x80;
		assert_false(m->is_zero(page));
		page[i] = 0;
	}
}

static void every_supported_method_finds_each_single_byte(void **state)
{
	uint32_t tried = 0;

	(void)state;
	for (const struct wh_zero_method *m = wh_zero_methods; m->name; m++) {
		if (!m->supported()) {
			print_message("%s: this CPU has it not\n", m->name);
			continue;
		}
		try_every_byte(m);
		tried++;
	}
	assert_true(tried >= 1);
}

static void some_method_works_on_every_machine(void **state)
{
	const struct wh_zero_method *m = wh_zero_methods;

	(void)state;
	while (m[1].name)
		m++;
	assert_true(m->supported());
}

static void the_first_supported_method_is_chosen(void **state)
{
	const struct wh_zero_method *m = wh_zero_methods;

	(void)state;
	while (!m->supported())
		m++;
	assert_string_equal(wh_zero_method(), m->name);
	assert_true(wh_page_is_zero(page));
	page[WH_PAGE_SIZE - 1] = 1;
	assert_false(wh_page_is_zero(page));
}

#define TEST(fn) cmocka_unit_test_setup(fn, setup)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(every_supported_method_knows_a_zero_page),
		TEST(every_supported_method_finds_each_single_byte),
		TEST(some_method_works_on_every_machine),
		TEST(the_first_supported_method_is_chosen),
	};

	return cmocka_run_group_tests_name("zero", tests, NULL, NULL);
}
