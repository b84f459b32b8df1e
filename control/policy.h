/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Policy - which settings a VM is migrated with: docs/semantics.md section 2.
 *
 * A set is made once from all policies and then only asked; asking looks only at the policies
 * that share a label with the VM, and allocates nothing.
 *
 * Threads: a set does not change; any number of threads may ask it.
 */

#ifndef WH_POLICY_H
#define WH_POLICY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "labels.h"
#include "settings.h"

#include "wherry/cleanup.h"
#include "wherry/error.h"

struct wh_yaml_node;

/* spec of a MigrationPolicy. */
struct wh_policy {
	struct wh_settings settings; /* only keys that are in settings.given count */
	bool has_selectors;          /* without any it matches nothing */
	struct wh_labels namespace_selector;
	struct wh_labels vm_selector;
};

/* Read the spec; NULL is an empty one. Return: 0 or -EINVAL with the place of the mistake. */
wh_must_check int wh_policy_parse(struct wh_policy *ret, const struct wh_yaml_node *spec,
                                  struct wh_error *err);
void wh_policy_done(struct wh_policy *policy);

/* What is put into a set; both are borrowed until the set is freed. */
struct wh_named_policy {
	const char *name;
	const struct wh_policy *policy;
};

enum wh_compatibility {
	WH_COMPATIBLE_DOCS,     /* the order of OpenShift Virtualization's documentation */
	WH_COMPATIBLE_KUBEVIRT, /* the order of KubeVirt's source */
};

struct wh_policy_set;

/* Return: 0 or -ENOMEM. */
wh_must_check int wh_policy_set_new(struct wh_policy_set **ret,
                                    const struct wh_named_policy *policies, size_t count,
                                    enum wh_compatibility compatibility);
struct wh_policy_set *wh_policy_set_free(struct wh_policy_set *set);

WH_DEFINE_CLEANUP(struct wh_policy_set, wh_policy_set_free)

/* The policy that wins for these labels; NULL if none matches. Borrowed. */
const struct wh_named_policy *wh_policy_resolve(const struct wh_policy_set *set,
                                                const struct wh_labels *name_space,
                                                const struct wh_labels *vm);

/* Let @policy's fields replace those of @settings; their bits in settings->given are set. */
void wh_policy_apply(struct wh_settings *settings, const struct wh_policy *policy);

/* What became of one entry of a selector. */
struct wh_policy_entry {
	bool of_namespace;
	const char *key;
	const char *wants;
	const char *has; /* NULL if the label is not there */
	bool matches;
};

/*
 * Why a policy matches or does not: call @each for every entry of its selectors, namespace's
 * first, in the order of keys. Return: whether the policy matches.
 */
bool wh_policy_explain(const struct wh_policy *policy, const struct wh_labels *name_space,
                       const struct wh_labels *vm,
                       void (*each)(void *ctx, const struct wh_policy_entry *entry), void *ctx);

#endif
