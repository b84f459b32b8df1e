/* SPDX-License-Identifier: Apache-2.0 */

/* What the kernel and QEMU say about threads, taken apart: mounts, cgroups, quotas, vCPUs. */

#include "cpu_group.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cgroup_mount.h"
#include "guest.h"

static void finds_the_mount_of_a_hierarchy(void **state)
{
	static const char *const v2 =
		"35 24 0:30 / /sys/fs/cgroup rw shared:9 - cgroup2 cgroup2 rw";
	static const char *const v1 =
		"36 24 0:31 / /sys/fs/cgroup/cpu\\040x rw,nosuid - cgroup cgroup rw,cpu,cpuacct\n";
	static const struct {
		const char *line;
		const char *controller;
		const char *point;
	} cases[] = {
		{ v2, NULL, "/sys/fs/cgroup" },
		{ v2, "cpu", NULL },
		{ v1, NULL, NULL },
		{ v1, "cpu", "/sys/fs/cgroup/cpu x" },
		{ v1, "cpuacct", "/sys/fs/cgroup/cpu x" },
		{ v1, "cpuset", NULL },
		{ "36 24 0:31 / /c rw - cgroup cgroup rw,cpuset", "cpu", NULL },
		{ "36 24 0:31 / /c rw - tmpfs cgroup rw,cpu", "cpu", NULL },
		{ "36 24 0:31 / /c rw - cgroup", "cpu", NULL },
		{ "36 24 0:31 / /c rw", "cpu", NULL },
		{ "", NULL, NULL },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		char *line = strdup(cases[i].line);
		const char *point = wh_cgroup_mount_match(line, cases[i].controller);

		assert_int_equal(point == NULL, cases[i].point == NULL);
		if (point)
			assert_string_equal(point, cases[i].point);
		free(line);
	}
}

static void finds_the_cgroup_of_a_thread(void **state)
{
	static const char *const hybrid = "9:name=systemd:/s\n"
					  "8:cpuset:/set\n"
					  "4:cpu,cpuacct:/machine/a:b/vcpu0\n"
					  "0::/system.slice/x.service\n";
	static const struct {
		const char *text;
		bool v2;
		const char *path;
	} cases[] = {
		{ hybrid, false, "machine/a:b/vcpu0" },
		{ hybrid, true, "system.slice/x.service" },
		{ "1:cpu:/\n0::/\n", false, "." },
		{ "1:cpu:/\n0::/\n", true, "." },
		{ "0::/a", true, "a" },
		{ "3:cpuacct,cpu:/b\n", false, "b" },
		{ "0::/../x\n", true, NULL }, /* of another cgroup namespace */
		{ "0::/..\n", true, NULL },
		{ "0::/..x\n", true, "..x" },
		{ "8:cpuset:/set\n", false, NULL },
		{ "8:cpuset:/set\n", true, NULL },
		{ "nonsense\n:\n1:\n2:x\n0:", true, NULL },
		{ "", true, NULL },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		char path[WH_CPU_PATH_MAX];
		int r = wh_cpu_path_parse(path, cases[i].text, cases[i].v2);

		assert_int_equal(r, cases[i].path ? 0 : -EPROTO);
		if (cases[i].path)
			assert_string_equal(path, cases[i].path);
	}
}

static void reads_what_a_quota_leaves_of_a_cpu(void **state)
{
	static const struct {
		const char *text;
		unsigned per_mille;
	} cases[] = {
		{ "max 100000\n", 1000 },
		{ "-1\n100000\n", 1000 },
		{ "50000 100000\n", 500 },
		{ "400000 100000", 1000 },
		{ "20000\n100000\n", 200 },
		{ "1 1000000", 1 },
		{ "", 1000 },
		{ "5000", 1000 },
		{ "5000 0", 1000 },
		{ "0 100000", 1 },
		{ "9223372036854775807 1", 1000 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
		assert_int_equal(wh_cpu_quota_parse(cases[i].text), cases[i].per_mille);
}

static int threads_of(const char *text, pid_t **threads, size_t *count)
{
	json_t *vcpus = json_loads(text, 0, NULL);
	struct wh_error err;
	int r = wh_guest_threads(vcpus, threads, count, &err);

	json_decref(vcpus);
	return r;
}

static void reads_the_threads_of_vcpus(void **state)
{
	wh_cleanup(wh_guest_threads_freep) pid_t *threads = NULL;
	size_t count = 0;

	(void)state;
	assert_int_equal(
		threads_of("[{\"cpu-index\": 0, \"thread-id\": 71, \"target\": \"x86_64\"},"
	                   " {\"cpu-index\": 1, \"thread-id\": 72}]",
	                   &threads, &count),
		0);

	assert_int_equal(count, 2);
	assert_int_equal(threads[0], 71);
	assert_int_equal(threads[1], 72);
}

static void refuses_what_names_no_threads(void **state)
{
	static const char *const cases[] = {
		"[]",
		"{}",
		"[1]",
		"[{}]",
		"[{\"thread-id\": \"71\"}]",
		"[{\"thread-id\": -1}]",
		"[{\"thread-id\": 4294967296}]",
	};
	pid_t *threads = NULL;
	size_t count = 7;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
		assert_int_equal(threads_of(cases[i], &threads, &count), -EPROTO);
	assert_null(threads);
	assert_int_equal(count, 7);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(finds_the_mount_of_a_hierarchy),
		cmocka_unit_test(finds_the_cgroup_of_a_thread),
		cmocka_unit_test(reads_what_a_quota_leaves_of_a_cpu),
		cmocka_unit_test(reads_the_threads_of_vcpus),
		cmocka_unit_test(refuses_what_names_no_threads),
	};

	return cmocka_run_group_tests_name("cpu_group", tests, NULL, NULL);
}
