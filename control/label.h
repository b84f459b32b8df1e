/* SPDX-License-Identifier: Apache-2.0 */

/* Label - a domain's namespace and labels, which are in its metadata: "wherry label". */

#ifndef WH_LABEL_H
#define WH_LABEL_H

#include "ask.h"
#include "daemon.h"
#include "domain_xml.h"
#include "json.h"

/*
 * Do what @request says: "set", labels as an object; "remove", a list of keys; "name_space". Return: 0; or
 * -EINVAL, or -ENOENT for a key that is to be removed and is not there, and then nothing has changed.
 */
wh_must_check int wh_label_change(struct wh_domain_note *note, const json_t *request,
                                  struct wh_error *err);

/* "namespace" and "labels" of it. */
json_t *wh_label_json(const struct wh_domain_note *note);

void wh_label_request(struct wh_daemon *daemon, const json_t *request, struct wh_ask *ask);

#endif
