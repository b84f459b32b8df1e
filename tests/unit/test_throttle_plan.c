/* SPDX-License-Identifier: Apache-2.0 */

/* When a guest is slowed, and what becomes of a percentage. Time is what the test says. */

#include "throttle_plan.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "wherry/clock.h"

#define S WH_NSEC_PER_SEC

/* A migration: each call of round() is the beginning of one. */
struct rounds {
	struct wh_throttle_plan plan;
	uint64_t now_ns;
	uint64_t round;
};

static struct rounds begin(void)
{
	return (struct rounds){ .now_ns = 1000 * S, .round = 1 };
}

/* A round ends after @ns, in which @dirty bytes/s were written and 100 copied. */
static bool round_ends(struct rounds *r, uint64_t dirty_bps, uint64_t ns)
{
	const struct wh_throttle_sample sample = {
		.round = ++r->round,
		.dirty_bps = dirty_bps,
		.rate_bps = 100,
	};

	r->now_ns += ns;
	return wh_throttle_plan_judge(&r->plan, &sample, r->now_ns);
}

static void takes_a_step_after_two_rounds_in_a_row(void **state)
{
	struct rounds r = begin();

	(void)state;
	assert_false(round_ends(&r, 51, 2 * S));
	assert_true(round_ends(&r, 51, 2 * S));
	assert_int_equal(r.plan.percent, 20);
	assert_false(round_ends(&r, 51, 2 * S));
	assert_true(round_ends(&r, 51, 2 * S));
	assert_int_equal(r.plan.percent, 30);
}

static void a_round_that_copies_twice_what_is_written_begins_anew(void **state)
{
	struct rounds r = begin();

	(void)state;
	assert_false(round_ends(&r, 51, 2 * S));
	assert_false(round_ends(&r, 50, 2 * S));
	assert_false(round_ends(&r, 51, 2 * S));
	assert_int_equal(r.plan.percent, 0);
	assert_true(round_ends(&r, 51, 2 * S));
}

static void goes_up_to_99_percent_and_no_further(void **state)
{
	static const unsigned steps[] = { 20, 30, 40, 50, 60, 70, 80, 90, 99 };
	struct rounds r = begin();

	(void)state;
	for (size_t i = 0; i < sizeof(steps) / sizeof(*steps); i++) {
		(void)round_ends(&r, 1000, 2 * S);
		assert_true(round_ends(&r, 1000, 2 * S));
		assert_int_equal(r.plan.percent, steps[i]);
	}
	for (int i = 0; i < 10; i++)
		assert_false(round_ends(&r, 1000, 2 * S));
	assert_int_equal(r.plan.percent, WH_THROTTLE_MAX_PERCENT);
}

static void never_takes_a_step_back(void **state)
{
	struct rounds r = begin();

	(void)state;
	(void)round_ends(&r, 1000, 2 * S);
	(void)round_ends(&r, 1000, 2 * S);
	for (int i = 0; i < 10; i++)
		assert_false(round_ends(&r, 0, 2 * S));
	assert_int_equal(r.plan.percent, 20);
}

static void judges_each_round_once(void **state)
{
	struct rounds r = begin();
	struct wh_throttle_sample sample = { .round = 2, .dirty_bps = 1000, .rate_bps = 100 };

	(void)state;
	for (int i = 0; i < 100; i++) {
		r.now_ns += S / 10;
		assert_false(wh_throttle_plan_judge(&r.plan, &sample, r.now_ns));
	}
	sample.round++;
	assert_true(wh_throttle_plan_judge(&r.plan, &sample, r.now_ns));
}

static void says_nothing_before_the_first_round_is_over(void **state)
{
	struct rounds r = begin();
	const struct wh_throttle_sample sample = { .round = 1, .dirty_bps = 1000, .rate_bps = 100 };

	(void)state;
	for (int i = 0; i < 10; i++) {
		r.now_ns += 10 * S;
		assert_false(wh_throttle_plan_judge(&r.plan, &sample, r.now_ns));
	}
	assert_int_equal(r.plan.high, 0);
}

static void short_rounds_count_once_in_a_second(void **state)
{
	struct rounds r = begin();

	(void)state;
	assert_false(round_ends(&r, 1000, S / 4));
	for (int i = 0; i < 3; i++)
		assert_false(round_ends(&r, 1000, S / 4));
	assert_true(round_ends(&r, 1000, S / 4));
}

static void takes_a_percentage_off_a_cpu(void **state)
{
	static const struct {
		unsigned percent;
		unsigned have_per_mille;
		struct wh_throttle_quota quota;
	} cases[] = {
		{ 20, 1000, { 16000, 20000 } },
		{ 95, 1000, { 1000, 20000 } },
		{ 96, 1000, { 1000, 25000 } }, /* the kernel grants no less than 1 ms */
		{ 99, 1000, { 1000, 100000 } },
		{ 50, 500, { 5000, 20000 } }, /* half of the half that it has */
		{ 99, 100, { 1000, 1000000 } },
		{ 99, 1, { 1000, 1000000 } }, /* and no period longer than 1 s */
		{ 0, 1000, { 20000, 20000 } },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct wh_throttle_quota q =
			wh_throttle_quota(cases[i].percent, cases[i].have_per_mille);

		assert_int_equal(q.quota_us, cases[i].quota.quota_us);
		assert_int_equal(q.period_us, cases[i].quota.period_us);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(takes_a_step_after_two_rounds_in_a_row),
		cmocka_unit_test(a_round_that_copies_twice_what_is_written_begins_anew),
		cmocka_unit_test(goes_up_to_99_percent_and_no_further),
		cmocka_unit_test(never_takes_a_step_back),
		cmocka_unit_test(judges_each_round_once),
		cmocka_unit_test(says_nothing_before_the_first_round_is_over),
		cmocka_unit_test(short_rounds_count_once_in_a_second),
		cmocka_unit_test(takes_a_percentage_off_a_cpu),
	};

	return cmocka_run_group_tests_name("throttle_plan", tests, NULL, NULL);
}
