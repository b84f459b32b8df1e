/* SPDX-License-Identifier: Apache-2.0 */

/* The hypervisor is this process itself: it maps RAM files in every way one may. */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "vmm_map.h"

#include "wherry/fdpass.h"
#include "wherry/limits.h"

#define PAGES 16u
#define BYTES ((uint64_t)PAGES * WH_PAGE_SIZE)

struct fixture {
	struct wh_ram ram; /* two regions of PAGES */
	void *pieces[8];   /* to unmap, each with its size */
	size_t sizes[8];
	size_t count;
};

static int setup(void **state)
{
	static struct fixture f;

	f = (struct fixture){ 0 };
	for (int i = 0; i < 2; i++) {
		int fd = memfd_create("ram", MFD_CLOEXEC);

		assert_int_equal(ftruncate(fd, BYTES), 0);
		assert_int_equal(wh_ram_add(&f.ram, i ? "b" : "a", BYTES, fd, NULL), 0);
	}
	*state = &f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	for (size_t i = 0; i < f->count; i++)
		(void)munmap(f->pieces[i], f->sizes[i]);
	for (uint16_t i = 0; i < f->ram.count; i++)
		wh_closep(&f->ram.regions[i].fd);
	return 0;
}

/* Map @pages of @region from page @first on. Return: where. */
static uint64_t map_piece(struct fixture *f, int region, uint64_t first, uint64_t pages, int flags)
{
	void *addr = mmap(NULL, pages * WH_PAGE_SIZE, PROT_READ | PROT_WRITE, flags,
	                  f->ram.regions[region].fd, (off_t)(first * WH_PAGE_SIZE));

	assert_true(addr != MAP_FAILED);
	f->pieces[f->count] = addr;
	f->sizes[f->count++] = pages * WH_PAGE_SIZE;
	return (uint64_t)(uintptr_t)addr;
}

static void assert_range(const struct wh_vmm_map *map, uint64_t addr, uint64_t first,
                         uint64_t pages)
{
	for (size_t i = 0; i < map->count; i++)
		if (map->ranges[i].addr == addr) {
			assert_int_equal(map->ranges[i].first_page, first);
			assert_int_equal(map->ranges[i].bytes, pages * WH_PAGE_SIZE);
			return;
		}
	fail_msg("no range at %#jx", (uintmax_t)addr);
}

static void assert_not_mapped(struct fixture *f)
{
	struct wh_vmm_map map = { .count = 77 };
	struct wh_error err = { "" };

	assert_int_equal(wh_vmm_map_read(&map, getpid(), &f->ram, &err), -ENXIO);
	assert_int_equal(map.count, 77);
	assert_non_null(strstr(err.text, "does not map all"));
}

static void regions_are_found_and_numbered_through(void **state)
{
	struct fixture *f = *state;
	uint64_t b = map_piece(f, 1, 0, PAGES, MAP_SHARED);
	uint64_t a = map_piece(f, 0, 0, PAGES, MAP_SHARED);
	struct wh_vmm_map map;

	assert_int_equal(wh_vmm_map_read(&map, getpid(), &f->ram, NULL), 0);

	assert_int_equal(map.count, 2);
	assert_range(&map, a, 0, PAGES);
	assert_range(&map, b, PAGES, PAGES);
	wh_vmm_map_done(&map);
	assert_int_equal(map.count, 0);
}

static void a_file_may_be_mapped_in_pieces(void **state)
{
	struct fixture *f = *state;
	uint64_t low, high;
	struct wh_vmm_map map;

	(void)map_piece(f, 1, 0, PAGES, MAP_SHARED);
	high = map_piece(f, 0, 5, PAGES - 5, MAP_SHARED);
	low = map_piece(f, 0, 0, 5, MAP_SHARED);

	assert_int_equal(wh_vmm_map_read(&map, getpid(), &f->ram, NULL), 0);

	assert_range(&map, low, 0, 5);
	assert_range(&map, high, 5, PAGES - 5);
	wh_vmm_map_done(&map);
}

static void a_piece_mapped_twice_is_there_twice(void **state)
{
	struct fixture *f = *state;
	uint64_t first, second;
	struct wh_vmm_map map;

	(void)map_piece(f, 1, 0, PAGES, MAP_SHARED);
	first = map_piece(f, 0, 0, PAGES, MAP_SHARED);
	second = map_piece(f, 0, 2, 3, MAP_SHARED);

	assert_int_equal(wh_vmm_map_read(&map, getpid(), &f->ram, NULL), 0);

	assert_int_equal(map.count, 3);
	assert_range(&map, first, 0, PAGES);
	assert_range(&map, second, 2, 3);
	wh_vmm_map_done(&map);
}

static void a_mapping_longer_than_its_region_is_cut(void **state)
{
	struct fixture *f = *state;
	uint64_t addr;
	struct wh_vmm_map map;

	assert_int_equal(ftruncate(f->ram.regions[0].fd, 2 * BYTES), 0);
	addr = map_piece(f, 0, 0, 2ull * PAGES, MAP_SHARED);
	(void)map_piece(f, 0, PAGES, PAGES, MAP_SHARED); /* all of it behind the region */
	(void)map_piece(f, 1, 0, PAGES, MAP_SHARED);

	assert_int_equal(wh_vmm_map_read(&map, getpid(), &f->ram, NULL), 0);

	assert_int_equal(map.count, 2);
	assert_range(&map, addr, 0, PAGES);
	wh_vmm_map_done(&map);
}

static void a_private_mapping_does_not_count(void **state)
{
	struct fixture *f = *state;

	(void)map_piece(f, 0, 0, PAGES, MAP_SHARED);
	(void)map_piece(f, 1, 0, PAGES, MAP_PRIVATE);
	assert_not_mapped(f);
}

static void a_partly_mapped_file_is_refused(void **state)
{
	struct fixture *f = *state;

	(void)map_piece(f, 0, 0, PAGES, MAP_SHARED);
	(void)map_piece(f, 1, 0, PAGES - 1, MAP_SHARED);
	assert_not_mapped(f);
}

static void a_file_that_is_not_mapped_is_refused(void **state)
{
	assert_not_mapped(*state);
}

static void a_process_that_is_not_there_is_refused(void **state)
{
	struct fixture *f = *state;
	struct wh_vmm_map map = { .count = 77 };
	struct wh_error err = { "" };

	/* Above the largest pid there can be. */
	assert_int_equal(wh_vmm_map_read(&map, 1 << 23, &f->ram, &err), -ENOENT);
	assert_int_equal(map.count, 77);
	assert_non_null(strstr(err.text, "/proc/8388608/maps"));
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(regions_are_found_and_numbered_through),
		TEST(a_file_may_be_mapped_in_pieces),
		TEST(a_piece_mapped_twice_is_there_twice),
		TEST(a_mapping_longer_than_its_region_is_cut),
		TEST(a_private_mapping_does_not_count),
		TEST(a_partly_mapped_file_is_refused),
		TEST(a_file_that_is_not_mapped_is_refused),
		TEST(a_process_that_is_not_there_is_refused),
	};

	return cmocka_run_group_tests_name("vmm_map", tests, NULL, NULL);
}
