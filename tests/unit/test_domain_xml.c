/* SPDX-License-Identifier: Apache-2.0 */

/* Domain XML: the note, wherry's monitor, and disks. */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "domain_xml.h"
#include "files.h"

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

#define NOTE_BEGIN "<wherry:vm xmlns:wherry=\"urn:wherry:domain:1\" namespace=\"prod\">\n"

#define MONITOR   "/var/lib/libvirt/qemu/wherry-monitor-db1-5f0c2a91"
#define MONITOR_2 "/var/lib/libvirt/qemu/wherry-monitor-db1-00000002"

static char *read_domain(const char *name)
{
	char path[512];
	char *text = NULL;
	size_t len;

	(void)snprintf(path, sizeof(path), "%s/%s.xml", WH_TEST_DOMAINS, name);
	assert_int_equal(wh_file_read(path, WH_DOMAIN_XML_MAX, &text, &len, NULL), 0);
	return text;
}

static size_t count_of(const char *text, const char *part)
{
	size_t count = 0;

	for (text = strstr(text, part); text; text = strstr(text + 1, part))
		count++;
	return count;
}

/* The note. */

static void a_note_says_namespace_and_labels(void **state)
{
	wh_cleanup(wh_domain_note_done) struct wh_domain_note note = { 0 };

	(void)state;
	assert_int_equal(
		wh_domain_note_parse(&note,
	                             NOTE_BEGIN
	                             "  <wherry:label key=\"role\" value=\"database\"/>\n"
	                             "  <!-- why not -->\n"
	                             "  <wherry:label key=\"example.com/empty\" value=\"\"/>\n"
	                             "</wherry:vm>\n",
	                             NULL),
		0);

	assert_string_equal(note.name_space, "prod");
	assert_int_equal(note.labels.count, 2);
	assert_string_equal(wh_labels_get(&note.labels, "role"), "database");
	assert_string_equal(wh_labels_get(&note.labels, "example.com/empty"), "");
}

static void no_note_says_nothing(void **state)
{
	static const char *const table[] = { "", "<vm/>", NOTE_BEGIN "</wherry:vm>" };

	(void)state;
	for (size_t i = 0; i < COUNT(table); i++) {
		wh_cleanup(wh_domain_note_done) struct wh_domain_note note = { 0 };

		assert_int_equal(wh_domain_note_parse(&note, table[i], NULL), 0);
		assert_int_equal(note.labels.count, 0);
		assert_string_equal(note.name_space, i == 2 ? "prod" : "");
	}
}

static void a_note_reads_as_it_was_written(void **state)
{
	struct wh_label items[] = { { (char[]){ "a.example/b" }, (char[]){ "" } },
		                    { (char[]){ "role" }, (char[]){ "data_base.1" } } };
	const struct wh_domain_note notes[] = {
		{ .name_space = "prod", .labels = { items, 2 } },
		{ .name_space = "prod" },
		{ .labels = { items, 1 } },
		{ .name_space = "" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(notes); i++) {
		wh_cleanup(wh_domain_note_done) struct wh_domain_note again = { 0 };
		wh_cleanup(wh_freep) char *text = wh_domain_note_format(&notes[i]);

		assert_int_equal(wh_domain_note_parse(&again, text, NULL), 0);
		assert_string_equal(again.name_space, notes[i].name_space);
		assert_int_equal(again.labels.count, notes[i].labels.count);
		for (size_t k = 0; k < again.labels.count; k++) {
			assert_string_equal(again.labels.items[k].key, items[k].key);
			assert_string_equal(again.labels.items[k].value, items[k].value);
		}
	}
}

/* What libvirt takes: with a prefix of its own, it would refuse the element. */
static void a_note_is_written_without_a_prefix(void **state)
{
	struct wh_label item = { (char[]){ "role" }, (char[]){ "database" } };
	const struct wh_domain_note note = { .name_space = "prod", .labels = { &item, 1 } };
	const struct wh_domain_note empty = { 0 };
	wh_cleanup(wh_freep) char *text = wh_domain_note_format(&note);
	wh_cleanup(wh_freep) char *nothing = wh_domain_note_format(&empty);

	(void)state;
	assert_string_equal(text, "<vm namespace=\"prod\">\n"
	                          "  <label key=\"role\" value=\"database\"/>\n"
	                          "</vm>\n");
	assert_string_equal(nothing, "");
}

static void a_bad_note_is_refused_with_its_line(void **state)
{
	static const struct {
		const char *xml;
		const char *words;
	} table[] = {
		{ "<vm", "line 1: " },
		{ "<vm>\n<label key='a' value='b'>\n</vm>", "line 3: " },
		{ "<domain/>", "it is <domain> and not <vm>" },
		{ "<x:vm xmlns:x='urn:other'/>", "line 1: its namespace must be" },
		{ "<vm name='x'/>", "line 1: <vm> has only the attribute namespace" },
		{ "<vm namespace='Prod'/>", "line 1: 'namespace' must be" },
		{ "<vm>\ntext</vm>", "line 2: only <label" },
		{ "<vm>\n<tag/></vm>", "line 2: only <label" },
		{ "<vm>\n<label key='a b' value=''/></vm>", "line 2: 'key' must be" },
		{ "<vm>\n<label value=''/></vm>", "line 2: 'key' must be" },
		{ "<vm>\n<label key='a' value='-'/></vm>", "line 2: the value of 'a' must be" },
		{ "<vm>\n<label key='a' values=''/></vm>", "<label> has only the attributes key" },
		{ "<vm><label key='a'/>\n<label key='a'/></vm>",
		  "line 2: label 'a' is there twice" },
		{ "<!DOCTYPE vm><vm/>", "must not have a document type" },
		{ "<!DOCTYPE vm [<!ENTITY e SYSTEM 'file:///etc/passwd'>]><vm namespace='&e;'/>",
		  "<wherry:vm>: " },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(table); i++) {
		struct wh_domain_note note = { .name_space = "untouched" };
		struct wh_error err = { 0 };

		assert_int_equal(wh_domain_note_parse(&note, table[i].xml, &err), -EINVAL);
		if (!strstr(err.text, table[i].words))
			fail_msg("'%s' does not say '%s'", err.text, table[i].words);
		assert_string_equal(note.name_space, "untouched");
	}
}

/* The monitor. */

static void a_monitor_is_added_behind_what_is_there(void **state)
{
	wh_cleanup(wh_freep) char *xml = read_domain("good");
	wh_cleanup(wh_freep) char *with = NULL;

	(void)state;
	assert_int_equal(wh_domain_xml_monitor(&with, xml, MONITOR, NULL), 0);

	assert_non_null(strstr(with,
	                       "    <qemu:env name=\"QEMU_AUDIO_DRV\" value=\"none\"/>\n"
	                       "    <qemu:arg value=\"-qmp\"/>\n"
	                       "    <qemu:arg value=\"unix:" MONITOR ",server=on,wait=off\"/>\n"
	                       "  </qemu:commandline>\n"
	                       "</domain>\n"));
	assert_non_null(strstr(with, "<title>Orders &amp; invoices</title>"));
}

static void taking_it_away_leaves_what_was_there(void **state)
{
	wh_cleanup(wh_freep) char *xml = read_domain("good");
	wh_cleanup(wh_freep) char *same = NULL, *with = NULL, *without = NULL;

	(void)state;
	assert_int_equal(wh_domain_xml_monitor(&same, xml, NULL, NULL), 0);
	assert_int_equal(wh_domain_xml_monitor(&with, xml, MONITOR, NULL), 0);
	assert_int_equal(wh_domain_xml_monitor(&without, with, NULL, NULL), 0);

	assert_string_equal(without, same);
}

static void each_migration_replaces_the_monitor_of_the_last(void **state)
{
	wh_cleanup(wh_freep) char *xml = read_domain("good");
	wh_cleanup(wh_freep) char *first = NULL, *second = NULL, *third = NULL, *direct = NULL;

	(void)state;
	assert_int_equal(wh_domain_xml_monitor(&first, xml, MONITOR, NULL), 0);
	assert_int_equal(wh_domain_xml_monitor(&second, first, MONITOR_2, NULL), 0);
	assert_int_equal(wh_domain_xml_monitor(&third, second, MONITOR, NULL), 0);
	assert_int_equal(wh_domain_xml_monitor(&direct, xml, MONITOR_2, NULL), 0);

	assert_string_equal(third, first);
	assert_string_equal(second, direct);
	assert_int_equal(count_of(third, "-qmp"), 1);
}

static void a_command_line_of_its_own_goes_with_it(void **state)
{
	static const char xml[] = "<domain type=\"kvm\">\n  <name>a</name>\n</domain>\n";
	wh_cleanup(wh_freep) char *with = NULL, *again = NULL, *without = NULL;

	(void)state;
	assert_int_equal(wh_domain_xml_monitor(&with, xml, MONITOR, NULL), 0);
	assert_int_equal(wh_domain_xml_monitor(&again, with, MONITOR, NULL), 0);
	assert_int_equal(wh_domain_xml_monitor(&without, again, NULL, NULL), 0);

	assert_string_equal(with, "<domain type=\"kvm\">\n  <name>a</name>\n"
	                          "  <qemu:commandline "
	                          "xmlns:qemu=\"http://libvirt.org/schemas/domain/qemu/1.0\">\n"
	                          "    <qemu:arg value=\"-qmp\"/>\n"
	                          "    <qemu:arg value=\"unix:" MONITOR ",server=on,wait=off\"/>\n"
	                          "  </qemu:commandline>\n"
	                          "</domain>\n");
	assert_string_equal(again, with);
	assert_string_equal(without, xml);
}

/* Whatever its prefix is called, and whatever directory the socket was in. */
static void only_monitors_of_ours_are_taken_away(void **state)
{
	static const char xml[] =
		"<domain xmlns:q='http://libvirt.org/schemas/domain/qemu/1.0'>"
		"<q:commandline>"
		"<q:arg value='-qmp'/><q:arg value='unix:/tmp/other,server=on,wait=off'/>"
		"<q:arg value='-qmp'/><q:arg value='unix:/a/wherry-monitor-x,server=on,wait=off'/>"
		"<q:arg value='-chardev'/><q:arg value='unix:/a/wherry-monitor-y'/>"
		"<q:arg value='-qmp'/><q:arg value='unix:/wherry-monitor-y/other'/>"
		"<q:arg value='-qmp'/><q:arg value='unix:/b/wherry-monitor-z'/>"
		"<q:arg value='-qmp'/>"
		"</q:commandline></domain>";
	wh_cleanup(wh_freep) char *without = NULL;

	(void)state;
	assert_int_equal(wh_domain_xml_monitor(&without, xml, NULL, NULL), 0);

	assert_null(strstr(without, "wherry-monitor-x"));
	assert_null(strstr(without, "wherry-monitor-z"));
	assert_non_null(strstr(without, "\"unix:/tmp/other,server=on,wait=off\""));
	assert_non_null(strstr(without, "\"-chardev\"/><q:arg value=\"unix:/a/wherry-monitor-y\""));
	assert_non_null(strstr(without, "\"unix:/wherry-monitor-y/other\""));
	assert_int_equal(count_of(without, "-qmp"), 3);
}

static void a_path_that_is_no_monitors_is_refused(void **state)
{
	static const char long_path[] =
		"/0123456789012345678901234567890123456789012345678901234567890123456789/"
		"01234567890123456789/wherry-monitor-x";
	static const char *const table[] = {
		"",        "wherry-monitor-x", "/run/monitor-x", "/run/wherry-monitor-x,server=off",
		long_path,
	};

	(void)state;
	for (size_t i = 0; i < COUNT(table); i++) {
		struct wh_error err = { 0 };
		char *text = NULL;

		assert_int_equal(wh_domain_xml_monitor(&text, "<domain/>", table[i], &err),
		                 -EINVAL);
		assert_null(text);
		assert_non_null(strstr(err.text, "monitor"));
	}
}

static void what_is_no_domain_is_refused(void **state)
{
	static const char *const table[] = {
		"",
		"domain",
		"<domain>",
		"<network/>",
		"<domain><name>\xff</name></domain>",
		"<domain>&nothing;</domain>",
		"<!DOCTYPE domain SYSTEM 'http://192.0.2.1/d'><domain/>",
		"<!DOCTYPE domain [<!ENTITY a 'aaaa'><!ENTITY b '&a;&a;'>]><domain n='&b;'/>",
	};

	(void)state;
	for (size_t i = 0; i < COUNT(table); i++) {
		struct wh_domain_disks disks = { 0 };
		struct wh_error err = { 0 };
		char *text = NULL;

		assert_int_equal(wh_domain_xml_monitor(&text, table[i], MONITOR, &err), -EINVAL);
		assert_int_equal(wh_domain_xml_disks(&disks, table[i], &err), -EINVAL);
		assert_null(text);
		assert_null(disks.items);
		assert_memory_equal(err.text, "the domain's XML: ", strlen("the domain's XML: "));
		for (const char *c = err.text; *c; c++)
			assert_true(*c >= ' ' && *c <= '~');
	}
}

static void xml_that_is_too_deep_or_too_large_is_refused(void **state)
{
	char *text = calloc(1, WH_DOMAIN_XML_MAX + 2);
	struct wh_error err = { 0 };
	char *ret = NULL;

	(void)state;
	assert_non_null(text);
	memcpy(text, "<domain>", sizeof("<domain>"));
	for (size_t i = 0; i < 300; i++)
		memcpy(text + strlen(text), "<a>", sizeof("<a>"));
	assert_int_equal(wh_domain_xml_monitor(&ret, text, MONITOR, &err), -EINVAL);
	assert_non_null(strstr(err.text, "line 1: "));
	memset(text, ' ', WH_DOMAIN_XML_MAX + 1);
	assert_int_equal(wh_domain_xml_monitor(&ret, text, MONITOR, &err), -EINVAL);
	assert_non_null(strstr(err.text, "it has more than 4194304 bytes"));
	free(text);
}

/* Disks. */

static void disks_are_files_and_devices(void **state)
{
	static const char xml[] =
		"<domain><devices>"
		"<disk type='file' device='disk'><driver cache='none'/><source file='/a'/>"
		"<target dev='vda'/></disk>"
		"<disk type='block'><driver io='native'/><source dev='/dev/sdb'/>"
		"<target dev='vdb'/><shareable/></disk>"
		"<disk type='file' device='cdrom'><source file='/c.iso'/><target dev='sda'/></disk>"
		"<disk type='file' device='cdrom'><target dev='sdb'/><readonly/></disk>"
		"<disk type='network'><source protocol='rbd' name='p/i'/><target dev='vdc'/></disk>"
		"<disk type='file'><driver cache='directsync'/><source file='/e'/>"
		"<target dev='vde'/><readonly/></disk>"
		"</devices></domain>";
	wh_cleanup(wh_domain_disks_done) struct wh_domain_disks disks = { 0 };

	(void)state;
	assert_int_equal(wh_domain_xml_disks(&disks, xml, NULL), 0);

	assert_int_equal(disks.count, 4);
	assert_string_equal(disks.items[0].target, "vda");
	assert_string_equal(disks.items[0].source, "/a");
	assert_true(disks.items[0].direct && !disks.items[0].readonly);
	assert_string_equal(disks.items[1].source, "/dev/sdb");
	assert_true(disks.items[1].direct && disks.items[1].shareable);
	assert_string_equal(disks.items[2].source, "/c.iso");
	assert_true(disks.items[2].readonly && !disks.items[2].direct);
	assert_true(disks.items[3].readonly && disks.items[3].direct);
}

static void what_a_host_must_have_is_read(void **state)
{
	wh_cleanup(wh_domain_needs_done) struct wh_domain_needs needs = { 0 };
	wh_cleanup(wh_domain_needs_done) struct wh_domain_needs none = { 0 };
	wh_cleanup(wh_freep) char *xml = read_domain("good");

	(void)state;
	assert_int_equal(wh_domain_xml_needs(&needs, xml, NULL), 0);
	assert_string_equal(needs.emulator, "/usr/bin/qemu-system-x86_64");
	assert_string_equal(needs.machine, "pc-q35-7.2");
	assert_string_equal(needs.arch, "x86_64");
	assert_string_equal(needs.type, "kvm");
	assert_memory_equal(needs.cpu, "<cpu mode=\"custom\"", strlen("<cpu mode=\"custom\""));
	assert_true(needs.memory_bytes == 8ull << 30);
	assert_true(needs.files && !needs.huge_pages);

	assert_int_equal(wh_domain_xml_needs(&none, "<domain/>", NULL), 0);
	assert_string_equal(none.emulator, "");
	assert_string_equal(none.cpu, "");
	assert_true(none.memory_bytes == 0 && !none.files && !none.huge_pages);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_note_says_namespace_and_labels),
		cmocka_unit_test(no_note_says_nothing),
		cmocka_unit_test(a_note_reads_as_it_was_written),
		cmocka_unit_test(a_note_is_written_without_a_prefix),
		cmocka_unit_test(a_bad_note_is_refused_with_its_line),
		cmocka_unit_test(a_monitor_is_added_behind_what_is_there),
		cmocka_unit_test(taking_it_away_leaves_what_was_there),
		cmocka_unit_test(each_migration_replaces_the_monitor_of_the_last),
		cmocka_unit_test(a_command_line_of_its_own_goes_with_it),
		cmocka_unit_test(only_monitors_of_ours_are_taken_away),
		cmocka_unit_test(a_path_that_is_no_monitors_is_refused),
		cmocka_unit_test(what_is_no_domain_is_refused),
		cmocka_unit_test(xml_that_is_too_deep_or_too_large_is_refused),
		cmocka_unit_test(disks_are_files_and_devices),
		cmocka_unit_test(what_a_host_must_have_is_read),
	};

	return cmocka_run_group_tests_name("domain_xml", tests, NULL, NULL);
}
