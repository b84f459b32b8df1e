/* SPDX-License-Identifier: Apache-2.0 */

/*
 * tunnel_move - what a wherry-tunnel costs: bytes from one host to another, and nothing else.
 *
 *	tunnel_move FROM TO ADDRESS MIB STREAMS [PROGRAM]
 *
 * FROM and TO are network namespaces (paths), ADDRESS is that of TO. With PROGRAM, a wherry-tunnel, each
 * stream is unix - tunnel - TCP - tunnel - unix, as one of QEMU's is; without, TCP from end to end.
 * Prints one JSON object; machine_cpu_s is that of all CPUs, with what sends and receives, and
 * tunnel_cpu_s the two tunnels' part of it.
 */

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "companion.h"
#include "flow.h"
#include "wherry/clock.h"
#include "wherry/fdpass.h"
#include "wherry/tunnel.h"

#define MIB         (UINT64_C(1) << 20)
#define CHUNK_BYTES (256u << 10)

struct stream {
	pthread_t from_thread, to_thread;
	int from, to;
	uint64_t bytes;
};

static struct stream streams[WH_STREAMS_MAX];

static _Noreturn void die(const char *what)
{
	perror(what);
	exit(EXIT_FAILURE); /* NOLINT(concurrency-mt-unsafe): other threads may just end here */
}

static void enter(const char *namespace)
{
	int fd = open(namespace, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || setns(fd, CLONE_NEWNET) < 0)
		die(namespace);
	(void)close(fd);
}

static void tell(const struct wh_companion *tunnel, void *message, size_t len, int *fds,
                 size_t count)
{
	int r = wh_fdpass_send(
		tunnel->sock,
		&(struct wh_fdpass){ .data = message, .len = len, .fds = fds, .fd_count = count });

	if (r < 0) {
		errno = -r;
		die("tunnel");
	}
	for (size_t i = 0; i < count; i++)
		(void)close(fds[i]);
}

static void start(struct wh_companion *tunnel, char *program)
{
	uint32_t type = WH_STREAM_START;
	int r = wh_companion_start(tunnel, program, -1, sizeof(struct wh_tunnel_stats));
	int page;

	if (r < 0) {
		errno = -r;
		die(program);
	}
	page = dup(tunnel->stats_fd);
	tell(tunnel, &type, sizeof(type), &page, 1);
}

static int half_of_a_pair(int *other)
{
	int sv[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv) < 0)
		die("socketpair");
	*other = sv[1];
	return sv[0];
}

static void open_tunnelled(struct stream *s, const struct wh_companion tunnels[2], int listener,
                           const struct sockaddr_in *to)
{
	struct wh_stream_connect connect_to = { .type = WH_STREAM_CONNECT };
	struct wh_stream_join join = { .type = WH_STREAM_JOIN };
	int fds[2];

	connect_to.address.v4 = *to;
	s->from = half_of_a_pair(&fds[0]);
	tell(&tunnels[0], &connect_to, sizeof(connect_to), fds, 1);
	if (flow_accept(listener, &fds[0], 1) < 0)
		die("accept");
	s->to = half_of_a_pair(&fds[1]);
	tell(&tunnels[1], &join, offsetof(struct wh_stream_join, early), fds, 2);
}

static void open_raw(struct stream *s, int listener, const struct sockaddr_in *to)
{
	if (flow_connect(to, &s->from, 1) < 0 || flow_accept(listener, &s->to, 1) < 0)
		die("connect");
}

static void *send_all(void *arg)
{
	static const char data[CHUNK_BYTES];
	const struct stream *s = arg;

	for (uint64_t left = s->bytes; left > 0;) {
		ssize_t n =
			send(s->from, data, left < CHUNK_BYTES ? left : CHUNK_BYTES, MSG_NOSIGNAL);

		if (n <= 0)
			die("send");
		left -= (uint64_t)n;
	}
	(void)shutdown(s->from, SHUT_WR);
	return NULL;
}

static void *receive_all(void *arg)
{
	const struct stream *s = arg;
	char *data = malloc(CHUNK_BYTES);
	uint64_t bytes = 0;
	ssize_t n;

	if (!data)
		die("malloc");
	/* This ends: the sender has a last byte. */
	while ((n = recv(s->to, data, CHUNK_BYTES, 0)) > 0)
		bytes += (uint64_t)n;
	if (n < 0 || bytes != s->bytes)
		die("receive");
	free(data);
	return NULL;
}

/* Seconds of all CPUs, busy with anything. */
static double machine_cpu_s(void)
{
	unsigned long long user, nice, system, idle, wait, irq, softirq;
	FILE *file = fopen("/proc/stat", "re");

	if (!file || fscanf(file, "cpu %llu %llu %llu %llu %llu %llu %llu", &user, &nice, &system,
	                    &idle, &wait, &irq, &softirq) != 7)
		die("/proc/stat");
	(void)fclose(file);
	return (double)(user + nice + system + irq + softirq) / (double)sysconf(_SC_CLK_TCK);
}

static double process_cpu_s(pid_t pid)
{
	struct timespec used;
	clockid_t clock;

	if (pid == 0)
		return 0;
	if (clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &used) < 0)
		die("clock");
	return (double)used.tv_sec + (double)used.tv_nsec / 1e9;
}

static void measure(size_t count, const struct wh_companion tunnels[2])
{
	uint64_t start_ns = wh_now_ns(&wh_clock_monotonic);
	double machine_s = machine_cpu_s();
	double wall_s, tunnel_s;

	for (size_t i = 0; i < count; i++)
		if (pthread_create(&streams[i].to_thread, NULL, receive_all, &streams[i]) != 0 ||
		    pthread_create(&streams[i].from_thread, NULL, send_all, &streams[i]) != 0)
			die("thread");
	for (size_t i = 0; i < count; i++) {
		(void)pthread_join(streams[i].from_thread, NULL);
		(void)pthread_join(streams[i].to_thread, NULL);
	}
	wall_s = (double)(wh_now_ns(&wh_clock_monotonic) - start_ns) / 1e9;
	machine_s = machine_cpu_s() - machine_s;
	tunnel_s = process_cpu_s(tunnels[0].pid) + process_cpu_s(tunnels[1].pid);
	(void)printf("{\"wall_s\": %.3f, \"machine_cpu_s\": %.2f, \"tunnel_cpu_s\": %.3f}\n",
	             wall_s, machine_s, tunnel_s);
}

int main(int argc, char **argv)
{
	struct wh_companion tunnels[2] = { WH_COMPANION_NONE, WH_COMPANION_NONE };
	struct sockaddr_in to = { .sin_family = AF_INET };
	char *program = argc == 7 ? argv[6] : NULL;
	uint64_t bytes;
	size_t count;
	int listener;

	if (argc < 6 || argc > 7 || inet_pton(AF_INET, argv[3], &to.sin_addr) != 1) {
		(void)fprintf(stderr, "usage: tunnel_move FROM TO ADDRESS MIB STREAMS [PROGRAM]\n");
		return EXIT_FAILURE;
	}
	bytes = strtoull(argv[4], NULL, 10) * MIB;
	count = strtoul(argv[5], NULL, 10);
	if (count < 1 || count > FLOW_MAX)
		return EXIT_FAILURE;
	enter(argv[2]);
	listener = flow_listen(&to);
	if (listener < 0)
		die("listen");
	if (program)
		start(&tunnels[1], program);
	enter(argv[1]);
	if (program)
		start(&tunnels[0], program);
	for (size_t i = 0; i < count; i++) {
		streams[i].bytes = bytes / count;
		if (program)
			open_tunnelled(&streams[i], tunnels, listener, &to);
		else
			open_raw(&streams[i], listener, &to);
	}
	measure(count, tunnels);
	wh_companion_close(&tunnels[0]);
	wh_companion_close(&tunnels[1]);
	return EXIT_SUCCESS;
}
