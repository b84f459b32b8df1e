/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The contract of include/wherry/transport.h, kept by two links of real TCP connections over
 * loopback. What a link of ours never does is in test_transport_peer.c.
 */

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "contents.h"
#include "tcp_end.h"

struct pair {
	struct wh_transport *source, *target;
	struct memory from, to;
};

static void pair_open_compressing(struct pair *p, uint32_t connections,
                                  enum wh_compression compression)
{
	struct opener opener;
	uint16_t port = opener_start(&opener);

	p->source = connect_compressing(port, connections, compression);
	p->target = opener_join(&opener);
	p->from = new_memory(memfd_create("from", MFD_CLOEXEC));
	p->to = new_memory(memfd_create("to", MFD_CLOEXEC));
	lend(p->source, &p->from);
	lend(p->target, &p->to);
}

static void pair_open(struct pair *p, uint32_t connections)
{
	pair_open_compressing(p, connections, WH_COMPRESSION_NONE);
}

static int setup_one(void **state)
{
	static struct pair p;

	pair_open(&p, 1);
	*state = &p;
	return 0;
}

static int setup_four(void **state)
{
	static struct pair p;

	pair_open(&p, 4);
	*state = &p;
	return 0;
}

static int setup_one_compressing(void **state)
{
	static struct pair p;

	pair_open_compressing(&p, 1, WH_COMPRESSION_ZSTD);
	*state = &p;
	return 0;
}

static int setup_four_compressing(void **state)
{
	static struct pair p;

	pair_open_compressing(&p, 4, WH_COMPRESSION_ZSTD);
	*state = &p;
	return 0;
}

static int setup_one_auto(void **state)
{
	static struct pair p;

	pair_open_compressing(&p, 1, WH_COMPRESSION_AUTO);
	*state = &p;
	return 0;
}

static int setup_four_auto(void **state)
{
	static struct pair p;

	pair_open_compressing(&p, 4, WH_COMPRESSION_AUTO);
	*state = &p;
	return 0;
}

static int teardown(void **state)
{
	struct pair *p = *state;

	p->source = wh_transport_close(p->source);
	p->target = wh_transport_close(p->target);
	memory_done(&p->from);
	memory_done(&p->to);
	return 0;
}

/* Of the writes that are posted; 0: none. */
static uint32_t the_round;

static int post(struct wh_transport *link, uint64_t page, uint32_t pages, uint64_t cookie)
{
	return wh_transport_write(link, &(struct wh_write){ .cookie = cookie,
	                                                    .src_offset = page * WH_PAGE_SIZE,
	                                                    .dst_offset = page * WH_PAGE_SIZE,
	                                                    .len = pages * WH_PAGE_SIZE,
	                                                    .src_region = REGION,
	                                                    .dst_region = REGION,
	                                                    .round = the_round });
}

static void writes_land_where_they_belong(void **state)
{
	struct pair *p = *state;
	struct wh_event event;
	uint64_t cookies = 0;

	memset(p->from.addr, 'x', BYTES);
	assert_int_equal(post(p->source, 3, 1, 1), 0);
	assert_int_equal(post(p->source, 100, 512, 2), 0);
	assert_int_equal(post(p->source, PAGES - 1, 1, 4), 0);
	assert_int_equal(wh_transport_send(p->source, "done", 4), 0);
	await_frame(p->target, "done", 4);

	for (uint64_t page = 0; page < PAGES; page++) {
		bool sent = page == 3 || (page >= 100 && page < 612) || page == PAGES - 1;

		assert_int_equal(p->to.addr[page * WH_PAGE_SIZE], sent ? 'x' : 0);
		assert_int_equal(p->to.addr[(page + 1) * WH_PAGE_SIZE - 1], sent ? 'x' : 0);
	}
	for (int i = 0; i < 3; i++) {
		assert_int_equal(await(p->source, &event), 1);
		assert_int_equal(event.type, WH_EVENT_WRITTEN);
		cookies += event.cookie;
	}
	assert_int_equal(cookies, 7);
	assert_in_range(wh_transport_sent(p->source).bytes, 514 * WH_PAGE_SIZE, 515 * WH_PAGE_SIZE);
}

static void frames_arrive_whole_and_in_order_both_ways(void **state)
{
	struct pair *p = *state;
	uint8_t frame[WH_FRAME_LEN_MAX];

	for (uint32_t i = 0; i < 200; i++) {
		uint32_t len = 1 + i * 7919 % WH_FRAME_LEN_MAX;

		memset(frame, (int)i, len);
		assert_int_equal(wh_transport_send(p->source, frame, len), 0);
		await_frame(p->target, frame, len);
		assert_int_equal(wh_transport_send(p->target, frame, len), 0);
		await_frame(p->source, frame, len);
	}
}

static uint32_t roll(uint64_t *random, uint32_t sides)
{
	*random = *random * UINT64_C(6364136223846793005) + 1442695040888963407u;
	return (uint32_t)(*random >> 33) % sides;
}

/* Post a write, and wait for room first where there is none. Return: the writes that left. */
static uint32_t post_for_sure(struct wh_transport *link, uint64_t page, uint32_t pages)
{
	struct wh_event event;
	uint32_t left = 0;
	int r = post(link, page, pages, 0);

	while (r == WH_TX_FULL) {
		assert_int_equal(await(link, &event), 1);
		left++;
		r = post(link, page, pages, 0);
	}
	assert_int_equal(r, 0);
	return left;
}

static void reap_written(struct wh_transport *link)
{
	struct wh_event events[DEPTH];
	int n;

	do {
		n = wh_transport_poll(link, events, DEPTH, 0);
		assert_true(n >= 0);
	} while (n > 0);
}

#define ROUNDS 200u

/* Wait until what was posted has left, then take the answer to the frame behind it. */
static void finish_round(struct pair *p, uint32_t round)
{
	struct wh_event event;

	do
		assert_int_equal(await(p->source, &event), 1);
	while (event.type == WH_EVENT_WRITTEN);
	assert_int_equal(event.type, WH_EVENT_FRAME);
	assert_memory_equal(event.frame.data, &round, sizeof(round));
}

/* Write stretches at random, each page marked with the round's number, and note them in @sent. */
static void write_round(struct pair *p, uint32_t round, uint64_t *random, bool sent[PAGES])
{
	uint32_t at = roll(random, 30);

	while (at < PAGES) {
		uint32_t room = PAGES - at < 300 ? PAGES - at : 300;
		uint32_t pages = 1 + roll(random, room);

		for (uint32_t i = at; i < at + pages; i++) {
			p->from.addr[i * (size_t)WH_PAGE_SIZE] = (uint8_t)round;
			sent[i] = true;
		}
		(void)post_for_sure(p->source, at, pages);
		at += pages + roll(random, 30);
	}
	assert_int_equal(wh_transport_send(p->source, &round, sizeof(round)), 0);
}

static void a_frame_arrives_after_every_write_before_it(void **state)
{
	struct pair *p = *state;
	uint64_t random = 42;

	for (uint32_t round = 1; round <= ROUNDS; round++) {
		bool sent[PAGES] = { false };

		the_round = round;
		write_round(p, round, &random, sent);
		await_frame(p->target, &round, sizeof(round));
		for (uint32_t i = 0; i < PAGES; i++)
			if (sent[i])
				assert_int_equal(p->to.addr[i * (size_t)WH_PAGE_SIZE],
				                 (uint8_t)round);
		assert_int_equal(wh_transport_send(p->target, &round, sizeof(round)), 0);
		finish_round(p, round);
	}
	the_round = 0;
}

static void no_more_writes_than_the_queue_holds_are_taken(void **state)
{
	struct pair *p = *state;
	struct wh_event events[2 * DEPTH];
	uint32_t written = 0;

	for (uint32_t i = 0; i < DEPTH; i++)
		assert_int_equal(post(p->source, i, 1, i), 0);
	assert_int_equal(post(p->source, 0, 1, 0), WH_TX_FULL);

	while (written < DEPTH) {
		int n = wh_transport_poll(p->source, events, 2 * DEPTH, in(PATIENCE_NS));

		assert_in_range(n, 1, DEPTH);
		written += (uint32_t)n;
	}
	assert_int_equal(post(p->source, 0, 1, 0), 0);
	reap_written(p->source);
}

static void a_poll_ends_at_its_deadline(void **state)
{
	struct pair *p = *state;
	struct wh_event event;
	uint64_t deadline = in(A_MOMENT_NS);

	assert_int_equal(wh_transport_poll(p->source, &event, 1, 0), 0);
	assert_int_equal(wh_transport_poll(p->source, &event, 1, deadline), 0);
	assert_true(wh_now_ns(&wh_clock_monotonic) >= deadline);
}

/* Take everything until nothing came for a moment. */
static void *take_all(void *arg)
{
	struct wh_event event;

	while (wh_transport_poll(arg, &event, 1, in(WH_NSEC_PER_SEC)) == 1)
		continue;
	return NULL;
}

static void a_poll_ends_when_there_is_room_for_a_frame_again(void **state)
{
	static const uint8_t frame[WH_FRAME_LEN_MAX];
	struct pair *p = *state;
	struct wh_event event;
	pthread_t thread;
	int r = 0;

	/* The peer takes none, so that the queue and every buffer fill up. */
	for (int pause = 0; pause < 10; pause++) {
		r = wh_transport_send(p->source, frame, sizeof(frame));
		if (r == WH_TX_FULL)
			(void)poll(NULL, 0, 10);
		else
			pause = 0;
	}
	assert_int_equal(r, WH_TX_FULL);
	assert_int_equal(wh_transport_poll(p->source, &event, 1, in(A_MOMENT_NS)), 0);

	assert_int_equal(pthread_create(&thread, NULL, take_all, p->target), 0);
	assert_int_equal(wh_transport_poll(p->source, &event, 1, UINT64_MAX), 0);
	assert_int_equal(wh_transport_send(p->source, frame, sizeof(frame)), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
}

static void a_link_closed_in_good_order_says_so(void **state)
{
	struct pair *p = *state;
	struct wh_event event;

	assert_int_equal(post(p->source, 0, 1, 0), 0);
	assert_int_equal(wh_transport_send(p->source, "bye", 3), 0);
	await_frame(p->target, "bye", 3);
	reap_written(p->source);
	p->source = wh_transport_close(p->source);

	for (int i = 0; i < 2; i++) {
		assert_int_equal(await(p->target, &event), 1);
		assert_int_equal(event.type, WH_EVENT_CLOSED);
	}
}

static void expect_breach(struct pair *p)
{
	struct wh_event event;

	assert_int_equal(wh_transport_send(p->source, "x", 1), 0);
	assert_int_equal(await(p->target, &event), -EPROTO);
	assert_int_equal(await(p->target, &event), -EPROTO); /* and stays so */
}

static void a_write_into_memory_taken_back_is_a_breach(void **state)
{
	struct pair *p = *state;

	memset(p->from.addr, 'x', BYTES);
	wh_transport_unmap(p->target, REGION);
	assert_int_equal(post(p->source, 0, 1, 0), 0);
	expect_breach(p);
	assert_int_equal(p->to.addr[0], 0);
}

static void a_write_behind_the_end_is_a_breach(void **state)
{
	struct pair *p = *state;

	assert_int_equal(wh_transport_write(p->source,
	                                    &(struct wh_write){ .dst_offset = BYTES - WH_PAGE_SIZE,
	                                                        .len = 2 * WH_PAGE_SIZE,
	                                                        .src_region = REGION,
	                                                        .dst_region = REGION }),
	                 0);
	expect_breach(p);
}

static void a_write_into_a_region_that_is_none_is_a_breach(void **state)
{
	struct pair *p = *state;

	assert_int_equal(
		wh_transport_write(p->source, &(struct wh_write){ .len = WH_PAGE_SIZE,
	                                                          .src_region = REGION,
	                                                          .dst_region = UINT16_MAX }),
		0);
	expect_breach(p);
}

static void a_write_into_memory_that_is_only_sent_from_is_a_breach(void **state)
{
	struct pair *p = *state;
	const struct wh_memory memory = { .addr = p->to.addr, .fd = p->to.fd, .bytes = BYTES };

	wh_transport_unmap(p->target, REGION);
	assert_int_equal(wh_transport_map(p->target, REGION, &memory), 0);
	assert_int_equal(post(p->source, 0, 1, 0), 0);
	expect_breach(p);
}

/* --- compression ------------------------------------------------------------------------------ */

/* All of the memory, in writes of many lengths. */
static void write_all(struct pair *p)
{
	uint64_t random = 7;
	uint32_t in_flight = 0, at = 0;
	struct wh_event event;

	while (at < PAGES) {
		const uint32_t room = PAGES - at < 512 ? PAGES - at : 512;
		const uint32_t pages = 1 + roll(&random, roll(&random, 2) ? room : 1);

		in_flight += 1 - post_for_sure(p->source, at, pages);
		at += pages;
	}
	assert_int_equal(wh_transport_send(p->source, "done", 4), 0);
	await_frame(p->target, "done", 4);
	assert_memory_equal(p->to.addr, p->from.addr, BYTES);
	for (; in_flight > 0; in_flight--)
		assert_int_equal(await(p->source, &event), 1);
}

static void contents_of_any_kind_arrive_intact(void **state)
{
	struct pair *p = *state;

	fill_text(p->from.addr, BYTES);
	write_all(p);
	fill_random(p->from.addr, BYTES);
	write_all(p);
	fill_text(p->from.addr, BYTES / 2);
	write_all(p);
}

/* Change @count bytes of each page, at places that depend on @round. */
static void change_a_little(struct pair *p, uint32_t count)
{
	for (size_t page = 0; page < PAGES; page++)
		for (size_t i = 0; i < count; i++)
			p->from.addr[page * WH_PAGE_SIZE + (page + the_round + i * 97) % 4096]++;
}

static void a_page_sent_again_goes_as_what_differs(void **state)
{
	struct pair *p = *state;
	struct wh_sent before, after;

	fill_random(p->from.addr, BYTES);
	for (the_round = 1; the_round <= 2; the_round++)
		write_all(p);
	before = wh_transport_sent(p->source);
	for (; the_round <= 6; the_round++) {
		change_a_little(p, the_round);
		write_all(p);
	}
	after = wh_transport_sent(p->source);
	assert_int_equal(after.delta_raw_bytes - before.delta_raw_bytes, 4 * BYTES);
	assert_in_range(after.bytes - before.bytes, 1, BYTES / 4);
	the_round = 0;
}

/* Each of these ways changes what the peer has, and none leaves a copy behind it. */
static void what_was_sent_or_told_in_another_way_is_not_built_upon(void **state)
{
	struct pair *p = *state;

	fill_random(p->from.addr, BYTES);
	for (the_round = 1; the_round <= 2; the_round++)
		write_all(p);

	/* Not in a round. */
	the_round = 0;
	fill_text(p->from.addr, BYTES);
	write_all(p);
	fill_random(p->from.addr, BYTES);
	the_round = 3;
	write_all(p);

	/* By a frame. */
	wh_transport_forget(p->source, REGION, 0, BYTES / 2);
	memset(p->to.addr, 0, BYTES / 2);
	the_round = 4;
	change_a_little(p, 3);
	write_all(p);
	the_round = 0;
}

static void only_what_becomes_shorter_goes_compressed(void **state)
{
	struct pair *p = *state;
	struct wh_sent text, random;

	fill_text(p->from.addr, BYTES);
	write_all(p);
	text = wh_transport_sent(p->source);
	assert_int_equal(text.compressed_raw_bytes, BYTES);
	assert_in_range(text.compressed_bytes, 1, BYTES / 2);
	assert_in_range(text.bytes, text.compressed_bytes + 1, BYTES / 2);

	fill_random(p->from.addr, BYTES);
	write_all(p);
	random = wh_transport_sent(p->source);
	assert_int_equal(random.compressed_raw_bytes, text.compressed_raw_bytes);
	assert_int_equal(random.compressed_bytes, text.compressed_bytes);
	assert_true(random.bytes - text.bytes > BYTES);
}

/* --- congestion control ----------------------------------------------------------------------- */

/* That of our connections to @port, "" if they differ or there are none. */
static void congestion_to(uint16_t port, char name[WH_CONGESTION_MAX])
{
	char other[WH_CONGESTION_MAX] = "";

	name[0] = '\0';
	for (int fd = 0; fd < 256; fd++) {
		struct sockaddr_in peer = { 0 };
		socklen_t peer_len = sizeof(peer), len = sizeof(other);

		if (getpeername(fd, (struct sockaddr *)&peer, &peer_len) < 0 ||
		    peer.sin_family != AF_INET || ntohs(peer.sin_port) != port)
			continue;
		assert_int_equal(getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, other, &len), 0);
		if (name[0] && strcmp(name, other) != 0)
			fail_msg("%s and %s", name, other);
		(void)snprintf(name, WH_CONGESTION_MAX, "%s", other);
	}
}

static void the_sender_chooses_the_congestion_control(void **state)
{
	static const char *const table[][2] = { { "auto", "cubic" }, { "reno", "reno" } };

	(void)state;
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		struct wh_transport *source, *target;
		char name[WH_CONGESTION_MAX];
		struct opener opener;
		uint16_t port = opener_start(&opener);

		assert_int_equal(connect_with(&source, port, table[i][0], NULL), 0);
		target = opener_join(&opener);
		congestion_to(port, name);
		(void)wh_transport_close(source);
		(void)wh_transport_close(target);
		assert_string_equal(name, table[i][1]);
	}
}

static void a_congestion_control_that_is_none_is_refused_by_name(void **state)
{
	struct wh_transport *source = NULL;
	struct wh_error err;

	(void)state;
	assert_int_equal(connect_with(&source, 1, "nonesuch", &err), -ENOENT);
	assert_non_null(strstr(err.text, "congestion control 'nonesuch': this kernel has none"));
}

/* --- a tmpfs that is full --------------------------------------------------------------------- */

/* In a process of its own, as the mount is: exits with the errno that the target's poll gave. */
static int write_into_a_small_tmpfs(void)
{
	const char *dir = "/mnt";
	struct wh_event event;
	struct pair p;
	int r;

	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("tmpfs", dir, "tmpfs", 0, "size=256k") < 0)
		return 77;
	pair_open(&p, 1);
	wh_transport_unmap(p.target, REGION);
	memory_done(&p.to);
	p.to = new_memory(open("/mnt/ram", O_RDWR | O_CREAT | O_CLOEXEC, 0600));
	lend(p.target, &p.to);
	memset(p.from.addr, 'x', BYTES);
	if (post(p.source, 0, 512, 0) < 0)
		return 1;
	r = await(p.target, &event);
	return r < 0 ? -r : 0;
}

static void a_full_tmpfs_is_enospc_at_the_receiver(void **state)
{
	int status = 0;
	pid_t pid;

	(void)state;
	(void)fflush(NULL);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		_exit(write_into_a_small_tmpfs());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == 77) {
		print_message("# mounting a tmpfs needs root\n");
		skip();
	}
	assert_int_equal(WEXITSTATUS(status), ENOSPC);
}

#define ONE(fn)                                                      \
	{                                                            \
#fn " (1 connection)", fn, setup_one, teardown, NULL \
	}
#define FOUR(fn)                                                       \
	{                                                              \
#fn " (4 connections)", fn, setup_four, teardown, NULL \
	}
#define BOTH(fn) ONE(fn), FOUR(fn)
#define COMPRESSING(fn)                                                                  \
	{ #fn " (1 connection, zstd)", fn, setup_one_compressing, teardown, NULL },      \
	{                                                                                \
#fn " (4 connections, zstd)", fn, setup_four_compressing, teardown, NULL \
	}
#define AUTO(fn)                                                                  \
	{ #fn " (1 connection, auto)", fn, setup_one_auto, teardown, NULL },      \
	{                                                                         \
#fn " (4 connections, auto)", fn, setup_four_auto, teardown, NULL \
	}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(writes_land_where_they_belong),
		BOTH(frames_arrive_whole_and_in_order_both_ways),
		BOTH(a_frame_arrives_after_every_write_before_it),
		BOTH(no_more_writes_than_the_queue_holds_are_taken),
		BOTH(a_poll_ends_at_its_deadline),
		BOTH(a_poll_ends_when_there_is_room_for_a_frame_again),
		BOTH(a_link_closed_in_good_order_says_so),
		BOTH(a_write_into_memory_taken_back_is_a_breach),
		BOTH(a_write_behind_the_end_is_a_breach),
		BOTH(a_write_into_a_region_that_is_none_is_a_breach),
		BOTH(a_write_into_memory_that_is_only_sent_from_is_a_breach),
		COMPRESSING(a_frame_arrives_after_every_write_before_it),
		COMPRESSING(contents_of_any_kind_arrive_intact),
		COMPRESSING(a_page_sent_again_goes_as_what_differs),
		COMPRESSING(what_was_sent_or_told_in_another_way_is_not_built_upon),
		COMPRESSING(only_what_becomes_shorter_goes_compressed),
		AUTO(a_frame_arrives_after_every_write_before_it),
		AUTO(contents_of_any_kind_arrive_intact),
		cmocka_unit_test(the_sender_chooses_the_congestion_control),
		cmocka_unit_test(a_congestion_control_that_is_none_is_refused_by_name),
		cmocka_unit_test(a_full_tmpfs_is_enospc_at_the_receiver),
	};

	/* A wait that never ends is a failure, too. */
	(void)alarm(60);
	return cmocka_run_group_tests_name("transport", tests, NULL, NULL);
}
