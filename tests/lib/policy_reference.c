/* SPDX-License-Identifier: Apache-2.0 */

#include "policy_reference.h"

#include <stdlib.h>
#include <string.h>

#define KEYS_MAX 64

static size_t score(const struct wh_policy *p)
{
	return p->namespace_selector.count + p->vm_selector.count;
}

static bool all_there(const struct wh_labels *selector, const struct wh_labels *labels)
{
	size_t there = 0;

	for (size_t i = 0; i < selector->count; i++) {
		for (size_t j = 0; j < labels->count; j++)
			there += !strcmp(selector->items[i].key, labels->items[j].key) &&
			         !strcmp(selector->items[i].value, labels->items[j].value);
	}
	return there == selector->count;
}

static int bytewise(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void sorted_keys(const char *keys[KEYS_MAX], const struct wh_policy *p)
{
	size_t count = 0;

	for (size_t i = 0; i < p->namespace_selector.count && count < KEYS_MAX; i++)
		keys[count++] = p->namespace_selector.items[i].key;
	for (size_t i = 0; i < p->vm_selector.count && count < KEYS_MAX; i++)
		keys[count++] = p->vm_selector.items[i].key;
	qsort(keys, count, sizeof(*keys), bytewise);
}

/* Whether @a wins over @b; both match. */
static bool better(const struct wh_named_policy *a, const struct wh_named_policy *b,
                   enum wh_compatibility compatibility)
{
	const char *a_keys[KEYS_MAX], *b_keys[KEYS_MAX];
	int order = 0;

	if (score(a->policy) != score(b->policy))
		return score(a->policy) > score(b->policy);
	if (compatibility == WH_COMPATIBLE_KUBEVIRT &&
	    a->policy->vm_selector.count != b->policy->vm_selector.count)
		return a->policy->vm_selector.count > b->policy->vm_selector.count;
	if (compatibility == WH_COMPATIBLE_DOCS) {
		sorted_keys(a_keys, a->policy);
		sorted_keys(b_keys, b->policy);
		for (size_t i = 0; i < score(a->policy) && order == 0; i++)
			order = strcmp(a_keys[i], b_keys[i]);
	}
	return order ? order < 0 : strcmp(a->name, b->name) < 0;
}

const struct wh_named_policy *reference_resolve(const struct wh_named_policy *policies,
                                                size_t count, enum wh_compatibility compatibility,
                                                const struct wh_labels *name_space,
                                                const struct wh_labels *vm)
{
	const struct wh_named_policy *best = NULL;

	for (size_t i = 0; i < count; i++) {
		const struct wh_policy *p = policies[i].policy;

		if (p->has_selectors && all_there(&p->namespace_selector, name_space) &&
		    all_there(&p->vm_selector, vm) &&
		    (!best || better(&policies[i], best, compatibility)))
			best = &policies[i];
	}
	return best;
}
