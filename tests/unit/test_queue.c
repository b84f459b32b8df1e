/* SPDX-License-Identifier: Apache-2.0 */

#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/eventfd.h>

#include <cmocka.h>

#include "queue.h"

#define NUMBERS  1000000u
#define FOREVER  (-1)
#define NOT_LONG 0

static void an_item_comes_out_as_it_went_in(void **state)
{
	struct item {
		uint8_t odd[13];
	} in = { "hello, queue" }, out;
	struct wh_queue q;

	(void)state;
	assert_int_equal(wh_queue_init(&q, 4, sizeof(in)), 0);
	assert_true(wh_queue_empty(&q));

	assert_true(wh_queue_put(&q, &in));
	assert_false(wh_queue_empty(&q));
	assert_true(wh_queue_take(&q, &out));

	assert_memory_equal(&in, &out, sizeof(in));
	assert_true(wh_queue_empty(&q));
	wh_queue_done(&q);
}

static void a_full_queue_takes_nothing_and_an_empty_one_gives_nothing(void **state)
{
	struct wh_queue q;
	uint32_t n = 0, out = 77;

	(void)state;
	assert_int_equal(wh_queue_init(&q, 3, sizeof(n)), 0);
	assert_false(wh_queue_take(&q, &out));
	assert_int_equal(out, 77);

	while (n < 100 && wh_queue_put(&q, &n))
		n++;
	assert_in_range(n, 3, 4); /* at least the room asked for */
	for (uint32_t i = 0; i < n; i++) {
		assert_true(wh_queue_take(&q, &out));
		assert_int_equal(out, i);
	}
	assert_false(wh_queue_take(&q, &out));
	wh_queue_done(&q);
}

static void counters_may_wrap_around(void **state)
{
	struct wh_queue q;
	uint32_t out;

	(void)state;
	assert_int_equal(wh_queue_init(&q, 2, sizeof(out)), 0);
	atomic_store(&q.put, UINT32_MAX);
	atomic_store(&q.taken, UINT32_MAX);

	for (uint32_t n = 0; n < 2; n++)
		assert_true(wh_queue_put(&q, &n));
	assert_false(wh_queue_put(&q, &out));
	for (uint32_t n = 0; n < 2; n++) {
		assert_true(wh_queue_take(&q, &out));
		assert_int_equal(out, n);
	}
	assert_true(wh_queue_empty(&q));
	wh_queue_done(&q);
}

struct pair {
	struct wh_queue q;
	struct wh_bell bell;
};

static void *put_numbers(void *arg)
{
	struct pair *p = arg;

	for (uint32_t n = 0; n < NUMBERS; n++) {
		while (!wh_queue_put(&p->q, &n))
			(void)sched_yield();
		wh_bell_ring(&p->bell);
	}
	return NULL;
}

/* Take one number, asleep until there is one. */
static uint32_t await_number(struct pair *p)
{
	struct pollfd fd = { .fd = p->bell.fd, .events = POLLIN };
	eventfd_t rings;
	uint32_t n;

	/* This ends: the other thread puts as many numbers as we take. */
	while (!wh_queue_take(&p->q, &n)) {
		wh_bell_arm(&p->bell);
		if (wh_queue_empty(&p->q)) {
			assert_int_equal(poll(&fd, 1, FOREVER), 1);
			assert_int_equal(eventfd_read(p->bell.fd, &rings), 0);
		}
		wh_bell_disarm(&p->bell);
	}
	return n;
}

static void two_threads_move_numbers_in_order(void **state)
{
	static struct pair p;
	pthread_t thread;

	(void)state;
	assert_int_equal(wh_queue_init(&p.q, 64, sizeof(uint32_t)), 0);
	assert_int_equal(wh_bell_init(&p.bell), 0);
	assert_int_equal(pthread_create(&thread, NULL, put_numbers, &p), 0);

	for (uint32_t n = 0; n < NUMBERS; n++)
		assert_int_equal(await_number(&p), n);

	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_true(wh_queue_empty(&p.q));
	wh_bell_done(&p.bell);
	wh_queue_done(&p.q);
}

static bool rang(const struct wh_bell *bell)
{
	struct pollfd fd = { .fd = bell->fd, .events = POLLIN };

	return poll(&fd, 1, NOT_LONG) == 1;
}

static void a_bell_rings_only_for_a_sleeper(void **state)
{
	struct wh_bell bell;

	(void)state;
	assert_int_equal(wh_bell_init(&bell), 0);

	wh_bell_ring(&bell);
	assert_false(rang(&bell));
	wh_bell_arm(&bell);
	wh_bell_disarm(&bell);
	wh_bell_ring(&bell);
	assert_false(rang(&bell));
	wh_bell_arm(&bell);
	wh_bell_ring(&bell);
	assert_true(rang(&bell));
	wh_bell_done(&bell);
	assert_int_equal(bell.fd, -1);
}

static void a_wake_needs_no_sleeper(void **state)
{
	struct wh_bell bell;

	(void)state;
	assert_int_equal(wh_bell_init(&bell), 0);
	wh_bell_wake(&bell);
	assert_true(rang(&bell));
	wh_bell_done(&bell);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_item_comes_out_as_it_went_in),
		cmocka_unit_test(a_full_queue_takes_nothing_and_an_empty_one_gives_nothing),
		cmocka_unit_test(counters_may_wrap_around),
		cmocka_unit_test(two_threads_move_numbers_in_order),
		cmocka_unit_test(a_bell_rings_only_for_a_sleeper),
		cmocka_unit_test(a_wake_needs_no_sleeper),
	};

	return cmocka_run_group_tests_name("queue", tests, NULL, NULL);
}
