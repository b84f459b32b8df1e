/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Domain XML: the note in a domain's metadata.
 *
 * libvirt keeps the namespace of such an element beside it: it takes the element without one, shows it
 * with one in the domain's XML, and gives it back without. So it is written without and read with any
 * prefix or none.
 */

#include "domain_xml.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "domain_xml_tree.h"
#include "name.h"

#include "wherry/assert.h"

/* An element of ours has our namespace, or none. */
static bool is_ours(const xmlNode *node, const char *name)
{
	return wh_xml_is(node, WH_DOMAIN_XML_NAMESPACE, name) || wh_xml_is(node, NULL, name);
}

static int line_of(const xmlNode *node)
{
	return (int)xmlGetLineNo(node);
}

static int check_attributes(const xmlNode *node, const char *one, const char *other,
                            struct wh_error *err)
{
	for (const xmlAttr *attr = node->properties; attr; attr = attr->next) {
		const char *name = (const char *)attr->name;

		if (strcmp(name, one) != 0 && strcmp(name, other) != 0)
			return wh_fail(err, -EINVAL,
			               "line %d: <%s> has only the attribute%s %s%s%s",
			               line_of(node), (const char *)node->name, *other ? "s" : "",
			               one, *other ? " and " : "", other);
	}
	return 0;
}

static int read_label(struct wh_labels *labels, const xmlNode *node, struct wh_error *err)
{
	const char *key = wh_xml_attr(node, "key");
	const char *value = wh_xml_attr(node, "value");
	struct wh_label *label = &labels->items[labels->count];
	int r = check_attributes(node, "key", "value", err);

	if (r < 0)
		return r;
	if (!wh_label_key_valid(key))
		return wh_fail(err, -EINVAL,
		               "line %d: 'key' must be letters, digits and '-', '_', '.', 63 at "
		               "most, after a prefix such as 'example.com/' if wanted",
		               line_of(node));
	if (!wh_label_value_valid(value))
		return wh_fail(err, -EINVAL,
		               "line %d: the value of '%.80s' must be letters, digits and '-', "
		               "'_', '.' between them, 63 at most",
		               line_of(node), key);
	for (size_t i = 0; i < labels->count; i++)
		if (!strcmp(labels->items[i].key, key))
			return wh_fail(err, -EINVAL, "line %d: label '%.80s' is there twice",
			               line_of(node), key);
	labels->count++;
	label->key = strdup(key);
	label->value = strdup(value);
	wh_assert(label->key && label->value);
	return 0;
}

static int read_child(struct wh_labels *labels, const xmlNode *node, struct wh_error *err)
{
	if (node->type == XML_COMMENT_NODE || xmlIsBlankNode(node) == 1)
		return 0;
	if (!is_ours(node, "label"))
		return wh_fail(err, -EINVAL,
		               "line %d: only <label key=\"...\" value=\"...\"/> can be in it",
		               line_of(node));
	if (labels->count == WH_LABELS_MAX)
		return wh_fail(err, -EINVAL, "line %d: there are more than %u labels",
		               line_of(node), WH_LABELS_MAX);
	return read_label(labels, node, err);
}

static int read_note(struct wh_domain_note *note, const xmlNode *root, struct wh_error *err)
{
	const char *name_space = wh_xml_attr(root, "namespace");
	int r = check_attributes(root, "namespace", "", err);

	if (r < 0)
		return r;
	if (!is_ours(root, "vm"))
		return wh_fail(err, -EINVAL, "line %d: its namespace must be \"%s\"", line_of(root),
		               WH_DOMAIN_XML_NAMESPACE);
	if (*name_space && !wh_name_valid(name_space))
		return wh_fail(err, -EINVAL,
		               "line %d: 'namespace' must be a-z, 0-9 and '-' between them, 63 at "
		               "most",
		               line_of(root));
	memcpy(note->name_space, name_space, strlen(name_space) + 1);
	note->labels.items = calloc(WH_LABELS_MAX, sizeof(*note->labels.items));
	wh_assert(note->labels.items);
	for (const xmlNode *node = root->children; r == 0 && node; node = node->next)
		r = read_child(&note->labels, node, err);
	wh_labels_sort(&note->labels);
	return r;
}

int wh_domain_note_parse(struct wh_domain_note *ret, const char *xml, struct wh_error *err)
{
	wh_cleanup(wh_xml_freep) xmlDoc *doc = NULL;
	struct wh_domain_note note = { 0 };
	int r = 0;

	if (*xml)
		r = wh_xml_parse(&doc, xml, "vm", err);
	if (r == 0 && doc)
		r = read_note(&note, xmlDocGetRootElement(doc), err);
	if (r < 0) {
		wh_domain_note_done(&note);
		return wh_context(err, r, "<wherry:vm>");
	}
	*ret = note;
	return 0;
}

char *wh_domain_note_format(const struct wh_domain_note *note)
{
	wh_cleanup(wh_xml_freep) xmlDoc *doc = NULL;
	xmlNode *root;
	char *text;

	if (!*note->name_space && note->labels.count == 0) {
		text = strdup("");
		wh_assert(text);
		return text;
	}
	doc = xmlNewDoc(BAD_CAST "1.0");
	root = xmlNewDocNode(doc, NULL, BAD_CAST "vm", NULL);
	wh_assert(doc && root);
	(void)xmlDocSetRootElement(doc, root); /* there was none */
	if (*note->name_space)
		wh_xml_set(root, "namespace", note->name_space);
	for (size_t i = 0; i < note->labels.count; i++) {
		xmlNode *label = wh_xml_append(root, NULL, "label");

		wh_xml_set(label, "key", note->labels.items[i].key);
		wh_xml_set(label, "value", note->labels.items[i].value);
	}
	return wh_xml_format(doc);
}

void wh_domain_note_done(struct wh_domain_note *note)
{
	wh_labels_done(&note->labels);
	*note = (struct wh_domain_note){ 0 };
}
