/* SPDX-License-Identifier: Apache-2.0 */

/*
 * JSON - the few helpers that all of wherryd's JSON goes through.
 *
 * The only file that includes jansson. Text from outside is parsed by wh_json_parse() only, and
 * members are read with the checked getters, so that a wrong type or a missing key becomes an
 * error with words and never a NULL.
 */

#ifndef WH_JSON_H
#define WH_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include "wherry/cleanup.h"
#include "wherry/error.h"

/* For wh_cleanup(): drop the reference. */
static inline void wh_json_unrefp(json_t **json)
{
	json_decref(*json);
}

/**
 * wh_json_parse() - Read one JSON object
 * @ret:	receives the object, a new reference; untouched on failure
 * @text:	@len bytes; duplicate keys and anything that is no object are refused
 *
 * Return: 0 or -EPROTO.
 */
wh_must_check int wh_json_parse(json_t **ret, const char *text, size_t len, struct wh_error *err);

/* One line without a newline, from malloc(), or NULL if memory ran out. */
char *wh_json_line(const json_t *json);

/* Copy the string @key into @buf. Return: 0, or -EPROTO if it is missing, no string, too long. */
wh_must_check int wh_json_string(const json_t *object, const char *key, char *buf, size_t size,
                                 struct wh_error *err);

/* Read the whole number @key from 0 to @max. Return: 0 or -EPROTO. */
wh_must_check int wh_json_u64(const json_t *object, const char *key, uint64_t max, uint64_t *ret,
                              struct wh_error *err);

/* Return: 0 or -EPROTO. */
wh_must_check int wh_json_bool(const json_t *object, const char *key, bool *ret,
                               struct wh_error *err);

/* The string @key, borrowed from @object, or "" if there is none. Accepts NULL. */
const char *wh_json_text(const json_t *object, const char *key);

/* The numbers of this API stay below 2^63; one that does not is shown as 2^63 - 1. */
json_t *wh_json_number(uint64_t value);

#endif
