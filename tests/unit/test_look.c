/* SPDX-License-Identifier: Apache-2.0 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "look.h"

#include "wherry/fdpass.h"

#define BLOCKS 512u

struct fixture {
	struct wh_region region;
	struct wh_look look;
};

static void fill(const struct fixture *f, uint64_t page)
{
	uint8_t contents[WH_PAGE_SIZE];

	memset(contents, 'x', sizeof(contents));
	assert_int_equal(
		pwrite(f->region.fd, contents, sizeof(contents), (off_t)(page * WH_PAGE_SIZE)),
		sizeof(contents));
}

/* Every page has contents but each @every-th. */
static void fill_all(const struct fixture *f, uint64_t every)
{
	for (uint64_t page = 0; page < BLOCKS * WH_LOOK_PAGES; page++)
		if (every == 0 || page % every)
			fill(f, page);
}

/* Ask for all blocks, with @zero_pages in each that is looked at. Return: how many were data. */
static uint32_t ask_all(struct fixture *f, uint32_t zero_pages)
{
	uint32_t data = 0;

	for (uint32_t i = 0; i < BLOCKS; i++) {
		if (wh_look_is_data(&f->look, &f->region, (uint64_t)i * WH_LOOK_PAGES))
			data++;
		else
			wh_look_found(&f->look, zero_pages);
	}
	return data;
}

static void takes_most_blocks_with_contents_for_data(void **state)
{
	struct fixture *f = *state;
	uint32_t data;

	fill_all(f, 0);

	data = ask_all(f, 0);

	assert_in_range(data, BLOCKS * 9 / 10, BLOCKS - 1); /* the others were audited */
}

static void never_takes_a_zero_block_for_data(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(ask_all(f, WH_LOOK_PAGES), 0);
}

static void zero_blocks_say_nothing_of_those_with_contents(void **state)
{
	struct fixture *f = *state;

	(void)ask_all(f, WH_LOOK_PAGES);
	fill_all(f, 0);

	assert_in_range(ask_all(f, 0), BLOCKS * 9 / 10, BLOCKS - 1);
}

static void looks_at_each_page_where_zero_pages_are_scattered(void **state)
{
	struct fixture *f = *state;

	fill_all(f, 3);
	(void)ask_all(f, WH_LOOK_PAGES / 3);

	assert_int_equal(ask_all(f, WH_LOOK_PAGES / 3), 0);
}

static void stops_to_do_so_where_they_end(void **state)
{
	struct fixture *f = *state;

	fill_all(f, 3);
	(void)ask_all(f, WH_LOOK_PAGES / 3);
	fill_all(f, 0);
	(void)ask_all(f, 0);

	assert_in_range(ask_all(f, 0), BLOCKS * 9 / 10, BLOCKS - 1);
}

static void takes_no_page_behind_the_end_for_data(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(ftruncate(f->region.fd, 0), 0);

	assert_false(wh_look_is_data(&f->look, &f->region, 0));
}

static int set_up(void **state)
{
	static struct fixture f;

	f = (struct fixture){ .region = { .bytes = (uint64_t)BLOCKS * WH_LOOK_PAGES * WH_PAGE_SIZE,
		                          .fd = memfd_create("ram", MFD_CLOEXEC) } };
	*state = &f;
	return f.region.fd < 0 || ftruncate(f.region.fd, (off_t)f.region.bytes) < 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	wh_closep(&f->region.fd);
	return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(takes_most_blocks_with_contents_for_data),
		TEST(never_takes_a_zero_block_for_data),
		TEST(zero_blocks_say_nothing_of_those_with_contents),
		TEST(looks_at_each_page_where_zero_pages_are_scattered),
		TEST(stops_to_do_so_where_they_end),
		TEST(takes_no_page_behind_the_end_for_data),
	};

	return cmocka_run_group_tests_name("look", tests, NULL, NULL);
}
