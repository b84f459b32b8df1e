/* SPDX-License-Identifier: Apache-2.0 */

/* Policies: docs/semantics.md section 2, rule by rule. */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "policy.h"
#include "yaml.h"

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

#define POLICIES_MAX 8

/* A policy's name and spec; NULL ends a list. */
struct spec {
	const char *name;
	const char *text;
};

static struct wh_policy must_parse(const char *text)
{
	wh_cleanup(wh_yaml_freep) struct wh_yaml *tree = NULL;
	struct wh_policy policy = { 0 };
	struct wh_error err = { 0 };

	assert_int_equal(wh_yaml_parse(&tree, "f", text, strlen(text), &err), 0);
	if (wh_policy_parse(&policy, tree->documents->items[0], &err) < 0)
		fail_msg("%s", err.text);
	return policy;
}

static struct wh_labels must_parse_labels(const char *text)
{
	wh_cleanup(wh_yaml_freep) struct wh_yaml *tree = NULL;
	struct wh_labels labels = { 0 };
	struct wh_error err = { 0 };

	assert_int_equal(wh_yaml_parse(&tree, "f", text, strlen(text), &err), 0);
	if (wh_labels_parse(&labels, tree->documents->items[0], &err) < 0)
		fail_msg("%s", err.text);
	return labels;
}

struct question {
	const struct spec *specs;
	bool reverse; /* the order in which they are given */
	enum wh_compatibility compatibility;
	const char *name_space; /* labels */
	const char *vm;
};

/* Of @count policies of @q; "" if none matches. */
static const char *ask(const struct question *q, const struct wh_named_policy *named, size_t count)
{
	wh_cleanup(wh_labels_done) struct wh_labels name_space = must_parse_labels(q->name_space);
	wh_cleanup(wh_labels_done) struct wh_labels vm = must_parse_labels(q->vm);
	wh_cleanup(wh_policy_set_freep) struct wh_policy_set *set = NULL;
	const struct wh_named_policy *won;

	assert_int_equal(wh_policy_set_new(&set, named, count, q->compatibility), 0);
	won = wh_policy_resolve(set, &name_space, &vm);
	return won ? won->name : "";
}

/* The name of the winner, which is one of @q->specs; "" if none matches. */
static const char *winner(const struct question *q)
{
	struct wh_policy policies[POLICIES_MAX];
	struct wh_named_policy named[POLICIES_MAX];
	const char *name;
	size_t count = 0;

	for (; q->specs[count].name; count++)
		policies[count] = must_parse(q->specs[count].text);
	for (size_t i = 0; i < count; i++) {
		const size_t from = q->reverse ? count - 1 - i : i;

		named[i] = (struct wh_named_policy){ q->specs[from].name, &policies[from] };
	}
	name = ask(q, named, count);
	for (size_t i = 0; i < count; i++)
		wh_policy_done(&policies[i]);
	return name;
}

static void a_policy_matches_if_every_entry_equals_a_label(void **state)
{
	static const struct {
		const char *selectors; /* the spec */
		const char *name_space;
		const char *vm;
		bool matches;
	} table[] = {
		/* The example of the documentation. */
		{ "{selectors: {namespaceSelector: {hpc-workloads: 'True', xyz-workloads-type: ''}, "
		  "virtualMachineInstanceSelector: {kubevirt.io/environment: production}}}",
		  "{hpc-workloads: 'True', xyz-workloads-type: '', other: x}",
		  "{kubevirt.io/environment: production}", true },
		{ "{selectors: {namespaceSelector: {hpc-workloads: 'True', xyz-workloads-type: ''}, "
		  "virtualMachineInstanceSelector: {kubevirt.io/environment: production}}}",
		  "{hpc-workloads: 'True'}", "{kubevirt.io/environment: production}", false },
		{ "{selectors: {namespaceSelector: {hpc-workloads: 'True', xyz-workloads-type: ''}, "
		  "virtualMachineInstanceSelector: {kubevirt.io/environment: production}}}",
		  "{hpc-workloads: 'True', xyz-workloads-type: ''}",
		  "{kubevirt.io/environment: test}", false },
		/* Byte-equal, and the key is there. */
		{ "{selectors: {namespaceSelector: {a: b}}}", "{a: b}", "{}", true },
		{ "{selectors: {namespaceSelector: {a: b}}}", "{a: B}", "{}", false },
		{ "{selectors: {namespaceSelector: {a: b}}}", "{A: b}", "{}", false },
		{ "{selectors: {namespaceSelector: {a: b}}}", "{a: bb}", "{}", false },
		{ "{selectors: {namespaceSelector: {a: b}}}", "{}", "{}", false },
		{ "{selectors: {namespaceSelector: {a: b, c: d}}}", "{a: b}", "{}", false },
		{ "{selectors: {namespaceSelector: {a: b, c: d}}}", "{c: d, a: b}", "{}", true },
		/* Each selector looks at its own labels. */
		{ "{selectors: {namespaceSelector: {a: b}}}", "{}", "{a: b}", false },
		{ "{selectors: {virtualMachineInstanceSelector: {a: b}}}", "{a: b}", "{}", false },
		{ "{selectors: {virtualMachineInstanceSelector: {a: b}}}", "{}", "{a: b}", true },
		/* Both must match. */
		{ "{selectors: {namespaceSelector: {a: b}, virtualMachineInstanceSelector: {a: b}}}",
		  "{a: b}", "{}", false },
		{ "{selectors: {namespaceSelector: {a: b}, virtualMachineInstanceSelector: {a: b}}}",
		  "{}", "{a: b}", false },
		{ "{selectors: {namespaceSelector: {a: b}, virtualMachineInstanceSelector: {a: b}}}",
		  "{a: b}", "{a: b}", true },
		/* "" is a value and no wildcard. */
		{ "{selectors: {namespaceSelector: {a: ''}}}", "{a: ''}", "{}", true },
		{ "{selectors: {namespaceSelector: {a: ''}}}", "{a: b}", "{}", false },
		{ "{selectors: {namespaceSelector: {a: ''}}}", "{}", "{}", false },
		{ "{selectors: {namespaceSelector: {a: b}}}", "{a: ''}", "{}", false },
		/* Without selectors nothing matches; with empty ones everything does. */
		{ "{}", "{a: b}", "{a: b}", false },
		{ "~", "{}", "{}", false },
		{ "{allowPostCopy: true}", "{}", "{}", false },
		{ "{selectors: }", "{}", "{}", false },
		{ "{selectors: {}}", "{}", "{}", true },
		{ "{selectors: {}}", "{a: b}", "{c: d}", true },
		{ "{selectors: {namespaceSelector: {}}}", "{}", "{}", true },
		{ "{selectors: {virtualMachineInstanceSelector: }}", "{}", "{}", true },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(table); i++) {
		const struct spec specs[] = { { "p", table[i].selectors }, { NULL, NULL } };

		for (int c = WH_COMPATIBLE_DOCS; c <= WH_COMPATIBLE_KUBEVIRT; c++) {
			const struct question q = { specs, false, (enum wh_compatibility)c,
				                    table[i].name_space, table[i].vm };

			if ((*winner(&q) != '\0') != table[i].matches)
				fail_msg("row %zu: %s with %s and %s", i, table[i].selectors,
				         table[i].name_space, table[i].vm);
		}
	}
}

#define NS(entries) "{selectors: {namespaceSelector: {" entries "}}}"
#define VM(entries) "{selectors: {virtualMachineInstanceSelector: {" entries "}}}"
#define BOTH(ns, vm) \
	"{selectors: {namespaceSelector: {" ns "}, virtualMachineInstanceSelector: {" vm "}}}"
#define EVERYTHING "{selectors: {}}"

static void of_several_the_documented_one_wins(void **state)
{
	static const struct {
		struct spec specs[POLICIES_MAX];
		const char *docs;
		const char *kubevirt;
	} table[] = {
		{ { { NULL, NULL } }, "", "" },
		/* The most labels, of both selectors together. */
		{ { { "a", NS("k1: v") }, { "b", NS("k1: v, k2: v") } }, "b", "b" },
		{ { { "a", VM("k1: v") }, { "b", BOTH("k1: v", "k2: v") } }, "b", "b" },
		{ { { "a", NS("k1: v, k2: v") }, { "b", BOTH("k3: v, k1: v", "k4: v") } },
		  "b",
		  "b" },
		/* More labels that do not all match are worth nothing. */
		{ { { "a", NS("k1: v") }, { "b", NS("k1: v, k2: v, k9: v") } }, "a", "a" },
		/* Score 0 loses against any, and against another one by name. */
		{ { { "a", EVERYTHING }, { "b", NS("k1: v") } }, "b", "b" },
		{ { { "b", EVERYTHING }, { "a", EVERYTHING } }, "a", "a" },
		{ { { "b", EVERYTHING }, { "a", "{}" } }, "b", "b" },
		{ { { "a", EVERYTHING }, { "b", NS("k9: v") } }, "a", "a" },
		/* Equal scores: the keys in order; KubeVirt looks at the name. */
		{ { { "a", NS("k2: v") }, { "b", NS("k1: v") } }, "b", "a" },
		{ { { "a", NS("k2: v, k3: v") }, { "b", NS("k1: v, k4: v") } }, "b", "a" },
		{ { { "a", NS("k1: v, k3: v") }, { "b", NS("k1: v, k2: v") } }, "b", "a" },
		/* The keys of both selectors are one sequence. */
		{ { { "a", BOTH("k3: v", "k2: v") }, { "b", BOTH("k4: v", "k1: v") } }, "b", "a" },
		{ { { "a", BOTH("k1: v", "k4: v") }, { "b", BOTH("k3: v", "k1: v") } }, "b", "a" },
		/* Bytewise: capitals before small letters, '-' before '.' before '/'. */
		{ { { "a", NS("k1: v") }, { "b", NS("K1: v") } }, "b", "a" },
		{ { { "a", NS("k/b: v") }, { "b", NS("k-b: v") } }, "b", "a" },
		/* A key is before those that it begins. */
		{ { { "a", NS("k1x: v") }, { "b", NS("k1: v") } }, "b", "a" },
		/* Equal keys: the name. */
		{ { { "b", NS("k1: v") }, { "a", NS("k1: v") } }, "a", "a" },
		{ { { "b", NS("k1: v") }, { "a", VM("k1: v") } }, "a", "a" },
		{ { { "a2", VM("k1: v") }, { "a10", VM("k1: v") } }, "a10", "a10" },
		/* KubeVirt prefers labels of the VM. */
		{ { { "a", NS("k1: v") }, { "b", VM("k2: v") } }, "a", "b" },
		{ { { "a", BOTH("k1: v, k2: v", "k3: v") },
		    { "b", BOTH("k1: v", "k3: v, k4: v") } },
		  "a",
		  "b" },
		{ { { "a", NS("k1: v, k2: v") }, { "b", VM("k1: v") } }, "a", "a" },
	};
	static const char labels[] = "{k1: v, k2: v, k3: v, k4: v, K1: v, k1x: v, k/b: v, k-b: v}";

	(void)state;
	for (size_t i = 0; i < COUNT(table); i++) {
		for (int reverse = 0; reverse < 2; reverse++) {
			struct question q = { table[i].specs, reverse, WH_COMPATIBLE_DOCS, labels,
				              labels };
			const char *docs = winner(&q);
			const char *kubevirt;

			q.compatibility = WH_COMPATIBLE_KUBEVIRT;
			kubevirt = winner(&q);
			if (strcmp(docs, table[i].docs) != 0 ||
			    strcmp(kubevirt, table[i].kubevirt) != 0)
				fail_msg("row %zu: '%s' and '%s'", i, docs, kubevirt);
		}
	}
}

static struct wh_settings apply(const char *spec, struct wh_settings settings)
{
	wh_cleanup(wh_policy_done) struct wh_policy policy = must_parse(spec);

	wh_policy_apply(&settings, &policy);
	return settings;
}

static void fields_replace_those_of_the_cluster_one_by_one(void **state)
{
	struct wh_settings cluster = wh_settings_defaults();
	struct wh_settings s;

	(void)state;
	cluster.bandwidth_bps = 7;
	cluster.completion_s_per_gib = 8;
	cluster.progress_s = 9;
	(void)snprintf(cluster.network, sizeof(cluster.network), "mig");

	s = apply("{selectors: {}}", cluster);
	assert_memory_equal(&s, &cluster, sizeof(s));

	s = apply("bandwidthPerMigration: 2Gi", cluster);
	assert_int_equal(s.bandwidth_bps, UINT64_C(2) << 30);
	assert_int_equal(s.given, 1);
	s.bandwidth_bps = cluster.bandwidth_bps;
	s.given = cluster.given;
	assert_memory_equal(&s, &cluster, sizeof(s));

	/* 0 is a value. */
	s = apply("{bandwidthPerMigration: 0, completionTimeoutPerGiB: 0}", cluster);
	assert_int_equal(s.bandwidth_bps, 0);
	assert_int_equal(s.completion_s_per_gib, 0);
	assert_int_equal(s.progress_s, 9);
	assert_string_equal(s.network, "mig");

	/* What has no value is not there. */
	s = apply("{bandwidthPerMigration: , completionTimeoutPerGiB: ~}", cluster);
	assert_memory_equal(&s, &cluster, sizeof(s));

	s = apply("allowAutoConverge: true", cluster);
	assert_true(s.allow_auto_converge);
}

static void post_copy_sets_workload_disruption_unless_that_is_given(void **state)
{
	static const struct {
		const char *spec;
		bool cluster_post_copy, cluster_disruption;
		bool post_copy, disruption;
	} table[] = {
		{ "allowPostCopy: true", false, false, true, true },
		{ "allowPostCopy: false", true, true, false, false },
		{ "allowPostCopy: false", false, true, false, false },
		{ "{allowPostCopy: true, allowWorkloadDisruption: false}", false, false, true,
		  false },
		{ "{allowPostCopy: true, allowWorkloadDisruption: ~}", false, false, true, true },
		{ "{allowPostCopy: false, allowWorkloadDisruption: true}", true, false, false,
		  true },
		{ "allowWorkloadDisruption: true", false, false, false, true },
		{ "allowWorkloadDisruption: false", true, true, true, false },
		{ "allowAutoConverge: true", true, false, true, false },
		{ "allowAutoConverge: true", false, true, false, true },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(table); i++) {
		struct wh_settings s = { .allow_post_copy = table[i].cluster_post_copy,
			                 .allow_workload_disruption = table[i].cluster_disruption };

		s = apply(table[i].spec, s);
		assert_int_equal(s.allow_post_copy, table[i].post_copy);
		assert_int_equal(s.allow_workload_disruption, table[i].disruption);
	}
}

struct explained {
	char text[512];
	size_t len;
};

static void note(void *ctx, const struct wh_policy_entry *entry)
{
	struct explained *e = ctx;

	e->len += (size_t)snprintf(e->text + e->len, sizeof(e->text) - e->len, "%s:%s=%s,%s,%d ",
	                           entry->of_namespace ? "ns" : "vm", entry->key, entry->wants,
	                           entry->has ? entry->has : "NULL", entry->matches);
}

static void explains_every_entry(void **state)
{
	wh_cleanup(wh_labels_done) struct wh_labels labels = must_parse_labels("{a: '', b: c}");
	wh_cleanup(wh_policy_done) struct wh_policy policy =
		must_parse(BOTH("b: c, a: ''", "z: x, b: d"));
	wh_cleanup(wh_policy_done) struct wh_policy none = must_parse("{}");
	wh_cleanup(wh_policy_done) struct wh_policy every = must_parse(EVERYTHING);
	struct explained e = { .len = 0 };

	(void)state;
	assert_false(wh_policy_explain(&policy, &labels, &labels, note, &e));
	assert_string_equal(e.text, "ns:a=,,1 ns:b=c,c,1 vm:b=d,c,0 vm:z=x,NULL,0 ");

	e = (struct explained){ .len = 0 };
	assert_false(wh_policy_explain(&none, &labels, &labels, note, &e));
	assert_true(wh_policy_explain(&every, &labels, &labels, note, &e));
	assert_int_equal(e.len, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_policy_matches_if_every_entry_equals_a_label),
		cmocka_unit_test(of_several_the_documented_one_wins),
		cmocka_unit_test(fields_replace_those_of_the_cluster_one_by_one),
		cmocka_unit_test(post_copy_sets_workload_disruption_unless_that_is_given),
		cmocka_unit_test(explains_every_entry),
	};

	return cmocka_run_group_tests_name("policy", tests, NULL, NULL);
}
