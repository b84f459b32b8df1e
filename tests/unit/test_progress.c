/* SPDX-License-Identifier: Apache-2.0 */

/* What operators read: units, the progress line, the summary. */

#include "progress.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "units.h"

#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)

static void shows_three_digits_of_an_amount(void **state)
{
	static const struct {
		uint64_t bytes;
		const char *text;
	} cases[] = {
		{ 0, "0 B" },
		{ 999, "999 B" },
		{ 1000, "0.98 KiB" },
		{ 1024, "1.00 KiB" },
		{ 64 * MIB, "64.0 MiB" },
		{ 999 * MIB, "999 MiB" },
		{ GIB, "1.00 GiB" },
		{ GIB * 3 / 2, "1.50 GiB" },
		{ UINT64_MAX, "16.0 EiB" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
		assert_string_equal(wh_units_bytes(cases[i].bytes).s, cases[i].text);
	assert_string_equal(wh_units_rate(64 * MIB).s, "64.0 MiB/s");
}

static void shows_times_from_microseconds_to_hours(void **state)
{
	static const struct {
		uint64_t ns;
		const char *text;
	} cases[] = {
		{ 0, "0.0 ms" },
		{ 400000, "0.4 ms" },
		{ 85100000, "85.1 ms" },
		{ 1250000000, "1.25 s" },
		{ 42000000000, "42.0 s" },
		{ 187000000000, "3m07s" },
		{ 3720000000000, "1h02m" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
		assert_string_equal(wh_units_time(cases[i].ns).s, cases[i].text);
}

static struct wh_view view(void)
{
	struct wh_view v = {
		.migration = "db1-00c0ffee",
		.vm = "db1",
		.role = "source",
		.peer = "b",
		.state = "PreCopy",
		.elapsed_ns = 3000000000,
		.copied_ns = 2000000000,
	};

	v.stats[WH_STAT_ROUND] = 2;
	v.stats[WH_STAT_ROUND_BYTES] = 400 * MIB;
	v.stats[WH_STAT_LEFT_BYTES] = 100 * MIB;
	v.stats[WH_STAT_RATE_BPS] = 200 * MIB;
	v.stats[WH_STAT_DIRTY_BPS] = 50 * MIB;
	v.stats[WH_STAT_WIRE_BYTES] = 126 * MIB;
	return v;
}

static void the_line_says_phase_round_percent_rates_left_and_eta(void **state)
{
	struct wh_view v = view();
	char line[WH_PROGRESS_MAX];

	(void)state;
	wh_progress_line(line, &v);

	assert_string_equal(line, "PreCopy   round 2   75%  200 MiB/s  dirty 50.0 MiB/s  "
	                          "left 100 MiB  ETA 500.0 ms");
}

static void the_line_says_that_pages_go_by_rdma(void **state)
{
	struct wh_view v = view();
	char line[WH_PROGRESS_MAX];

	(void)state;
	(void)strcpy(v.transport, "rdma");
	wh_progress_line(line, &v);
	assert_non_null(strstr(line, "ETA 500.0 ms  by RDMA"));

	(void)strcpy(v.transport, "tcp");
	wh_progress_line(line, &v);
	assert_null(strstr(line, "by"));
}

static void the_line_shows_the_mean_rate_until_one_is_measured(void **state)
{
	struct wh_view v = view();
	char line[WH_PROGRESS_MAX];

	(void)state;
	v.stats[WH_STAT_RATE_BPS] = 0;
	v.stats[WH_STAT_PAGE_BYTES] = 80 * MIB;
	wh_progress_line(line, &v);

	assert_non_null(strstr(line, "  40.0 MiB/s  "));
	assert_non_null(strstr(line, "ETA 2.50 s"));
}

static void the_line_survives_counters_an_instant_apart(void **state)
{
	struct wh_view v = view();
	char line[WH_PROGRESS_MAX];

	(void)state;
	v.stats[WH_STAT_LEFT_BYTES] = 500 * MIB;
	v.stats[WH_STAT_RATE_BPS] = 0;
	v.copied_ns = 0;
	wh_progress_line(line, &v);

	assert_non_null(strstr(line, "  0%"));
	assert_non_null(strstr(line, "ETA -"));
}

static void in_post_copy_the_line_says_what_is_left_and_how_long_the_guest_waits(void **state)
{
	struct wh_view v = view();
	char line[WH_PROGRESS_MAX];

	(void)state;
	memcpy(v.state, "PostCopy", sizeof("PostCopy"));
	v.stats[WH_STAT_FAULTS] = 1000;
	v.fault_ns_log2[16] = 990;
	v.fault_ns_log2[20] = 10;
	wh_progress_line(line, &v);

	assert_string_equal(line, "PostCopy  left 100 MiB  200 MiB/s  faults 1000  "
	                          "99% below 131 us  ETA 500.0 ms");
}

static void a_percentile_is_the_end_of_its_bucket(void **state)
{
	uint64_t buckets[WH_FAULT_BUCKETS] = { 0 };

	(void)state;
	assert_int_equal(wh_progress_wait_ns(buckets, 500), 0);
	buckets[10] = 500;
	buckets[12] = 490;
	buckets[WH_FAULT_BUCKETS - 1] = 10;
	assert_int_equal(wh_progress_wait_ns(buckets, 500), 2048);
	assert_int_equal(wh_progress_wait_ns(buckets, 501), 8192);
	assert_int_equal(wh_progress_wait_ns(buckets, 990), 8192);
	assert_int_equal(wh_progress_wait_ns(buckets, 991), UINT64_C(1) << WH_FAULT_BUCKETS);
}

static void a_state_without_copying_shows_what_it_waits_for(void **state)
{
	struct wh_view v = { .state = "Pending", .note = "place 1 in the queue" };
	char line[WH_PROGRESS_MAX];

	(void)state;
	wh_progress_line(line, &v);

	assert_string_equal(line, "Pending  place 1 in the queue");
}

static char *summary(const struct wh_view *v)
{
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	assert_non_null(out);
	wh_progress_summary(out, v);
	assert_int_equal(fclose(out), 0);
	return text;
}

static void the_line_and_the_summary_say_how_much_the_guest_is_slowed(void **state)
{
	struct wh_view v = view();
	char line[WH_PROGRESS_MAX];
	char *text;

	(void)state;
	v.throttle_percent = 40;
	v.throttle_peak_percent = 50;
	wh_progress_line(line, &v);
	text = summary(&v);

	assert_non_null(strstr(line, "ETA 500.0 ms  throttled 40%"));
	assert_non_null(strstr(text, "  throttled    up to 50%, so that it converges\n"));
	free(text);
}

static void the_summary_tells_of_post_copy_where_there_was_one(void **state)
{
	struct wh_view v = view();
	char *text = summary(&v);

	(void)state;
	assert_null(strstr(text, "post-copy"));
	free(text);
	v.postcopy_ns = 3000000000;
	v.stats[WH_STAT_FAULTS] = 4;
	v.stats[WH_STAT_FAULT_BYTES] = 16384;
	v.stats[WH_STAT_PUSH_BYTES] = 300 * MIB;
	v.stats[WH_STAT_STALL_NS] = 1000000;
	v.fault_ns_log2[17] = 4;

	text = summary(&v);

	assert_non_null(
		strstr(text, "  post-copy    3.00 s: 16.0 KiB for faults, 300 MiB pushed\n"));
	assert_non_null(strstr(text,
	                       "  faults       4, half of them below 262 us, 99% below 262 us, "
	                       "99.9% below 262 us, stalled 1.0 ms in all\n"));
	free(text);
}

static void the_summary_compares_the_rate_with_the_limit(void **state)
{
	struct wh_view v = view();
	char *text;

	(void)state;
	v.bandwidth_bps = 64 * MIB;
	v.downtime.total_ns = 29000000;
	text = summary(&v);

	assert_non_null(strstr(text, "63.0 MiB/s, 98% of the limit of 64.0 MiB/s"));
	assert_non_null(strstr(text, "downtime     29.0 ms, from the stop until the word"));
	free(text);
}

static void a_guest_that_was_paused_has_no_downtime(void **state)
{
	struct wh_view v = view();
	char *text = summary(&v);

	(void)state;
	assert_non_null(strstr(text, "none: the guest was paused"));
	assert_non_null(strstr(text, "unlimited"));
	free(text);
}

static void the_summary_tells_of_compression_where_there_was_any(void **state)
{
	struct wh_view v = view();
	char *text = summary(&v);

	(void)state;
	assert_null(strstr(text, "compressed"));
	assert_null(strstr(text, "differences"));
	free(text);

	v.stats[WH_STAT_COMPRESSED_RAW_BYTES] = 400 * MIB;
	v.stats[WH_STAT_COMPRESSED_BYTES] = 100 * MIB;
	v.stats[WH_STAT_DELTA_RAW_BYTES] = 500 * MIB;
	v.stats[WH_STAT_DELTA_BYTES] = 10 * MIB;
	text = summary(&v);
	assert_non_null(strstr(text, "  compressed   400 MiB of pages, to 25%\n"));
	assert_non_null(strstr(text, "  differences  500 MiB of pages, to 2%\n"));
	free(text);
}

static void the_summary_tells_what_was_sent_once_more(void **state)
{
	struct wh_view v = view();
	char *text = summary(&v);

	(void)state;
	assert_null(strstr(text, "once more"));
	free(text);

	v.stats[WH_STAT_ECHO_BYTES] = 12 * MIB;
	text = summary(&v);
	assert_non_null(
		strstr(text, "  once more    12.0 MiB of pages, for reads with O_DIRECT\n"));
	free(text);
}

static void the_summary_tells_what_of_huge_pages_was_unchanged(void **state)
{
	struct wh_view v = view();
	char *text = summary(&v);

	(void)state;
	assert_non_null(strstr(text, "never touched\n"));
	free(text);

	v.stats[WH_STAT_UNCHANGED_BYTES] = 40 * MIB;
	text = summary(&v);
	assert_non_null(strstr(text, "never touched, 40.0 MiB unchanged in huge pages\n"));
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_line_and_the_summary_say_how_much_the_guest_is_slowed),
		cmocka_unit_test(shows_three_digits_of_an_amount),
		cmocka_unit_test(shows_times_from_microseconds_to_hours),
		cmocka_unit_test(the_line_says_phase_round_percent_rates_left_and_eta),
		cmocka_unit_test(the_line_says_that_pages_go_by_rdma),
		cmocka_unit_test(the_line_shows_the_mean_rate_until_one_is_measured),
		cmocka_unit_test(the_line_survives_counters_an_instant_apart),
		cmocka_unit_test(
			in_post_copy_the_line_says_what_is_left_and_how_long_the_guest_waits),
		cmocka_unit_test(a_percentile_is_the_end_of_its_bucket),
		cmocka_unit_test(the_summary_tells_of_post_copy_where_there_was_one),
		cmocka_unit_test(a_state_without_copying_shows_what_it_waits_for),
		cmocka_unit_test(the_summary_compares_the_rate_with_the_limit),
		cmocka_unit_test(the_summary_tells_of_compression_where_there_was_any),
		cmocka_unit_test(the_summary_tells_what_was_sent_once_more),
		cmocka_unit_test(the_summary_tells_what_of_huge_pages_was_unchanged),
		cmocka_unit_test(a_guest_that_was_paused_has_no_downtime),
	};

	return cmocka_run_group_tests_name("progress", tests, NULL, NULL);
}
