/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The contract of include/wherry/transport.h, kept by a link of real TCP connections with RDMA of
 * tests/lib/fake_verbs.c beside it: while RDMA is up, when it never comes up, and when it breaks.
 */

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "fake_verbs.h"
#include "link_pair.h"
#include "rdma_link.h"
#include "transport_contract.h"

#define CHUNK_PAGES 16u
#define CHUNK_BYTES (CHUNK_PAGES * UINT64_C(4096))

#define A_BIT_NS (100 * UINT64_C(1000))

enum trouble {
	NONE,
	LITTLE_ROOM,        /* for few chunks at once */
	LITTLE_TARGET_ROOM, /* at the target only */
	NO_TARGET_ROOM,     /* for a single chunk */
	NO_SOURCE,          /* has no device */
	NO_TARGET,
	SOURCE_LOST, /* its device, after some turns */
	TARGET_LOST,
	PAIR_FAILS,
	SOURCE_REFUSES, /* to enroll anything, from the start */
	TARGET_REFUSES,
};

struct kind {
	const char *name;
	uint32_t pairs;
	enum trouble trouble;
	uint32_t after_turns;
};

static struct link_pair the_pair;
static const struct kind *the_kind;

/* What the source was told. */
static uint32_t times_up, times_over;
static char why_over[WH_RDMA_REASON_MAX];

static void on_carries(void *context, enum wh_transport_kind kind, const char *why)
{
	(void)context;
	assert_int_equal(kind == WH_TRANSPORT_TCP, *why != '\0');
	if (kind == WH_TRANSPORT_RDMA)
		times_up++;
	else
		times_over++;
	(void)snprintf(why_over, sizeof(why_over), "%s", why);
}

static struct wh_rdma_link *rdma_of(struct link_end *end)
{
	return (struct wh_rdma_link *)end->link;
}

static bool is_up(struct link_pair *p)
{
	return rdma_of(&p->source)->state == WH_RDMA_UP && rdma_of(&p->target)->state == WH_RDMA_UP;
}

static void on_turn(struct link_pair *p)
{
	if (p->turns != the_kind->after_turns || !p->source.link || !is_up(p))
		return;
	if (the_kind->trouble == SOURCE_LOST)
		fake_verbs_remove(rdma_of(&p->source)->verbs, -ENODEV);
	else if (the_kind->trouble == TARGET_LOST)
		fake_verbs_remove(rdma_of(&p->target)->verbs, -ENODEV);
	else if (the_kind->trouble == PAIR_FAILS)
		fake_verbs_fail(rdma_of(&p->source)->verbs, the_kind->pairs - 1, -ETIMEDOUT);
}

static struct wh_rdma_options options_of(bool passive)
{
	struct wh_rdma_options options = {
		.pairs = the_kind->pairs,
		.chunk_bytes = CHUNK_BYTES,
		.pinned_bytes_max = UINT64_MAX,
	};

	if (the_kind->trouble == LITTLE_ROOM ||
	    (passive && the_kind->trouble == LITTLE_TARGET_ROOM))
		options.pinned_bytes_max = 3 * CHUNK_BYTES;
	if (passive && the_kind->trouble == NO_TARGET_ROOM)
		options.pinned_bytes_max = CHUNK_BYTES - 1;
	return options;
}

static void open_pair(void)
{
	const struct wh_rdma_options passive = options_of(true);
	const struct wh_link_config like = {
		.connections = the_kind->pairs,
		.rdma = options_of(false),
		.carries = on_carries,
	};
	struct wh_transport *source, *target;
	struct opener opener;
	uint16_t port;

	fake_verbs_refuse_open(the_kind->trouble == NO_TARGET ? -ENODEV : 0);
	port = opener_start_rdma(&opener, &passive);
	source = connect_like(port, &like);
	target = opener_join(&opener);
	fake_verbs_refuse_open(the_kind->trouble == NO_SOURCE ? -ENODEV : 0);
	link_pair_init(&the_pair, source, target);
}

static bool has_settled(struct link_pair *p)
{
	return is_up(p) || rdma_of(&p->source)->state == WH_RDMA_OVER;
}

/* Until RDMA is up, or will never be. */
static void settle(struct link_pair *p)
{
	struct wh_event event;

	for (int i = 0; !has_settled(p); i++) {
		assert_int_equal(wh_transport_poll(p->source.link, &event, 1, in(A_BIT_NS)), 0);
		assert_int_equal(wh_transport_poll(p->target.link, &event, 1, in(A_BIT_NS)), 0);
		assert_in_range(i, 0, 10000);
	}
	if (the_kind->trouble == SOURCE_REFUSES)
		fake_verbs_limit_enrolled(rdma_of(&p->source)->verbs, 0, -ENOMEM);
	if (the_kind->trouble == TARGET_REFUSES)
		fake_verbs_limit_enrolled(rdma_of(&p->target)->verbs, 0, -ENOMEM);
}

static int setup(void **state)
{
	the_kind = *state;
	times_up = times_over = 0;
	fake_verbs_set_seed(1);
	open_pair();
	settle(&the_pair);
	write_all(&the_pair); /* so that chunks are known; the memory is empty */
	the_pair.turn = on_turn;
	the_pair.turns = 0;
	the_pair.resends = true;
	*state = &the_pair;
	return 0;
}

static int teardown(void **state)
{
	link_pair_done(*state);
	return 0;
}

/* --- RDMA alone ------------------------------------------------------------------------------- */

static void pages_go_by_rdma_while_it_is_up(void **state)
{
	struct link_pair *p = *state;
	const struct wh_sent before = wh_transport_sent(p->source.link);
	struct wh_sent after;

	memset(p->source.memory.addr, 'x', BYTES);
	write_all(p);
	after = wh_transport_sent(p->source.link);
	assert_int_equal(after.rdma_bytes - before.rdma_bytes, BYTES);
	assert_in_range(after.bytes - before.bytes, BYTES, BYTES + BYTES / 100);
	assert_int_equal(times_up, 1);
	assert_int_equal(times_over, 0);
}

static void nothing_goes_by_rdma_if_no_chunk_may_be_pinned(void **state)
{
	struct link_pair *p = *state;

	write_all(p);
	assert_int_equal(wh_transport_sent(p->source.link).rdma_bytes, 0);
	assert_int_equal(times_over, 1);
	assert_non_null(strstr(why_over, "one chunk has 64 KiB"));
}

/* Works that are never performed keep a barrier from being settled: so many frames behind it leave. */
static void frames_that_wait_for_writes_leave_when_rdma_breaks(void **state)
{
	struct link_pair *p = *state;
	struct wh_event event;
	uint32_t sent = 0, came = 0, full = 0;

	fake_verbs_set_seed(0);
	assert_int_equal(post_pages(p, 0, 1, 0), 0);
	/* This ends: so many are held at the target, and no more. */
	while (full < 1000) {
		int r = wh_transport_send(p->source.link, &sent, sizeof(sent));

		sent += r == 0;
		full = r == 0 ? 0 : full + 1;
		assert_int_equal(wh_transport_poll(p->target.link, &event, 1, 0), 0);
		assert_int_equal(wh_transport_poll(p->source.link, &event, 1, in(A_BIT_NS)), 0);
	}
	assert_in_range(sent, 1000, 2000);
	fake_verbs_remove(rdma_of(&p->source)->verbs, -ENODEV);
	for (; came < sent; came++)
		await_frame_at(&p->target, &came, sizeof(came));
}

static bool becomes_readable(int fd, int timeout_ms)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return poll(&p, 1, timeout_ms) == 1;
}

/* Else it would look again and again, while the guest is to run there. */
static void a_target_whose_memory_was_taken_back_does_not_wait_for_its_chunks(void **state)
{
	struct link_pair *p = *state;
	const struct wh_rdma_link *target = rdma_of(&p->target);
	const struct wh_rdma_job job = { .addr = p->target.memory.addr, .bytes = CHUNK_BYTES };

	/* The thread has a result that comes too late. */
	wh_rdma_enroll_post(target->enroll, &job);
	wh_transport_unmap(p->target.link, REGION);
	assert_true(becomes_readable(wh_rdma_enroll_fd(target->enroll), 5000));
	assert_false(becomes_readable(target->epoll, 0));
}

static void pages_go_over_tcp_once_it_has_broken_and_it_says_why(void **state)
{
	struct link_pair *p = *state;
	struct wh_sent before;

	for (int i = 0; i < 4; i++)
		write_all(p);
	before = wh_transport_sent(p->source.link);
	memset(p->source.memory.addr, 'y', BYTES);
	write_all(p);
	assert_int_equal(wh_transport_sent(p->source.link).rdma_bytes, before.rdma_bytes);
	assert_int_equal(times_up, 1);
	assert_int_equal(times_over, 1);
	assert_true(strlen(why_over) > 0);
}

/* What was on its way then did not land, and is not taken for landed. */
static void a_write_on_its_way_to_memory_taken_back_is_a_breach(void **state)
{
	struct link_pair *p = *state;
	struct wh_event event;

	memset(p->source.memory.addr, 'x', BYTES);
	assert_int_equal(post_pages(p, 0, 1, 0), 0);
	wh_transport_unmap(p->target.link, REGION);
	assert_int_equal(wh_transport_send(p->source.link, "x", 1), 0);
	assert_int_equal(await_at(&p->target, &event), -EPROTO);
	assert_int_equal(p->target.memory.addr[0], 0);
}

static void nothing_is_sent_again_that_had_landed_when_memory_was_taken_back(void **state)
{
	struct link_pair *p = *state;
	const struct wh_sent before = wh_transport_sent(p->source.link);
	struct wh_event event;

	memset(p->source.memory.addr, 'x', BYTES);
	assert_int_equal(post_pages(p, 0, 512, 7), 0);
	assert_int_equal(wh_transport_send(p->source.link, "last", 4), 0);
	await_frame_at(&p->target, "last", 4);
	wh_transport_unmap(p->target.link, REGION);
	assert_int_equal(wh_transport_send(p->target.link, "landed", 6), 0);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(await_at(&p->source, &event), 1);
		assert_int_equal(event.type, i ? WH_EVENT_FRAME : WH_EVENT_WRITTEN);
	}
	assert_memory_equal(p->target.memory.addr, p->source.memory.addr,
	                    (size_t)512 * WH_PAGE_SIZE);
	assert_in_range(wh_transport_sent(p->source.link).bytes - before.bytes, 512 * WH_PAGE_SIZE,
	                513 * WH_PAGE_SIZE);
}

/* --- the table -------------------------------------------------------------------------------- */

static const struct kind kinds[] = {
	{ "up, 1 pair", 1, NONE, 0 },
	{ "up, 4 pairs", 4, NONE, 0 },
	{ "room for few chunks", 4, LITTLE_ROOM, 0 },
	{ "no device at the source", 1, NO_SOURCE, 0 },
	{ "no device at the target", 1, NO_TARGET, 0 },
	{ "source's device lost at once", 4, SOURCE_LOST, 1 },
	{ "source's device lost later", 4, SOURCE_LOST, 30 },
	{ "target's device lost at once", 4, TARGET_LOST, 1 },
	{ "target's device lost later", 1, TARGET_LOST, 30 },
	{ "a pair fails at once", 1, PAIR_FAILS, 1 },
	{ "a pair fails later", 4, PAIR_FAILS, 30 },
	{ "source refuses memory", 4, SOURCE_REFUSES, 0 },
	{ "target refuses memory", 4, TARGET_REFUSES, 0 },
	{ "room for few chunks at the target", 4, LITTLE_TARGET_ROOM, 0 },
	{ "room for no chunk at the target", 4, NO_TARGET_ROOM, 0 },
};

#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

#define RDMA_TEST(fn, number)                                               \
	{                                                                   \
#fn, fn, setup, teardown, (void *)(uintptr_t)&kinds[number] \
	}

int main(void)
{
	const struct CMUnitTest of_rdma[] = {
		RDMA_TEST(pages_go_by_rdma_while_it_is_up, 1),
		RDMA_TEST(pages_go_by_rdma_while_it_is_up, 2),
		RDMA_TEST(pages_go_by_rdma_while_it_is_up, 13),
		RDMA_TEST(nothing_goes_by_rdma_if_no_chunk_may_be_pinned, 14),
		RDMA_TEST(a_target_whose_memory_was_taken_back_does_not_wait_for_its_chunks, 2),
		RDMA_TEST(frames_that_wait_for_writes_leave_when_rdma_breaks, 1),
		RDMA_TEST(pages_go_over_tcp_once_it_has_broken_and_it_says_why, 5),
		RDMA_TEST(a_write_on_its_way_to_memory_taken_back_is_a_breach, 0),
		RDMA_TEST(nothing_is_sent_again_that_had_landed_when_memory_was_taken_back, 1),
	};
	static struct CMUnitTest tests[KINDS * CONTRACT_CASES + sizeof(of_rdma) / sizeof(*of_rdma)];

	for (size_t i = 0; i < KINDS; i++)
		add_contract(tests + i * CONTRACT_CASES,
		             &(struct contract_way){ kinds[i].name, setup, teardown,
		                                     (void *)(uintptr_t)&kinds[i] });
	memcpy(tests + KINDS * CONTRACT_CASES, of_rdma, sizeof(of_rdma));

	/* A wait that never ends is a failure, too. */
	(void)alarm(60);
	return cmocka_run_group_tests_name("transport_rdma", tests, NULL, NULL);
}
