/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The bucket that packets are charged to can be charged from user space as well, by a process that may
 * not call bpf(2): a TCP sender and one that only takes tokens keep the limit together.
 *
 * The sender is in the leaf and uses loopback; what arrives is counted here, at the other end. The taker
 * stands for an adapter that passes no hook of the kernel.
 */

#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "flow.h"
#include "lab.h"
#include "rate.h"
#include "rate_bpf.h"
#include "sandbox.h"
#include "token_bucket.h"

#include "wherry/clock.h"
#include "wherry/fdpass.h"

#define MIB        (UINT64_C(1) << 20)
#define MSEC       WH_NSEC_PER_MSEC
#define LIMIT      (64 * MIB)
#define SETTLE_NS  (500 * MSEC)
#define MEASURE_NS (2000 * MSEC)
#define ATTEMPTS   5

struct taken {
	_Atomic uint64_t bytes;
	_Atomic bool ready;
};

static const struct lab *lab;

/* Of the running test; teardown() ends them, also when it failed. */
static struct wh_rate_bpf *rate;
static struct taken *taken; /* shared with the taker */
static pid_t sender_pid;
static pid_t taker_pid;
static int receiving = -1;

static uint64_t now(void)
{
	return wh_now_ns(&wh_clock_monotonic);
}

static int sender(void *arg)
{
	int fd;

	if (flow_connect(arg, &fd, 1) < 0)
		return EXIT_FAILURE;
	return flow_send(&fd, 1, UINT64_MAX) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* The mover's part: map the bucket, give up bpf(2), take. */
static _Noreturn void take(int map_fd)
{
	struct wh_rate flow = { .bucket = mmap(NULL, sizeof(struct wh_bucket),
		                               PROT_READ | PROT_WRITE, MAP_SHARED, map_fd, 0) };

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (flow.bucket == MAP_FAILED || close(map_fd) < 0 || wh_sandbox_enter(NULL) < 0 ||
	    syscall(SYS_bpf, 0, NULL, 0) >= 0 || errno != EPERM)
		_exit(EXIT_FAILURE);
	taken->ready = true;
	/* This ends when the test kills it. */
	for (;;) {
		const uint32_t bytes = wh_rate_write_max(&flow);
		const uint64_t wait = wh_rate_take(&flow, bytes, now());
		const struct timespec pause = { .tv_nsec = (long)wait };

		if (wait > 0) {
			(void)nanosleep(&pause, NULL);
		} else {
			wh_rate_done(&flow, bytes);
			taken->bytes += bytes;
		}
	}
}

static void start_taker(void)
{
	int map_fd = -1;

	assert_int_equal(wh_rate_bpf_share(rate, &map_fd, NULL), 0);
	taken = mmap(NULL, sizeof(*taken), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
	             0);
	assert_true(taken != MAP_FAILED);
	taker_pid = fork();
	assert_true(taker_pid >= 0);
	if (taker_pid == 0)
		take(map_fd);
}

static void start_sender(void)
{
	static struct sockaddr_in to;
	int listener;

	to = (struct sockaddr_in){ .sin_family = AF_INET };
	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	listener = flow_listen(&to);
	assert_true(listener >= 0);
	sender_pid = lab_spawn(lab, sender, &to);
	assert_int_equal(flow_accept(listener, &receiving, 1), 0);
	wh_closep(&listener);
}

static int teardown(void **state)
{
	(void)state;
	rate = wh_rate_bpf_close(rate);
	wh_closep(&receiving);
	for (pid_t *pid = &sender_pid; pid; pid = pid == &sender_pid ? &taker_pid : NULL) {
		if (*pid > 0) {
			(void)kill(*pid, SIGKILL);
			(void)lab_wait(*pid);
		}
		*pid = 0;
	}
	if (taken)
		(void)munmap(taken, sizeof(*taken));
	taken = NULL;
	return 0;
}

/* What each of both got of LIMIT within @duration_ns. */
struct shares {
	double sent, took;
};

static struct shares measure(uint64_t duration_ns)
{
	const uint64_t start_ns = now();
	const uint64_t before = taken->bytes;
	int64_t received = 0;
	uint64_t took;
	double all;

	if (receiving >= 0) {
		received = flow_receive(&receiving, 1, start_ns + duration_ns);
	} else {
		const struct timespec pause = { .tv_sec = (time_t)(duration_ns / WH_NSEC_PER_SEC),
			                        .tv_nsec = (long)(duration_ns % WH_NSEC_PER_SEC) };
		(void)nanosleep(&pause, NULL);
	}
	took = taken->bytes - before;
	all = (double)LIMIT * (double)(now() - start_ns) / 1e9;
	return (struct shares){ .sent = (double)received / all, .took = (double)took / all };
}

/* As in test_bucket_rate: too little is measured again, and too much fails at once. */
static struct shares assert_meets(void)
{
	struct shares s = { 0 };

	(void)measure(SETTLE_NS);
	for (int i = 0; i < ATTEMPTS && s.sent + s.took < 0.97; i++) {
		s = measure(MEASURE_NS);
		print_message("  TCP %.3f, tokens %.3f of the limit\n", s.sent, s.took);
		assert_true(s.sent + s.took <= 1.03);
	}
	assert_true(s.sent + s.took >= 0.97);
	return s;
}

static void tokens_alone_meet_the_limit(void **state)
{
	struct wh_rate_stats stats;

	(void)state;
	assert_int_equal(wh_rate_bpf_open(&rate, lab->leaf->dir_fd, LIMIT, NULL), 0);
	start_taker();

	(void)assert_meets();

	assert_true(taken->ready);
	wh_rate_bpf_stats(rate, &stats);
	assert_true(stats.charged_bytes >= taken->bytes / 100 * 99);
}

static void tcp_and_tokens_together_meet_the_limit(void **state)
{
	struct wh_rate_stats stats;
	struct shares s;

	(void)state;
	assert_int_equal(wh_rate_bpf_open(&rate, lab->leaf->dir_fd, LIMIT, NULL), 0);
	start_taker();
	start_sender();

	s = assert_meets();

	/* Neither takes it all. */
	assert_true(s.sent > 0.1);
	assert_true(s.took > 0.1);
	wh_rate_bpf_stats(rate, &stats);
	assert_int_equal(stats.dropped_packets, 0);
}

static void a_limit_set_later_is_felt_by_who_has_the_bucket(void **state)
{
	uint64_t before;

	(void)state;
	assert_int_equal(wh_rate_bpf_open(&rate, lab->leaf->dir_fd, 0, NULL), 0);
	start_taker();
	(void)measure(SETTLE_NS);
	before = taken->bytes;
	assert_int_equal(wh_rate_bpf_set(rate, LIMIT, NULL), 0);

	(void)assert_meets();

	assert_true(before > 4 * LIMIT); /* without a limit it only counts */
}

#define TEST(fn) cmocka_unit_test_teardown(fn, teardown)

static int body(const struct lab *where)
{
	const struct CMUnitTest tests[] = {
		TEST(tokens_alone_meet_the_limit),
		TEST(tcp_and_tokens_together_meet_the_limit),
		TEST(a_limit_set_later_is_felt_by_who_has_the_bucket),
	};

	lab = where;
	return cmocka_run_group_tests_name("bucket_shared", tests, NULL, NULL);
}

int main(void)
{
	return lab_run("bucket-shared", body);
}
