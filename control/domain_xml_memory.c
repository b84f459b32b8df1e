/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Domain XML: rules about memory.
 *
 * libvirt gives QEMU a memory-backend-memfd where the source is memfd; a memory-backend-file where
 * there are huge pages, the source is a file, or it is said who may access it; and a
 * memory-backend-ram else. Access is what the device says, or else its cell, or else <memoryBacking>.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "domain_xml_rules.h"

#define KIB 1024ull

static const char *const remedy_file = "<memoryBacking><source type='file'/>"
				       "<access mode='shared'/></memoryBacking>";
static const char *const remedy_shared = "<access mode='shared'/>";

const xmlNode *wh_memory_backing(const xmlNode *domain)
{
	return wh_xml_first(domain, "memoryBacking");
}

const xmlNode *wh_memory_cells(const xmlNode *domain)
{
	return wh_xml_first(wh_xml_first(domain, "cpu"), "numa");
}

static const char *source_of(const xmlNode *domain)
{
	return wh_xml_attr(wh_xml_first(wh_memory_backing(domain), "source"), "type");
}

static const char *access_of(const xmlNode *domain)
{
	return wh_xml_attr(wh_xml_first(wh_memory_backing(domain), "access"), "mode");
}

static const char *access_of_cell(const xmlNode *domain, const xmlNode *cell)
{
	const char *access = wh_xml_attr(cell, "memAccess");

	return *access ? access : access_of(domain);
}

static bool is_memfd(const struct wh_check *check)
{
	return !strcmp(source_of(check->domain), "memfd");
}

static bool is_in_files(const struct wh_check *check)
{
	const xmlNode *cells = wh_memory_cells(check->domain);

	if (!strcmp(source_of(check->domain), "file") || *access_of(check->domain) ||
	    wh_xml_first(wh_memory_backing(check->domain), "hugepages"))
		return true;
	for (xmlNode *n = wh_xml_first(cells, "cell"); n; n = wh_xml_next(n, "cell"))
		if (*wh_xml_attr(n, "memAccess"))
			return true;
	return false;
}

void wh_rule_memory_file(struct wh_check *check)
{
	if (is_memfd(check))
		return; /* that is another rule's */
	if (is_in_files(check))
		wh_check_good(check, "its RAM is in named files");
	else
		wh_check_bad(check, WH_NATIVE_CAN, remedy_file,
		             "its RAM is anonymous memory, which only QEMU itself can reach")
			->fixable = true;
}

void wh_rule_memory_memfd(struct wh_check *check)
{
	if (is_memfd(check))
		wh_check_bad(check, WH_NATIVE_CAN, remedy_file,
		             "its RAM is a memfd, which QEMU from 8.1 on sends itself; it must be "
		             "in named files")
			->fixable = true;
	else
		wh_check_good(check, "its RAM is no memfd");
}

void wh_rule_memory_shared(struct wh_check *check)
{
	const xmlNode *cells = wh_memory_cells(check->domain);
	const char *access = access_of(check->domain);
	bool any_cell = false;

	if (!is_memfd(check) && !is_in_files(check))
		return; /* nothing that could be shared */
	for (xmlNode *n = wh_xml_first(cells, "cell"); n; n = wh_xml_next(n, "cell")) {
		any_cell = true;
		if (*wh_xml_attr(n, "memAccess") && !wh_xml_has(n, "memAccess", "shared"))
			wh_check_bad(check, WH_NATIVE_CAN, "<cell ... memAccess='shared'/>",
			             "the RAM of its NUMA cell %s is private",
			             wh_check_word(wh_xml_attr(n, "id")).text)
				->fixable = true;
		else if (strcmp(access_of_cell(check->domain, n), "shared") != 0)
			wh_check_bad(check, WH_NATIVE_CAN, remedy_shared,
			             "the RAM of its NUMA cell %s is not shared",
			             wh_check_word(wh_xml_attr(n, "id")).text)
				->fixable = true;
	}
	if (!any_cell && strcmp(access, "shared") != 0)
		wh_check_bad(check, WH_NATIVE_CAN, remedy_shared,
		             "its RAM is private to QEMU, so the file does not have it")
			->fixable = true;
	if (!wh_check_failed(check))
		wh_check_good(check, "its RAM is shared");
}

/* Bytes of a <page>; 0 if that cannot be read. libvirt prints it in KiB. */
static unsigned long long page_bytes(const xmlNode *page)
{
	static const struct {
		const char *unit;
		unsigned long long bytes;
	} units[] = {
		{ "", KIB },
		{ "KiB", KIB },
		{ "k", KIB },
		{ "MiB", KIB * KIB },
		{ "M", KIB * KIB },
		{ "GiB", KIB * KIB * KIB },
		{ "G", KIB * KIB * KIB },
	};
	const char *size = wh_xml_attr(page, "size");

	/* One of more digits is no page. */
	for (size_t i = 0; strlen(size) < 10 && i < sizeof(units) / sizeof(*units); i++)
		if (wh_xml_has(page, "unit", units[i].unit))
			return strtoull(size, NULL, 10) * units[i].bytes;
	return 0;
}

void wh_rule_memory_pages(struct wh_check *check)
{
	const xmlNode *huge = wh_xml_first(wh_memory_backing(check->domain), "hugepages");

	for (xmlNode *n = wh_xml_first(huge, "page"); n; n = wh_xml_next(n, "page"))
		if (page_bytes(n) > WH_HUGE_BYTES_MAX)
			(void)wh_check_bad(
				check, WH_NATIVE_CAN,
				"<hugepages><page size='2048' unit='KiB'/></hugepages>",
				"its RAM has huge pages of %llu MiB: one would be dirty all the "
				"time; 2 MiB is the most",
				page_bytes(n) / (KIB * KIB));
	if (!wh_check_failed(check))
		wh_check_good(check, "its RAM has pages that can be tracked");
}

/* One that says nothing of access is as its cell or all memory is, which other rules look at. */
static void check_dimm(struct wh_check *check, const xmlNode *memory)
{
	if (*wh_xml_attr(memory, "access") && !wh_xml_has(memory, "access", "shared"))
		wh_check_bad(check, WH_NATIVE_CAN, "<memory model='dimm' access='shared'>",
		             "the memory of %s is private", wh_check_device(memory).text)
			->fixable = true;
}

void wh_rule_memory_devices(struct wh_check *check)
{
	size_t count = 0;

	for (xmlNode *n = wh_xml_first(check->devices, "memory"); n; n = wh_xml_next(n, "memory")) {
		const char *model = wh_xml_attr(n, "model");

		count++;
		if (!strcmp(model, "dimm"))
			check_dimm(check, n);
		else
			(void)wh_check_bad(
				check, strcmp(model, "sgx-epc") != 0 ? WH_NATIVE_MAY : WH_NATIVE_NO,
				"<memory model='dimm' access='shared'>",
				"the memory of %s is %s, whose contents wherry does not move",
				wh_check_device(n).text, wh_check_word(model).text);
	}
	if (!wh_check_failed(check))
		wh_check_good(check, count ? "its memory devices are shared DIMMs"
		                           : "it has no memory devices");
}

/* QEMU empties the file when it ends, and then post-copy may still be sending from it. */
void wh_rule_memory_discard(struct wh_check *check)
{
	const xmlNode *cells = wh_memory_cells(check->domain);
	bool found = wh_xml_first(wh_memory_backing(check->domain), "discard") != NULL;

	for (xmlNode *n = wh_xml_first(cells, "cell"); n; n = wh_xml_next(n, "cell"))
		found |= wh_xml_has(n, "discard", "yes");
	for (xmlNode *n = wh_xml_first(check->devices, "memory"); n; n = wh_xml_next(n, "memory"))
		found |= wh_xml_has(n, "discard", "yes");
	if (!found)
		wh_check_good(check, "its RAM outlives QEMU until it has been moved");
	else
		wh_check_bad(
			check, WH_NATIVE_CAN,
			"<memoryBacking> without <discard/>, and no "
			"discard='yes' on a <cell> or <memory>",
			"QEMU empties its RAM when it ends: post-copy would lose what is still "
			"to be sent")
			->fixable = true;
}

void wh_rule_shmem(struct wh_check *check)
{
	for (xmlNode *n = wh_xml_first(check->devices, "shmem"); n; n = wh_xml_next(n, "shmem"))
		(void)wh_check_bad(
			check, wh_xml_has(n, "role", "master") ? WH_NATIVE_CAN : WH_NATIVE_NO,
			"without this <shmem>", "shmem '%s' is memory that others write, too",
			wh_check_word(wh_xml_attr(n, "name")).text);
	if (!wh_check_failed(check))
		wh_check_good(check, "it shares no memory with other guests");
}
