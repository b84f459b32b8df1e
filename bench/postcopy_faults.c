/* SPDX-License-Identifier: Apache-2.0 */

/*
 * postcopy_faults - how long a guest waits for a page in post-copy. Used by postcopy.
 *
 *	postcopy_faults MOVER NET_A RAM_A NET_B RAM_B ADDRESS_B CGROUP|none MIB CONNECTIONS ORDER TOUCHES
 *
 * Two real movers; a process that stands still at the source, with all its memory written; one at
 * the destination that touches page after page. A touch is a sample if the page was missing just
 * before; some of them are short, because its contents were on their way. Then it waits as long as
 * anything in the guest would: the time has the fault, both movers, the network and the wake-up.
 *
 * The floors, before that, at the same pace as the touches:
 *	local	the same touch, of a mapping whose faults a thread beside it serves from memory
 *	tcp	20 bytes there, 4112 back, between two processes that do nothing else
 */

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/userfaultfd.h>
#include <netinet/in.h>
#include <netinet/tcp.h>

#include "mover_pair.h"

#include "wherry/clock.h"
#include "wherry/limits.h"

#define FLOOR_SAMPLES 2000u
#define ECHO_PORT     4447
#define ASK_BYTES     20u
#define ANSWER_BYTES  4112u

struct samples {
	_Atomic uint64_t count;
	_Atomic bool ready, go;
	uint64_t ns[];
};

static const char *address;
static uint32_t touches_per_ms; /* 0: as fast as it goes */

static void need(bool ok, const char *what)
{
	if (ok)
		return;
	perror(what);
	exit(EXIT_FAILURE);
}

static uint64_t now(void)
{
	return wh_now_ns(&wh_clock_monotonic);
}

/* Before touch number @i: keep to the pace. */
static void keep_pace(uint64_t i)
{
	if (touches_per_ms && i % touches_per_ms == 0)
		(void)poll(NULL, 0, 1);
}

static void *shared(size_t bytes, int fd)
{
	void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
	                MAP_SHARED | (fd < 0 ? MAP_ANONYMOUS : 0), fd, 0);

	need(at != MAP_FAILED, "mmap");
	return at;
}

static int by_value(const void *a, const void *b)
{
	const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/* The sample that @per_mille of all are not above, in us. */
static double quantile_us(const struct samples *s, uint32_t per_mille)
{
	const uint64_t count = s->count;
	const uint64_t at = count ? (count - 1) * per_mille / 1000 : 0;

	return count ? (double)s->ns[at] / 1e3 : 0;
}

/* --- floors ----------------------------------------------------------------------------------- */

struct local {
	int uffd;
	uint8_t *memory;
};

static void *serve_locally(void *arg)
{
	static uint8_t page[WH_PAGE_SIZE] = { 1 };
	const struct local *local = arg;
	struct pollfd fd = { .fd = local->uffd, .events = POLLIN };
	struct uffd_msg msg;

	for (uint32_t i = 0; i < FLOOR_SAMPLES;) {
		struct uffdio_copy copy = { .src = (uintptr_t)page, .len = WH_PAGE_SIZE };

		(void)poll(&fd, 1, -1);
		if (read(local->uffd, &msg, sizeof(msg)) != (ssize_t)sizeof(msg))
			continue;
		copy.dst = msg.arg.pagefault.address & ~(uint64_t)(WH_PAGE_SIZE - 1);
		need(ioctl(local->uffd, UFFDIO_COPY, &copy) == 0, "UFFDIO_COPY");
		i++;
	}
	return NULL;
}

static void measure_local(struct samples *s)
{
	const size_t bytes = (size_t)FLOOR_SAMPLES * WH_PAGE_SIZE;
	struct uffdio_api api = { .api = UFFD_API, .features = UFFD_FEATURE_MISSING_SHMEM };
	struct uffdio_register reg = { .mode = UFFDIO_REGISTER_MODE_MISSING };
	struct local local = { .uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK) };
	pthread_t thread;

	local.memory = shared(bytes, -1);
	reg.range = (struct uffdio_range){ .start = (uintptr_t)local.memory, .len = bytes };
	need(local.uffd >= 0 && ioctl(local.uffd, UFFDIO_API, &api) == 0 &&
	             ioctl(local.uffd, UFFDIO_REGISTER, &reg) == 0,
	     "userfaultfd");
	need(pthread_create(&thread, NULL, serve_locally, &local) == 0, "thread");
	for (uint32_t i = 0; i < FLOOR_SAMPLES; i++) {
		uint64_t start;

		keep_pace(i);
		start = now();
		(void)*(volatile uint8_t *)(local.memory + (size_t)i * WH_PAGE_SIZE);
		s->ns[s->count++] = now() - start;
	}
	(void)pthread_join(thread, NULL);
	(void)close(local.uffd);
	(void)munmap(local.memory, bytes);
}

static void enter(const char *net)
{
	int fd = open(net, O_RDONLY | O_CLOEXEC);

	need(fd >= 0 && setns(fd, CLONE_NEWNET) == 0, net);
	(void)close(fd);
}

/* Wait, then receive: as the movers do. */
static void receive(int fd, uint32_t len)
{
	static uint8_t buffer[ANSWER_BYTES];
	struct pollfd p = { .fd = fd, .events = POLLIN };

	while (len > 0) {
		ssize_t n;

		(void)poll(&p, 1, -1);
		n = recv(fd, buffer, len, MSG_DONTWAIT);
		need(n > 0 || (n < 0 && errno == EAGAIN), "ping-pong");
		len -= n > 0 ? (uint32_t)n : 0;
	}
}

static void no_delay(int fd)
{
	const int on = 1;

	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

static struct sockaddr_in echo_address(void)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(ECHO_PORT) };

	(void)inet_pton(AF_INET, address, &to.sin_addr);
	return to;
}

static void answer_echo(const char *net, struct samples *s)
{
	static const uint8_t page[ANSWER_BYTES];
	const struct sockaddr_in at = echo_address();
	int listener, fd;

	enter(net);
	listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	need(bind(listener, (const struct sockaddr *)&at, sizeof(at)) == 0 &&
	             listen(listener, 1) == 0,
	     "listen");
	s->ready = true;
	fd = accept(listener, NULL, NULL);
	no_delay(fd);
	for (uint32_t i = 0; i < FLOOR_SAMPLES; i++) {
		receive(fd, ASK_BYTES);
		need(send(fd, page, sizeof(page), MSG_NOSIGNAL) == sizeof(page), "answer");
	}
	exit(EXIT_SUCCESS);
}

static void ask_echo(const char *net, struct samples *s)
{
	static const uint8_t ask[ASK_BYTES];
	const struct sockaddr_in to = echo_address();
	int fd;

	enter(net);
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	need(connect(fd, (const struct sockaddr *)&to, sizeof(to)) == 0, "connect");
	no_delay(fd);
	for (uint32_t i = 0; i < FLOOR_SAMPLES; i++) {
		uint64_t start;

		keep_pace(i);
		start = now();
		need(send(fd, ask, sizeof(ask), MSG_NOSIGNAL) == sizeof(ask), "ask");
		receive(fd, ANSWER_BYTES);
		s->ns[s->count++] = now() - start;
	}
	exit(EXIT_SUCCESS);
}

static void measure_tcp(struct samples *s, const char *net_a, const char *net_b)
{
	pid_t answers = fork(), asks;

	if (answers == 0)
		answer_echo(net_b, s);
	while (!s->ready)
		(void)poll(NULL, 0, 1);
	asks = fork();
	if (asks == 0)
		ask_echo(net_a, s);
	(void)waitpid(asks, NULL, 0);
	(void)waitpid(answers, NULL, 0);
}

/* --- guests ----------------------------------------------------------------------------------- */

struct guest {
	int fd;
	uint64_t bytes;
	const uint64_t *missing; /* the mover's bitmap, mapped; NULL at the source */
	bool in_order;
	struct samples *samples;
};

/* No page zero, none like another. */
static void fill(uint8_t *memory, uint64_t bytes)
{
	uint64_t *words = (uint64_t *)(void *)memory, random = 1;

	for (uint64_t i = 0; i < bytes / sizeof(*words); i++) {
		random = random * UINT64_C(6364136223846793005) + 1442695040888963407u;
		words[i] = random;
	}
}

/* Return: the child's pid, once that is ready; 0 in the child. */
static pid_t fork_until_ready(const struct guest *g)
{
	pid_t pid = fork();

	while (pid > 0 && !g->samples->ready)
		(void)poll(NULL, 0, 1);
	if (pid == 0)
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	return pid;
}

static pid_t start_source(const struct guest *g)
{
	pid_t pid = fork_until_ready(g);

	if (pid > 0)
		return pid;
	fill(shared(g->bytes, g->fd), g->bytes);
	g->samples->ready = true;
	for (;;)
		(void)pause();
}

static bool is_missing(const struct guest *g, uint64_t page)
{
	return (__atomic_load_n(&g->missing[page / 64], __ATOMIC_ACQUIRE) >> (page % 64)) & 1;
}

/* Touch every page once. Any order reaches all: the stride has no divisor in common with 2^n. */
static void *touch_all(void *arg)
{
	const struct guest *g = arg;
	const uint8_t *memory = shared(g->bytes, g->fd);
	const uint64_t pages = g->bytes / WH_PAGE_SIZE;
	uint64_t page = 0;

	g->samples->ready = true;
	while (!g->samples->go)
		(void)poll(NULL, 0, 1);
	for (uint64_t i = 0; i < pages; i++) {
		keep_pace(i);
		if (is_missing(g, page)) {
			const uint64_t start = now();

			(void)*(const volatile uint8_t *)(memory + page * WH_PAGE_SIZE);
			g->samples->ns[g->samples->count++] = now() - start;
		}
		page = (page + (g->in_order ? 1 : UINT64_C(2654435761))) % pages;
	}
	return NULL;
}

static pid_t start_target(struct guest *g)
{
	pthread_t thread;
	pid_t pid = fork_until_ready(g);

	if (pid > 0)
		return pid;
	need(pthread_create(&thread, NULL, touch_all, g) == 0, "thread");
	for (;;)
		(void)poll(NULL, 0, 1000); /* where a mover makes its calls */
}

/* --- the run ---------------------------------------------------------------------------------- */

static struct samples *new_samples(uint64_t room)
{
	return shared(sizeof(struct samples) + room * sizeof(uint64_t), -1);
}

static void sort(struct samples *s)
{
	qsort(s->ns, s->count, sizeof(s->ns[0]), by_value);
}

static int open_ram(const char *path, uint64_t bytes)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	need(fd >= 0 && ftruncate(fd, (off_t)bytes) == 0, path);
	return fd;
}

static void run_movers(struct mover_pair_config *cfg, struct guest *target, struct mover_pair *pair)
{
	need(mover_pair_start(pair, cfg) == 0 && mover_pair_switch(pair, WH_SWITCH_POSTCOPY) == 0 &&
	             mover_pair_await_converged(pair) == 0 &&
	             mover_pair_await_postcopy(pair, cfg) == 0,
	     "movers");
	target->samples->go = true;
	need(mover_pair_await_arrived(pair) == 0, "arrival");
}

static void print(const struct samples *local, const struct samples *tcp, const struct guest *g,
                  const struct mover_pair *pair)
{
	const struct wh_stats *source = pair->source.stats;
	const double floor_us = quantile_us(local, 500) + quantile_us(tcp, 500);
	const double p50 = quantile_us(g->samples, 500), p99 = quantile_us(g->samples, 990);

	(void)printf("{\"order\": \"%s\", \"samples\": %ju, \"p50_us\": %.1f, \"p99_us\": %.1f, "
	             "\"p999_us\": %.1f, \"local_us\": %.1f, \"tcp_us\": %.1f, "
	             "\"p50_by_floors\": %.2f, \"p99_by_p50\": %.2f, \"pushed_mib\": %ju, "
	             "\"downtime_ms\": %.2f, \"postcopy_s\": %.3f}\n",
	             g->in_order ? "sequential" : "random", (uintmax_t)g->samples->count, p50, p99,
	             quantile_us(g->samples, 999), quantile_us(local, 500), quantile_us(tcp, 500),
	             p50 / floor_us, p50 > 0 ? p99 / p50 : 0,
	             (uintmax_t)wh_stat_get(source, WH_STAT_PUSH_BYTES) >> 20,
	             (double)(wh_stat_get(source, WH_STAT_POSTCOPY_NS) -
	                      wh_stat_get(source, WH_STAT_STOPPED_NS)) /
	                     1e6,
	             (double)(wh_stat_get(source, WH_STAT_LANDED_NS) -
	                      wh_stat_get(source, WH_STAT_POSTCOPY_NS)) /
	                     1e9);
}

static void end_process(pid_t pid)
{
	(void)kill(pid, SIGKILL);
	(void)waitpid(pid, NULL, 0);
}

static void measure(struct mover_pair_config *cfg, struct guest *target, struct guest *source)
{
	struct samples *local = new_samples(FLOOR_SAMPLES), *tcp = new_samples(FLOOR_SAMPLES);
	struct mover_pair pair;

	measure_local(local);
	measure_tcp(tcp, cfg->source_netns, cfg->target_netns);
	cfg->vmm_pid = start_source(source);
	cfg->target_vmm_pid = start_target(target);
	run_movers(cfg, target, &pair);
	end_process(cfg->target_vmm_pid);
	end_process(cfg->vmm_pid);
	sort(local);
	sort(tcp);
	sort(target->samples);
	print(local, tcp, target, &pair);
	need(mover_pair_done(&pair) == 0, "movers' end");
}

/* The cgroup.procs of @directory, or -1. */
static int open_procs(const char *directory)
{
	char path[256];
	int fd;

	if (!strcmp(directory, "none"))
		return -1;
	(void)snprintf(path, sizeof(path), "%s/cgroup.procs", directory);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	need(fd >= 0, path);
	return fd;
}

int main(int argc, char **argv)
{
	struct mover_pair_config cfg = { .downtime_target_ns = 1, .postcopy = true };
	struct guest source = { 0 }, target = { 0 };
	uint64_t bytes;

	need(argc == 12, "usage: see bench/postcopy");
	bytes = strtoull(argv[8], NULL, 10) << 20;
	cfg.mover = argv[1];
	cfg.source_netns = argv[2];
	cfg.source_fd = open_ram(argv[3], bytes);
	cfg.target_netns = argv[4];
	cfg.target_fd = open_ram(argv[5], bytes);
	cfg.source_address = "0.0.0.0";
	cfg.target_address = address = argv[6];
	cfg.source_cgroup = open_procs(argv[7]);
	cfg.bytes = bytes;
	cfg.connections = (uint32_t)strtoul(argv[9], NULL, 10);
	touches_per_ms = (uint32_t)strtoul(argv[11], NULL, 10);
	cfg.missing_fd = memfd_create("missing", MFD_CLOEXEC);
	need(ftruncate(cfg.missing_fd, (off_t)wh_missing_file_bytes(bytes)) == 0, "missing file");
	source = (struct guest){ .fd = cfg.source_fd, .bytes = bytes, .samples = new_samples(0) };
	target = (struct guest){
		.fd = cfg.target_fd,
		.bytes = bytes,
		.missing = shared(wh_missing_file_bytes(bytes), cfg.missing_fd),
		.in_order = !strcmp(argv[10], "sequential"),
		.samples = new_samples(bytes / WH_PAGE_SIZE),
	};
	measure(&cfg, &target, &source);
	return EXIT_SUCCESS;
}
