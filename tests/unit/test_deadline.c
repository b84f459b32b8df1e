/* SPDX-License-Identifier: Apache-2.0 */

/* Deadlines at both sides of each boundary of docs/semantics.md section 3. */

#include "deadline.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "wherry/clock.h"

#define GIB (UINT64_C(1) << 30)
#define MS  WH_NSEC_PER_MSEC
#define S   WH_NSEC_PER_SEC

static const uint64_t start_ns = 1000 * S;

static struct wh_settings settings_of(uint32_t completion, uint32_t progress)
{
	return (struct wh_settings){
		.completion_s_per_gib = completion,
		.progress_s = progress,
	};
}

static enum wh_verdict check_at(struct wh_deadline *d, const struct wh_settings *s,
                                struct wh_left left, uint64_t after_ns)
{
	return wh_deadline_check(d, s, left, start_ns + after_ns);
}

static void allows_time_by_size(void **state)
{
	static const struct {
		uint32_t s_per_gib;
		uint64_t bytes;
		uint64_t ns;
	} cases[] = {
		{ 800, 6 * GIB, 4800 * S },
		{ 800, GIB, 800 * S },
		{ 800, GIB - 1, 800 * S },
		{ 800, 0, 800 * S },
		{ 800, GIB + GIB / 2, 1200 * S },
		{ 1, GIB + 1, 1001 * MS }, /* rounded up to the next millisecond */
		{ 1, GIB + GIB / 1000 + 1, 1002 * MS },
		{ 0, GIB, UINT64_MAX },
		{ UINT32_MAX, UINT64_MAX, UINT64_MAX },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct wh_settings s = settings_of(cases[i].s_per_gib, 0);

		assert_int_equal(wh_deadline_acceptable_ns(&s, cases[i].bytes), cases[i].ns);
	}
}

static void ends_a_migration_only_after_the_acceptable_time(void **state)
{
	struct wh_settings s = settings_of(2, 0);
	struct wh_left left = { .round_bytes = 5, .left_bytes = 5 };
	struct wh_deadline d;

	(void)state;
	wh_deadline_start(&d, 3 * GIB, start_ns);

	assert_int_equal(check_at(&d, &s, left, 6 * S), WH_IN_TIME);
	assert_int_equal(check_at(&d, &s, left, 6 * S + 1), WH_TOO_LONG);
}

static void disks_that_are_copied_count_as_memory_does(void **state)
{
	const uint64_t ram_bytes = 6 * GIB;
	const uint64_t disk_bytes = 4 * GIB + 1;
	struct wh_settings s = settings_of(800, 0);
	struct wh_left left = { .round_bytes = 5, .left_bytes = 5 };
	struct wh_deadline d;

	(void)state;
	wh_deadline_start(&d, ram_bytes + disk_bytes, start_ns);

	/* 10 GiB at 800 s, and a millisecond for the byte. */
	assert_int_equal(check_at(&d, &s, left, 8000 * S + MS), WH_IN_TIME);
	assert_int_equal(check_at(&d, &s, left, 8000 * S + MS + 1), WH_TOO_LONG);
	s.completion_s_per_gib = UINT32_MAX;
	wh_deadline_start(&d, UINT64_MAX, start_ns); /* such disks have all the time there is */
	assert_int_equal(check_at(&d, &s, left, UINT64_MAX - start_ns), WH_IN_TIME);
}

static void less_than_a_gib_has_the_time_of_one(void **state)
{
	struct wh_settings s = settings_of(3, 0);
	struct wh_left left = { .round_bytes = 5, .left_bytes = 5 };
	struct wh_deadline d;

	(void)state;
	for (uint64_t bytes = 0; bytes <= GIB; bytes += GIB / 2) {
		wh_deadline_start(&d, bytes, start_ns);

		assert_int_equal(check_at(&d, &s, left, 3 * S), WH_IN_TIME);
		assert_int_equal(check_at(&d, &s, left, 3 * S + 1), WH_TOO_LONG);
	}
}

/* A large guest's memory is protected for longer than it takes to look at the counters first. */
static void that_nothing_has_begun_is_not_the_least_there_was(void **state)
{
	struct wh_settings s = settings_of(0, 10);
	struct wh_left left = { 0 };
	struct wh_deadline d;

	(void)state;
	wh_deadline_start(&d, GIB, start_ns);
	assert_int_equal(check_at(&d, &s, left, 5 * S), WH_IN_TIME);

	left = (struct wh_left){ .round_bytes = 100, .left_bytes = 100 };
	assert_int_equal(check_at(&d, &s, left, 9 * S), WH_IN_TIME);
	left.left_bytes = 90;
	assert_int_equal(check_at(&d, &s, left, 18 * S), WH_IN_TIME);

	assert_int_equal(check_at(&d, &s, left, 28 * S), WH_IN_TIME);
	assert_int_equal(check_at(&d, &s, left, 28 * S + 1), WH_NO_PROGRESS);
}

static void the_longest_progress_timeout_is_a_timeout(void **state)
{
	struct wh_settings s = settings_of(0, UINT32_MAX);
	struct wh_left left = { .round_bytes = 5, .left_bytes = 5 };
	struct wh_deadline d;

	(void)state;
	wh_deadline_start(&d, GIB, start_ns);
	assert_int_equal(check_at(&d, &s, left, 0), WH_IN_TIME);

	assert_int_equal(check_at(&d, &s, left, UINT32_MAX * S), WH_IN_TIME);
	assert_int_equal(check_at(&d, &s, left, UINT32_MAX * S + 1), WH_NO_PROGRESS);
}

static void a_check_that_is_off_does_not_switch_the_other_off(void **state)
{
	struct wh_left left = { .round_bytes = 5, .left_bytes = 5 };
	struct wh_settings completion = settings_of(2, 0);
	struct wh_settings progress = settings_of(0, 2);
	struct wh_deadline d;

	(void)state;
	completion.allow_post_copy = progress.allow_post_copy = true;
	wh_deadline_start(&d, GIB, start_ns);
	assert_int_equal(check_at(&d, &completion, left, 2 * S + 1), WH_GO_POST_COPY);

	wh_deadline_start(&d, GIB, start_ns);
	assert_int_equal(check_at(&d, &progress, left, 0), WH_IN_TIME);
	assert_int_equal(check_at(&d, &progress, left, 2 * S), WH_IN_TIME);
	assert_int_equal(check_at(&d, &progress, left, 2 * S + 1), WH_NO_PROGRESS);
}

static void ends_a_migration_only_after_the_progress_timeout(void **state)
{
	struct wh_settings s = settings_of(0, 150);
	struct wh_left left = { .round_bytes = 100, .left_bytes = 40 };
	struct wh_deadline d;

	(void)state;
	wh_deadline_start(&d, GIB, start_ns);
	assert_int_equal(check_at(&d, &s, left, S), WH_IN_TIME);
	assert_int_equal(check_at(&d, &s, left, 2 * S), WH_IN_TIME); /* 100, then 40: progress */

	assert_int_equal(check_at(&d, &s, left, 152 * S), WH_IN_TIME);
	assert_int_equal(check_at(&d, &s, left, 152 * S + 1), WH_NO_PROGRESS);
}

static void sending_again_what_is_dirtied_again_is_no_progress(void **state)
{
	struct wh_settings s = settings_of(0, 10);
	struct wh_deadline d;

	(void)state;
	wh_deadline_start(&d, GIB, start_ns);
	assert_int_equal(check_at(&d, &s, (struct wh_left){ 100, 100 }, 0), WH_IN_TIME);

	for (uint64_t t = 1; t <= 10; t++)
		assert_int_equal(check_at(&d, &s, (struct wh_left){ 101, 101 - t }, t * S),
		                 WH_IN_TIME);

	assert_int_equal(check_at(&d, &s, (struct wh_left){ 101, 1 }, 10 * S + 1), WH_NO_PROGRESS);
}

static void a_round_smaller_than_all_before_may_take_its_time(void **state)
{
	struct wh_settings s = settings_of(0, 10);
	struct wh_deadline d;

	(void)state;
	wh_deadline_start(&d, GIB, start_ns);

	for (uint64_t t = 0; t < 100; t++)
		assert_int_equal(check_at(&d, &s, (struct wh_left){ 1000, 1000 - t }, t * 9 * S),
		                 WH_IN_TIME);
}

static void a_torn_sample_does_not_hide_later_progress(void **state)
{
	struct wh_settings s = settings_of(0, 10);
	struct wh_deadline d;

	(void)state;
	wh_deadline_start(&d, GIB, start_ns);
	assert_int_equal(check_at(&d, &s, (struct wh_left){ 1000, 1 }, 0), WH_IN_TIME);

	/* The new round's size, with the left of the round before. */
	assert_int_equal(check_at(&d, &s, (struct wh_left){ 500, 0 }, S), WH_IN_TIME);

	assert_int_equal(check_at(&d, &s, (struct wh_left){ 500, 499 }, 11 * S), WH_IN_TIME);
	assert_int_equal(check_at(&d, &s, (struct wh_left){ 500, 499 }, 21 * S), WH_IN_TIME);
}

static void a_zero_switches_each_check_off(void **state)
{
	struct wh_settings s = settings_of(0, 0);
	struct wh_deadline d;

	(void)state;
	wh_deadline_start(&d, GIB, start_ns);

	assert_int_equal(check_at(&d, &s, (struct wh_left){ 9, 9 }, 1000000 * S), WH_IN_TIME);
}

static void the_settings_say_what_follows_the_acceptable_time(void **state)
{
	static const struct {
		bool post_copy;
		bool disruption;
		enum wh_verdict verdict;
	} cases[] = {
		{ true, true, WH_GO_POST_COPY },
		{ true, false, WH_GO_POST_COPY },
		{ false, true, WH_GO_PAUSE },
		{ false, false, WH_TOO_LONG },
	};
	const struct wh_left left = { .round_bytes = 5, .left_bytes = 5 };

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct wh_settings s = settings_of(2, 0);
		struct wh_deadline d;

		s.allow_post_copy = cases[i].post_copy;
		s.allow_workload_disruption = cases[i].disruption;
		wh_deadline_start(&d, 3 * GIB, start_ns);

		assert_int_equal(check_at(&d, &s, left, 6 * S), WH_IN_TIME);
		assert_int_equal(check_at(&d, &s, left, 6 * S + 1), cases[i].verdict);
	}
}

static void no_progress_never_leads_to_post_copy_nor_to_a_pause(void **state)
{
	const struct wh_left left = { .round_bytes = 5, .left_bytes = 5 };

	(void)state;
	/* The second value: both are exceeded at the same moment. */
	for (uint32_t completion = 0; completion <= 10; completion += 10) {
		struct wh_settings s = settings_of(completion, 10);
		struct wh_deadline d;

		s.allow_post_copy = s.allow_workload_disruption = true;
		wh_deadline_start(&d, GIB, start_ns);
		assert_int_equal(check_at(&d, &s, left, 0), WH_IN_TIME);

		assert_int_equal(check_at(&d, &s, left, 10 * S), WH_IN_TIME);
		assert_int_equal(check_at(&d, &s, left, 10 * S + 1), WH_NO_PROGRESS);
	}
}

static void on_the_way_to_post_copy_only_progress_counts(void **state)
{
	struct wh_left left = { .round_bytes = 5, .left_bytes = 5 };
	struct wh_settings s = settings_of(1, 10);
	struct wh_deadline d;

	(void)state;
	s.allow_post_copy = true;
	wh_deadline_start(&d, GIB, start_ns);
	assert_int_equal(check_at(&d, &s, left, S + 1), WH_GO_POST_COPY);
	wh_deadline_post_copy(&d, start_ns + 9 * S);

	assert_int_equal(check_at(&d, &s, left, 19 * S), WH_IN_TIME);
	assert_int_equal(check_at(&d, &s, left, 19 * S + 1), WH_NO_PROGRESS);
	s.progress_s = 0;
	assert_int_equal(check_at(&d, &s, left, 1000000 * S), WH_IN_TIME);
}

static void a_paused_guest_has_twice_the_acceptable_time(void **state)
{
	struct wh_left left = { .round_bytes = 5, .left_bytes = 5 };
	struct wh_settings s = settings_of(3, 0);
	struct wh_deadline d;

	(void)state;
	s.allow_workload_disruption = true;
	wh_deadline_start(&d, 2 * GIB, start_ns);
	assert_int_equal(check_at(&d, &s, left, 6 * S + 1), WH_GO_PAUSE);
	wh_deadline_pause(&d, start_ns + 6 * S + 1);

	assert_int_equal(check_at(&d, &s, left, 12 * S), WH_IN_TIME);
	assert_int_equal(check_at(&d, &s, left, 12 * S + 1), WH_TOO_LONG);
	s.completion_s_per_gib = UINT32_MAX; /* twice that does not overflow into "too long" */
	d.size_bytes = UINT64_C(4) << 30;
	assert_int_equal(check_at(&d, &s, left, 1000000 * S), WH_IN_TIME);
}

static void in_a_pause_any_change_of_what_is_left_is_progress(void **state)
{
	struct wh_settings s = settings_of(0, 10);
	struct wh_deadline d;

	(void)state;
	wh_deadline_start(&d, GIB, start_ns);
	assert_int_equal(check_at(&d, &s, (struct wh_left){ 100, 100 }, 0), WH_IN_TIME);
	assert_int_equal(check_at(&d, &s, (struct wh_left){ 100, 1 }, S), WH_IN_TIME);
	wh_deadline_pause(&d, start_ns + 2 * S);

	/* The last pass has more to send than the least round so far. */
	assert_int_equal(check_at(&d, &s, (struct wh_left){ 500, 500 }, 12 * S), WH_IN_TIME);
	assert_int_equal(check_at(&d, &s, (struct wh_left){ 500, 499 }, 22 * S), WH_IN_TIME);
	assert_int_equal(check_at(&d, &s, (struct wh_left){ 500, 499 }, 32 * S), WH_IN_TIME);
	assert_int_equal(check_at(&d, &s, (struct wh_left){ 500, 499 }, 32 * S + 1),
	                 WH_NO_PROGRESS);
}

static void says_which_key_and_what_follows(void **state)
{
	static const struct {
		enum wh_verdict verdict;
		bool paused;
		const char *words;
	} cases[] = {
		{ WH_TOO_LONG, false, "1h20m, which completionTimeoutPerGiB 800 allows" },
		{ WH_TOO_LONG, false, "neither allowPostCopy nor allowWorkloadDisruption" },
		{ WH_TOO_LONG, true, "2h40m, twice what completionTimeoutPerGiB 800 allows" },
		{ WH_GO_POST_COPY, false, "1h20m, which completionTimeoutPerGiB 800 allows" },
		{ WH_GO_POST_COPY, false, "ahead of its memory" },
		{ WH_GO_PAUSE, false, "the guest is paused" },
		{ WH_NO_PROGRESS, false, "150 s (progressTimeout)" },
	};
	struct wh_settings s = settings_of(800, 150);
	struct wh_deadline d;
	struct wh_error err;

	(void)state;
	wh_deadline_start(&d, 6 * GIB, start_ns);
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		d.paused = cases[i].paused;
		wh_deadline_explain(&err, cases[i].verdict, &d, &s);
		if (!strstr(err.text, cases[i].words))
			fail_msg("'%s' says nothing of '%s'", err.text, cases[i].words);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(allows_time_by_size),
		cmocka_unit_test(ends_a_migration_only_after_the_acceptable_time),
		cmocka_unit_test(disks_that_are_copied_count_as_memory_does),
		cmocka_unit_test(less_than_a_gib_has_the_time_of_one),
		cmocka_unit_test(that_nothing_has_begun_is_not_the_least_there_was),
		cmocka_unit_test(the_longest_progress_timeout_is_a_timeout),
		cmocka_unit_test(a_check_that_is_off_does_not_switch_the_other_off),
		cmocka_unit_test(ends_a_migration_only_after_the_progress_timeout),
		cmocka_unit_test(sending_again_what_is_dirtied_again_is_no_progress),
		cmocka_unit_test(a_round_smaller_than_all_before_may_take_its_time),
		cmocka_unit_test(a_torn_sample_does_not_hide_later_progress),
		cmocka_unit_test(a_zero_switches_each_check_off),
		cmocka_unit_test(the_settings_say_what_follows_the_acceptable_time),
		cmocka_unit_test(no_progress_never_leads_to_post_copy_nor_to_a_pause),
		cmocka_unit_test(on_the_way_to_post_copy_only_progress_counts),
		cmocka_unit_test(a_paused_guest_has_twice_the_acceptable_time),
		cmocka_unit_test(in_a_pause_any_change_of_what_is_left_is_progress),
		cmocka_unit_test(says_which_key_and_what_follows),
	};

	return cmocka_run_group_tests_name("deadline", tests, NULL, NULL);
}
