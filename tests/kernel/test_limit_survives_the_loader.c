/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The limit lives in descriptors: it stays when the process that loaded it is killed, as long as
 * another one holds the links, and it goes when the last one closes them. Holding is power:
 * without a sandbox, a holder can also detach them.
 */

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <bpf/bpf.h>

#include <cmocka.h>

#include "flow.h"
#include "lab.h"
#include "rate_bpf.h"
#include "wherry/clock.h"
#include "wherry/fdpass.h"

#define NOBODY     65534
#define LIMIT      (UINT64_C(64) << 20)
#define SETTLE_NS  (300 * WH_NSEC_PER_MSEC)
#define MEASURE_NS (1500 * WH_NSEC_PER_MSEC)

static const struct lab *lab;

/* The daemon's part: load the limit, hand over the links, and wait to be killed. */
static _Noreturn void loader(int sock)
{
	struct wh_rate_bpf *rate = NULL;
	int links[WH_RATE_LINKS];
	char hello = 0;
	struct wh_fdpass msg = { .data = &hello, .len = 1, .fds = links };

	if (wh_rate_bpf_open(&rate, lab->leaf->dir_fd, LIMIT, NULL) < 0)
		_exit(EXIT_FAILURE);
	msg.fd_count = wh_rate_bpf_links(rate, links);
	if (wh_fdpass_send(sock, &msg) < 0)
		_exit(EXIT_FAILURE);
	for (;;)
		(void)pause();
}

/* Have a process load the limit and kill it. @links receives what is left of the limit. */
static void load_and_kill(int links[WH_RATE_LINKS])
{
	char hello;
	struct wh_fdpass msg = {
		.data = &hello, .len = 1, .fds = links, .fd_count = WH_RATE_LINKS
	};
	int socks[2];
	pid_t pid;

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, socks), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		loader(socks[1]);
	wh_closep(&socks[1]);
	assert_int_equal(wh_fdpass_recv(socks[0], &msg), 1);
	assert_int_equal(msg.fd_count, WH_RATE_LINKS);
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(lab_wait(pid), -1);
	wh_closep(&socks[0]);
}

static int sender(void *arg)
{
	int fd;

	if (flow_connect(arg, &fd, 1) < 0)
		return EXIT_FAILURE;
	return flow_send(&fd, 1, UINT64_MAX) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* Bytes per second that a new sender in the leaf gets through. */
static double measure(void)
{
	struct sockaddr_in to = { .sin_family = AF_INET };
	uint64_t start_ns;
	int64_t bytes;
	int listener;
	pid_t pid;
	int fd;

	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	listener = flow_listen(&to);
	assert_true(listener >= 0);
	pid = lab_spawn(lab, sender, &to);
	assert_int_equal(flow_accept(listener, &fd, 1), 0);

	(void)flow_receive(&fd, 1, wh_now_ns(&wh_clock_monotonic) + SETTLE_NS);
	start_ns = wh_now_ns(&wh_clock_monotonic);
	bytes = flow_receive(&fd, 1, start_ns + MEASURE_NS);

	wh_closep(&fd);
	wh_closep(&listener);
	(void)kill(pid, SIGKILL);
	(void)lab_wait(pid);
	return (double)bytes * 1e9 / (double)MEASURE_NS;
}

static void the_limit_lives_as_long_as_its_last_descriptor(void **state)
{
	int links[WH_RATE_LINKS];
	double held = 0;
	double released;

	(void)state;
	load_and_kill(links);

	/* Want of CPU can make it less for a time, but never more. */
	for (int attempt = 0; attempt < 3 && held < 0.98 * (double)LIMIT; attempt++) {
		held = measure();
		assert_true(held < 1.02 * (double)LIMIT);
	}
	for (size_t i = 0; i < WH_RATE_LINKS; i++)
		wh_closep(&links[i]);
	released = measure();

	print_message("  held %.3f, released %.1f\n", held / (double)LIMIT,
	              released / (double)LIMIT);
	assert_true(held > 0.98 * (double)LIMIT);
	assert_true(released > 4 * (double)LIMIT);
}

/* What a sandbox does: bpf(2) fails from now on. Return: 0 or -errno. */
static int forbid_bpf(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_bpf, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { .len = 4, .filter = code };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0)
		return -errno;
	return 0;
}

struct holder {
	int link_fd;
	bool sandboxed;
};

/* A process without any privilege tries to take the limit off. Return: an errno. */
static int try_to_detach(void *arg)
{
	const struct holder *holder = arg;

	if (setuid(NOBODY) < 0 || (holder->sandboxed && forbid_bpf() < 0))
		return 255;
	return -bpf_link_detach(holder->link_fd);
}

static void a_holder_can_take_it_off_unless_bpf_is_forbidden(void **state)
{
	wh_cleanup(wh_rate_bpf_closep) struct wh_rate_bpf *rate = NULL;
	int links[WH_RATE_LINKS];
	struct holder holder;

	(void)state;
	assert_int_equal(wh_rate_bpf_open(&rate, lab->leaf->dir_fd, LIMIT, NULL), 0);
	assert_int_equal(wh_rate_bpf_links(rate, links), WH_RATE_LINKS);

	holder = (struct holder){ .link_fd = links[0], .sandboxed = true };
	assert_int_equal(lab_wait(lab_spawn(lab, try_to_detach, &holder)), EPERM);
	holder.sandboxed = false;
	assert_int_equal(lab_wait(lab_spawn(lab, try_to_detach, &holder)), 0);
}

static int body(const struct lab *where)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_holder_can_take_it_off_unless_bpf_is_forbidden),
		cmocka_unit_test(the_limit_lives_as_long_as_its_last_descriptor),
	};

	lab = where;
	return cmocka_run_group_tests_name("limit_survives_the_loader", tests, NULL, NULL);
}

int main(void)
{
	return lab_run("survives", body);
}
