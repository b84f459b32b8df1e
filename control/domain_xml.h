/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Domain XML - what wherry reads from a libvirt domain's XML, and what it changes in it. Nothing else
 * includes libxml2's headers. Pure functions on texts; results are from malloc().
 *
 *	<metadata>
 *	  <wherry:vm xmlns:wherry="urn:wherry:domain:1" namespace="prod">
 *	    <wherry:label key="role" value="database"/>
 *	  </wherry:vm>
 *	</metadata>
 */

#ifndef WH_DOMAIN_XML_H
#define WH_DOMAIN_XML_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "labels.h"

#include "wherry/cleanup.h"
#include "wherry/error.h"
#include "wherry/limits.h"

/* Of the element above. */
#define WH_DOMAIN_XML_NAMESPACE "urn:wherry:domain:1"

/* What the element says. Zeroed memory is what an absent one says: no labels, no namespace. */
struct wh_domain_note {
	char name_space[WH_NAME_MAX]; /* "" if it names none: then "default" */
	struct wh_labels labels;
};

/*
 * Read the <wherry:vm> element, alone as libvirt gives it; "" is an absent one. Keys and values follow
 * the rules of Kubernetes. Return: 0 or -EINVAL with the line and what would be right.
 */
wh_must_check int wh_domain_note_parse(struct wh_domain_note *ret, const char *xml,
                                       struct wh_error *err);

/*
 * The element as XML, as libvirt takes it: without its namespace, which goes beside it; "" if there is
 * nothing to say. Never NULL.
 */
char *wh_domain_note_format(const struct wh_domain_note *note);

void wh_domain_note_done(struct wh_domain_note *note);

/**
 * wh_domain_xml_monitor() - Give a domain a monitor of wherry's own, and take away earlier ones
 * @ret:	receives the changed XML
 * @path:	of its unix socket, which QEMU listens at; NULL to take away only
 *
 * A monitor is ours if its socket is called WH_DOMAIN_MONITOR_PREFIX and so on, in whatever directory.
 * What else <qemu:commandline> has stays, in its order; one that is empty then goes.
 *
 * Return: 0 or -EINVAL if @xml is no domain.
 */
#define WH_DOMAIN_MONITOR_PREFIX "wherry-monitor-"
wh_must_check int wh_domain_xml_monitor(char **ret, const char *xml, const char *path,
                                        struct wh_error *err);

/* A disk with a file or device behind it that could be copied. */
struct wh_domain_disk {
	char target[WH_NAME_MAX]; /* "vda" */
	char *source;             /* its path */
	char format[WH_NAME_MAX]; /* "raw"; "" if it is not said */
	bool readonly;
	bool shareable;
	bool direct; /* cache is 'none' or 'directsync', or io is 'native': O_DIRECT */
};

struct wh_domain_disks {
	struct wh_domain_disk *items; /* owned */
	size_t count;
};

wh_must_check int wh_domain_xml_disks(struct wh_domain_disks *ret, const char *xml,
                                      struct wh_error *err);
void wh_domain_disks_done(struct wh_domain_disks *disks);

/* What a host must have for it. Strings are "" where nothing is said. */
struct wh_domain_needs {
	char *emulator; /* its path; owned */
	char *cpu;      /* its <cpu> element; owned */
	char arch[WH_NAME_MAX];
	char machine[WH_NAME_MAX];
	char type[WH_NAME_MAX]; /* "kvm" */
	uint64_t memory_bytes;  /* with memory devices; 0 if that cannot be read */
	bool huge_pages;
	bool files; /* RAM files in libvirt's directory */
};

wh_must_check int wh_domain_xml_needs(struct wh_domain_needs *ret, const char *xml,
                                      struct wh_error *err);
void wh_domain_needs_done(struct wh_domain_needs *needs);

/* One thing that was looked at. */
struct wh_finding {
	const char *rule; /* "memory-shared": a stable name */
	bool good;        /* nothing to be done */
	bool note;        /* good, if what @is says is heeded */
	bool fixable;     /* wh_domain_xml_fix() does it */
	struct wh_error
		is;   /* in plain words what is the case, and whether engine native would do */
	char *remedy; /* the very XML or setting that would make it good; NULL if good */
};

struct wh_findings {
	struct wh_finding *items; /* owned; in a fixed order, those of one rule together */
	size_t count;
};

/*
 * Whether the memory of this domain could be moved by wherry's data plane, by what its XML says. Return:
 * 0, also if it could not, or -EINVAL if @xml is no domain.
 */
wh_must_check int wh_domain_xml_check(struct wh_findings *ret, const char *xml,
                                      struct wh_error *err);

/* The name of rule @i, in the order of findings; NULL past the last one. */
const char *wh_domain_xml_rule(size_t i);

/* The XML with all that is fixable fixed; what else it says is untouched. Return: 0 or -EINVAL. */
wh_must_check int wh_domain_xml_fix(char **ret, const char *xml, struct wh_error *err);

void wh_findings_done(struct wh_findings *findings);

#endif
