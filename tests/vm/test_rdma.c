/* SPDX-License-Identifier: Apache-2.0 */

/*
 * RDMA breaks in the middle of a round, or there is none: TCP carries on and says why, or the guest goes on
 * where it is. In each case its memory is what it must be.
 *
 *	test_rdma MOVER [PATTERN]	inside a machine, run by "pair rdma"
 *
 * A limit keeps the first round from being over before something breaks.
 */

#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "rig.h"

#define PAIRS 4u

/* Of 4 KiB at most, by RDMA, before something breaks: the first round has some 6000. */
#define PACKETS 200u

/* Under a limit, up to where a part of the first round is sent by RDMA. */
static void begin(struct rig *rig, struct mover_pair *pair)
{
	struct mover_pair_config cfg;

	rig_limit(rig);
	cfg = rig_config(rig, PAIRS, false);
	rig_start(rig, pair, &cfg);
	for (int i = 0; i < 60000 && rig_rdma_packets(rig) < PACKETS; i++)
		(void)poll(NULL, 0, 1);
	assert_true(rig_rdma_packets(rig) >= PACKETS);
	assert_int_equal(wh_stat_get(pair->source.stats, WH_STAT_ROUND), 1);
}

static void assert_by_tcp(const struct mover *mover)
{
	assert_int_equal(mover->carries.type, WH_WORKER_TRANSPORT);
	assert_int_equal(mover->carries.kind, WH_TRANSPORT_TCP);
	assert_true(mover->carries.why.text[0] != '\0');
}

/* The rest of a move whose pages TCP carries by now. */
static void finish_by_tcp(struct rig *rig, struct mover_pair *pair)
{
	uint64_t page_bytes, rdma_bytes;

	assert_int_equal(wh_rate_bpf_set(rig->rate, 0, NULL), 0);
	rig_stop(rig, pair);
	assert_by_tcp(&pair->source);
	page_bytes = wh_stat_get(pair->source.stats, WH_STAT_PAGE_BYTES);
	rdma_bytes = wh_stat_get(pair->source.stats, WH_STAT_RDMA_BYTES);
	rig_land(rig, pair);
	assert_by_tcp(&pair->target);
	assert_true(rig->page_bytes > page_bytes);
	assert_int_equal(rig->rdma_bytes, rdma_bytes);
}

static int setup_devices(void **state)
{
	rig_new_devices();
	return rig_setup(state);
}

/* --- TCP carries on --------------------------------------------------------------------------- */

static void tcp_carries_on_when_the_source_loses_its_device(void **state)
{
	struct rig *rig = *state;
	struct mover_pair pair;

	begin(rig, &pair);
	assert_true(rig_command("rdma link del rxea"));
	finish_by_tcp(rig, &pair);
	assert_true(rig->rdma_bytes > 0 && rig->rdma_bytes < rig->page_bytes);
}

static void tcp_carries_on_when_the_destination_loses_its_device(void **state)
{
	struct rig *rig = *state;
	struct mover_pair pair;

	begin(rig, &pair);
	assert_true(rig_command("rdma link del rxeb"));
	finish_by_tcp(rig, &pair);
	assert_true(rig->rdma_bytes > 0 && rig->rdma_bytes < rig->page_bytes);
}

static void tcp_carries_all_where_there_is_no_device(void **state)
{
	struct rig *rig = *state;
	struct mover_pair_config cfg;
	struct mover_pair pair;

	assert_true(rig_command("rdma link del rxea"));
	assert_true(rig_command("rdma link del rxeb"));
	rig_limit(rig);
	cfg = rig_config(rig, PAIRS, false);
	rig_start(rig, &pair, &cfg);
	finish_by_tcp(rig, &pair);
	assert_int_equal(rig->rdma_bytes, 0);
}

/* Not root's own privilege, but what a unit file allows. */
static void tcp_carries_all_where_no_memory_may_be_pinned(void **state)
{
	struct rig *rig = *state;
	struct mover_pair_config cfg;
	struct mover_pair pair;

	rig_limit(rig);
	cfg = rig_config(rig, PAIRS, false);
	cfg.memlock_bytes = UINT64_C(8) << 20;
	rig_start(rig, &pair, &cfg);
	finish_by_tcp(rig, &pair);
	assert_int_equal(rig->rdma_bytes, 0);
	assert_non_null(strstr(pair.source.carries.why.text, "MEMLOCK"));
}

/* --- in post-copy ----------------------------------------------------------------------------- */

/* Up to where the destination reads pages that its guest waits for. */
static void begin_behind_the_guest(struct rig *rig, struct mover_pair *pair)
{
	struct mover_pair_config cfg;

	rig_limit(rig);
	cfg = rig_config(rig, PAIRS, true);
	rig_start(rig, pair, &cfg);
	assert_int_equal(mover_pair_switch(pair, WH_SWITCH_POSTCOPY), 0);
	assert_int_equal(mover_pair_await_converged(pair), 0);
	assert_true(early_guest_stop(&rig->before));
	assert_int_equal(mover_pair_await_postcopy(pair, &cfg), 0);
	late_guest_run(&rig->after);
	for (int i = 0; i < 60000 && rig_read_by_rdma(pair) == 0; i++)
		(void)poll(NULL, 0, 1);
	assert_true(rig_read_by_rdma(pair) > 0);
}

static void faults_go_over_tcp_when_the_source_loses_its_device(void **state)
{
	struct mover_pair pair;
	uint64_t left;

	begin_behind_the_guest(*state, &pair);
	assert_true(rig_command("rdma link del rxea"));
	left = wh_stat_get(pair.target.stats, WH_STAT_LEFT_BYTES);
	assert_true(left > 0); /* else nothing was shown */
	assert_int_equal(mover_pair_await_arrived(&pair), 0);
	assert_by_tcp(&pair.source);
	print_message("# %s\n", pair.source.carries.why.text);
	assert_non_null(strstr(pair.source.carries.why.text, "post-copy is not read by RDMA"));
	assert_by_tcp(&pair.target);
	rig_done(*state, &pair);
}

/* --- the guest stays -------------------------------------------------------------------------- */

static void the_guest_stays_if_the_target_mover_is_killed(void **state)
{
	struct mover_pair pair;

	begin(*state, &pair);
	assert_int_equal(kill(pair.target.pid, SIGKILL), 0);
	assert_int_equal(mover_pair_await_failed(&pair, &pair.source), 0);
	assert_true(pair.failed.code < 0);
	assert_int_equal(mover_pair_done(&pair), -1);
	assert_true(WIFEXITED(pair.source.status));
	rig_assert_untouched(*state);
}

static void the_guest_stays_if_the_source_mover_is_killed(void **state)
{
	struct mover_pair pair;

	begin(*state, &pair);
	assert_int_equal(kill(pair.source.pid, SIGKILL), 0);
	assert_int_equal(mover_pair_await_failed(&pair, &pair.target), 0);
	assert_int_equal(mover_pair_done(&pair), -1);
	assert_true(WIFEXITED(pair.target.status));
	rig_assert_untouched(*state);
}

static int teardown_down(void **state)
{
	rig_network(true);
	return rig_teardown(state);
}

static void the_guest_stays_if_the_network_is_down(void **state)
{
	struct mover_pair pair;

	begin(*state, &pair);
	rig_network(false);
	assert_int_equal(mover_pair_await_failed(&pair, &pair.source), 0);
	assert_int_equal(mover_pair_done(&pair), -1);
	assert_true(WIFEXITED(pair.source.status));
	rig_assert_untouched(*state);
}

int main(int argc, char **argv)
{
#define RDMA_TEST(fn) cmocka_unit_test_setup_teardown(fn, setup_devices, rig_teardown)
	const struct CMUnitTest tests[] = {
		RDMA_TEST(tcp_carries_on_when_the_source_loses_its_device),
		RDMA_TEST(tcp_carries_on_when_the_destination_loses_its_device),
		RDMA_TEST(tcp_carries_all_where_there_is_no_device),
		RDMA_TEST(tcp_carries_all_where_no_memory_may_be_pinned),
		RDMA_TEST(faults_go_over_tcp_when_the_source_loses_its_device),
		RDMA_TEST(the_guest_stays_if_the_target_mover_is_killed),
		RDMA_TEST(the_guest_stays_if_the_source_mover_is_killed),
		cmocka_unit_test_setup_teardown(the_guest_stays_if_the_network_is_down,
		                                setup_devices, teardown_down),
	};

	if (argc < 2) {
		(void)fprintf(stderr, "usage: test_rdma MOVER [PATTERN]\n");
		return 2;
	}
	if (argc > 2)
		cmocka_set_test_filter(argv[2]);
	return rig_run("failures", "rdma", argv[1], tests, sizeof(tests) / sizeof(tests[0]));
}
