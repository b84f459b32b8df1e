/* SPDX-License-Identifier: Apache-2.0 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "compress_pays.h"

#include "wherry/clock.h"
#include "wherry/limits.h"

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
	assert_true(pays(255 * MIB, TO_A_THIRD, false));
	assert_false(pays(256 * MIB, TO_A_THIRD, false));
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
	assert_true(pays(64 * MIB, MIB - MIB / 8, false));
	assert_false(pays(64 * MIB, MIB - MIB / 9, false));
	assert_true(pays(64 * MIB, MIB - MIB / 16, true));
	assert_false(pays(64 * MIB, MIB - MIB / 17, true));
}

static void a_compressor_that_slows_down_goes_on_and_does_not_begin(void **state)
{
	(void)state;
	assert_false(pays(400 * MIB, TO_A_THIRD, false));
	assert_true(pays(400 * MIB, TO_A_THIRD, true));
	assert_false(pays(512 * MIB, TO_A_THIRD, true));
}

/* --- a connection over time ------------------------------------------------------------------- */

struct line {
	struct wh_compress_pays pays;
	struct wh_socket_look at;
};

/* So many ms at @bps with @backlog bytes waiting, looked at each of them. */
static void run(struct line *line, uint32_t ms, uint64_t bps, uint64_t backlog)
{
	for (uint32_t i = 0; i < ms; i++) {
		line->at.now_ns += WH_NSEC_PER_MSEC;
		line->at.acked_bytes += bps / 1000;
		line->at.backlog_bytes = backlog;
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

	run(&line, 100, 64 * MIB, MIB);
	assert_false(line.pays.on); /* nothing is known of the contents */
	assert_true(wh_compress_pays_wants_sample(&line.pays));
	sample(&line, TO_A_THIRD);
	run(&line, 1, 64 * MIB, MIB);
	assert_true(line.pays.on);
	return line;
}

static void nothing_is_tried_before_the_link_is_known(void **state)
{
	struct line line = { .at = { .now_ns = 5 * WH_NSEC_PER_SEC } };

	(void)state;
	run(&line, 20, 64 * MIB, MIB);
	assert_false(wh_compress_pays_wants_sample(&line.pays));
}

static void a_link_that_takes_what_comes_is_left_alone(void **state)
{
	struct line line = { .at = { .now_ns = 5 * WH_NSEC_PER_SEC } };

	(void)state;
	run(&line, 5000, 64 * MIB, 0);
	assert_false(wh_compress_pays_wants_sample(&line.pays));
	sample(&line, TO_NOTHING);
	run(&line, 1, 64 * MIB, 0);
	assert_false(line.pays.on);
}

static void samples_are_rare(void **state)
{
	struct line line = { .at = { .now_ns = 5 * WH_NSEC_PER_SEC } };
	uint32_t samples = 0;

	(void)state;
	for (int i = 0; i < 10000; i++) {
		run(&line, 1, 1024 * MIB, MIB);
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
	for (int i = 0; i < 16; i++)
		sample(&line, MIB);
	run(&line, 1, 64 * MIB, MIB);
	assert_false(line.pays.on);

	run(&line, 200, 64 * MIB, MIB);
	assert_true(wh_compress_pays_wants_sample(&line.pays));
	for (int i = 0; i < 8; i++)
		sample(&line, TO_A_THIRD);
	run(&line, 1, 64 * MIB, MIB);
	assert_true(line.pays.on);
}

static void a_link_that_becomes_fast_is_noticed(void **state)
{
	struct line line = line_on();

	(void)state;
	run(&line, 3000, 1024 * MIB, MIB);
	assert_false(line.pays.on);
}

static void a_link_that_stays_idle_is_measured_again(void **state)
{
	struct line line = line_on();

	(void)state;
	run(&line, 40, 20 * MIB, 0);
	assert_true(line.pays.on);
	run(&line, 40, 20 * MIB, 0);
	assert_false(line.pays.on);

	run(&line, 100, 64 * MIB, MIB);
	assert_true(line.pays.on);
}

static void a_few_looks_far_apart_that_see_no_backlog_are_no_idle_link(void **state)
{
	struct line line = line_on();

	(void)state;
	for (int i = 0; i < 3; i++) {
		line.at.now_ns += 100 * WH_NSEC_PER_MSEC;
		run(&line, 1, 64 * MIB, 0);
	}
	assert_true(line.pays.on);
}

static void a_write_is_compressed_if_the_link_stays_busy_meanwhile(void **state)
{
	struct line line = line_on();

	(void)state;
	/* The link takes four times as long as the compressor, and must be busy for two thirds of that. */
	assert_true(wh_compress_pays_now(&line.pays, 5 * MIB));
	assert_false(wh_compress_pays_now(&line.pays, 7 * MIB));
	run(&line, 1, 64 * MIB, 0);
	assert_true(line.pays.on);
	assert_false(wh_compress_pays_now(&line.pays, WH_PAGE_SIZE));
}

static void nothing_is_compressed_where_it_does_not_pay(void **state)
{
	struct line line = { .at = { .now_ns = 5 * WH_NSEC_PER_SEC } };

	(void)state;
	run(&line, 100, 1024 * MIB, 64 * MIB);
	sample(&line, TO_A_THIRD);
	run(&line, 1, 1024 * MIB, 64 * MIB);
	assert_false(wh_compress_pays_now(&line.pays, WH_PAGE_SIZE));
}

/* --- differences ------------------------------------------------------------------------------ */

/* A line that is slow and has sent no differences yet. */
static struct line slow_line(void)
{
	struct line line = { .at = { .now_ns = 5 * WH_NSEC_PER_SEC } };

	run(&line, 100, 64 * MIB, MIB);
	return line;
}

static void differences_are_tried_where_the_link_is_slow(void **state)
{
	struct line line = { .at = { .now_ns = 5 * WH_NSEC_PER_SEC } };

	(void)state;
	run(&line, 5000, 64 * MIB, 0);
	assert_false(wh_delta_pays(&line.pays));
	line = slow_line();
	assert_true(wh_delta_pays(&line.pays));
	/* Long ones must be many before they are believed, and slow ones not. */
	wh_delta_pays_measured(&line.pays, MIB, MIB, MIB_NS);
	run(&line, 1, 64 * MIB, MIB);
	assert_true(wh_delta_pays(&line.pays));
	wh_delta_pays_measured(&line.pays, MIB, MIB / 100, 8 * MIB_NS);
	run(&line, 1, 64 * MIB, MIB);
	assert_false(wh_delta_pays(&line.pays));
}

static void differences_that_are_as_long_rest_and_are_tried_again(void **state)
{
	struct line line = slow_line();

	(void)state;
	for (int i = 0; i < 5; i++)
		wh_delta_pays_measured(&line.pays, MIB, MIB, MIB_NS);
	run(&line, 1900, 64 * MIB, MIB);
	assert_false(wh_delta_pays(&line.pays));
	run(&line, 200, 64 * MIB, MIB);
	assert_true(wh_delta_pays(&line.pays));
}

static void short_differences_go_on_while_the_link_is_idle(void **state)
{
	struct line line = slow_line();

	(void)state;
	for (int i = 0; i < 100; i++)
		wh_delta_pays_measured(&line.pays, MIB, MIB / 50, MIB_NS);
	run(&line, 2900, 64 * MIB, 0);
	assert_true(wh_delta_pays(&line.pays));
	run(&line, 200, 64 * MIB, 0);
	assert_false(wh_delta_pays(&line.pays));
}

static void differences_end_where_the_link_becomes_fast(void **state)
{
	struct line line = slow_line();

	(void)state;
	for (int i = 0; i < 100; i++)
		wh_delta_pays_measured(&line.pays, MIB, MIB / 50, MIB_NS);
	run(&line, 1900, 1024 * MIB, MIB);
	assert_false(wh_delta_pays(&line.pays));
}

/* --- a connection under a limit --------------------------------------------------------------- */

#define CONTENTS  (2048 * MIB)
#define WRITE_LEN MIB
#define LINK_MSS  65536

struct sent {
	uint64_t ns;
	uint64_t wire_bytes;
	uint32_t changes; /* of mind: whether it pays */
};

/*
 * Send CONTENTS through a link of @link_bps with a socket buffer of 4 MiB, compressing at
 * @compressor_bps, each write when there is room for it. Sending itself takes no time.
 */
static struct sent send_all(uint64_t link_bps, uint64_t compressor_bps, uint64_t compressed_part)
{
	struct line line = { .at = { .now_ns = 5 * WH_NSEC_PER_SEC } };
	const uint64_t write_ns = WRITE_LEN * WH_NSEC_PER_SEC / compressor_bps;
	const uint64_t sample_ns = WH_COMPRESS_SAMPLE * WH_NSEC_PER_SEC / compressor_bps;
	struct sent sent = { 0 };
	uint64_t waiting = 0, ns;
	bool was_on = false;

	for (uint64_t left = CONTENTS; left > 0; left -= WRITE_LEN) {
		uint64_t len = WRITE_LEN;

		ns = 0;
		line.at.backlog_bytes = waiting;
		wh_compress_pays_look(&line.pays, &line.at);
		sent.changes += line.pays.on != was_on;
		was_on = line.pays.on;
		if (wh_compress_pays_wants_sample(&line.pays)) {
			wh_compress_pays_measured(&line.pays, WH_COMPRESS_SAMPLE,
			                          WH_COMPRESS_SAMPLE / (uint32_t)compressed_part,
			                          sample_ns);
			ns += sample_ns;
		}
		if (wh_compress_pays_now(&line.pays, (uint32_t)len)) {
			len /= compressed_part;
			wh_compress_pays_measured(&line.pays, (uint32_t)WRITE_LEN, (uint32_t)len,
			                          write_ns);
			ns += write_ns;
		}
		sent.wire_bytes += len;
		/* The link goes on meanwhile, and until there is room. */
		for (uint64_t step_ns = 0; step_ns < ns || waiting + len > 4 * MIB;) {
			const uint64_t take = waiting < LINK_MSS ? waiting : LINK_MSS;
			const uint64_t take_ns = LINK_MSS * WH_NSEC_PER_SEC / link_bps;

			waiting -= take;
			line.at.acked_bytes += take;
			line.at.now_ns += take_ns;
			step_ns += take_ns;
		}
		waiting += len;
	}
	sent.ns = line.at.now_ns - 5 * WH_NSEC_PER_SEC + waiting * WH_NSEC_PER_SEC / link_bps;
	return sent;
}

static uint64_t raw_ns(uint64_t link_bps)
{
	return CONTENTS / MIB * (MIB * WH_NSEC_PER_SEC / link_bps);
}

static void a_link_slower_than_the_compressor_gets_all_compressed(void **state)
{
	const struct sent sent = send_all(64 * MIB, 400 * MIB, 4);

	(void)state;
	assert_in_range(sent.wire_bytes, CONTENTS / 4, CONTENTS * 28 / 100);
	assert_int_equal(sent.changes, 1);
}

/* All compressed, the compressor would be the bottleneck, and the link idle for half of the time. */
static void what_the_compressor_leaves_of_the_link_is_used(void **state)
{
	const struct sent sent = send_all(200 * MIB, 400 * MIB, 4);

	(void)state;
	assert_in_range(sent.ns, 1, raw_ns(200 * MIB) * 46 / 100);
	assert_in_range(sent.wire_bytes, CONTENTS / 4, CONTENTS * 46 / 100);
	assert_int_equal(sent.changes, 1);
}

static void a_link_faster_than_the_compressor_is_left_alone(void **state)
{
	const struct sent sent = send_all(1024 * MIB, 400 * MIB, 4);

	(void)state;
	assert_int_equal(sent.wire_bytes, CONTENTS);
	assert_int_equal(sent.changes, 0);
}

static void contents_that_do_not_shrink_go_as_they_are(void **state)
{
	const struct sent sent = send_all(64 * MIB, 400 * MIB, 1);

	(void)state;
	assert_int_equal(sent.wire_bytes, CONTENTS);
	assert_int_equal(sent.changes, 0);
	assert_in_range(sent.ns, 1, raw_ns(64 * MIB) * 101 / 100);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_slow_link_pays_and_a_fast_one_does_not),
		cmocka_unit_test(contents_that_stay_as_long_never_pay),
		cmocka_unit_test(without_a_rate_nothing_pays),
		cmocka_unit_test(what_saves_little_goes_on_and_does_not_begin),
		cmocka_unit_test(a_compressor_that_slows_down_goes_on_and_does_not_begin),
		cmocka_unit_test(nothing_is_tried_before_the_link_is_known),
		cmocka_unit_test(a_link_that_takes_what_comes_is_left_alone),
		cmocka_unit_test(samples_are_rare),
		cmocka_unit_test(contents_that_change_change_the_mind),
		cmocka_unit_test(a_link_that_becomes_fast_is_noticed),
		cmocka_unit_test(a_link_that_stays_idle_is_measured_again),
		cmocka_unit_test(a_few_looks_far_apart_that_see_no_backlog_are_no_idle_link),
		cmocka_unit_test(a_write_is_compressed_if_the_link_stays_busy_meanwhile),
		cmocka_unit_test(nothing_is_compressed_where_it_does_not_pay),
		cmocka_unit_test(differences_are_tried_where_the_link_is_slow),
		cmocka_unit_test(differences_that_are_as_long_rest_and_are_tried_again),
		cmocka_unit_test(short_differences_go_on_while_the_link_is_idle),
		cmocka_unit_test(differences_end_where_the_link_becomes_fast),
		cmocka_unit_test(a_link_slower_than_the_compressor_gets_all_compressed),
		cmocka_unit_test(what_the_compressor_leaves_of_the_link_is_used),
		cmocka_unit_test(a_link_faster_than_the_compressor_is_left_alone),
		cmocka_unit_test(contents_that_do_not_shrink_go_as_they_are),
	};

	return cmocka_run_group_tests_name("compress_pays", tests, NULL, NULL);
}
