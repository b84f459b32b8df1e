/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Two hosts, each with a network namespace and an RDMA device of its own, which has all memory pinned, or pages
 * it in on demand. Memory is equal after a move, and also where pages that the devices know are given
 * back in the middle of a round: one that has them pinned would go on with the old ones.
 *
 *	test_hosts MOVER [PATTERN]	inside a machine, run by "pair --namespaces rdma"
 *
 * Where pages are given back, few are written otherwise.
 */

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "rig.h"

/* What the guest gives back: so many pages of every STEP. */
#define STEP  64u
#define HOLES 32u

/* Holes that are never written to again. */
#define REMAIN 8u

/* What a round with all this to send has sent before pages are given back, slowly enough. */
#define MANY_BYTES (RIG_BYTES / 4)
#define SOME_BYTES (UINT64_C(1) << 20)
#define SLOW_BPS   (UINT64_C(2) << 20)

static bool on_demand;

static struct mover_pair_config config(struct rig *rig, uint32_t width, bool postcopy)
{
	struct mover_pair_config cfg = rig_config(rig, width, postcopy);

	cfg.source_netns = "/run/netns/a";
	cfg.target_netns = "/run/netns/b";
	cfg.odp = on_demand;
	return cfg;
}

/* What devices have of the memory of process @pid. */
static uint64_t pinned_kib(pid_t pid)
{
	char path[32], line[128];
	uint64_t kib = 0;
	bool found = false;
	FILE *file;

	(void)snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	file = fopen(path, "re");
	assert_non_null(file);
	while (!found && fgets(line, sizeof(line), file))
		found = sscanf(line, "VmPin: %" SCNu64, &kib) == 1;
	assert_int_equal(fclose(file), 0);
	assert_true(found);
	return kib;
}

/* Move until the devices of both sides know all of the memory. */
static void begin(struct rig *rig, struct mover_pair *pair, uint32_t width)
{
	const struct mover_pair_config cfg = config(rig, width, false);

	rig_start(rig, pair, &cfg);
	rig_await_round(pair, 3);
	assert_int_equal(pinned_kib(pair->source.pid), on_demand ? 0 : RIG_BYTES >> 10);
	assert_int_equal(pinned_kib(pair->target.pid), on_demand ? 0 : RIG_BYTES >> 10);
}

static void finish(struct rig *rig, struct mover_pair *pair)
{
	rig_finish(rig, pair);
	rig_assert_carried(rig);
}

static void move(struct rig *rig, uint32_t width)
{
	struct mover_pair pair;

	begin(rig, &pair, width);
	finish(rig, &pair);
}

static void memory_is_equal_after_a_move_by_one(void **state)
{
	move(*state, 1);
}

static void memory_is_equal_after_a_move_by_four(void **state)
{
	move(*state, 4);
}

static void memory_arrives_behind_the_guest(void **state)
{
	struct rig *rig = *state;
	struct mover_pair_config cfg;

	rig_limit(rig);
	cfg = config(rig, 4, true);
	rig_move_behind(rig, &cfg);
}

/* Some holes are where pages were sent already, others where they are still to be sent. */
static void pages_given_back_in_mid_round_arrive_as_written_anew(void **state)
{
	struct rig *rig = *state;
	struct mover_pair pair;
	uint64_t round, sent;

	early_guest_pace(&rig->before, 1, false);
	rig_limit(rig);
	assert_int_equal(wh_rate_bpf_set(rig->rate, 0, NULL), 0);
	begin(rig, &pair, 4);
	assert_int_equal(wh_rate_bpf_set(rig->rate, SLOW_BPS, NULL), 0);
	assert_true(early_guest_act(&rig->before, EARLY_GUEST_WRITE, 0, STEP, STEP));
	rig_await_stat(&pair, WH_STAT_ROUND_BYTES, MANY_BYTES);
	round = wh_stat_get(pair.source.stats, WH_STAT_ROUND);
	sent = wh_stat_get(pair.source.stats, WH_STAT_RDMA_BYTES);
	rig_await_stat(&pair, WH_STAT_RDMA_BYTES, sent + SOME_BYTES);
	assert_true(early_guest_act(&rig->before, EARLY_GUEST_GIVE_BACK, 0, HOLES, STEP));
	assert_true(early_guest_act(&rig->before, EARLY_GUEST_WRITE, REMAIN, HOLES - REMAIN, STEP));
	assert_int_equal(wh_stat_get(pair.source.stats, WH_STAT_ROUND), round);
	assert_int_equal(wh_rate_bpf_set(rig->rate, 0, NULL), 0);
	finish(rig, &pair);
}

/* The destination hears of zero pages, and must not give back its own either, or get to know the new ones. */
static void pages_that_were_holes_for_a_while_arrive_as_written_anew(void **state)
{
	struct rig *rig = *state;
	struct mover_pair pair;
	uint64_t round, zero;

	early_guest_pace(&rig->before, 1, false);
	begin(rig, &pair, 4);
	zero = wh_stat_get(pair.source.stats, WH_STAT_ZERO_BYTES);
	assert_true(early_guest_act(&rig->before, EARLY_GUEST_GIVE_BACK, 0, HOLES, STEP));
	rig_await_stat(&pair, WH_STAT_ZERO_BYTES, zero + RIG_BYTES / STEP * HOLES / 4 * 3);
	round = wh_stat_get(pair.source.stats, WH_STAT_ROUND);
	rig_await_round(&pair, round + 2);
	assert_true(early_guest_act(&rig->before, EARLY_GUEST_WRITE, REMAIN, HOLES - REMAIN, STEP));
	finish(rig, &pair);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		RIG_TEST(memory_is_equal_after_a_move_by_one),
		RIG_TEST(memory_is_equal_after_a_move_by_four),
		RIG_TEST(memory_arrives_behind_the_guest),
		RIG_TEST(pages_given_back_in_mid_round_arrive_as_written_anew),
		RIG_TEST(pages_that_were_holes_for_a_while_arrive_as_written_anew),
	};
	const size_t count = sizeof(tests) / sizeof(tests[0]);
	int failed;

	if (argc < 2) {
		(void)fprintf(stderr, "usage: test_hosts MOVER [PATTERN]\n");
		return 2;
	}
	if (argc > 2)
		cmocka_set_test_filter(argv[2]);
	failed = rig_run("hosts_that_pin", "rdma", argv[1], tests, count);
	on_demand = true;
	return failed + rig_run("hosts_that_page_in", "rdma", argv[1], tests, count);
}
