/* SPDX-License-Identifier: Apache-2.0 */

/*
 * meter - measure the payload that arrives at an interface by TCP, and by RDMA over UDP.
 *
 *	meter --interface IF [--port P] [--window-ms 10] [--max-seconds 600] [--out FILE]
 *
 * With a port, it counts TCP to that port, and no RDMA.
 *
 * It says "ready" on standard output, counts until SIGINT, SIGTERM or the time is up, and then
 * writes one line of JSON. The figures are about the time from the first window with payload to
 * the last one:
 *
 *	bytes, seconds, mean_bps	all of it
 *	worst_1s_bytes			most in any second, seconds beginning at every window
 *	worst_window_bytes		most in one window
 *
 * FILE receives a line "MILLISECONDS BYTES" for each window, counted from CLOCK_MONOTONIC 0.
 */

#include "meter.h"

#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <net/if.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <linux/if_ether.h>
#include <linux/if_packet.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "wherry/clock.h"

#include "meter.skel.h"

struct options {
	const char *interface;
	const char *out;
	unsigned long port;
	unsigned long window_ms;
	unsigned long max_seconds;
};

static _Noreturn void die(const char *what)
{
	(void)fprintf(stderr, "meter: %s: %s\n", what, strerror(errno));
	_exit(EXIT_FAILURE);
}

static void parse(struct options *o, int argc, char **argv)
{
	static const struct option table[] = {
		{ "interface", required_argument, NULL, 'i' },
		{ "port", required_argument, NULL, 'p' },
		{ "window-ms", required_argument, NULL, 'w' },
		{ "max-seconds", required_argument, NULL, 's' },
		{ "out", required_argument, NULL, 'o' },
		{ 0 },
	};
	int c;

	while ((c = getopt_long(argc, argv, "", table, NULL)) != -1) {
		if (c == 'i')
			o->interface = optarg;
		else if (c == 'p')
			o->port = strtoul(optarg, NULL, 10);
		else if (c == 'w')
			o->window_ms = strtoul(optarg, NULL, 10);
		else if (c == 's')
			o->max_seconds = strtoul(optarg, NULL, 10);
		else if (c == 'o')
			o->out = optarg;
		else
			_exit(EXIT_FAILURE);
	}
	if (!o->interface || !o->window_ms || !o->max_seconds || o->port > 65535) {
		(void)fputs("meter: --interface is needed, and numbers must make sense\n", stderr);
		_exit(EXIT_FAILURE);
	}
}

static struct meter *load(const struct meter_setup *setup)
{
	struct meter *meter = meter__open();

	if (!meter)
		die("open");
	meter->rodata->setup = *setup;
	if (bpf_map__set_max_entries(meter->maps.windows, setup->windows) < 0)
		die("size");
	if (meter__load(meter) < 0)
		die("load");
	return meter;
}

/* A packet socket that sees everything on the interface and keeps nothing. */
static int listen_to(const char *interface, int program_fd)
{
	struct sockaddr_ll to = {
		.sll_family = AF_PACKET,
		.sll_protocol = htons(ETH_P_ALL),
		.sll_ifindex = (int)if_nametoindex(interface),
	};
	int fd = socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (to.sll_ifindex == 0)
		die(interface);
	if (fd < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_ATTACH_BPF, &program_fd, sizeof(program_fd)) < 0 ||
	    bind(fd, (struct sockaddr *)&to, sizeof(to)) < 0)
		die("packet socket");
	return fd;
}

static void wait_for_the_end(unsigned long seconds)
{
	const struct timespec limit = { .tv_sec = (time_t)seconds };
	sigset_t set;

	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGINT);
	(void)sigaddset(&set, SIGTERM);
	if (pthread_sigmask(SIG_BLOCK, &set, NULL) != 0)
		die("signals");
	(void)puts("ready");
	(void)fflush(stdout);
	while (sigtimedwait(&set, NULL, &limit) < 0 && errno == EINTR)
		;
}

static void report(const volatile __u64 *windows, const struct meter_setup *setup, FILE *out)
{
	const __u64 second = WH_NSEC_PER_SEC / setup->window_ns;
	__u64 bytes = 0, sliding = 0, worst_second = 0, worst_window = 0;
	__u32 first = setup->windows, last = 0;
	double seconds;

	for (__u32 i = 0; i < setup->windows; i++) {
		if (windows[i] > 0 && first == setup->windows)
			first = i;
		if (windows[i] > 0)
			last = i;
		bytes += windows[i];
		sliding += windows[i] - (i >= second ? windows[i - second] : 0);
		worst_second = sliding > worst_second ? sliding : worst_second;
		worst_window = windows[i] > worst_window ? windows[i] : worst_window;
	}
	for (__u32 i = first; out && i <= last; i++)
		(void)fprintf(out, "%llu %llu\n",
		              (setup->start_ns + i * setup->window_ns) / WH_NSEC_PER_MSEC,
		              windows[i]);

	seconds = bytes ? (double)((last - first + 1) * setup->window_ns) / 1e9 : 0;
	(void)printf("{\"bytes\": %llu, \"seconds\": %.3f, \"mean_bps\": %.0f, "
	             "\"worst_1s_bytes\": %llu, \"worst_window_bytes\": %llu}\n",
	             bytes, seconds, bytes ? (double)bytes / seconds : 0.0, worst_second,
	             worst_window);
}

int main(int argc, char **argv)
{
	struct options o = { .window_ms = 10, .max_seconds = 600 };
	struct meter_setup setup = { 0 };
	const volatile __u64 *windows;
	struct meter *meter;
	FILE *out = NULL;
	size_t size;
	int fd;

	parse(&o, argc, argv);
	setup.start_ns = wh_now_ns(&wh_clock_monotonic);
	setup.window_ns = o.window_ms * WH_NSEC_PER_MSEC;
	setup.windows = (__u32)(o.max_seconds * 1000 / o.window_ms);
	setup.port = (__u16)o.port;
	if (o.out && !(out = fopen(o.out, "we")))
		die(o.out);

	meter = load(&setup);
	size = setup.windows * sizeof(*windows);
	windows = mmap(NULL, size, PROT_READ, MAP_SHARED, bpf_map__fd(meter->maps.windows), 0);
	if (windows == MAP_FAILED)
		die("mmap");
	fd = listen_to(o.interface, bpf_program__fd(meter->progs.meter));

	wait_for_the_end(o.max_seconds);
	(void)close(fd);
	report(windows, &setup, out);
	if (out && fclose(out) != 0)
		die(o.out);
	meter__destroy(meter);
	return EXIT_SUCCESS;
}
