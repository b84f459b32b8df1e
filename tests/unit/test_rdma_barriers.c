/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "fake_verbs.h"
#include "random.h"
#include "rdma_ends.h"

#include "wherry/transport.h"

#define RECEIPT (1u << 31)

static void deliver_mark(struct rdma_end *end, uint32_t pair, uint32_t value)
{
	const struct wh_completion c = { .kind = WH_COMPLETION_MARKED,
		                         .pair = pair,
		                         .value = value };

	fake_verbs_deliver(end->verbs, &c);
}

/* --- barriers --------------------------------------------------------------------------------- */

static uint32_t barrier(struct rdma_ends *f)
{
	uint32_t number;

	assert_int_equal(wh_rdma_pairs_barrier(f->source.pairs, &number), 0);
	return number;
}

static void a_barrier_has_arrived_when_its_marks_have_on_every_pair(void **state)
{
	struct rdma_ends *f = *state;

	f->source.memory[STRIPE] = 9;
	assert_int_equal(write_at(f, STRIPE, 1), 0);
	assert_int_equal(barrier(f), 1);
	assert_true(fake_verbs_step(f->source.verbs, 0)); /* the mark of the other pair */
	assert_true(fake_verbs_step(f->source.verbs, 1)); /* the write */
	assert_int_equal(poll_target(f), 0);
	assert_int_equal(wh_rdma_pairs_arrived(f->target.pairs), 0);
	assert_true(fake_verbs_step(f->source.verbs, 1));
	assert_int_equal(poll_target(f), 0);
	assert_int_equal(wh_rdma_pairs_arrived(f->target.pairs), 1);
	assert_int_equal(f->target.memory[STRIPE], 9);
}

static void a_mark_completes_the_writes_before_it_and_has_no_cookie(void **state)
{
	struct rdma_ends *f = *state;

	write_some(f, 5, 2);
	(void)barrier(f);
	assert_int_equal(fake_verbs_waiting(f->source.verbs, 0), 3);
	assert_false(fake_verbs_work(f->source.verbs, 0, 1)->w.signalled);
	fake_verbs_run(f->source.verbs);
	assert_complete(f, 5, 2);
	assert_int_equal(wh_rdma_pairs_in_flight(f->source.pairs), 0);
}

static void there_is_no_new_barrier_unless_something_was_written(void **state)
{
	struct rdma_ends *f = *state;

	assert_int_equal(barrier(f), 0);
	assert_int_equal(write_at(f, 0, 1), 0);
	assert_int_equal(barrier(f), 1);
	assert_int_equal(barrier(f), 1);
	assert_int_equal(fake_verbs_waiting(f->source.verbs, 1), 1);
}

static int next_barrier(struct rdma_ends *f)
{
	uint32_t number;

	assert_int_equal(write_at(f, 0, 1), 0);
	return wh_rdma_pairs_barrier(f->source.pairs, &number);
}

static void no_more_barriers_are_on_their_way_than_the_peer_has_room_for(void **state)
{
	struct rdma_ends *f = *state;

	for (uint32_t i = 0; i < MARKS; i++)
		assert_int_equal(next_barrier(f), 0);
	fake_verbs_run(f->source.verbs);
	assert_true(poll_source(f) > 0);
	assert_int_equal(next_barrier(f), WH_TX_FULL);
	assert_int_equal(poll_target(f), 0);
	fake_verbs_run(f->target.verbs); /* the receipts */
	assert_int_equal(poll_source(f), 0);
	assert_int_equal(next_barrier(f), 0);
}

static void with_receipts_barriers_go_on_for_ever(void **state)
{
	struct rdma_ends *f = *state;

	for (uint32_t i = 1; i <= 20 * MARKS; i++) {
		assert_int_equal(next_barrier(f), 0);
		fake_verbs_run(f->source.verbs);
		assert_int_equal(poll_target(f), 0);
		assert_int_equal(wh_rdma_pairs_arrived(f->target.pairs), i);
		fake_verbs_run(f->target.verbs);
		assert_int_equal(poll_source(f), 1);
	}
}

static void a_full_pair_has_no_room_for_a_mark_and_none_is_posted(void **state)
{
	struct rdma_ends *f = *state;
	uint32_t number;

	write_some(f, 0, DEPTH);
	assert_int_equal(wh_rdma_pairs_barrier(f->source.pairs, &number), WH_TX_FULL);
	assert_int_equal(fake_verbs_waiting(f->source.verbs, 1), 0);
}

static void marks_that_no_peer_may_send_are_a_breach_of_the_protocol(void **state)
{
	static const struct {
		uint32_t pair, value;
	} wrong[] = {
		{ 0, 2 },           /* one was left out */
		{ 1, 0 },           /* there is none of that number */
		{ 0, RECEIPT | 1 }, /* nothing was sent */
		{ 0, RECEIPT },
	};
	struct rdma_ends *f = *state;

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		deliver_mark(&f->target, wrong[i].pair, wrong[i].value);
		assert_int_equal(poll_target(f), -EPROTO);
		(void)close_rdma_ends(state);
		(void)open_rdma_ends(state);
		f = *state;
	}
}

static void more_barriers_than_there_is_room_for_are_a_breach_of_the_protocol(void **state)
{
	struct rdma_ends *f = *state;

	for (uint32_t i = 1; i <= MARKS + 1; i++)
		deliver_mark(&f->target, 0, i);
	assert_int_equal(poll_target(f), -EPROTO);
}

/* --- all of it, by chance --------------------------------------------------------------------- */

#define STEPS 2000u
#define SEEDS 50u

struct tally {
	uint32_t posted;
	uint8_t back[STEPS + 1]; /* how often each cookie came back */
};

static void count_back(struct tally *t, const uint64_t *cookies, int count)
{
	for (int i = 0; i < count; i++) {
		assert_true(cookies[i] < t->posted);
		t->back[cookies[i]]++;
	}
}

/* Return: whether RDMA still works. */
static bool random_step(struct rdma_ends *f, struct tally *t, uint64_t *seed)
{
	const uint64_t offset = random_below(seed, BYTES / SMALL) * SMALL;
	uint32_t number;
	int r;

	r = write_at(f, offset, t->posted);
	if (r == 0) {
		f->source.memory[offset] = (uint8_t)random_below(seed, 256);
		t->posted++;
	}
	if (random_below(seed, 8) == 0)
		r = wh_rdma_pairs_barrier(f->source.pairs, &number);
	if (r < 0)
		return false;
	if (random_below(seed, 2) == 0)
		(void)poll_target(f);
	r = poll_source(f);
	count_back(t, f->cookies, r);
	return r >= 0;
}

/* Everything has landed: the target's memory is the source's. Or a pair @fails, in the last moment. */
static void settle(struct rdma_ends *f, struct tally *t, bool fails)
{
	uint32_t number, tries = 0;
	int r, polled;

	do {
		r = wh_rdma_pairs_barrier(f->source.pairs, &number);
		if (r < 0 && fails)
			return;
		assert_true(r >= 0 && ++tries < 10000);
		assert_int_equal(poll_target(f), 0);
		polled = poll_source(f);
		if (polled < 0 && fails)
			return;
		count_back(t, f->cookies, polled);
	} while (r == WH_TX_FULL || wh_rdma_pairs_arrived(f->target.pairs) < number ||
	         wh_rdma_pairs_in_flight(f->source.pairs) > 0);
	assert_memory_equal(f->source.memory, f->target.memory, BYTES);
}

static void run_by_chance(struct rdma_ends *f, uint64_t seed, bool fails)
{
	static struct tally t;
	const uint32_t fail_at = (uint32_t)random_below(&seed, STEPS);
	bool works = true;
	uint64_t cookie;

	t = (struct tally){ 0 };
	fake_verbs_set_seed(seed);
	for (uint32_t i = 0; i < STEPS && works; i++) {
		if (fails && i == fail_at)
			fake_verbs_fail(f->source.verbs, (uint32_t)random_below(&seed, PAIRS),
			                -ETIMEDOUT);
		works = random_step(f, &t, &seed);
	}
	if (works)
		settle(f, &t, fails);
	while (wh_rdma_pairs_take_lost(f->source.pairs, &cookie))
		count_back(&t, &cookie, 1);
	for (uint32_t i = 0; i < t.posted; i++)
		assert_int_equal(t.back[i], 1);
}

static void by_chance_every_cookie_comes_back_once_and_memory_is_equal(void **state)
{
	uint64_t seed = random_seed();

	for (uint32_t i = 0; i < SEEDS; i++) {
		run_by_chance(*state, random_below(&seed, UINT64_MAX) | 1, i % 2);
		(void)close_rdma_ends(state);
		(void)open_rdma_ends(state);
	}
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, open_rdma_ends, close_rdma_ends)
	const struct CMUnitTest tests[] = {
		TEST(a_barrier_has_arrived_when_its_marks_have_on_every_pair),
		TEST(a_mark_completes_the_writes_before_it_and_has_no_cookie),
		TEST(there_is_no_new_barrier_unless_something_was_written),
		TEST(no_more_barriers_are_on_their_way_than_the_peer_has_room_for),
		TEST(with_receipts_barriers_go_on_for_ever),
		TEST(a_full_pair_has_no_room_for_a_mark_and_none_is_posted),
		TEST(marks_that_no_peer_may_send_are_a_breach_of_the_protocol),
		TEST(more_barriers_than_there_is_room_for_are_a_breach_of_the_protocol),
		TEST(by_chance_every_cookie_comes_back_once_and_memory_is_equal),
	};

	return cmocka_run_group_tests_name("rdma_barriers", tests, NULL, NULL);
}
