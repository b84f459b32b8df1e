/* SPDX-License-Identifier: Apache-2.0 */

#include "label.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "name.h"

#include "wherry/assert.h"

static int check_set(const json_t *set, struct wh_error *err)
{
	const char *key;
	json_t *value;

	json_object_foreach((json_t *)set, key, value) /* it is only read */
	{
		if (!wh_label_key_valid(key))
			return wh_fail(
				err, -EINVAL,
				"'%.80s' is no key of a label; write letters, digits and '-', "
				"'_', '.', 63 at most, after a prefix such as 'example.com/' if "
				"wanted",
				key);
		if (!json_is_string(value) || !wh_label_value_valid(json_string_value(value)))
			return wh_fail(
				err, -EINVAL,
				"the value of '%.80s' is none of a label; write letters, digits "
				"and '-', '_', '.' between them, 63 at most",
				key);
	}
	return 0;
}

static int check_remove(const struct wh_labels *labels, const json_t *remove, const json_t *set,
                        struct wh_error *err)
{
	for (size_t i = 0; i < json_array_size(remove); i++) {
		const char *key = json_string_value(json_array_get(remove, i));

		if (!key || !wh_labels_get(labels, key))
			return wh_fail(err, -ENOENT, "there is no label '%.80s' to remove",
			               key ? key : "");
		if (json_object_get(set, key))
			return wh_fail(err, -EINVAL, "label '%.80s' is to be set and removed", key);
	}
	return 0;
}

static bool is_in(const json_t *list, const char *key)
{
	for (size_t i = 0; i < json_array_size(list); i++)
		if (!strcmp(json_string_value(json_array_get(list, i)), key))
			return true;
	return false;
}

static void put(struct wh_labels *labels, const char *key, const char *value)
{
	struct wh_label *label = &labels->items[labels->count++];

	label->key = strdup(key);
	label->value = strdup(value);
	wh_assert(label->key && label->value);
}

/* What was there and stays, and what is new. */
static struct wh_labels merge(const struct wh_labels *labels, const json_t *set,
                              const json_t *remove)
{
	struct wh_labels merged = { 0 };
	const char *key;
	json_t *value;

	merged.items = calloc(labels->count + json_object_size(set) + 1, sizeof(*merged.items));
	wh_assert(merged.items);
	for (size_t i = 0; i < labels->count; i++) {
		key = labels->items[i].key;
		if (!json_object_get(set, key) && !is_in(remove, key))
			put(&merged, key, labels->items[i].value);
	}
	json_object_foreach((json_t *)set, key, value)
		put(&merged, key, json_string_value(value));
	wh_labels_sort(&merged);
	return merged;
}

int wh_label_change(struct wh_domain_note *note, const json_t *request, struct wh_error *err)
{
	const json_t *remove = json_object_get(request, "remove");
	const json_t *set = json_object_get(request, "set");
	const char *name_space = wh_json_text(request, "name_space");
	struct wh_labels merged;
	int r = check_set(set, err);

	if (r == 0)
		r = check_remove(&note->labels, remove, set, err);
	if (r == 0 && *name_space && !wh_name_valid(name_space))
		r = wh_fail(
			err, -EINVAL,
			"'%.80s' is no name of a namespace; write a-z, 0-9 and '-' between them, "
			"63 at most",
			name_space);
	if (r < 0)
		return r;
	merged = merge(&note->labels, set, remove);
	if (merged.count > WH_LABELS_MAX) {
		wh_labels_done(&merged);
		return wh_fail(err, -EINVAL, "a VM has at most %u labels", WH_LABELS_MAX);
	}
	wh_labels_done(&note->labels);
	note->labels = merged;
	if (json_object_get(request, "name_space"))
		memcpy(note->name_space, name_space, strlen(name_space) + 1);
	return 0;
}

json_t *wh_label_json(const struct wh_domain_note *note)
{
	json_t *labels = json_object();
	json_t *json;

	wh_assert(labels);
	for (size_t i = 0; i < note->labels.count; i++)
		(void)json_object_set_new(labels, note->labels.items[i].key,
		                          json_string(note->labels.items[i].value));
	json = json_pack("{s:s, s:o}", "namespace",
	                 *note->name_space ? note->name_space : "default", "labels", labels);
	wh_assert(json);
	return json;
}
