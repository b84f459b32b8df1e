/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "ram.h"

#include "wherry/fdpass.h"

static const uint64_t sizes[] = { 8, 1, 5 }; /* pages of each region */

#define REGIONS (sizeof(sizes) / sizeof(sizes[0]))
#define PAGES   14u

static int new_file(uint64_t bytes)
{
	int fd = memfd_create("ram", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)bytes), 0);
	return fd;
}

static int setup(void **state)
{
	static struct wh_ram ram;

	ram = (struct wh_ram){ 0 };
	for (size_t i = 0; i < REGIONS; i++) {
		const char name[] = { 'r', (char)('0' + i), '\0' };
		uint64_t bytes = sizes[i] * WH_PAGE_SIZE;

		assert_int_equal(wh_ram_add(&ram, name, bytes, new_file(bytes), NULL), 0);
	}
	*state = &ram;
	return 0;
}

static int teardown(void **state)
{
	struct wh_ram *ram = *state;

	wh_ram_unmap(ram);
	for (uint16_t i = 0; i < ram->count; i++)
		wh_closep(&ram->regions[i].fd);
	return 0;
}

/* Write one byte into page @page of the guest. */
static void touch(const struct wh_ram *ram, uint64_t page)
{
	const struct wh_region *region = wh_ram_region(ram, page);
	off_t offset = (off_t)((page - region->first_page) * WH_PAGE_SIZE) + 100;

	assert_int_equal(pwrite(region->fd, "x", 1, offset), 1);
}

static void pages_are_numbered_through_all_regions(void **state)
{
	const struct wh_ram *ram = *state;

	assert_int_equal(ram->pages, PAGES);
	assert_int_equal(ram->regions[0].first_page, 0);
	assert_int_equal(ram->regions[1].first_page, 8);
	assert_int_equal(ram->regions[2].first_page, 9);
	for (uint64_t page = 0; page < PAGES; page++)
		assert_ptr_equal(wh_ram_region(ram, page), &ram->regions[page < 8    ? 0
		                                                         : page == 8 ? 1
		                                                                     : 2]);
}

static void runs_are_clipped_where_their_region_ends(void **state)
{
	static const struct {
		struct wh_run run;
		uint32_t count;
	} cases[] = { { { 0, 8 }, 8 },  { { 0, 9 }, 8 }, { { 7, 3 }, 1 }, { { 8, 6 }, 1 },
		      { { 9, 99 }, 5 }, { { 9, 2 }, 2 }, { { 13, 1 }, 1 } };

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct wh_run run = wh_ram_clip(*state, cases[i].run);

		assert_int_equal(run.first, cases[i].run.first);
		assert_int_equal(run.count, cases[i].count);
	}
}

/* Look for all that was touched, a page at a time. */
static int add_touched(const struct wh_ram *ram, struct wh_pageset *into)
{
	struct wh_touched touched = { 0 };
	uint64_t steps = 1;
	int r;

	for (r = wh_ram_add_touched(ram, &touched, 1, into); r > 0; steps++)
		r = wh_ram_add_touched(ram, &touched, 1, into);
	assert_in_range(steps, 1, ram->pages);
	assert_int_equal(touched.found, wh_pageset_count(into));
	return r;
}

static void only_what_the_files_hold_is_touched(void **state)
{
	static const uint64_t pages[] = { 0, 3, 4, 7, 8, 12 };
	wh_cleanup(wh_pageset_freep) struct wh_pageset *touched = wh_pageset_new(PAGES);
	uint64_t next = 0;

	assert_int_equal(add_touched(*state, touched), 0);
	assert_int_equal(wh_pageset_count(touched), 0);

	for (size_t i = 0; i < sizeof(pages) / sizeof(pages[0]); i++)
		touch(*state, pages[i]);
	assert_int_equal(add_touched(*state, touched), 0);
	for (uint64_t page = 0; page < PAGES; page++) {
		assert_int_equal(wh_pageset_has(touched, page), page == pages[next]);
		next += next + 1 < sizeof(pages) / sizeof(pages[0]) && page == pages[next];
	}
}

static void a_file_longer_than_its_region_is_looked_at_no_further(void **state)
{
	wh_cleanup(wh_closep) int fd = new_file(4ull * WH_PAGE_SIZE);
	wh_cleanup(wh_pageset_freep) struct wh_pageset *touched = wh_pageset_new(2);
	struct wh_ram ram = { 0 };

	(void)state;
	assert_int_equal(wh_ram_add(&ram, "long", 2ull * WH_PAGE_SIZE, fd, NULL), 0);
	assert_int_equal(pwrite(fd, "x", 1, 3l * WH_PAGE_SIZE), 1);
	assert_int_equal(add_touched(&ram, touched), 0);
	assert_int_equal(wh_pageset_count(touched), 0);

	for (off_t page = 0; page < 4; page++)
		assert_int_equal(pwrite(fd, "x", 1, page * WH_PAGE_SIZE), 1);
	assert_int_equal(add_touched(&ram, touched), 0);
	assert_int_equal(wh_pageset_count(touched), 2);
}

static void untouched_and_punched_pages_are_holes(void **state)
{
	const struct wh_ram *ram = *state;

	touch(ram, 2);
	touch(ram, 3);
	assert_true(wh_ram_is_hole(ram, 1));
	assert_false(wh_ram_is_hole(ram, 2));
	assert_true(wh_ram_is_hole(ram, 4));
	assert_true(wh_ram_is_hole(ram, 7));
	assert_true(wh_ram_is_hole(ram, 8));

	assert_int_equal(wh_ram_punch(&ram->regions[0], 2ull * WH_PAGE_SIZE, WH_PAGE_SIZE), 0);
	assert_true(wh_ram_is_hole(ram, 2));
	assert_false(wh_ram_is_hole(ram, 3));
}

static void punching_keeps_the_size_and_leaves_zero(void **state)
{
	const struct wh_region *region = &((struct wh_ram *)*state)->regions[2];
	uint8_t byte = 77;

	touch(*state, 13);
	assert_int_equal(wh_ram_punch(region, 0, region->bytes), 0);

	assert_int_equal(lseek(region->fd, 0, SEEK_END), region->bytes);
	assert_int_equal(pread(region->fd, &byte, 1, (off_t)region->bytes - WH_PAGE_SIZE + 100), 1);
	assert_int_equal(byte, 0);
}

static char byte_at(int fd, off_t offset)
{
	char byte = 77;

	assert_int_equal(pread(fd, &byte, 1, offset), 1);
	return byte;
}

static void a_full_file_is_kept_and_becomes_zero_without_giving_back(void **state)
{
	static const uint8_t junk[4 * WH_PAGE_SIZE] = { 'j' };
	struct wh_ram ram = { 0 };
	int full = new_file(sizeof(junk)), other = new_file(sizeof(junk));

	(void)state;
	assert_int_equal(pwrite(full, junk, sizeof(junk), 0), sizeof(junk));
	assert_int_equal(pwrite(other, junk, WH_PAGE_SIZE, 0), WH_PAGE_SIZE);
	assert_int_equal(wh_ram_add(&ram, "full", sizeof(junk), full, NULL), 0);
	assert_int_equal(wh_ram_add(&ram, "other", sizeof(junk), other, NULL), 0);
	assert_true(ram.regions[0].kept);
	assert_false(ram.regions[1].kept);

	/* What is to be filled again may stay as it is. */
	assert_int_equal(wh_ram_empty(&ram.regions[0], (struct wh_run){ 0, 4 }), 0);
	assert_int_equal(byte_at(full, 0), 'j');
	assert_int_equal(wh_ram_punch(&ram.regions[0], 0, sizeof(junk)), 0);
	assert_int_equal(byte_at(full, 0), 0);
	for (uint64_t page = 0; page < 4; page++)
		assert_false(wh_ram_is_hole(&ram, page));
	(void)close(full);
	(void)close(other);
}

static void mapped_memory_is_the_file(void **state)
{
	struct wh_ram *ram = *state;

	assert_int_equal(wh_ram_map(ram, NULL), 0);
	touch(ram, 8);
	assert_int_equal(((const char *)ram->regions[1].addr)[100], 'x');
	wh_ram_unmap(ram);
	assert_null(ram->regions[1].addr);
}

static void assert_refused(struct wh_ram *ram, uint64_t bytes, int fd, int code)
{
	struct wh_error err = { "" };
	uint16_t count = ram->count;

	assert_int_equal(wh_ram_add(ram, "odd", bytes, fd, &err), code);
	assert_non_null(strstr(err.text, "'odd'"));
	assert_int_equal(ram->count, count);
	assert_int_equal(ram->pages, PAGES);
}

static void files_that_cannot_be_ram_are_refused(void **state)
{
	wh_cleanup(wh_closep) int fd = new_file(2ull * WH_PAGE_SIZE);
	wh_cleanup(wh_closep) int root = open("/proc/self/status", O_RDONLY | O_CLOEXEC);

	assert_refused(*state, 0, fd, -EINVAL);
	assert_refused(*state, WH_PAGE_SIZE + 1, fd, -EINVAL);
	assert_refused(*state, 3ull * WH_PAGE_SIZE, fd, -EINVAL);
	assert_refused(*state, WH_PAGE_SIZE, root, -EOPNOTSUPP);
	assert_refused(*state, WH_PAGE_SIZE, -1, -EBADF);
}

static void there_is_a_greatest_number_of_regions(void **state)
{
	static struct wh_ram ram;
	wh_cleanup(wh_closep) int fd = new_file(WH_PAGE_SIZE);

	(void)state;
	for (uint32_t i = 0; i < WH_REGIONS_MAX; i++)
		assert_int_equal(wh_ram_add(&ram, "r", WH_PAGE_SIZE, fd, NULL), 0);
	assert_int_equal(wh_ram_add(&ram, "r", WH_PAGE_SIZE, fd, NULL), -E2BIG);
	assert_int_equal(ram.count, WH_REGIONS_MAX);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(pages_are_numbered_through_all_regions),
		TEST(runs_are_clipped_where_their_region_ends),
		TEST(only_what_the_files_hold_is_touched),
		cmocka_unit_test(a_file_longer_than_its_region_is_looked_at_no_further),
		TEST(untouched_and_punched_pages_are_holes),
		TEST(punching_keeps_the_size_and_leaves_zero),
		cmocka_unit_test(a_full_file_is_kept_and_becomes_zero_without_giving_back),
		TEST(mapped_memory_is_the_file),
		TEST(files_that_cannot_be_ram_are_refused),
		cmocka_unit_test(there_is_a_greatest_number_of_regions),
	};

	return cmocka_run_group_tests_name("ram", tests, NULL, NULL);
}
