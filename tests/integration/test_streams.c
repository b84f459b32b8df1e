/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Two real wherry-tunnels carry streams as between two hosts: one connects, from within a limited
 * cgroup; the other is given what the test has accepted.
 *
 *	near ===unix=== tunnel ===TCP, in a network namespace=== tunnel ===unix=== far
 */

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "flow.h"
#include "lab.h"
#include "random.h"
#include "rate_bpf.h"
#include "streams.h"
#include "wherry/clock.h"
#include "wherry/fdpass.h"

#define MIB          (1u << 20)
#define STREAMS      16
#define LINE         "stream 7"
#define LIMIT        (UINT64_C(64) * MIB)
#define SETTLE_NS    (300 * WH_NSEC_PER_MSEC)
#define MEASURE_NS   (2 * WH_NSEC_PER_SEC)
#define ATTEMPTS     3
#define QUIET_TURNS  3000 /* of 10 ms, until what does not come is missed */
#define RANDOM_BYTES MIB

/* One end of a stream, in this process. What it says is the random bytes, from its own place on. */
struct end {
	int fd;
	size_t place;
	size_t total; /* to say */
	size_t said;
	size_t heard;
	bool close_after; /* it has no more to say then */
	bool ended;       /* the other has no more to say */
};

struct stream {
	struct end near, far;
};

static const struct lab *lab;
static char *program;
static uint8_t noise[RANDOM_BYTES];

/* Of the running test; teardown() ends them, also when it failed. */
static struct {
	sd_event *loop;
	struct wh_streams *here, *there;
	struct wh_rate_bpf *rate;
	struct stream streams[STREAMS];
	struct sockaddr_in address;
	int listener;
	pid_t feeder;
	char refused[WH_ERROR_TEXT_MAX];
	char failed[WH_ERROR_TEXT_MAX];
} now;

static void on_refused(void *ctx, const char *why)
{
	(void)ctx;
	(void)snprintf(now.refused, sizeof(now.refused), "%s", why);
}

static void on_failed(void *ctx, const char *why)
{
	(void)ctx;
	(void)snprintf(now.failed, sizeof(now.failed), "%s", why);
}

static struct wh_streams *start(int procs_fd, const int *hold_fds, size_t hold_count)
{
	const struct wh_streams_config cfg = {
		.loop = now.loop,
		.program = program,
		.procs_fd = procs_fd,
		.hold_fds = hold_fds,
		.hold_count = hold_count,
		.refused = on_refused,
		.failed = on_failed,
	};
	struct wh_streams *streams;
	struct wh_error err = { "" };

	if (wh_streams_open(&streams, &cfg, &err) < 0)
		fail_msg("%s", err.text);
	return streams;
}

static void start_here(const int *hold_fds, size_t hold_count)
{
	wh_cleanup(wh_closep) int procs_fd = wh_cgroup_procs(lab->leaf, NULL);

	assert_true(procs_fd >= 0);
	now.here = start(procs_fd, hold_fds, hold_count);
}

static int setup(void **state)
{
	(void)state;
	memset(&now, 0, sizeof(now));
	for (int i = 0; i < STREAMS; i++)
		now.streams[i].near.fd = now.streams[i].far.fd = -1;
	assert_true(sd_event_new(&now.loop) >= 0);
	now.address.sin_family = AF_INET;
	now.address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	now.listener = flow_listen(&now.address);
	assert_true(now.listener >= 0);
	now.there = start(-1, NULL, 0);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	if (now.feeder > 0) {
		(void)kill(now.feeder, SIGKILL);
		(void)lab_wait(now.feeder);
	}
	now.here = wh_streams_close(now.here);
	now.there = wh_streams_close(now.there);
	now.rate = wh_rate_bpf_close(now.rate);
	for (int i = 0; i < STREAMS; i++) {
		wh_closep(&now.streams[i].near.fd);
		wh_closep(&now.streams[i].far.fd);
	}
	wh_closep(&now.listener);
	now.loop = sd_event_unref(now.loop);
	return 0;
}

static void pair(int *ours, int *theirs)
{
	int sv[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
	*ours = sv[0];
	*theirs = sv[1];
}

static void connect_near(struct end *near)
{
	struct wh_stream_to to = { .interface = "lo", .first_line = LINE };
	int theirs;

	to.address.v4 = now.address;
	pair(&near->fd, &theirs);
	wh_streams_connect(now.here, theirs, &to);
}

/* Accept, and read the first line, as a wherryd would. */
static int accept_far(void)
{
	char line[sizeof(LINE)];
	int fd;

	assert_int_equal(flow_accept(now.listener, &fd, 1), 0);
	assert_int_equal(recv(fd, line, sizeof(line), MSG_WAITALL), sizeof(line));
	assert_memory_equal(line, LINE "\n", sizeof(line));
	return fd;
}

static void join_far(struct end *far, int fd, const char *early)
{
	int theirs;

	pair(&far->fd, &theirs);
	wh_streams_join(now.there, fd, theirs, early, strlen(early));
}

static void open_stream(struct stream *s)
{
	connect_near(&s->near);
	join_far(&s->far, accept_far(), "");
}

static void open_one(struct stream **ret)
{
	start_here(NULL, 0);
	open_stream(&now.streams[0]);
	*ret = &now.streams[0];
}

/* Let what is to come to the loop come, for some ms. */
static void turn(struct pollfd *set, nfds_t count)
{
	(void)poll(set, count, 10);
	while (sd_event_run(now.loop, 0) > 0)
		;
}

/* Wait for the next bytes, the end or an error, at @fd. Return: as recv(). */
static ssize_t hear(int fd, void *data, size_t len)
{
	for (int i = 0; i < QUIET_TURNS; i++) {
		struct pollfd set = { .fd = fd, .events = POLLIN };
		ssize_t n;

		turn(&set, 1);
		n = recv(fd, data, len, MSG_DONTWAIT);
		if (n >= 0 || errno != EAGAIN)
			return n;
	}
	fail_msg("nothing comes");
	return -1;
}

static void assert_hears(int fd, const char *text)
{
	char in[64];
	size_t len = 0;

	while (len < strlen(text)) {
		ssize_t n = hear(fd, in + len, strlen(text) - len);

		assert_true(n > 0);
		len += (size_t)n;
	}
	assert_memory_equal(in, text, len);
}

static void assert_hears_the_end(int fd)
{
	char in[1];

	assert_int_equal(hear(fd, in, sizeof(in)), 0);
}

static void say(int fd, const char *text)
{
	assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

/* Bytes of the noise at @at, up to its end. */
static size_t chunk(size_t place, size_t at, size_t most, const uint8_t **ret)
{
	const size_t offset = (place + at) % RANDOM_BYTES;

	*ret = noise + offset;
	return most < RANDOM_BYTES - offset ? most : RANDOM_BYTES - offset;
}

static bool speak(struct end *e)
{
	const uint8_t *data;
	size_t len = chunk(e->place, e->said, e->total - e->said, &data);
	ssize_t n;

	if (len == 0)
		return false;
	n = send(e->fd, data, len, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (n <= 0)
		return false;
	e->said += (size_t)n;
	if (e->said == e->total && e->close_after)
		assert_int_equal(shutdown(e->fd, SHUT_WR), 0);
	return true;
}

static bool listen_to(struct end *e, const struct end *other)
{
	static uint8_t data[256 << 10];
	const uint8_t *expected;
	size_t len = chunk(other->place, e->heard, sizeof(data), &expected);
	ssize_t n = e->ended ? -1 : recv(e->fd, data, len, MSG_DONTWAIT);

	if (n < 0)
		return false;
	assert_true(memcmp(data, expected, (size_t)n) == 0);
	e->heard += (size_t)n;
	e->ended = n == 0;
	return true;
}

static bool is_through(const struct end *e, const struct end *other)
{
	return e->heard == other->total && e->ended == other->close_after;
}

/* An end of file could be read all the time. */
static struct pollfd to_wait_for(const struct end *e)
{
	return (struct pollfd){ .fd = e->ended ? -1 : e->fd, .events = POLLIN };
}

/* Have both ends of @count streams say all they have, and hear it. */
static void carry(size_t count)
{
	struct pollfd set[2 * STREAMS];
	size_t through = 0;

	for (int quiet = 0; through < count && quiet < QUIET_TURNS; quiet++) {
		through = 0;
		for (size_t i = 0; i < count; i++) {
			struct end *near = &now.streams[i].near, *far = &now.streams[i].far;

			/* Every one of them, so that all are in use at once. */
			if (speak(near) + speak(far) + listen_to(near, far) + listen_to(far, near) >
			    0)
				quiet = 0;
			set[2 * i] = to_wait_for(near);
			set[2 * i + 1] = to_wait_for(far);
			through += is_through(near, far) && is_through(far, near);
		}
		if (quiet > 0)
			turn(set, 2 * count);
	}
	assert_int_equal(through, count);
}

static void random_bytes_pass_both_ways_behind_the_first_line(void **state)
{
	struct stream *s;
	uint64_t sent, received;

	(void)state;
	open_one(&s);
	s->near = (struct end){
		.fd = s->near.fd, .place = 1000, .total = 48 * MIB + 13, .close_after = true
	};
	s->far = (struct end){
		.fd = s->far.fd, .place = 77777, .total = 32 * MIB + 7, .close_after = true
	};

	carry(1);

	wh_streams_bytes(now.here, &sent, &received);
	assert_int_equal(sent, s->near.total + strlen(LINE "\n"));
	assert_int_equal(received, s->far.total);
	wh_streams_bytes(now.there, &sent, &received);
	assert_int_equal(sent, s->far.total);
	assert_int_equal(received, s->near.total);
}

static void sixteen_streams_do_not_mix(void **state)
{
	(void)state;
	start_here(NULL, 0);
	for (size_t i = 0; i < STREAMS; i++) {
		struct stream *s = &now.streams[i];

		open_stream(s);
		s->near.place = i * 10007;
		s->far.place = i * 20011 + 5;
		s->near.total = (2 + i % 5) * MIB + i;
		s->far.total = (1 + i % 3) * MIB + i;
		s->near.close_after = i % 2;
		s->far.close_after = i % 3 == 0;
	}

	carry(STREAMS);
}

static void streams_can_follow_each_other_without_end(void **state)
{
	struct stream *s = &now.streams[0];

	(void)state;
	start_here(NULL, 0);
	for (uint32_t i = 0; i < 3 * WH_STREAMS_MAX; i++) {
		open_stream(s);
		say(s->near.fd, "there");
		assert_hears(s->far.fd, "there");
		wh_closep(&s->near.fd);
		assert_hears_the_end(s->far.fd);
		wh_closep(&s->far.fd);
	}
	assert_string_equal(now.refused, "");
}

static void what_came_early_goes_first(void **state)
{
	struct stream *s = &now.streams[0];
	int fd;

	(void)state;
	start_here(NULL, 0);
	connect_near(&s->near);
	fd = accept_far();
	say(s->near.fd, "late");
	join_far(&s->far, fd, "early, ");

	assert_hears(s->far.fd, "early, late");
}

static void half_a_close_leaves_the_other_way_open(void **state)
{
	struct stream *s;

	(void)state;
	open_one(&s);
	say(s->near.fd, "question");
	assert_int_equal(shutdown(s->near.fd, SHUT_WR), 0);
	assert_hears(s->far.fd, "question");
	assert_hears_the_end(s->far.fd);

	say(s->far.fd, "answer");
	assert_hears(s->near.fd, "answer");
	wh_closep(&s->far.fd);
	assert_hears_the_end(s->near.fd);
}

/* Say until nothing more is taken. */
static void stuff(struct end *e)
{
	int quiet = 0;

	e->total = SIZE_MAX;
	while (quiet < 20) {
		quiet = speak(e) ? 0 : quiet + 1;
		if (quiet > 0)
			turn(NULL, 0);
	}
}

static void assert_cannot_say(int fd)
{
	for (int i = 0; i < QUIET_TURNS; i++) {
		if (send(fd, "x", 1, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 && errno != EAGAIN)
			return;
		turn(NULL, 0);
	}
	fail_msg("it is still taken");
}

static void an_end_that_is_gone_is_heard_by_one_that_was_stuck(void **state)
{
	struct stream *s;

	(void)state;
	open_one(&s);
	say(s->far.fd, "last words");
	stuff(&s->near);
	wh_closep(&s->far.fd);

	assert_hears(s->near.fd, "last words");
	assert_cannot_say(s->near.fd);
}

static void all_that_was_said_before_the_end_is_heard(void **state)
{
	struct stream *s;
	size_t said;

	(void)state;
	open_one(&s);
	stuff(&s->near);
	said = s->near.said;
	wh_closep(&s->near.fd);

	for (int quiet = 0; !s->far.ended && quiet < QUIET_TURNS; quiet++)
		if (listen_to(&s->far, &s->near))
			quiet = 0;
		else
			turn(NULL, 0);
	assert_true(s->far.ended);
	assert_int_equal(s->far.heard, said);
}

static void a_killed_tunnel_is_heard_by_the_other_host(void **state)
{
	struct stream *s;

	(void)state;
	open_one(&s);
	stuff(&s->near);
	now.there = wh_streams_close(now.there);

	assert_cannot_say(s->near.fd);
}

static void a_killed_tunnel_is_told_and_its_streams_end(void **state)
{
	struct stream *s;

	(void)state;
	open_one(&s);
	say(s->near.fd, "words");
	assert_hears(s->far.fd, "words");
	assert_int_equal(wh_cgroup_kill(lab->leaf,
	                                wh_now_ns(&wh_clock_monotonic) + 5 * WH_NSEC_PER_SEC, NULL),
	                 0);

	assert_hears_the_end(s->near.fd);
	assert_hears_the_end(s->far.fd);
	for (int i = 0; i < QUIET_TURNS && !*now.failed; i++)
		turn(NULL, 0);
	assert_string_equal(now.failed, "the tunnel was killed by signal 9 (Killed)");
}

static void a_port_without_a_listener_ends_the_local_socket(void **state)
{
	struct end *near = &now.streams[0].near;

	(void)state;
	start_here(NULL, 0);
	wh_closep(&now.listener);
	connect_near(near);

	assert_hears_the_end(near->fd);
	for (int i = 0; i < QUIET_TURNS && !*now.refused; i++)
		turn(NULL, 0);
	assert_string_equal(now.refused, "cannot connect: Connection refused");
}

static void a_peer_that_does_not_accept_ends_the_local_socket(void **state)
{
	struct end *near = &now.streams[0].near;
	int first;

	(void)state;
	start_here(NULL, 0);
	/* One that waits to be accepted fills the queue, and the kernel answers no other. */
	assert_int_equal(listen(now.listener, 0), 0);
	assert_int_equal(flow_connect(&now.address, &first, 1), 0);
	connect_near(near);

	assert_hears_the_end(near->fd);
	for (int i = 0; i < QUIET_TURNS && !*now.refused; i++)
		turn(NULL, 0);
	assert_string_equal(now.refused, "cannot connect: Connection timed out");
	wh_closep(&first);
}

static void streams_beyond_the_limit_are_refused(void **state)
{
	const size_t last = WH_STREAMS_MAX; /* which is one too many */
	int ends[2 * (WH_STREAMS_MAX + 1)];

	(void)state;
	for (size_t i = 0; i <= last; i++) {
		int a, b;

		pair(&ends[2 * i], &a);
		pair(&ends[2 * i + 1], &b);
		wh_streams_join(now.there, a, b, NULL, 0);
	}

	assert_hears_the_end(ends[2 * last]);
	for (int i = 0; i < QUIET_TURNS && !*now.refused; i++)
		turn(NULL, 0);
	assert_string_equal(now.refused, "cannot carry a stream: too many streams already");
	say(ends[0], "works");
	assert_hears(ends[1], "works");
	for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++)
		wh_closep(&ends[i]);
}

static pid_t pid_in_leaf(void)
{
	wh_cleanup(wh_closep) int fd =
		openat(lab->leaf->dir_fd, "cgroup.procs", O_RDONLY | O_CLOEXEC);
	char text[32] = "";

	assert_true(fd >= 0);
	assert_true(read(fd, text, sizeof(text) - 1) > 0);
	return (pid_t)strtol(text, NULL, 10);
}

static void the_process_has_no_privilege(void **state)
{
	struct stream *s;
	char path[64], text[4096] = "";
	FILE *file;

	(void)state;
	open_one(&s); /* it carries, so it has given up what it had */
	(void)snprintf(path, sizeof(path), "/proc/%d/status", pid_in_leaf());
	file = fopen(path, "re");
	assert_non_null(file);
	assert_true(fread(text, 1, sizeof(text) - 1, file) > 0);
	(void)fclose(file);

	assert_non_null(strstr(text, "\nUid:\t65534\t65534\t65534\t65534\n"));
	assert_non_null(strstr(text, "\nGid:\t65534\t65534\t65534\t65534\n"));
	assert_non_null(strstr(text, "\nGroups:\t \n"));
	assert_non_null(strstr(text, "\nCapPrm:\t0000000000000000\n"));
	assert_non_null(strstr(text, "\nCapEff:\t0000000000000000\n"));
	assert_non_null(strstr(text, "\nNoNewPrivs:\t1\n"));
	assert_non_null(strstr(text, "\nSeccomp:\t2\n"));
}

/* Says more than any limit lets through, until it is killed. */
static pid_t feed(int fd)
{
	pid_t pid = fork();

	assert_true(pid >= 0);
	/* Ends when the other end does. */
	while (pid == 0)
		if (send(fd, noise, sizeof(noise), MSG_NOSIGNAL) < 0)
			_exit(0);
	return pid;
}

/* What arrives in some time, as a part of the limit. */
static double measure(int fd)
{
	uint64_t start_ns = wh_now_ns(&wh_clock_monotonic);
	int64_t bytes = flow_receive(&fd, 1, start_ns + MEASURE_NS);

	return (double)bytes * 1e9 / (double)(wh_now_ns(&wh_clock_monotonic) - start_ns) /
	       (double)LIMIT;
}

/* As test_bucket_rate: want of CPU can make it less for a time, but nothing may ever make it more. */
static void the_limit_of_the_cgroup_holds(void **state)
{
	struct wh_rate_stats stats;
	int links[WH_RATE_LINKS];
	double ratio = 0;
	int fd;

	(void)state;
	assert_int_equal(wh_rate_bpf_open(&now.rate, lab->leaf->dir_fd, LIMIT, NULL), 0);
	start_here(links, wh_rate_bpf_links(now.rate, links));
	connect_near(&now.streams[0].near);
	fd = accept_far();
	now.feeder = feed(now.streams[0].near.fd);
	(void)flow_receive(&fd, 1, wh_now_ns(&wh_clock_monotonic) + SETTLE_NS);

	for (int attempt = 0; attempt < ATTEMPTS && ratio < 0.98; attempt++) {
		ratio = measure(fd);
		print_message("# %.3f of 64 MiB/s\n", ratio);
		assert_true(ratio <= 1.02);
	}
	assert_true(ratio >= 0.98);
	wh_rate_bpf_stats(now.rate, &stats);
	assert_int_equal(stats.dropped_packets, 0);
	assert_true(stats.waits > 0);
	wh_closep(&fd);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

static int body(const struct lab *where)
{
	const struct CMUnitTest tests[] = {
		TEST(random_bytes_pass_both_ways_behind_the_first_line),
		TEST(sixteen_streams_do_not_mix),
		TEST(streams_can_follow_each_other_without_end),
		TEST(what_came_early_goes_first),
		TEST(half_a_close_leaves_the_other_way_open),
		TEST(an_end_that_is_gone_is_heard_by_one_that_was_stuck),
		TEST(all_that_was_said_before_the_end_is_heard),
		TEST(a_killed_tunnel_is_heard_by_the_other_host),
		TEST(a_killed_tunnel_is_told_and_its_streams_end),
		TEST(a_port_without_a_listener_ends_the_local_socket),
		TEST(a_peer_that_does_not_accept_ends_the_local_socket),
		TEST(streams_beyond_the_limit_are_refused),
		TEST(the_process_has_no_privilege),
		TEST(the_limit_of_the_cgroup_holds),
	};
	uint64_t seed = random_seed();

	lab = where;
	for (size_t i = 0; i < sizeof(noise); i++)
		noise[i] = (uint8_t)random_below(&seed, 256);
	return cmocka_run_group_tests_name("streams", tests, NULL, NULL);
}

/* The program to test is the argument. */
int main(int argc, char **argv)
{
	if (argc != 2)
		return EXIT_FAILURE;
	program = argv[1];
	return lab_run("streams", body);
}
