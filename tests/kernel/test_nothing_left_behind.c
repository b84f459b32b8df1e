/* SPDX-License-Identifier: Apache-2.0 */

/*
 * After close the kernel has none of a limit's links, programs and maps any more, and with
 * limit 0 it never had.
 *
 * The kernel's own lists are walked. Ours are the links on the leaf's cgroup, and the programs
 * and maps that they lead to; other tests may load their own at the same time.
 */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <bpf/bpf.h>

#include <cmocka.h>

#include "lab.h"
#include "rate_bpf.h"
#include "wherry/clock.h"
#include "wherry/fdpass.h"

#define MAPS_MAX 8

/* Programs and maps are freed a little after the last descriptor is closed. */
#define FREED_NS (2 * WH_NSEC_PER_SEC)

static const struct lab *lab;

/* Links on the leaf's cgroup. @program receives the program of one of them. */
static int links_on_leaf(uint32_t *program)
{
	struct stat st;
	uint32_t id = 0;
	int count = 0;

	assert_int_equal(fstat(lab->leaf->dir_fd, &st), 0);
	while (bpf_link_get_next_id(id, &id) == 0) {
		wh_cleanup(wh_closep) int fd = bpf_link_get_fd_by_id(id);
		struct bpf_link_info info = { 0 };
		uint32_t len = sizeof(info);

		if (fd < 0 || bpf_obj_get_info_by_fd(fd, &info, &len) < 0)
			continue; /* gone since it was listed */
		if (info.type != BPF_LINK_TYPE_CGROUP || info.cgroup.cgroup_id != st.st_ino)
			continue;
		*program = info.prog_id;
		count++;
	}
	return count;
}

/* The maps of program @id. Return: how many. */
static uint32_t maps_of(uint32_t id, uint32_t maps[MAPS_MAX])
{
	wh_cleanup(wh_closep) int fd = bpf_prog_get_fd_by_id(id);
	struct bpf_prog_info info = { .nr_map_ids = MAPS_MAX, .map_ids = (uintptr_t)maps };
	uint32_t len = sizeof(info);

	if (fd < 0 || bpf_obj_get_info_by_fd(fd, &info, &len) < 0)
		return 0;
	return info.nr_map_ids;
}

/* All programs that use @map, attached or not. */
static int programs_using(uint32_t map)
{
	uint32_t id = 0;
	int count = 0;

	while (bpf_prog_get_next_id(id, &id) == 0) {
		uint32_t maps[MAPS_MAX];
		uint32_t n = maps_of(id, maps);

		for (uint32_t i = 0; i < n && i < MAPS_MAX; i++)
			count += maps[i] == map;
	}
	return count;
}

static bool map_exists(uint32_t map)
{
	wh_cleanup(wh_closep) int fd = bpf_map_get_fd_by_id(map);

	return fd >= 0;
}

static bool is_freed(uint32_t map)
{
	const struct timespec pause = { .tv_nsec = 10 * (long)WH_NSEC_PER_MSEC };
	const uint64_t end_ns = wh_now_ns(&wh_clock_monotonic) + FREED_NS;

	while (map_exists(map) || programs_using(map) > 0) {
		if (wh_now_ns(&wh_clock_monotonic) > end_ns)
			return false;
		(void)nanosleep(&pause, NULL);
	}
	return true;
}

/* The bucket's map, known by the number of programs that share it. */
static uint32_t bucket_map(uint32_t program)
{
	uint32_t maps[MAPS_MAX];
	uint32_t n = maps_of(program, maps);
	uint32_t best = 0;

	for (uint32_t i = 0; i < n; i++)
		if (!best || programs_using(maps[i]) > programs_using(best))
			best = maps[i];
	return best;
}

static void leaves_nothing(uint64_t first_bps, uint64_t then_bps)
{
	struct wh_rate_bpf *rate = NULL;
	uint32_t program = 0;
	uint32_t map;
	int r;

	assert_int_equal(wh_rate_bpf_open(&rate, lab->leaf->dir_fd, first_bps, NULL), 0);
	r = wh_rate_bpf_set(rate, then_bps, NULL);
	if (r == -EOPNOTSUPP) {
		rate = wh_rate_bpf_close(rate);
		assert_int_equal(links_on_leaf(&program), 0);
		print_message("  this kernel cannot limit open connections\n");
		skip();
	}
	assert_int_equal(r, 0);
	assert_int_equal(links_on_leaf(&program), WH_RATE_LINKS);
	map = bucket_map(program);
	assert_true(programs_using(map) >= (int)WH_RATE_LINKS - 1);

	rate = wh_rate_bpf_close(rate);

	assert_int_equal(links_on_leaf(&program), 0);
	assert_true(is_freed(map));
}

static void a_limit_leaves_nothing(void **state)
{
	(void)state;
	leaves_nothing(1 << 20, 2 << 20);
}

static void a_limit_set_late_leaves_nothing(void **state)
{
	(void)state;
	leaves_nothing(0, 1 << 20);
}

static void a_limit_lifted_leaves_nothing(void **state)
{
	(void)state;
	leaves_nothing(1 << 20, 0);
}

static void without_a_limit_nothing_is_loaded(void **state)
{
	wh_cleanup(wh_rate_bpf_closep) struct wh_rate_bpf *rate = NULL;
	int links[WH_RATE_LINKS];
	struct wh_rate_stats stats;
	uint32_t program;

	(void)state;
	assert_int_equal(wh_rate_bpf_open(&rate, lab->leaf->dir_fd, 0, NULL), 0);

	assert_int_equal(links_on_leaf(&program), 0);
	assert_int_equal(wh_rate_bpf_links(rate, links), 0);
	wh_rate_bpf_stats(rate, &stats);
	assert_int_equal(stats.limit_bps, 0);
}

static void a_failed_open_leaves_nothing(void **state)
{
	wh_cleanup(wh_closep) int not_a_cgroup = dup(STDERR_FILENO);
	struct wh_rate_bpf *rate = NULL;
	struct wh_error err = { 0 };

	(void)state;
	assert_true(wh_rate_bpf_open(&rate, not_a_cgroup, 1 << 20, &err) < 0);

	assert_null(rate);
	assert_string_not_equal(err.text, "");
}

static int body(const struct lab *where)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_limit_leaves_nothing),
		cmocka_unit_test(a_limit_set_late_leaves_nothing),
		cmocka_unit_test(a_limit_lifted_leaves_nothing),
		cmocka_unit_test(without_a_limit_nothing_is_loaded),
		cmocka_unit_test(a_failed_open_leaves_nothing),
	};

	lab = where;
	return cmocka_run_group_tests_name("nothing_left_behind", tests, NULL, NULL);
}

int main(void)
{
	return lab_run("nothing", body);
}
