/* SPDX-License-Identifier: Apache-2.0 */

#include "transport_contract.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "link_pair.h"

/* --- writes and frames ------------------------------------------------------------------------ */

static void writes_land_where_they_belong(void **state)
{
	struct link_pair *p = *state;
	const uint64_t before = wh_transport_sent(p->source.link).bytes;
	struct wh_event event;
	uint64_t cookies = 0;

	memset(p->source.memory.addr, 'x', BYTES);
	assert_int_equal(post_pages(p, 3, 1, 1), 0);
	assert_int_equal(post_pages(p, 100, 512, 2), 0);
	assert_int_equal(post_pages(p, PAGES - 1, 1, 4), 0);
	assert_int_equal(wh_transport_send(p->source.link, "done", 4), 0);
	await_frame_at(&p->target, "done", 4);

	for (uint64_t page = 0; page < PAGES; page++) {
		const uint8_t *addr = p->target.memory.addr + page * WH_PAGE_SIZE;
		bool sent = page == 3 || (page >= 100 && page < 612) || page == PAGES - 1;

		assert_int_equal(addr[0], sent ? 'x' : 0);
		assert_int_equal(addr[WH_PAGE_SIZE - 1], sent ? 'x' : 0);
	}
	for (int i = 0; i < 3; i++) {
		assert_int_equal(await_at(&p->source, &event), 1);
		assert_int_equal(event.type, WH_EVENT_WRITTEN);
		cookies += event.cookie;
	}
	assert_int_equal(cookies, 7);
	assert_in_range(wh_transport_sent(p->source.link).bytes - before, 514 * WH_PAGE_SIZE,
	                (p->resends ? 2 * 514 + 1 : 515) * WH_PAGE_SIZE);
}

static void frames_arrive_whole_and_in_order_both_ways(void **state)
{
	struct link_pair *p = *state;
	uint8_t frame[WH_FRAME_LEN_MAX];

	for (uint32_t i = 0; i < 200; i++) {
		uint32_t len = 1 + i * 7919 % WH_FRAME_LEN_MAX;

		memset(frame, (int)i, len);
		assert_int_equal(wh_transport_send(p->source.link, frame, len), 0);
		await_frame_at(&p->target, frame, len);
		assert_int_equal(wh_transport_send(p->target.link, frame, len), 0);
		await_frame_at(&p->source, frame, len);
	}
}

#define ROUNDS 100u

/* Wait until what was posted has left, then take the answer to the frame behind it. */
static void finish_round(struct link_pair *p)
{
	struct wh_event event;

	do
		assert_int_equal(await_at(&p->source, &event), 1);
	while (event.type == WH_EVENT_WRITTEN);
	assert_int_equal(event.type, WH_EVENT_FRAME);
	assert_memory_equal(event.frame.data, &p->round, sizeof(p->round));
}

/* Write stretches at random, each page marked with the round's number, and note them in @sent. */
static void write_round(struct link_pair *p, uint64_t *random, bool sent[PAGES])
{
	uint32_t at = roll(random, 30);

	while (at < PAGES) {
		uint32_t room = PAGES - at < 300 ? PAGES - at : 300;
		uint32_t pages = 1 + roll(random, room);

		for (uint32_t i = at; i < at + pages; i++) {
			p->source.memory.addr[i * (size_t)WH_PAGE_SIZE] = (uint8_t)p->round;
			sent[i] = true;
		}
		(void)post_for_sure(p, at, pages);
		at += pages + roll(random, 30);
	}
	assert_int_equal(wh_transport_send(p->source.link, &p->round, sizeof(p->round)), 0);
}

void a_frame_arrives_after_every_write_before_it(void **state)
{
	struct link_pair *p = *state;
	uint64_t random = 42;

	for (p->round = 1; p->round <= ROUNDS; p->round++) {
		bool sent[PAGES] = { false };

		write_round(p, &random, sent);
		await_frame_at(&p->target, &p->round, sizeof(p->round));
		for (uint32_t i = 0; i < PAGES; i++)
			if (sent[i])
				assert_int_equal(p->target.memory.addr[i * (size_t)WH_PAGE_SIZE],
				                 (uint8_t)p->round);
		assert_int_equal(wh_transport_send(p->target.link, &p->round, sizeof(p->round)), 0);
		finish_round(p);
	}
	p->round = 0;
}

static void no_more_writes_than_the_queue_holds_are_taken(void **state)
{
	struct link_pair *p = *state;
	struct wh_event event;

	for (uint32_t i = 0; i < DEPTH; i++)
		assert_int_equal(post_pages(p, i, 1, i), 0);
	assert_int_equal(post_pages(p, 0, 1, 0), WH_TX_FULL);

	for (uint32_t i = 0; i < DEPTH; i++)
		assert_int_equal(await_at(&p->source, &event), 1);
	assert_int_equal(post_pages(p, 0, 1, 0), 0);
	assert_int_equal(await_at(&p->source, &event), 1);
}

/* --- waiting ---------------------------------------------------------------------------------- */

static void a_poll_ends_at_its_deadline(void **state)
{
	struct link_pair *p = *state;
	struct wh_event event;
	uint64_t deadline = in(A_MOMENT_NS);

	assert_int_equal(wh_transport_poll(p->source.link, &event, 1, 0), 0);
	assert_int_equal(wh_transport_poll(p->source.link, &event, 1, deadline), 0);
	assert_true(wh_now_ns(&wh_clock_monotonic) >= deadline);
}

/* The network takes what it can in less. */
#define A_PAUSE_NS (2 * WH_NSEC_PER_MSEC)

/* The peer, in a thread of its own. */
struct taker {
	struct wh_transport *link;
	_Atomic uint32_t frames;
	_Atomic bool stop;
	pthread_t thread;
};

static void *take_all(void *arg)
{
	struct taker *taker = arg;
	struct wh_event event;

	while (!atomic_load(&taker->stop))
		taker->frames += wh_transport_poll(taker->link, &event, 1, in(A_PAUSE_NS)) == 1;
	return NULL;
}

static void start_taking(struct taker *taker, struct wh_transport *link)
{
	*taker = (struct taker){ .link = link };
	assert_int_equal(pthread_create(&taker->thread, NULL, take_all, taker), 0);
}

static void stop_taking(struct taker *taker)
{
	atomic_store(&taker->stop, true);
	assert_int_equal(pthread_join(taker->thread, NULL), 0);
}

static const uint8_t long_frame[WH_FRAME_LEN_MAX];

/* The peer takes none, so that the queue and every buffer fill up. Return: how many went. */
static uint32_t fill_with_frames(struct wh_transport *link)
{
	struct wh_event event;
	uint32_t sent = 0, full = 0;

	/* This ends: buffers are not without end. */
	while (full < 10) {
		int r = wh_transport_send(link, long_frame, sizeof(long_frame));

		assert_true(r == 0 || r == WH_TX_FULL);
		sent += r == 0;
		full = r == 0 ? 0 : full + 1;
		if (full > 0 && full < 10)
			assert_int_equal(wh_transport_poll(link, &event, 1, in(A_PAUSE_NS)), 0);
	}
	return sent;
}

static void a_poll_ends_when_there_is_room_for_a_frame_again(void **state)
{
	struct link_pair *p = *state;
	struct wh_event event;
	struct taker taker;
	int r;

	(void)fill_with_frames(p->source.link);
	start_taking(&taker, p->target.link);
	r = wh_transport_poll(p->source.link, &event, 1, UINT64_MAX);
	stop_taking(&taker);
	assert_int_equal(r, 0);
	assert_int_equal(wh_transport_send(p->source.link, long_frame, sizeof(long_frame)), 0);
}

/* Once it has said that there is room, it has: that frames leave is no event. */
static void a_poll_does_not_end_before_its_deadline_because_frames_leave(void **state)
{
	struct link_pair *p = *state;
	const uint32_t sent = fill_with_frames(p->source.link);
	struct wh_event event;
	struct taker taker;
	uint64_t deadline, ended;
	int first, second;

	start_taking(&taker, p->target.link);
	first = wh_transport_poll(p->source.link, &event, 1, UINT64_MAX);
	deadline = in(2 * A_MOMENT_NS);
	second = wh_transport_poll(p->source.link, &event, 1, deadline);
	ended = in(0);
	while (atomic_load(&taker.frames) < sent && in(0) < deadline + PATIENCE_NS)
		second |= wh_transport_poll(p->source.link, &event, 1, in(A_PAUSE_NS));
	stop_taking(&taker);
	assert_int_equal(first, 0);
	assert_int_equal(second, 0);
	assert_true(ended >= deadline);
	assert_int_equal(atomic_load(&taker.frames), sent);
}

/* --- the end ---------------------------------------------------------------------------------- */

static void a_link_closed_in_good_order_says_so(void **state)
{
	struct link_pair *p = *state;
	struct wh_event event;

	assert_int_equal(post_pages(p, 0, 1, 0), 0);
	assert_int_equal(wh_transport_send(p->source.link, "bye", 3), 0);
	await_frame_at(&p->target, "bye", 3);
	assert_int_equal(await_at(&p->source, &event), 1);
	p->source.link = wh_transport_close(p->source.link);

	for (int i = 0; i < 2; i++) {
		assert_int_equal(await_at(&p->target, &event), 1);
		assert_int_equal(event.type, WH_EVENT_CLOSED);
	}
}

/* --- what breaches the protocol --------------------------------------------------------------- */

static void expect_breach(struct link_pair *p)
{
	struct wh_event event;

	assert_int_equal(wh_transport_send(p->source.link, "x", 1), 0);
	assert_int_equal(await_at(&p->target, &event), -EPROTO);
	assert_int_equal(await_at(&p->target, &event), -EPROTO); /* and stays so */
}

static void a_write_into_memory_taken_back_is_a_breach(void **state)
{
	struct link_pair *p = *state;

	memset(p->source.memory.addr, 'x', BYTES);
	wh_transport_unmap(p->target.link, REGION);
	assert_int_equal(post_pages(p, 0, 1, 0), 0);
	expect_breach(p);
	assert_int_equal(p->target.memory.addr[0], 0);
}

static void a_write_behind_the_end_is_a_breach(void **state)
{
	struct link_pair *p = *state;

	assert_int_equal(wh_transport_write(p->source.link,
	                                    &(struct wh_write){ .dst_offset = BYTES - WH_PAGE_SIZE,
	                                                        .len = 2 * WH_PAGE_SIZE,
	                                                        .src_region = REGION,
	                                                        .dst_region = REGION }),
	                 0);
	expect_breach(p);
}

static void a_write_into_a_region_that_is_none_is_a_breach(void **state)
{
	struct link_pair *p = *state;

	assert_int_equal(
		wh_transport_write(p->source.link, &(struct wh_write){ .len = WH_PAGE_SIZE,
	                                                               .src_region = REGION,
	                                                               .dst_region = UINT16_MAX }),
		0);
	expect_breach(p);
}

static void a_write_into_memory_that_is_only_sent_from_is_a_breach(void **state)
{
	struct link_pair *p = *state;
	const struct wh_memory memory = { .addr = p->target.memory.addr,
		                          .fd = p->target.memory.fd,
		                          .bytes = BYTES };

	wh_transport_unmap(p->target.link, REGION);
	assert_int_equal(wh_transport_map(p->target.link, REGION, &memory), 0);
	assert_int_equal(post_pages(p, 0, 1, 0), 0);
	expect_breach(p);
}

/* --- the table -------------------------------------------------------------------------------- */

#define CASE(fn)        \
	{               \
#fn, fn \
	}

static const struct {
	const char *name;
	CMUnitTestFunction test;
} cases[] = {
	CASE(writes_land_where_they_belong),
	CASE(frames_arrive_whole_and_in_order_both_ways),
	CASE(a_frame_arrives_after_every_write_before_it),
	CASE(no_more_writes_than_the_queue_holds_are_taken),
	CASE(a_poll_ends_at_its_deadline),
	CASE(a_poll_ends_when_there_is_room_for_a_frame_again),
	CASE(a_poll_does_not_end_before_its_deadline_because_frames_leave),
	CASE(a_link_closed_in_good_order_says_so),
	CASE(a_write_into_memory_taken_back_is_a_breach),
	CASE(a_write_behind_the_end_is_a_breach),
	CASE(a_write_into_a_region_that_is_none_is_a_breach),
	CASE(a_write_into_memory_that_is_only_sent_from_is_a_breach),
};

static_assert(sizeof(cases) / sizeof(cases[0]) == CONTRACT_CASES, "the header counts them");

void add_contract(struct CMUnitTest *tests, const struct contract_way *way)
{
	for (uint32_t i = 0; i < CONTRACT_CASES; i++) {
		char *name;

		assert_true(asprintf(&name, "%s (%s)", cases[i].name, way->name) > 0);
		tests[i] = (struct CMUnitTest){ .name = name, /* as long as the program */
			                        .test_func = cases[i].test,
			                        .setup_func = way->setup,
			                        .teardown_func = way->teardown,
			                        .initial_state = way->argument };
	}
}
