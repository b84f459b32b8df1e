/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Real movers move the memory of a process that keeps writing to it, between the two ends of a veth pair:
 * it is the same at both ends afterwards, whatever carried it.
 *
 *	test_moves TRANSPORT MOVER [PATTERN]	inside a machine, run by "pair"
 *
 * TRANSPORT is tcp or rdma, PATTERN says which tests [*]. The test is the daemon. Everything is slow here, so
 * there is little memory, and nothing asks how long something took.
 */

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "rig.h"

/* What has left before the network goes, and for how long that is gone: no peer is given up before. */
#define SOME_BYTES (UINT64_C(1) << 20)
#define GONE_MS    2000

/* --- moves ------------------------------------------------------------------------------------ */

static void move(struct rig *rig, uint32_t width)
{
	const struct mover_pair_config cfg = rig_config(rig, width, false);
	struct mover_pair pair;

	rig_start(rig, &pair, &cfg);
	rig_await_round(&pair, 3);
	rig_finish(rig, &pair);
	rig_assert_carried(rig);
}

static void move_behind_the_guest(struct rig *rig, uint32_t width)
{
	struct mover_pair_config cfg;

	rig_limit(rig);
	cfg = rig_config(rig, width, true);
	rig_move_behind(rig, &cfg);
}

static void memory_is_equal_after_a_move_by_one(void **state)
{
	move(*state, 1);
}

static void memory_is_equal_after_a_move_by_four(void **state)
{
	move(*state, 4);
}

static void memory_arrives_behind_the_guest_by_one(void **state)
{
	move_behind_the_guest(*state, 1);
}

static void memory_arrives_behind_the_guest_by_four(void **state)
{
	move_behind_the_guest(*state, 4);
}

/* What goes from the source to the destination is late, and some is lost both ways. */
static void spoil_the_network(void)
{
	assert_true(rig_command("tc qdisc replace dev va root netem delay 10ms loss 1%"));
	assert_true(rig_command("tc qdisc replace dev vb root netem loss 1%"));
}

static int teardown_spoiled(void **state)
{
	assert_true(rig_command("tc qdisc replace dev va root noqueue"));
	assert_true(rig_command("tc qdisc replace dev vb root noqueue"));
	return rig_teardown(state);
}

static void memory_is_equal_where_packets_are_late_and_lost_by_one(void **state)
{
	spoil_the_network();
	move(*state, 1);
}

static void memory_is_equal_where_packets_are_late_and_lost_by_four(void **state)
{
	spoil_the_network();
	move(*state, 4);
}

static void memory_arrives_behind_the_guest_where_packets_are_late_and_lost(void **state)
{
	spoil_the_network();
	move_behind_the_guest(*state, 4);
}

/* Under a limit, in the middle of the first round. */
static void memory_is_equal_if_the_network_was_gone_for_a_moment(void **state)
{
	struct rig *rig = *state;
	struct mover_pair_config cfg;
	struct mover_pair pair;

	rig_limit(rig);
	cfg = rig_config(rig, 4, false);
	rig_start(rig, &pair, &cfg);
	rig_await_stat(&pair, WH_STAT_WIRE_BYTES, SOME_BYTES);
	rig_network(false);
	(void)poll(NULL, 0, GONE_MS);
	assert_int_equal(wh_stat_get(pair.source.stats, WH_STAT_ROUND), 1);
	rig_network(true);
	assert_int_equal(wh_rate_bpf_set(rig->rate, 0, NULL), 0);
	rig_finish(rig, &pair);
}

/* A device of rxe whose connections were to end meanwhile makes no new ones. */
static int teardown_gone(void **state)
{
	rig_network(true);
	rig_new_devices();
	return rig_teardown(state);
}

#define SPOILED_TEST(fn) cmocka_unit_test_setup_teardown(fn, rig_setup, teardown_spoiled)
#define GONE_TEST(fn)    cmocka_unit_test_setup_teardown(fn, rig_setup, teardown_gone)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		RIG_TEST(memory_is_equal_after_a_move_by_one),
		RIG_TEST(memory_is_equal_after_a_move_by_four),
		RIG_TEST(memory_arrives_behind_the_guest_by_one),
		RIG_TEST(memory_arrives_behind_the_guest_by_four),
		SPOILED_TEST(memory_is_equal_where_packets_are_late_and_lost_by_one),
		SPOILED_TEST(memory_is_equal_where_packets_are_late_and_lost_by_four),
		SPOILED_TEST(memory_arrives_behind_the_guest_where_packets_are_late_and_lost),
		GONE_TEST(memory_is_equal_if_the_network_was_gone_for_a_moment),
	};

	if (argc < 3) {
		(void)fprintf(stderr, "usage: test_moves TRANSPORT MOVER [PATTERN]\n");
		return 2;
	}
	if (argc > 3)
		cmocka_set_test_filter(argv[3]);
	return rig_run("moves", argv[1], argv[2], tests, sizeof(tests) / sizeof(tests[0]));
}
