/* SPDX-License-Identifier: Apache-2.0 */

/* The second names of RAM files, in /dev/shm: libvirt removes the first ones, and their directory. */

#include "ram_files.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "files.h"

struct fixture {
	char dir[sizeof("/dev/shm/wherry-test-XXXXXX")];
	char domain[64]; /* DIR/1-vm, the directory of the domain */
	char first[96];
	char second[96];
	struct wh_ram ram;
};

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct wh_error err;
	struct stat st;

	if (!f)
		return -1;
	memcpy(f->dir, "/dev/shm/wherry-test-XXXXXX", sizeof(f->dir));
	if (!mkdtemp(f->dir))
		return -1;
	(void)snprintf(f->domain, sizeof(f->domain), "%s/1-vm", f->dir);
	(void)snprintf(f->first, sizeof(f->first), "%s/pc.ram", f->domain);
	(void)snprintf(f->second, sizeof(f->second), "%s/.wherry-vm-1-0", f->dir);
	assert_int_equal(mkdir(f->domain, 0700), 0);
	assert_int_equal(wh_file_replace(f->first, "memory", 6, &err), 0);
	assert_int_equal(stat(f->first, &st), 0);
	assert_int_equal(wh_ram_add(&f->ram, "pc.ram", f->first, 6), 0);
	f->ram.files[0].dev = st.st_dev;
	f->ram.files[0].ino = st.st_ino;
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	(void)unlink(f->first);
	(void)unlink(f->second);
	(void)rmdir(f->domain);
	assert_int_equal(rmdir(f->dir), 0);
	wh_ram_done(&f->ram);
	free(f);
	return 0;
}

static void remove_as_libvirt_does(const struct fixture *f)
{
	assert_int_equal(unlink(f->first), 0);
	assert_int_equal(rmdir(f->domain), 0);
}

static void memory_outlives_the_directory_of_its_domain(void **state)
{
	struct fixture *f = *state;
	struct wh_error err;
	struct stat st;

	assert_int_equal(wh_ram_link(&f->ram.files[0], "vm-1", 0, &err), 0);
	assert_int_equal(stat(f->second, &st), 0);
	assert_int_equal(st.st_ino, f->ram.files[0].ino);
	remove_as_libvirt_does(f);

	assert_int_equal(wh_ram_reopen(&f->ram, &err), 0);
	assert_true(f->ram.files[0].fd >= 0);
	assert_int_equal(wh_ram_unlink(&f->ram), 1);
	assert_int_equal(access(f->second, F_OK), -1);
}

static void a_second_name_that_is_another_file_now_is_left_alone(void **state)
{
	struct fixture *f = *state;
	struct wh_error err;

	assert_int_equal(wh_ram_link(&f->ram.files[0], "vm-1", 0, &err), 0);
	assert_int_equal(wh_file_replace(f->second, "other", 5, &err), 0);

	assert_int_equal(wh_ram_unlink(&f->ram), 0);
	assert_int_equal(access(f->second, F_OK), 0);
}

static void only_a_second_name_is_taken_back(void **state)
{
	struct fixture *f = *state;
	struct wh_error err;

	wh_ram_unlink_second(&f->ram, "vm-1"); /* it has none yet */
	assert_int_equal(access(f->first, F_OK), 0);
	assert_int_equal(wh_ram_link(&f->ram.files[0], "vm-1", 0, &err), 0);

	wh_ram_unlink_second(&f->ram, "vm-1");
	assert_int_equal(access(f->second, F_OK), -1);
	assert_int_equal(access(f->first, F_OK), 0);
}

static void without_a_file_there_is_no_second_name(void **state)
{
	struct fixture *f = *state;
	struct wh_error err = { "" };

	assert_int_equal(unlink(f->first), 0);

	assert_int_equal(wh_ram_link(&f->ram.files[0], "vm-1", 0, &err), -ENOENT);

	assert_non_null(strstr(err.text, f->first));
	assert_string_equal(f->ram.files[0].path, f->first);
	assert_int_equal(access(f->second, F_OK), -1);
}

static void what_is_in_the_way_is_left_alone(void **state)
{
	struct fixture *f = *state;
	struct wh_error err = { "" };

	assert_int_equal(wh_file_replace(f->second, "other", 5, &err), 0);

	assert_int_equal(wh_ram_link(&f->ram.files[0], "vm-1", 0, &err), -EEXIST);

	assert_string_equal(f->ram.files[0].path, f->first);
	assert_int_equal(access(f->second, F_OK), 0);
}

static void a_file_needs_a_directory_above_its_own(void **state)
{
	static const char *const paths[] = { "pc.ram", "/pc.ram", "1-vm/pc.ram", "/1-vm/pc.ram" };

	(void)state;
	for (size_t i = 0; i < sizeof(paths) / sizeof(*paths); i++) {
		struct wh_ram ram = { 0 };
		struct wh_error err = { "" };

		assert_int_equal(wh_ram_add(&ram, "pc.ram", paths[i], 6), 0);
		assert_int_equal(wh_ram_link(&ram.files[0], "vm-1", 0, &err), -EINVAL);
		assert_non_null(strstr(err.text, paths[i]));
		wh_ram_done(&ram);
	}
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(memory_outlives_the_directory_of_its_domain),
		TEST(a_second_name_that_is_another_file_now_is_left_alone),
		TEST(only_a_second_name_is_taken_back),
		TEST(without_a_file_there_is_no_second_name),
		TEST(what_is_in_the_way_is_left_alone),
		cmocka_unit_test(a_file_needs_a_directory_above_its_own),
	};

	return cmocka_run_group_tests_name("ram_files", tests, NULL, NULL);
}
