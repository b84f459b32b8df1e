/* SPDX-License-Identifier: Apache-2.0 */

/* Objects: which count, what is read of each, and that mistakes change nothing. */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "object.h"

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

#define HCO \
	"apiVersion: hco.kubevirt.io/v1beta1\nkind: HyperConverged\nmetadata: {name: kubevirt}\n"
#define POLICY                                                                 \
	"apiVersion: migrations.kubevirt.io/v1alpha1\nkind: MigrationPolicy\n" \
	"metadata: {name: hpc}\n"
#define NAMESPACE "apiVersion: v1\nkind: Namespace\n"
#define VM        "apiVersion: kubevirt.io/v1\nkind: VirtualMachine\n"
#define VMI       "apiVersion: kubevirt.io/v1\nkind: VirtualMachineInstance\n"
#define VMIM                                                                  \
	"apiVersion: kubevirt.io/v1\nkind: VirtualMachineInstanceMigration\n" \
	"metadata: {name: move-db1}\n"

static const char *data_file(const char *name)
{
	static char path[4096];

	(void)snprintf(path, sizeof(path), "%s/%s", WH_TEST_DATA, name);
	return path;
}

static int parse(struct wh_objects *ret, const char *text, struct wh_error *err)
{
	return wh_objects_parse(ret, "f", text, strlen(text), err);
}

static struct wh_objects must_parse(const char *text)
{
	struct wh_objects objects = { 0 };
	struct wh_error err = { 0 };

	if (parse(&objects, text, &err) < 0)
		fail_msg("%s", err.text);
	return objects;
}

static struct wh_objects must_load(const char *name)
{
	struct wh_objects objects = { 0 };
	struct wh_error err = { 0 };

	if (wh_objects_load(&objects, data_file(name), &err) < 0)
		fail_msg("%s", err.text);
	return objects;
}

static void assert_label(const struct wh_labels *labels, const char *key, const char *value)
{
	const char *has = wh_labels_get(labels, key);

	assert_non_null(has);
	assert_string_equal(has, value);
}

static void reads_the_samples(void **state)
{
	wh_cleanup(wh_objects_done) struct wh_objects light = must_load("hyperconverged.yaml");
	wh_cleanup(wh_objects_done) struct wh_objects heavy =
		must_load("hyperconverged-heavy.yaml");
	wh_cleanup(wh_objects_done) struct wh_objects vm = must_load("virtualmachine.yaml");
	wh_cleanup(wh_objects_done) struct wh_objects policy = must_load("migrationpolicy.yaml");
	const struct wh_settings *s = &light.items[0].settings;

	(void)state;
	assert_string_equal(light.items[0].name, "kubevirt-hyperconverged");
	assert_string_equal(light.items[0].name_space, "openshift-cnv");
	assert_int_equal(s->bandwidth_bps, 64 << 20);
	assert_int_equal(s->completion_s_per_gib, 800);
	assert_int_equal(s->parallel_per_cluster, 5);
	assert_int_equal(s->parallel_outbound_per_node, 2);
	assert_int_equal(s->progress_s, 150);
	assert_false(s->allow_post_copy);
	assert_false(s->allow_workload_disruption);
	assert_int_equal(s->given, 0x3f);

	s = &heavy.items[0].settings;
	assert_int_equal(s->bandwidth_bps, 0);
	assert_int_equal(s->completion_s_per_gib, 150);
	assert_int_equal(s->parallel_outbound_per_node, 1);
	assert_true(s->allow_post_copy);
	assert_true(s->allow_workload_disruption);

	assert_int_equal(vm.items[0].kind, WH_KIND_VM);
	assert_string_equal(vm.items[0].name, "db1");
	assert_string_equal(vm.items[0].name_space, "default");
	assert_int_equal(vm.items[0].labels.count, 3);
	assert_label(&vm.items[0].labels, "kubevirt.io/environment", "production");

	assert_int_equal(policy.items[0].kind, WH_KIND_POLICY);
	assert_string_equal(policy.items[0].name, "production");
	assert_string_equal(policy.items[0].name_space, "");
	assert_label(&policy.items[0].policy.namespace_selector, "hpc-workloads", "True");
	assert_label(&policy.items[0].policy.namespace_selector, "xyz-workloads-type", "");
	assert_label(&policy.items[0].policy.vm_selector, "kubevirt.io/environment", "production");
	assert_int_equal(policy.items[0].policy.settings.given, 0);
}

static void finds_the_settings_of_each_kind(void **state)
{
	static const char *const table[] = {
		HCO "spec: {liveMigrationConfig: {progressTimeout: 7}}",
		"apiVersion: hco.kubevirt.io/v1\nkind: HyperConverged\nmetadata: {name: x}\n"
		"spec: {virtualization: {liveMigrationConfig: {progressTimeout: 7}}}",
		"apiVersion: kubevirt.io/v1\nkind: KubeVirt\nmetadata: {name: x}\n"
		"spec: {configuration: {migrations: {progressTimeout: 7}}}",
		"{\"kind\": \"HyperConverged\", \"apiVersion\": \"hco.kubevirt.io/v1beta1\",\n"
		"\t\"metadata\": {\"name\": \"x\"},\n"
		"\t\"spec\": {\"liveMigrationConfig\": {\"progressTimeout\": 7}}}",
		/* Other parts may hold anything. */
		HCO "spec: {featureGates: {x: -1}, liveMigrationConfig: {progressTimeout: 7}}\n"
		    "status: [x]\n",
		/* Other objects, too. */
		"apiVersion: v1\nkind: ConfigMap\nspec: {liveMigrationConfig: {x: 9}}\n---\n" HCO
		"spec: {liveMigrationConfig: {progressTimeout: 7}}\n---\n",
	};

	(void)state;
	for (size_t i = 0; i < COUNT(table); i++) {
		wh_cleanup(wh_objects_done) struct wh_objects objects = must_parse(table[i]);
		const struct wh_settings *s = wh_objects_settings(&objects);

		assert_int_equal(objects.count, 1);
		assert_non_null(s);
		assert_int_equal(s->progress_s, 7);
		assert_int_equal(s->completion_s_per_gib, 800);
	}
}

static void restores_defaults_where_the_section_is_missing(void **state)
{
	static const char *const table[] = {
		HCO,
		HCO "spec:\n",
		HCO "spec: {}\n",
		HCO "spec: {liveMigrationConfig: }\n",
		HCO "spec: {liveMigrationConfig: {}}\n",
		HCO "spec: {liveMigrationConfig: {progressTimeout: }}\n",
		/* The section of the other version is just another part. */
		HCO "spec: {virtualization: {liveMigrationConfig: {progressTimeout: 7}}}\n",
	};

	(void)state;
	for (size_t i = 0; i < COUNT(table); i++) {
		wh_cleanup(wh_objects_done) struct wh_objects objects = must_parse(table[i]);

		assert_int_equal(wh_objects_settings(&objects)->progress_s, 150);
		assert_int_equal(wh_objects_settings(&objects)->given, 0);
	}
}

static void ignores_and_counts_objects_of_other_kinds(void **state)
{
	static const struct {
		const char *text;
		size_t ignored;
	} table[] = {
		{ "", 0 },
		{ "---\n---\n# comment\n", 0 },
		{ "apiVersion: other.io/v1\nkind: HyperConverged\n", 1 },
		{ "apiVersion: apps/v1\nkind: Deployment\nspec: {replicas: 5}\n", 1 },
		{ "apiVersion: other.io/v1\nkind: Namespace\n", 1 },
		{ "{apiVersion: v1, kind: ConfigMap}\n---\n{apiVersion: v1, kind: Secret}\n", 2 },
		{ "{apiVersion: v1, kind: List, items: [{apiVersion: v1, kind: Secret}]}\n", 1 },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(table); i++) {
		wh_cleanup(wh_objects_done) struct wh_objects objects = must_parse(table[i].text);

		assert_int_equal(objects.count, 0);
		assert_int_equal(objects.ignored, table[i].ignored);
		assert_null(wh_objects_settings(&objects));
	}
}

static void reads_lists_as_oc_prints_them(void **state)
{
	wh_cleanup(wh_objects_done) struct wh_objects objects = must_load("list.yaml");

	(void)state;
	assert_int_equal(objects.count, 3);
	assert_int_equal(objects.ignored, 1);
	assert_int_equal(objects.items[0].kind, WH_KIND_POLICY);
	assert_string_equal(objects.items[0].name, "hpc");
	assert_int_equal(objects.items[0].policy.settings.bandwidth_bps, UINT64_C(2) << 30);
	assert_int_equal(objects.items[1].kind, WH_KIND_NAMESPACE);
	assert_label(&objects.items[1].labels, "kubernetes.io/metadata.name", "databases");
	assert_int_equal(objects.items[2].kind, WH_KIND_VM);
	assert_string_equal(objects.items[2].name_space, "databases");
	/* What means nothing here is kept. */
	assert_non_null(strstr(objects.items[0].json, "\"resourceVersion\":\"48213\""));
	assert_non_null(strstr(objects.items[2].json, "\"printableStatus\":\"Running\""));
}

static void reads_the_labels_that_selectors_look_at(void **state)
{
	static const char *const table[] = {
		NAMESPACE "metadata: {name: n1, labels: {a: b}}",
		VMI "metadata: {name: n1, labels: {a: b}}\nspec: {template: 5}",
		VM "metadata: {name: n1, labels: {x: z}}\n"
		   "spec: {template: {metadata: {labels: {a: b}}}}",
	};

	(void)state;
	for (size_t i = 0; i < COUNT(table); i++) {
		wh_cleanup(wh_objects_done) struct wh_objects objects = must_parse(table[i]);

		assert_int_equal(objects.items[0].labels.count, 1);
		assert_label(&objects.items[0].labels, "a", "b");
		assert_string_equal(objects.items[0].name_space, i == 0 ? "" : "default");
	}
}

static void an_object_without_labels_has_none(void **state)
{
	static const char *const table[] = {
		NAMESPACE "metadata: {name: n1}",
		NAMESPACE "metadata: {name: n1, labels: }",
		VMI "metadata: {name: n1, labels: {}}",
		VM "metadata: {name: n1, labels: {a: b}}",
		VM "metadata: {name: n1}\nspec: {template: {metadata: }}",
	};

	(void)state;
	for (size_t i = 0; i < COUNT(table); i++) {
		wh_cleanup(wh_objects_done) struct wh_objects objects = must_parse(table[i]);

		assert_int_equal(objects.items[0].labels.count, 0);
	}
}

static void reads_what_a_migration_asks_for(void **state)
{
	static const struct {
		const char *text;
		const char *to;
		enum wh_priority priority;
	} table[] = {
		{ VMIM "spec: {vmiName: db1}", "", WH_PRIORITY_USER },
		{ VMIM "spec: {vmiName: db1, addedNodeSelector: , priority: }", "",
		  WH_PRIORITY_USER },
		{ VMIM "spec: {vmiName: db1, addedNodeSelector: {}}", "", WH_PRIORITY_USER },
		{ VMIM "spec: {vmiName: db1, addedNodeSelector: {kubernetes.io/hostname: b}}", "b",
		  WH_PRIORITY_USER },
		{ VMIM "spec: {priority: system-critical, vmiName: db1}", "",
		  WH_PRIORITY_CRITICAL },
		{ VMIM "spec: {priority: user-triggered, vmiName: db1}", "", WH_PRIORITY_USER },
		{ VMIM "spec: {priority: system-maintenance, vmiName: db1}", "",
		  WH_PRIORITY_MAINTENANCE },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(table); i++) {
		wh_cleanup(wh_objects_done) struct wh_objects objects = must_parse(table[i].text);
		const struct wh_request *request = &objects.items[0].request;

		assert_string_equal(request->vm, "db1");
		assert_string_equal(request->to, table[i].to);
		assert_int_equal(request->priority, table[i].priority);
	}
	assert_string_equal(wh_priority_name(100), "system-critical");
	assert_string_equal(wh_priority_name(50), "user-triggered");
	assert_string_equal(wh_priority_name(20), "system-maintenance");
	assert_null(wh_priority_name(0));
}

/* @c @len times, as the name in an object of this kind. */
static int parse_name(const char *kind, char c, size_t len)
{
	wh_cleanup(wh_objects_done) struct wh_objects objects = { 0 };
	struct wh_error err = { 0 };
	char name[300] = { 0 };
	char text[600];

	assert_true(len < sizeof(name));
	memset(name, c, len);
	(void)snprintf(text, sizeof(text), "%smetadata: {name: \"%s\"}", kind, name);
	return parse(&objects, text, &err);
}

static void accepts_names_up_to_their_limits(void **state)
{
	static const char migration_policy[] =
		"apiVersion: migrations.kubevirt.io/v1alpha1\nkind: MigrationPolicy\n";

	(void)state;
	assert_int_equal(parse_name(migration_policy, 'a', 1), 0);
	assert_int_equal(parse_name(migration_policy, 'a', 253), 0);
	assert_int_equal(parse_name(migration_policy, 'a', 254), -EINVAL);
	assert_int_equal(parse_name(VM, 'a', 63), 0);
	assert_int_equal(parse_name(VM, 'a', 64), -EINVAL);
	assert_int_equal(parse_name(VMI, 'a', 63), 0);
	assert_int_equal(parse_name(VMI, 'a', 64), -EINVAL);
	assert_int_equal(parse_name(NAMESPACE, 'a', 63), 0);
	assert_int_equal(parse_name(NAMESPACE, 'a', 64), -EINVAL);
	assert_int_equal(parse_name(VM, '-', 3), -EINVAL);
	assert_int_equal(parse_name(VM, '.', 3), -EINVAL);
	assert_int_equal(parse_name(migration_policy, '.', 3), -EINVAL);
}

static const struct {
	const char *text;
	const char *place;
	const char *words;
} mistakes[] = {
	{ HCO "spec:\n  liveMigrationConfig:\n    bandwithPerMigration: 64Mi\n",
	  "f:6:5: ", "'bandwidthPerMigration'" },
	{ HCO "spec:\n  liveMigrationConfig:\n    progressTimeout: 7\n"
	      "    bandwidthPerMigration: 64Mbps\n",
	  "f:7:28: ", "bits" },
	{ HCO "spec: {liveMigrationConfig: {progressTimeout: -1}}",
	  "f:4:47: ", "from 0 to 4294967295" },
	{ HCO "spec: x\n", "f:4:7: ", "'spec' must be a mapping" },
	{ HCO "spec: {liveMigrationConfig: [a]}\n", "f:4:29: ", "must be a mapping" },
	{ HCO "---\n" HCO, "f:5:1: ", "the first is f:1:1" },
	{ HCO "spec: {}\n---\napiVersion: kubevirt.io/v1\nkind: KubeVirt\n"
	      "metadata: {name: x}\n",
	  "f:6:1: ", "the first is f:1:1" },
	{ "apiVersion: hco.kubevirt.io/v2\nkind: HyperConverged\n",
	  "f:1:13: ", "hco.kubevirt.io/v1" },
	{ "kind: KubeVirt\napiVersion: kubevirt.io/v1alpha3\n",
	  "f:2:13: ", "write kubevirt.io/v1" },
	{ "kind: MigrationPolicy\napiVersion: migrations.kubevirt.io/v1\n",
	  "f:2:13: ", "write migrations.kubevirt.io/v1alpha1" },
	{ "kind: Namespace\napiVersion: v2\n", "f:2:13: ", "write v1" },
	{ "kind: VirtualMachineInstance\napiVersion: kubevirt.io/v1alpha3\n",
	  "f:2:13: ", "write kubevirt.io/v1" },
	{ HCO "---\na: [\n", "f:6:1: ", ";" },
	/* What is no object. */
	{ "text", "f:1:1: ", "no object" },
	{ HCO "---\n- kind\n", "f:5:1: ", "no object" },
	{ "{}", "f:1:1: ", "'apiVersion' is missing" },
	{ "kind: KubeVirt\n", "f:1:1: ", "'apiVersion' is missing" },
	{ "apiVersion: v1\n", "f:1:1: ", "'kind' is missing" },
	{ "apiVersion: v1\nkind: 5\n", "f:2:7: ", "quotes" },
	{ "apiVersion: {a: b}\nkind: KubeVirt\n", "f:1:13: ", "a string" },
	{ "{apiVersion: v1, kind: List, items: {}}", "f:1:37: ", "must be a list" },
	{ "{apiVersion: v1, kind: List, items: [5]}", "f:1:38: ", "no object" },
	/* Metadata. */
	{ "apiVersion: kubevirt.io/v1\nkind: KubeVirt\n", "f:1:1: ", "'metadata'" },
	{ VM "metadata:\n", "f:3:10: ", "'metadata'" },
	{ VM "metadata: x\n", "f:3:11: ", "mapping" },
	{ VM "metadata: {namespace: x}\n", "f:3:11: ", "'name' is missing" },
	{ VM "metadata: {name: }\n", "f:3:18: ", "'name' is missing" },
	{ VM "metadata: {name: 5}\n", "f:3:18: ", "quotes" },
	{ VM "metadata: {name: A}\n", "f:3:18: ", "not a name" },
	{ VM "metadata: {name: a.b}\n", "f:3:18: ", "not a name" },
	{ VM "metadata: {name: a, namespace: a.b}\n", "f:3:32: ", "not a name" },
	{ POLICY "metadata: {name: x}\n", "f:4:1: ", "already" },
	{ "apiVersion: v1\nkind: Namespace\nmetadata: {name: x, namespace: x}\n",
	  "f:3:32: ", "no namespace" },
	/* Labels. */
	{ VMI "metadata: {name: a, labels: {b: true}}\n", "f:3:33: ", "quotes" },
	{ VMI "metadata: {name: a, labels: {b: 5}}\n", "f:3:33: ", "b: \"5\"" },
	{ VMI "metadata: {name: a, labels: [b]}\n", "f:3:29: ", "mapping" },
	{ VM "metadata: {name: a}\nspec: {template: {metadata: {labels: {b: }}}}\n",
	  "f:4:42: ", "\"\"" },
	/* Policies. */
	{ POLICY "spec: {bandwithPerMigration: 1Gi}", "f:4:8: ", "bandwidthPerMigration" },
	{ POLICY "spec: {selector: {}}", "f:4:8: ", "'selectors'" },
	{ POLICY "spec: {progressTimeout: 5}", "f:4:8: ", "unknown key" },
	{ POLICY "spec: {network: m}", "f:4:8: ", "unknown key" },
	{ POLICY "spec: {parallelMigrationsPerCluster: 5}", "f:4:8: ", "unknown key" },
	{ POLICY "spec: {completionTimeoutPerGiB: -1}", "f:4:33: ", "from 0" },
	{ POLICY "spec: {bandwidthPerMigration: 64m}", "f:4:31: ", "64M" },
	{ POLICY "spec: {allowPostCopy: yes}", "f:4:23: ", "true or false" },
	{ POLICY "spec: {selectors: []}", "f:4:19: ", "mapping" },
	{ POLICY "spec: {selectors: {namespaceSelectors: {}}}", "f:4:20: ", "'namespaceSelector'" },
	{ POLICY "spec: {selectors: {namespaceSelector: {a: true}}}", "f:4:43: ", "quotes" },
	{ POLICY "spec: {selectors: {namespaceSelector: {a: }}}", "f:4:43: ", "\"\"" },
	{ POLICY "spec: {selectors: {virtualMachineInstanceSelector: {a/: b}}}",
	  "f:4:53: ", "no key of a label" },
	{ POLICY "spec: x", "f:4:7: ", "mapping" },
	{ POLICY "---\n# again\n" POLICY, "f:6:1: ", "the first is f:1:1" },
	/* Migrations. */
	{ VMIM, "f:1:1: ", "vmiName" },
	{ VMIM "spec: {}", "f:4:7: ", "'vmiName' is missing" },
	{ VMIM "spec: {vmiName: }", "f:4:17: ", "'vmiName' is missing" },
	{ VMIM "spec: {vmiName: A}", "f:4:17: ", "not a name" },
	{ VMIM "spec: {vmiName: a, vmi: b}", "f:4:20: ", "'vmiName'" },
	{ VMIM "spec: {vmiName: a, priority: urgent}", "f:4:30: ", "user-triggered" },
	{ VMIM "spec: {vmiName: a, priority: system-critcal}", "f:4:30: ", "'system-critical'" },
	{ VMIM "spec: {vmiName: a, addedNodeSelector: {hostname: b}}",
	  "f:4:40: ", "'kubernetes.io/hostname'" },
	{ VMIM "spec: {vmiName: a, addedNodeSelector: {kubernetes.io/hostname: B}}",
	  "f:4:64: ", "not a name" },
	/* What JSON cannot hold. */
	{ HCO "status: {x: 1e999}", "f:4:13: ", "quotes" },
	{ HCO "status: {x: 9223372036854775808}", "f:4:13: ", "quotes" },
	{ HCO "status: {x: .inf}", "f:4:13: ", "quotes" },
};

static void a_manifest_with_a_mistake_changes_nothing(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(mistakes); i++) {
		struct wh_objects objects = { .ignored = 77 };
		struct wh_error err = { 0 };

		if (parse(&objects, mistakes[i].text, &err) != -EINVAL)
			fail_msg("accepted: %s", mistakes[i].text);
		print_message("# %s\n", err.text);
		if (strncmp(err.text, mistakes[i].place, strlen(mistakes[i].place)) != 0)
			fail_msg("not at %s: %s", mistakes[i].place, err.text);
		if (!strstr(err.text, mistakes[i].words))
			fail_msg("no '%s' in: %s", mistakes[i].words, err.text);
		assert_int_equal(objects.ignored, 77);
		assert_null(objects.items);
	}
}

static void objects_that_differ_in_kind_namespace_or_name_go_together(void **state)
{
	wh_cleanup(wh_objects_done) struct wh_objects objects = must_parse(
		VM "metadata: {name: a}\n---\n" VM "metadata: {name: b}\n---\n" VM
		   "metadata: {name: a, namespace: n1}\n---\n" VMI "metadata: {name: a}\n");

	(void)state;
	assert_int_equal(objects.count, 4);
}

static void names_the_first_object_that_is_there_twice(void **state)
{
	static const char text[] = VM
		"metadata: {name: z}\n---\n" VM "metadata: {name: a}\n---\n" VM
		"metadata: {name: z, namespace: default}\n---\n" VM "metadata: {name: a}\n";
	struct wh_objects objects;
	struct wh_error err = { 0 };

	(void)state;
	assert_int_equal(parse(&objects, text, &err), -EINVAL);
	assert_string_equal(err.text,
	                    "f:9:1: a second VirtualMachine 'z'; the first is f:1:1; remove one");
}

static void kinds_have_all_their_names(void **state)
{
	static const struct {
		const char *text;
		enum wh_kind kind;
	} table[] = {
		{ "HyperConverged", WH_KIND_HYPERCONVERGED },
		{ "hco", WH_KIND_HYPERCONVERGED },
		{ "kubevirts", WH_KIND_KUBEVIRT },
		{ "kv", WH_KIND_KUBEVIRT },
		{ "migrationpolicies", WH_KIND_POLICY },
		{ "MIGRATIONPOLICY", WH_KIND_POLICY },
		{ "ns", WH_KIND_NAMESPACE },
		{ "namespaces", WH_KIND_NAMESPACE },
		{ "vm", WH_KIND_VM },
		{ "VirtualMachines", WH_KIND_VM },
		{ "vmi", WH_KIND_VMI },
		{ "virtualmachineinstance", WH_KIND_VMI },
		{ "vmim", WH_KIND_MIGRATION },
		{ "VirtualMachineInstanceMigration", WH_KIND_MIGRATION },
	};
	enum wh_kind kind = WH_KINDS;
	struct wh_error err;

	(void)state;
	for (size_t i = 0; i < COUNT(table); i++) {
		assert_int_equal(wh_kind_parse(&kind, table[i].text, NULL), 0);
		assert_int_equal(kind, table[i].kind);
	}
	assert_int_equal(wh_kind_parse(&kind, "migrationpolicys", &err), -EINVAL);
	assert_non_null(strstr(err.text, "'migrationpolicy'"));
	assert_int_equal(wh_kind_parse(&kind, "", &err), -EINVAL);
	assert_int_equal(kind, WH_KIND_MIGRATION);
}

/* A directory with files of the test's own. */

struct directory {
	char path[64];
	char *files[4];
	size_t count;
};

static int make_directory(void **state)
{
	static struct directory dir;

	dir = (struct directory){ .path = "/tmp/wh-test-object-XXXXXX" };
	*state = &dir;
	return mkdtemp(dir.path) ? 0 : -1;
}

static int remove_directory(void **state)
{
	struct directory *dir = *state;

	for (size_t i = 0; i < dir->count; i++) {
		(void)unlink(dir->files[i]);
		free(dir->files[i]);
	}
	return rmdir(dir->path);
}

static void put(struct directory *dir, const char *name, const char *text)
{
	char *path = NULL;
	FILE *out;

	assert_true(dir->count < COUNT(dir->files));
	assert_true(asprintf(&path, "%s/%s", dir->path, name) > 0);
	dir->files[dir->count++] = path;
	out = fopen(path, "we");
	assert_non_null(out);
	assert_true(fputs(text, out) >= 0);
	assert_int_equal(fclose(out), 0);
}

static void reads_the_manifests_of_a_directory(void **state)
{
	struct directory *dir = *state;
	struct wh_objects objects = { 0 };
	struct wh_error err = { 0 };

	assert_int_equal(wh_objects_load_dir(&objects, dir->path, &err), 0);
	assert_int_equal(objects.count, 0);

	put(dir, "notes.txt", "a: [");
	put(dir, ".hidden.yaml", "a: [");
	put(dir, "a.json", "{\"apiVersion\": \"v1\", \"kind\": \"Secret\"}");
	put(dir, "b.yml", HCO "spec: {liveMigrationConfig: {progressTimeout: 7}}");
	assert_int_equal(wh_objects_load_dir(&objects, dir->path, &err), 0);
	assert_int_equal(objects.count, 1);
	assert_int_equal(objects.ignored, 1);
	assert_int_equal(wh_objects_settings(&objects)->progress_s, 7);
	wh_objects_done(&objects);
}

static void names_both_places_of_settings_given_twice(void **state)
{
	struct directory *dir = *state;
	struct wh_objects objects = { .ignored = 77 };
	struct wh_error err = { 0 };
	char words[WH_ERROR_TEXT_MAX];

	put(dir, "b.json", HCO);
	put(dir, "a.yaml", "# comment\n" HCO);
	assert_int_equal(wh_objects_load_dir(&objects, dir->path, &err), -EINVAL);

	(void)snprintf(words, sizeof(words),
	               "%s/b.json:1:1: a second object with migration settings; "
	               "the first is %s/a.yaml:2:1; keep one of them",
	               dir->path, dir->path);
	assert_string_equal(err.text, words);
	assert_int_equal(objects.ignored, 77);
}

static void one_bad_file_spoils_the_directory(void **state)
{
	struct directory *dir = *state;
	struct wh_objects objects = { .ignored = 77 };
	struct wh_error err = { 0 };
	char words[WH_ERROR_TEXT_MAX];

	put(dir, "a.yaml", HCO);
	put(dir, "b.yaml", "a: [");
	assert_int_equal(wh_objects_load_dir(&objects, dir->path, &err), -EINVAL);

	(void)snprintf(words, sizeof(words), "%s/b.yaml:1:5: ", dir->path);
	assert_int_equal(strncmp(err.text, words, strlen(words)), 0);
	assert_int_equal(objects.ignored, 77);

	assert_int_equal(wh_objects_load_dir(&objects, "/nonexistent", &err), -ENOENT);
	assert_string_equal(err.text, "/nonexistent: No such file or directory");
}

#define WITH_DIRECTORY(fn) cmocka_unit_test_setup_teardown(fn, make_directory, remove_directory)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_the_samples),
		cmocka_unit_test(finds_the_settings_of_each_kind),
		cmocka_unit_test(restores_defaults_where_the_section_is_missing),
		cmocka_unit_test(ignores_and_counts_objects_of_other_kinds),
		cmocka_unit_test(reads_lists_as_oc_prints_them),
		cmocka_unit_test(reads_the_labels_that_selectors_look_at),
		cmocka_unit_test(an_object_without_labels_has_none),
		cmocka_unit_test(reads_what_a_migration_asks_for),
		cmocka_unit_test(accepts_names_up_to_their_limits),
		cmocka_unit_test(a_manifest_with_a_mistake_changes_nothing),
		cmocka_unit_test(objects_that_differ_in_kind_namespace_or_name_go_together),
		cmocka_unit_test(names_the_first_object_that_is_there_twice),
		cmocka_unit_test(kinds_have_all_their_names),
		WITH_DIRECTORY(reads_the_manifests_of_a_directory),
		WITH_DIRECTORY(names_both_places_of_settings_given_twice),
		WITH_DIRECTORY(one_bad_file_spoils_the_directory),
	};

	return cmocka_run_group_tests_name("object", tests, NULL, NULL);
}
