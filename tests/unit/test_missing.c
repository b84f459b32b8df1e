/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "fake_fill.h"
#include "missing.h"

#include "wherry/limits.h"
#include "wherry/worker.h"

#define PAGES 2048u

struct fixture {
	struct wh_ram ram;
	struct fake_fill fake;
	struct wh_missing missing;
	int fd, file;
	uint8_t contents[64 * WH_PAGE_SIZE];
};

static int setup(void **state)
{
	static struct fixture f;

	f = (struct fixture){ .fd = memfd_create("ram", MFD_CLOEXEC),
		              .file = memfd_create("missing", MFD_CLOEXEC) };
	assert_int_equal(ftruncate(f.fd, (off_t)PAGES * WH_PAGE_SIZE), 0);
	assert_int_equal(
		ftruncate(f.file, (off_t)wh_missing_file_bytes((uint64_t)PAGES * WH_PAGE_SIZE)), 0);
	assert_int_equal(wh_ram_add(&f.ram, "ram", (uint64_t)PAGES * WH_PAGE_SIZE, f.fd, NULL), 0);
	fake_fill_init(&f.fake, &f.ram);
	assert_int_equal(wh_missing_open(&f.missing, f.file, PAGES, NULL), 0);
	f.missing.fill = &f.fake.fill;
	memset(f.contents, 'n', sizeof(f.contents));
	*state = &f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	wh_missing_close(&f->missing);
	fake_fill_done(&f->fake);
	(void)close(f->fd);
	(void)close(f->file);
	return 0;
}

static char first_byte(const struct fixture *f, uint64_t page)
{
	char byte;

	assert_int_equal(pread(f->fd, &byte, 1, (off_t)(page * WH_PAGE_SIZE)), 1);
	return byte;
}

static void a_missing_page_is_placed_and_no_longer_missing(void **state)
{
	struct fixture *f = *state;

	wh_missing_add(&f->missing, 10, 4);
	assert_int_equal(wh_missing_left(&f->missing), 4);
	assert_int_equal(wh_missing_put(&f->missing, 10, 4, f->contents), 0);
	assert_int_equal(wh_missing_left(&f->missing), 0);
	assert_int_equal(first_byte(f, 10), 'n');
	assert_int_equal(first_byte(f, 13), 'n');
}

static void a_page_that_comes_twice_is_placed_once(void **state)
{
	struct fixture *f = *state;

	wh_missing_add(&f->missing, 10, 1);
	assert_int_equal(wh_missing_put(&f->missing, 10, 1, f->contents), 0);
	assert_int_equal(pwrite(f->fd, "g", 1, 10 * (off_t)WH_PAGE_SIZE), 1); /* the guest */
	assert_int_equal(wh_missing_put(&f->missing, 10, 1, f->contents), 0);
	assert_int_equal(first_byte(f, 10), 'g');
	assert_int_equal(f->fake.copies, 1);
}

static void of_a_run_only_what_is_missing_is_placed(void **state)
{
	struct fixture *f = *state;

	wh_missing_add(&f->missing, 1, 1);
	wh_missing_add(&f->missing, 60, 3);
	assert_int_equal(wh_missing_put(&f->missing, 0, 64, f->contents), 0);
	assert_int_equal(f->fake.copies, 4);
	assert_int_equal(first_byte(f, 0), 0);
	assert_int_equal(first_byte(f, 1), 'n');
	assert_int_equal(first_byte(f, 62), 'n');
	assert_int_equal(first_byte(f, 63), 0);
}

static void a_page_that_was_there_already_keeps_what_it_has(void **state)
{
	struct fixture *f = *state;

	/* A mover died between copying and saying so, and then the guest wrote. */
	assert_int_equal(pwrite(f->fd, "g", 1, 10 * (off_t)WH_PAGE_SIZE), 1);
	wh_pageset_add(f->fake.present, 10, 1);
	wh_missing_add(&f->missing, 9, 3);
	assert_int_equal(wh_missing_put(&f->missing, 9, 3, f->contents), 0);
	assert_int_equal(first_byte(f, 10), 'g');
	assert_int_equal(first_byte(f, 11), 'n');
	assert_int_equal(wh_missing_left(&f->missing), 0);
}

/* What is there tells nothing: the guest has not seen it. */
static void a_page_of_kept_memory_is_placed_though_it_is_there(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(pwrite(f->fd, "jjjj", 4, 10 * (off_t)WH_PAGE_SIZE), 4);
	wh_pageset_add(f->fake.present, 10, 1);
	wh_missing_add(&f->missing, 10, 1);
	fake_fill_keep(&f->fake, &f->missing);
	assert_false(fake_fill_touch(&f->fake, 0, 10));
	assert_int_equal(wh_missing_put(&f->missing, 10, 1, f->contents), 0);
	assert_false(wh_missing_has(&f->missing, 10));
	assert_int_equal(first_byte(f, 10), 'n');
	assert_false(f->fake.vcpus[0].waits);
}

static void a_zero_page_of_kept_memory_is_written_unless_it_came_before(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(pwrite(f->fd, "j", 1, 10 * (off_t)WH_PAGE_SIZE), 1);
	assert_int_equal(pwrite(f->fd, "g", 1, 11 * (off_t)WH_PAGE_SIZE), 1);
	wh_missing_add(&f->missing, 10, 1);
	fake_fill_keep(&f->fake, &f->missing);
	assert_int_equal(wh_missing_zero(&f->missing, 10, 2), 0);
	assert_int_equal(wh_missing_left(&f->missing), 0);
	assert_int_equal(first_byte(f, 10), 0);
	assert_int_equal(first_byte(f, 11), 'g');
}

static void a_page_stays_missing_when_it_cannot_be_placed_now(void **state)
{
	struct fixture *f = *state;

	wh_missing_add(&f->missing, 10, 1);
	f->fake.busy = true;
	assert_int_equal(wh_missing_put(&f->missing, 10, 1, f->contents), -EAGAIN);
	assert_true(wh_missing_has(&f->missing, 10));
	f->fake.busy = false;
	assert_int_equal(wh_missing_put(&f->missing, 10, 1, f->contents), 0);
	assert_false(wh_missing_has(&f->missing, 10));
}

static void who_waits_for_a_page_goes_on_when_it_is_placed(void **state)
{
	struct fixture *f = *state;

	wh_missing_add(&f->missing, 10, 1);
	assert_false(fake_fill_touch(&f->fake, 0, 10));
	assert_int_equal(wh_missing_put(&f->missing, 10, 1, f->contents), 0);
	assert_false(f->fake.vcpus[0].waits);
}

static void a_page_given_back_is_no_longer_owed(void **state)
{
	struct fixture *f = *state;

	wh_missing_add(&f->missing, 0, PAGES);
	wh_missing_forget(&f->missing, 100, 1000);
	assert_int_equal(wh_missing_left(&f->missing), PAGES - 1000);
	assert_true(wh_missing_has(&f->missing, 99));
	assert_false(wh_missing_has(&f->missing, 100));
	assert_false(wh_missing_has(&f->missing, 1099));
	assert_true(wh_missing_has(&f->missing, 1100));
	assert_int_equal(wh_missing_put(&f->missing, 500, 1, f->contents), 0);
	assert_int_equal(first_byte(f, 500), 0);
}

static void what_is_missing_outlasts_who_mapped_it(void **state)
{
	struct fixture *f = *state;
	struct wh_run run;

	wh_missing_add(&f->missing, 60, 10);
	wh_missing_add(&f->missing, PAGES - 1, 1);
	wh_missing_close(&f->missing);
	assert_int_equal(wh_missing_open(&f->missing, f->file, PAGES, NULL), 0);
	assert_int_equal(wh_missing_left(&f->missing), 11);
	assert_true(wh_missing_find(&f->missing, 0, 512, &run));
	assert_int_equal(run.first, 60);
	assert_int_equal(run.count, 10);
	assert_true(wh_missing_find(&f->missing, 62, 4, &run));
	assert_int_equal(run.first, 62);
	assert_int_equal(run.count, 4);
	assert_true(wh_missing_find(&f->missing, 70, 512, &run));
	assert_int_equal(run.first, PAGES - 1);
	assert_false(wh_missing_find(&f->missing, PAGES, 512, &run));
}

static void a_file_that_is_too_short_is_refused(void **state)
{
	struct fixture *f = *state;
	struct wh_missing other = { 0 };
	struct wh_error err;

	assert_int_equal(wh_missing_open(&other, f->file, 2 * (uint64_t)PAGES, &err), -EINVAL);
	assert_string_equal(err.text, "the file for missing pages is too short");
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(a_missing_page_is_placed_and_no_longer_missing),
		TEST(a_page_that_comes_twice_is_placed_once),
		TEST(of_a_run_only_what_is_missing_is_placed),
		TEST(a_page_that_was_there_already_keeps_what_it_has),
		TEST(a_page_of_kept_memory_is_placed_though_it_is_there),
		TEST(a_zero_page_of_kept_memory_is_written_unless_it_came_before),
		TEST(a_page_stays_missing_when_it_cannot_be_placed_now),
		TEST(who_waits_for_a_page_goes_on_when_it_is_placed),
		TEST(a_page_given_back_is_no_longer_owed),
		TEST(what_is_missing_outlasts_who_mapped_it),
		TEST(a_file_that_is_too_short_is_refused),
	};

	return cmocka_run_group_tests_name("missing", tests, NULL, NULL);
}
