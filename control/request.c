/* SPDX-License-Identifier: Apache-2.0 */

#include "request.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "name.h"
#include "value.h"

static const struct {
	const char *name;
	enum wh_priority priority;
} priorities[] = {
	{ "system-critical", WH_PRIORITY_CRITICAL },
	{ "user-triggered", WH_PRIORITY_USER },
	{ "system-maintenance", WH_PRIORITY_MAINTENANCE },
};

#define PRIORITIES (sizeof(priorities) / sizeof(priorities[0]))

const char *wh_priority_name(uint32_t priority)
{
	for (size_t i = 0; i < PRIORITIES; i++) {
		if (priorities[i].priority == priority)
			return priorities[i].name;
	}
	return NULL;
}

int wh_priority_parse(enum wh_priority *ret, const char *text, struct wh_error *err)
{
	struct wh_nearest nearest = { .wrong = text };

	for (size_t i = 0; i < PRIORITIES; i++) {
		if (!strcmp(text, priorities[i].name)) {
			*ret = priorities[i].priority;
			return 0;
		}
		wh_nearest_offer(&nearest, priorities[i].name);
	}
	return wh_fail(err, -EINVAL, "unknown priority '%.40s'; the nearest known one is '%s'",
	               text, nearest.best);
}

static int read_name(void *field, const struct wh_yaml_node *node, struct wh_error *err)
{
	return wh_value_name(field, node, err);
}

static int read_priority(void *field, const struct wh_yaml_node *node, struct wh_error *err)
{
	struct wh_error reason;
	const char *text = "";
	int r;

	r = wh_value_string(&text, node, err);
	if (r < 0)
		return r;
	if (wh_priority_parse(field, text, &reason) < 0)
		return wh_yaml_fail(err, node, "%s", reason.text);
	return 0;
}

static const struct wh_value_key node_keys[] = {
	{ "kubernetes.io/hostname", read_name, 0, false },
};

static int read_node_selector(void *field, const struct wh_yaml_node *node, struct wh_error *err)
{
	return wh_value_object(field, node, node_keys, sizeof(node_keys) / sizeof(node_keys[0]),
	                       err);
}

static const struct wh_value_key keys[] = {
	{ "vmiName", read_name, offsetof(struct wh_request, vm), true },
	{ "addedNodeSelector", read_node_selector, offsetof(struct wh_request, to), false },
	{ "priority", read_priority, offsetof(struct wh_request, priority), false },
};

int wh_request_parse(struct wh_request *ret, const struct wh_yaml_node *spec, struct wh_error *err)
{
	struct wh_request request = { .priority = WH_PRIORITY_USER };
	int r;

	r = wh_value_object(&request, spec, keys, sizeof(keys) / sizeof(keys[0]), err);
	if (r < 0)
		return r;
	*ret = request;
	return 0;
}
