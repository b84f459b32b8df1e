/* SPDX-License-Identifier: Apache-2.0 */

/*
 * traffic - the two ends of a measurement.
 *
 *	traffic sink ADDRESS PORT			discard what comes to PORT, answer what
 *							comes to PORT + 1; until killed
 *	traffic send ADDRESS PORT CONNECTIONS SECONDS	send as fast as it goes
 *	traffic ping ADDRESS PORT COUNT INTERVAL_MS	64 bytes there and back on one connection;
 *							prints the round trips as JSON
 */

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "flow.h"
#include "wherry/clock.h"

#define PING_BYTES 64
#define PINGS_MAX  10000
#define SOCKETS    64

static _Noreturn void die(const char *what, int code)
{
	(void)fprintf(stderr, "traffic: %s: %s\n", what, strerror(-code));
	_exit(EXIT_FAILURE);
}

static unsigned long number(const char *text)
{
	return strtoul(text, NULL, 10);
}

static struct sockaddr_in address(const char *ip, const char *port)
{
	struct sockaddr_in a = { .sin_family = AF_INET };

	a.sin_port = htons((uint16_t)number(port));
	if (inet_pton(AF_INET, ip, &a.sin_addr) != 1)
		die(ip, -EINVAL);
	return a;
}

/* set[0] takes bulk, set[1] takes pings; @echo remembers which connection came by which. */
static void sink_accept(struct pollfd *set, bool *echo, int *used)
{
	for (int i = 0; i < 2; i++) {
		int fd;

		if (!set[i].revents)
			continue;
		fd = accept4(set[i].fd, NULL, NULL, SOCK_CLOEXEC);
		if (fd < 0 || *used == SOCKETS)
			die("accept", fd < 0 ? -errno : -ENOSPC);
		set[*used] = (struct pollfd){ .fd = fd, .events = POLLIN };
		echo[(*used)++] = i == 1;
	}
}

static void sink_receive(struct pollfd *p, bool echo)
{
	char data[PING_BYTES];
	ssize_t n;

	if (echo)
		n = recv(p->fd, data, sizeof(data), MSG_DONTWAIT);
	else
		n = recv(p->fd, NULL, 1u << 20, MSG_DONTWAIT | MSG_TRUNC);
	if (echo && n > 0 && send(p->fd, data, (size_t)n, MSG_NOSIGNAL) < 0)
		n = 0;
	if (n == 0 || (n < 0 && errno != EAGAIN)) {
		(void)close(p->fd);
		p->fd = -1;
	}
}

static _Noreturn void sink(char **argv)
{
	struct sockaddr_in bulk = address(argv[0], argv[1]);
	struct sockaddr_in ping = bulk;
	struct pollfd set[SOCKETS];
	bool echo[SOCKETS];
	int used = 2;

	ping.sin_port = htons((uint16_t)(ntohs(bulk.sin_port) + 1));
	set[0] = (struct pollfd){ .fd = flow_listen(&bulk), .events = POLLIN };
	set[1] = (struct pollfd){ .fd = flow_listen(&ping), .events = POLLIN };
	if (set[0].fd < 0 || set[1].fd < 0)
		die("listen", set[0].fd < 0 ? set[0].fd : set[1].fd);
	(void)puts("ready");
	(void)fflush(stdout);

	/* This ends when the test kills it. */
	for (;;) {
		int known = used;

		if (poll(set, (nfds_t)used, -1) < 0)
			die("poll", -errno);
		sink_accept(set, echo, &used);
		for (int i = 2; i < known; i++)
			if (set[i].fd >= 0 && set[i].revents)
				sink_receive(&set[i], echo[i]);
	}
}

static int bulk_send(char **argv)
{
	struct sockaddr_in to = address(argv[0], argv[1]);
	int count = (int)number(argv[2]);
	uint64_t end_ns = wh_now_ns(&wh_clock_monotonic) + number(argv[3]) * WH_NSEC_PER_SEC;
	int fds[FLOW_MAX];
	int r;

	if (count < 1 || count > FLOW_MAX)
		die(argv[2], -EINVAL);
	r = flow_connect(&to, fds, count);
	if (r < 0)
		die("connect", r);
	r = flow_send(fds, count, end_ns);
	if (r < 0)
		die("send", r);
	return EXIT_SUCCESS;
}

static uint64_t round_trip_ns(int fd)
{
	char data[PING_BYTES] = { 0 };
	uint64_t start_ns = wh_now_ns(&wh_clock_monotonic);

	if (send(fd, data, sizeof(data), MSG_NOSIGNAL) != sizeof(data) ||
	    recv(fd, data, sizeof(data), MSG_WAITALL) != sizeof(data))
		die("ping", -errno);
	return wh_now_ns(&wh_clock_monotonic) - start_ns;
}

static int ascending(const void *a, const void *b)
{
	const uint64_t x = *(const uint64_t *)a;
	const uint64_t y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static int ping(char **argv)
{
	static uint64_t trip_ns[PINGS_MAX];
	struct sockaddr_in to = address(argv[0], argv[1]);
	size_t count = number(argv[2]);
	const struct timespec pause = { .tv_nsec = (long)(number(argv[3]) * WH_NSEC_PER_MSEC) };
	const size_t median = count / 2;
	const size_t p99 = count * 99 / 100;
	int one = 1;
	int fd;
	int r;

	if (count < 1 || count > PINGS_MAX)
		die(argv[2], -EINVAL);
	r = flow_connect(&to, &fd, 1);
	if (r < 0)
		die("connect", r);
	if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) < 0)
		die("TCP_NODELAY", -errno);
	for (size_t i = 0; i < count; i++) {
		(void)nanosleep(&pause, NULL); /* an early end does no harm */
		trip_ns[i] = round_trip_ns(fd);
	}
	qsort(trip_ns, count, sizeof(trip_ns[0]), ascending);
	(void)printf("{\"median_us\": %.1f, \"p99_us\": %.1f, \"max_us\": %.1f}\n",
	             (double)trip_ns[median] / 1e3, (double)trip_ns[p99] / 1e3,
	             (double)trip_ns[count - 1] / 1e3);
	return EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
	if (argc == 4 && !strcmp(argv[1], "sink"))
		sink(argv + 2);
	if (argc == 6 && !strcmp(argv[1], "send"))
		return bulk_send(argv + 2);
	if (argc == 6 && !strcmp(argv[1], "ping"))
		return ping(argv + 2);
	(void)fputs("usage: traffic sink|send|ping ...\n", stderr);
	return EXIT_FAILURE;
}
