/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The limit is met within 2 %, by well-behaved senders without a drop and by others all the same.
 *
 * Senders are in the leaf and use loopback; what arrives is counted here, at the other end.
 */

#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "flow.h"
#include "lab.h"
#include "rate_bpf.h"
#include "wherry/clock.h"
#include "wherry/fdpass.h"

#define MIB         (UINT64_C(1) << 20)
#define MSEC        WH_NSEC_PER_MSEC
#define FOREVER_NS  (60 * WH_NSEC_PER_SEC)
#define SETTLE_NS   (300 * MSEC)
#define MEASURE_NS  (2000 * MSEC)
#define CHANGE_NS   (200 * MSEC) /* the promise: a change is felt within this time */
#define DATAGRAM    32768
#define UDP_BACKLOG (64 << 20)

static const struct lab *lab;

struct sender {
	struct sockaddr_in to;
	int connections;
	int fds[FLOW_MAX]; /* the receiving ends */
	pid_t pid;
};

static uint64_t now(void)
{
	return wh_now_ns(&wh_clock_monotonic);
}

static int tcp_sender(void *arg)
{
	const struct sender *s = arg;
	int fds[FLOW_MAX];

	if (flow_connect(&s->to, fds, s->connections) < 0)
		return EXIT_FAILURE;
	return flow_send(fds, s->connections, now() + FOREVER_NS) < 0 ? EXIT_FAILURE : 0;
}

static void start(struct sender *s, int connections)
{
	wh_cleanup(wh_closep) int listener = -1;

	*s = (struct sender){ .connections = connections };
	s->to.sin_family = AF_INET;
	s->to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	listener = flow_listen(&s->to);
	assert_true(listener >= 0);
	s->pid = lab_spawn(lab, tcp_sender, s);
	assert_int_equal(flow_accept(listener, s->fds, connections), 0);
}

static void stop(struct sender *s)
{
	for (int i = 0; i < s->connections; i++)
		wh_closep(&s->fds[i]);
	(void)kill(s->pid, SIGKILL);
	(void)lab_wait(s->pid);
}

/* Bytes per second that arrive in the next @duration_ns. */
static double measure(const struct sender *s, uint64_t duration_ns)
{
	uint64_t start_ns = now();
	int64_t bytes = flow_receive(s->fds, s->connections, start_ns + duration_ns);

	return (double)bytes * 1e9 / (double)(now() - start_ns);
}

static void assert_within(double rate, uint64_t limit, double percent)
{
	double ratio = rate / (double)limit;

	print_message("  %.3f of %llu MiB/s\n", ratio, (unsigned long long)(limit / MIB));
	assert_true(ratio >= 1 - percent / 100 && ratio <= 1 + percent / 100);
}

static void assert_no_drops(const struct wh_rate_bpf *rate)
{
	struct wh_rate_stats stats;

	wh_rate_bpf_stats(rate, &stats);
	assert_int_equal(stats.dropped_packets, 0);
	assert_true(stats.waits > 0);
	assert_true(stats.charged_bytes > 0);
}

static void meets(uint64_t limit, int connections)
{
	wh_cleanup(wh_rate_bpf_closep) struct wh_rate_bpf *rate = NULL;
	struct sender s;
	double got;

	assert_int_equal(wh_rate_bpf_open(&rate, lab->leaf->dir_fd, limit, NULL), 0);
	start(&s, connections);

	(void)measure(&s, SETTLE_NS);
	got = measure(&s, MEASURE_NS);

	stop(&s);
	assert_within(got, limit, 2);
	assert_no_drops(rate);
}

static void one_connection_meets_64_mib(void **state)
{
	(void)state;
	meets(64 * MIB, 1);
}

static void four_connections_meet_512_mib(void **state)
{
	(void)state;
	meets(512 * MIB, 4);
}

static void sixteen_connections_meet_32_mib(void **state)
{
	(void)state;
	meets(32 * MIB, 16);
}

static void open_connections_feel_a_new_limit(void **state)
{
	wh_cleanup(wh_rate_bpf_closep) struct wh_rate_bpf *rate = NULL;
	struct wh_error err = { 0 };
	struct sender s;
	double before, after;
	int r;

	(void)state;
	assert_int_equal(wh_rate_bpf_open(&rate, lab->leaf->dir_fd, 0, NULL), 0);
	start(&s, 4);

	before = measure(&s, SETTLE_NS);
	r = wh_rate_bpf_set(rate, 64 * MIB, &err);
	(void)measure(&s, CHANGE_NS);
	after = measure(&s, MEASURE_NS);

	stop(&s);
	if (r == -EOPNOTSUPP) {
		print_message("  %s\n", err.text);
		skip();
	}
	assert_int_equal(r, 0);
	assert_true(before > 256 * MIB);
	assert_within(after, 64 * MIB, 2);
	assert_no_drops(rate);
}

static void connections_feel_lower_higher_and_no_limit(void **state)
{
	wh_cleanup(wh_rate_bpf_closep) struct wh_rate_bpf *rate = NULL;
	struct sender s;
	double lower, higher, unlimited, again;

	(void)state;
	assert_int_equal(wh_rate_bpf_open(&rate, lab->leaf->dir_fd, 256 * MIB, NULL), 0);
	start(&s, 4);
	(void)measure(&s, SETTLE_NS);

	assert_int_equal(wh_rate_bpf_set(rate, 32 * MIB, NULL), 0);
	(void)measure(&s, CHANGE_NS);
	lower = measure(&s, MEASURE_NS / 2);
	assert_int_equal(wh_rate_bpf_set(rate, 256 * MIB, NULL), 0);
	(void)measure(&s, CHANGE_NS);
	higher = measure(&s, MEASURE_NS / 2);
	assert_int_equal(wh_rate_bpf_set(rate, 0, NULL), 0);
	(void)measure(&s, CHANGE_NS);
	unlimited = measure(&s, MEASURE_NS / 2);
	assert_int_equal(wh_rate_bpf_set(rate, 128 * MIB, NULL), 0);
	(void)measure(&s, CHANGE_NS);
	again = measure(&s, MEASURE_NS / 2);

	stop(&s);
	assert_within(lower, 32 * MIB, 3); /* half the time: a super-packet counts twice */
	assert_within(higher, 256 * MIB, 3);
	assert_true(unlimited > 512 * MIB);
	assert_within(again, 128 * MIB, 3);
	assert_no_drops(rate);
}

static int udp_sender(void *arg)
{
	static const char data[DATAGRAM];
	const struct sender *s = arg;
	const struct timespec pause = { .tv_nsec = 50000 };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || connect(fd, (const struct sockaddr *)&s->to, sizeof(s->to)) < 0)
		return EXIT_FAILURE;
	/* This ends when the test kills it. Sleeping a little leaves the others the CPU. */
	for (;;)
		if (send(fd, data, sizeof(data), 0) < 0)
			(void)nanosleep(&pause, NULL);
}

/* Bytes per second of datagrams that arrive in the next @duration_ns. */
static double measure_datagrams(int fd, uint64_t duration_ns)
{
	uint64_t start_ns = now();
	int64_t bytes = 0;

	while (now() < start_ns + duration_ns) {
		ssize_t n = recv(fd, NULL, 0, MSG_TRUNC);

		if (n > 0)
			bytes += n;
	}
	return (double)bytes * 1e9 / (double)(now() - start_ns);
}

static void a_sender_that_does_not_wait_meets_the_backstop(void **state)
{
	wh_cleanup(wh_rate_bpf_closep) struct wh_rate_bpf *rate = NULL;
	struct sender s = { .connections = 1 };
	struct wh_rate_stats stats;
	int buffer = UDP_BACKLOG;
	socklen_t len = sizeof(s.to);
	double got;

	(void)state;
	s.to.sin_family = AF_INET;
	s.to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	s.fds[0] = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(s.fds[0], (struct sockaddr *)&s.to, len), 0);
	assert_int_equal(getsockname(s.fds[0], (struct sockaddr *)&s.to, &len), 0);
	assert_int_equal(setsockopt(s.fds[0], SOL_SOCKET, SO_RCVBUFFORCE, &buffer, sizeof(buffer)),
	                 0);
	assert_int_equal(wh_rate_bpf_open(&rate, lab->leaf->dir_fd, 64 * MIB, NULL), 0);
	s.pid = lab_spawn(lab, udp_sender, &s);

	(void)measure_datagrams(s.fds[0], SETTLE_NS);
	got = measure_datagrams(s.fds[0], MEASURE_NS);

	stop(&s);
	wh_rate_bpf_stats(rate, &stats);
	assert_within(got, 64 * MIB, 2);
	assert_true(stats.dropped_packets > 0);
}

static void limits_that_mean_nothing_are_refused(void **state)
{
	struct wh_rate_bpf *rate = NULL;
	struct wh_error err;

	(void)state;
	assert_int_equal(wh_rate_bpf_open(&rate, lab->leaf->dir_fd, 1023, &err), -ERANGE);

	assert_null(rate);
	assert_string_equal(err.text,
	                    "cannot limit the bandwidth: the least limit is 1024 bytes/s, "
	                    "not 1023");
}

static int body(const struct lab *where)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_connection_meets_64_mib),
		cmocka_unit_test(four_connections_meet_512_mib),
		cmocka_unit_test(sixteen_connections_meet_32_mib),
		cmocka_unit_test(open_connections_feel_a_new_limit),
		cmocka_unit_test(connections_feel_lower_higher_and_no_limit),
		cmocka_unit_test(a_sender_that_does_not_wait_meets_the_backstop),
		cmocka_unit_test(limits_that_mean_nothing_are_refused),
	};

	lab = where;
	return cmocka_run_group_tests_name("bucket_rate", tests, NULL, NULL);
}

int main(void)
{
	return lab_run("rate", body);
}
