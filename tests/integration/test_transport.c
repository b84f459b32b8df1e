/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The contract of include/wherry/transport.h, kept by real TCP connections over loopback.
 *
 * Two kinds of peers: a second link in another thread (struct pair), and a peer of the test's own
 * that writes records byte by byte (struct raw), for what a link of ours never does.
 */

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "transport_ops.h"
#include "wire.h"

#include "wherry/clock.h"
#include "wherry/fdpass.h"
#include "wherry/limits.h"

#define PAGES  1024u
#define BYTES  ((uint64_t)PAGES * WH_PAGE_SIZE)
#define DEPTH  8u
#define REGION 5u

/* Nothing here takes a second; a test that waits this long has failed. */
#define PATIENCE_NS (5 * WH_NSEC_PER_SEC)

/* What a test waits to see that nothing happens. */
#define A_MOMENT_NS (30 * WH_NSEC_PER_MSEC)

const struct wh_transport_ops *const wh_transports[] = { &wh_transport_tcp, NULL };

static const uint8_t token[WH_TOKEN_BYTES] = { 1, 2, 3, 4 };
static const uint8_t wrong_token[WH_TOKEN_BYTES] = { 1, 2, 3, 5 };

static uint64_t in(uint64_t ns)
{
	return wh_now_ns(&wh_clock_monotonic) + ns;
}

/* --- the passive end, opened by a thread of its own ------------------------------------------- */

struct opener {
	pthread_t thread;
	int ports[2]; /* a pipe that the port comes through */
	struct wh_transport *link;
	struct wh_error err;
	int result;
};

static void on_listening(void *context, uint16_t port)
{
	struct opener *opener = context;

	(void)!write(opener->ports[1], &port, sizeof(port));
}

static void *open_passive(void *arg)
{
	struct opener *opener = arg;
	const struct wh_link_config cfg = {
		.uri = "tcp://127.0.0.1:0",
		.passive = true,
		.queue_depth = DEPTH,
		.connections = 1,
		.interface = "",
		.local = "",
		.token = token,
		.deadline_ns = in(PATIENCE_NS),
		.listening = on_listening,
		.context = opener,
	};

	opener->result = wh_transport_open(&opener->link, &cfg, &opener->err);
	return NULL;
}

/* Return: the port to connect to. */
static uint16_t opener_start(struct opener *opener)
{
	uint16_t port;

	*opener = (struct opener){ .link = NULL };
	assert_int_equal(pipe2(opener->ports, O_CLOEXEC), 0);
	assert_int_equal(pthread_create(&opener->thread, NULL, open_passive, opener), 0);
	assert_int_equal(read(opener->ports[0], &port, sizeof(port)), sizeof(port));
	return port;
}

static struct wh_transport *opener_join(struct opener *opener)
{
	assert_int_equal(pthread_join(opener->thread, NULL), 0);
	wh_closep(&opener->ports[0]);
	wh_closep(&opener->ports[1]);
	if (opener->result < 0)
		fail_msg("%s", opener->err.text);
	return opener->link;
}

static int connect_to(struct wh_transport **ret, uint16_t port, uint32_t connections,
                      const uint8_t *secret)
{
	char uri[32];
	const struct wh_link_config cfg = {
		.uri = uri,
		.queue_depth = DEPTH,
		.connections = connections,
		.interface = "",
		.local = "",
		.token = secret,
		.deadline_ns = in(PATIENCE_NS),
	};

	(void)snprintf(uri, sizeof(uri), "tcp://127.0.0.1:%u", port);
	return wh_transport_open(ret, &cfg, NULL);
}

/* --- two links -------------------------------------------------------------------------------- */

struct memory {
	int fd;
	uint8_t *addr;
};

struct pair {
	struct wh_transport *source, *target;
	struct memory from, to;
};

static struct memory new_memory(int fd)
{
	struct memory m = { .fd = fd };

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, BYTES), 0);
	m.addr = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_true(m.addr != MAP_FAILED);
	return m;
}

static void memory_done(struct memory *m)
{
	(void)munmap(m->addr, BYTES);
	wh_closep(&m->fd);
}

static void lend(struct wh_transport *link, const struct memory *m)
{
	const struct wh_memory memory = { .addr = m->addr, .fd = m->fd, .bytes = BYTES };

	assert_int_equal(wh_transport_map(link, REGION, &memory), 0);
	assert_int_equal(wh_transport_map(link, REGION, &memory), -EEXIST);
}

static void pair_open(struct pair *p, uint32_t connections)
{
	struct opener opener;
	uint16_t port = opener_start(&opener);

	assert_int_equal(connect_to(&p->source, port, connections, token), 0);
	p->target = opener_join(&opener);
	p->from = new_memory(memfd_create("from", MFD_CLOEXEC));
	p->to = new_memory(memfd_create("to", MFD_CLOEXEC));
	lend(p->source, &p->from);
	lend(p->target, &p->to);
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

static int teardown(void **state)
{
	struct pair *p = *state;

	p->source = wh_transport_close(p->source);
	p->target = wh_transport_close(p->target);
	memory_done(&p->from);
	memory_done(&p->to);
	return 0;
}

static int post(struct wh_transport *link, uint64_t page, uint32_t pages, uint64_t cookie)
{
	return wh_transport_write(link, &(struct wh_write){ .cookie = cookie,
	                                                    .src_offset = page * WH_PAGE_SIZE,
	                                                    .dst_offset = page * WH_PAGE_SIZE,
	                                                    .len = pages * WH_PAGE_SIZE,
	                                                    .src_region = REGION,
	                                                    .dst_region = REGION });
}

/* Wait for one event. Return: what wh_transport_poll() did. */
static int await(struct wh_transport *link, struct wh_event *ret)
{
	return wh_transport_poll(link, ret, 1, in(PATIENCE_NS));
}

static void await_frame(struct wh_transport *link, const void *data, uint32_t len)
{
	struct wh_event event;

	assert_int_equal(await(link, &event), 1);
	assert_int_equal(event.type, WH_EVENT_FRAME);
	assert_int_equal(event.frame.len, len);
	assert_memory_equal(event.frame.data, data, len);
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
	assert_in_range(wh_transport_sent_bytes(p->source), 514 * WH_PAGE_SIZE, 515 * WH_PAGE_SIZE);
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

/* Post a write, and wait for room first where there is none. */
static void post_for_sure(struct wh_transport *link, uint64_t page, uint32_t pages)
{
	struct wh_event event;
	int r = post(link, page, pages, 0);

	while (r == WH_TX_FULL) {
		assert_int_equal(await(link, &event), 1);
		r = post(link, page, pages, 0);
	}
	assert_int_equal(r, 0);
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
		post_for_sure(p->source, at, pages);
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

		write_round(p, round, &random, sent);
		await_frame(p->target, &round, sizeof(round));
		for (uint32_t i = 0; i < PAGES; i++)
			if (sent[i])
				assert_int_equal(p->to.addr[i * (size_t)WH_PAGE_SIZE],
				                 (uint8_t)round);
		assert_int_equal(wh_transport_send(p->target, &round, sizeof(round)), 0);
		finish_round(p, round);
	}
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

/* --- a peer of our own ------------------------------------------------------------------------ */

struct raw {
	int fds[2];
	uint32_t count;
	struct wh_transport *target;
	struct memory to;
};

static int raw_connect(uint16_t port)
{
	const struct sockaddr_in to = { .sin_family = AF_INET,
		                        .sin_port = htons(port),
		                        .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	const int on = 1;

	assert_int_equal(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)), 0);
	assert_int_equal(connect(fd, (const struct sockaddr *)&to, sizeof(to)), 0);
	return fd;
}

static void raw_bytes(int fd, const void *data, size_t len)
{
	assert_int_equal(send(fd, data, len, MSG_NOSIGNAL), len);
}

static void raw_header(int fd, uint16_t type, uint32_t length, uint64_t offset)
{
	const struct wh_record record = {
		.type = type, .region = REGION, .length = length, .offset = offset
	};
	uint8_t bytes[WH_RECORD_HEADER];

	wh_record_encode(bytes, &record);
	raw_bytes(fd, bytes, sizeof(bytes));
}

static void raw_hello(int fd, uint16_t connection, uint16_t connections, const uint8_t *secret)
{
	struct wh_hello hello = { .connection = connection, .connections = connections };
	uint8_t bytes[WH_HELLO_BYTES];

	memcpy(hello.token, secret, sizeof(hello.token));
	wh_hello_encode(bytes, &hello);
	raw_header(fd, WH_RECORD_HELLO, sizeof(bytes), 0);
	raw_bytes(fd, bytes, sizeof(bytes));
}

/* Return: whether the other side said WELCOME rather than closing the connection. */
static bool raw_welcomed(int fd)
{
	uint8_t bytes[WH_RECORD_HEADER + WH_WELCOME_BYTES];

	return recv(fd, bytes, sizeof(bytes), MSG_WAITALL) == (ssize_t)sizeof(bytes) &&
	       wh_record_decode(bytes).type == WH_RECORD_WELCOME;
}

/* A FRAME record of one byte that waits for so many writes on each connection. */
static void raw_frame(struct raw *raw, const uint64_t posted[2])
{
	raw_header(raw->fds[0], WH_RECORD_FRAME, 8 * raw->count + 1, 0);
	raw_bytes(raw->fds[0], posted, 8ul * raw->count); /* little-endian, as this machine is */
	raw_bytes(raw->fds[0], "f", 1);
}

static void raw_open(struct raw *raw, uint16_t count)
{
	struct opener opener;
	uint16_t port = opener_start(&opener);

	raw->count = count;
	for (uint16_t i = 0; i < count; i++) {
		raw->fds[i] = raw_connect(port);
		raw_hello(raw->fds[i], i, count, token);
		assert_true(raw_welcomed(raw->fds[i]));
	}
	raw->target = opener_join(&opener);
	raw->to = new_memory(memfd_create("to", MFD_CLOEXEC));
	lend(raw->target, &raw->to);
}

static int setup_raw_one(void **state)
{
	static struct raw raw;

	raw = (struct raw){ .fds = { -1, -1 } };
	raw_open(&raw, 1);
	*state = &raw;
	return 0;
}

static int setup_raw_two(void **state)
{
	static struct raw raw;

	raw = (struct raw){ .fds = { -1, -1 } };
	raw_open(&raw, 2);
	*state = &raw;
	return 0;
}

static int teardown_raw(void **state)
{
	struct raw *raw = *state;

	raw->target = wh_transport_close(raw->target);
	wh_closep(&raw->fds[0]);
	wh_closep(&raw->fds[1]);
	memory_done(&raw->to);
	return 0;
}

static void a_stranger_is_refused_and_the_right_one_still_gets_in(void **state)
{
	struct wh_transport *link = NULL;
	struct opener opener;
	uint16_t port = opener_start(&opener);
	int fd;

	(void)state;
	fd = raw_connect(port);
	raw_hello(fd, 0, 1, wrong_token);
	assert_false(raw_welcomed(fd));
	wh_closep(&fd);
	fd = raw_connect(port);
	raw_bytes(fd, "GET / HTTP/1.1\r\nHost: example\r\n\r\n", 34);
	assert_false(raw_welcomed(fd));
	wh_closep(&fd);
	assert_true(connect_to(&link, port, 1, wrong_token) < 0);
	assert_null(link);

	assert_int_equal(connect_to(&link, port, 2, token), 0);
	opener.link = opener_join(&opener);
	assert_int_equal(wh_transport_send(link, "hello", 5), 0);
	await_frame(opener.link, "hello", 5);
	link = wh_transport_close(link);
	opener.link = wh_transport_close(opener.link);
}

static void a_frame_waits_for_writes_on_other_connections(void **state)
{
	struct raw *raw = *state;
	const uint8_t page[WH_PAGE_SIZE] = "late";
	struct wh_event event;

	raw_frame(raw, (uint64_t[]){ 0, 1 });
	raw_header(raw->fds[1], WH_RECORD_WRITE, sizeof(page), 0);
	assert_int_equal(wh_transport_poll(raw->target, &event, 1, in(A_MOMENT_NS)), 0);

	raw_bytes(raw->fds[1], page, sizeof(page));
	await_frame(raw->target, "f", 1);
	assert_string_equal(raw->to.addr, "late");
}

static void a_frame_whose_writes_can_come_no_more_is_a_lost_link(void **state)
{
	struct raw *raw = *state;
	struct wh_event event;

	raw_frame(raw, (uint64_t[]){ 0, 1 });
	wh_closep(&raw->fds[1]);
	wh_closep(&raw->fds[0]);
	assert_int_equal(await(raw->target, &event), -ECONNRESET);
}

static void a_peer_that_closes_in_mid_record_is_lost(void **state)
{
	static const uint8_t half[WH_PAGE_SIZE + 7];
	struct raw *raw = *state;
	struct wh_event event;

	raw_header(raw->fds[0], WH_RECORD_WRITE, 2 * WH_PAGE_SIZE, 0);
	raw_bytes(raw->fds[0], half, sizeof(half));
	wh_closep(&raw->fds[0]);
	assert_int_equal(await(raw->target, &event), -ECONNRESET);
}

static void a_peer_that_closes_in_mid_header_is_lost(void **state)
{
	struct raw *raw = *state;
	struct wh_event event;

	raw_bytes(raw->fds[0], "\x03", 1);
	wh_closep(&raw->fds[0]);
	assert_int_equal(await(raw->target, &event), -ECONNRESET);
}

static void memory_taken_back_in_mid_record_is_written_no_more(void **state)
{
	static const uint8_t page[WH_PAGE_SIZE] = "x";
	struct raw *raw = *state;
	struct wh_event event;

	raw_header(raw->fds[0], WH_RECORD_WRITE, 2 * WH_PAGE_SIZE, 0);
	raw_bytes(raw->fds[0], page, sizeof(page));
	for (uint64_t end = in(PATIENCE_NS); raw->to.addr[0] != 'x';) {
		assert_true(wh_now_ns(&wh_clock_monotonic) < end);
		assert_int_equal(wh_transport_poll(raw->target, &event, 1, in(WH_NSEC_PER_MSEC)),
		                 0);
	}

	wh_transport_unmap(raw->target, REGION);
	raw_bytes(raw->fds[0], page, sizeof(page));
	assert_int_equal(await(raw->target, &event), -EPROTO);
	assert_int_equal(raw->to.addr[WH_PAGE_SIZE], 0);
}

static void frames_that_wait_to_be_taken_outlive_a_good_end(void **state)
{
	struct raw *raw = *state;
	struct wh_event event;

	/* More than the receiving thread has room for while nobody polls. */
	for (int i = 0; i < 200; i++)
		raw_frame(raw, (uint64_t[]){ 0, 0 });
	wh_closep(&raw->fds[0]);
	(void)poll(NULL, 0, 30);

	for (int i = 0; i < 200; i++)
		await_frame(raw->target, "f", 1);
	assert_int_equal(await(raw->target, &event), 1);
	assert_int_equal(event.type, WH_EVENT_CLOSED);
}

static void records_that_break_the_rules_break_the_link(void **state)
{
	static const struct {
		uint16_t type;
		uint32_t length;
		uint64_t offset;
	} cases[] = {
		{ 0, 1, 0 },
		{ WH_RECORD_HELLO, WH_HELLO_BYTES, 0 },
		{ WH_RECORD_WELCOME, WH_WELCOME_BYTES, 0 },
		{ WH_RECORD_FRAME + 1, 1, 0 },
		{ WH_RECORD_FRAME, 0, 0 },
		{ WH_RECORD_FRAME, 8 * WH_CONNECTIONS_MAX + WH_FRAME_LEN_MAX + 1, 0 },
		{ WH_RECORD_WRITE, 0, 0 },
		{ WH_RECORD_WRITE, WH_PAGE_SIZE - 1, 0 },
		{ WH_RECORD_WRITE, WH_PAGE_SIZE, 1 },
		{ WH_RECORD_WRITE, WH_WRITE_LEN_MAX + WH_PAGE_SIZE, 0 },
		{ WH_RECORD_WRITE, WH_PAGE_SIZE, BYTES },
		{ WH_RECORD_WRITE, WH_PAGE_SIZE, UINT64_MAX - WH_PAGE_SIZE + 1 },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct raw raw = { .fds = { -1, -1 } };
		struct wh_event event;
		void *inner = &raw;

		raw_open(&raw, 1);
		raw_header(raw.fds[0], cases[i].type, cases[i].length, cases[i].offset);
		assert_int_equal(await(raw.target, &event), -EPROTO);
		assert_int_equal(teardown_raw(&inner), 0);
	}
	(void)state;
}

static void a_frame_belongs_on_the_first_connection(void **state)
{
	struct raw *raw = *state;
	struct wh_event event;

	raw_header(raw->fds[1], WH_RECORD_FRAME, 17, 0);
	raw_bytes(raw->fds[1], (uint8_t[17]){ 0 }, 17);
	assert_int_equal(await(raw->target, &event), -EPROTO);
}

static void a_frame_shorter_than_its_list_is_a_breach(void **state)
{
	struct raw *raw = *state;
	struct wh_event event;

	raw_header(raw->fds[0], WH_RECORD_FRAME, 16, 0);
	raw_bytes(raw->fds[0], (uint8_t[16]){ 0 }, 16);
	assert_int_equal(await(raw->target, &event), -EPROTO);
}

#define ONE(fn)                                                      \
	{                                                            \
#fn " (1 connection)", fn, setup_one, teardown, NULL \
	}
#define FOUR(fn)                                                       \
	{                                                              \
#fn " (4 connections)", fn, setup_four, teardown, NULL \
	}
#define BOTH(fn)    ONE(fn), FOUR(fn)
#define RAW_ONE(fn) cmocka_unit_test_setup_teardown(fn, setup_raw_one, teardown_raw)
#define RAW_TWO(fn) cmocka_unit_test_setup_teardown(fn, setup_raw_two, teardown_raw)

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
		cmocka_unit_test(a_full_tmpfs_is_enospc_at_the_receiver),
		cmocka_unit_test(a_stranger_is_refused_and_the_right_one_still_gets_in),
		RAW_TWO(a_frame_waits_for_writes_on_other_connections),
		RAW_TWO(a_frame_whose_writes_can_come_no_more_is_a_lost_link),
		RAW_ONE(a_peer_that_closes_in_mid_record_is_lost),
		RAW_ONE(a_peer_that_closes_in_mid_header_is_lost),
		RAW_ONE(memory_taken_back_in_mid_record_is_written_no_more),
		RAW_ONE(frames_that_wait_to_be_taken_outlive_a_good_end),
		cmocka_unit_test(records_that_break_the_rules_break_the_link),
		RAW_TWO(a_frame_belongs_on_the_first_connection),
		RAW_TWO(a_frame_shorter_than_its_list_is_a_breach),
	};

	/* A wait that never ends is a failure, too. */
	(void)alarm(60);
	return cmocka_run_group_tests_name("transport", tests, NULL, NULL);
}
