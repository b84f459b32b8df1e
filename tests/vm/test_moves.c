/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Real movers move the memory of a process that keeps writing to it, between the two ends of a veth pair:
 * it is the same at both ends afterwards, whatever carried it, and the limit was held.
 *
 *	test_moves TRANSPORT MOVER METER [PATTERN]	inside a machine, run by "pair"
 *
 * TRANSPORT is tcp or rdma, PATTERN says which tests [*]. The test is the daemon. Everything is slow here, so there is little memory,
 * and nothing asks how long something took.
 */

#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "rig.h"

#include "wherry/clock.h"

#define MEASURE_NS WH_NSEC_PER_SEC
#define ATTEMPTS   100

#define METER_FILE "/tmp/windows"

static const char *meter_path;

/* --- moves ------------------------------------------------------------------------------------ */

static void move(struct rig *rig, uint32_t width)
{
	const struct mover_pair_config cfg = rig_config(rig, width, false);
	struct mover_pair pair;

	rig_start(rig, &pair, &cfg);
	rig_await_round(&pair, 3);
	rig_finish(rig, &pair);
}

/* Under a limit, so that the first round is not over before the rounds are to end. */
static void move_behind_the_guest(struct rig *rig, uint32_t width)
{
	struct mover_pair_config cfg;
	struct mover_pair pair;

	rig_limit(rig);
	cfg = rig_config(rig, width, true);
	rig_start(rig, &pair, &cfg);
	assert_int_equal(mover_pair_switch(&pair, WH_SWITCH_POSTCOPY), 0);
	assert_int_equal(mover_pair_await_converged(&pair), 0);
	assert_true(early_guest_stop(&rig->before));
	assert_int_equal(mover_pair_await_postcopy(&pair, &cfg), 0);
	late_guest_run(&rig->after);
	assert_int_equal(mover_pair_await_arrived(&pair), 0);
	assert_true(rig_behind(&pair) >= RIG_BYTES / 4);
	print_message("# %" PRIu64 " KiB read by RDMA\n", rig_read_by_rdma(&pair) >> 10);
	assert_int_equal(rig_read_by_rdma(&pair) > 0, rig_has_rdma());
	rig_done(rig, &pair);
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

/* --- the limit -------------------------------------------------------------------------------- */

static pid_t start_meter(void)
{
	int out[2];
	char ready;
	pid_t pid;

	assert_int_equal(pipe2(out, O_CLOEXEC), 0);
	pid = fork();
	if (pid == 0) {
		(void)dup2(out[1], STDOUT_FILENO);
		(void)execl(meter_path, meter_path, "--interface", "vb", "--out", METER_FILE,
		            (char *)NULL);
		_exit(127);
	}
	(void)close(out[1]);
	assert_int_equal(read(out[0], &ready, 1), 1); /* of "ready" */
	(void)close(out[0]);
	return pid;
}

/* Bytes of payload that it has seen between two times. */
static uint64_t end_meter(pid_t pid, uint64_t from_ns, uint64_t to_ns)
{
	uint64_t ms, count, bytes = 0;
	FILE *file;

	assert_int_equal(kill(pid, SIGTERM), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	file = fopen(METER_FILE, "re");
	assert_non_null(file);
	while (fscanf(file, "%" SCNu64 " %" SCNu64, &ms, &count) == 2)
		if (ms * WH_NSEC_PER_MSEC >= from_ns && ms * WH_NSEC_PER_MSEC < to_ns)
			bytes += count;
	assert_int_equal(fclose(file), 0);
	return bytes;
}

/* What arrives, as a part of the limit. */
static double measure(void)
{
	const pid_t meter = start_meter();
	const uint64_t from_ns = wh_now_ns(&wh_clock_monotonic);
	uint64_t to_ns;

	(void)poll(NULL, 0, (int)(MEASURE_NS / WH_NSEC_PER_MSEC));
	to_ns = wh_now_ns(&wh_clock_monotonic);
	return (double)end_meter(meter, from_ns, to_ns) * 1e9 / (double)(to_ns - from_ns) /
	       RIG_LIMIT_BPS;
}

/* Want of CPU can make it less for a time, but nothing may ever make it more. */
static void hold_the_limit(struct rig *rig, uint32_t width)
{
	struct mover_pair_config cfg;
	struct mover_pair pair;
	double ratio = 0;

	rig_limit(rig);
	cfg = rig_config(rig, width, false);
	rig_start(rig, &pair, &cfg);
	for (int attempt = 0; attempt < ATTEMPTS && ratio < 0.95; attempt++) {
		ratio = measure();
		print_message("# %.3f of 8 MiB/s\n", ratio);
		assert_true(ratio <= 1.05);
	}
	assert_true(ratio >= 0.95);
	assert_int_equal(wh_rate_bpf_set(rig->rate, 0, NULL), 0);
	rig_finish(rig, &pair);
}

static void a_limit_of_8_mib_is_held_by_one(void **state)
{
	hold_the_limit(*state, 1);
}

static void a_limit_of_8_mib_is_held_by_four(void **state)
{
	hold_the_limit(*state, 4);
}

#define SPOILED_TEST(fn) cmocka_unit_test_setup_teardown(fn, rig_setup, teardown_spoiled)

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
		RIG_TEST(a_limit_of_8_mib_is_held_by_one),
		RIG_TEST(a_limit_of_8_mib_is_held_by_four),
	};

	if (argc < 4) {
		(void)fprintf(stderr, "usage: test_moves TRANSPORT MOVER METER [PATTERN]\n");
		return 2;
	}
	meter_path = argv[3];
	if (argc > 4)
		cmocka_set_test_filter(argv[4]);
	return rig_run("moves", argv[1], argv[2], tests, sizeof(tests) / sizeof(tests[0]));
}
