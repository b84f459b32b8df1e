/* SPDX-License-Identifier: Apache-2.0 */

/* Slots and the order of the queue: docs/semantics.md section 4. */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "cluster_rig.h"

static void a_move_starts_once_both_slots_are_free(void **state)
{
	struct rig *rig = *state;

	rig_ask(rig, "a0", "b", 0);
	assert_int_equal(rig_phase(rig, "a0"), WH_MOVE_PENDING);
	rig_expect(rig, "");
	rig_turn(rig);

	rig_expect(rig, "start a0 a>b; ");
	assert_int_equal(rig_phase(rig, "a0"), WH_MOVE_GRANTED);
	assert_int_equal(rig_move(rig, "a0")->started_ms, rig->now.wall_ms);
}

static void as_many_run_as_the_cluster_has_slots(void **state)
{
	static const struct {
		unsigned slots;
		const char *orders; /* of a0, b0, c0, a1 */
	} cases[] = {
		{ 0, "" },
		{ 1, "start a0 a>b; " },
		{ 3, "start b0 b>c; start c0 c>a; " }, /* two more, that is */
		{ 4, "start a1 a>b; " },
		{ 5, "" },
	};
	struct rig *rig = *state;

	rig_limits(rig, 0, 2);
	rig_ask(rig, "a0", "b", 0);
	rig_ask(rig, "b0", "c", 0);
	rig_ask(rig, "c0", "a", 0);
	rig_ask(rig, "a1", "b", 0);

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		rig_limits(rig, cases[i].slots, 2);
		rig_turn(rig);
		rig_expect(rig, cases[i].orders);
	}
}

static void as_many_leave_a_node_as_it_has_slots(void **state)
{
	static const struct {
		unsigned slots;
		const char *orders; /* of a0, a1, a2 */
	} cases[] = {
		{ 0, "" }, { 1, "start a0 a>b; " }, { 2, "start a1 a>b; " },
		{ 2, "" }, { 3, "start a2 a>b; " },
	};
	struct rig *rig = *state;

	rig_limits(rig, 100, 0);
	rig_ask(rig, "a0", "b", 0);
	rig_ask(rig, "a1", "b", 0);
	rig_ask(rig, "a2", "b", 0);

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		rig_limits(rig, 100, cases[i].slots);
		rig_turn(rig);
		rig_expect(rig, cases[i].orders);
	}
}

static void slots_that_are_taken_away_are_used_to_the_end(void **state)
{
	struct rig *rig = *state;

	rig_limits(rig, 2, 2);
	rig_ask(rig, "a0", "b", 0);
	rig_ask(rig, "a1", "b", 0);
	rig_ask(rig, "a2", "b", 0);
	rig_turn(rig);
	rig_report_all(rig);
	rig_expect(rig, "start a0 a>b; start a1 a>b; ");

	rig_limits(rig, 1, 2);
	rig_end(rig, "a0", "");
	rig_turn(rig);
	rig_expect(rig, "");
	assert_int_equal(rig_phase(rig, "a1"), WH_MOVE_RUNNING);
	rig_end(rig, "a1", "");
	rig_turn(rig);
	rig_expect(rig, "start a2 a>b; ");
}

static void what_comes_in_takes_no_slot_of_its_target(void **state)
{
	struct rig *rig = *state;

	rig_limits(rig, 100, 1);
	rig_ask(rig, "a0", "c", 0);
	rig_ask(rig, "b0", "c", 0);
	rig_ask(rig, "c0", "a", 0);
	rig_turn(rig);

	rig_expect(rig, "start a0 a>c; start b0 b>c; start c0 c>a; ");
}

static void the_order_is_priority_then_age(void **state)
{
	struct rig *rig = *state;

	rig_limits(rig, 0, 10);
	rig_ask(rig, "a0", "b", WH_PRIORITY_MAINTENANCE);
	rig_ask(rig, "a1", "b", WH_PRIORITY_USER);
	rig_ask(rig, "a2", "b", WH_PRIORITY_CRITICAL);
	rig_ask(rig, "a3", "b", WH_PRIORITY_USER);
	rig_ask(rig, "a4", "b", WH_PRIORITY_CRITICAL);
	rig_reopen(rig); /* which changes nothing */
	rig_report_all(rig);
	rig_limits(rig, 10, 10);
	rig_turn(rig);

	rig_expect(rig, "start a2 a>b; start a4 a>b; start a1 a>b; start a3 a>b; start a0 a>b; ");
}

static void a_blocked_node_does_not_block_others(void **state)
{
	struct rig *rig = *state;

	rig_limits(rig, 3, 1);
	rig_ask(rig, "a0", "c", WH_PRIORITY_CRITICAL);
	rig_ask(rig, "a1", "c", WH_PRIORITY_CRITICAL);
	rig_ask(rig, "a2", "c", WH_PRIORITY_CRITICAL);
	rig_ask(rig, "b0", "c", WH_PRIORITY_MAINTENANCE);
	rig_turn(rig);

	rig_expect(rig, "start a0 a>c; start b0 b>c; ");
}

static void every_pending_move_says_its_place_and_what_it_waits_for(void **state)
{
	static const struct {
		const char *vm;
		uint32_t place;
		const char *note;
	} cases[] = {
		{ "a2", 1,
		  "place 1 in the queue: waits for parallelOutboundMigrationsPerNode of node a "
		  "(2 of 2 in use)" },
		{ "a3", 3,
		  "place 3 in the queue: waits for parallelOutboundMigrationsPerNode of node a "
		  "(2 of 2 in use)" },
		{ "b0", 2,
		  "place 2 in the queue: waits for a node that can take it: 0 of the others do not "
		  "have it in their configuration, 0 are drained, 0 are gone, 2 have too little "
		  "free memory (1.00 MiB at most, of 1.00 GiB)" },
	};
	struct rig *rig = *state;

	rig_node(rig, 'a')->free_bytes = 1 << 20;
	rig_node(rig, 'c')->free_bytes = 1 << 19;
	rig_report_all(rig);
	rig_ask(rig, "a0", "b", 0);
	rig_ask(rig, "a1", "b", 0);
	rig_turn(rig);
	rig_expect(rig, "start a0 a>b; start a1 a>b; ");
	rig_ask(rig, "a3", "b", WH_PRIORITY_MAINTENANCE);
	rig_ask(rig, "a2", "b", 0);
	rig_ask(rig, "b0", "", 0);
	rig_turn(rig);
	rig_expect(rig, "");

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		const struct wh_move *move = rig_move(rig, cases[i].vm);

		assert_int_equal(move->place, cases[i].place);
		assert_string_equal(move->note, cases[i].note);
	}
	rig_limits(rig, 2, 10);
	assert_string_equal(rig_move(rig, "a3")->note,
	                    "place 3 in the queue: waits for parallelMigrationsPerCluster "
	                    "(2 of 2 in use)");
	rig_limits(rig, 0, 10);
	rig_says(rig_move(rig, "a3")->note, "parallelMigrationsPerCluster is 0, which holds all");
	rig_limits(rig, 10, 0);
	rig_says(rig_move(rig, "a3")->note,
	         "parallelOutboundMigrationsPerNode is 0, which holds all of node a");
	rig_limits(rig, 10, 10);
	rig_says(rig_move(rig, "a3")->note, "is about to start");
}

static void what_has_started_has_no_place_and_no_note(void **state)
{
	struct rig *rig = *state;

	rig_limits(rig, 0, 1);
	rig_ask(rig, "a0", "b", 0);
	rig_says(rig_move(rig, "a0")->note, "place 1");
	rig_limits(rig, 1, 1);
	rig_turn(rig);

	assert_int_equal(rig_move(rig, "a0")->place, 0);
	assert_string_equal(rig_move(rig, "a0")->note, "");
}

static void slots_are_held_until_it_ended_on_both_nodes(void **state)
{
	struct rig *rig = *state;

	rig_limits(rig, 1, 1);
	rig_ask(rig, "a0", "b", 0);
	rig_ask(rig, "c0", "b", 0);
	rig_turn(rig);
	rig_report_all(rig);
	rig_expect(rig, "start a0 a>b; ");

	rig_job(rig, 'a', "a0", true, "failed");
	rig_report(rig, 'a');
	rig_turn(rig);
	rig_expect(rig, "");
	assert_int_equal(rig_phase(rig, "a0"), WH_MOVE_RUNNING);
	rig_report(rig, 'b'); /* still at work */
	rig_turn(rig);
	rig_expect(rig, "");
	rig_job(rig, 'b', "a0", true, "failed");
	rig_report(rig, 'b');
	rig_turn(rig);

	rig_expect(rig, "start c0 c>b; ");
	assert_int_equal(rig_phase(rig, "a0"), WH_MOVE_FAILED);
	assert_string_equal(rig_move(rig, "a0")->outcome, "failed");
	assert_string_equal(rig_move(rig, "a0")->reason, "a says so");
}

static void a_target_that_has_ended_first_waits_for_the_source(void **state)
{
	struct rig *rig = *state;

	rig_ask(rig, "a0", "b", 0);
	rig_turn(rig);
	rig_report_all(rig);
	rig_job(rig, 'b', "a0", true, "");
	rig_report(rig, 'b');
	assert_int_equal(rig_phase(rig, "a0"), WH_MOVE_RUNNING);

	rig_job(rig, 'a', "a0", true, "");
	rig_report(rig, 'a'); /* what the target said counts, though it was said once */
	assert_int_equal(rig_phase(rig, "a0"), WH_MOVE_SUCCEEDED);
}

static void a_target_that_begins_again_has_not_ended(void **state)
{
	struct rig *rig = *state;

	rig_ask(rig, "a0", "b", 0);
	rig_turn(rig);
	rig_report_all(rig);
	rig_job(rig, 'b', "a0", true, "failed");
	rig_report(rig, 'b');
	rig_job(rig, 'b', "a0", false, "");
	rig_report(rig, 'b');
	rig_job(rig, 'a', "a0", true, "");
	rig_report(rig, 'a');
	assert_int_equal(rig_phase(rig, "a0"), WH_MOVE_RUNNING);

	rig_job(rig, 'b', "a0", true, "");
	rig_report(rig, 'b');
	assert_int_equal(rig_phase(rig, "a0"), WH_MOVE_SUCCEEDED);
}

static void jobs_that_no_move_knows_fill_slots(void **state)
{
	struct rig *rig = *state;

	rig_limits(rig, 2, 1);
	rig_ask(rig, "a0", "b", 0);
	rig_turn(rig);
	rig_report_all(rig);
	/* The coordinator has given it up while the node was silent. */
	rig_pass(rig, WH_LEASE_MS);
	assert_int_equal(rig_phase(rig, "a0"), WH_MOVE_FAILED);
	rig_report_all(rig);
	rig_expect(rig, "start a0 a>b; ");

	rig_ask(rig, "a1", "b", 0);
	rig_turn(rig);
	rig_expect(rig, "");
	rig_says(rig_move(rig, "a1")->note, "node a (1 of 1 in use)");
	rig_ask(rig, "b0", "c", 0);
	rig_ask(rig, "c0", "b", 0);
	rig_turn(rig);
	rig_expect(rig, "start b0 b>c; ");
	rig_forget_jobs(rig, 'a');
	rig_report(rig, 'a');
	rig_turn(rig);
	rig_expect(rig, "start a1 a>b; ");
}

static void the_node_with_most_room_is_chosen(void **state)
{
	static const struct {
		uint64_t a_mib;
		uint64_t c_mib;
		const char *target;
	} cases[] = {
		{ 2048, 2049, "c" },
		{ 2048, 2048, "a" }, /* then the first by name */
		{ 2048, 1024, "a" },
		{ 1023, 1024, "c" }, /* 1024 is just enough */
	};
	struct rig *rig = *state;

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		const char vm[] = { 'b', (char)('0' + i), '\0' };

		rig_node(rig, 'a')->free_bytes = cases[i].a_mib << 20;
		rig_node(rig, 'c')->free_bytes = cases[i].c_mib << 20;
		rig_report_all(rig);
		rig_ask(rig, vm, "", 0);
		rig_turn(rig);
		assert_string_equal(rig_move(rig, vm)->target, cases[i].target);
		rig_report_all(rig);
		rig_end(rig, vm, "failed");
	}
}

static void what_is_on_its_way_counts_as_there(void **state)
{
	struct rig *rig = *state;

	rig_limits(rig, 10, 10);
	rig_node(rig, 'a')->free_bytes = 4 * RIG_GIB;
	rig_node(rig, 'c')->free_bytes = 2 * RIG_GIB + 1;
	rig_report_all(rig);
	for (const char *vm = "b0\0b1\0b2\0b3\0b4\0"; *vm; vm += 3)
		rig_ask(rig, vm, "", 0);
	rig_turn(rig);

	rig_expect(rig, "start b0 b>a; start b1 b>a; start b2 b>c; start b3 b>a; start b4 b>c; ");
}

static void waits_until_a_node_can_take_it(void **state)
{
	struct rig *rig = *state;

	rig_node(rig, 'c')->vm_count = 0;
	rig_node(rig, 'a')->free_bytes = RIG_GIB - 1;
	rig_report_all(rig);
	rig_ask(rig, "b0", "", 0);
	rig_turn(rig);
	rig_expect(rig, "");
	rig_says(rig_move(rig, "b0")->note, "1 of the others do not have it");
	rig_says(rig_move(rig, "b0")->note, "1 have too little free memory");
	assert_int_equal(rig->next_ms, rig->now.mono_ms + 1000);

	rig_node(rig, 'a')->free_bytes = RIG_GIB;
	rig_live(rig, 1000);
	rig_expect(rig, "start b0 b>a; ");
}

static void no_guest_is_sent_to_a_node_that_is_drained_or_gone(void **state)
{
	struct rig *rig = *state;

	assert_int_equal(wh_cluster_drain(rig->cluster, "c", true, rig->now, &rig->err), 0);
	rig_limits(rig, 1, 1);
	for (int i = 0; i < 30; i++) {
		rig_pass(rig, 1000);
		rig_report(rig, 'b');
		rig_report(rig, 'c');
	}
	rig_expect(rig, "start c0 c>a; "); /* while a was alive */
	rig_limits(rig, 10, 10);
	rig_ask(rig, "b0", "", 0);
	rig_turn(rig);

	assert_int_equal(rig_phase(rig, "b0"), WH_MOVE_PENDING);
	rig_says(rig_move(rig, "b0")->note, "1 are drained, 1 are gone");
}

static void a_named_target_is_waited_for_while_it_is_gone_or_drained(void **state)
{
	struct rig *rig = *state;

	rig_limits(rig, 0, 1);
	rig_ask(rig, "a0", "c", 0);
	assert_int_equal(wh_cluster_drain(rig->cluster, "c", true, rig->now, &rig->err), 0);
	rig_limits(rig, 100, 1);
	rig_turn(rig);
	rig_expect(rig, "start c0 c>a; ");
	rig_says(rig_move(rig, "a0")->note, "waits for node c, which is drained");
	assert_int_equal(wh_cluster_drain(rig->cluster, "c", false, rig->now, &rig->err), 0);
	rig_limits(rig, 0, 1);
	for (int i = 0; i < 30; i++) {
		rig_pass(rig, 1000);
		rig_report(rig, 'a');
	}
	rig_limits(rig, 100, 1);
	rig_turn(rig);
	rig_says(rig_move(rig, "a0")->note, "waits for node c, which is gone");
	assert_int_equal(rig_phase(rig, "a0"), WH_MOVE_PENDING);

	rig_report(rig, 'c');
	rig_turn(rig);
	assert_int_equal(rig_phase(rig, "a0"), WH_MOVE_GRANTED);
}

static void a_guest_that_left_meanwhile_is_not_moved(void **state)
{
	struct rig *rig = *state;

	rig_limits(rig, 0, 1);
	rig_ask(rig, "a0", "c", 0);
	rig_vm(rig, 'a', "a0")->here = false;
	rig_vm(rig, 'b', "a0")->here = true;
	rig_report_all(rig);
	rig_limits(rig, 1, 1);
	rig_turn(rig);

	rig_expect(rig, "");
	assert_int_equal(rig_phase(rig, "a0"), WH_MOVE_FAILED);
	assert_string_equal(rig_move(rig, "a0")->reason, "VM 'a0' is on node b now, not on a");
}

static void nothing_starts_that_the_store_does_not_have(void **state)
{
	struct rig *rig = *state;

	rig_ask(rig, "a0", "b", 0);
	rig_meddle(rig, "CREATE TRIGGER t BEFORE INSERT ON moves BEGIN "
	                "SELECT RAISE(ABORT, 'no'); END");
	rig_turn(rig);
	rig_expect(rig, "");
	assert_int_equal(rig_phase(rig, "a0"), WH_MOVE_PENDING);
	assert_int_equal(rig->next_ms, rig->now.mono_ms + 1000);
	assert_true(rig_try(rig, "a1", "b") < 0);

	rig_meddle(rig, "DROP TRIGGER t");
	rig_pass(rig, 1000);
	rig_expect(rig, "start a0 a>b; ");
}

static void an_end_that_the_store_would_not_take_is_written_later(void **state)
{
	struct rig *rig = *state;

	rig_ask(rig, "a0", "b", 0);
	rig_turn(rig);
	rig_report_all(rig);
	rig_meddle(rig, "CREATE TRIGGER t BEFORE INSERT ON moves BEGIN "
	                "SELECT RAISE(ABORT, 'no'); END");
	rig_end(rig, "a0", "");
	rig_turn(rig);
	assert_int_equal(rig_phase(rig, "a0"), WH_MOVE_SUCCEEDED);
	assert_int_equal(rig->next_ms, rig->now.mono_ms + 1000);

	rig_meddle(rig, "DROP TRIGGER t");
	rig_pass(rig, 1000);
	rig_reopen(rig);
	assert_int_equal(rig_phase(rig, "a0"), WH_MOVE_SUCCEEDED);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, rig_set_up, rig_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_move_starts_once_both_slots_are_free),
		TEST(as_many_run_as_the_cluster_has_slots),
		TEST(as_many_leave_a_node_as_it_has_slots),
		TEST(slots_that_are_taken_away_are_used_to_the_end),
		TEST(what_comes_in_takes_no_slot_of_its_target),
		TEST(the_order_is_priority_then_age),
		TEST(a_blocked_node_does_not_block_others),
		TEST(every_pending_move_says_its_place_and_what_it_waits_for),
		TEST(what_has_started_has_no_place_and_no_note),
		TEST(slots_are_held_until_it_ended_on_both_nodes),
		TEST(a_target_that_has_ended_first_waits_for_the_source),
		TEST(a_target_that_begins_again_has_not_ended),
		TEST(jobs_that_no_move_knows_fill_slots),
		TEST(the_node_with_most_room_is_chosen),
		TEST(what_is_on_its_way_counts_as_there),
		TEST(waits_until_a_node_can_take_it),
		TEST(no_guest_is_sent_to_a_node_that_is_drained_or_gone),
		TEST(a_named_target_is_waited_for_while_it_is_gone_or_drained),
		TEST(a_guest_that_left_meanwhile_is_not_moved),
		TEST(nothing_starts_that_the_store_does_not_have),
		TEST(an_end_that_the_store_would_not_take_is_written_later),
	};

	return cmocka_run_group_tests_name("cluster_queue", tests, NULL, NULL);
}
