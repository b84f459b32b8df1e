/* SPDX-License-Identifier: Apache-2.0 */

/* What "wherry check" looks at on a host, and how labels are changed. */

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "check.h"
#include "config.h"
#include "files.h"
#include "label.h"

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

#define RAM_BYTES (2u << 20)

/* The first finding of a rule. */
static const json_t *find(const struct wh_check_list *list, const char *rule)
{
	for (size_t i = 0; i < json_array_size(list->items); i++)
		if (!strcmp(wh_json_text(json_array_get(list->items, i), "rule"), rule))
			return json_array_get(list->items, i);
	fail_msg("nothing is said of %s", rule);
	return NULL;
}

static bool is_good(const struct wh_check_list *list, const char *rule)
{
	const json_t *check = find(list, rule);

	assert_string_equal(wh_json_text(check, "about"), "node a");
	assert_true(*wh_json_text(check, "is"));
	if (json_is_true(json_object_get(check, "good")))
		return true;
	assert_true(*wh_json_text(check, "remedy"));
	return false;
}

static int setup(void **state)
{
	static struct wh_check_list list;

	wh_check_list_init(&list);
	wh_check_about(&list, "node %s", "a");
	*state = &list;
	return 0;
}

static int teardown(void **state)
{
	wh_check_list_done(*state);
	return 0;
}

static void findings_of_a_domain_keep_what_they_say(void **state)
{
	struct wh_check_list *list = *state;
	struct wh_finding items[] = {
		{ .rule = "a", .good = true, .note = true, .is = { "heed it" } },
		{ .rule = "b", .fixable = true, .is = { "bad" }, .remedy = (char[]){ "<good/>" } },
	};
	const struct wh_findings findings = { items, COUNT(items) };
	wh_cleanup(wh_json_unrefp) json_t *expected =
		json_pack("[{s:s, s:s, s:b, s:b, s:b, s:s}, {s:s, s:s, s:b, s:b, s:b, s:s, s:s}]",
	                  "about", "node a", "rule", "a", "good", 1, "note", 1, "fixable", 0, "is",
	                  "heed it", "about", "node a", "rule", "b", "good", 0, "note", 0,
	                  "fixable", 1, "is", "bad", "remedy", "<good/>");

	wh_check_findings(list, &findings);
	assert_true(json_equal(list->items, expected));
	assert_false(wh_check_is_good(list->items));
	(void)json_array_remove(list->items, 1);
	assert_true(wh_check_is_good(list->items));
}

static void what_is_said_is_plain_text(void **state)
{
	struct wh_check_list *list = *state;

	wh_check_no(list, "a", "b", "libvirt says: %s", "\xff\n\xc3\xa4");
	assert_string_equal(wh_json_text(find(list, "a"), "is"), "libvirt says: ????");
}

/* Tracking was tried for real: this machine has what the movers of other tests need, or has not. */
static void the_kernel_is_tried(void **state)
{
	struct wh_check_list *list = *state;

	wh_check_kernel(list);
	if (!is_good(list, "kernel-tracking"))
		skip(); /* needs Linux 6.7 */
	assert_true(is_good(list, "kernel-postcopy"));
}

static void the_directory_of_ram_files_is_what_libvirt_reads(void **state)
{
	static const struct {
		const char *conf;
		const char *dir;
	} table[] = {
		{ "", "/var/lib/libvirt/qemu/ram" },
		{ "#memory_backing_dir = \"/a\"\n", "/var/lib/libvirt/qemu/ram" },
		{ "memory_backing_dir = \"/dev/shm\"", "/dev/shm" },
		{ "user = \"root\"\n\tmemory_backing_dir=\"/b\" # why\ngroup = \"root\"\n", "/b" },
		{ "memory_backing_dir = [ \"/node0\", \"/node1\" ]\n", "/node0" },
		{ "memory_backing_dir_other = \"/a\"\n", "/var/lib/libvirt/qemu/ram" },
		{ "memory_backing_dir = /a\n", "/var/lib/libvirt/qemu/ram" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(table); i++) {
		char dir[64];

		wh_check_memory_dir(dir, sizeof(dir), table[i].conf);
		assert_string_equal(dir, table[i].dir);
	}
}

static void ram_files_belong_into_memory(void **state)
{
	static const struct {
		const char *conf;
		bool good;
	} table[] = {
		{ "memory_backing_dir = \"/dev/shm\"\n", true },
		{ "memory_backing_dir = \"/dev/shm/not/yet/there\"\n", true },
		{ "memory_backing_dir = \"/proc/self\"\n", false },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(table); i++) {
		wh_cleanup(wh_check_list_done) struct wh_check_list list;

		wh_check_list_init(&list);
		wh_check_about(&list, "node a");
		wh_check_memory_place(&list, table[i].conf);
		assert_int_equal(is_good(&list, "memory-place"), table[i].good);
	}
}

/* This process as a guest, with a RAM file in that directory. */
static void check_with_ram_in(struct wh_check_list *list, const char *dir)
{
	char path[64];
	void *ram;
	int fd;

	(void)snprintf(path, sizeof(path), "%s/wherry-check-XXXXXX", dir);
	fd = mkstemp(path);
	assert_true(fd >= 0);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(ftruncate(fd, RAM_BYTES), 0);
	ram = mmap(NULL, RAM_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_true(ram != MAP_FAILED);
	wh_check_memory_files(list, getpid());
	assert_int_equal(munmap(ram, RAM_BYTES), 0);
	assert_int_equal(close(fd), 0);
}

static void ram_files_of_a_guest_are_found_in_its_process(void **state)
{
	struct wh_check_list *list = *state;

	wh_check_memory_files(list, getpid());
	assert_false(is_good(list, "memory-files"));
	(void)json_array_clear(list->items);
	check_with_ram_in(list, "/dev/shm");
	if (geteuid() != 0)
		skip(); /* what is mapped is root's to see */
	assert_true(is_good(list, "memory-files"));
}

static void a_process_that_is_gone_has_none(void **state)
{
	wh_check_memory_files(*state, 0);
	assert_false(is_good(*state, "memory-files"));
}

static void an_old_qemu_is_named(void **state)
{
	static const struct {
		const char *version;
		bool good;
	} table[] = {
		{ "{\"qemu\":{\"micro\":0,\"minor\":2,\"major\":7}}", true },
		{ "{\"qemu\":{\"micro\":2,\"minor\":0,\"major\":10}}", true },
		{ "{\"qemu\":{\"micro\":9,\"minor\":1,\"major\":7}}", false },
		{ "{\"qemu\":{\"minor\":9,\"major\":6}}", false },
		{ "{\"qemu\":{}}", false },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(table); i++) {
		wh_cleanup(wh_check_list_done) struct wh_check_list list;
		wh_cleanup(wh_json_unrefp) json_t *version = json_loads(table[i].version, 0, NULL);

		wh_check_list_init(&list);
		wh_check_about(&list, "node a");
		wh_check_qemu(&list, version);
		assert_int_equal(is_good(&list, "qemu"), table[i].good);
	}
}

/* Labels. */

static struct wh_domain_note note_of(const char *xml)
{
	struct wh_domain_note note;

	assert_int_equal(wh_domain_note_parse(&note, xml, NULL), 0);
	return note;
}

static void labels_are_set_and_removed_together(void **state)
{
	wh_cleanup(wh_domain_note_done) struct wh_domain_note note =
		note_of("<vm><label key='a' value='1'/><label key='b' value='2'/></vm>");
	wh_cleanup(wh_json_unrefp)
		json_t *request = json_pack("{s:{s:s, s:s}, s:[s], s:s}", "set", "c", "3", "a", "",
	                                    "remove", "b", "name_space", "prod");
	wh_cleanup(wh_json_unrefp) json_t *json = NULL;
	wh_cleanup(wh_json_unrefp) json_t *expected =
		json_pack("{s:s, s:{s:s, s:s}}", "namespace", "prod", "labels", "a", "", "c", "3");

	(void)state;
	assert_int_equal(wh_label_change(&note, request, NULL), 0);
	json = wh_label_json(&note);
	assert_true(json_equal(json, expected));
	assert_string_equal(wh_labels_get(&note.labels, "c"), "3");
}

static void without_changes_a_note_stays(void **state)
{
	wh_cleanup(wh_domain_note_done) struct wh_domain_note note =
		note_of("<vm namespace='prod'><label key='a' value='1'/></vm>");
	wh_cleanup(wh_json_unrefp) json_t *request = json_object();
	wh_cleanup(wh_json_unrefp) json_t *back = json_pack("{s:s}", "name_space", "");

	(void)state;
	assert_int_equal(wh_label_change(&note, request, NULL), 0);
	assert_string_equal(note.name_space, "prod");
	assert_string_equal(wh_labels_get(&note.labels, "a"), "1");
	assert_int_equal(wh_label_change(&note, back, NULL), 0);
	assert_string_equal(note.name_space, "");
}

static void one_bad_change_and_none_is_made(void **state)
{
	static const struct {
		const char *request;
		const char *words;
		int code;
	} table[] = {
		{ "{\"set\":{\"b\":\"1\",\"a b\":\"\"}}", "'a b' is no key", -EINVAL },
		{ "{\"set\":{\"b\":\"-1\"}}", "the value of 'b'", -EINVAL },
		{ "{\"set\":{\"b\":1}}", "the value of 'b'", -EINVAL },
		{ "{\"set\":{\"b\":\"1\"},\"remove\":[\"c\"]}", "no label 'c'", -ENOENT },
		{ "{\"set\":{\"b\":\"1\"},\"remove\":[7]}", "no label ''", -ENOENT },
		{ "{\"set\":{\"a\":\"2\"},\"remove\":[\"a\"]}", "set and removed", -EINVAL },
		{ "{\"set\":{\"b\":\"1\"},\"name_space\":\"A\"}", "'A' is no name", -EINVAL },
	};
	wh_cleanup(wh_domain_note_done) struct wh_domain_note note =
		note_of("<vm namespace='prod'><label key='a' value='1'/></vm>");

	(void)state;
	for (size_t i = 0; i < COUNT(table); i++) {
		wh_cleanup(wh_json_unrefp) json_t *request = json_loads(table[i].request, 0, NULL);
		struct wh_error err = { 0 };

		assert_int_equal(wh_label_change(&note, request, &err), table[i].code);
		assert_non_null(strstr(err.text, table[i].words));
		assert_string_equal(note.name_space, "prod");
		assert_int_equal(note.labels.count, 1);
		assert_string_equal(wh_labels_get(&note.labels, "a"), "1");
	}
}

static void without_rdma_there_is_a_note_unless_it_must_be(void **state)
{
	struct wh_config config = { .transport = WH_TRANSPORT_AUTO };
	struct wh_check_list *list = *state;
	struct wh_check_list strict;

	wh_check_fabric(list, "/nonexistent", "eth0", &config, false);
	assert_true(is_good(list, "rdma"));
	assert_true(json_is_true(json_object_get(find(list, "rdma"), "note")));
	assert_string_equal(wh_json_text(find(list, "rdma"), "is"),
	                    "no RDMA, so memory goes over TCP: this host has no RDMA device");

	wh_check_list_init(&strict);
	wh_check_about(&strict, "node a");
	config.transport = WH_TRANSPORT_RDMA;
	wh_check_fabric(&strict, "/nonexistent", "eth0", &config, false);
	assert_false(is_good(&strict, "rdma"));
	wh_check_list_done(&strict);
}

static void who_wants_tcp_hears_nothing_of_rdma(void **state)
{
	struct wh_config config = { .transport = WH_TRANSPORT_TCP };
	struct wh_check_list *list = *state;

	wh_check_fabric(list, "/nonexistent", "eth0", &config, false);
	assert_int_equal(json_array_size(list->items), 0);
}

#define WITH_LIST(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

/* --- the hook ----------------------------------------------------------------------------------- */

struct hooks {
	char dir[sizeof("/tmp/wherry-hooks-XXXXXX")];
	char below[64];
	char path[64];
};

static struct hooks make_hooks(const char *name)
{
	struct hooks h = { .dir = "/tmp/wherry-hooks-XXXXXX" };

	assert_non_null(mkdtemp(h.dir));
	(void)snprintf(h.below, sizeof(h.below), "%s/qemu.d", h.dir);
	assert_int_equal(mkdir(h.below, 0700), 0);
	(void)snprintf(h.path, sizeof(h.path), "%s/%s", h.dir, name);
	return h;
}

static void write_hook(const struct hooks *h, const char *text, mode_t mode)
{
	assert_int_equal(wh_file_replace(h->path, text, strlen(text), NULL), 0);
	assert_int_equal(chmod(h->path, mode), 0);
}

static void remove_hooks(const struct hooks *h)
{
	(void)unlink(h->path);
	assert_int_equal(rmdir(h->below), 0);
	assert_int_equal(rmdir(h->dir), 0);
}

/* Of libvirt's hooks as they are now. */
static bool has_hook(struct wh_check_list *list, const struct hooks *h, time_t libvirtd_started)
{
	json_array_clear(list->items);
	wh_check_hook(list, h->dir, libvirtd_started);
	return is_good(list, "hook");
}

static void a_hook_is_ours_by_what_it_calls(void **state)
{
	static const char *const names[] = { "qemu", "qemu.d/anything" };

	for (size_t i = 0; i < COUNT(names); i++) {
		struct hooks h = make_hooks(names[i]);

		assert_false(has_hook(*state, &h, 0));
		write_hook(&h, "#!/bin/sh\nexec /usr/libexec/other \"$@\"\n", 0755);
		assert_false(has_hook(*state, &h, 0));
		write_hook(&h, "#!/bin/sh\nexec /usr/libexec/wherry-libvirt-hook \"$@\"\n", 0755);
		assert_true(has_hook(*state, &h, 0));
		assert_int_equal(chmod(h.path, 0644), 0);
		assert_false(has_hook(*state, &h, 0));
		remove_hooks(&h);
	}
}

/* --- AppArmor ------------------------------------------------------------------------------------- */

static void write_text(const char *path, const char *text)
{
	assert_int_equal(wh_file_replace(path, text, strlen(text), NULL), 0);
}

static bool is_allowed(struct wh_check_list *list, const char *dir)
{
	json_array_clear(list->items);
	wh_check_apparmor(list, dir, dir);
	return is_good(list, "apparmor");
}

static void apparmor_must_allow_the_sockets(void **state)
{
	static const char *const dirs[] = { "local", "local/abstractions", "abstractions",
		                            "abstractions/libvirt-qemu.d" };
	static const char *const places[] = { "local/abstractions/libvirt-qemu",
		                              "abstractions/libvirt-qemu.d/wherry" };
	char dir[] = "/tmp/wherry-apparmor-XXXXXX", path[96];

	assert_non_null(mkdtemp(dir));
	assert_true(is_allowed(*state, dir)); /* the kernel has none */
	for (size_t i = 0; i < 4; i++) {
		(void)snprintf(path, sizeof(path), "%s/%s", dir, dirs[i]);
		assert_int_equal(mkdir(path, 0700), 0);
	}
	(void)snprintf(path, sizeof(path), "%s/profiles", dir);
	write_text(path, "firefox (unconfined)\nlibvirtd (enforce)\n");
	assert_false(is_allowed(*state, dir));
	write_text(path, "virtqemud (enforce)\n");
	assert_false(is_allowed(*state, dir));
	for (size_t i = 0; i < 2; i++) {
		(void)snprintf(path, sizeof(path), "%s/%s", dir, places[i]);
		write_text(path, "owner /var/lib/libvirt/qemu/wherry-* rw,\n");
		assert_true(is_allowed(*state, dir));
		write_text(path, "owner /var/lib/libvirt/qemu/other-* rw,\n");
		assert_false(is_allowed(*state, dir));
		assert_int_equal(unlink(path), 0);
	}
	(void)snprintf(path, sizeof(path), "%s/profiles", dir);
	write_text(path, "libvirtd (complain)\n");
	assert_true(is_allowed(*state, dir));
	assert_int_equal(unlink(path), 0);
	for (size_t i = 4; i-- > 0;) {
		(void)snprintf(path, sizeof(path), "%s/%s", dir, dirs[i]);
		assert_int_equal(rmdir(path), 0);
	}
	assert_int_equal(rmdir(dir), 0);
}

static void a_libvirtd_older_than_its_hook_is_told_of(void **state)
{
	struct hooks h = make_hooks("qemu.d/wherry");

	write_hook(&h, "wherry-libvirt-hook", 0755);
	assert_true(has_hook(*state, &h, time(NULL) - 60));
	assert_true(json_is_true(json_object_get(find(*state, "hook"), "note")));
	assert_true(has_hook(*state, &h, time(NULL) + 60));
	assert_false(json_is_true(json_object_get(find(*state, "hook"), "note")));
	remove_hooks(&h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_LIST(findings_of_a_domain_keep_what_they_say),
		WITH_LIST(what_is_said_is_plain_text),
		WITH_LIST(the_kernel_is_tried),
		WITH_LIST(without_rdma_there_is_a_note_unless_it_must_be),
		WITH_LIST(who_wants_tcp_hears_nothing_of_rdma),
		cmocka_unit_test(the_directory_of_ram_files_is_what_libvirt_reads),
		cmocka_unit_test(ram_files_belong_into_memory),
		WITH_LIST(ram_files_of_a_guest_are_found_in_its_process),
		WITH_LIST(a_process_that_is_gone_has_none),
		cmocka_unit_test(an_old_qemu_is_named),
		WITH_LIST(a_hook_is_ours_by_what_it_calls),
		WITH_LIST(apparmor_must_allow_the_sockets),
		WITH_LIST(a_libvirtd_older_than_its_hook_is_told_of),
		cmocka_unit_test(labels_are_set_and_removed_together),
		cmocka_unit_test(without_changes_a_note_stays),
		cmocka_unit_test(one_bad_change_and_none_is_made),
	};

	return cmocka_run_group_tests_name("check", tests, NULL, NULL);
}
