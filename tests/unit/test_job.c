/* SPDX-License-Identifier: Apache-2.0 */

/* The table of states of a migration. */

#include "job.h"

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
		                 b == WH_JOB_SUCCEEDED || b == WH_JOB_CANCELLING);
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
		cmocka_unit_test(a_source_that_continued_cannot_be_undone),
		cmocka_unit_test(a_target_that_committed_cannot_be_undone),
		cmocka_unit_test(only_before_the_device_state_it_is_sure_to_have_stayed),
	};

	return cmocka_run_group_tests_name("job", tests, NULL, NULL);
}
