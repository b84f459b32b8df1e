/* SPDX-License-Identifier: Apache-2.0 */

/*
 * libxml2's own limits stay on: elements nest 256 deep at most, and no text node is larger than 10 MB.
 * It prints nothing; what it has to say is taken from its last error.
 */

#include "domain_xml_tree.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <libxml/parser.h>
#include <libxml/xmlsave.h>

#include "wherry/assert.h"
#include "wherry/limits.h"

#define OPTIONS (XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING)

/* Levels of elements, and two blanks for each: libxml2 allows no more. */
#define DEPTH_MAX 256

/* Its words quote the text, which may be anything; ours are plain. */
static void plain(char *ret, size_t size, const char *text)
{
	size_t len = strcspn(text, "\n");

	(void)snprintf(ret, size, "%.*s", (int)(len < size ? len : size - 1), text);
	for (char *c = ret; *c; c++)
		if (*c < ' ' || *c > '~')
			*c = '?';
}

static int fail_parse(xmlParserCtxt *ctxt, struct wh_error *err)
{
	const xmlError *last = xmlCtxtGetLastError(ctxt);
	char words[WH_ERROR_TEXT_MAX];

	if (!last || !last->message)
		return wh_fail(err, -EINVAL, "it cannot be read as XML");
	plain(words, sizeof(words), last->message);
	return wh_fail(err, -EINVAL, "line %d: %.200s", last->line, words);
}

static int check_document(const xmlDoc *doc, const char *root, struct wh_error *err)
{
	const xmlNode *node = xmlDocGetRootElement(doc);
	char name[WH_NAME_MAX];

	/* What is put into it would belong to that namespace, and be unknown to libvirt. */
	if (node && node->ns && !node->ns->prefix && !strcmp(root, "domain"))
		return wh_fail(err, -EINVAL, "<domain> must have no xmlns of its own");
	if (doc->intSubset || doc->extSubset)
		return wh_fail(err, -EINVAL, "it must not have a document type");
	if (node && !strcmp((const char *)node->name, root))
		return 0;
	plain(name, sizeof(name), node ? (const char *)node->name : "");
	return wh_fail(err, -EINVAL, "it is <%s> and not <%s>", name, root);
}

int wh_xml_parse(xmlDoc **ret, const char *text, const char *root, struct wh_error *err)
{
	wh_cleanup(wh_xml_freep) xmlDoc *doc = NULL;
	size_t len = strlen(text);
	xmlParserCtxt *ctxt;
	int r;

	if (len > WH_DOMAIN_XML_MAX)
		return wh_fail(err, -EINVAL, "it has more than %u bytes", WH_DOMAIN_XML_MAX);
	ctxt = xmlNewParserCtxt();
	wh_assert(ctxt);
	ctxt->sax->entityDecl = NULL; /* not even while the document type is being read */
	doc = xmlCtxtReadMemory(ctxt, text, (int)len, NULL, NULL, OPTIONS);
	if (doc && !ctxt->nsWellFormed && !strcmp(root, "domain"))
		r = fail_parse(ctxt, err);
	else
		r = doc ? check_document(doc, root, err) : fail_parse(ctxt, err);
	xmlFreeParserCtxt(ctxt);
	if (r == 0)
		*ret = wh_steal(doc);
	return r;
}

xmlDoc *wh_xml_free(xmlDoc *doc)
{
	xmlFreeDoc(doc);
	return NULL;
}

char *wh_xml_format(xmlDoc *doc)
{
	xmlBuffer *buffer = xmlBufferCreate();
	xmlSaveCtxt *save;
	char *text;

	wh_assert(buffer);
	save = xmlSaveToBuffer(buffer, "UTF-8", XML_SAVE_NO_DECL);
	wh_assert(save && xmlSaveDoc(save, doc) >= 0);
	(void)xmlSaveClose(save); /* into memory, so it cannot fail */
	text = strdup((const char *)xmlBufferContent(buffer));
	wh_assert(text);
	xmlBufferFree(buffer);
	return text;
}

char *wh_xml_format_node(xmlNode *node)
{
	xmlBuffer *buffer = xmlBufferCreate();
	char *text;

	wh_assert(buffer);
	if (node)
		wh_assert(xmlNodeDump(buffer, node->doc, node, 0, 0) >= 0);
	text = strdup((const char *)xmlBufferContent(buffer));
	wh_assert(text);
	xmlBufferFree(buffer);
	return text;
}

bool wh_xml_is(const xmlNode *node, const char *href, const char *name)
{
	if (node->type != XML_ELEMENT_NODE || strcmp((const char *)node->name, name) != 0)
		return false;
	if (!node->ns || !href)
		return !node->ns && !href;
	return !strcmp((const char *)node->ns->href, href);
}

static xmlNode *find(xmlNode *node, const char *name)
{
	for (; node; node = node->next)
		if (name ? wh_xml_is(node, NULL, name) : node->type == XML_ELEMENT_NODE)
			return node;
	return NULL;
}

xmlNode *wh_xml_first(const xmlNode *parent, const char *name)
{
	return parent ? find(parent->children, name) : NULL;
}

xmlNode *wh_xml_next(const xmlNode *node, const char *name)
{
	return node ? find(node->next, name) : NULL;
}

/* Without entities a value is one text. */
const char *wh_xml_attr(const xmlNode *node, const char *name)
{
	const xmlAttr *attr = node ? xmlHasProp(node, BAD_CAST name) : NULL;

	return attr && attr->children && attr->children->content
	               ? (const char *)attr->children->content
	               : "";
}

bool wh_xml_has(const xmlNode *node, const char *name, const char *value)
{
	return !strcmp(wh_xml_attr(node, name), value);
}

void wh_xml_set(xmlNode *node, const char *name, const char *value)
{
	wh_assert(xmlSetProp(node, BAD_CAST name, BAD_CAST value));
}

static int depth_of(const xmlNode *node)
{
	int depth = 0;

	for (; node->parent && node->parent->type == XML_ELEMENT_NODE; node = node->parent)
		depth++;
	return depth;
}

static xmlNode *new_line(xmlDoc *doc, int depth)
{
	char text[2 * DEPTH_MAX + 2];
	xmlNode *node;

	(void)snprintf(text, sizeof(text), "\n%*s", 2 * (depth < DEPTH_MAX ? depth : DEPTH_MAX),
	               "");
	node = xmlNewDocText(doc, BAD_CAST text);
	wh_assert(node);
	return node;
}

static xmlNode *new_element(xmlDoc *doc, xmlNs *ns, const char *name)
{
	xmlNode *node = xmlNewDocNode(doc, ns, BAD_CAST name, NULL);

	wh_assert(node);
	return node;
}

/* The element first: texts beside each other would become one. */
xmlNode *wh_xml_insert(xmlNode *before, xmlNs *ns, const char *name)
{
	xmlNode *node = xmlAddNextSibling(before, new_element(before->doc, ns, name));

	wh_assert(node);
	wh_assert(xmlAddNextSibling(before, new_line(before->doc, depth_of(before))));
	return node;
}

static bool is_blank(const xmlNode *node)
{
	return node && xmlIsBlankNode(node) == 1;
}

static void drop(xmlNode *node)
{
	xmlUnlinkNode(node);
	xmlFreeNode(node);
}

xmlNode *wh_xml_append(xmlNode *parent, xmlNs *ns, const char *name)
{
	xmlNode *last = xmlLastElementChild(parent);
	xmlNode *node;

	if (last)
		return wh_xml_insert(last, ns, name);
	while (is_blank(parent->last))
		drop(parent->last);
	node = new_element(parent->doc, ns, name);
	wh_assert(xmlAddChild(parent, new_line(parent->doc, depth_of(parent) + 1)));
	wh_assert(xmlAddChild(parent, node));
	wh_assert(xmlAddChild(parent, new_line(parent->doc, depth_of(parent))));
	return node;
}

/* Take the last line of a text away, if it is blank. */
static void cut_line(xmlNode *text)
{
	const char *content = (const char *)text->content;
	const char *last = content ? strrchr(content, '\n') : NULL;
	char *rest;

	if (!last || last[strspn(last, "\n\t ")])
		return;
	if (last == content) {
		drop(text);
		return;
	}
	rest = strndup(content, (size_t)(last - content));
	wh_assert(rest);
	xmlNodeSetContent(text, NULL);
	xmlNodeAddContent(text, BAD_CAST rest);
	free(rest);
}

void wh_xml_remove(xmlNode *node)
{
	if (node->prev && node->prev->type == XML_TEXT_NODE)
		cut_line(node->prev);
	drop(node);
}
