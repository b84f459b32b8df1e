/* SPDX-License-Identifier: Apache-2.0 */

#include "labels.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "name.h"
#include "value.h"

#include "wherry/limits.h"

/* What a key is without its prefix, and a value that is not empty. */
static bool is_label_word(const char *text)
{
	const size_t len = strlen(text);

	if (len == 0 || len > WH_LABEL_LEN_MAX || !isalnum((unsigned char)text[0]) ||
	    !isalnum((unsigned char)text[len - 1]))
		return false;
	for (size_t i = 0; i < len; i++) {
		if (!isalnum((unsigned char)text[i]) && !strchr("-_.", text[i]))
			return false;
	}
	return true;
}

bool wh_label_key_valid(const char *key)
{
	const char *slash = strchr(key, '/');
	char prefix[WH_OBJECT_NAME_MAX];
	size_t len;

	if (!slash)
		return is_label_word(key);
	len = (size_t)(slash - key);
	if (len >= sizeof(prefix))
		return false;
	memcpy(prefix, key, len);
	prefix[len] = '\0';
	return wh_subdomain_valid(prefix) && is_label_word(slash + 1);
}

bool wh_label_value_valid(const char *value)
{
	return !*value || is_label_word(value);
}

static int fail_value(const struct wh_yaml_node *node, struct wh_error *err)
{
	const char *key = node->key->text;

	if (node->type != WH_YAML_SCALAR)
		return wh_yaml_fail(err, node, "the value of '%.80s' must be a string", key);
	if (wh_value_is_null(node))
		return wh_yaml_fail(err, node, "'%.80s' has no value; write \"\" for an empty one",
		                    key);
	return wh_yaml_fail(err, node,
	                    "'%.40s' is not a string; put it in quotes: '%.80s: \"%.40s\"'",
	                    node->text, key, node->text);
}

static int read_label(struct wh_label *label, const struct wh_yaml_node *node, struct wh_error *err)
{
	const char *value = "";

	if (!wh_label_key_valid(node->key->text))
		return wh_yaml_fail(err, node->key,
		                    "'%.80s' is no key of a label; write letters, digits and "
		                    "'-', '_', '.', 63 at most, after a prefix such as "
		                    "'example.com/' if wanted",
		                    node->key->text);
	if (wh_value_text(&value, node, NULL) < 0)
		return fail_value(node, err);
	if (!wh_label_value_valid(value))
		return wh_yaml_fail(err, node,
		                    "'%.80s' is no value of a label; write letters, digits and "
		                    "'-', '_', '.' between them, 63 at most",
		                    value);

	label->key = strdup(node->key->text);
	label->value = strdup(value);
	return label->key && label->value ? 0 : wh_fail(err, -ENOMEM, "out of memory");
}

static int by_key(const void *a, const void *b)
{
	return strcmp(((const struct wh_label *)a)->key, ((const struct wh_label *)b)->key);
}

void wh_labels_sort(struct wh_labels *labels)
{
	if (labels->count > 0)
		qsort(labels->items, labels->count, sizeof(*labels->items), by_key);
}

static int read_labels(struct wh_labels *labels, const struct wh_yaml_node *node,
                       struct wh_error *err)
{
	int r;

	labels->items = calloc(node->count, sizeof(*labels->items));
	if (!labels->items)
		return wh_fail(err, -ENOMEM, "out of memory");
	for (size_t i = 0; i < node->count; i++) {
		labels->count++;
		r = read_label(&labels->items[i], node->items[i], err);
		if (r < 0)
			return r;
	}
	wh_labels_sort(labels);
	return 0;
}

int wh_labels_parse(struct wh_labels *ret, const struct wh_yaml_node *node, struct wh_error *err)
{
	struct wh_labels labels = { 0 };
	int r = 0;

	if (node && node->type != WH_YAML_MAPPING && !wh_value_is_null(node))
		return wh_yaml_fail(err, node,
		                    "this is no set of labels; write 'key: value' below it");
	if (node && node->count > 0)
		r = read_labels(&labels, node, err);
	if (r < 0) {
		wh_labels_done(&labels);
		return r;
	}

	*ret = labels;
	return 0;
}

const char *wh_labels_get(const struct wh_labels *labels, const char *key)
{
	size_t low = 0;
	size_t high = labels->count;

	while (low < high) {
		const size_t middle = (low + high) / 2;
		const int order = strcmp(key, labels->items[middle].key);

		if (order == 0)
			return labels->items[middle].value;
		if (order < 0)
			high = middle;
		else
			low = middle + 1;
	}
	return NULL;
}

bool wh_labels_equal(const struct wh_labels *a, const struct wh_labels *b)
{
	if (a->count != b->count)
		return false;
	for (size_t i = 0; i < a->count; i++)
		if (strcmp(a->items[i].key, b->items[i].key) != 0 ||
		    strcmp(a->items[i].value, b->items[i].value) != 0)
			return false;
	return true;
}

int wh_labels_copy(struct wh_labels *ret, const struct wh_labels *from)
{
	struct wh_labels labels = { .items = calloc(from->count + 1, sizeof(*labels.items)) };

	if (!labels.items)
		return -ENOMEM;
	for (; labels.count < from->count; labels.count++) {
		struct wh_label *label = &labels.items[labels.count];

		label->key = strdup(from->items[labels.count].key);
		label->value = strdup(from->items[labels.count].value);
		if (label->key && label->value)
			continue;
		labels.count++; /* it may be half there */
		wh_labels_done(&labels);
		return -ENOMEM;
	}
	*ret = labels;
	return 0;
}

void wh_labels_done(struct wh_labels *labels)
{
	for (size_t i = 0; i < labels->count; i++) {
		free(labels->items[i].key);
		free(labels->items[i].value);
	}
	free(labels->items);
	*labels = (struct wh_labels){ 0 };
}
