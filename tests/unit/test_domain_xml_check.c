/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What a domain needs. Each file of tests/domains breaks one rule and no other, but for good.xml, and
 * is valid for libvirt; what the remedy says makes it good.
 */

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

#define NATIVE "engine native"

static const struct broken {
	const char *file;
	const char *rule;
	const char *words;  /* of what is the case */
	const char *remedy; /* what it begins with */
	bool native;        /* engine native is named as a way */
	bool fixable;
	const char *begin; /* not fixable: from here */
	const char *end;   /* to here, and that included, */
	const char *good;  /* this comes in its place */
} table[] = {
	{ "memory-anonymous", "memory-file", "anonymous memory",
	  "<memoryBacking><source type='file'/><access mode='shared'/></memoryBacking>", true, true,
	  NULL, NULL, NULL },
	{ "memory-memfd", "memory-memfd", "is a memfd", "<memoryBacking><source type='file'/>",
	  true, true, NULL, NULL, NULL },
	{ "memory-private", "memory-shared", "NUMA cell 0 is not shared", "<access mode='shared'/>",
	  true, true, NULL, NULL, NULL },
	{ "memory-private-cell", "memory-shared", "NUMA cell 0 is private",
	  "<cell ... memAccess='shared'/>", true, true, NULL, NULL, NULL },
	{ "memory-huge-private", "memory-shared", "not shared", "<access mode='shared'/>", true,
	  true, NULL, NULL, NULL },
	{ "memory-huge-1g", "memory-pages", "huge pages of 1024 MiB",
	  "<hugepages><page size='2048' unit='KiB'/></hugepages>", true, false, "<hugepages>",
	  "</hugepages>", "<hugepages><page size='2048' unit='KiB'/></hugepages>" },
	{ "memory-discard", "memory-discard", "empties its RAM",
	  "<memoryBacking> without <discard/>", true, true, NULL, NULL, NULL },
	{ "memory-dimm-private", "memory-devices", "memory of dimm0 is private",
	  "<memory model='dimm' access='shared'>", true, true, NULL, NULL, NULL },
	{ "memory-nvdimm", "memory-devices", "memory of nvdimm0 is nvdimm",
	  "<memory model='dimm' access='shared'>", true, false, "<memory model='nvdimm'", ">",
	  "<memory model='dimm' access='shared'>" },
	{ "memory-virtio-mem", "memory-devices", "memory of virtiomem0 is virtio-mem",
	  "<memory model='dimm' access='shared'>", true, false, "<memory model='virtio-mem'", ">",
	  "<memory model='dimm' access='shared'>" },
	{ "shmem", "shmem", "shmem 'segment0'", "without this <shmem>", false, false, "<shmem",
	  "</shmem>", "" },
	{ "launch-security", "launch-security", "(sev)", "without <launchSecurity>", false, false,
	  "<launchSecurity", "</launchSecurity>", "" },
	{ "cpu-migratable-off", "cpu-model", "with all features",
	  "<cpu mode='host-passthrough' migratable='on'/>", false, false, "migratable='off'", "'",
	  "migratable='on'" },
	{ "cpu-invtsc", "cpu-invtsc", "invariant TSC", "<feature policy='disable' name='invtsc'/>",
	  false, false, "<feature policy='require' name='invtsc'", "/>",
	  "<feature policy='disable' name='invtsc'/>" },
	{ "machine-without-version", "machine", "machine type 'q35' has no version",
	  "<type arch='x86_64' machine='pc-q35-7.2'>hvm</type>", false, false,
	  "<type arch=", "</type>", "<type arch='x86_64' machine='pc-q35-7.2'>hvm</type>" },
	{ "disk-nvme", "disk-backends", "disk vda (nvme)",
	  "<disk type='block'><source dev='/dev/...'/>", true, false, "<disk type='nvme'",
	  "</disk>", "<disk type='block'><source dev='/dev/...'/></disk>" },
	{ "disk-vhostuser", "disk-backends", "disk vda (vhostuser)",
	  "<disk type='block'><source dev='/dev/...'/>", true, false, "<disk type='vhostuser'",
	  "</disk>", "<disk type='block'><source dev='/dev/...'/></disk>" },
	{ "disk-transient", "disks-transient", "disk vda", "<disk> without <transient/>", false,
	  false, "<transient", "/>", "" },
	{ "hostdev-pci", "hostdev", "hostdev0 is a device of this host (VFIO, pci)",
	  "without this <hostdev>", true, false, "<hostdev", "</hostdev>", "" },
	{ "hostdev-mdev", "hostdev", "hostdev0 is a device of this host (VFIO, mdev)",
	  "without this <hostdev>", true, false, "<hostdev", "</hostdev>", "" },
	{ "hostdev-usb", "hostdev", "USB device hostdev0", "without this <hostdev>", true, false,
	  "<hostdev", "</hostdev>", "" },
	{ "hostdev-scsi", "hostdev", "hostdev0 is a device of this host (scsi)",
	  "without this <hostdev>", false, false, "<hostdev", "</hostdev>", "" },
	{ "interface-hostdev", "hostdev", "interface net0",
	  "<interface type='bridge'><source bridge='...'/>", true, false,
	  "<interface type='hostdev'", "</interface>",
	  "<interface type='bridge'><source bridge='...'/></interface>" },
	{ "interface-vhostuser", "interfaces", "interface vhost-db1 (vhostuser)",
	  "<interface type='bridge'><source bridge='...'/>", true, false,
	  "<interface type='vhostuser'", "</interface>",
	  "<interface type='bridge'><source bridge='...'/></interface>" },
	{ "interface-vdpa", "interfaces", "interface net0 (vdpa)",
	  "<interface type='bridge'><source bridge='...'/>", true, false, "<interface type='vdpa'",
	  "</interface>", "<interface type='bridge'><source bridge='...'/></interface>" },
	{ "filesystem-virtiofs", "filesystems", "virtiofsd, which serves 'share'",
	  "without this <filesystem>", true, false, "<filesystem", "</filesystem>", "" },
	{ "filesystem-9p", "filesystems", "'share' is a directory of this host",
	  "without this <filesystem>", false, false, "<filesystem", "</filesystem>", "" },
	{ "video-accel3d", "video", "video video0 draws with this host's GPU",
	  "<model type='virtio'><acceleration accel3d='no'/></model>", false, false,
	  "<acceleration accel3d='yes'", "/>", "<acceleration accel3d='no'/>" },
	{ "tpm-passthrough", "tpm", "its TPM is this host's",
	  "<tpm><backend type='emulator' version='2.0'/></tpm>", false, false,
	  "<backend type='passthrough'>", "</backend>",
	  "<backend type='emulator' version='2.0'/>" },
	{ "commandline-vfio", "commandline", "'vfio-pci,host=3b:00.0'", "without this <qemu:arg>",
	  true, false, "<qemu:arg value='vfio-pci", "/>", "" },
	{ "type-xen", "hypervisor", "its type is 'xen'", "<domain type='kvm'>", false, false,
	  "<domain type='xen'", "'", "<domain type='kvm'" },
};

static char *read_domain(const char *name)
{
	char path[512];
	char *text = NULL;
	size_t len;

	(void)snprintf(path, sizeof(path), "%s/%s.xml", WH_TEST_DOMAINS, name);
	assert_int_equal(wh_file_read(path, WH_DOMAIN_XML_MAX, &text, &len, NULL), 0);
	return text;
}

/* The one finding that is not good; NULL if all are. */
static const struct wh_finding *only_bad(const struct wh_findings *findings)
{
	const struct wh_finding *bad = NULL;

	for (size_t i = 0; i < findings->count; i++) {
		const struct wh_finding *f = &findings->items[i];

		if (f->good)
			continue;
		if (bad)
			fail_msg("%s: %s; and %s: %s", bad->rule, bad->is.text, f->rule,
			         f->is.text);
		bad = f;
	}
	return bad;
}

static void expect_good(const char *name, const char *xml)
{
	wh_cleanup(wh_findings_done) struct wh_findings findings = { 0 };
	const struct wh_finding *bad;

	assert_int_equal(wh_domain_xml_check(&findings, xml, NULL), 0);
	bad = only_bad(&findings);
	if (bad)
		fail_msg("%s: %s: %s", name, bad->rule, bad->is.text);
}

/* @xml with what is from @b->begin to @b->end replaced by what is good. */
static char *apply(const struct broken *b, const char *xml)
{
	const char *begin = strstr(xml, b->begin);
	const char *end = begin ? strstr(begin + strlen(b->begin), b->end) : NULL;
	char *text = NULL;

	/* Where the end is a quote, @begin may have it already. */
	if (begin && !strcmp(b->end, "'"))
		end = begin + strlen(b->begin) - 1;
	assert_non_null(end);
	assert_true(asprintf(&text, "%.*s%s%s", (int)(begin - xml), xml, b->good,
	                     end + strlen(b->end)) > 0);
	return text;
}

static void a_good_domain_has_nothing_to_be_done(void **state)
{
	wh_cleanup(wh_findings_done) struct wh_findings findings = { 0 };
	wh_cleanup(wh_freep) char *xml = read_domain("good");
	size_t i = 0;

	(void)state;
	expect_good("good", xml);
	assert_int_equal(wh_domain_xml_check(&findings, xml, NULL), 0);
	for (; wh_domain_xml_rule(i); i++) {
		assert_true(i < findings.count);
		assert_string_equal(findings.items[i].rule, wh_domain_xml_rule(i));
		assert_true(*findings.items[i].is.text);
		assert_null(findings.items[i].remedy);
		assert_false(findings.items[i].fixable);
	}
	assert_int_equal(findings.count, i);
}

static void what_breaks_a_rule_is_named_with_its_remedy(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(table); i++) {
		wh_cleanup(wh_findings_done) struct wh_findings findings = { 0 };
		wh_cleanup(wh_freep) char *xml = read_domain(table[i].file);
		const struct wh_finding *bad;

		assert_int_equal(wh_domain_xml_check(&findings, xml, NULL), 0);
		bad = only_bad(&findings);
		if (!bad || strcmp(bad->rule, table[i].rule) != 0 ||
		    !strstr(bad->is.text, table[i].words) ||
		    strncmp(bad->remedy, table[i].remedy, strlen(table[i].remedy)) != 0 ||
		    (strstr(bad->is.text, NATIVE) != NULL) != table[i].native ||
		    bad->fixable != table[i].fixable)
			fail_msg("%s: %s: %s: %s", table[i].file, bad ? bad->rule : "",
			         bad ? bad->is.text : "", bad ? bad->remedy : "");
	}
}

static void the_remedy_makes_it_good(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(table); i++) {
		wh_cleanup(wh_freep) char *xml = read_domain(table[i].file);
		wh_cleanup(wh_freep) char *text = NULL;

		if (table[i].fixable)
			assert_int_equal(wh_domain_xml_fix(&text, xml, NULL), 0);
		else
			text = apply(&table[i], xml);
		expect_good(table[i].file, text);
	}
}

static void every_rule_can_be_broken(void **state)
{
	static const char *const only_told[] = { "disks-shared", "disks-direct" };

	(void)state;
	for (size_t i = 0; wh_domain_xml_rule(i); i++) {
		const char *rule = wh_domain_xml_rule(i);
		bool found = !strcmp(rule, only_told[0]) || !strcmp(rule, only_told[1]);

		for (size_t k = 0; k < COUNT(table); k++)
			found |= !strcmp(table[k].rule, rule);
		if (!found)
			fail_msg("no domain breaks %s", rule);
	}
}

static void what_is_good_is_not_changed(void **state)
{
	wh_cleanup(wh_freep) char *xml = read_domain("good");
	wh_cleanup(wh_freep) char *same = NULL, *fixed = NULL, *again = NULL;

	(void)state;
	assert_int_equal(wh_domain_xml_monitor(&same, xml, NULL, NULL), 0);
	assert_int_equal(wh_domain_xml_fix(&fixed, xml, NULL), 0);
	assert_int_equal(wh_domain_xml_fix(&again, fixed, NULL), 0);

	assert_string_equal(fixed, same);
	assert_string_equal(again, same);
}

static void what_is_fixed_stands_where_libvirt_puts_it(void **state)
{
	wh_cleanup(wh_freep) char *xml = read_domain("memory-anonymous");
	wh_cleanup(wh_freep) char *fixed = NULL;

	(void)state;
	assert_int_equal(wh_domain_xml_fix(&fixed, xml, NULL), 0);

	assert_non_null(strstr(fixed, "  <currentMemory unit=\"KiB\">8388608</currentMemory>\n"
	                              "  <memoryBacking>\n"
	                              "    <source type=\"file\"/>\n"
	                              "    <access mode=\"shared\"/>\n"
	                              "  </memoryBacking>\n"
	                              "  <vcpu placement=\"static\">4</vcpu>\n"));
}

static void notes_are_told_and_do_not_count(void **state)
{
	static const char xml[] =
		"<domain type='kvm'><os><type machine='pc-q35-9.0'>hvm</type></os>"
		"<memoryBacking><hugepages/><access mode='shared'/></memoryBacking>"
		"<cpu mode='host-passthrough'/><devices>"
		"<disk type='block'><driver cache='none' io='native'/><source dev='/dev/sdb'/>"
		"<target dev='vda'/></disk></devices></domain>";
	wh_cleanup(wh_findings_done) struct wh_findings findings = { 0 };
	char notes[256] = "";
	size_t len = 0;

	(void)state;
	expect_good("notes", xml);
	assert_int_equal(wh_domain_xml_check(&findings, xml, NULL), 0);
	for (size_t i = 0; i < findings.count; i++)
		if (findings.items[i].note)
			len += (size_t)snprintf(notes + len, sizeof(notes) - len, "%s ",
			                        findings.items[i].rule);
	assert_string_equal(notes, "cpu-model disks-shared disks-direct ");
}

static void what_becomes_of_a_disk_that_is_not_shared_is_told(void **state)
{
	static const struct {
		const char *disk;
		const char *words;
	} disks[] = {
		{ "type='file'><driver type='raw'/><source file='/a'/>", "this one stays" },
		{ "type='file'><source file='/a'/>", "this one stays" },
		{ "type='file'><driver type='qcow2'/><source file='/a'/>", "this is qcow2" },
		{ "type='block'><driver type='raw'/><source dev='/a'/>", "must see it, too" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(disks); i++) {
		wh_cleanup(wh_findings_done) struct wh_findings findings = { 0 };
		const char *said = "";
		char xml[256];

		(void)snprintf(xml, sizeof(xml),
		               "<domain><devices><disk %s<target dev='vda'/></disk></devices>"
		               "</domain>",
		               disks[i].disk);
		assert_int_equal(wh_domain_xml_check(&findings, xml, NULL), 0);
		for (size_t k = 0; k < findings.count; k++)
			if (!strcmp(findings.items[k].rule, "disks-shared"))
				said = findings.items[k].is.text;
		assert_non_null(strstr(said, "disk vda is /a"));
		assert_non_null(strstr(said, disks[i].words));
	}
}

static void several_of_a_rule_are_all_named(void **state)
{
	static const char xml[] =
		"<domain type='kvm'><devices><hostdev type='pci'/><hostdev type='usb'/>"
		"<interface type='hostdev'><teaming type='transient'/></interface>"
		"</devices></domain>";
	wh_cleanup(wh_findings_done) struct wh_findings findings = { 0 };
	size_t count = 0;

	(void)state;
	assert_int_equal(wh_domain_xml_check(&findings, xml, NULL), 0);
	for (size_t i = 0; i < findings.count; i++)
		count += !strcmp(findings.items[i].rule, "hostdev") && !findings.items[i].good;
	assert_int_equal(count, 3);
}

static void what_is_no_domain_is_not_checked(void **state)
{
	static const char *const bad[] = { "", "<domain>", "<vm/>", "<!DOCTYPE domain><domain/>" };

	(void)state;
	for (size_t i = 0; i < COUNT(bad); i++) {
		struct wh_findings findings = { 0 };
		struct wh_error err = { 0 };
		char *text = NULL;

		assert_int_equal(wh_domain_xml_check(&findings, bad[i], &err), -EINVAL);
		assert_int_equal(wh_domain_xml_fix(&text, bad[i], &err), -EINVAL);
		assert_null(findings.items);
		assert_null(text);
		assert_memory_equal(err.text, "the domain's XML: ", strlen("the domain's XML: "));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_good_domain_has_nothing_to_be_done),
		cmocka_unit_test(what_breaks_a_rule_is_named_with_its_remedy),
		cmocka_unit_test(the_remedy_makes_it_good),
		cmocka_unit_test(every_rule_can_be_broken),
		cmocka_unit_test(what_is_good_is_not_changed),
		cmocka_unit_test(what_is_fixed_stands_where_libvirt_puts_it),
		cmocka_unit_test(notes_are_told_and_do_not_count),
		cmocka_unit_test(what_becomes_of_a_disk_that_is_not_shared_is_told),
		cmocka_unit_test(several_of_a_rule_are_all_named),
		cmocka_unit_test(what_is_no_domain_is_not_checked),
	};

	return cmocka_run_group_tests_name("domain_xml_check", tests, NULL, NULL);
}
