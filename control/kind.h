/* SPDX-License-Identifier: Apache-2.0 */

/* Kind - the kinds of Kubernetes objects that mean something here, and what they are called. */

#ifndef WH_KIND_H
#define WH_KIND_H

#include <stdbool.h>

#include "wherry/cleanup.h"
#include "wherry/error.h"

/* Numbers are kept in stores: append only. */
enum wh_kind {
	WH_KIND_HYPERCONVERGED,
	WH_KIND_KUBEVIRT,
	WH_KIND_POLICY,
	WH_KIND_NAMESPACE,
	WH_KIND_VM,
	WH_KIND_VMI,
	WH_KIND_MIGRATION,
	WH_KINDS,
};

/* One row of the table of kinds. */
struct wh_kind_info {
	const char *kind;     /* "MigrationPolicy" */
	const char *plural;   /* "migrationpolicies" */
	const char *singular; /* "migrationpolicy" */
	const char *brief;    /* "vmim"; NULL if there is none */
	bool namespaced;
};

const struct wh_kind_info *wh_kind_info(enum wh_kind kind);

/* By any of its names, upper and lower case alike. Return: 0, or -EINVAL with the nearest one. */
wh_must_check int wh_kind_parse(enum wh_kind *ret, const char *text, struct wh_error *err);

#endif
