/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Domain XML: what can be made good without the guest noticing: where its memory is kept, and who may
 * see it. All else is for somebody to decide.
 */

#include "domain_xml_rules.h"

static void set_access(xmlNode *backing)
{
	xmlNode *access = wh_xml_first(backing, "access");

	if (!access)
		access = wh_xml_append(backing, NULL, "access");
	wh_xml_set(access, "mode", "shared");
}

/* Huge pages are in files already, unless the source is a memfd. */
static void set_source(xmlNode *backing)
{
	xmlNode *source = wh_xml_first(backing, "source");

	if (source)
		wh_xml_set(source, "type", "file");
	else if (!wh_xml_first(backing, "hugepages"))
		wh_xml_set(wh_xml_append(backing, NULL, "source"), "type", "file");
}

static xmlNode *make_backing(xmlNode *domain)
{
	xmlNode *before = wh_xml_first(domain, "currentMemory");

	if (!before)
		before = wh_xml_first(domain, "memory");
	return before ? wh_xml_insert(before, NULL, "memoryBacking")
	              : wh_xml_append(domain, NULL, "memoryBacking");
}

static void fix_backing(xmlNode *domain)
{
	xmlNode *backing = wh_xml_first(domain, "memoryBacking");
	xmlNode *discard;

	if (!backing)
		backing = make_backing(domain);
	set_source(backing);
	set_access(backing);
	discard = wh_xml_first(backing, "discard");
	if (discard)
		wh_xml_remove(discard);
}

/* Who says something else than <memoryBacking> no longer does. */
static void fix_part(xmlNode *part, const char *access)
{
	if (*wh_xml_attr(part, access))
		wh_xml_set(part, access, "shared");
	(void)xmlUnsetProp(part, BAD_CAST "discard"); /* fails if there is none */
}

int wh_domain_xml_fix(char **ret, const char *xml, struct wh_error *err)
{
	wh_cleanup(wh_xml_freep) xmlDoc *doc = NULL;
	int r = wh_xml_parse(&doc, xml, "domain", err);
	xmlNode *domain;

	if (r < 0)
		return wh_context(err, r, "the domain's XML");
	domain = xmlDocGetRootElement(doc);
	fix_backing(domain);
	for (xmlNode *n = wh_xml_first(wh_memory_cells(domain), "cell"); n;
	     n = wh_xml_next(n, "cell"))
		fix_part(n, "memAccess");
	for (xmlNode *n = wh_xml_first(wh_xml_first(domain, "devices"), "memory"); n;
	     n = wh_xml_next(n, "memory"))
		fix_part(n, "access");
	*ret = wh_xml_format(doc);
	return 0;
}
