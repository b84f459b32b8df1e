/* SPDX-License-Identifier: Apache-2.0 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "compress_pays.h"

#include "wherry/clock.h"

#define MIB (UINT64_C(1) << 20)

/* A compressor that takes 256 MiB/s, and what it makes of the contents. */
#define MIB_NS     (WH_NSEC_PER_SEC / 256)
#define TO_A_THIRD (MIB / 3)
#define TO_NOTHING UINT64_C(64)

static bool pays(uint64_t link_bps, uint64_t len_per_mib, bool now_on)
{
	const struct wh_compress_cost cost = { .link_bps = link_bps,
		                               .ns_per_mib = MIB_NS,
		                               .len_per_mib = len_per_mib };

	return wh_compress_cost_pays(&cost, now_on);
}

static void a_slow_link_pays_and_a_fast_one_does_not(void **state)
{
	(void)state;
	assert_true(pays(1, TO_A_THIRD, false));
	assert_true(pays(64 * MIB, TO_A_THIRD, false));
	assert_false(pays(256 * MIB, TO_A_THIRD, true));
	assert_false(pays(2048 * MIB, TO_A_THIRD, true));
	assert_false(pays(UINT64_MAX, TO_NOTHING, true));
}

static void contents_that_stay_as_long_never_pay(void **state)
{
	(void)state;
	assert_false(pays(1, MIB, true));
	assert_false(pays(64 * MIB, MIB, true));
}

static void without_a_rate_nothing_pays(void **state)
{
	(void)state;
	assert_false(pays(0, TO_NOTHING, false));
	assert_false(pays(0, TO_NOTHING, true));
}

static void what_saves_little_goes_on_and_does_not_begin(void **state)
{
	(void)state;
	/* At 165 MiB/s a third is 3.9 + 2.0 of 6.1 ms. */
	assert_false(pays(165 * MIB, TO_A_THIRD, false));
	assert_true(pays(165 * MIB, TO_A_THIRD, true));
	assert_false(pays(175 * MIB, TO_A_THIRD, true));
}

/* --- a connection over time ------------------------------------------------------------------- */

struct line {
	struct wh_compress_pays pays;
	struct wh_socket_look at;
};

/* So many ms at @bps, looked at each of them. */
static void run(struct line *line, uint32_t ms, uint64_t bps, bool backlog)
{
	for (uint32_t i = 0; i < ms; i++) {
		line->at.now_ns += WH_NSEC_PER_MSEC;
		line->at.acked_bytes += bps / 1000;
		line->at.backlog = backlog;
		wh_compress_pays_look(&line->pays, &line->at);
	}
}

static void sample(struct line *line, uint64_t len_per_mib)
{
	wh_compress_pays_measured(&line->pays, (uint32_t)MIB, (uint32_t)len_per_mib, MIB_NS);
}

/* A line on which it pays. */
static struct line line_on(void)
{
	struct line line = { .at = { .now_ns = 5 * WH_NSEC_PER_SEC } };

	run(&line, 100, 64 * MIB, true);
	assert_false(line.pays.on); /* nothing is known of the contents */
	assert_true(wh_compress_pays_wants_sample(&line.pays));
	sample(&line, TO_A_THIRD);
	run(&line, 1, 64 * MIB, true);
	assert_true(line.pays.on);
	return line;
}

static void nothing_is_tried_before_the_link_is_known(void **state)
{
	struct line line = { .at = { .now_ns = 5 * WH_NSEC_PER_SEC } };

	(void)state;
	run(&line, 20, 64 * MIB, true);
	assert_false(wh_compress_pays_wants_sample(&line.pays));
}

static void a_link_that_takes_what_comes_is_left_alone(void **state)
{
	struct line line = { .at = { .now_ns = 5 * WH_NSEC_PER_SEC } };

	(void)state;
	run(&line, 5000, 64 * MIB, false);
	assert_false(wh_compress_pays_wants_sample(&line.pays));
	sample(&line, TO_NOTHING);
	run(&line, 1, 64 * MIB, false);
	assert_false(line.pays.on);
}

static void samples_are_rare(void **state)
{
	struct line line = { .at = { .now_ns = 5 * WH_NSEC_PER_SEC } };
	uint32_t samples = 0;

	(void)state;
	for (int i = 0; i < 10000; i++) {
		run(&line, 1, 1024 * MIB, true);
		if (!wh_compress_pays_wants_sample(&line.pays))
			continue;
		sample(&line, TO_A_THIRD);
		samples++;
	}
	assert_false(line.pays.on);
	assert_in_range(samples, 50, 100);
}

static void contents_that_change_change_the_mind(void **state)
{
	struct line line = line_on();

	(void)state;
	for (int i = 0; i < 8; i++)
		sample(&line, MIB);
	run(&line, 1, 64 * MIB, true);
	assert_false(line.pays.on);

	run(&line, 200, 64 * MIB, true);
	assert_true(wh_compress_pays_wants_sample(&line.pays));
	for (int i = 0; i < 8; i++)
		sample(&line, TO_A_THIRD);
	run(&line, 1, 64 * MIB, true);
	assert_true(line.pays.on);
}

static void a_link_that_becomes_fast_is_noticed(void **state)
{
	struct line line = line_on();

	(void)state;
	run(&line, 3000, 1024 * MIB, true);
	assert_false(line.pays.on);
}

static void a_link_left_idle_for_long_is_measured_again(void **state)
{
	struct line line = line_on();

	(void)state;
	run(&line, 2900, 20 * MIB, false);
	assert_true(line.pays.on);
	run(&line, 200, 20 * MIB, false);
	assert_false(line.pays.on);

	run(&line, 100, 64 * MIB, true);
	assert_true(line.pays.on);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_slow_link_pays_and_a_fast_one_does_not),
		cmocka_unit_test(contents_that_stay_as_long_never_pay),
		cmocka_unit_test(without_a_rate_nothing_pays),
		cmocka_unit_test(what_saves_little_goes_on_and_does_not_begin),
		cmocka_unit_test(nothing_is_tried_before_the_link_is_known),
		cmocka_unit_test(a_link_that_takes_what_comes_is_left_alone),
		cmocka_unit_test(samples_are_rare),
		cmocka_unit_test(contents_that_change_change_the_mind),
		cmocka_unit_test(a_link_that_becomes_fast_is_noticed),
		cmocka_unit_test(a_link_left_idle_for_long_is_measured_again),
	};

	return cmocka_run_group_tests_name("compress_pays", tests, NULL, NULL);
}
