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

#define BLOCKS 1024ul

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

/* Look at all blocks. Return: how many pages were found to be zero. */
static uint32_t look_at_all(struct fixture *f)
{
	uint32_t zero_pages = 0;

	for (uint64_t i = 0; i < BLOCKS; i++)
		zero_pages += (uint32_t)__builtin_popcount(
			wh_look_block(&f->look, &f->region, i * WH_LOOK_PAGES));
	return zero_pages;
}

static void tells_zero_pages_from_others(void **state)
{
	struct fixture *f = *state;

	fill(f, 20);
	fill(f, 22);

	assert_int_equal(wh_look_pages(&f->look, &f->region, 19, 4), 1u << 0 | 1u << 2);
}

static void one_byte_anywhere_is_contents(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(pwrite(f->region.fd, "x", 1, 3 * WH_PAGE_SIZE - 1), 1);

	assert_int_equal(wh_look_pages(&f->look, &f->region, 2, 1), 0);
}

static void a_zero_block_is_found_whatever_came_before(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(look_at_all(f), BLOCKS * WH_LOOK_PAGES);
	fill_all(f, 0);
	(void)look_at_all(f);
	assert_int_equal(ftruncate(f->region.fd, 0), 0);
	assert_int_equal(ftruncate(f->region.fd, (off_t)f->region.bytes), 0);

	assert_int_equal(look_at_all(f), BLOCKS * WH_LOOK_PAGES);
}

static void a_few_scattered_zero_pages_are_passed_over(void **state)
{
	struct fixture *f = *state;

	fill_all(f, 61);

	/* Found in those blocks that show no contents where they are sampled, and in audits. */
	assert_in_range(look_at_all(f), 1, BLOCKS * WH_LOOK_PAGES / 61 / 4);
}

static void many_scattered_zero_pages_are_found(void **state)
{
	const uint32_t zero_pages = (BLOCKS * WH_LOOK_PAGES + 2) / 3;
	struct fixture *f = *state;

	fill_all(f, 3);
	(void)look_at_all(f);

	assert_int_equal(look_at_all(f), zero_pages);
}

static void audits_end_where_zero_pages_do(void **state)
{
	struct fixture *f = *state;

	fill_all(f, 3);
	(void)look_at_all(f);
	fill_all(f, 0);
	(void)look_at_all(f);
	fill_all(f, 61);

	assert_in_range(look_at_all(f), 0, BLOCKS * WH_LOOK_PAGES / 61 / 4);
}

static void what_cannot_be_read_is_not_zero(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(ftruncate(f->region.fd, 0), 0);

	assert_int_equal(wh_look_pages(&f->look, &f->region, 0, WH_LOOK_PAGES), 0);
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
		TEST(tells_zero_pages_from_others),
		TEST(one_byte_anywhere_is_contents),
		TEST(a_zero_block_is_found_whatever_came_before),
		TEST(a_few_scattered_zero_pages_are_passed_over),
		TEST(many_scattered_zero_pages_are_found),
		TEST(audits_end_where_zero_pages_do),
		TEST(what_cannot_be_read_is_not_zero),
	};

	return cmocka_run_group_tests_name("look", tests, NULL, NULL);
}
