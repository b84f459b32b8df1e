/* SPDX-License-Identifier: Apache-2.0 */

#include "labels_json.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "wherry/assert.h"
#include "wherry/limits.h"

json_t *wh_labels_to_json(const struct wh_labels *labels)
{
	json_t *json = json_object();

	wh_assert(json);
	for (size_t i = 0; i < labels->count; i++)
		(void)json_object_set_new(json, labels->items[i].key,
		                          json_string(labels->items[i].value));
	return json;
}

static int read_all(struct wh_labels *labels, const json_t *json, struct wh_error *err)
{
	const char *key;
	json_t *value;

	json_object_foreach((json_t *)json, key, value) /* it is only read */
	{
		struct wh_label *label = &labels->items[labels->count];
		const char *text = json_string_value(value);

		if (!wh_label_key_valid(key) || !text || !wh_label_value_valid(text))
			return wh_fail(err, -EPROTO, "'%.80s' is no label", key);
		labels->count++;
		label->key = strdup(key);
		label->value = strdup(text);
		wh_assert(label->key && label->value);
	}
	wh_labels_sort(labels);
	return 0;
}

int wh_labels_from_json(struct wh_labels *ret, const json_t *json, struct wh_error *err)
{
	struct wh_labels labels = { 0 };
	int r;

	if (json && (!json_is_object(json) || json_object_size(json) > WH_LABELS_MAX))
		return wh_fail(err, -EPROTO, "labels must be an object of up to %u strings",
		               WH_LABELS_MAX);
	if (json_object_size(json) == 0) {
		*ret = labels;
		return 0;
	}
	labels.items = calloc(json_object_size(json), sizeof(*labels.items));
	wh_assert(labels.items);
	r = read_all(&labels, json, err);
	if (r < 0)
		wh_labels_done(&labels);
	else
		*ret = labels;
	return r;
}
