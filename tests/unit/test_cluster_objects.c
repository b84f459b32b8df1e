/* SPDX-License-Identifier: Apache-2.0 */

/* Objects in the cluster: applied, edited, deleted, and what follows from them. */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "cluster.h"
#include "cluster_rig.h"

static char applied[512];

static void note_applied(void *ctx, const struct wh_object *object, enum wh_applied result)
{
	static const char *const words[] = { "created", "configured", "unchanged" };
	const size_t used = strlen(applied);

	(void)ctx;
	(void)snprintf(applied + used, sizeof(applied) - used, "%s %s; ", object->name,
	               words[result]);
}

static int apply(struct rig *rig, const char *text, bool dry_run)
{
	const struct wh_apply apply = {
		.name = "test.yaml",
		.data = text,
		.len = strlen(text),
		.dry_run = dry_run,
		.each = note_applied,
	};

	applied[0] = '\0';
	return wh_cluster_apply(rig->cluster, &apply, rig->now, &rig->err);
}

static void assert_applies(struct rig *rig, const char *text, const char *what)
{
	if (apply(rig, text, false) < 0)
		fail_msg("%s", rig->err.text);
	assert_string_equal(applied, what);
}

#define POLICY(name, bandwidth)                                                      \
	"---\n{apiVersion: migrations.kubevirt.io/v1alpha1, kind: MigrationPolicy, " \
	"metadata: {name: " name "}, spec: {bandwidthPerMigration: " bandwidth       \
	", selectors: {virtualMachineInstanceSelector: {app: db}}}}\n"
#define VM(name, app)                                                                    \
	"---\n{apiVersion: kubevirt.io/v1, kind: VirtualMachine, metadata: {name: " name \
	"}, spec: {template: {metadata: {labels: {app: " app "}}}}}\n"
#define HCO(name, bandwidth)                                                       \
	"---\n{apiVersion: hco.kubevirt.io/v1beta1, kind: HyperConverged, "        \
	"metadata: {name: " name ", namespace: cnv}, spec: {liveMigrationConfig: " \
	"{bandwidthPerMigration: " bandwidth "}}}\n"
#define KUBEVIRT                                                       \
	"---\n{apiVersion: kubevirt.io/v1, kind: KubeVirt, metadata: " \
	"{name: kv, namespace: cnv}, spec: {configuration: {migrations: {}}}}\n"
#define VMIM(name, vm, to)                                                          \
	"---\n{apiVersion: kubevirt.io/v1, kind: VirtualMachineInstanceMigration, " \
	"metadata: {name: " name ", namespace: default}, spec: {vmiName: " vm       \
	", addedNodeSelector: {kubernetes.io/hostname: " to "}}}\n"

static uint64_t bandwidth_of(const struct rig *rig, const char *vm)
{
	struct wh_cluster_effect effect;

	wh_cluster_effect(rig->cluster, "default", vm, &effect);
	return effect.settings.bandwidth_bps;
}

static void settings_are_those_of_the_cluster_then_of_the_policy(void **state)
{
	struct rig *rig = *state;
	struct wh_cluster_effect effect;

	assert_applies(rig, HCO("hco", "64Mi") POLICY("p", "32Mi") VM("a0", "db") VM("a1", "web"),
	               "hco created; p created; a0 created; a1 created; ");
	assert_int_equal(rig->settings_told, 1);
	assert_int_equal(bandwidth_of(rig, "a0"), 32 << 20);
	assert_int_equal(bandwidth_of(rig, "a1"), 64 << 20);
	assert_int_equal(bandwidth_of(rig, "a2"), 64 << 20);
	wh_cluster_effect(rig->cluster, "default", "a0", &effect);
	assert_string_equal(effect.policy->name, "p");
	assert_string_equal(wh_labels_get(effect.vm_labels, "app"), "db");
	assert_int_equal(effect.namespace_labels->count, 0);

	rig_reopen(rig);
	assert_int_equal(bandwidth_of(rig, "a0"), 32 << 20);
	assert_int_equal(wh_cluster_settings(rig->cluster)->bandwidth_bps, 64 << 20);
}

static void settings_and_policy_are_fixed_when_a_move_is_granted(void **state)
{
	struct rig *rig = *state;

	rig_limits(rig, 0, 2);
	rig_ask(rig, "a0", "b", 0);
	assert_applies(rig, POLICY("p", "32Mi") VM("a0", "db"), "p created; a0 created; ");
	assert_string_equal(rig_move(rig, "a0")->policy, "");
	rig_limits(rig, 5, 2);
	rig_turn(rig);
	assert_string_equal(rig_move(rig, "a0")->policy, "p");
	assert_applies(rig, POLICY("p", "1Mi"), "p configured; ");

	assert_int_equal(rig_move(rig, "a0")->settings.bandwidth_bps, 32 << 20);
	rig_reopen(rig);
	assert_int_equal(rig_move(rig, "a0")->settings.bandwidth_bps, 32 << 20);
	assert_string_equal(rig_move(rig, "a0")->policy, "p");
}

static void a_manifest_is_applied_whole_or_not_at_all(void **state)
{
	static const struct {
		const char *text;
		int result;
		const char *words;
	} cases[] = {
		{ POLICY("q", "1Mi") POLICY("r", "64m"), -EINVAL, "test.yaml:4:" },
		{ POLICY("q", "1Mi") HCO("other", "1Mi"), -EINVAL,
		  "the settings are in HyperConverged 'hco' already" },
		{ POLICY("q", "1Mi") KUBEVIRT, -EINVAL,
		  "the settings are in HyperConverged 'hco' already" },
		{ POLICY("q", "1Mi") VMIM("m", "a9", "b"), -ENOENT, "no node knows a VM 'a9'" },
		{ POLICY("q", "1Mi") VMIM("m", "a0", "a"), -EINVAL, "is on node a already" },
		{ VMIM("m", "a0", "b") VMIM("m2", "a0", "c"), -EBUSY,
		  "another object here moves VM 'a0'" },
	};
	struct rig *rig = *state;
	struct wh_named_policy policy;

	assert_applies(rig, HCO("hco", "64Mi") POLICY("p", "32Mi"), "hco created; p created; ");
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		const int r = apply(rig, cases[i].text, false);

		rig_says(rig->err.text, cases[i].words);
		rig_says(rig->err.text, "test.yaml:");
		assert_int_equal(r, cases[i].result);
		assert_string_equal(applied, "");
	}
	assert_int_equal(apply(rig, POLICY("q", "1Mi") HCO("hco", "1Mi"), true), 0);
	assert_string_equal(applied, "q created; hco configured; ");

	assert_int_equal(wh_cluster_settings(rig->cluster)->bandwidth_bps, 64 << 20);
	assert_true(wh_cluster_policy_at(rig->cluster, 0, &policy));
	assert_string_equal(policy.name, "p");
	assert_false(wh_cluster_policy_at(rig->cluster, 1, &policy));
	assert_null(wh_cluster_find_move(rig->cluster, "a0"));
}

static void what_is_the_same_is_unchanged_and_keeps_its_revision(void **state)
{
	struct rig *rig = *state;
	const char *text = POLICY("p", "32Mi");
	struct wh_apply edit = {
		.name = "test.yaml",
		.data = POLICY("p", "33Mi"),
		.len = sizeof(POLICY("p", "33Mi")) - 1,
		.revision = 1,
		.edited = { .kind = WH_KIND_POLICY, .name_space = "", .name = "p" },
	};

	assert_applies(rig, text, "p created; ");
	assert_applies(rig, text, "p unchanged; ");
	assert_int_equal(wh_cluster_apply(rig->cluster, &edit, rig->now, &rig->err), 0);

	/* It is at revision 2 now. */
	assert_int_equal(wh_cluster_apply(rig->cluster, &edit, rig->now, &rig->err), -ESTALE);
	rig_says(rig->err.text, "somebody else has changed it meanwhile");
	edit.revision = 2;
	edit.data = POLICY("q", "33Mi");
	assert_int_equal(wh_cluster_apply(rig->cluster, &edit, rig->now, &rig->err), -EINVAL);
	rig_says(rig->err.text, "MigrationPolicy 'p'");
	edit.data = POLICY("p", "34Mi");
	assert_int_equal(wh_cluster_delete(rig->cluster, &edit.edited, rig->now, &rig->err), 0);
	assert_int_equal(wh_cluster_apply(rig->cluster, &edit, rig->now, &rig->err), -ESTALE);
	rig_says(rig->err.text, "somebody else has deleted it meanwhile");
}

static void what_is_deleted_has_no_effect_any_more(void **state)
{
	struct rig *rig = *state;
	const struct wh_object_key policy = { WH_KIND_POLICY, "", "p" };
	const struct wh_object_key hco = { WH_KIND_HYPERCONVERGED, "cnv", "hco" };

	assert_applies(rig, HCO("hco", "64Mi") POLICY("p", "32Mi") VM("a0", "db"),
	               "hco created; p created; a0 created; ");
	assert_int_equal(wh_cluster_delete(rig->cluster, &policy, rig->now, &rig->err), 0);
	assert_int_equal(bandwidth_of(rig, "a0"), 64 << 20);
	assert_int_equal(wh_cluster_delete(rig->cluster, &hco, rig->now, &rig->err), 0);
	assert_int_equal(bandwidth_of(rig, "a0"), 0);
	assert_int_equal(rig->settings_told, 2);

	assert_int_equal(wh_cluster_delete(rig->cluster, &policy, rig->now, &rig->err), -ENOENT);
	rig_says(rig->err.text, "there is no MigrationPolicy 'p'");
	/* And so there may be settings of another kind. */
	assert_applies(rig, KUBEVIRT, "kv created; ");
	rig_reopen(rig);
	assert_int_equal(bandwidth_of(rig, "a0"), 0);
}

static void a_migration_object_is_a_move_from_its_creation_to_its_deletion(void **state)
{
	struct rig *rig = *state;
	const struct wh_object_key key = { WH_KIND_MIGRATION, "default", "m" };

	assert_applies(rig, VMIM("m", "a0", "b"), "m created; ");
	assert_string_equal(rig_move(rig, "a0")->request, "m");
	rig_turn(rig);
	rig_expect(rig, "start a0 a>b; ");
	assert_applies(rig, VMIM("m", "a0", "b"), "m unchanged; ");
	assert_int_equal(apply(rig, VMIM("m", "a0", "c"), false), -EINVAL);
	rig_says(rig->err.text, "'m' is there already, and cannot be changed");

	assert_int_equal(wh_cluster_delete(rig->cluster, &key, rig->now, &rig->err), 0);
	rig_expect(rig, "cancel a0 a>b; ");
	rig_end(rig, "a0", "cancelled");
	assert_applies(rig, VMIM("m", "a0", "c"), "m created; ");
	assert_int_equal(wh_cluster_delete(rig->cluster, &key, rig->now, &rig->err), 0);
	assert_int_equal(rig_phase(rig, "a0"), WH_MOVE_CANCELLED);
	assert_string_equal(rig_move(rig, "a0")->reason,
	                    "its VirtualMachineInstanceMigration was deleted");
}

static unsigned seen_objects;

static void see_object(void *ctx, const struct wh_object *object, uint64_t revision)
{
	assert_int_equal(object->kind, WH_KIND_VM);
	assert_true(revision > 0);
	(void)ctx;
	seen_objects++;
}

static void objects_are_found_by_kind_namespace_and_name(void **state)
{
	static const struct {
		struct wh_object_key key;
		unsigned count;
	} cases[] = {
		{ { WH_KIND_VM, "", NULL }, 2 },      { { WH_KIND_VM, "default", NULL }, 2 },
		{ { WH_KIND_VM, "other", NULL }, 0 }, { { WH_KIND_VM, "", "a1" }, 1 },
		{ { WH_KIND_VMI, "", NULL }, 0 },
	};
	struct rig *rig = *state;

	assert_applies(rig, POLICY("p", "1Mi") VM("a1", "x") VM("a0", "x") HCO("hco", "1Mi"),
	               "p created; a1 created; a0 created; hco created; ");
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		seen_objects = 0;
		wh_cluster_each_object(rig->cluster, &cases[i].key, see_object, NULL);
		assert_int_equal(seen_objects, cases[i].count);
	}
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, rig_set_up, rig_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(settings_are_those_of_the_cluster_then_of_the_policy),
		TEST(settings_and_policy_are_fixed_when_a_move_is_granted),
		TEST(a_manifest_is_applied_whole_or_not_at_all),
		TEST(what_is_the_same_is_unchanged_and_keeps_its_revision),
		TEST(what_is_deleted_has_no_effect_any_more),
		TEST(a_migration_object_is_a_move_from_its_creation_to_its_deletion),
		TEST(objects_are_found_by_kind_namespace_and_name),
	};

	return cmocka_run_group_tests_name("cluster_objects", tests, NULL, NULL);
}
