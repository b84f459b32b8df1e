/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Domain XML tree - a domain's XML as libxml2's tree, for control/domain_xml*.c and nobody else.
 *
 * Texts come from libvirt, and with them from whoever may define a domain. So nothing but the text is
 * ever read: there is no network, no file, and a document type, and with it any entity, is refused.
 */

#ifndef WH_DOMAIN_XML_TREE_H
#define WH_DOMAIN_XML_TREE_H

#include <stdbool.h>

#include <libxml/tree.h>

#include "wherry/cleanup.h"
#include "wherry/error.h"

/* Return: 0, or -EINVAL with the line and libxml2's words. The root element is called @root. */
wh_must_check int wh_xml_parse(xmlDoc **ret, const char *text, const char *root,
                               struct wh_error *err);

/* Accepts NULL, returns NULL. */
xmlDoc *wh_xml_free(xmlDoc *doc);

WH_DEFINE_CLEANUP(xmlDoc, wh_xml_free)

/* As UTF-8, from malloc(), without the line <?xml ...?>. */
char *wh_xml_format(xmlDoc *doc);

/* One element, likewise; "" for NULL. */
char *wh_xml_format_node(xmlNode *node);

/* Whether @node is the element @name in the namespace @href; NULL is none. */
bool wh_xml_is(const xmlNode *node, const char *href, const char *name);

/* The first child of @parent that is an element, called @name in no namespace, or any if that is NULL;
 * and the next one. NULL if there is none. Both accept NULL. */
xmlNode *wh_xml_first(const xmlNode *parent, const char *name);
xmlNode *wh_xml_next(const xmlNode *node, const char *name);

/* The value of an attribute, borrowed; "" if it is not there, or @node is NULL. */
const char *wh_xml_attr(const xmlNode *node, const char *name);

/* Whether the attribute is there and has this value. */
bool wh_xml_has(const xmlNode *node, const char *name, const char *value);

void wh_xml_set(xmlNode *node, const char *name, const char *value);

/* Add an empty element as the last of @parent, or behind @before; on a line of its own. */
xmlNode *wh_xml_append(xmlNode *parent, xmlNs *ns, const char *name);
xmlNode *wh_xml_insert(xmlNode *before, xmlNs *ns, const char *name);

/* Take it away, and its line. */
void wh_xml_remove(xmlNode *node);

#endif
