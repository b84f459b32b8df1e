/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A policy that matches has all of its entries matching, so which of two matching policies wins
 * does not depend on the VM: it is an order of the policies, and they are kept in it. The first
 * one that matches has won.
 *
 * To find it without looking at all, each policy is filed under one of its entries, the one that
 * the fewest policies have. A VM that the policy matches has that label; so what is filed under
 * the VM's labels is all that can match. Policies without entries match every VM, so only the
 * first of them can ever win.
 */

#include "policy.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "value.h"

/* Reading. */

#define SELECTORS "selectors"

static int read_labels(void *field, const struct wh_yaml_node *node, struct wh_error *err)
{
	return wh_labels_parse(field, node, err);
}

static const struct wh_value_key selector_keys[] = {
	{ "namespaceSelector", read_labels, offsetof(struct wh_policy, namespace_selector), false },
	{ "virtualMachineInstanceSelector", read_labels, offsetof(struct wh_policy, vm_selector),
	  false },
};

int wh_policy_parse(struct wh_policy *ret, const struct wh_yaml_node *spec, struct wh_error *err)
{
	wh_cleanup(wh_policy_done) struct wh_policy policy = { .settings = wh_settings_defaults() };
	const struct wh_yaml_node *selectors;
	int r;

	if (!spec || wh_value_is_null(spec)) {
		*ret = policy;
		return 0;
	}
	r = wh_settings_parse_policy(&policy.settings, spec, SELECTORS, err);
	if (r < 0)
		return r;
	selectors = wh_yaml_get(spec, SELECTORS);
	if (selectors && !wh_value_is_null(selectors)) {
		policy.has_selectors = true;
		r = wh_value_object(&policy, selectors, selector_keys,
		                    sizeof(selector_keys) / sizeof(selector_keys[0]), err);
		if (r < 0)
			return r;
	}

	*ret = policy;
	policy = (struct wh_policy){ 0 };
	return 0;
}

void wh_policy_done(struct wh_policy *policy)
{
	wh_labels_done(&policy->namespace_selector);
	wh_labels_done(&policy->vm_selector);
}

void wh_policy_apply(struct wh_settings *settings, const struct wh_policy *policy)
{
	wh_settings_override(settings, &policy->settings);
}

/* Matching. */

static struct wh_policy_entry look_at(const struct wh_label *wanted, const struct wh_labels *labels,
                                      bool of_namespace)
{
	const char *has = wh_labels_get(labels, wanted->key);

	return (struct wh_policy_entry){
		.of_namespace = of_namespace,
		.key = wanted->key,
		.wants = wanted->value,
		.has = has,
		.matches = has && !strcmp(has, wanted->value),
	};
}

static bool selects(const struct wh_labels *selector, const struct wh_labels *labels)
{
	for (size_t i = 0; i < selector->count; i++) {
		if (!look_at(&selector->items[i], labels, false).matches)
			return false;
	}
	return true;
}

bool wh_policy_explain(const struct wh_policy *policy, const struct wh_labels *name_space,
                       const struct wh_labels *vm,
                       void (*each)(void *ctx, const struct wh_policy_entry *entry), void *ctx)
{
	bool matches = policy->has_selectors;

	for (int side = 0; side < 2; side++) {
		const struct wh_labels *selector = side == 0 ? &policy->namespace_selector
		                                             : &policy->vm_selector;

		for (size_t i = 0; i < selector->count; i++) {
			const struct wh_policy_entry entry = look_at(
				&selector->items[i], side == 0 ? name_space : vm, side == 0);

			each(ctx, &entry);
			matches = matches && entry.matches;
		}
	}
	return matches;
}

/* The order. */

static size_t score_of(const struct wh_policy *policy)
{
	return policy->namespace_selector.count + policy->vm_selector.count;
}

/* Takes the keys of both selectors, merged, in order. */
struct keys {
	const struct wh_labels *a;
	const struct wh_labels *b;
	size_t a_taken;
	size_t b_taken;
};

static struct keys keys_of(const struct wh_policy *policy)
{
	return (struct keys){ .a = &policy->namespace_selector, .b = &policy->vm_selector };
}

static const char *next_key(struct keys *keys)
{
	const char *a = keys->a_taken < keys->a->count ? keys->a->items[keys->a_taken].key : NULL;
	const char *b = keys->b_taken < keys->b->count ? keys->b->items[keys->b_taken].key : NULL;

	if (!b || (a && strcmp(a, b) <= 0)) {
		keys->a_taken++;
		return a;
	}
	keys->b_taken++;
	return b;
}

/* Both have the same number of keys. */
static int compare_keys(const struct wh_policy *a, const struct wh_policy *b)
{
	struct keys of_a = keys_of(a);
	struct keys of_b = keys_of(b);
	int order = 0;

	for (size_t i = score_of(a); i > 0 && order == 0; i--)
		order = strcmp(next_key(&of_a), next_key(&of_b));
	return order;
}

/* Higher numbers first. */
static int compare_counts(size_t a, size_t b)
{
	return (a < b) - (a > b);
}

static int compare_policies(const void *a, const void *b, void *compatibility)
{
	const struct wh_named_policy *left = a;
	const struct wh_named_policy *right = b;
	int order = compare_counts(score_of(left->policy), score_of(right->policy));

	if (order == 0 && *(enum wh_compatibility *)compatibility == WH_COMPATIBLE_KUBEVIRT)
		order = compare_counts(left->policy->vm_selector.count,
		                       right->policy->vm_selector.count);
	else if (order == 0)
		order = compare_keys(left->policy, right->policy);
	return order ? order : strcmp(left->name, right->name);
}

/* The set. */

/* All policies that are filed under one entry. */
struct slot {
	const struct wh_label *entry; /* borrowed; NULL if the slot is free */
	bool of_namespace;
	size_t users; /* policies that have the entry, whether filed under it or not */
	size_t first; /* of those filed here, in filed[] */
	size_t count;
};

struct wh_policy_set {
	struct wh_named_policy *policies; /* those that can match, the first to win first */
	size_t count;
	struct slot *slots; /* a hash table; at most half of it is in use */
	size_t mask;
	size_t *filed;   /* indexes of policies, in order within each slot */
	size_t fallback; /* the first policy that matches every VM; @count if there is none */
};

/* FNV-1a. That somebody makes collisions is no worry: who may write policies rules the cluster. */
static uint64_t hash_entry(const struct wh_label *entry, bool of_namespace)
{
	uint64_t hash = UINT64_C(0xcbf29ce484222325) + of_namespace;

	for (const char *c = entry->key; *c; c++)
		hash = (hash ^ (unsigned char)*c) * UINT64_C(0x100000001b3);
	hash = (hash ^ '=') * UINT64_C(0x100000001b3);
	for (const char *c = entry->value; *c; c++)
		hash = (hash ^ (unsigned char)*c) * UINT64_C(0x100000001b3);
	return hash ^ hash >> 32;
}

/* The slot of this entry, or the free one where it would be. */
static struct slot *find_slot(const struct wh_policy_set *set, const struct wh_label *entry,
                              bool of_namespace)
{
	size_t i = hash_entry(entry, of_namespace) & set->mask;

	/* Ends: half of the slots are free. */
	for (;; i = (i + 1) & set->mask) {
		struct slot *slot = &set->slots[i];

		if (!slot->entry)
			return slot;
		if (slot->of_namespace == of_namespace && !strcmp(slot->entry->key, entry->key) &&
		    !strcmp(slot->entry->value, entry->value))
			return slot;
	}
}

static void count_users(struct wh_policy_set *set, const struct wh_labels *selector,
                        bool of_namespace)
{
	for (size_t i = 0; i < selector->count; i++) {
		struct slot *slot = find_slot(set, &selector->items[i], of_namespace);

		slot->entry = &selector->items[i];
		slot->of_namespace = of_namespace;
		slot->users++;
	}
}

/* Of @slot, which may be NULL, and those of @selector, the one with the fewest users. */
static struct slot *rarest(const struct wh_policy_set *set, const struct wh_labels *selector,
                           bool of_namespace, struct slot *slot)
{
	for (size_t i = 0; i < selector->count; i++) {
		struct slot *other = find_slot(set, &selector->items[i], of_namespace);

		if (!slot || other->users < slot->users)
			slot = other;
	}
	return slot;
}

/* Where a policy is filed; NULL for one without entries. */
static struct slot *home_of(const struct wh_policy_set *set, const struct wh_policy *policy)
{
	struct slot *slot = rarest(set, &policy->namespace_selector, true, NULL);

	return rarest(set, &policy->vm_selector, false, slot);
}

static void file_all(struct wh_policy_set *set)
{
	size_t first = 0;

	for (size_t i = 0; i < set->count; i++) {
		count_users(set, &set->policies[i].policy->namespace_selector, true);
		count_users(set, &set->policies[i].policy->vm_selector, false);
	}
	for (size_t i = 0; i < set->count; i++) {
		struct slot *home = home_of(set, set->policies[i].policy);

		if (home)
			home->count++;
		else if (set->fallback == set->count)
			set->fallback = i;
	}
	for (size_t i = 0; i <= set->mask; i++) {
		set->slots[i].first = first;
		first += set->slots[i].count;
		set->slots[i].count = 0;
	}
	for (size_t i = 0; i < set->count; i++) {
		struct slot *home = home_of(set, set->policies[i].policy);

		if (home)
			set->filed[home->first + home->count++] = i;
	}
}

static int allocate(struct wh_policy_set *set, size_t entries)
{
	size_t slots = 2;

	while (slots < 2 * (entries + 1)) /* ends: it doubles */
		slots *= 2;
	set->mask = slots - 1;
	set->slots = calloc(slots, sizeof(*set->slots));
	set->filed = calloc(set->count + 1, sizeof(*set->filed));
	return set->slots && set->filed ? 0 : -ENOMEM;
}

int wh_policy_set_new(struct wh_policy_set **ret, const struct wh_named_policy *policies,
                      size_t count, enum wh_compatibility compatibility)
{
	wh_cleanup(wh_policy_set_freep) struct wh_policy_set *set = calloc(1, sizeof(*set));
	size_t entries = 0;

	if (!set)
		return -ENOMEM;
	set->policies = calloc(count + 1, sizeof(*set->policies));
	if (!set->policies)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++) {
		if (!policies[i].policy->has_selectors)
			continue;
		set->policies[set->count++] = policies[i];
		entries += score_of(policies[i].policy);
	}
	qsort_r(set->policies, set->count, sizeof(*set->policies), compare_policies,
	        &compatibility);

	if (allocate(set, entries) < 0)
		return -ENOMEM;
	set->fallback = set->count;
	file_all(set);

	*ret = wh_steal(set);
	return 0;
}

struct wh_policy_set *wh_policy_set_free(struct wh_policy_set *set)
{
	if (!set)
		return NULL;
	free(set->policies);
	free(set->slots);
	free(set->filed);
	free(set);
	return NULL;
}

/* Asking. */

struct question {
	const struct wh_policy_set *set;
	const struct wh_labels *name_space;
	const struct wh_labels *vm;
	size_t best; /* the first policy so far that matches */
};

static bool matches(const struct question *q, const struct wh_policy *policy)
{
	return selects(&policy->namespace_selector, q->name_space) &&
	       selects(&policy->vm_selector, q->vm);
}

/* Look at what is filed under one label. */
static void look_under(struct question *q, const struct wh_label *label, bool of_namespace)
{
	const struct slot *slot = find_slot(q->set, label, of_namespace);
	const size_t *filed = q->set->filed + slot->first;

	for (size_t i = 0; i < slot->count && filed[i] < q->best; i++) {
		if (matches(q, q->set->policies[filed[i]].policy))
			q->best = filed[i];
	}
}

const struct wh_named_policy *wh_policy_resolve(const struct wh_policy_set *set,
                                                const struct wh_labels *name_space,
                                                const struct wh_labels *vm)
{
	struct question q = { set, name_space, vm, set->fallback };

	for (size_t i = 0; i < name_space->count; i++)
		look_under(&q, &name_space->items[i], true);
	for (size_t i = 0; i < vm->count; i++)
		look_under(&q, &vm->items[i], false);
	return q.best < set->count ? &set->policies[q.best] : NULL;
}
