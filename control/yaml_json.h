/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Yaml_json - a tree of YAML as one line of JSON, with the keys in their order and the types that
 * Kubernetes reads (scalar.h).
 *
 * What is written is YAML, too, that yaml.h reads back as an equal tree: characters that YAML
 * would change or refuse inside quotes are escaped, and keys are short enough.
 */

#ifndef WH_YAML_JSON_H
#define WH_YAML_JSON_H

#include "yaml.h"

#include "wherry/cleanup.h"
#include "wherry/error.h"

/*
 * Write @node; @ret is from malloc(). Return: 0; -EINVAL with the place of what JSON cannot hold
 * or of a key that is too long, and for more than WH_OBJECT_JSON_MAX bytes; -ENOMEM.
 */
wh_must_check int wh_yaml_json(char **ret, const struct wh_yaml_node *node, struct wh_error *err);

#endif
