/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A limit of 8 MiB/s is held by a move within 5 %, and in each second of some: as a meter says that shares no
 * code with the limiter.
 *
 *	test_limit TRANSPORT MOVER METER [PATTERN]	inside a machine, run by "pair"
 *
 * The machine is one whose time goes by instructions. In others, whatever else runs outside takes CPU away, and
 * the sender falls short of the limit.
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

#define SECONDS 6u

/* Pages that the guest writes in a millisecond, one after the other: twice the limit. */
#define FEW_AT_A_TIME 4u

/* What has left when the measurement begins. */
#define SOME_BYTES (UINT64_C(1) << 20)

#define METER_FILE "/tmp/windows"

static const char *meter_path;

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

/* Payload that it has seen in each second since @from_ns. */
static void end_meter(pid_t pid, uint64_t from_ns, uint64_t bytes[SECONDS])
{
	uint64_t ms, count;
	FILE *file;

	assert_int_equal(kill(pid, SIGTERM), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	file = fopen(METER_FILE, "re");
	assert_non_null(file);
	while (fscanf(file, "%" SCNu64 " %" SCNu64, &ms, &count) == 2) {
		const uint64_t ns = ms * WH_NSEC_PER_MSEC;

		if (ns >= from_ns && (ns - from_ns) / WH_NSEC_PER_SEC < SECONDS)
			bytes[(ns - from_ns) / WH_NSEC_PER_SEC] += count;
	}
	assert_int_equal(fclose(file), 0);
}

static void assert_held(void)
{
	const pid_t meter = start_meter();
	const uint64_t from_ns = wh_now_ns(&wh_clock_monotonic);
	uint64_t bytes[SECONDS] = { 0 };

	while (wh_now_ns(&wh_clock_monotonic) < from_ns + SECONDS * WH_NSEC_PER_SEC)
		(void)poll(NULL, 0, 100);
	end_meter(meter, from_ns, bytes);
	for (uint32_t i = 0; i < SECONDS; i++)
		print_message("# %.3f of 8 MiB/s\n", (double)bytes[i] / RIG_LIMIT_BPS);
	for (uint32_t i = 0; i < SECONDS; i++)
		assert_in_range(bytes[i], RIG_LIMIT_BPS / 100 * 95, RIG_LIMIT_BPS / 100 * 105);
}

/* The guest leaves its CPU to the movers. It writes more than they may send, so that they always have some. */
static void hold_the_limit(struct rig *rig, uint32_t width)
{
	struct mover_pair_config cfg;
	struct mover_pair pair;

	early_guest_pace(&rig->before, FEW_AT_A_TIME, true);
	rig_limit(rig);
	cfg = rig_config(rig, width, false);
	rig_start(rig, &pair, &cfg);
	rig_await_stat(&pair, WH_STAT_WIRE_BYTES, SOME_BYTES);
	assert_held();
	assert_int_equal(wh_rate_bpf_set(rig->rate, 0, NULL), 0);
	rig_finish(rig, &pair);
	rig_assert_carried(rig);
}

static void a_limit_of_8_mib_is_held_by_one(void **state)
{
	hold_the_limit(*state, 1);
}

static void a_limit_of_8_mib_is_held_by_four(void **state)
{
	hold_the_limit(*state, 4);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		RIG_TEST(a_limit_of_8_mib_is_held_by_one),
		RIG_TEST(a_limit_of_8_mib_is_held_by_four),
	};

	if (argc < 4) {
		(void)fprintf(stderr, "usage: test_limit TRANSPORT MOVER METER [PATTERN]\n");
		return 2;
	}
	meter_path = argv[3];
	if (argc > 4)
		cmocka_set_test_filter(argv[4]);
	return rig_run("limit", argv[1], argv[2], tests, sizeof(tests) / sizeof(tests[0]));
}
