/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Domain XML rules - what one rule says of a domain. domain_xml_check.c has the table of them; those
 * of memory are in domain_xml_memory.c, and those of devices in domain_xml_devices.c.
 */

#ifndef WH_DOMAIN_XML_RULES_H
#define WH_DOMAIN_XML_RULES_H

#include "domain_xml.h"
#include "domain_xml_tree.h"

/* What libvirt's own migration makes of what is not good for ours. */
enum wh_native {
	WH_NATIVE_NO,
	WH_NATIVE_MAY, /* if what is behind the device can migrate */
	WH_NATIVE_CAN,
};

struct wh_check {
	const xmlNode *domain;
	const xmlNode *devices; /* NULL if it has none */
	const char *rule;       /* being applied */
	struct wh_findings *findings;
};

void wh_check_good(struct wh_check *check, const char *fmt, ...) wh_printf(2, 3);
void wh_check_note(struct wh_check *check, const char *fmt, ...) wh_printf(2, 3);

/* @remedy is copied. The finding is the caller's to change, until the next one. */
struct wh_finding *wh_check_bad(struct wh_check *check, enum wh_native native, const char *remedy,
                                const char *fmt, ...) wh_printf(4, 5);

/* Whether this rule has found something not good. */
bool wh_check_failed(const struct wh_check *check);

/* A word of the XML as errors may have it: plain text, and not long. */
struct wh_check_word {
	char text[WH_NAME_MAX];
};
struct wh_check_word wh_check_word(const char *text);

/* What a device is known by: its alias, or else its target. */
struct wh_check_word wh_check_device(const xmlNode *device);

/* Rules. */
void wh_rule_memory_file(struct wh_check *check);
void wh_rule_memory_memfd(struct wh_check *check);
void wh_rule_memory_shared(struct wh_check *check);
void wh_rule_memory_pages(struct wh_check *check);
void wh_rule_memory_devices(struct wh_check *check);
void wh_rule_memory_discard(struct wh_check *check);
void wh_rule_shmem(struct wh_check *check);
void wh_rule_disk_backends(struct wh_check *check);
void wh_rule_disks_transient(struct wh_check *check);
void wh_rule_disks_shared(struct wh_check *check);
void wh_rule_disks_direct(struct wh_check *check);
void wh_rule_hostdev(struct wh_check *check);
void wh_rule_interfaces(struct wh_check *check);
void wh_rule_filesystems(struct wh_check *check);
void wh_rule_video(struct wh_check *check);
void wh_rule_tpm(struct wh_check *check);

/* Memory of a domain as libvirt reads it: what a cell or a device says itself goes before the rest. */
const xmlNode *wh_memory_backing(const xmlNode *domain);
const xmlNode *wh_memory_cells(const xmlNode *domain);

#endif
