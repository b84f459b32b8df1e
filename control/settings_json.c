/* SPDX-License-Identifier: Apache-2.0 */

#include "settings_json.h"

#include <errno.h>

#include "wherry/assert.h"

static json_t *to_json(const struct wh_setting_value *value)
{
	switch (value->type) {
	case WH_SETTING_BANDWIDTH:
	case WH_SETTING_INTEGER:
		return wh_json_number(value->number);
	case WH_SETTING_BOOLEAN:
		return json_boolean(value->number);
	case WH_SETTING_NAME:
		return json_string(value->name);
	}
	return NULL;
}

json_t *wh_settings_to_json(const struct wh_settings *settings)
{
	struct wh_setting_value value;
	json_t *json = json_object();

	for (size_t i = 0; wh_settings_at(settings, i, &value); i++) {
		json_t *entry =
			json_pack("{s:b, s:o}", "given", value.given, "value", to_json(&value));

		/* A few hundred bytes: what could go wrong is our own mistake. */
		wh_assert(entry && json_object_set_new(json, value.key, entry) == 0);
	}
	return json;
}

/* Return: whether @json is of the type that @value's key wants. */
static bool from_json(struct wh_setting_value *value, const json_t *json)
{
	switch (value->type) {
	case WH_SETTING_BANDWIDTH:
	case WH_SETTING_INTEGER:
		value->number = (uint64_t)json_integer_value(json);
		return json_is_integer(json) && json_integer_value(json) >= 0;
	case WH_SETTING_BOOLEAN:
		value->number = json_is_true(json);
		return json_is_boolean(json);
	case WH_SETTING_NAME:
		value->name = json_string_value(json);
		return value->name;
	}
	return false;
}

int wh_settings_from_json(struct wh_settings *ret, const json_t *json, struct wh_error *err)
{
	struct wh_settings settings = wh_settings_defaults();
	struct wh_setting_value value;

	for (size_t i = 0; wh_settings_at(&settings, i, &value); i++) {
		const json_t *entry = json_object_get(json, value.key);

		if (!entry)
			continue;
		value.given = json_is_true(json_object_get(entry, "given"));
		if (!from_json(&value, json_object_get(entry, "value")) ||
		    !wh_settings_set(&settings, &value))
			return wh_fail(err, -EPROTO, "'%s' has a value that it cannot have",
			               value.key);
	}
	*ret = settings;
	return 0;
}
