/* SPDX-License-Identifier: Apache-2.0 */

/* The table of states of a migration. */

#include "job.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

/* Every state that @from reaches in any number of steps, without passing through @but. */
static unsigned reachable(enum wh_job_state from, enum wh_job_state but)
{
	unsigned set = 1u << from;
	unsigned before;

	do {
		before = set;
		for (enum wh_job_state a = 0; a < WH_JOB_STATES; a++)
			for (enum wh_job_state b = 0; b < WH_JOB_STATES; b++)
				if ((set & (1u << a)) && b != but && wh_job_may_move(a, b))
					set |= 1u << b;
	} while (set != before);
	return set;
}

static bool has(unsigned set, enum wh_job_state state)
{
	return (set & (1u << state)) != 0;
}

static void every_state_is_reached_and_has_a_name(void **state)
{
	unsigned all = reachable(WH_JOB_PENDING, WH_JOB_STATES);

	(void)state;
	assert_int_equal(all, (1u << WH_JOB_STATES) - 1);
	for (enum wh_job_state a = 0; a < WH_JOB_STATES; a++)
		for (enum wh_job_state b = 0; b < a; b++)
			assert_string_not_equal(wh_job_state_name(a), wh_job_state_name(b));
}

static void the_end_is_the_end(void **state)
{
	(void)state;
	for (enum wh_job_state a = 0; a < WH_JOB_STATES; a++) {
		bool over = a == WH_JOB_SUCCEEDED || a == WH_JOB_CANCELLED || a == WH_JOB_FAILED;

		assert_int_equal(wh_job_is_over(a), over);
		for (enum wh_job_state b = 0; over && b < WH_JOB_STATES; b++)
			assert_false(wh_job_may_move(a, b));
	}
}

static void no_success_without_a_hand_over(void **state)
{
	(void)state;
	assert_false(has(reachable(WH_JOB_PENDING, WH_JOB_HAND_OVER), WH_JOB_SUCCEEDED));
	assert_false(wh_job_may_move(WH_JOB_CANCELLING, WH_JOB_SUCCEEDED));
}

static void no_failure_without_undoing(void **state)
{
	unsigned set = reachable(WH_JOB_PENDING, WH_JOB_CANCELLING);

	(void)state;
	assert_false(has(set, WH_JOB_FAILED));
	assert_false(has(set, WH_JOB_CANCELLED));
}

static void only_an_answer_leads_out_of_asking(void **state)
{
	(void)state;
	for (enum wh_job_state b = 0; b < WH_JOB_STATES; b++)
		assert_int_equal(wh_job_may_move(WH_JOB_ASKING, b),
		                 b == WH_JOB_SUCCEEDED || b == WH_JOB_CANCELLING ||
		                         b == WH_JOB_POSTCOPY_PAUSED);
}

static void nothing_but_success_ends_post_copy(void **state)
{
	static const enum wh_job_state states[] = { WH_JOB_POSTCOPY, WH_JOB_POSTCOPY_PAUSED };

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		unsigned set = reachable(states[i], WH_JOB_STATES);

		assert_int_equal(set, 1u << WH_JOB_POSTCOPY | 1u << WH_JOB_POSTCOPY_PAUSED |
		                              1u << WH_JOB_SUCCEEDED);
	}
}

static void post_copy_cannot_be_undone_on_either_side(void **state)
{
	static const enum wh_job_state states[] = { WH_JOB_POSTCOPY, WH_JOB_POSTCOPY_PAUSED };

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		/* Whatever else is set: the state alone is enough at the source. */
		struct wh_job source = { .state = states[i], .record.role = WH_ROLE_SOURCE };
		struct wh_job target = { .state = states[i], .record.role = WH_ROLE_TARGET };

		target.record.phase = WH_PHASE_POSTCOPY;
		assert_false(wh_job_can_undo(&source));
		assert_false(wh_job_can_undo(&target));
		wh_job_fail(&source, WH_OUTCOME_FAILED, "anything");
		wh_job_fail(&target, WH_OUTCOME_FAILED, "anything");
		assert_int_equal(source.state, states[i]);
		assert_int_equal(target.state, states[i]);
	}
}

static void a_paused_guest_can_go_on_at_its_source(void **state)
{
	struct wh_job job = { .state = WH_JOB_PAUSED, .record.role = WH_ROLE_SOURCE };

	(void)state;
	assert_true(wh_job_can_undo(&job));
	assert_true(wh_job_may_move(WH_JOB_PAUSED, WH_JOB_CANCELLING));
	assert_false(wh_job_may_move(WH_JOB_PAUSED, WH_JOB_SUCCEEDED));
}

static void post_copy_must_be_allowed_and_in_time(void **state)
{
	static const struct {
		struct wh_job job;
		const char *words;
	} cases[] = {
		{ { .state = WH_JOB_PRECOPY }, "allowPostCopy was not set" },
		{ { .state = WH_JOB_PRECOPY, .settings.allow_post_copy = true },
		  "node b does not know it" },
		{ { .state = WH_JOB_PRECOPY, .settings.allow_post_copy = true, .unfit = true },
		  "memory at node b cannot be filled" },
		{ { .state = WH_JOB_PREPARING, .may_postcopy = true }, "is 'Preparing'" },
		{ { .state = WH_JOB_PAUSED, .may_postcopy = true }, "is 'Paused'" },
		{ { .state = WH_JOB_PRECOPY, .may_postcopy = true, .switching = WH_SWITCH_PAUSE },
		  "is 'PreCopy'" },
		{ { .state = WH_JOB_HAND_OVER, .may_postcopy = true }, "is 'HandOver'" },
		{ { .state = WH_JOB_POSTCOPY, .may_postcopy = true }, "already" },
		{ { .state = WH_JOB_PRECOPY, .record.role = WH_ROLE_TARGET }, "ask node b" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct wh_job job = cases[i].job;
		struct wh_error err;

		memcpy(job.record.peer, "b", sizeof("b"));
		assert_true(wh_postcopy_ask(&job, &err) < 0);
		if (!strstr(err.text, cases[i].words))
			fail_msg("'%s' says nothing of '%s'", err.text, cases[i].words);
	}
}

static void there_is_nothing_to_recover_but_paused_post_copy(void **state)
{
	struct wh_error err;

	(void)state;
	for (enum wh_job_state s = 0; s < WH_JOB_STATES; s++) {
		struct wh_job job = { .state = s, .resume_sent = true };

		assert_int_equal(wh_postcopy_recover(&job, &err),
		                 s == WH_JOB_POSTCOPY_PAUSED ? 0 : -EINVAL);
	}
}

static void the_target_says_how_long_the_guest_waited(void **state)
{
	struct wh_job job = { .state = WH_JOB_POSTCOPY };
	const struct wh_node_message theirs = {
		.type = WH_NODE_FAULTS, .faults = 5, .stall_ns = 900, .fault_ns_log2 = { [7] = 5 }
	};

	(void)state;
	job.stats.value[WH_STAT_FAULTS] = 3;
	job.stats.fault_ns_log2[7] = 3;
	assert_int_equal(wh_job_stat(&job, WH_STAT_FAULTS), 3);
	assert_int_equal(wh_job_fault_bucket(&job, 7), 3);

	/* The target knows how long its guest waited; the source only what was asked for. */
	wh_postcopy_faults(&job, &theirs);

	assert_int_equal(wh_job_stat(&job, WH_STAT_FAULTS), 5);
	assert_int_equal(wh_job_stat(&job, WH_STAT_STALL_NS), 900);
	assert_int_equal(wh_job_fault_bucket(&job, 7), 5);
}

static void a_source_that_continued_cannot_be_undone(void **state)
{
	struct wh_job job = { .state = WH_JOB_HAND_OVER, .record.role = WH_ROLE_SOURCE };

	(void)state;
	assert_true(wh_job_can_undo(&job));
	job.continued = true;
	assert_false(wh_job_can_undo(&job));
	job.state = WH_JOB_ASKING;
	assert_false(wh_job_can_undo(&job));
}

static void a_target_that_committed_cannot_be_undone(void **state)
{
	struct wh_job job = { .state = WH_JOB_HAND_OVER, .record.role = WH_ROLE_TARGET };

	(void)state;
	assert_true(wh_job_can_undo(&job));
	job.record.phase = WH_PHASE_DONE;
	assert_false(wh_job_can_undo(&job));
}

static void only_before_the_device_state_it_is_sure_to_have_stayed(void **state)
{
	static const char *const stayed[] = { "none", "setup", "active", "pre-switchover" };
	static const char *const unsure[] = { "device",     "completed", "failed",  "cancelled",
		                              "cancelling", "",          "nonsense" };

	(void)state;
	for (size_t i = 0; i < sizeof(stayed) / sizeof(*stayed); i++)
		assert_true(wh_guest_never_left(stayed[i]));
	for (size_t i = 0; i < sizeof(unsure) / sizeof(*unsure); i++)
		assert_false(wh_guest_never_left(unsure[i]));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_state_is_reached_and_has_a_name),
		cmocka_unit_test(the_end_is_the_end),
		cmocka_unit_test(no_success_without_a_hand_over),
		cmocka_unit_test(no_failure_without_undoing),
		cmocka_unit_test(only_an_answer_leads_out_of_asking),
		cmocka_unit_test(nothing_but_success_ends_post_copy),
		cmocka_unit_test(post_copy_cannot_be_undone_on_either_side),
		cmocka_unit_test(a_paused_guest_can_go_on_at_its_source),
		cmocka_unit_test(post_copy_must_be_allowed_and_in_time),
		cmocka_unit_test(there_is_nothing_to_recover_but_paused_post_copy),
		cmocka_unit_test(the_target_says_how_long_the_guest_waited),
		cmocka_unit_test(a_source_that_continued_cannot_be_undone),
		cmocka_unit_test(a_target_that_committed_cannot_be_undone),
		cmocka_unit_test(only_before_the_device_state_it_is_sure_to_have_stayed),
	};

	return cmocka_run_group_tests_name("job", tests, NULL, NULL);
}
