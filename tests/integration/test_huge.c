/* SPDX-License-Identifier: Apache-2.0 */

/* RAM files on hugetlbfs: what they hold, what vanishes from them, and how they become zero. */

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <linux/memfd.h>

#include "huge_pool.h"
#include "ram.h"

#include "wherry/fdpass.h"
#include "wherry/limits.h"

#define COUNT 8u /* huge pages */
#define SMALL (HUGE_PAGE_BYTES / WH_PAGE_SIZE)
#define BYTES (COUNT * HUGE_PAGE_BYTES)

struct fixture {
	struct wh_ram ram;
	int fd;
	uint8_t *guest; /* its mapping, which reserves nothing */
	struct wh_pageset *set;
};

static int setup(void **state)
{
	static struct fixture f;

	f = (struct fixture){ .fd = huge_file(BYTES) };
	assert_true(f.fd >= 0);
	f.guest = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, f.fd, 0);
	assert_true(f.guest != MAP_FAILED);
	assert_int_equal(wh_ram_add(&f.ram, "ram", BYTES, f.fd, NULL), 0);
	f.set = wh_pageset_new(f.ram.pages);
	*state = &f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	wh_ram_unmap(&f->ram);
	(void)munmap(f->guest, BYTES);
	wh_closep(&f->fd);
	f->set = wh_pageset_free(f->set);
	return 0;
}

static void fill(struct fixture *f, uint32_t huge)
{
	memset(f->guest + huge * HUGE_PAGE_BYTES, 'x', HUGE_PAGE_BYTES);
}

static void give_back(struct fixture *f, uint32_t huge)
{
	assert_int_equal(fallocate(f->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
	                           (off_t)(huge * HUGE_PAGE_BYTES), HUGE_PAGE_BYTES),
	                 0);
}

static uint64_t allocated(const struct fixture *f)
{
	struct stat st;

	assert_int_equal(fstat(f->fd, &st), 0);
	return (uint64_t)st.st_blocks * 512 / HUGE_PAGE_BYTES;
}

/* Take what is in the set, which must be exactly these huge pages: a bit for each. */
static void expect_set(struct fixture *f, uint32_t pages)
{
	struct wh_run run;

	for (uint64_t page = 0; page < f->ram.pages; page++)
		assert_int_equal(wh_pageset_has(f->set, page), pages >> page / SMALL & 1);
	while (wh_pageset_take_run(f->set, UINT32_MAX, &run))
		continue;
}

static int add_touched(struct fixture *f)
{
	struct wh_touched touched = { 0 };

	return wh_ram_add_touched(&f->ram, &touched, f->ram.pages, f->set);
}

static void only_whole_huge_pages_of_2_mib_are_ram(void **state)
{
	wh_cleanup(wh_closep) int odd = huge_file(BYTES);
	wh_cleanup(wh_closep) int large =
		memfd_create("1g", MFD_CLOEXEC | MFD_HUGETLB | MFD_HUGE_1GB);
	struct fixture *f = *state;
	struct wh_error err = { "" };

	assert_int_equal(wh_ram_add(&f->ram, "odd", BYTES - WH_PAGE_SIZE, odd, &err), -EINVAL);
	if (large < 0) {
		print_message("# this kernel has no huge pages of 1 GiB\n");
		skip();
	}
	assert_int_equal(ftruncate(large, 1l << 30), 0);
	assert_int_equal(wh_ram_add(&f->ram, "large", 1ull << 30, large, &err), -EOPNOTSUPP);
	assert_non_null(strstr(err.text, "'large' has pages of 1024 MiB; those of 2 MiB are"));
	assert_int_equal(f->ram.count, 1);
}

/* --- at the source ---------------------------------------------------------------------------- */

static void what_is_there_is_touched_and_nothing_is_allocated(void **state)
{
	struct fixture *f = *state;

	fill(f, 1);
	fill(f, 2);
	fill(f, 6);
	assert_int_equal(wh_ram_map(&f->ram, NULL), 0);
	assert_int_equal(add_touched(f), 0);
	expect_set(f, 1u << 1 | 1u << 2 | 1u << 6);
	assert_int_equal(allocated(f), 3);
}

static void what_vanishes_is_told_once(void **state)
{
	struct fixture *f = *state;

	fill(f, 1);
	fill(f, 2);
	assert_int_equal(wh_ram_map(&f->ram, NULL), 0);
	assert_int_equal(add_touched(f), 0);
	expect_set(f, 1u << 1 | 1u << 2);
	assert_int_equal(wh_ram_add_gone(&f->ram, f->set), 0);
	expect_set(f, 0);

	give_back(f, 1);
	give_back(f, 2);
	fill(f, 2); /* it is another page now */
	assert_int_equal(wh_ram_add_gone(&f->ram, f->set), 0);
	expect_set(f, 1u << 1 | 1u << 2);
	assert_int_equal(wh_ram_add_gone(&f->ram, f->set), 0);
	expect_set(f, 0);
}

static void what_was_read_later_is_watched_too(void **state)
{
	const struct wh_run run = { .first = 5 * SMALL + 7, .count = SMALL };
	struct fixture *f = *state;

	assert_int_equal(wh_ram_map(&f->ram, NULL), 0);
	fill(f, 6);
	assert_int_equal(wh_ram_watch(&f->ram, run), 0); /* a hole, and what is there */
	assert_int_equal(wh_ram_watch(&f->ram, run), 0);
	give_back(f, 6);
	assert_int_equal(wh_ram_add_gone(&f->ram, f->set), 0);
	expect_set(f, 1u << 6);
}

static void the_mapping_keeps_no_page(void **state)
{
	struct fixture *f = *state;

	fill(f, 3);
	assert_int_equal(wh_ram_map(&f->ram, NULL), 0);
	assert_int_equal(add_touched(f), 0);
	give_back(f, 3);
	assert_int_equal(allocated(f), 0);
}

/* --- at the target ---------------------------------------------------------------------------- */

static int clear(const struct fixture *f, uint64_t first, uint64_t count)
{
	return wh_ram_punch(&f->ram.regions[0], first * WH_PAGE_SIZE, count * WH_PAGE_SIZE);
}

/* Whether pages [@first, @first + @count), of huge pages that are there, are all @value. */
static bool are_all(const struct fixture *f, uint64_t first, uint64_t count, uint8_t value)
{
	for (uint64_t i = first * WH_PAGE_SIZE; i < (first + count) * WH_PAGE_SIZE; i++)
		if (f->guest[i] != value)
			return false;
	return true;
}

static void parts_are_cleared_and_whole_huge_pages_given_back(void **state)
{
	struct fixture *f = *state;

	for (uint32_t i = 0; i < 4; i++)
		fill(f, i);
	assert_int_equal(clear(f, SMALL - 3, SMALL + 5), 0);
	assert_int_equal(allocated(f), 3);
	assert_true(are_all(f, 0, SMALL - 3, 'x'));
	assert_true(are_all(f, SMALL - 3, 3, 0));
	assert_true(are_all(f, 2 * SMALL, 2, 0));
	assert_true(are_all(f, 2 * SMALL + 2, SMALL - 2, 'x'));

	assert_int_equal(clear(f, 3 * SMALL + 9, 1), 0);
	assert_true(are_all(f, 3 * SMALL, 9, 'x'));
	assert_true(are_all(f, 3 * SMALL + 9, 1, 0));
	assert_true(are_all(f, 3 * SMALL + 10, SMALL - 10, 'x'));
}

static void clearing_a_part_of_a_hole_allocates_nothing(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(clear(f, 5, 9), 0);
	assert_int_equal(clear(f, SMALL + 5, SMALL), 0);
	assert_int_equal(allocated(f), 0);
}

static void emptied_memory_is_reserved(void **state)
{
	struct fixture *f = *state;
	const uint32_t before = huge_pool_free();

	fill(f, 0);
	assert_int_equal(clear(f, 0, COUNT * SMALL), 0);
	assert_int_equal(allocated(f), 0);
	assert_int_equal(huge_pool_free(), before - COUNT);
	fill(f, 7);
	assert_int_equal(clear(f, 7 * SMALL, SMALL), 0);
	assert_int_equal(huge_pool_free(), before - COUNT);
}

static void emptying_what_cannot_be_reserved_is_enospc(void **state)
{
	struct fixture *f = *state;
	const size_t others = (huge_pool_free() - COUNT + 1) * HUGE_PAGE_BYTES;
	void *taken = mmap(NULL, others, PROT_READ | PROT_WRITE,
	                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);

	assert_true(taken != MAP_FAILED);
	assert_int_equal(clear(f, 0, COUNT * SMALL), -ENOSPC);
	assert_int_equal(clear(f, 0, (COUNT - 1) * SMALL), 0);
	(void)munmap(taken, others);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(only_whole_huge_pages_of_2_mib_are_ram),
		TEST(what_is_there_is_touched_and_nothing_is_allocated),
		TEST(what_vanishes_is_told_once),
		TEST(what_was_read_later_is_watched_too),
		TEST(the_mapping_keeps_no_page),
		TEST(parts_are_cleared_and_whole_huge_pages_given_back),
		TEST(clearing_a_part_of_a_hole_allocates_nothing),
		TEST(emptied_memory_is_reserved),
		TEST(emptying_what_cannot_be_reserved_is_enospc),
	};

	if (!huge_pool_open(COUNT + 4)) {
		print_message("1..0 # SKIP not enough memory for huge pages\n");
		return 77;
	}
	return cmocka_run_group_tests_name("huge", tests, NULL, NULL);
}
