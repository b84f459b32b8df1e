/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "fake_verbs.h"
#include "rdma_ends.h"

#include "wherry/transport.h"

static void deliver(struct rdma_end *end, uint32_t pair, uint64_t cookie, int error)
{
	const struct wh_completion c = {
		.kind = WH_COMPLETION_WRITE, .pair = pair, .cookie = cookie, .error = error
	};

	fake_verbs_deliver(end->verbs, &c);
}

/* --- completions ------------------------------------------------------------------------------ */

static void a_cookie_comes_back_once_its_write_has_landed(void **state)
{
	struct rdma_ends *f = *state;

	f->source.memory[0] = 7;
	assert_int_equal(write_at(f, 0, 42), 0);
	assert_int_equal(wh_rdma_pairs_in_flight(f->source.pairs), 1);
	assert_int_equal(poll_source(f), 0);
	fake_verbs_run(f->source.verbs);
	assert_complete(f, 42, 1);
	assert_int_equal(f->target.memory[0], 7);
	assert_int_equal(poll_source(f), 0);
	assert_int_equal(wh_rdma_pairs_in_flight(f->source.pairs), 0);
}

static void of_many_writes_every_nth_is_signalled(void **state)
{
	struct rdma_ends *f = *state;

	write_some(f, 0, 2 * EVERY + 1); /* the last one waits for another */
	assert_int_equal(fake_verbs_waiting(f->source.verbs, 0), 2 * EVERY);
	for (uint32_t i = 0; i < 2 * EVERY; i++)
		assert_int_equal(fake_verbs_work(f->source.verbs, 0, i)->w.signalled,
		                 i % EVERY == EVERY - 1);
}

static void the_last_write_is_signalled_when_there_is_nothing_to_report(void **state)
{
	struct rdma_ends *f = *state;

	write_some(f, 0, 2);
	assert_int_equal(poll_source(f), 0);
	assert_int_equal(fake_verbs_waiting(f->source.verbs, 0), 2);
	assert_false(fake_verbs_work(f->source.verbs, 0, 0)->w.signalled);
	assert_true(fake_verbs_work(f->source.verbs, 0, 1)->w.signalled);
	fake_verbs_run(f->source.verbs);
	assert_complete(f, 0, 2);
}

static void a_completion_completes_what_was_before_it_on_its_pair(void **state)
{
	struct rdma_ends *f = *state;

	write_some(f, 100, EVERY + 2);
	for (uint32_t i = 0; i < EVERY - 1; i++)
		assert_true(fake_verbs_step(f->source.verbs, 0));
	assert_int_equal(poll_source(f), 0);
	assert_true(fake_verbs_step(f->source.verbs, 0));
	assert_complete(f, 100, EVERY);
}

static void a_completion_says_nothing_about_other_pairs(void **state)
{
	struct rdma_ends *f = *state;

	assert_int_equal(write_at(f, 0, 1), 0);
	assert_int_equal(write_at(f, STRIPE, 2), 0);
	assert_int_equal(poll_source(f), 0);
	assert_true(fake_verbs_step(f->source.verbs, 1));
	assert_complete(f, 2, 1);
	assert_int_equal(poll_source(f), 0);
	assert_true(fake_verbs_step(f->source.verbs, 0));
	assert_complete(f, 1, 1);
}

static void completions_out_of_order_bring_each_cookie_once(void **state)
{
	struct rdma_ends *f = *state;

	write_some(f, 0, 6);
	assert_int_equal(poll_source(f), 0);
	deliver(&f->source, 0, 4, 0);
	deliver(&f->source, 0, 3, 0);
	deliver(&f->source, 0, 0, 0);
	assert_complete(f, 0, 5);
	deliver(&f->source, 0, 2, 0);
	assert_int_equal(poll_source(f), 0);
	deliver(&f->source, 0, 5, 0);
	assert_complete(f, 5, 1);
}

static void a_small_poll_leaves_the_rest_for_the_next(void **state)
{
	struct rdma_ends *f = *state;
	uint64_t cookie;

	write_some(f, 0, 3);
	assert_int_equal(poll_source(f), 0);
	fake_verbs_run(f->source.verbs);
	for (uint32_t i = 0; i < 3; i++) {
		assert_int_equal(wh_rdma_pairs_poll(f->source.pairs, &cookie, 1), 1);
		assert_int_equal(cookie, i);
	}
	assert_int_equal(wh_rdma_pairs_poll(f->source.pairs, &cookie, 1), 0);
}

static void small_polls_ask_the_pairs_in_turn(void **state)
{
	struct rdma_ends *f = *state;
	bool second = false;
	uint64_t cookie;

	write_some(f, 0, 4);
	assert_int_equal(write_at(f, STRIPE, 99), 0);
	assert_int_equal(poll_source(f), 0);
	fake_verbs_run(f->source.verbs);
	for (uint32_t i = 0; i < PAIRS; i++) {
		assert_int_equal(wh_rdma_pairs_poll(f->source.pairs, &cookie, 1), 1);
		second |= cookie == 99;
	}
	assert_true(second);
}

static void a_full_pair_takes_no_write_until_cookies_were_taken(void **state)
{
	struct rdma_ends *f = *state;

	write_some(f, 0, DEPTH);
	assert_int_equal(write_at(f, 0, 99), WH_TX_FULL);
	assert_int_equal(write_at(f, STRIPE, 50), 0); /* another pair */
	fake_verbs_run(f->source.verbs);
	assert_int_equal(write_at(f, 0, 99), WH_TX_FULL);
	assert_complete(f, 0, DEPTH - EVERY); /* the last group was not posted in full */
	assert_int_equal(write_at(f, 0, 99), 0);
}

static void a_completion_of_what_was_never_posted_breaks_the_pairs(void **state)
{
	struct rdma_ends *f = *state;

	write_some(f, 0, 2);
	assert_int_equal(poll_source(f), 0);
	deliver(&f->source, 0, 2, 0);
	assert_int_equal(poll_source(f), -EIO);
	assert_lost(f, 0, 2);
}

/* --- failures --------------------------------------------------------------------------------- */

static void behind_an_error_everything_is_lost_exactly_once(void **state)
{
	struct rdma_ends *f = *state;

	write_some(f, 0, 3 * EVERY);
	for (uint32_t i = 0; i < EVERY + 1; i++)
		assert_true(fake_verbs_step(f->source.verbs, 0));
	fake_verbs_fail(f->source.verbs, 0, -ETIMEDOUT);
	fake_verbs_run(f->source.verbs);
	assert_complete(f, 0, EVERY);
	assert_int_equal(poll_source(f), -ETIMEDOUT);
	assert_int_equal(poll_source(f), -ETIMEDOUT);
	assert_int_equal(write_at(f, 0, 99), -ETIMEDOUT);
	assert_lost(f, EVERY, 2 * EVERY);
}

static void flushed_works_do_not_hide_the_error_that_flushed_them(void **state)
{
	struct rdma_ends *f = *state;

	write_some(f, 0, 2);
	assert_int_equal(write_at(f, STRIPE, 2), 0);
	assert_int_equal(poll_source(f), 0);
	deliver(&f->source, 1, 0, -ECANCELED);
	deliver(&f->source, 0, 0, -EACCES);
	deliver(&f->source, 0, 1, -ECANCELED);
	assert_int_equal(poll_source(f), -EACCES);
	assert_lost(f, 0, 3);
}

static void flushed_works_do_not_hide_the_end_of_the_connection(void **state)
{
	struct rdma_ends *f = *state;
	const struct wh_completion flushed = { .kind = WH_COMPLETION_MARKED, .error = -ECANCELED };

	write_some(f, 0, 2);
	assert_int_equal(poll_source(f), 0);
	fake_verbs_deliver(f->source.verbs, &flushed);
	fake_verbs_remove(f->source.verbs, -ENODEV);
	assert_int_equal(poll_source(f), -ENODEV);
	assert_lost(f, 0, 2);
}

static void a_flushed_receive_hides_neither_what_is_complete_nor_the_reason(void **state)
{
	struct rdma_ends *f = *state;
	const struct wh_completion flushed = { .kind = WH_COMPLETION_MARKED, .error = -ECANCELED };

	write_some(f, 0, 3);
	assert_int_equal(poll_source(f), 0);
	fake_verbs_deliver(f->source.verbs, &flushed);
	deliver(&f->source, 0, 0, 0);
	deliver(&f->source, 0, 1, -EACCES);
	assert_complete(f, 0, 1);
	assert_int_equal(poll_source(f), -EACCES);
	assert_lost(f, 1, 2);
}

static void a_success_behind_an_error_on_the_same_pair_does_not_count(void **state)
{
	struct rdma_ends *f = *state;

	write_some(f, 0, 3);
	assert_int_equal(poll_source(f), 0);
	deliver(&f->source, 0, 1, -EIO);
	deliver(&f->source, 0, 2, 0);
	assert_int_equal(poll_source(f), -EIO);
	assert_lost(f, 0, 3);
}

static void an_error_leaves_what_is_complete_on_other_pairs(void **state)
{
	struct rdma_ends *f = *state;

	assert_int_equal(write_at(f, 0, 1), 0);
	assert_int_equal(write_at(f, STRIPE, 2), 0);
	assert_int_equal(poll_source(f), 0);
	fake_verbs_fail(f->source.verbs, 0, -ETIMEDOUT);
	fake_verbs_run(f->source.verbs);
	assert_complete(f, 2, 1);
	assert_int_equal(poll_source(f), -ETIMEDOUT);
	assert_lost(f, 1, 1);
}

static void when_the_device_goes_what_is_complete_comes_first(void **state)
{
	struct rdma_ends *f = *state;

	write_some(f, 0, EVERY + 3);
	for (uint32_t i = 0; i < EVERY; i++)
		assert_true(fake_verbs_step(f->source.verbs, 0));
	fake_verbs_remove(f->source.verbs, -ENODEV);
	assert_complete(f, 0, EVERY);
	assert_true(poll_source(f) < 0);
	assert_lost(f, EVERY, 3);
}

static void no_write_is_kept_back_where_none_follows(void **state)
{
	struct rdma_ends *f = *state;

	assert_int_equal(write_at(f, 0, 1), 0);
	assert_int_equal(write_at(f, STRIPE, 1), 0);
	assert_int_equal(wh_rdma_pairs_push(f->source.pairs), 0);
	assert_int_equal(fake_verbs_waiting(f->source.verbs, 0), 1);
	assert_int_equal(fake_verbs_waiting(f->source.verbs, 1), 1);
	assert_true(fake_verbs_work(f->source.verbs, 1, 0)->w.signalled);
}

static void what_was_not_even_posted_is_lost_too(void **state)
{
	struct rdma_ends *f = *state;

	assert_int_equal(write_at(f, 0, 7), 0);
	assert_int_equal(fake_verbs_waiting(f->source.verbs, 0), 0);
	fake_verbs_remove(f->source.verbs, -ENODEV);
	assert_int_equal(poll_source(f), -ENODEV);
	assert_lost(f, 7, 1);
}

static void whoever_gives_up_gets_everything_back_and_no_completion_after(void **state)
{
	struct rdma_ends *f = *state;
	uint64_t cookie;

	write_some(f, 0, EVERY + 1);
	assert_true(wh_rdma_pairs_take_lost(f->source.pairs, &cookie));
	assert_int_equal(cookie, 0);
	fake_verbs_run(f->source.verbs);
	assert_true(poll_source(f) < 0);
	assert_true(write_at(f, 0, 99) < 0);
	assert_lost(f, 1, EVERY);
}

/* --- which pair ------------------------------------------------------------------------------- */

static void a_range_stays_with_its_pair_and_stripes_take_turns(void **state)
{
	struct rdma_ends *f = *state;

	for (uint64_t i = 0; i < 4; i++) {
		assert_int_equal(write_at(f, i * STRIPE, 0), 0);
		assert_int_equal(write_at(f, i * STRIPE + STRIPE - SMALL, 0), 0);
	}
	assert_int_equal(poll_source(f), 0);
	assert_int_equal(fake_verbs_waiting(f->source.verbs, 0), 4);
	assert_int_equal(fake_verbs_waiting(f->source.verbs, 1), 4);
}

static void a_piece_ends_with_its_stripe_and_is_what_a_work_may_carry(void **state)
{
	struct rdma_ends *f = *state;
	const struct wh_rdma_pairs *p = f->source.pairs;

	assert_int_equal(wh_rdma_pairs_piece(p, 0, SMALL), SMALL);
	assert_int_equal(wh_rdma_pairs_piece(p, SMALL, 2u << 20), WH_RDMA_WRITE_LEN_MAX);
	assert_int_equal(wh_rdma_pairs_piece(p, STRIPE - SMALL, 2 * SMALL), SMALL);
	assert_int_equal(wh_rdma_pairs_piece(p, 3 * STRIPE - 1, 2 * SMALL), 1);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, open_rdma_ends, close_rdma_ends)
	const struct CMUnitTest tests[] = {
		TEST(a_cookie_comes_back_once_its_write_has_landed),
		TEST(of_many_writes_every_nth_is_signalled),
		TEST(the_last_write_is_signalled_when_there_is_nothing_to_report),
		TEST(a_completion_completes_what_was_before_it_on_its_pair),
		TEST(a_completion_says_nothing_about_other_pairs),
		TEST(completions_out_of_order_bring_each_cookie_once),
		TEST(a_small_poll_leaves_the_rest_for_the_next),
		TEST(small_polls_ask_the_pairs_in_turn),
		TEST(a_full_pair_takes_no_write_until_cookies_were_taken),
		TEST(a_completion_of_what_was_never_posted_breaks_the_pairs),
		TEST(behind_an_error_everything_is_lost_exactly_once),
		TEST(flushed_works_do_not_hide_the_error_that_flushed_them),
		TEST(flushed_works_do_not_hide_the_end_of_the_connection),
		TEST(a_flushed_receive_hides_neither_what_is_complete_nor_the_reason),
		TEST(a_success_behind_an_error_on_the_same_pair_does_not_count),
		TEST(an_error_leaves_what_is_complete_on_other_pairs),
		TEST(when_the_device_goes_what_is_complete_comes_first),
		TEST(no_write_is_kept_back_where_none_follows),
		TEST(what_was_not_even_posted_is_lost_too),
		TEST(whoever_gives_up_gets_everything_back_and_no_completion_after),
		TEST(a_range_stays_with_its_pair_and_stripes_take_turns),
		TEST(a_piece_ends_with_its_stripe_and_is_what_a_work_may_carry),
	};

	return cmocka_run_group_tests_name("rdma_pairs", tests, NULL, NULL);
}
