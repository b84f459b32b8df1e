/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Domain XML: what a domain needs. A table of rules; each looks at the domain once, and says at least
 * one thing, but for those that have nothing to look at after an earlier one has failed.
 *
 * What libvirt and QEMU do with which XML was read in their sources (libvirt 9 to 11, QEMU 7.2 to 10).
 */

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "domain_xml_rules.h"

#include "wherry/assert.h"

#define QEMU_NAMESPACE "http://libvirt.org/schemas/domain/qemu/1.0"

/* For rules. */

static struct wh_finding *add(struct wh_check *check, const char *fmt, va_list args)
	wh_printf(2, 0);

static struct wh_finding *add(struct wh_check *check, const char *fmt, va_list args)
{
	struct wh_findings *all = check->findings;
	struct wh_finding *finding;

	all->items = reallocarray(all->items, all->count + 1, sizeof(*all->items));
	wh_assert(all->items);
	finding = &all->items[all->count++];
	*finding = (struct wh_finding){ .rule = check->rule };
	(void)vsnprintf(finding->is.text, sizeof(finding->is.text), fmt, args);
	return finding;
}

void wh_check_good(struct wh_check *check, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	add(check, fmt, args)->good = true;
	va_end(args);
}

void wh_check_note(struct wh_check *check, const char *fmt, ...)
{
	struct wh_finding *finding;
	va_list args;

	va_start(args, fmt);
	finding = add(check, fmt, args);
	va_end(args);
	finding->good = finding->note = true;
}

static const char *about_native(enum wh_native native)
{
	switch (native) {
	case WH_NATIVE_NO:
		return "";
	case WH_NATIVE_MAY:
		return " (engine native may move it, if what is behind the device can migrate)";
	case WH_NATIVE_CAN:
		return " (engine native can move it)";
	}
	return "";
}

struct wh_finding *wh_check_bad(struct wh_check *check, enum wh_native native, const char *remedy,
                                const char *fmt, ...)
{
	struct wh_finding *finding;
	va_list args;
	size_t used;

	va_start(args, fmt);
	finding = add(check, fmt, args);
	va_end(args);
	used = strlen(finding->is.text);
	(void)snprintf(finding->is.text + used, sizeof(finding->is.text) - used, "%s",
	               about_native(native));
	finding->remedy = strdup(remedy);
	wh_assert(finding->remedy);
	return finding;
}

bool wh_check_failed(const struct wh_check *check)
{
	const struct wh_findings *all = check->findings;

	for (size_t i = all->count; i > 0 && all->items[i - 1].rule == check->rule; i--)
		if (!all->items[i - 1].good)
			return true;
	return false;
}

struct wh_check_word wh_check_word(const char *text)
{
	struct wh_check_word word;

	(void)snprintf(word.text, sizeof(word.text), "%s", text);
	for (char *c = word.text; *c; c++)
		if (*c < ' ' || *c > '~')
			*c = '?';
	return word;
}

struct wh_check_word wh_check_device(const xmlNode *device)
{
	const char *alias = wh_xml_attr(wh_xml_first(device, "alias"), "name");
	const xmlNode *target = wh_xml_first(device, "target");
	const char *dev = wh_xml_attr(target, *wh_xml_attr(target, "dev") ? "dev" : "dir");

	if (!*alias && !*dev)
		return wh_check_word((const char *)device->name);
	return wh_check_word(*dev ? dev : alias);
}

/* Rules about the domain as a whole. */

static void hypervisor(struct wh_check *check)
{
	struct wh_check_word type = wh_check_word(wh_xml_attr(check->domain, "type"));

	if (!strcmp(type.text, "kvm") || !strcmp(type.text, "qemu"))
		wh_check_good(check, "it runs in QEMU");
	else
		(void)wh_check_bad(check, WH_NATIVE_NO, "<domain type='kvm'>",
		                   "its type is '%s': only QEMU guests can be moved", type.text);
}

static void launch_security(struct wh_check *check)
{
	const xmlNode *node = wh_xml_first(check->domain, "launchSecurity");
	struct wh_check_word type = wh_check_word(wh_xml_attr(node, "type"));

	if (!node)
		wh_check_good(check, "its memory is not encrypted against this host");
	else
		(void)wh_check_bad(check, WH_NATIVE_NO, "without <launchSecurity>",
		                   "its memory is protected against this host (%s): nobody but the "
		                   "processor can read it",
		                   type.text);
}

static void cpu_model(struct wh_check *check)
{
	const xmlNode *cpu = wh_xml_first(check->domain, "cpu");

	if (!wh_xml_has(cpu, "mode", "host-passthrough") && !wh_xml_has(cpu, "mode", "maximum"))
		wh_check_good(check, "its CPU is a model that other hosts can have");
	else if (wh_xml_has(cpu, "migratable", "off"))
		(void)wh_check_bad(check, WH_NATIVE_NO,
		                   "<cpu mode='host-passthrough' migratable='on'/>",
		                   "its CPU is this host's with all features, also those that QEMU "
		                   "cannot move, such as an invariant TSC");
	else
		wh_check_note(check,
		              "its CPU is this host's: the other host must have the same one");
}

static bool has_tsc_frequency(const struct wh_check *check)
{
	const xmlNode *clock = wh_xml_first(check->domain, "clock");

	for (xmlNode *n = wh_xml_first(clock, "timer"); n; n = wh_xml_next(n, "timer"))
		if (wh_xml_has(n, "name", "tsc") && *wh_xml_attr(n, "frequency"))
			return true;
	return false;
}

static void cpu_invtsc(struct wh_check *check)
{
	const xmlNode *cpu = wh_xml_first(check->domain, "cpu");
	bool required = false;

	for (xmlNode *n = wh_xml_first(cpu, "feature"); n; n = wh_xml_next(n, "feature"))
		if (wh_xml_has(n, "name", "invtsc") &&
		    (wh_xml_has(n, "policy", "require") || wh_xml_has(n, "policy", "force")))
			required = true;
	if (required && !has_tsc_frequency(check))
		(void)wh_check_bad(
			check, WH_NATIVE_NO, "<feature policy='disable' name='invtsc'/>",
			"its CPU has an invariant TSC without a fixed frequency, which QEMU "
			"does not move");
	else
		wh_check_good(check, "its clock can go on at another host");
}

/* Short names stand for the newest machine of whatever QEMU there is; and what one with a version is. */
static const struct {
	const char *name;
	const char *versioned;
} short_machines[] = {
	{ "", "pc-q35-7.2" },         { "q35", "pc-q35-7.2" },
	{ "pc", "pc-i440fx-7.2" },    { "virt", "virt-7.2" },
	{ "pseries", "pseries-7.2" }, { "s390-ccw-virtio", "s390-ccw-virtio-7.2" },
};

static void machine(struct wh_check *check)
{
	const xmlNode *type = wh_xml_first(wh_xml_first(check->domain, "os"), "type");
	struct wh_check_word name = wh_check_word(wh_xml_attr(type, "machine"));
	char remedy[WH_ERROR_TEXT_MAX];

	for (size_t i = 0; i < sizeof(short_machines) / sizeof(*short_machines); i++) {
		if (strcmp(name.text, short_machines[i].name) != 0)
			continue;
		(void)snprintf(remedy, sizeof(remedy), "<type arch='%s' machine='%s'>hvm</type>",
		               wh_check_word(wh_xml_attr(type, "arch")).text,
		               short_machines[i].versioned);
		(void)wh_check_bad(check, WH_NATIVE_NO, remedy,
		                   "its machine type '%s' has no version: another QEMU would make "
		                   "another machine of it; take one that both hosts have",
		                   name.text);
		return;
	}
	wh_check_good(check, "its machine is %s, whatever QEMU runs it", name.text);
}

/* What is passed to QEMU behind libvirt's back, and would be refused if it was not. */
static void commandline(struct wh_check *check)
{
	static const char *const words[] = {
		"vfio-",   "vhost-user",         "vhost-vdpa",
		"ivshmem", "memory-backend-ram", "memory-backend-memfd"
	};

	for (xmlNode *n = wh_xml_first(check->domain, NULL); n; n = wh_xml_next(n, NULL)) {
		if (!wh_xml_is(n, QEMU_NAMESPACE, "commandline"))
			continue;
		for (xmlNode *arg = wh_xml_first(n, NULL); arg; arg = wh_xml_next(arg, NULL))
			for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++)
				if (strstr(wh_xml_attr(arg, "value"), words[i]))
					(void)wh_check_bad(
						check, WH_NATIVE_MAY, "without this <qemu:arg>",
						"QEMU is given '%s', which makes or writes memory "
						"unseen by wherry",
						wh_check_word(wh_xml_attr(arg, "value")).text);
	}
	if (!wh_check_failed(check))
		wh_check_good(check, "QEMU is given nothing else that uses its memory");
}

/* clang-format off */
static const struct {
	const char *name;
	void (*look)(struct wh_check *check);
} rules[] = {
	{ "hypervisor", hypervisor },
	{ "memory-file", wh_rule_memory_file },
	{ "memory-memfd", wh_rule_memory_memfd },
	{ "memory-shared", wh_rule_memory_shared },
	{ "memory-pages", wh_rule_memory_pages },
	{ "memory-devices", wh_rule_memory_devices },
	{ "memory-discard", wh_rule_memory_discard },
	{ "shmem", wh_rule_shmem },
	{ "launch-security", launch_security },
	{ "cpu-model", cpu_model },
	{ "cpu-invtsc", cpu_invtsc },
	{ "machine", machine },
	{ "disk-backends", wh_rule_disk_backends },
	{ "disks-transient", wh_rule_disks_transient },
	{ "disks-shared", wh_rule_disks_shared },
	{ "disks-direct", wh_rule_disks_direct },
	{ "hostdev", wh_rule_hostdev },
	{ "interfaces", wh_rule_interfaces },
	{ "filesystems", wh_rule_filesystems },
	{ "video", wh_rule_video },
	{ "tpm", wh_rule_tpm },
	{ "commandline", commandline },
};
/* clang-format on */

#define RULES (sizeof(rules) / sizeof(*rules))

const char *wh_domain_xml_rule(size_t i)
{
	return i < RULES ? rules[i].name : NULL;
}

int wh_domain_xml_check(struct wh_findings *ret, const char *xml, struct wh_error *err)
{
	wh_cleanup(wh_xml_freep) xmlDoc *doc = NULL;
	struct wh_findings findings = { 0 };
	struct wh_check check = { .findings = &findings };
	int r = wh_xml_parse(&doc, xml, "domain", err);

	if (r < 0)
		return wh_context(err, r, "the domain's XML");
	check.domain = xmlDocGetRootElement(doc);
	check.devices = wh_xml_first(check.domain, "devices");
	for (size_t i = 0; i < RULES; i++) {
		check.rule = rules[i].name;
		rules[i].look(&check);
	}
	*ret = findings;
	return 0;
}

void wh_findings_done(struct wh_findings *findings)
{
	for (size_t i = 0; i < findings->count; i++)
		free(findings->items[i].remedy);
	free(findings->items);
	*findings = (struct wh_findings){ 0 };
}
