/* SPDX-License-Identifier: Apache-2.0 */

/* Labels - what Kubernetes objects are selected by: keys and values, both plain text. */

#ifndef WH_LABELS_H
#define WH_LABELS_H

#include <stdbool.h>
#include <stddef.h>

#include "wherry/cleanup.h"
#include "wherry/error.h"

struct wh_yaml_node;

struct wh_label {
	char *key;
	char *value; /* "" is a value like any other */
};

/* Zeroed memory is a set without labels. */
struct wh_labels {
	struct wh_label *items; /* owned, sorted by key, bytewise; each key once */
	size_t count;
};

/* What Kubernetes takes as a key, with a prefix such as "example.com/" or without; and as a value. */
bool wh_label_key_valid(const char *key);
bool wh_label_value_valid(const char *value);

/* Bring the items into their order. */
void wh_labels_sort(struct wh_labels *labels);

/*
 * Read a mapping of strings; NULL or a null value is an empty one. Keys and values follow the
 * rules of Kubernetes. Return: 0 or -EINVAL with the place of the mistake.
 */
wh_must_check int wh_labels_parse(struct wh_labels *ret, const struct wh_yaml_node *node,
                                  struct wh_error *err);

/* The value of @key, borrowed; NULL if it is not there. */
const char *wh_labels_get(const struct wh_labels *labels, const char *key);

bool wh_labels_equal(const struct wh_labels *a, const struct wh_labels *b);

/* Return: 0 or -ENOMEM. */
wh_must_check int wh_labels_copy(struct wh_labels *ret, const struct wh_labels *from);

void wh_labels_done(struct wh_labels *labels);

#endif
