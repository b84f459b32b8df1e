/* SPDX-License-Identifier: Apache-2.0 */

#include "json.h"

#include <errno.h>
#include <string.h>

int wh_json_parse(json_t **ret, const char *text, size_t len, struct wh_error *err)
{
	json_error_t why;
	json_t *json = json_loadb(text, len, JSON_REJECT_DUPLICATES, &why);

	if (!json)
		return wh_fail(err, -EPROTO, "not JSON at byte %d: %s", why.position, why.text);
	if (!json_is_object(json)) {
		json_decref(json);
		return wh_fail(err, -EPROTO, "not a JSON object");
	}
	*ret = json;
	return 0;
}

char *wh_json_line(const json_t *json)
{
	return json_dumps(json, JSON_COMPACT | JSON_ENSURE_ASCII);
}

int wh_json_string(const json_t *object, const char *key, char *buf, size_t size,
                   struct wh_error *err)
{
	const json_t *value = json_object_get(object, key);

	if (!json_is_string(value))
		return wh_fail(err, -EPROTO, "'%s' must be a string", key);
	if (json_string_length(value) >= size)
		return wh_fail(err, -EPROTO, "'%s' is longer than %zu bytes", key, size - 1);
	memcpy(buf, json_string_value(value), json_string_length(value) + 1);
	return 0;
}

int wh_json_u64(const json_t *object, const char *key, uint64_t max, uint64_t *ret,
                struct wh_error *err)
{
	const json_t *value = json_object_get(object, key);

	if (!json_is_integer(value) || json_integer_value(value) < 0 ||
	    (uint64_t)json_integer_value(value) > max)
		return wh_fail(err, -EPROTO, "'%s' must be a whole number from 0 to %llu", key,
		               (unsigned long long)max);
	*ret = (uint64_t)json_integer_value(value);
	return 0;
}

int wh_json_bool(const json_t *object, const char *key, bool *ret, struct wh_error *err)
{
	const json_t *value = json_object_get(object, key);

	if (!json_is_boolean(value))
		return wh_fail(err, -EPROTO, "'%s' must be true or false", key);
	*ret = json_is_true(value);
	return 0;
}

const char *wh_json_text(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "";
}

json_t *wh_json_number(uint64_t value)
{
	return json_integer(value > INT64_MAX ? INT64_MAX : (json_int_t)value);
}
