/* SPDX-License-Identifier: Apache-2.0 */

/* Domains of libvirt in the cluster: where they may go, and whose labels count. */

#include "cluster.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "cluster_rig.h"

static void give_libvirt(struct rig *rig, const char *nodes)
{
	for (; *nodes; nodes++)
		rig_node(rig, *nodes)->libvirt = true;
}

static struct wh_report_vm *add_vm(struct rig *rig, char node, const struct wh_report_vm *vm)
{
	struct rig_node *at = rig_node(rig, node);

	assert_true(at->vm_count < RIG_VMS);
	at->vms[at->vm_count] = *vm;
	return &at->vms[at->vm_count++];
}

/* An inactive one, as it stays behind where a persistent domain is defined on several nodes. */
static struct wh_report_vm *add_inactive(struct rig *rig, char node, const char *name)
{
	struct wh_report_vm vm = { .name_space = "default", .libvirt = true };

	(void)snprintf(vm.name, sizeof(vm.name), "%s", name);
	return add_vm(rig, node, &vm);
}

static void a_domain_goes_to_any_node_with_libvirt(void **state)
{
	struct rig *rig = *state;

	rig_domain(rig, "a0");
	rig_domain(rig, "a1");
	give_libvirt(rig, "ac");
	rig_node(rig, 'b')->free_bytes = 100 * RIG_GIB; /* the best, if it could */
	rig_report_all(rig);

	rig_ask(rig, "a0", "", 0);
	rig_ask(rig, "a1", "c", 0);
	rig_turn(rig);
	rig_expect(rig, "start a0 a>c; start a1 a>c; ");
}

static void a_domain_that_is_defined_there_may_come_in(void **state)
{
	struct rig *rig = *state;

	rig_domain(rig, "a0");
	give_libvirt(rig, "ac");
	(void)add_inactive(rig, 'c', "a0");
	rig_report_all(rig);

	rig_ask(rig, "a0", "c", 0);
	rig_turn(rig);
	rig_expect(rig, "start a0 a>c; ");
}

static void refuses_what_cannot_be_in_words(void **state)
{
	static const struct {
		const char *vm;
		const char *to;
		int result;
		const char *words;
	} cases[] = {
		{ "a0", "b", -ENOENT,
		  "VM 'a0' is a domain of libvirt, and node b is not connected to a libvirt" },
		{ "a1", "c", -EINVAL,
		  "VM 'a1' is a domain of libvirt, and node c has another one of that name" },
		{ "a2", "c", -EINVAL, "VM 'a2' is on node c already" },
		{ "a3", "c", -ENOENT, "node c has no VM 'a3' in its configuration" },
		{ "off", "c", -ENOENT,
		  "VM 'off' is a domain of libvirt that is not active on any node; start it" },
		{ "of", "c", -ENOENT, "no node knows a VM 'of'; did you mean 'off'?" },
	};
	struct rig *rig = *state;
	struct rig_node *c = rig_node(rig, 'c');

	rig_domain(rig, "a0");
	rig_domain(rig, "a1");
	rig_domain(rig, "a2");
	give_libvirt(rig, "ac");
	/* The configuration of c has one of that name, and in another namespace. */
	(void)add_vm(rig, 'c', &(struct wh_report_vm){ .name_space = "prod", .name = "a1" });
	/* Two are active: whichever is meant, it is there. */
	add_inactive(rig, 'c', "a2")->here = true;
	/* A VM of the configuration of a, which c knows as a domain. */
	*rig_vm(rig, 'c', "a3") = c->vms[--c->vm_count];
	(void)add_inactive(rig, 'c', "a3");
	*rig_vm(rig, 'b', "a4") = rig_node(rig, 'b')->vms[--rig_node(rig, 'b')->vm_count];
	(void)add_inactive(rig, 'b', "off");
	rig_report_all(rig);
	rig_pass(rig, 1000);
	rig_report(rig, 'a'); /* the last to say that it has a2 */

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		assert_int_equal(rig_try(rig, cases[i].vm, cases[i].to), cases[i].result);
		rig_says(rig->err.text, cases[i].words);
	}
	rig_turn(rig);
	rig_expect(rig, "");
}

static void a_domain_waits_for_a_node_with_libvirt(void **state)
{
	struct rig *rig = *state;

	rig_domain(rig, "a0");
	give_libvirt(rig, "a");
	rig_report_all(rig);
	rig_ask(rig, "a0", "", 0);
	rig_turn(rig);
	rig_says(rig_move(rig, "a0")->note,
	         "2 of the others have no libvirt or another VM of that");

	/* libvirtd of node b is started. */
	give_libvirt(rig, "b");
	rig_live(rig, 2000);
	rig_expect(rig, "start a0 a>b; ");
}

static void one_that_was_started_a_moment_ago_may_be_a_domain(void **state)
{
	struct rig *rig = *state;
	struct wh_cluster_request request = {
		.name_space = "", .vm = "new", .to = "b", .from = "a", .priority = WH_PRIORITY_USER
	};
	const struct wh_move *move;

	assert_int_equal(wh_cluster_migrate(rig->cluster, &request, &move, rig->now, &rig->err),
	                 -ENOENT);
	give_libvirt(rig, "b");
	rig_report_all(rig);
	assert_int_equal(wh_cluster_migrate(rig->cluster, &request, &move, rig->now, &rig->err), 0);
}

static void without_a_report_of_the_source_no_node_is_chosen_for_it(void **state)
{
	struct rig *rig = *state;

	rig_domain(rig, "a0");
	give_libvirt(rig, "abc");
	rig_report_all(rig);
	rig_limits(rig, 0, 2);
	rig_ask(rig, "a0", "", 0);
	rig_reopen(rig);
	rig_limits(rig, 5, 2);
	rig_report(rig, 'b'); /* who cannot know whether it is a domain */
	rig_turn(rig);
	rig_expect(rig, "");

	rig_report(rig, 'a');
	rig_pass(rig, 1000);
	rig_expect(rig, "start a0 a>b; ");
}

static void a_drain_moves_active_domains_only(void **state)
{
	struct rig *rig = *state;
	struct rig_node *a = rig_node(rig, 'a');

	rig_domain(rig, "a0");
	give_libvirt(rig, "abc");
	/* Of its five, one is a domain, one an inactive one, and the others go to b or c as ever. */
	rig_vm(rig, 'a', "a1")->libvirt = true;
	rig_vm(rig, 'a', "a1")->here = false;
	for (const char *vm = "a2\0a3\0a4\0"; *vm; vm += 3)
		*rig_vm(rig, 'a', vm) = a->vms[--a->vm_count];
	rig_report_all(rig);

	assert_int_equal(wh_cluster_drain(rig->cluster, "a", true, rig->now, &rig->err), 0);
	rig_turn(rig);
	rig_expect(rig, "start a0 a>b; ");
}

/* Labels. */

#define POLICY                                                                            \
	"{apiVersion: migrations.kubevirt.io/v1alpha1, kind: MigrationPolicy, metadata: " \
	"{name: p}, spec: {bandwidthPerMigration: 32Mi, selectors: "                      \
	"{virtualMachineInstanceSelector: {role: db}}}}\n"
#define VMI(labels)                                                                        \
	"{apiVersion: kubevirt.io/v1, kind: VirtualMachineInstance, metadata: {name: a0, " \
	"namespace: default, labels: " labels "}}\n"

static void apply(struct rig *rig, const char *text)
{
	const struct wh_apply apply = { .name = "test.yaml", .data = text, .len = strlen(text) };

	if (wh_cluster_apply(rig->cluster, &apply, rig->now, &rig->err) < 0)
		fail_msg("%s", rig->err.text);
}

static struct wh_cluster_effect effect_of(const struct rig *rig, const char *vm)
{
	struct wh_cluster_effect effect;

	wh_cluster_effect(rig->cluster, "default", vm, &effect);
	return effect;
}

static char role[] = "role", db[] = "db", web[] = "web";
static struct wh_label role_db[] = { { role, db } };
static struct wh_label role_web[] = { { role, web } };

static void labels_of_the_metadata_select_a_policy(void **state)
{
	struct rig *rig = *state;
	struct wh_cluster_effect effect;

	rig_domain(rig, "a0");
	give_libvirt(rig, "ab");
	rig_vm(rig, 'a', "a0")->labels = (struct wh_labels){ role_db, 1 };
	apply(rig, POLICY);
	rig_report_all(rig);

	effect = effect_of(rig, "a0");
	assert_int_equal(effect.vm_labels_from, WH_LABELS_OF_DOMAIN);
	assert_string_equal(wh_labels_get(effect.vm_labels, "role"), "db");
	assert_string_equal(effect.policy->name, "p");
	rig_ask(rig, "a0", "b", 0);
	rig_turn(rig);
	assert_string_equal(rig_move(rig, "a0")->policy, "p");
	assert_int_equal(rig_move(rig, "a0")->settings.bandwidth_bps, 32 << 20);
}

static void labels_follow_the_reports(void **state)
{
	struct rig *rig = *state;

	rig_domain(rig, "a0");
	rig_vm(rig, 'a', "a0")->labels = (struct wh_labels){ role_db, 1 };
	apply(rig, POLICY);
	rig_report_all(rig);
	rig_report_all(rig); /* the same again */
	assert_string_equal(wh_labels_get(effect_of(rig, "a0").vm_labels, "role"), "db");

	rig_vm(rig, 'a', "a0")->labels = (struct wh_labels){ role_web, 1 };
	rig_report_all(rig);
	assert_string_equal(wh_labels_get(effect_of(rig, "a0").vm_labels, "role"), "web");
	assert_null(effect_of(rig, "a0").policy);

	rig_vm(rig, 'a', "a0")->labels = (struct wh_labels){ 0 };
	rig_report_all(rig);
	assert_int_equal(effect_of(rig, "a0").vm_labels->count, 0);
}

static void an_object_counts_more_than_metadata(void **state)
{
	struct rig *rig = *state;

	rig_domain(rig, "a0");
	rig_vm(rig, 'a', "a0")->labels = (struct wh_labels){ role_db, 1 };
	apply(rig, POLICY "---\n" VMI("{role: web}"));
	rig_report_all(rig);
	assert_int_equal(effect_of(rig, "a0").vm_labels_from, WH_LABELS_OF_VMI);
	assert_null(effect_of(rig, "a0").policy);

	/* Also one without labels: it says that there are none. */
	apply(rig, VMI("{}"));
	assert_int_equal(effect_of(rig, "a0").vm_labels->count, 0);

	assert_int_equal(wh_cluster_delete(rig->cluster,
	                                   &(struct wh_object_key){ .kind = WH_KIND_VMI,
	                                                            .name_space = "default",
	                                                            .name = "a0" },
	                                   rig->now, &rig->err),
	                 0);
	assert_string_equal(effect_of(rig, "a0").policy->name, "p");
	assert_int_equal(effect_of(rig, "b0").vm_labels_from, WH_LABELS_OF_NOTHING);
}

static void the_labels_of_the_active_domain_count(void **state)
{
	struct rig *rig = *state;

	rig_domain(rig, "c0");
	rig_vm(rig, 'c', "c0")->labels = (struct wh_labels){ role_web, 1 };
	add_inactive(rig, 'a', "c0")->labels = (struct wh_labels){ role_db, 1 };
	rig_report_all(rig);
	assert_string_equal(wh_labels_get(effect_of(rig, "c0").vm_labels, "role"), "web");

	/* Where none is active, that of any node does. */
	rig_vm(rig, 'c', "c0")->here = false;
	rig_report_all(rig);
	assert_string_equal(wh_labels_get(effect_of(rig, "c0").vm_labels, "role"), "db");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, rig_set_up, rig_tear_down)

int main(void)
{
	const struct CMUnitTest cluster_domains[] = {
		TEST(a_domain_goes_to_any_node_with_libvirt),
		TEST(a_domain_that_is_defined_there_may_come_in),
		TEST(refuses_what_cannot_be_in_words),
		TEST(a_domain_waits_for_a_node_with_libvirt),
		TEST(one_that_was_started_a_moment_ago_may_be_a_domain),
		TEST(without_a_report_of_the_source_no_node_is_chosen_for_it),
		TEST(a_drain_moves_active_domains_only),
		TEST(labels_of_the_metadata_select_a_policy),
		TEST(labels_follow_the_reports),
		TEST(an_object_counts_more_than_metadata),
		TEST(the_labels_of_the_active_domain_count),
	};

	return cmocka_run_group_tests(cluster_domains, NULL, NULL);
}
