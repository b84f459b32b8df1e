/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Domain XML: wherry's monitor, and disks. The note is in domain_xml_note.c, what a domain needs in
 * domain_xml_check.c, and how it gets it in domain_xml_fix.c; the tree they share in domain_xml_tree.c.
 *
 * A monitor is two arguments of QEMU's command line, which libvirt passes on as they are:
 *
 *	<qemu:commandline>
 *	  <qemu:arg value='-qmp'/>
 *	  <qemu:arg value='unix:/var/lib/libvirt/qemu/wherry-monitor-ID,server=on,wait=off'/>
 *	</qemu:commandline>
 */

#include "domain_xml.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "domain_xml_tree.h"

#include "wherry/assert.h"

#define QEMU_NAMESPACE "http://libvirt.org/schemas/domain/qemu/1.0"

/* The monitor. */

static xmlNode *next_arg(xmlNode *node)
{
	while (node && !wh_xml_is(node, QEMU_NAMESPACE, "arg"))
		node = node->next;
	return node;
}

static xmlNode *find_commandline(const xmlNode *domain)
{
	for (xmlNode *node = wh_xml_first(domain, NULL); node; node = wh_xml_next(node, NULL))
		if (wh_xml_is(node, QEMU_NAMESPACE, "commandline"))
			return node;
	return NULL;
}

/* Whether the last part of the path in "unix:PATH,..." begins as those of our sockets. */
static bool is_our_socket(const char *value)
{
	static const char prefix[] = WH_DOMAIN_MONITOR_PREFIX;
	const char *name = value;

	if (strncmp(value, "unix:", strlen("unix:")) != 0)
		return false;
	for (const char *c = value; *c && *c != ','; c++)
		if (*c == '/' || *c == ':')
			name = c + 1;
	return !strncmp(name, prefix, strlen(prefix));
}

static void remove_monitors(xmlNode *commandline)
{
	xmlNode *arg = next_arg(commandline->children);

	/* This ends: each turn goes on behind what it has looked at, or takes something out. */
	while (arg) {
		xmlNode *value = next_arg(arg->next);
		xmlNode *next = value;

		if (value && wh_xml_has(arg, "value", "-qmp") &&
		    is_our_socket(wh_xml_attr(value, "value"))) {
			wh_xml_remove(arg);
			wh_xml_remove(value);
			next = next_arg(commandline->children); /* others may be neighbours now */
		}
		arg = next;
	}
}

static void add_monitor(xmlNode *commandline, const char *path)
{
	char value[sizeof(struct sockaddr_un) + sizeof("unix:,server=on,wait=off")];

	(void)snprintf(value, sizeof(value), "unix:%s,server=on,wait=off", path);
	wh_xml_set(wh_xml_append(commandline, commandline->ns, "arg"), "value", "-qmp");
	wh_xml_set(wh_xml_append(commandline, commandline->ns, "arg"), "value", value);
}

static xmlNode *make_commandline(xmlNode *domain)
{
	xmlNode *node = wh_xml_append(domain, NULL, "commandline");
	xmlNs *ns = xmlSearchNsByHref(domain->doc, domain, BAD_CAST QEMU_NAMESPACE);

	if (!ns)
		ns = xmlNewNs(node, BAD_CAST QEMU_NAMESPACE, BAD_CAST "qemu");
	wh_assert(ns);
	xmlSetNs(node, ns);
	return node;
}

static int check_path(const char *path, struct wh_error *err)
{
	char value[sizeof(struct sockaddr_un) + sizeof("unix:")];

	if (*path != '/' || strchr(path, ',') ||
	    strlen(path) >= sizeof(((struct sockaddr_un *)NULL)->sun_path))
		return wh_fail(err, -EINVAL,
		               "'%.120s' is no path for a monitor: it must begin with '/', have no "
		               "',', and fit into a socket's address",
		               path);
	(void)snprintf(value, sizeof(value), "unix:%s", path);
	return is_our_socket(value)
	               ? 0
	               : wh_fail(err, -EINVAL, "a monitor's socket must be called %s...",
	                         WH_DOMAIN_MONITOR_PREFIX);
}

static int parse_domain(xmlDoc **ret, const char *xml, struct wh_error *err)
{
	int r = wh_xml_parse(ret, xml, "domain", err);

	return r < 0 ? wh_context(err, r, "the domain's XML") : 0;
}

int wh_domain_xml_monitor(char **ret, const char *xml, const char *path, struct wh_error *err)
{
	wh_cleanup(wh_xml_freep) xmlDoc *doc = NULL;
	xmlNode *commandline, *domain;
	int r = path ? check_path(path, err) : 0;

	if (r == 0)
		r = parse_domain(&doc, xml, err);
	if (r < 0)
		return r;
	domain = xmlDocGetRootElement(doc);
	commandline = find_commandline(domain);
	if (commandline)
		remove_monitors(commandline);
	if (path && !commandline)
		commandline = make_commandline(domain);
	if (path)
		add_monitor(commandline, path);
	else if (commandline && !xmlFirstElementChild(commandline))
		wh_xml_remove(commandline);
	*ret = wh_xml_format(doc);
	return 0;
}

/* Disks. */

static void read_disk(struct wh_domain_disk *disk, const xmlNode *node, const char *source)
{
	const xmlNode *driver = wh_xml_first(node, "driver");

	(void)snprintf(disk->target, sizeof(disk->target), "%s",
	               wh_xml_attr(wh_xml_first(node, "target"), "dev"));
	disk->source = strdup(source);
	wh_assert(disk->source);
	disk->readonly = wh_xml_first(node, "readonly") || wh_xml_has(node, "device", "cdrom");
	disk->shareable = wh_xml_first(node, "shareable") != NULL;
	(void)snprintf(disk->format, sizeof(disk->format), "%s", wh_xml_attr(driver, "type"));
	disk->direct = wh_xml_has(driver, "cache", "none") ||
	               wh_xml_has(driver, "cache", "directsync") ||
	               wh_xml_has(driver, "io", "native");
}

int wh_domain_xml_disks(struct wh_domain_disks *ret, const char *xml, struct wh_error *err)
{
	wh_cleanup(wh_xml_freep) xmlDoc *doc = NULL;
	struct wh_domain_disks disks = { 0 };
	const xmlNode *devices;
	size_t count = 0;
	int r = parse_domain(&doc, xml, err);

	if (r < 0)
		return r;
	devices = wh_xml_first(xmlDocGetRootElement(doc), "devices");
	for (xmlNode *n = wh_xml_first(devices, "disk"); n; n = wh_xml_next(n, "disk"))
		count++;
	disks.items = calloc(count + 1, sizeof(*disks.items));
	wh_assert(disks.items);
	for (xmlNode *n = wh_xml_first(devices, "disk"); n; n = wh_xml_next(n, "disk")) {
		const xmlNode *source = wh_xml_first(n, "source");
		const char *path =
			wh_xml_attr(source, wh_xml_has(n, "type", "block") ? "dev" : "file");

		if (*path)
			read_disk(&disks.items[disks.count++], n, path);
	}
	*ret = disks;
	return 0;
}

void wh_domain_disks_done(struct wh_domain_disks *disks)
{
	for (size_t i = 0; i < disks->count; i++)
		free(disks->items[i].source);
	free(disks->items);
	*disks = (struct wh_domain_disks){ 0 };
}

/* What a host must have. */

static const char *text_of(const xmlNode *node)
{
	return node && node->children && node->children->content
	               ? (const char *)node->children->content
	               : "";
}

/* libvirt prints memory in KiB, whatever it was given in. */
static uint64_t memory_of(const xmlNode *domain)
{
	const xmlNode *memory = wh_xml_first(domain, "memory");
	const char *unit = wh_xml_attr(memory, "unit");

	if (*unit && strcmp(unit, "KiB") != 0)
		return 0;
	return strtoull(text_of(memory), NULL, 10) * 1024;
}

static void copy_word(char ret[WH_NAME_MAX], const xmlNode *node, const char *name)
{
	(void)snprintf(ret, WH_NAME_MAX, "%s", wh_xml_attr(node, name));
}

/* As domain_xml_memory.c says. */
static bool is_in_files(const xmlNode *backing)
{
	const xmlNode *source = wh_xml_first(backing, "source");

	return wh_xml_has(source, "type", "file") ||
	       (*wh_xml_attr(wh_xml_first(backing, "access"), "mode") &&
	        !wh_xml_has(source, "type", "memfd"));
}

static void read_needs(struct wh_domain_needs *needs, const xmlNode *domain)
{
	const xmlNode *backing = wh_xml_first(domain, "memoryBacking");
	const xmlNode *devices = wh_xml_first(domain, "devices");
	const xmlNode *type = wh_xml_first(wh_xml_first(domain, "os"), "type");

	needs->emulator = strdup(text_of(wh_xml_first(devices, "emulator")));
	needs->cpu = wh_xml_format_node(wh_xml_first(domain, "cpu"));
	wh_assert(needs->emulator);
	copy_word(needs->arch, type, "arch");
	copy_word(needs->machine, type, "machine");
	copy_word(needs->type, domain, "type");
	needs->memory_bytes = memory_of(domain);
	needs->huge_pages = wh_xml_first(backing, "hugepages") != NULL;
	needs->files = !needs->huge_pages && is_in_files(backing);
}

int wh_domain_xml_needs(struct wh_domain_needs *ret, const char *xml, struct wh_error *err)
{
	wh_cleanup(wh_xml_freep) xmlDoc *doc = NULL;
	struct wh_domain_needs needs = { 0 };
	int r = parse_domain(&doc, xml, err);

	if (r < 0)
		return r;
	read_needs(&needs, xmlDocGetRootElement(doc));
	*ret = needs;
	return 0;
}

void wh_domain_needs_done(struct wh_domain_needs *needs)
{
	free(needs->emulator);
	free(needs->cpu);
	*needs = (struct wh_domain_needs){ 0 };
}
