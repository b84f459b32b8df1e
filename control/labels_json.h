/* SPDX-License-Identifier: Apache-2.0 */

/* Labels as JSON: an object with a string for each. */

#ifndef WH_LABELS_JSON_H
#define WH_LABELS_JSON_H

#include "json.h"
#include "labels.h"

#include "wherry/cleanup.h"
#include "wherry/error.h"

/* Never NULL. */
json_t *wh_labels_to_json(const struct wh_labels *labels);

/* Read them; a key that is no label's is refused, as is a value. NULL is none. Return: 0 or -EPROTO. */
wh_must_check int wh_labels_from_json(struct wh_labels *ret, const json_t *json,
                                      struct wh_error *err);

#endif
