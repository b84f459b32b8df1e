/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Disks of a domain that may not be shared. Both nodes' files are in one directory here: where
 * they are not to share it, the source's are moved away before the target looks.
 */

#include "job_domain.h"

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

#define BYTES (UINT64_C(64) << 20)

struct fixture {
	char dir[sizeof("/tmp/wherry-disks-XXXXXX")];
	char disk[64];
	char moved[64];
	char mark[64];
	char state[64];
	struct wh_config config;
	struct wh_daemon daemon;
	struct wh_job source;
	struct wh_job target;
	struct wh_job_domain source_domain;
	struct wh_job_domain target_domain;
	struct wh_error err;
};

static void make_disk(const struct fixture *f)
{
	struct wh_error err;

	assert_int_equal(wh_file_replace(f->disk, "disk", 4, &err), 0);
	assert_int_equal(truncate(f->disk, (off_t)BYTES), 0);
}

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	if (!f)
		return -1;
	memcpy(f->dir, "/tmp/wherry-disks-XXXXXX", sizeof(f->dir));
	if (!mkdtemp(f->dir))
		return -1;
	(void)snprintf(f->disk, sizeof(f->disk), "%s/a.img", f->dir);
	(void)snprintf(f->moved, sizeof(f->moved), "%s/moved", f->dir);
	(void)snprintf(f->mark, sizeof(f->mark), "%s/.wherry-vm-1", f->dir);
	(void)snprintf(f->state, sizeof(f->state), "%s/state/migrations", f->dir);
	if (wh_dir_make(f->state, &f->err) < 0)
		return -1;
	*strrchr(f->state, '/') = '\0';
	f->config.state = f->state;
	f->daemon.config = &f->config;
	f->source = (struct wh_job){ .daemon = &f->daemon,
		                     .record = { .id = "vm-1", .role = WH_ROLE_SOURCE },
		                     .domain = &f->source_domain };
	f->target = (struct wh_job){ .daemon = &f->daemon,
		                     .record = { .id = "vm-1", .role = WH_ROLE_TARGET },
		                     .domain = &f->target_domain };
	make_disk(f);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;
	char journal[80];

	(void)unlink(f->disk);
	(void)unlink(f->moved);
	assert_int_equal(wh_journal_remove(f->state, "vm-1", &f->err), 0);
	(void)snprintf(journal, sizeof(journal), "%s/migrations", f->state);
	assert_int_equal(rmdir(journal), 0);
	assert_int_equal(rmdir(f->state), 0);
	assert_int_equal(rmdir(f->dir), 0); /* not one mark is left */
	free(f->source_domain.disks);
	free(f);
	return 0;
}

static int find(struct fixture *f, const char *format, const char *more)
{
	char xml[512];

	(void)snprintf(xml, sizeof(xml),
	               "<domain><devices><disk type='file' device='disk'>"
	               "<driver name='qemu' type='%s'/><source file='%s'/>"
	               "<target dev='vda' bus='virtio'/>%s</disk></devices></domain>",
	               format, f->disk, more);
	return wh_disks_find(&f->source, xml, &f->err);
}

/* What the source says of its disks, and what the target answers. */
static int ask(struct fixture *f, struct wh_node_message *expected)
{
	struct wh_node_message expect = { .type = WH_NODE_EXPECT };

	expect.disk_count = f->source_domain.file_count;
	memcpy(expect.disks, f->source_domain.files, sizeof(expect.disks));
	*expected = (struct wh_node_message){ .type = WH_NODE_EXPECTED };
	return wh_disks_place(&f->target, &expect, expected, &f->err);
}

/* From here on the target does not see what the source does. */
static void part(const struct fixture *f)
{
	assert_int_equal(unlink(f->mark), 0);
	assert_int_equal(rename(f->disk, f->moved), 0);
}

static bool is_there(const char *path)
{
	return access(path, F_OK) == 0;
}

static void a_shared_directory_leaves_nothing_to_copy(void **state)
{
	struct fixture *f = *state;
	struct wh_node_message expected;

	assert_int_equal(find(f, "qcow2", ""), 0);
	assert_true(is_there(f->mark));
	assert_int_equal(f->source_domain.file_count, 1);
	assert_int_equal(f->source_domain.files[0].bytes, BYTES);

	assert_int_equal(ask(f, &expected), 0);
	assert_int_equal(expected.disk_count, 0);
	wh_disks_remove(&f->target);
	assert_true(is_there(f->mark));
	wh_disks_remove(&f->source);

	assert_false(is_there(f->mark));
	assert_true(is_there(f->disk));
}

static void a_disk_that_is_not_seen_gets_a_place_of_its_size(void **state)
{
	struct fixture *f = *state;
	struct wh_node_message expected;
	struct stat st;

	assert_int_equal(find(f, "raw", ""), 0);
	part(f);
	assert_int_equal(ask(f, &expected), 0);

	assert_int_equal(expected.disk_count, 1);
	assert_string_equal(expected.disks[0].target, "vda");
	assert_int_equal(stat(f->disk, &st), 0);
	assert_int_equal(st.st_size, BYTES);
	assert_true((uint64_t)st.st_blocks * 512 < BYTES / 2);
	assert_int_equal(st.st_mode & 0777, 0600);
	wh_disks_copy(&f->source, &expected);
	assert_string_equal(f->source_domain.disks, "vda");
}

static void a_place_goes_unless_the_guest_may_have_come_to_it(void **state)
{
	static const struct {
		enum wh_phase phase;
		bool proceeded;
		bool vmm_gone;
		bool stays;
	} cases[] = {
		{ WH_PHASE_BEGUN, false, false, false }, { WH_PHASE_ASKING, true, false, true },
		{ WH_PHASE_ASKING, true, true, false },  { WH_PHASE_POSTCOPY, true, false, true },
		{ WH_PHASE_POSTCOPY, true, true, true }, { WH_PHASE_DONE, true, true, true },
	};
	struct fixture *f = *state;
	struct wh_node_message expected;

	assert_int_equal(find(f, "raw", ""), 0);
	part(f);
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		assert_int_equal(ask(f, &expected), 0);
		f->target.record.phase = cases[i].phase;
		f->target_domain.proceeded = cases[i].proceeded;
		f->target_domain.vmm_gone = cases[i].vmm_gone;
		wh_disks_remove(&f->target);
		assert_int_equal(is_there(f->disk), cases[i].stays);
		(void)unlink(f->disk);
	}
	assert_true(is_there(f->moved));
}

static void a_file_in_the_way_is_refused_and_left_alone(void **state)
{
	struct fixture *f = *state;
	struct wh_node_message expected;
	struct stat st;

	assert_int_equal(find(f, "raw", ""), 0);
	part(f);
	assert_int_equal(wh_file_replace(f->disk, "other", 5, &f->err), 0);

	assert_int_equal(ask(f, &expected), -EEXIST);
	assert_non_null(strstr(f->err.text, "disk 'vda' is not shared, and there is another"));
	assert_non_null(strstr(f->err.text, f->disk));
	wh_disks_remove(&f->target);

	assert_int_equal(stat(f->disk, &st), 0);
	assert_int_equal(st.st_size, 5);
}

static void a_disk_without_a_directory_for_it_is_refused(void **state)
{
	struct fixture *f = *state;
	struct wh_node_message expected;

	assert_int_equal(find(f, "raw", ""), 0);
	part(f);
	(void)snprintf(f->source_domain.files[0].path, WH_DISK_PATH_MAX, "%s/none/a.img", f->dir);

	assert_int_equal(ask(f, &expected), -ENOENT);
	assert_non_null(strstr(f->err.text, "no place for disk 'vda': cannot make"));
}

static void only_raw_disks_are_copied(void **state)
{
	struct fixture *f = *state;
	struct wh_node_message expected;

	assert_int_equal(find(f, "qcow2", ""), 0);
	part(f);

	assert_int_equal(ask(f, &expected), -EOPNOTSUPP);
	assert_non_null(strstr(f->err.text, "disk 'vda' is not shared and has format qcow2"));
	assert_non_null(strstr(f->err.text, "qemu-img convert -O raw"));
	assert_false(is_there(f->disk));
}

static void what_nobody_writes_or_is_no_file_is_no_matter(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(find(f, "raw", "<readonly/>"), 0);
	assert_int_equal(f->source_domain.file_count, 0);
	assert_int_equal(unlink(f->disk), 0);
	assert_int_equal(mkdir(f->disk, 0700), 0);
	assert_int_equal(find(f, "raw", ""), 0);
	assert_int_equal(f->source_domain.file_count, 0);
	assert_int_equal(rmdir(f->disk), 0);
	assert_false(is_there(f->mark));
}

static void one_mark_tells_of_all_disks_beside_it(void **state)
{
	struct fixture *f = *state;
	struct wh_node_message expected;

	assert_int_equal(find(f, "raw", ""), 0);
	assert_int_equal(find(f, "raw", ""), 0);
	assert_int_equal(f->source_domain.file_count, 2);
	assert_int_equal(ask(f, &expected), 0);
	assert_int_equal(expected.disk_count, 0);

	wh_disks_remove(&f->source);
	assert_false(is_there(f->mark));
}

/* What the next wherryd makes of @job, of which it knows nothing but the journal. */
static void remove_as_the_next_wherryd(struct fixture *f, struct wh_job *job)
{
	assert_int_equal(wh_journal_read(f->state, "vm-1", &job->record, &f->err), 0);
	wh_disks_remove(job);
}

static void a_place_is_found_again_by_the_next_wherryd(void **state)
{
	struct fixture *f = *state;
	struct wh_node_message expected;

	assert_int_equal(find(f, "raw", ""), 0);
	part(f);
	assert_int_equal(ask(f, &expected), 0);
	assert_true(is_there(f->disk));

	remove_as_the_next_wherryd(f, &f->target);
	assert_false(is_there(f->disk));
	assert_true(is_there(f->moved));
}

static void a_mark_is_found_again_by_the_next_wherryd(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(find(f, "raw", ""), 0);
	assert_true(is_there(f->mark));

	remove_as_the_next_wherryd(f, &f->source);
	assert_false(is_there(f->mark));
	assert_true(is_there(f->disk));
}

static void a_file_that_took_the_place_is_left_alone(void **state)
{
	struct fixture *f = *state;
	struct wh_node_message expected;

	assert_int_equal(find(f, "raw", ""), 0);
	part(f);
	assert_int_equal(ask(f, &expected), 0);
	assert_int_equal(unlink(f->disk), 0);
	assert_int_equal(wh_file_replace(f->disk, "other", 5, &f->err), 0);

	remove_as_the_next_wherryd(f, &f->target);
	assert_true(is_there(f->disk));
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_shared_directory_leaves_nothing_to_copy),
		TEST(a_disk_that_is_not_seen_gets_a_place_of_its_size),
		TEST(a_place_goes_unless_the_guest_may_have_come_to_it),
		TEST(a_file_in_the_way_is_refused_and_left_alone),
		TEST(a_disk_without_a_directory_for_it_is_refused),
		TEST(only_raw_disks_are_copied),
		TEST(what_nobody_writes_or_is_no_file_is_no_matter),
		TEST(one_mark_tells_of_all_disks_beside_it),
		TEST(a_place_is_found_again_by_the_next_wherryd),
		TEST(a_mark_is_found_again_by_the_next_wherryd),
		TEST(a_file_that_took_the_place_is_left_alone),
	};

	return cmocka_run_group_tests_name("job_domain_disks", tests, NULL, NULL);
}
