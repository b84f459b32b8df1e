/* SPDX-License-Identifier: Apache-2.0 */

/* The journal on a real directory: what is written is read, what is damaged is said. */

#include "journal.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "files.h"

struct seen {
	unsigned good;
	unsigned bad;
};

static char dir[] = "/tmp/wherry-journal.XXXXXX";

static struct wh_record record(void)
{
	struct wh_record rec = {
		.id = "db1-00000001",
		.vm = "db1",
		.peer = "b",
		.role = WH_ROLE_TARGET,
		.phase = WH_PHASE_BEGUN,
		.running = true,
		.token = { 1, 2, 3 },
		.vmm = { .pid = 7, .start = 99 },
		.vmm_uffd = -1,
	};

	assert_int_equal(wh_ram_add(&rec.ram, "ram0", "/dev/shm/x", 4096), 0);
	rec.ram.files[0].ino = 12;
	rec.ram.files[0].dev = 34;
	rec.defined = true;
	rec.made[0] =
		(struct wh_made_file){ .path = "/images/a", .dev = 5, .ino = 6, .born_ns = 7 };
	rec.made_count = 1;
	return rec;
}

static void on_good(void *ctx, const struct wh_record *rec)
{
	struct seen *seen = ctx;

	assert_string_equal(rec->vm, "db1");
	seen->good++;
}

static void on_bad(void *ctx, const char *id, const char *why)
{
	struct seen *seen = ctx;

	assert_string_equal(id, "broken");
	assert_non_null(strstr(why, "JSON"));
	seen->bad++;
}

static struct seen walk(void)
{
	struct seen seen = { 0 };
	const struct wh_journal_visitor v = { .each = on_good, .bad = on_bad, .ctx = &seen };
	struct wh_error err;

	assert_int_equal(wh_journal_walk(dir, &v, &err), 0);
	return seen;
}

static enum wh_phase phase_on_disk(const char *id)
{
	struct wh_record back;
	struct wh_error err;
	enum wh_phase phase;

	assert_int_equal(wh_journal_read(dir, id, &back, &err), 0);
	phase = back.phase;
	wh_record_done(&back);
	return phase;
}

static void what_is_staged_counts_from_the_commit_on(void **state)
{
	struct wh_record rec = record();
	struct wh_error err;

	(void)state;
	rec.phase = WH_PHASE_BEGUN;
	assert_int_equal(wh_journal_write(dir, &rec, &err), 0);
	rec.phase = WH_PHASE_DONE;
	assert_int_equal(wh_journal_stage(dir, &rec, &err), 0);
	assert_int_equal(phase_on_disk(rec.id), WH_PHASE_BEGUN);

	assert_int_equal(wh_journal_commit(dir, rec.id, &err), 0);
	assert_int_equal(phase_on_disk(rec.id), WH_PHASE_DONE);
	assert_int_equal(wh_journal_commit(dir, rec.id, &err), -ENOENT);
	assert_int_equal(phase_on_disk(rec.id), WH_PHASE_DONE);
	wh_record_done(&rec);
}

static void what_was_staged_goes_with_the_record(void **state)
{
	struct wh_record rec = record();
	struct wh_error err;

	(void)state;
	assert_int_equal(wh_journal_write(dir, &rec, &err), 0);
	assert_int_equal(wh_journal_stage(dir, &rec, &err), 0);
	assert_int_equal(wh_journal_remove(dir, rec.id, &err), 0);

	assert_int_equal(wh_journal_commit(dir, rec.id, &err), -ENOENT);
	assert_int_equal(walk().good, 0);
	wh_record_done(&rec);
}

static void reads_what_it_wrote(void **state)
{
	struct wh_record rec = record();
	struct wh_record back;
	struct wh_error err;

	(void)state;
	rec.phase = WH_PHASE_DONE;
	assert_int_equal(wh_journal_write(dir, &rec, &err), 0);

	assert_int_equal(wh_journal_read(dir, rec.id, &back, &err), 0);

	assert_string_equal(back.peer, "b");
	assert_int_equal(back.role, WH_ROLE_TARGET);
	assert_int_equal(back.phase, WH_PHASE_DONE);
	assert_true(back.running);
	assert_memory_equal(back.token, rec.token, WH_TOKEN_BYTES);
	assert_int_equal(back.vmm.start, 99);
	assert_int_equal(back.ram.count, 1);
	assert_string_equal(back.ram.files[0].path, "/dev/shm/x");
	assert_int_equal(back.ram.files[0].ino, 12);
	assert_int_equal(back.ram.files[0].dev, 34);
	assert_true(back.defined);
	assert_int_equal(back.made_count, 1);
	assert_string_equal(back.made[0].path, "/images/a");
	assert_int_equal(back.made[0].dev, 5);
	assert_int_equal(back.made[0].ino, 6);
	assert_int_equal(back.made[0].born_ns, 7);
	wh_record_done(&back);
	wh_record_done(&rec);
}

static void every_phase_is_read_as_it_was_written(void **state)
{
	struct wh_record rec = record();
	struct wh_record back;
	struct wh_error err;

	(void)state;
	rec.vmm_uffd = 23;
	memcpy(rec.missing, "/run/m", sizeof("/run/m"));
	memcpy(rec.monitor, "/run/q", sizeof("/run/q"));
	for (enum wh_phase p = 0; p < WH_PHASES; p++) {
		rec.phase = p;
		assert_int_equal(wh_journal_write(dir, &rec, &err), 0);
		assert_int_equal(wh_journal_read(dir, rec.id, &back, &err), 0);
		assert_int_equal(back.phase, p);
		assert_int_equal(back.vmm_uffd, 23);
		assert_string_equal(back.missing, "/run/m");
		assert_string_equal(back.monitor, "/run/q");
		wh_record_done(&back);
	}
	wh_record_done(&rec);
}

static void a_record_of_an_earlier_version_has_no_post_copy_and_no_domain(void **state)
{
	static const char text[] =
		"{\"id\":\"old\",\"vm\":\"db1\",\"peer\":\"b\",\"role\":\"target\",\"phase\":\"done\","
		"\"running\":false,\"token\":\"000102030405060708090a0b0c0d0e0f\","
		"\"vmm\":{\"pid\":1,\"start\":2},\"launcher\":{\"pid\":0,\"start\":0},\"ram\":[]}";
	char path[sizeof(dir) + 64];
	struct wh_record back;
	struct wh_error err;

	(void)state;
	(void)snprintf(path, sizeof(path), "%s/migrations/old.json", dir);
	assert_int_equal(wh_file_replace(path, text, strlen(text), &err), 0);

	assert_int_equal(wh_journal_read(dir, "old", &back, &err), 0);

	assert_int_equal(back.vmm_uffd, -1);
	assert_string_equal(back.missing, "");
	assert_string_equal(back.monitor, "");
	assert_int_equal(back.engine, WH_ENGINE_QMP);
	assert_string_equal(back.directory, "");
	wh_record_done(&back);
	assert_int_equal(wh_journal_remove(dir, "old", &err), 0);
}

static void every_engine_is_read_as_it_was_written(void **state)
{
	struct wh_record rec = record();
	struct wh_record back;
	struct wh_error err;

	(void)state;
	memcpy(rec.directory, "/var/lib/libvirt/qemu", sizeof("/var/lib/libvirt/qemu"));
	for (enum wh_engine e = 0; e < WH_ENGINES; e++) {
		rec.engine = e;
		assert_int_equal(wh_journal_write(dir, &rec, &err), 0);
		assert_int_equal(wh_journal_read(dir, rec.id, &back, &err), 0);
		assert_int_equal(back.engine, e);
		assert_string_equal(back.directory, "/var/lib/libvirt/qemu");
		wh_record_done(&back);
	}
	wh_record_done(&rec);
}

static void a_record_of_an_unknown_engine_is_not_taken_for_another(void **state)
{
	static const char text[] =
		"{\"id\":\"new\",\"vm\":\"db1\",\"peer\":\"b\",\"role\":\"source\",\"phase\":\"begun\","
		"\"engine\":\"warp\",\"directory\":\"\",\"running\":false,"
		"\"token\":\"000102030405060708090a0b0c0d0e0f\","
		"\"vmm\":{\"pid\":1,\"start\":2},\"launcher\":{\"pid\":0,\"start\":0},\"ram\":[]}";
	char path[sizeof(dir) + 64];
	struct wh_record back;
	struct wh_error err;

	(void)state;
	(void)snprintf(path, sizeof(path), "%s/migrations/new.json", dir);
	assert_int_equal(wh_file_replace(path, text, strlen(text), &err), 0);

	assert_int_equal(wh_journal_read(dir, "new", &back, &err), -EPROTO);

	assert_non_null(strstr(err.text, "'engine'"));
	assert_int_equal(wh_journal_remove(dir, "new", &err), 0);
}

static void a_damaged_record_does_not_hide_the_others(void **state)
{
	char path[sizeof(dir) + 64];
	struct wh_error err;
	struct seen seen;

	(void)state;
	(void)snprintf(path, sizeof(path), "%s/migrations/broken.json", dir);
	assert_int_equal(wh_file_replace(path, "{", 1, &err), 0);

	seen = walk();

	assert_int_equal(seen.good, 1);
	assert_int_equal(seen.bad, 1);
	assert_int_equal(wh_file_remove(path, &err), 0);
}

static void what_is_removed_is_gone_and_may_be_removed_again(void **state)
{
	struct wh_record back;
	struct wh_error err;

	(void)state;
	assert_int_equal(wh_journal_remove(dir, "db1-00000001", &err), 0);
	assert_int_equal(wh_journal_remove(dir, "db1-00000001", &err), 0);

	assert_int_equal(wh_journal_read(dir, "db1-00000001", &back, &err), -ENOENT);
	assert_int_equal(walk().good, 0);
}

static int setup(void **state)
{
	(void)state;
	if (!mkdtemp(dir))
		return -1;
	(void)walk(); /* makes the directory */
	return 0;
}

static int teardown(void **state)
{
	char path[sizeof(dir) + 64];

	(void)state;
	(void)snprintf(path, sizeof(path), "%s/migrations", dir);
	return rmdir(path) + rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_what_it_wrote),
		cmocka_unit_test(what_is_staged_counts_from_the_commit_on),
		cmocka_unit_test(what_was_staged_goes_with_the_record),
		cmocka_unit_test(every_phase_is_read_as_it_was_written),
		cmocka_unit_test(a_record_of_an_earlier_version_has_no_post_copy_and_no_domain),
		cmocka_unit_test(every_engine_is_read_as_it_was_written),
		cmocka_unit_test(a_record_of_an_unknown_engine_is_not_taken_for_another),
		cmocka_unit_test(a_damaged_record_does_not_hide_the_others),
		cmocka_unit_test(what_is_removed_is_gone_and_may_be_removed_again),
	};

	return cmocka_run_group_tests_name("journal", tests, setup, teardown);
}
