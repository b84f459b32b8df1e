/* SPDX-License-Identifier: Apache-2.0 */

/* Page contents get where they belong, into memory of every kind and state. Needs root. */

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "huge_pool.h"
#include "place.h"

#include "wherry/fdpass.h"
#include "wherry/limits.h"

#define PAGES 1024u
#define BYTES ((uint64_t)PAGES * WH_PAGE_SIZE)

/* Where a page begins. */
#define AT(page) ((size_t)(page)*WH_PAGE_SIZE)

/* Where the tests mount their tmpfs, in a mount namespace of their own. */
#define DIR "/mnt"

/* Kinds of memory, by the options of their tmpfs. */
static const char *const kinds[] = { "size=32m,huge=never", "size=32m,huge=within_size" };

struct fixture {
	struct wh_place place;
	int fd;
	uint8_t *memory; /* as the guest sees it */
};

static uint8_t contents[BYTES];

/* Or hugetlbfs, if there may be huge pages. */
#define HUGE "size=16m,pagesize=2M"

static bool have_huge_pages;

static void open_fixture(struct fixture *f, const char *options)
{
	const char *type = strstr(options, "pagesize") ? "hugetlbfs" : "tmpfs";

	assert_int_equal(mount(type, DIR, type, 0, options), 0);
	f->fd = open(DIR "/ram", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_true(f->fd >= 0);
	assert_int_equal(ftruncate(f->fd, BYTES), 0);
	f->memory = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, f->fd, 0);
	assert_true(f->memory != MAP_FAILED);
	wh_place_init(&f->place);
	assert_int_equal(wh_place_lend(&f->place, f->fd, BYTES), 0);
}

static void close_fixture(struct fixture *f)
{
	wh_place_done(&f->place);
	assert_int_equal(munmap(f->memory, BYTES), 0);
	wh_closep(&f->fd);
	assert_int_equal(umount(DIR), 0);
}

/* Put pages [@first, @first + @count) with contents that @seed tells from others. */
static int put(struct fixture *f, uint32_t first, uint32_t count, uint8_t seed)
{
	for (uint64_t i = 0; i < AT(count); i++)
		contents[i] = (uint8_t)(seed + i / WH_PAGE_SIZE + i);
	return wh_place_put(&f->place, contents, count * WH_PAGE_SIZE, AT(first));
}

/* What put() with the same arguments leaves. */
static void expect(const struct fixture *f, uint32_t first, uint32_t count, uint8_t seed)
{
	for (uint64_t i = 0; i < AT(count); i++)
		if (f->memory[AT(first) + i] != (uint8_t)(seed + i / WH_PAGE_SIZE + i))
			fail_msg("page %u differs", first + (uint32_t)(i / WH_PAGE_SIZE));
}

static void fills_what_is_empty_and_nothing_else(void **state)
{
	(void)state;
	for (size_t k = 0; k < 2; k++) {
		struct fixture f;

		open_fixture(&f, kinds[k]);
		assert_int_equal(put(&f, 3, 5, 1), 0);
		assert_int_equal(put(&f, 512, 512, 2), 0);
		expect(&f, 3, 5, 1);
		expect(&f, 512, 512, 2);
		for (uint32_t i = 0; i < WH_PAGE_SIZE; i++) {
			assert_int_equal(f.memory[AT(2) + i], 0);
			assert_int_equal(f.memory[AT(8) + i], 0);
		}
		close_fixture(&f);
	}
}

static void small_pages_are_best_put_in_pieces_and_huge_ones_whole(void **state)
{
	(void)state;
	for (size_t k = 0; k < 2; k++) {
		struct fixture f;
		uint32_t piece;

		open_fixture(&f, kinds[k]);
		piece = wh_place_piece(&f.place);
		assert_int_equal(WH_WRITE_LEN_MAX % piece, 0);
		assert_int_equal(piece < WH_WRITE_LEN_MAX, k == 0);
		close_fixture(&f);
	}
}

static void replaces_what_is_there(void **state)
{
	(void)state;
	for (size_t k = 0; k < 2; k++) {
		struct fixture f;

		open_fixture(&f, kinds[k]);
		assert_int_equal(put(&f, 0, 64, 1), 0);
		assert_int_equal(put(&f, 0, 64, 2), 0);
		expect(&f, 0, 64, 2);
		close_fixture(&f);
	}
}

static void fills_around_pages_that_are_there(void **state)
{
	(void)state;
	for (size_t k = 0; k < 2; k++) {
		struct fixture f;

		open_fixture(&f, kinds[k]);
		f.memory[AT(20)] = 'x'; /* by the guest's own mapping */
		assert_int_equal(put(&f, 40, 1, 1), 0);
		assert_int_equal(put(&f, 10, 50, 2), 0);
		expect(&f, 10, 50, 2);
		close_fixture(&f);
	}
}

static void fills_again_what_was_given_back(void **state)
{
	(void)state;
	for (size_t k = 0; k < 2; k++) {
		struct fixture f;

		open_fixture(&f, kinds[k]);
		assert_int_equal(put(&f, 0, 64, 1), 0);
		assert_int_equal(
			fallocate(f.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, AT(16), AT(16)),
			0);
		assert_int_equal(f.memory[AT(20)], 0);
		assert_int_equal(put(&f, 16, 16, 3), 0);
		expect(&f, 16, 16, 3);
		close_fixture(&f);
	}
}

static void huge_memory_stays_huge(void **state)
{
	struct fixture f;
	struct stat st;

	(void)state;
	open_fixture(&f, kinds[1]);
	assert_int_equal(fstat(f.fd, &st), 0);
	if (st.st_blksize == (blksize_t)WH_PAGE_SIZE) {
		close_fixture(&f);
		print_message("# this kernel has no huge pages for tmpfs\n");
		skip();
	}
	assert_int_equal(f.place.uffd, -1);
	close_fixture(&f);
}

/* Of this process. */
static long page_tables_kib(void)
{
	FILE *status = fopen("/proc/self/status", "re");
	char line[128];
	long kib = -1;

	assert_non_null(status);
	while (kib < 0 && fgets(line, sizeof(line), status))
		if (strncmp(line, "VmPTE:", strlen("VmPTE:")) == 0)
			kib = strtol(line + strlen("VmPTE:"), NULL, 10);
	(void)fclose(status); /* only read */
	return kib;
}

static void page_tables_do_not_grow_with_the_guest(void **state)
{
	const uint64_t tables = UINT64_C(3) * WH_PAGE_TABLES_MAX;
	const uint64_t bytes = tables * WH_PAGE_TABLE_BYTES;
	const long before = page_tables_kib();
	uint8_t page[WH_PAGE_SIZE];
	struct fixture f;

	(void)state;
	open_fixture(&f, "size=64m,huge=never");
	wh_place_take_back(&f.place);
	assert_int_equal(ftruncate(f.fd, (off_t)bytes), 0);
	assert_int_equal(wh_place_lend(&f.place, f.fd, bytes), 0);

	for (uint64_t i = 0; i < tables; i++) {
		memset(page, (int)i, sizeof(page));
		assert_int_equal(
			wh_place_put(&f.place, page, sizeof(page), i * WH_PAGE_TABLE_BYTES), 0);
		assert_true(page_tables_kib() - before <= 4 * (long)WH_PAGE_TABLES_MAX + 256);
	}

	assert_true(f.place.uffd >= 0);
	for (uint64_t i = 0; i < tables; i++) {
		assert_int_equal(pread(f.fd, page, sizeof(page), (off_t)(i * WH_PAGE_TABLE_BYTES)),
		                 sizeof(page));
		assert_int_equal(page[WH_PAGE_SIZE - 1], (uint8_t)i);
	}
	close_fixture(&f);
}

static void puts_nothing_beyond_what_is_lent(void **state)
{
	struct fixture f;

	(void)state;
	open_fixture(&f, kinds[0]);
	assert_int_equal(put(&f, PAGES - 1, 2, 1), -EPROTO);
	assert_int_equal(put(&f, PAGES, 1, 1), -EPROTO);
	assert_int_equal(f.memory[BYTES - 1], 0);
	wh_place_take_back(&f.place);
	assert_int_equal(put(&f, 0, 1, 1), -EPROTO);
	assert_int_equal(f.memory[0], 0);

	assert_int_equal(wh_place_lend(&f.place, f.fd, BYTES), 0);
	assert_int_equal(put(&f, 0, 1, 1), 0);
	expect(&f, 0, 1, 1);
	close_fixture(&f);
}

/* --- hugetlbfs -------------------------------------------------------------------------------- */

static void open_huge_fixture(struct fixture *f)
{
	if (!have_huge_pages) {
		print_message("# not enough memory for huge pages\n");
		skip();
	}
	open_fixture(f, HUGE);
}

static uint64_t allocated(const struct fixture *f)
{
	struct stat st;

	assert_int_equal(fstat(f->fd, &st), 0);
	return (uint64_t)st.st_blocks * 512;
}

static void whole_and_partial_huge_pages_are_put_in_any_order(void **state)
{
	struct fixture f;

	(void)state;
	open_huge_fixture(&f);
	assert_int_equal(put(&f, 512, 512, 1), 0); /* a whole one that is missing */
	assert_int_equal(put(&f, 512, 512, 2), 0); /* one that is there */
	assert_int_equal(put(&f, 700, 3, 3), 0);   /* a part of it */
	assert_int_equal(put(&f, 40, 2, 4), 0);    /* a part of one that is missing */
	expect(&f, 512, 188, 2);
	expect(&f, 700, 3, 3);
	expect(&f, 40, 2, 4);
	for (uint32_t i = 0; i < WH_PAGE_SIZE; i++) {
		assert_int_equal(f.memory[AT(39) + i], 0);
		assert_int_equal(f.memory[AT(42) + i], 0);
	}
	assert_int_equal(put(&f, 300, 500, 5), 0); /* the end of one and the front of the next */
	expect(&f, 300, 500, 5);
	close_fixture(&f);
}

static void a_part_of_a_huge_page_allocates_no_other(void **state)
{
	struct fixture f;

	(void)state;
	open_huge_fixture(&f);
	assert_int_equal(put(&f, 600, 1, 1), 0);
	assert_int_equal(allocated(&f), HUGE_PAGE_BYTES);
	assert_int_equal(put(&f, PAGES - 1, 2, 1), -EPROTO);
	close_fixture(&f);
}

/* Take all huge pages of the mount but @left. Return: the file that has them. */
static int take_huge_pages(const struct fixture *f, uint32_t left)
{
	const uint64_t bytes = (16u << 20) - left * HUGE_PAGE_BYTES;
	int fd = open(DIR "/other", O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	/* What the fixture's own mapping has reserved is given up. */
	assert_int_equal(ftruncate(f->fd, 0), 0);
	assert_int_equal(ftruncate(f->fd, BYTES), 0);
	assert_int_equal(ftruncate(fd, (off_t)bytes), 0);
	assert_int_equal(fallocate(fd, 0, 0, (off_t)bytes), 0);
	return fd;
}

static void without_free_huge_pages_it_is_enospc_and_no_signal(void **state)
{
	struct fixture f;
	int other;

	(void)state;
	open_huge_fixture(&f);
	other = take_huge_pages(&f, 1);
	assert_int_equal(put(&f, 0, 512, 1), 0);
	assert_int_equal(put(&f, 512, 512, 2), -ENOSPC);
	assert_int_equal(put(&f, 600, 1, 3), -ENOSPC);
	assert_int_equal(put(&f, 7, 1, 4), 0); /* a page that is there needs none */
	expect(&f, 7, 1, 4);
	assert_int_equal(allocated(&f), HUGE_PAGE_BYTES);
	wh_closep(&other);
	close_fixture(&f);
}

static void a_full_tmpfs_is_enospc(void **state)
{
	struct fixture f;

	(void)state;
	open_fixture(&f, "size=256k,huge=never");
	assert_int_equal(put(&f, 0, 512, 1), -ENOSPC);
	close_fixture(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fills_what_is_empty_and_nothing_else),
		cmocka_unit_test(small_pages_are_best_put_in_pieces_and_huge_ones_whole),
		cmocka_unit_test(replaces_what_is_there),
		cmocka_unit_test(fills_around_pages_that_are_there),
		cmocka_unit_test(fills_again_what_was_given_back),
		cmocka_unit_test(huge_memory_stays_huge),
		cmocka_unit_test(page_tables_do_not_grow_with_the_guest),
		cmocka_unit_test(puts_nothing_beyond_what_is_lent),
		cmocka_unit_test(a_full_tmpfs_is_enospc),
		cmocka_unit_test(whole_and_partial_huge_pages_are_put_in_any_order),
		cmocka_unit_test(a_part_of_a_huge_page_allocates_no_other),
		cmocka_unit_test(without_free_huge_pages_it_is_enospc_and_no_signal),
	};

	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) {
		print_message("# mounting a tmpfs needs root\n");
		return 77;
	}
	have_huge_pages = huge_pool_open(8);
	return cmocka_run_group_tests_name("place", tests, NULL, NULL);
}
