/* SPDX-License-Identifier: Apache-2.0 */

#include "explain.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "labels_json.h"
#include "status.h"

#include "wherry/assert.h"

struct entries {
	json_t *list;
	uint64_t matching;
	uint64_t missing;
};

static void add_entry(void *ctx, const struct wh_policy_entry *e)
{
	struct entries *entries = ctx;

	entries->matching += e->matches;
	entries->missing += !e->matches;
	(void)json_array_append_new(entries->list, json_pack("{s:s, s:s, s:s, s:s?, s:b}", "of",
	                                                     e->of_namespace ? "namespace" : "vm",
	                                                     "key", e->key, "wants", e->wants,
	                                                     "has", e->has, "matches", e->matches));
}

/* Why this one does not win, or does. */
static void say_why(struct wh_error *why, const struct wh_named_policy *policy,
                    const struct entries *entries, bool matches,
                    const struct wh_named_policy *winner)
{
	const char *best = winner ? winner->name : "";

	if (!policy->policy->has_selectors)
		(void)wh_fail(why, 0, "has no selectors, so it matches nothing");
	else if (!matches)
		(void)wh_fail(why, 0, "%u of its %u labels are not there as it wants them",
		              (unsigned)entries->missing,
		              (unsigned)(entries->missing + entries->matching));
	else if (!strcmp(best, policy->name))
		(void)wh_fail(why, 0, "wins; labels that match: %u", (unsigned)entries->matching);
	else
		(void)wh_fail(why, 0,
		              "labels that match: %u; but '%s' matches more, or as many and comes "
		              "first in the order of their keys and names",
		              (unsigned)entries->matching, best);
}

static json_t *policy_json(const struct wh_named_policy *policy,
                           const struct wh_cluster_effect *effect)
{
	struct entries entries = { .list = json_array() };
	bool wins = effect->policy && !strcmp(effect->policy->name, policy->name);
	struct wh_error why;
	bool matches = wh_policy_explain(policy->policy, effect->namespace_labels,
	                                 effect->vm_labels, add_entry, &entries);

	say_why(&why, policy, &entries, matches, effect->policy);
	return json_pack("{s:s, s:b, s:o, s:b, s:s, s:o}", "name", policy->name, "matches", matches,
	                 "score", wh_json_number(matches ? entries.matching : 0), "wins", wins,
	                 "why", why.text, "entries", entries.list);
}

/* As "settings" shows them, and where each comes from. */
static json_t *settings_json(const struct wh_cluster *cluster,
                             const struct wh_cluster_effect *effect)
{
	const struct wh_settings *of_cluster = wh_cluster_settings(cluster);
	json_t *list = wh_status_settings(&effect->settings);
	struct wh_setting_value v;

	for (size_t i = 0; wh_settings_at(of_cluster, i, &v); i++) {
		json_t *setting = json_array_get(list, i);
		bool by_policy = effect->policy &&
		                 (effect->policy->policy->settings.given >> i & 1);

		(void)json_object_set_new(setting, "from",
		                          json_string(by_policy ? "policy"
		                                      : v.given ? "cluster"
		                                                : "default"));
		if (by_policy)
			(void)json_object_set_new(setting, "policy",
			                          json_string(effect->policy->name));
	}
	return list;
}

struct place {
	const char *name_space; /* "" for any */
	const char *vm;
	char found_namespace[WH_NAME_MAX];
	const char *node;
	bool known;
};

/* A node that has it, and if none has, one that could. */
static void find_at_nodes(const struct wh_cluster *cluster, struct place *place)
{
	struct wh_cluster_node node;
	const struct wh_cluster_time any = { 0 };

	for (size_t i = 0; wh_cluster_node_at(cluster, i, &node, any); i++)
		for (size_t j = 0; j < node.vm_count && !*place->node; j++) {
			const struct wh_report_vm *vm = &node.vms[j];

			if (strcmp(vm->name, place->vm) != 0 ||
			    (*place->name_space && strcmp(vm->name_space, place->name_space) != 0))
				continue;
			place->known = true;
			memcpy(place->found_namespace, vm->name_space, WH_NAME_MAX);
			if (vm->here)
				place->node = node.name;
		}
}

static void on_object(void *ctx, const struct wh_object *object, uint64_t revision)
{
	struct place *place = ctx;

	(void)revision;
	if (!place->known)
		(void)snprintf(place->found_namespace, WH_NAME_MAX, "%s", object->name_space);
	place->known = true;
}

static int find_place(const struct wh_cluster *cluster, struct place *place, struct wh_error *err)
{
	struct wh_object_key key = { .name_space = place->name_space, .name = place->vm };

	find_at_nodes(cluster, place);
	key.kind = WH_KIND_VMI;
	wh_cluster_each_object(cluster, &key, on_object, place);
	key.kind = WH_KIND_VM;
	wh_cluster_each_object(cluster, &key, on_object, place);
	if (!place->known)
		return wh_fail(err, -ENOENT, "no VM '%s'%s%s: no node has it, and no object",
		               place->vm, *place->name_space ? " in namespace " : "",
		               place->name_space);
	return 0;
}

int wh_explain(const struct wh_cluster *cluster, const char *name_space, const char *vm,
               json_t *answer, struct wh_error *err)
{
	static const char *const sources[] = {
		[WH_LABELS_OF_VMI] = "VirtualMachineInstance",
		[WH_LABELS_OF_VM] = "VirtualMachine",
		[WH_LABELS_OF_DOMAIN] = "domain",
		[WH_LABELS_OF_NOTHING] = "",
	};
	struct place place = { .name_space = name_space, .vm = vm, .node = "" };
	struct wh_named_policy policy;
	struct wh_cluster_effect effect;
	json_t *policies = json_array();
	int r = find_place(cluster, &place, err);

	(void)json_object_set_new(answer, "policies", policies);
	if (r < 0)
		return r;
	wh_cluster_effect(cluster, place.found_namespace, vm, &effect);
	for (size_t i = 0; wh_cluster_policy_at(cluster, i, &policy); i++)
		(void)json_array_append_new(policies, policy_json(&policy, &effect));
	(void)json_object_set_new(answer, "namespace", json_string(place.found_namespace));
	(void)json_object_set_new(answer, "vm", json_string(vm));
	(void)json_object_set_new(answer, "node", json_string(place.node));
	(void)json_object_set_new(answer, "namespace_labels",
	                          wh_labels_to_json(effect.namespace_labels));
	(void)json_object_set_new(answer, "vm_labels", wh_labels_to_json(effect.vm_labels));
	(void)json_object_set_new(answer, "vm_labels_from",
	                          json_string(sources[effect.vm_labels_from]));
	(void)json_object_set_new(answer, "settings", settings_json(cluster, &effect));
	return 0;
}
