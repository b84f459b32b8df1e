/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Object - a Kubernetes object as the control plane knows it: what docs/semantics.md gives a
 * meaning is a field, and all of it is kept as JSON, so that nothing is lost on the way from
 * "apply" to "get".
 *
 *	HyperConverged                   hco.kubevirt.io/v1beta1, v1        settings
 *	KubeVirt                         kubevirt.io/v1                     settings
 *	MigrationPolicy                  migrations.kubevirt.io/v1alpha1    policy
 *	Namespace                        v1                                 labels
 *	VirtualMachine                   kubevirt.io/v1                     labels of spec.template
 *	VirtualMachineInstance           kubevirt.io/v1                     labels
 *	VirtualMachineInstanceMigration  kubevirt.io/v1                     request
 *
 * Input is never trusted: see yaml.h. Errors are "FILE:LINE:COLUMN: what is wrong; what would be
 * right".
 *
 * Threads: objects do not change once they were read.
 */

#ifndef WH_OBJECT_H
#define WH_OBJECT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "labels.h"
#include "policy.h"
#include "settings.h"

#include "wherry/cleanup.h"
#include "wherry/error.h"
#include "wherry/limits.h"

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

/* Order of the queue: the higher goes first. docs/semantics.md section 4. */
enum wh_priority {
	WH_PRIORITY_MAINTENANCE = 20, /* "system-maintenance" */
	WH_PRIORITY_USER = 50,        /* "user-triggered" */
	WH_PRIORITY_CRITICAL = 100,   /* "system-critical" */
};

/* spec of a VirtualMachineInstanceMigration. */
struct wh_request {
	char vm[WH_NAME_MAX];
	char to[WH_NAME_MAX]; /* addedNodeSelector's kubernetes.io/hostname; "" for any node */
	enum wh_priority priority;
};

struct wh_object {
	enum wh_kind kind;
	char *name_space; /* "" if the kind is cluster-scoped; "default" if none was written */
	char *name;
	struct wh_labels labels;     /* NAMESPACE, VM, VMI: what selectors look at */
	struct wh_settings settings; /* HYPERCONVERGED, KUBEVIRT */
	struct wh_policy policy;     /* POLICY */
	struct wh_request request;   /* MIGRATION */
	char *json;                  /* all of it, one line, keys in the order of the file */
	struct wh_error place;       /* "FILE:LINE:COLUMN", where it was read */
};

struct wh_objects {
	struct wh_object *items; /* owned */
	size_t count;
	size_t ignored; /* objects of kinds that mean nothing here */
};

/**
 * wh_objects_parse() - Read all objects of a file
 * @ret:	receives them in file order; to be given to wh_objects_done(); untouched on failure
 * @name:	stands for the file in errors
 * @data:	@len bytes of YAML or JSON, not kept: any number of documents, each an object or a
 *		List of objects as "oc get -o yaml" prints it
 *
 * Two objects of the same kind, namespace and name are an error, and so are two with settings.
 *
 * Return: 0, -EINVAL, or -ENOMEM.
 */
wh_must_check int wh_objects_parse(struct wh_objects *ret, const char *name, const void *data,
                                   size_t len, struct wh_error *err);

void wh_objects_done(struct wh_objects *objects);

/* Give back what @object holds; for one that was moved out of a list. */
void wh_object_done(struct wh_object *object);

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

/* "system-critical" and so on, and back; NULL if @priority has no name. */
const char *wh_priority_name(uint32_t priority);
wh_must_check int wh_priority_parse(enum wh_priority *ret, const char *text, struct wh_error *err);

/* YAML as "oc get -o yaml" prints it, from the JSON of an object; from malloc(), NULL if @json
 * is none. */
char *wh_object_yaml(const char *json);

#endif
