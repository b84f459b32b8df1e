/* SPDX-License-Identifier: Apache-2.0 */

/* Requests, leases, drains, and a coordinator that dies. Queue and objects have tests of their own. */

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

static void assert_ended(const struct rig *rig, const char *vm, enum wh_move_phase phase,
                         const char *outcome, const char *reason)
{
	const struct wh_move *move = rig_move(rig, vm);

	assert_int_equal(move->phase, phase);
	assert_string_equal(move->outcome, outcome);
	assert_string_equal(move->reason, reason);
	assert_int_equal(move->ended_ms, rig->now.wall_ms);
}

static void drain(struct rig *rig, const char *node, bool on)
{
	assert_int_equal(wh_cluster_drain(rig->cluster, node, on, rig->now, &rig->err), 0);
}

/* Silence of all nodes but some, for as long as a lease. */
static void let_others_go(struct rig *rig, const char *but)
{
	for (unsigned ms = 0; ms < WH_LEASE_MS; ms += 1000) {
		rig_pass(rig, 1000);
		for (const char *node = but; *node; node++)
			rig_report(rig, *node);
	}
	rig_turn(rig);
}

/* Requests. */

static void an_id_is_the_name_of_the_vm_and_something_random(void **state)
{
	struct rig *rig = *state;

	rig->random = 0xbeef;
	rig_ask(rig, "a0", "b", 0);
	assert_string_equal(rig_move(rig, "a0")->id, "a0-0000beef");
	assert_ptr_equal(rig_move(rig, "a0-0000beef"), rig_move(rig, "a0"));

	/* What is taken is not given again. */
	assert_int_equal(wh_cluster_cancel(rig->cluster, "a0", "no", rig->now, &rig->err), 0);
	rig->random = 0xbeef;
	rig_ask(rig, "a0", "b", 0);
	assert_string_equal(rig_move(rig, "a0")->id, "a0-0000bef0");
}

static void refuses_what_cannot_be_moved_in_words(void **state)
{
	static const struct {
		const char *vm;
		const char *to;
		int result;
		const char *words;
	} cases[] = {
		{ "a9", "b", -ENOENT, "no node knows a VM 'a9'; did you mean 'a0'?" },
		{ "a0", "bb", -ENOENT, "there is no node 'bb'; did you mean 'b'?" },
		{ "a0", "a", -EINVAL, "VM 'a0' is on node a already" },
		{ "a1", "", -EBUSY, "VM 'a1' is being moved already (migration a1-" },
		{ "b0", "c", -EINVAL, "node c is drained: undrain it, or name another one" },
		{ "b0", "new", 0, "" }, /* expected: it may be named */
		{ "b1", "a", -ENOENT, "node a has no VM 'b1' in its configuration" },
		{ "b2", "", -ENOENT, "VM 'b2' runs on no node" },
		{ "b3", "", -EINVAL,
		  "there is a VM 'b3' in namespace default and one in prod; say which" },
	};
	struct rig *rig = *state;
	struct rig_node *a = rig_node(rig, 'a');

	rig_ask(rig, "a1", "b", 0);
	drain(rig, "c", true);
	wh_cluster_expect_node(rig->cluster, "new", rig->now);
	*rig_vm(rig, 'a', "b1") = a->vms[--a->vm_count];
	rig_vm(rig, 'b', "b2")->here = false;
	(void)strcpy(rig_vm(rig, 'c', "b3")->name_space, "prod");
	rig_vm(rig, 'c', "b3")->here = true;
	rig_report_all(rig);

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		assert_int_equal(rig_try(rig, cases[i].vm, cases[i].to), cases[i].result);
		if (cases[i].result < 0)
			rig_says(rig->err.text, cases[i].words);
	}
	rig_turn(rig);
	rig_expect(rig, "start c0 c>a; start c1 c>b; start a1 a>b; start b0 b>new; ");
}

static void a_namespace_tells_vms_of_one_name_apart(void **state)
{
	struct rig *rig = *state;
	struct wh_cluster_request request = {
		.name_space = "prod",
		.vm = "a0",
		.to = "b",
		.from = "",
		.priority = WH_PRIORITY_USER,
	};
	const struct wh_move *move;

	(void)strcpy(rig_vm(rig, 'c', "a0")->name_space, "prod");
	(void)strcpy(rig_vm(rig, 'b', "a0")->name_space, "prod");
	rig_vm(rig, 'c', "a0")->here = true;
	rig_report_all(rig);

	assert_int_equal(wh_cluster_migrate(rig->cluster, &request, &move, rig->now, &rig->err), 0);
	assert_string_equal(move->source, "c");
	assert_string_equal(move->name_space, "prod");
	/* The other one is not being moved. */
	request.name_space = "default";
	request.to = "";
	assert_int_equal(wh_cluster_migrate(rig->cluster, &request, &move, rig->now, &rig->err), 0);
	assert_string_equal(move->source, "a");
}

static void the_node_that_asks_may_know_of_a_vm_before_it_has_reported_it(void **state)
{
	struct rig *rig = *state;
	const struct wh_cluster_request request = {
		.name_space = "",
		.vm = "fresh",
		.to = "b",
		.from = "a",
		.priority = WH_PRIORITY_USER,
	};
	const struct wh_move *move;

	rig_node(rig, 'b')->vms[0] =
		(struct wh_report_vm){ .name = "fresh", .name_space = "default" };
	rig_report(rig, 'b');
	assert_int_equal(wh_cluster_migrate(rig->cluster, &request, &move, rig->now, &rig->err), 0);
	rig_turn(rig);

	rig_expect(rig, "start fresh a>b; ");
}

static void of_two_nodes_that_have_a_vm_the_one_that_spoke_last_is_right(void **state)
{
	struct rig *rig = *state;

	rig_vm(rig, 'b', "a0")->here = true;
	rig_pass(rig, 10);
	rig_report(rig, 'b');
	rig_ask(rig, "a0", "c", 0);
	rig_turn(rig);

	rig_expect(rig, "start a0 b>c; ");
}

/* Cancelling. */

static void a_pending_move_is_cancelled_at_once(void **state)
{
	struct rig *rig = *state;

	rig_limits(rig, 0, 2);
	rig_ask(rig, "a0", "b", 0);
	assert_int_equal(wh_cluster_cancel(rig->cluster, rig_move(rig, "a0")->id, "not now",
	                                   rig->now, &rig->err),
	                 0);

	assert_ended(rig, "a0", WH_MOVE_CANCELLED, "cancelled", "not now");
	assert_int_equal(wh_cluster_cancel(rig->cluster, "a0", "no", rig->now, &rig->err),
	                 -EALREADY);
	assert_int_equal(wh_cluster_cancel(rig->cluster, "x", "no", rig->now, &rig->err), -ENOENT);
	rig_limits(rig, 10, 2);
	rig_turn(rig);
	rig_expect(rig, "");
}

static void a_running_move_is_cancelled_on_its_node_until_that_has_heard(void **state)
{
	struct rig *rig = *state;

	rig_ask(rig, "a0", "b", 0);
	rig_turn(rig);
	rig_report_all(rig);
	assert_int_equal(wh_cluster_cancel(rig->cluster, "a0", "enough", rig->now, &rig->err), 0);
	rig_expect(rig, "start a0 a>b; cancel a0 a>b; ");
	assert_int_equal(rig_phase(rig, "a0"), WH_MOVE_RUNNING);
	rig_report(rig, 'a');
	rig_expect(rig, "cancel a0 a>b; ");
	rig_reopen(rig); /* which does not forget it */
	rig_report(rig, 'a');
	rig_expect(rig, "cancel a0 a>b; ");

	rig_end(rig, "a0", "cancelled");
	assert_ended(rig, "a0", WH_MOVE_CANCELLED, "cancelled", "a says so");
}

static void a_move_that_is_cancelled_too_late_has_succeeded(void **state)
{
	struct rig *rig = *state;

	rig_ask(rig, "a0", "b", 0);
	rig_turn(rig);
	rig_report_all(rig);
	assert_int_equal(wh_cluster_cancel(rig->cluster, "a0", "enough", rig->now, &rig->err), 0);
	rig_end(rig, "a0", "");

	assert_ended(rig, "a0", WH_MOVE_SUCCEEDED, "", "");
}

static void an_order_to_start_that_was_lost_is_given_again_also_to_cancel_it(void **state)
{
	struct rig *rig = *state;

	rig->deaf = true;
	rig_ask(rig, "a0", "b", 0);
	rig_turn(rig);
	rig_report(rig, 'a');
	rig_expect(rig, "start a0 a>b; start a0 a>b; ");
	assert_int_equal(wh_cluster_cancel(rig->cluster, "a0", "no", rig->now, &rig->err), 0);
	assert_int_equal(rig_phase(rig, "a0"), WH_MOVE_GRANTED);
	rig->deaf = false;
	rig_report(rig, 'a');
	rig_expect(rig, "cancel a0 a>b; start a0 a>b; cancel a0 a>b; ");
	rig_end(rig, "a0", "cancelled");

	assert_int_equal(rig_phase(rig, "a0"), WH_MOVE_CANCELLED);
}

static void a_move_that_its_node_refuses_has_failed(void **state)
{
	struct rig *rig = *state;
	char id[WH_NAME_MAX];

	rig->deaf = true;
	rig_ask(rig, "a0", "b", 0);
	rig_turn(rig);
	(void)snprintf(id, sizeof(id), "%s", rig_move(rig, "a0")->id);
	wh_cluster_refused(rig->cluster, id, "its RAM is not shared", rig->now);
	rig_report(rig, 'a');
	assert_int_equal(rig_phase(rig, "a0"), WH_MOVE_GRANTED); /* its target may know of it */
	rig_pass(rig, 1999);
	rig_report(rig, 'b');
	assert_int_equal(rig_phase(rig, "a0"), WH_MOVE_GRANTED); /* from before it did, perhaps */
	rig_pass(rig, 1);
	rig_report(rig, 'b');
	assert_ended(rig, "a0", WH_MOVE_FAILED, "failed", "its RAM is not shared");

	/* Again, or for what runs: too late to mean anything. */
	wh_cluster_refused(rig->cluster, id, "again", rig->now);
	wh_cluster_refused(rig->cluster, "unheard-of", "why", rig->now);
	rig->deaf = false;
	rig_ask(rig, "a1", "b", 0);
	rig_turn(rig);
	rig_report_all(rig);
	wh_cluster_refused(rig->cluster, rig_move(rig, "a1")->id, "busy", rig->now);
	assert_int_equal(rig_phase(rig, "a1"), WH_MOVE_RUNNING);
}

static void a_move_that_its_node_has_forgotten_has_failed(void **state)
{
	struct rig *rig = *state;

	rig_ask(rig, "a0", "b", 0);
	rig_turn(rig);
	rig_report_all(rig);
	rig_forget_jobs(rig, 'a');
	rig_report(rig, 'a');
	assert_int_equal(rig_phase(rig, "a0"), WH_MOVE_RUNNING); /* its target is at work */
	rig_forget_jobs(rig, 'b');
	rig_pass(rig, 2000);
	rig_report(rig, 'b');

	assert_ended(rig, "a0", WH_MOVE_FAILED, "failed", "node a does not know it any more");
}

/* Leases. */

static void a_node_is_gone_when_its_lease_expires_and_not_before(void **state)
{
	struct rig *rig = *state;
	struct wh_cluster_node node;

	rig_ask(rig, "a0", "b", 0);
	rig_turn(rig);
	rig_report_all(rig);
	assert_int_equal(rig->next_ms, rig->now.mono_ms + WH_LEASE_MS);

	rig_pass(rig, WH_LEASE_MS - 1);
	assert_true(wh_cluster_node_at(rig->cluster, 0, &node, rig->now));
	assert_true(node.alive);
	assert_int_equal(node.outbound, 1);
	assert_int_equal(rig_phase(rig, "a0"), WH_MOVE_RUNNING);

	rig_pass(rig, 1);
	assert_true(wh_cluster_node_at(rig->cluster, 0, &node, rig->now));
	assert_false(node.alive);
	assert_true(node.seen);
	assert_int_equal(node.outbound, 0);
	assert_ended(rig, "a0", WH_MOVE_FAILED, "failed",
	             "node a is gone: it has not reported for 30 s");
	assert_int_equal(rig_try(rig, "a1", "b"), -EAGAIN);
	rig_says(rig->err.text, "node a, which has VM 'a1', is gone");

	rig_report(rig, 'a');
	assert_true(wh_cluster_node_at(rig->cluster, 0, &node, rig->now));
	assert_true(node.alive);
}

static void what_waits_to_leave_a_node_that_is_gone_goes_on_waiting(void **state)
{
	struct rig *rig = *state;

	rig_limits(rig, 0, 2);
	rig_ask(rig, "a0", "b", 0);
	let_others_go(rig, "bc");
	rig_limits(rig, 5, 2);
	rig_turn(rig);
	rig_says(rig_move(rig, "a0")->note, "waits for node a, which is gone");
	rig_expect(rig, "");

	rig_report(rig, 'a');
	rig_turn(rig);
	rig_expect(rig, "start a0 a>b; ");
}

static void a_target_that_is_gone_has_ended_what_its_source_has(void **state)
{
	struct rig *rig = *state;

	rig_ask(rig, "a0", "b", 0);
	rig_ask(rig, "a1", "b", 0);
	rig_turn(rig);
	rig_report_all(rig);
	rig_job(rig, 'a', "a0", true, "failed");
	let_others_go(rig, "ac");
	assert_int_equal(rig_phase(rig, "a0"), WH_MOVE_FAILED);
	assert_string_equal(rig_move(rig, "a0")->reason, "a says so");

	/* That the target is gone is for the source to find out, where it has not ended it. */
	assert_int_equal(rig_phase(rig, "a1"), WH_MOVE_RUNNING);
	rig_job(rig, 'a', "a1", true, "failed");
	rig_report(rig, 'a');
	assert_int_equal(rig_phase(rig, "a1"), WH_MOVE_FAILED);
}

static void a_node_named_in_the_configuration_may_still_come(void **state)
{
	struct rig *rig = *state;
	struct wh_cluster_node node;

	wh_cluster_expect_node(rig->cluster, "d", rig->now);
	assert_true(wh_cluster_node_at(rig->cluster, 3, &node, rig->now));
	assert_string_equal(node.name, "d");
	assert_true(node.alive);
	assert_false(node.seen);
	assert_false(wh_cluster_node_at(rig->cluster, 4, &node, rig->now));

	rig_live(rig, WH_LEASE_MS);
	assert_true(wh_cluster_node_at(rig->cluster, 3, &node, rig->now));
	assert_false(node.alive);
	assert_int_equal(rig_try(rig, "a0", "d"), 0); /* it may have a coordinator of its own */
}

static void the_word_of_a_target_is_waited_for_after_the_coordinator_died(void **state)
{
	struct rig *rig = *state;

	rig_ask(rig, "a0", "b", 0);
	rig_turn(rig);
	rig_report_all(rig);
	rig_job(rig, 'a', "a0", true, "failed");
	rig_reopen(rig);
	rig_report(rig, 'a');
	assert_int_equal(rig_phase(rig, "a0"), WH_MOVE_RUNNING);
	rig_report(rig, 'b');
	assert_int_equal(rig_phase(rig, "a0"), WH_MOVE_RUNNING);

	rig_job(rig, 'b', "a0", true, "failed");
	rig_report(rig, 'b');
	assert_int_equal(rig_phase(rig, "a0"), WH_MOVE_FAILED);
}

/* A coordinator that dies. */

static void a_coordinator_that_opens_gives_every_node_a_whole_lease(void **state)
{
	struct rig *rig = *state;

	rig_ask(rig, "a0", "b", 0);
	rig_turn(rig);
	rig_report_all(rig);
	rig_pass(rig, WH_LEASE_MS - 1);
	rig_reopen(rig);
	rig_pass(rig, WH_LEASE_MS - 1);
	assert_int_equal(rig_phase(rig, "a0"), WH_MOVE_RUNNING);

	rig_pass(rig, 1);
	assert_int_equal(rig_phase(rig, "a0"), WH_MOVE_FAILED);
}

static void a_coordinator_that_died_before_the_order_went_out_gives_it(void **state)
{
	struct rig *rig = *state;

	rig->deaf = true;
	rig_ask(rig, "a0", "b", 0);
	rig_turn(rig);
	rig_reopen(rig);
	rig_turn(rig);
	rig_expect(rig, "start a0 a>b; "); /* the first, that was lost */
	rig->deaf = false;
	rig_report(rig, 'a');
	rig_expect(rig, "start a0 a>b; ");
	rig_report(rig, 'a');

	rig_expect(rig, "");
	assert_int_equal(rig_phase(rig, "a0"), WH_MOVE_RUNNING);
}

static void slots_are_held_on_after_the_coordinator_died(void **state)
{
	struct rig *rig = *state;

	rig_limits(rig, 1, 1);
	rig_ask(rig, "a0", "b", 0);
	rig_ask(rig, "b0", "c", 0);
	rig_turn(rig);
	rig_expect(rig, "start a0 a>b; ");
	rig_reopen(rig);
	rig_report_all(rig);
	rig_turn(rig);
	rig_expect(rig, "");
	assert_int_equal(wh_cluster_settings(rig->cluster)->parallel_per_cluster, 1);

	rig_end(rig, "a0", "");
	rig_turn(rig);
	rig_expect(rig, "start b0 b>c; ");
}

static void the_history_is_kept_newest_first_and_not_for_ever(void **state)
{
	struct rig *rig = *state;
	const struct wh_move *newest;
	size_t kept = 0;

	rig_limits(rig, 0, 1);
	rig_ask(rig, "b0", "c", 0);
	for (unsigned i = 0; i < WH_CLUSTER_HISTORY_MAX * 5 / 4 + 1; i++) {
		rig_ask(rig, "a0", "b", 0);
		assert_int_equal(wh_cluster_cancel(rig->cluster, "a0", "no", rig->now, &rig->err),
		                 0);
	}
	rig_turn(rig);
	newest = wh_cluster_move_at(rig->cluster, 0);
	assert_string_equal(newest->vm, "a0");
	rig_reopen(rig);
	while (wh_cluster_move_at(rig->cluster, kept))
		kept++;

	assert_int_equal(kept, WH_CLUSTER_HISTORY_MAX + 1);
	assert_string_equal(wh_cluster_move_at(rig->cluster, kept - 1)->vm, "b0");
	assert_int_equal(rig_phase(rig, "b0"), WH_MOVE_PENDING);
}

/* Drains. */

static void a_drain_moves_every_guest_off_the_node(void **state)
{
	struct rig *rig = *state;

	rig_limits(rig, 100, 100);
	drain(rig, "b", true);
	rig_turn(rig);
	rig_expect(rig, "start b0 b>a; start b1 b>c; start b2 b>a; start b3 b>c; start b4 b>a; ");
	assert_int_equal(rig_move(rig, "b0")->priority, WH_PRIORITY_CRITICAL);
	assert_true(rig_move(rig, "b0")->drain);
	assert_int_equal(rig_move(rig, "b0")->attempt, 1);
	for (const char *vm = "b0\0b1\0b2\0b3\0b4\0"; *vm; vm += 3)
		rig_end(rig, vm, "");
	rig_live(rig, 2000);
	rig_expect(rig, "");

	/* And one that appears there later. */
	rig_vm(rig, 'b', "b4")->here = true;
	rig_vm(rig, 'a', "b4")->here = false;
	rig_live(rig, 1000);
	rig_expect(rig, "start b4 b>a; ");
}

static void a_drain_leaves_a_guest_that_is_being_moved_alone(void **state)
{
	struct rig *rig = *state;

	rig_limits(rig, 100, 100);
	rig_ask(rig, "b0", "c", 0);
	rig_turn(rig);
	rig_expect(rig, "start b0 b>c; ");
	for (int i = 1; i < 5; i++)
		rig_node(rig, 'b')->vms[5 + i].here = false;
	rig_report_all(rig);
	drain(rig, "b", true);
	rig_turn(rig);
	rig_expect(rig, "");

	/* Until that fails. */
	rig_end(rig, "b0", "failed");
	rig_live(rig, 1000);
	rig_expect(rig, "start b0 b>a; ");
	assert_int_equal(rig_move(rig, "b0")->attempt, 1);
}

static void a_drain_tries_again_later_and_later(void **state)
{
	static const unsigned wait_s[] = { 20, 40, 80, 160, 320, 320, 320 };
	struct rig *rig = *state;

	for (int i = 1; i < 5; i++)
		rig_node(rig, 'b')->vms[5 + i].here = false;
	rig_report_all(rig);
	drain(rig, "b", true);
	rig_pass(rig, 1);
	for (unsigned i = 0; i < sizeof(wait_s) / sizeof(*wait_s); i++) {
		char note[64];

		rig_expect(rig, "start b0 b>a; ");
		assert_int_equal(rig_move(rig, "b0")->attempt, i + 1);
		rig_end(rig, "b0", "failed");
		rig_turn(rig);
		rig_live(rig, wait_s[i] * 1000 - 1);
		rig_expect(rig, "");
		(void)snprintf(note, sizeof(note), "before attempt %u", i + 2);
		rig_says(rig_move(rig, "b0")->note, note);
		rig_live(rig, 1);
	}
}

static void an_end_to_a_drain_cancels_those_of_its_moves_that_wait(void **state)
{
	struct rig *rig = *state;

	rig_limits(rig, 100, 1);
	rig_ask(rig, "b4", "c", WH_PRIORITY_MAINTENANCE);
	drain(rig, "b", true);
	drain(rig, "c", true);
	rig_turn(rig);
	rig_expect(rig, "start b0 b>a; start c0 c>a; ");
	drain(rig, "b", false);
	rig_turn(rig);

	assert_ended(rig, "b1", WH_MOVE_CANCELLED, "cancelled", "its node is not drained any more");
	assert_int_equal(rig_phase(rig, "b0"), WH_MOVE_GRANTED);
	assert_int_equal(rig_phase(rig, "b4"), WH_MOVE_PENDING);
	assert_int_equal(rig_phase(rig, "c1"), WH_MOVE_PENDING);

	/* A new drain begins anew. */
	rig_live(rig, 1000);
	drain(rig, "b", true);
	rig_turn(rig);
	assert_int_equal(rig_move(rig, "b1")->attempt, 1);
	assert_int_equal(rig_phase(rig, "b1"), WH_MOVE_PENDING);
}

static void a_drain_goes_on_after_the_coordinator_died(void **state)
{
	struct rig *rig = *state;
	struct wh_cluster_node node;

	rig_limits(rig, 0, 1);
	drain(rig, "b", true);
	rig_reopen(rig);
	assert_true(wh_cluster_node_at(rig->cluster, 1, &node, rig->now));
	assert_true(node.drained);
	rig_limits(rig, 1, 1);
	rig_report_all(rig);
	rig_turn(rig);
	rig_expect(rig, "start b0 b>a; ");
	rig_end(rig, "b0", "failed");
	rig_reopen(rig);
	rig_report_all(rig);
	rig_turn(rig);

	/* It does not know for how long to wait, but the attempt. */
	assert_int_equal(rig_move(rig, "b0")->attempt, 2);
	assert_int_equal(wh_cluster_drain(rig->cluster, "bb", true, rig->now, &rig->err), -ENOENT);
	rig_says(rig->err.text, "did you mean 'b'?");
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, rig_set_up, rig_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(an_id_is_the_name_of_the_vm_and_something_random),
		TEST(refuses_what_cannot_be_moved_in_words),
		TEST(a_namespace_tells_vms_of_one_name_apart),
		TEST(the_node_that_asks_may_know_of_a_vm_before_it_has_reported_it),
		TEST(of_two_nodes_that_have_a_vm_the_one_that_spoke_last_is_right),
		TEST(a_pending_move_is_cancelled_at_once),
		TEST(a_running_move_is_cancelled_on_its_node_until_that_has_heard),
		TEST(a_move_that_is_cancelled_too_late_has_succeeded),
		TEST(an_order_to_start_that_was_lost_is_given_again_also_to_cancel_it),
		TEST(a_move_that_its_node_refuses_has_failed),
		TEST(a_move_that_its_node_has_forgotten_has_failed),
		TEST(a_node_is_gone_when_its_lease_expires_and_not_before),
		TEST(what_waits_to_leave_a_node_that_is_gone_goes_on_waiting),
		TEST(a_target_that_is_gone_has_ended_what_its_source_has),
		TEST(a_node_named_in_the_configuration_may_still_come),
		TEST(the_word_of_a_target_is_waited_for_after_the_coordinator_died),
		TEST(a_coordinator_that_opens_gives_every_node_a_whole_lease),
		TEST(a_coordinator_that_died_before_the_order_went_out_gives_it),
		TEST(slots_are_held_on_after_the_coordinator_died),
		TEST(the_history_is_kept_newest_first_and_not_for_ever),
		TEST(a_drain_moves_every_guest_off_the_node),
		TEST(a_drain_leaves_a_guest_that_is_being_moved_alone),
		TEST(a_drain_tries_again_later_and_later),
		TEST(an_end_to_a_drain_cancels_those_of_its_moves_that_wait),
		TEST(a_drain_goes_on_after_the_coordinator_died),
	};

	return cmocka_run_group_tests_name("cluster", tests, NULL, NULL);
}
