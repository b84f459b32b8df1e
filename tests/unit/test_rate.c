/* SPDX-License-Identifier: Apache-2.0 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "rate.h"

#include "token_bucket.h"

#include "wherry/clock.h"
#include "wherry/limits.h"

#define MIB       (UINT64_C(1) << 20)
#define MSEC      WH_NSEC_PER_MSEC
#define START_NS  (100 * WH_NSEC_PER_SEC)
#define FLOWS_MAX 4

static void set_limit(struct wh_bucket *bucket, uint64_t limit_bps)
{
	if (limit_bps > 0)
		bucket->ns_per_byte = (WH_NSEC_PER_SEC << WH_BUCKET_SHIFT) / limit_bps;
	bucket->limit_bps = limit_bps;
}

/* A few flows that always have something to post, and a network that carries it at once. */
struct world {
	struct wh_bucket bucket;
	struct wh_rate flows[FLOWS_MAX];
	uint64_t asks_ns[FLOWS_MAX]; /* when each asks again */
	uint64_t bytes[FLOWS_MAX];
	uint32_t count;
	uint64_t late_ns; /* how much later than told */
	uint64_t now_ns;
};

static void make(struct world *w, uint32_t count, uint64_t limit_bps)
{
	*w = (struct world){ .count = count, .now_ns = START_NS };
	set_limit(&w->bucket, limit_bps);
	for (uint32_t i = 0; i < count; i++) {
		w->flows[i].bucket = &w->bucket;
		w->asks_ns[i] = START_NS;
	}
}

static void ask(struct world *w, uint32_t flow)
{
	const uint32_t bytes = wh_rate_write_max(&w->flows[flow]);
	uint64_t wait = wh_rate_take(&w->flows[flow], bytes, w->now_ns);

	assert_true(wait != WH_RATE_AWAIT);
	if (wait == 0) {
		w->bytes[flow] += bytes;
		wh_rate_done(&w->flows[flow], bytes);
	} else {
		w->asks_ns[flow] = w->now_ns + wait + w->late_ns;
	}
}

static void run(struct world *w, uint64_t duration_ns)
{
	const uint64_t end_ns = w->now_ns + duration_ns;

	/* This ends: each step asks once, or is later. */
	for (;;) {
		uint32_t next = 0;

		for (uint32_t i = 1; i < w->count; i++)
			if (w->asks_ns[i] < w->asks_ns[next])
				next = i;
		if (w->asks_ns[next] >= end_ns)
			break;
		if (w->asks_ns[next] > w->now_ns)
			w->now_ns = w->asks_ns[next];
		ask(w, next);
	}
	w->now_ns = end_ns;
}

static uint64_t sum(const struct world *w)
{
	uint64_t bytes = 0;

	for (uint32_t i = 0; i < w->count; i++)
		bytes += w->bytes[i];
	return bytes;
}

/* What @flow took from the bucket in the next @duration_ns is this, within one in a hundred. */
static void assert_meets(struct world *w, uint64_t limit_bps, uint64_t duration_ns)
{
	const uint64_t before = sum(w);
	const uint64_t expected = limit_bps / 1000 * (duration_ns / MSEC);
	uint64_t taken;

	run(w, duration_ns);
	taken = sum(w) - before;
	assert_in_range(taken, expected - expected / 100, expected + expected / 100);
}

static void without_a_bucket_nothing_waits(void **state)
{
	struct wh_rate rate = { 0 };

	(void)state;
	for (int i = 0; i < 1000; i++)
		assert_int_equal(wh_rate_take(&rate, WH_RATE_WRITE_MAX, START_NS), 0);
	assert_int_equal(wh_rate_write_max(&rate), WH_RATE_WRITE_MAX);
}

static void without_a_limit_nothing_waits_and_nothing_is_charged(void **state)
{
	struct wh_bucket bucket = { .clock_ns = 17 };
	struct wh_rate rate = { .bucket = &bucket };

	(void)state;
	for (int i = 0; i < 1000; i++)
		assert_int_equal(wh_rate_take(&rate, WH_RATE_WRITE_MAX, START_NS), 0);
	wh_rate_charge(&rate, 4096, START_NS);

	assert_int_equal(bucket.clock_ns, 17);
	assert_int_equal(bucket.charged_bytes, 0);
}

static void one_flow_meets_every_limit(void **state)
{
	static const uint64_t limits[] = { 64 << 10, MIB, 8 * MIB, 1024 * MIB, 20480 * MIB };

	(void)state;
	for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
		struct world w;

		make(&w, 1, limits[i]);
		run(&w, 1000 * MSEC);
		assert_meets(&w, limits[i], 20000 * MSEC);
		assert_int_equal(w.bucket.charged_bytes, sum(&w));
	}
}

static void a_flow_begins_without_a_burst(void **state)
{
	struct world w;

	(void)state;
	make(&w, 1, 64 * MIB);
	run(&w, 10 * MSEC);

	/* 640 KiB, the credit of 5 ms, and one write. */
	assert_true(w.bytes[0] <= (640 + 320 + 256) * UINT64_C(1024));
}

static void lateness_is_made_up_for(void **state)
{
	struct world w;

	(void)state;
	make(&w, 1, 256 * MIB);
	w.late_ns = MSEC / 2;
	run(&w, 1000 * MSEC);

	assert_meets(&w, 256 * MIB, 10000 * MSEC);
}

static void flows_share_the_limit_in_equal_parts(void **state)
{
	struct world w;
	uint64_t each;

	(void)state;
	make(&w, 4, 128 * MIB);
	run(&w, 1000 * MSEC);
	for (uint32_t i = 0; i < w.count; i++)
		w.bytes[i] = 0;
	assert_meets(&w, 128 * MIB, 10000 * MSEC);

	each = sum(&w) / 4;
	for (uint32_t i = 0; i < w.count; i++)
		assert_in_range(w.bytes[i], each - each / 50, each + each / 50);
}

static void a_changed_limit_is_felt_at_once(void **state)
{
	struct world w;

	(void)state;
	make(&w, 1, MIB);
	run(&w, 1000 * MSEC);

	set_limit(&w.bucket, 512 * MIB);
	run(&w, 20 * MSEC);
	assert_meets(&w, 512 * MIB, 1000 * MSEC);
	set_limit(&w.bucket, 4 * MIB);
	run(&w, 100 * MSEC);
	assert_meets(&w, 4 * MIB, 10000 * MSEC);
	set_limit(&w.bucket, 0);
	assert_int_equal(wh_rate_take(&w.flows[0], 4096, w.now_ns), 0);
	assert_int_equal(wh_rate_take(&w.flows[0], 4096, w.now_ns), 0);
}

static void a_refused_take_charges_nothing(void **state)
{
	struct wh_bucket bucket = { .clock_ns = START_NS };
	struct wh_rate rate = { .bucket = &bucket };
	uint64_t clock;

	(void)state;
	set_limit(&bucket, MIB);
	assert_int_equal(wh_rate_take(&rate, 4096, START_NS), 0);
	clock = bucket.clock_ns;

	assert_true(wh_rate_take(&rate, 4096, START_NS) > 0);

	assert_int_equal(bucket.clock_ns, clock);
	assert_int_equal(bucket.charged_bytes, 4096);
	assert_int_equal(rate.in_flight_bytes, 4096);
}

/* The packets of a device of software pass the eBPF program, which charges them. */
static void what_the_kernel_charges_is_waited_for_and_charged_once(void **state)
{
	struct wh_bucket bucket = { .clock_ns = START_NS };
	struct wh_rate rate = { .bucket = &bucket, .kernel_charges = true };

	(void)state;
	set_limit(&bucket, MIB);
	assert_int_equal(wh_rate_take(&rate, 4096, START_NS), 0);
	wh_rate_charge(&rate, 4096, START_NS);

	assert_true(wh_rate_take(&rate, 4096, START_NS) > 0);
	assert_int_equal(bucket.clock_ns, START_NS);
	assert_int_equal(bucket.charged_bytes, 0);
	assert_int_equal(rate.in_flight_bytes, 4096);
}

static void a_pause_is_the_longer_the_more_others_owe(void **state)
{
	struct wh_bucket bucket = { .clock_ns = START_NS };
	struct wh_rate rate = { .bucket = &bucket };
	const uint64_t price = 4 * MSEC; /* about, of 256 KiB at 64 MiB/s */

	(void)state;
	set_limit(&bucket, 64 * MIB);
	bucket.clock_ns += 2 * price; /* pace: limit / 3 */
	assert_int_equal(wh_rate_take(&rate, WH_RATE_WRITE_MAX, START_NS), 0);

	assert_true(wh_rate_take(&rate, 1, START_NS + 3 * price - price) > 0);
	assert_true(wh_rate_take(&rate, 1, START_NS + 3 * price - price / 2) > 0);
	assert_int_equal(wh_rate_take(&rate, 1, START_NS + 3 * price), 0);
}

static void nobody_takes_while_the_debt_is_beyond_its_bound(void **state)
{
	struct wh_bucket bucket = { .clock_ns = START_NS + 10 * WH_NSEC_PER_SEC };
	struct wh_rate rate = { .bucket = &bucket };
	/* 10 ms and 2 MiB. */
	const uint64_t bound = 10 * MSEC + 2 * WH_NSEC_PER_SEC;

	(void)state;
	set_limit(&bucket, MIB);

	assert_in_range(wh_rate_take(&rate, 4096, START_NS), 1, 10 * MSEC);
	assert_true(wh_rate_take(&rate, 4096, bucket.clock_ns - bound - 2 * MSEC) > 0);
	assert_int_equal(wh_rate_take(&rate, 4096, bucket.clock_ns - bound + MSEC), 0);
}

static void what_is_in_flight_is_bounded(void **state)
{
	struct wh_bucket bucket = { .clock_ns = START_NS };
	struct wh_rate rate = { .bucket = &bucket };
	uint64_t now_ns = START_NS;
	uint64_t wait = 0;

	(void)state;
	set_limit(&bucket, 8 * MIB);
	while (wait != WH_RATE_AWAIT) {
		now_ns += wait;
		wait = wh_rate_take(&rate, WH_RATE_WRITE_MAX, now_ns);
	}
	assert_in_range(rate.in_flight_bytes, 2 * MIB, 3 * MIB);

	wh_rate_done(&rate, MIB);
	assert_int_equal(wh_rate_take(&rate, WH_RATE_WRITE_MAX, now_ns), 0);
}

static void writes_are_smaller_where_the_limit_is_small(void **state)
{
	struct wh_bucket bucket = { 0 };
	struct wh_rate rate = { .bucket = &bucket };

	(void)state;
	set_limit(&bucket, WH_RATE_MIN_BPS);
	assert_int_equal(wh_rate_write_max(&rate), 4096);
	set_limit(&bucket, 8 * MIB);
	assert_int_equal(wh_rate_write_max(&rate), 64 << 10);
	set_limit(&bucket, WH_RATE_MAX_BPS);
	assert_int_equal(wh_rate_write_max(&rate), WH_RATE_WRITE_MAX);
}

static void what_a_peer_has_read_makes_writes_wait(void **state)
{
	struct world w;
	uint64_t taken;

	(void)state;
	make(&w, 1, 64 * MIB);
	run(&w, 1000 * MSEC);
	taken = w.bytes[0];
	for (int i = 0; i < 100; i++) {
		wh_rate_charge(&w.flows[0], 320 << 10, w.now_ns);
		run(&w, 10 * MSEC);
	}

	/* Half of the limit was read, so about half of it is left. */
	assert_in_range(w.bytes[0] - taken, 28 * MIB, 36 * MIB);
	assert_int_equal(w.bucket.urgent_bytes, 32000 << 10);
	assert_int_equal(w.bucket.charged_bytes, w.bytes[0] + w.bucket.urgent_bytes);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(without_a_bucket_nothing_waits),
		cmocka_unit_test(without_a_limit_nothing_waits_and_nothing_is_charged),
		cmocka_unit_test(one_flow_meets_every_limit),
		cmocka_unit_test(a_flow_begins_without_a_burst),
		cmocka_unit_test(lateness_is_made_up_for),
		cmocka_unit_test(flows_share_the_limit_in_equal_parts),
		cmocka_unit_test(a_changed_limit_is_felt_at_once),
		cmocka_unit_test(a_refused_take_charges_nothing),
		cmocka_unit_test(what_the_kernel_charges_is_waited_for_and_charged_once),
		cmocka_unit_test(a_pause_is_the_longer_the_more_others_owe),
		cmocka_unit_test(nobody_takes_while_the_debt_is_beyond_its_bound),
		cmocka_unit_test(what_is_in_flight_is_bounded),
		cmocka_unit_test(writes_are_smaller_where_the_limit_is_small),
		cmocka_unit_test(what_a_peer_has_read_makes_writes_wait),
	};

	return cmocka_run_group_tests_name("rate", tests, NULL, NULL);
}
