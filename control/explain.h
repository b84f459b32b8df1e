/* SPDX-License-Identifier: Apache-2.0 */

/* Explain - how a VM would be migrated now, and why: docs/api.md. */

#ifndef WH_EXPLAIN_H
#define WH_EXPLAIN_H

#include "cluster.h"
#include "json.h"

#include "wherry/cleanup.h"
#include "wherry/error.h"

/*
 * Fill in @answer. @name_space may be "": that of the node which has the VM, or "default". Return:
 * 0, or -ENOENT for a VM that neither a node nor an object knows.
 */
wh_must_check int wh_explain(const struct wh_cluster *cluster, const char *name_space,
                             const char *vm, json_t *answer, struct wh_error *err);

#endif
