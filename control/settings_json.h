/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Settings as JSON - for stores and for other nodes, which may know more keys or fewer.
 *
 *	{"progressTimeout":{"given":true,"value":150}, ...}
 *
 * A key that is not there has its default; one that is not known here is ignored.
 */

#ifndef WH_SETTINGS_JSON_H
#define WH_SETTINGS_JSON_H

#include "json.h"
#include "settings.h"

#include "wherry/cleanup.h"
#include "wherry/error.h"

/* A new reference; never NULL. */
json_t *wh_settings_to_json(const struct wh_settings *settings);

/* Return: 0, or -EPROTO for a value that the key cannot have; @ret is untouched then. */
wh_must_check int wh_settings_from_json(struct wh_settings *ret, const json_t *json,
                                        struct wh_error *err);

#endif
