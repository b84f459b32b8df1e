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

#include "kind.h"
#include "labels.h"
#include "policy.h"
#include "request.h"
#include "settings.h"
#include "yaml.h"

#include "wherry/cleanup.h"
#include "wherry/error.h"
#include "wherry/limits.h"

struct wh_object {
	enum wh_kind kind;
	char *name_space; /* "" if the kind is cluster-scoped; "default" if none was written */
	char *name;
	struct wh_labels labels;     /* NAMESPACE, VM, VMI: what selectors look at */
	struct wh_settings settings; /* HYPERCONVERGED, KUBEVIRT */
	struct wh_policy policy;     /* POLICY */
	struct wh_request request;   /* MIGRATION */
	char *json;                  /* all of it, one line: yaml_json.h */
	struct wh_error place;       /* "FILE:LINE:COLUMN", where it was read */
};

struct wh_objects {
	struct wh_object *items; /* owned */
	size_t count;
	size_t capacity;
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

/* The same from one file. Return: also the system's errno if it cannot be read. */
wh_must_check int wh_objects_load(struct wh_objects *ret, const char *path, struct wh_error *err);

/* From all *.yaml, *.yml and *.json files of a directory that are not hidden, in the order of their
 * names, as if they were one. */
wh_must_check int wh_objects_load_dir(struct wh_objects *ret, const char *path,
                                      struct wh_error *err);

/* The settings of the one object that has any; NULL if there is none. Borrowed. */
const struct wh_settings *wh_objects_settings(const struct wh_objects *objects);

/* What the three above are made of: append the objects of @tree, and see that none is there twice. */
wh_must_check int wh_objects_append(struct wh_objects *objects, const struct wh_yaml *tree,
                                    struct wh_error *err);
wh_must_check int wh_objects_check(const struct wh_objects *objects, struct wh_error *err);

void wh_objects_done(struct wh_objects *objects);

/* Give back what @object holds; for one that was moved out of a list. */
void wh_object_done(struct wh_object *object);

/* YAML as "oc get -o yaml" prints it, from the JSON of an object; from malloc(), NULL if @json
 * is none. */
char *wh_object_yaml(const char *json);

#endif
