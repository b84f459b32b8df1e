/* SPDX-License-Identifier: Apache-2.0 */

/*
 * synth_move MOVER SOURCE_FILE TARGET_NETNS TARGET_FILE CONNECTIONS THREADS RATE_MIB HOT_MIB PATTERN
 *
 * To be run on the source host, which has 10.77.0.1; the target has 10.77.0.2.
 *
 * A synthetic guest (synth_guest.h) moves from one RAM file to the other by two movers, and this is
 * their daemon. It prints "ready" when the guest writes, and moves it when it reads a line; then
 * "moved", and when the guest has run at its destination a while and all of its memory is checked,
 * one line of JSON:
 *
 *	moving_s	from before the movers start until the guest has written its first page there
 *	downtime_ms	from when the guest is told to stop until then; "downtime" has its parts
 *	write_bps	what the guest wrote a second while it moved, up to its stop
 *	samples		as bench/run's file has them
 */

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "synth_guest.h"

#include "mover_pair.h"

#include "wherry/clock.h"

#define ARGUMENTS       9
#define SAMPLES_MAX     4096u
#define SAMPLE_NS       (50 * WH_NSEC_PER_MSEC)
#define DOWNTIME_NS     (300 * WH_NSEC_PER_MSEC) /* the target: what wherryd aims at by itself */
#define RUN_BEFORE_US   200000
#define RUN_AFTER_US    200000
#define GIVE_UP_S       300u
#define CONNECTIONS_MAX 16

struct sample {
	uint64_t ns, rate_bps, dirty_bps, left_bytes, round;
};

struct samples {
	pthread_t thread;
	const struct mover_pair *pair;
	uint64_t start_ns;
	_Atomic bool over;
	uint32_t count;
	struct sample sample[SAMPLES_MAX];
};

struct times {
	uint64_t start_ns, stop_ns, resumed_ns;
	uint64_t writes;
};

static void check(bool good, const char *what)
{
	if (good)
		return;
	(void)fprintf(stderr, "synth_move: %s\n", what); /* nowhere else to say it */
	exit(EXIT_FAILURE);
}

static uint64_t now_ns(void)
{
	return wh_now_ns(&wh_clock_monotonic);
}

static void *take_samples(void *arg)
{
	struct samples *s = arg;
	const struct wh_stats *stats = s->pair->source.stats;

	while (!atomic_load(&s->over) && s->count < SAMPLES_MAX) {
		s->sample[s->count++] = (struct sample){
			.ns = now_ns() - s->start_ns,
			.rate_bps = wh_stat_get(stats, WH_STAT_RATE_BPS),
			.dirty_bps = wh_stat_get(stats, WH_STAT_DIRTY_BPS),
			.left_bytes = wh_stat_get(stats, WH_STAT_LEFT_BYTES),
			.round = wh_stat_get(stats, WH_STAT_ROUND),
		};
		(void)usleep(SAMPLE_NS / 1000); /* too short a nap does no harm */
	}
	return NULL;
}

static void start_samples(struct samples *s, const struct mover_pair *pair, uint64_t start_ns)
{
	s->pair = pair;
	s->start_ns = start_ns;
	check(pthread_create(&s->thread, NULL, take_samples, s) == 0, "no thread for samples");
}

static void end_samples(struct samples *s)
{
	atomic_store(&s->over, true);
	(void)pthread_join(s->thread, NULL);
}

/* What a daemon does, and its hypervisors. */
static struct times move(struct synth_guest *guest, struct mover_pair *pair,
                         const struct mover_pair_config *cfg, struct samples *samples)
{
	struct times t = { .start_ns = now_ns() };
	uint64_t before = synth_writes(guest, &guest->source);

	check(mover_pair_start(pair, cfg) == 0, "the movers do not start");
	start_samples(samples, pair, t.start_ns);
	check(mover_pair_await_converged(pair) == 0, "it does not converge");
	t.stop_ns = now_ns();
	synth_stop(guest, &guest->source);
	t.writes = synth_writes(guest, &guest->source) - before;
	check(mover_pair_finish(pair) == 0, "it does not land");
	synth_go(guest, &guest->target);
	t.resumed_ns = now_ns();
	end_samples(samples);
	return t;
}

static void print_samples(const struct samples *s)
{
	printf("\"samples\": [");
	for (uint32_t i = 0; i < s->count; i++)
		printf("%s{\"t_s\": %.3f, \"rate_bps\": %" PRIu64 ", \"dirty_bps\": %" PRIu64
		       ", \"left_bytes\": %" PRIu64 ", \"round\": %" PRIu64 "}",
		       i > 0 ? ", " : "", (double)s->sample[i].ns / 1e9, s->sample[i].rate_bps,
		       s->sample[i].dirty_bps, s->sample[i].left_bytes, s->sample[i].round);
	printf("]");
}

static void print_times(const struct times *t, const struct wh_stats *stats)
{
	const uint64_t stopped_ns = wh_stat_get(stats, WH_STAT_STOPPED_NS);
	const uint64_t scanned_ns = wh_stat_get(stats, WH_STAT_SCANNED_NS);
	const uint64_t landed_ns = wh_stat_get(stats, WH_STAT_LANDED_NS);

	printf("\"moving_s\": %.3f, \"downtime_ms\": %.1f, \"write_bps\": %.0f, ",
	       (double)(t->resumed_ns - t->start_ns) / 1e9,
	       (double)(t->resumed_ns - t->stop_ns) / 1e6,
	       (double)(t->writes * PAGE_BYTES) * 1e9 / (double)(t->stop_ns - t->start_ns));
	/* There is no device state. */
	printf("\"downtime\": {\"stop_ns\": %" PRIu64 ", \"scan_ns\": %" PRIu64
	       ", \"pages_ns\": %" PRIu64 ", \"device_ns\": 0, \"resume_ns\": %" PRIu64 "}, ",
	       stopped_ns - t->stop_ns, scanned_ns - stopped_ns, landed_ns - scanned_ns,
	       t->resumed_ns - landed_ns);
}

static void say(const char *word)
{
	check(puts(word) >= 0 && fflush(stdout) == 0, "nobody listens");
}

/* Let the guest run at its destination, and look at all of its memory. */
static void judge(struct synth_guest *guest, int target_fd)
{
	uint64_t errors;

	(void)usleep(RUN_AFTER_US); /* less does no harm */
	synth_stop(guest, &guest->target);
	errors = synth_errors(guest, target_fd);
	check(errors == 0, "the guest's memory is damaged");
	printf("\"guest_checks\": %" PRIu32 ", \"guest_errors\": %" PRIu64 "}\n",
	       guest->pages.count, errors);
}

static void run(const struct synth_config *config, struct mover_pair_config *cfg)
{
	static struct samples samples;
	struct synth_guest guest;
	struct mover_pair pair;
	struct times times;

	synth_start(&guest, config, cfg->source_fd, cfg->target_fd, cfg->bytes);
	cfg->vmm_pid = guest.source.pid;
	synth_go(&guest, &guest.source);
	(void)usleep(RUN_BEFORE_US); /* less does no harm */
	say("ready");
	check(getchar() == '\n', "nobody waits for it to move");
	times = move(&guest, &pair, cfg, &samples);
	say("moved");

	printf("{");
	print_times(&times, pair.source.stats);
	print_samples(&samples);
	printf(", ");
	check(mover_pair_done(&pair) == 0, "a mover ended badly");
	judge(&guest, cfg->target_fd);
	synth_end(&guest);
}

static uint32_t number(const char *text, uint32_t least, uint32_t most)
{
	unsigned long n = strtoul(text, NULL, 10);

	check(n >= least && n <= most, "a number is too small or too large");
	return (uint32_t)n;
}

static enum pattern pattern_of(const char *name)
{
	for (int i = 0; i < PATTERN_COUNT; i++)
		if (!strcmp(pattern_names[i], name))
			return (enum pattern)i;
	check(false, "no such pattern");
	return PATTERN_SEQ;
}

static int open_ram(const char *path, uint64_t *bytes)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);
	struct stat st;

	check(fd >= 0 && fstat(fd, &st) == 0 && st.st_size >= PAGE_BYTES, path);
	*bytes = (uint64_t)st.st_size;
	return fd;
}

int main(int argc, char **argv)
{
	struct mover_pair_config cfg = { .downtime_target_ns = DOWNTIME_NS,
		                         .compression = WH_COMPRESSION_AUTO,
		                         .source_cgroup = -1,
		                         .source_address = "10.77.0.1",
		                         .target_address = "10.77.0.2" };
	struct synth_config config;
	uint64_t source_bytes;

	check(argc == 1 + ARGUMENTS, "see the top of synth_move.c for its arguments");
	(void)alarm(GIVE_UP_S); /* killed by it, this takes guest and movers with it */
	cfg.mover = argv[1];
	cfg.source_fd = open_ram(argv[2], &source_bytes);
	cfg.target_netns = argv[3];
	cfg.target_fd = open_ram(argv[4], &cfg.bytes);
	check(cfg.bytes == source_bytes, "the files differ in size");
	cfg.connections = number(argv[5], 1, CONNECTIONS_MAX);
	config.threads = number(argv[6], 1, SYNTH_THREADS_MAX);
	config.rate_mib = number(argv[7], 0, 1u << 20);
	config.hot_mib = number(argv[8], 1, 1u << 20);
	config.pattern = pattern_of(argv[9]);
	run(&config, &cfg);
	return EXIT_SUCCESS;
}
