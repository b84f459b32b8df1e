/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fake_verbs.h"
#include "random.h"
#include "rdma_pairs.h"

#include "wherry/limits.h"
#include "wherry/transport.h"

#define PAIRS  2u
#define READS  PAIRS /* the pair for them */
#define DEPTH  16u
#define EVERY  4u
#define MARKS  3u
#define STRIPE WH_RDMA_STRIPE_BYTES
#define BYTES  (4 * STRIPE)
#define SMALL  4096u

#define RECEIPT (1u << 31)

/* The source writes, and the target is where it lands. */
struct end {
	struct wh_verbs *verbs;
	struct wh_rdma_pairs *pairs;
	uint8_t *memory;
	struct wh_verbs_key key;
};

struct fixture {
	struct end source, target;
	uint64_t cookies[4 * DEPTH]; /* of the last poll */
};

static void open_end(struct end *end, bool passive, uint16_t port)
{
	static const uint8_t token[WH_TOKEN_BYTES];
	const struct wh_verbs_config cfg = {
		.passive = passive,
		.address = "192.0.2.1",
		.local = "",
		.port = port,
		.pairs = PAIRS + 1,
		.depth = DEPTH,
		.marks = WH_RDMA_PAIRS_RECEIVES(MARKS),
		.token = token,
	};

	assert_int_equal(wh_verbs_open(&end->verbs, &cfg, NULL), 0);
	end->memory = calloc(1, BYTES);
	assert_non_null(end->memory);
}

static void start(struct end *end, uint32_t rights)
{
	const struct wh_rdma_pairs_config cfg = {
		.verbs = end->verbs,
		.pairs = PAIRS,
		.reads = true,
		.depth = DEPTH,
		.signal_every = EVERY,
		.marks = MARKS,
	};

	assert_int_equal(wh_verbs_advance(end->verbs, NULL), 1);
	assert_int_equal(wh_verbs_enroll(end->verbs, end->memory, BYTES, rights, &end->key), 0);
	end->pairs = wh_rdma_pairs_new(&cfg);
	assert_non_null(end->pairs);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	fake_verbs_set_seed(0);
	open_end(&f->target, true, 0);
	open_end(&f->source, false, wh_verbs_port(f->target.verbs));
	start(&f->source, WH_VERBS_REMOTE_READ);
	start(&f->target, WH_VERBS_REMOTE_WRITE | WH_VERBS_LOCAL_WRITE);
	*state = f;
	return 0;
}

static void stop(struct end *end)
{
	end->pairs = wh_rdma_pairs_free(end->pairs);
	wh_verbs_cut(end->verbs);
	wh_verbs_expel(end->verbs, &end->key);
	end->verbs = wh_verbs_close(end->verbs);
	free(end->memory);
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	stop(&f->source);
	stop(&f->target);
	free(f);
	return 0;
}

static struct wh_verbs_work work_at(struct fixture *f, uint64_t offset, uint64_t cookie)
{
	return (struct wh_verbs_work){
		.cookie = cookie,
		.local_addr = f->source.memory + offset,
		.remote_addr = (uintptr_t)(f->target.memory + offset),
		.local_key = f->source.key.local,
		.remote_key = f->target.key.remote,
		.len = SMALL,
	};
}

static int write_at(struct fixture *f, uint64_t offset, uint64_t cookie)
{
	const struct wh_verbs_work w = work_at(f, offset, cookie);

	return wh_rdma_pairs_write(f->source.pairs, 0, offset, &w);
}

/* Writes of pair 0, whose cookies are @first and those behind it. */
static void write_some(struct fixture *f, uint64_t first, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		assert_int_equal(write_at(f, i * SMALL, first + i), 0);
}

static int poll_source(struct fixture *f)
{
	return wh_rdma_pairs_poll(f->source.pairs, f->cookies, 4 * DEPTH);
}

static int poll_target(struct fixture *f)
{
	return wh_rdma_pairs_poll(f->target.pairs, f->cookies, 4 * DEPTH);
}

/* Polls the source once: exactly @count cookies come, from @first on. */
static void assert_complete(struct fixture *f, uint64_t first, uint32_t count)
{
	assert_int_equal(poll_source(f), count);
	for (uint32_t i = 0; i < count; i++)
		assert_int_equal(f->cookies[i], first + i);
}

/* Exactly @count cookies come back as lost, from @first on. */
static void assert_lost(struct fixture *f, uint64_t first, uint32_t count)
{
	uint64_t cookie;

	for (uint32_t i = 0; i < count; i++) {
		assert_true(wh_rdma_pairs_take_lost(f->source.pairs, &cookie));
		assert_int_equal(cookie, first + i);
	}
	assert_false(wh_rdma_pairs_take_lost(f->source.pairs, &cookie));
	assert_int_equal(wh_rdma_pairs_in_flight(f->source.pairs), 0);
}

static void deliver(struct end *end, uint32_t pair, uint64_t cookie, int error)
{
	const struct wh_completion c = {
		.kind = WH_COMPLETION_WRITE, .pair = pair, .cookie = cookie, .error = error
	};

	fake_verbs_deliver(end->verbs, &c);
}

static void deliver_mark(struct end *end, uint32_t pair, uint32_t value)
{
	const struct wh_completion c = { .kind = WH_COMPLETION_MARKED,
		                         .pair = pair,
		                         .value = value };

	fake_verbs_deliver(end->verbs, &c);
}

/* --- completions ------------------------------------------------------------------------------ */

static void a_cookie_comes_back_once_its_write_has_landed(void **state)
{
	struct fixture *f = *state;

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
	struct fixture *f = *state;

	write_some(f, 0, 2 * EVERY + 1); /* the last one waits for another */
	assert_int_equal(fake_verbs_waiting(f->source.verbs, 0), 2 * EVERY);
	for (uint32_t i = 0; i < 2 * EVERY; i++)
		assert_int_equal(fake_verbs_work(f->source.verbs, 0, i)->w.signalled,
		                 i % EVERY == EVERY - 1);
}

static void the_last_write_is_signalled_when_there_is_nothing_to_report(void **state)
{
	struct fixture *f = *state;

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
	struct fixture *f = *state;

	write_some(f, 100, EVERY + 2);
	for (uint32_t i = 0; i < EVERY - 1; i++)
		assert_true(fake_verbs_step(f->source.verbs, 0));
	assert_int_equal(poll_source(f), 0);
	assert_true(fake_verbs_step(f->source.verbs, 0));
	assert_complete(f, 100, EVERY);
}

static void a_completion_says_nothing_about_other_pairs(void **state)
{
	struct fixture *f = *state;

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
	struct fixture *f = *state;

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
	struct fixture *f = *state;
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
	struct fixture *f = *state;
	bool second = false;
	uint64_t cookie;

	write_some(f, 0, 4);
	assert_int_equal(write_at(f, STRIPE, 99), 0);
	assert_int_equal(poll_source(f), 0);
	fake_verbs_run(f->source.verbs);
	for (uint32_t i = 0; i < PAIRS + 1; i++) {
		assert_int_equal(wh_rdma_pairs_poll(f->source.pairs, &cookie, 1), 1);
		second |= cookie == 99;
	}
	assert_true(second);
}

static void a_full_pair_takes_no_write_until_cookies_were_taken(void **state)
{
	struct fixture *f = *state;

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
	struct fixture *f = *state;

	write_some(f, 0, 2);
	assert_int_equal(poll_source(f), 0);
	deliver(&f->source, 0, 2, 0);
	assert_int_equal(poll_source(f), -EIO);
	assert_lost(f, 0, 2);
}

/* --- failures --------------------------------------------------------------------------------- */

static void behind_an_error_everything_is_lost_exactly_once(void **state)
{
	struct fixture *f = *state;

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
	struct fixture *f = *state;

	write_some(f, 0, 2);
	assert_int_equal(write_at(f, STRIPE, 2), 0);
	assert_int_equal(poll_source(f), 0);
	deliver(&f->source, 1, 0, -ECANCELED);
	deliver(&f->source, 0, 0, -EACCES);
	deliver(&f->source, 0, 1, -ECANCELED);
	assert_int_equal(poll_source(f), -EACCES);
	assert_lost(f, 0, 3);
}

static void a_success_behind_an_error_on_the_same_pair_does_not_count(void **state)
{
	struct fixture *f = *state;

	write_some(f, 0, 3);
	assert_int_equal(poll_source(f), 0);
	deliver(&f->source, 0, 1, -EIO);
	deliver(&f->source, 0, 2, 0);
	assert_int_equal(poll_source(f), -EIO);
	assert_lost(f, 0, 3);
}

static void an_error_leaves_what_is_complete_on_other_pairs(void **state)
{
	struct fixture *f = *state;

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
	struct fixture *f = *state;

	write_some(f, 0, EVERY + 3);
	for (uint32_t i = 0; i < EVERY; i++)
		assert_true(fake_verbs_step(f->source.verbs, 0));
	fake_verbs_remove(f->source.verbs, -ENODEV);
	assert_complete(f, 0, EVERY);
	assert_true(poll_source(f) < 0);
	assert_lost(f, EVERY, 3);
}

static void what_was_not_even_posted_is_lost_too(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(write_at(f, 0, 7), 0);
	assert_int_equal(fake_verbs_waiting(f->source.verbs, 0), 0);
	fake_verbs_remove(f->source.verbs, -ENODEV);
	assert_int_equal(poll_source(f), -ENODEV);
	assert_lost(f, 7, 1);
}

static void whoever_gives_up_gets_everything_back_and_no_completion_after(void **state)
{
	struct fixture *f = *state;
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
	struct fixture *f = *state;

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
	struct fixture *f = *state;
	const struct wh_rdma_pairs *p = f->source.pairs;

	assert_int_equal(wh_rdma_pairs_piece(p, 0, SMALL), SMALL);
	assert_int_equal(wh_rdma_pairs_piece(p, SMALL, 2u << 20), WH_RDMA_WRITE_LEN_MAX);
	assert_int_equal(wh_rdma_pairs_piece(p, STRIPE - SMALL, 2 * SMALL), SMALL);
	assert_int_equal(wh_rdma_pairs_piece(p, 3 * STRIPE - 1, 2 * SMALL), 1);
}

/* --- barriers --------------------------------------------------------------------------------- */

static uint32_t barrier(struct fixture *f)
{
	uint32_t number;

	assert_int_equal(wh_rdma_pairs_barrier(f->source.pairs, &number), 0);
	return number;
}

static void a_barrier_has_arrived_when_its_marks_have_on_every_pair(void **state)
{
	struct fixture *f = *state;

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
	struct fixture *f = *state;

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
	struct fixture *f = *state;

	assert_int_equal(barrier(f), 0);
	assert_int_equal(write_at(f, 0, 1), 0);
	assert_int_equal(barrier(f), 1);
	assert_int_equal(barrier(f), 1);
	assert_int_equal(fake_verbs_waiting(f->source.verbs, 1), 1);
}

static int next_barrier(struct fixture *f)
{
	uint32_t number;

	assert_int_equal(write_at(f, 0, 1), 0);
	return wh_rdma_pairs_barrier(f->source.pairs, &number);
}

static void no_more_barriers_are_on_their_way_than_the_peer_has_room_for(void **state)
{
	struct fixture *f = *state;

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
	struct fixture *f = *state;

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
	struct fixture *f = *state;
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
		{ READS, 1 },       /* not on that pair */
		{ 0, RECEIPT | 1 }, /* nothing was sent */
		{ 0, RECEIPT },
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		deliver_mark(&f->target, wrong[i].pair, wrong[i].value);
		assert_int_equal(poll_target(f), -EPROTO);
		(void)teardown(state);
		(void)setup(state);
		f = *state;
	}
}

static void more_barriers_than_there_is_room_for_are_a_breach_of_the_protocol(void **state)
{
	struct fixture *f = *state;

	for (uint32_t i = 1; i <= MARKS + 1; i++)
		deliver_mark(&f->target, 0, i);
	assert_int_equal(poll_target(f), -EPROTO);
}

/* --- reads ------------------------------------------------------------------------------------ */

static void a_read_brings_what_is_in_the_peers_memory(void **state)
{
	struct fixture *f = *state;
	const struct wh_verbs_work w = {
		.cookie = 77,
		.local_addr = f->target.memory,
		.remote_addr = (uintptr_t)(f->source.memory + SMALL),
		.local_key = f->target.key.local,
		.remote_key = f->source.key.remote,
		.len = SMALL,
	};

	f->source.memory[SMALL] = 5;
	assert_int_equal(wh_rdma_pairs_read(f->target.pairs, &w), 0);
	assert_int_equal(fake_verbs_waiting(f->target.verbs, READS), 1);
	fake_verbs_run(f->target.verbs);
	assert_int_equal(poll_target(f), 1);
	assert_int_equal(f->cookies[0], 77);
	assert_int_equal(f->target.memory[0], 5);
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
static bool random_step(struct fixture *f, struct tally *t, uint64_t *seed)
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

/* Everything has landed: the target's memory is the source's. */
static void settle(struct fixture *f, struct tally *t)
{
	uint32_t number, tries = 0;
	int r;

	do {
		r = wh_rdma_pairs_barrier(f->source.pairs, &number);
		assert_true(r >= 0 && ++tries < 10000);
		assert_int_equal(poll_target(f), 0);
		count_back(t, f->cookies, poll_source(f));
	} while (r == WH_TX_FULL || wh_rdma_pairs_arrived(f->target.pairs) < number ||
	         wh_rdma_pairs_in_flight(f->source.pairs) > 0);
	assert_memory_equal(f->source.memory, f->target.memory, BYTES);
}

static void run_by_chance(struct fixture *f, uint64_t seed, bool fails)
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
		settle(f, &t);
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
		(void)teardown(state);
		(void)setup(state);
	}
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
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
		TEST(a_success_behind_an_error_on_the_same_pair_does_not_count),
		TEST(an_error_leaves_what_is_complete_on_other_pairs),
		TEST(when_the_device_goes_what_is_complete_comes_first),
		TEST(what_was_not_even_posted_is_lost_too),
		TEST(whoever_gives_up_gets_everything_back_and_no_completion_after),
		TEST(a_range_stays_with_its_pair_and_stripes_take_turns),
		TEST(a_piece_ends_with_its_stripe_and_is_what_a_work_may_carry),
		TEST(a_barrier_has_arrived_when_its_marks_have_on_every_pair),
		TEST(a_mark_completes_the_writes_before_it_and_has_no_cookie),
		TEST(there_is_no_new_barrier_unless_something_was_written),
		TEST(no_more_barriers_are_on_their_way_than_the_peer_has_room_for),
		TEST(with_receipts_barriers_go_on_for_ever),
		TEST(a_full_pair_has_no_room_for_a_mark_and_none_is_posted),
		TEST(marks_that_no_peer_may_send_are_a_breach_of_the_protocol),
		TEST(more_barriers_than_there_is_room_for_are_a_breach_of_the_protocol),
		TEST(a_read_brings_what_is_in_the_peers_memory),
		TEST(by_chance_every_cookie_comes_back_once_and_memory_is_equal),
	};

	return cmocka_run_group_tests_name("rdma_pairs", tests, NULL, NULL);
}
