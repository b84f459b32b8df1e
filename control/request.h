/* SPDX-License-Identifier: Apache-2.0 */

/* Request - what a VirtualMachineInstanceMigration asks for. */

#ifndef WH_REQUEST_H
#define WH_REQUEST_H

#include <stdint.h>

#include "wherry/cleanup.h"
#include "wherry/error.h"
#include "wherry/limits.h"

struct wh_yaml_node;

/* Order of the queue: the higher goes first. docs/semantics.md section 4. */
enum wh_priority {
	WH_PRIORITY_MAINTENANCE = 20, /* "system-maintenance" */
	WH_PRIORITY_USER = 50,        /* "user-triggered" */
	WH_PRIORITY_CRITICAL = 100,   /* "system-critical" */
};

struct wh_request {
	char vm[WH_NAME_MAX];
	char to[WH_NAME_MAX]; /* addedNodeSelector's kubernetes.io/hostname; "" for any node */
	enum wh_priority priority;
};

/* Read the spec. Return: 0 or -EINVAL with the place of the mistake. */
wh_must_check int wh_request_parse(struct wh_request *ret, const struct wh_yaml_node *spec,
                                   struct wh_error *err);

/* "system-critical" and so on, and back; NULL if @priority has no name. */
const char *wh_priority_name(uint32_t priority);
wh_must_check int wh_priority_parse(enum wh_priority *ret, const char *text, struct wh_error *err);

#endif
