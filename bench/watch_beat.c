/* SPDX-License-Identifier: Apache-2.0 */

/*
 * watch_beat FROM TO - how long a guest's program was held up at most while the guest moved.
 *
 * FROM is the guest's RAM file, and TO the one that it will have where it moves to; either is a pattern as
 * in glob(7), and TO need not exist yet, or may be removed and made anew. In the guest runs what
 * tests/guest/beat.h says. It is looked for in FROM, and "ready" is printed when it is found. From then on
 * its count is looked at in both files, and with the first beat after a SIGTERM a line of JSON says:
 *
 *	gap_ms		the longest time between two beats
 *	handover_ms	the time between the last beat in FROM and the first one in TO; 0 if there was none
 *	beat_ms		within which half of all beats came
 *	beat_p999_ms	and all of them but one in a thousand
 *	look_ms		the longest time between two looks: by so much gap_ms may be wrong
 *	look_cpu	what looking took, in parts of a CPU
 *
 * While the guest moves, TO receives copies of the count: they are no beats, for none of them is ahead of
 * what FROM has by then. Once TO is ahead the guest runs there, and FROM is closed, so that whoever
 * removes it waits for its memory as if nobody had looked.
 */

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "beat.h"
#include "waits.h"

#define NS_PER_S    1000000000ull
#define NS_PER_MS   1000000ull
#define NS_PER_US   1000ull
#define PAGE_BYTES  4096
#define LOOK_NS     250000u
#define LOOKS       4u /* between two looks for a new TO */
#define FOUND_NS    100000000u
#define LAST_NS_MAX (10 * NS_PER_S) /* to wait for a last beat */

struct watch {
	const char *to_name; /* borrowed */
	int from;            /* -1: the guest has left it */
	int to;              /* -1: there is none */
	off_t offset;        /* of the count, in either */
	uint64_t count;      /* the highest seen */
	uint64_t handover_ns;
	struct waits beats;
	uint64_t look_ns; /* when it was last looked at */
	uint64_t look_ns_max;
};

static volatile sig_atomic_t told_to_end;

static void note_end(int signal)
{
	(void)signal;
	told_to_end = 1;
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts); /* cannot fail for this clock */
	return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

static void nap(uint32_t ns)
{
	const struct timespec ts = { .tv_nsec = ns };

	(void)nanosleep(&ts, NULL); /* too short a nap does no harm */
}

/* Return: a descriptor of the first file of that name, or -errno. */
static int open_first(const char *name)
{
	glob_t found;
	int fd = -ENOENT;

	if (glob(name, 0, NULL, &found) == 0) {
		fd = open(found.gl_pathv[0], O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			fd = -errno;
	}
	globfree(&found);
	return fd;
}

/* Return: the count at @offset, 0 if none is there. */
static uint64_t count_in(int fd, off_t offset)
{
	struct beat beat;

	if (fd < 0 || pread(fd, &beat, sizeof(beat), offset) != sizeof(beat))
		return 0;
	if (beat.mark[0] != BEAT_MARK_0 || beat.mark[1] != BEAT_MARK_1)
		return 0;
	return beat.inverse == ~beat.count ? beat.count : 0;
}

/* Return: 0, or -ENOENT: the guest does not beat. */
static int find(struct watch *w)
{
	struct stat st;

	if (fstat(w->from, &st) < 0)
		return -errno;
	for (w->offset = 0; w->offset < st.st_size; w->offset += PAGE_BYTES) {
		w->count = count_in(w->from, w->offset);
		if (w->count == 0)
			continue;
		nap(FOUND_NS); /* what does not advance is not it */
		if (count_in(w->from, w->offset) > w->count)
			return 0;
	}
	return -ENOENT;
}

/* Look for a new TO if it is not there, or there no longer. */
static void look_for_file(struct watch *w)
{
	struct stat st;

	if (w->to >= 0 && fstat(w->to, &st) == 0 && st.st_nlink > 0)
		return;
	if (w->to >= 0)
		(void)close(w->to); /* it was only read */
	w->to = open_first(w->to_name);
}

/*
 * The count is @count now. If it has gone on by more than one, looking was late: before each of the others
 * the guest has slept, and that was no gap. Return: the gap.
 */
static uint64_t note_beats(struct watch *w, uint64_t count, uint64_t now)
{
	const uint64_t passed_ns = now - w->beats.last_ns;
	const uint64_t slept_ns = (count - w->count - 1) * BEAT_NS;
	const uint64_t gap_ns = slept_ns < passed_ns ? passed_ns - slept_ns : 0;

	waits_note(&w->beats, w->beats.last_ns + gap_ns);
	waits_begin(&w->beats, now);
	w->count = count;
	return gap_ns;
}

/* Return: whether the guest has beaten since the look before. */
static bool look(struct watch *w)
{
	/* In this order: what is copied from FROM to TO in between is not ahead of FROM. */
	const uint64_t to = count_in(w->to, w->offset);
	const uint64_t from = count_in(w->from, w->offset);
	const uint64_t now = now_ns();
	const uint64_t count = to > from ? to : from;
	uint64_t gap_ns;

	if (w->look_ns > 0 && now - w->look_ns > w->look_ns_max)
		w->look_ns_max = now - w->look_ns;
	w->look_ns = now;
	if (count <= w->count)
		return false;
	gap_ns = note_beats(w, count, now);
	if (w->from >= 0 && from > 0 && to > from) {
		(void)close(w->from); /* it was only read */
		w->from = -1;
		w->handover_ns = gap_ns;
	}
	return true;
}

/* Return: 0, or -ETIMEDOUT: there was no last beat. */
static int watch(struct watch *w)
{
	uint64_t end_ns = 0;

	w->look_ns = now_ns();
	waits_begin(&w->beats, w->look_ns);
	/* Ends soon after it was told to. */
	for (uint32_t i = 0;; i++) {
		bool beaten, last = told_to_end;

		if (i % LOOKS == 0)
			look_for_file(w);
		beaten = look(w);
		if (last && beaten)
			return 0;
		if (last && end_ns == 0)
			end_ns = w->look_ns + LAST_NS_MAX;
		if (last && w->look_ns > end_ns)
			return -ETIMEDOUT;
		nap(LOOK_NS);
	}
}

static uint64_t cpu_ns(void)
{
	struct rusage usage;

	(void)getrusage(RUSAGE_SELF, &usage); /* cannot fail for this process */
	return ((uint64_t)usage.ru_utime.tv_sec + (uint64_t)usage.ru_stime.tv_sec) * NS_PER_S +
	       ((uint64_t)usage.ru_utime.tv_usec + (uint64_t)usage.ru_stime.tv_usec) * NS_PER_US;
}

static double ms(uint64_t ns)
{
	return (double)ns / NS_PER_MS;
}

static void print(const struct watch *w, double cpu)
{
	printf("{\"gap_ms\": %.2f, \"handover_ms\": %.2f, \"beat_ms\": %.3f, \"beat_p999_ms\": %.3f, "
	       "\"look_ms\": %.3f, \"look_cpu\": %.3f}\n",
	       ms(w->beats.passes[0].worst_ns), ms(w->handover_ns),
	       ms(waits_all_but_ns(&w->beats, 2)), ms(waits_all_but_ns(&w->beats, 1000)),
	       ms(w->look_ns_max), cpu);
}

/* Return: 0; or -errno, after the reason was said. */
static int begin(struct watch *w, const char *from, const char *to)
{
	const struct sched_param first = { .sched_priority = 1 };
	const struct sigaction end = { .sa_handler = note_end };
	int r;

	(void)sigaction(SIGTERM, &end, NULL); /* cannot fail for this signal */
	/* If it has to wait for a CPU, look_ms says so. */
	(void)sched_setscheduler(0, SCHED_FIFO, &first);
	w->to_name = to;
	w->from = open_first(from);
	r = w->from < 0 ? w->from : find(w);
	if (r < 0) {
		(void)fprintf(stderr, "watch_beat: no beat in %s: %s\n", from, strerrordesc_np(-r));
		return r;
	}
	printf("ready\n");
	(void)fflush(stdout); /* whoever waits for it misses it */
	return 0;
}

int main(int argc, char **argv)
{
	static struct watch w = { .from = -1, .to = -1 };
	uint64_t begun_ns, begun_cpu_ns;

	if (argc != 3) {
		(void)fprintf(stderr, "usage: watch_beat FROM TO\n"); /* nowhere else to say it */
		return EXIT_FAILURE;
	}
	if (begin(&w, argv[1], argv[2]) < 0)
		return EXIT_FAILURE;
	begun_ns = now_ns();
	begun_cpu_ns = cpu_ns();
	if (watch(&w) < 0) {
		(void)fprintf(stderr,
		              "watch_beat: the guest does not beat any more\n"); /* as above */
		return EXIT_FAILURE;
	}
	print(&w, (double)(cpu_ns() - begun_cpu_ns) / (double)(now_ns() - begun_ns));
	return EXIT_SUCCESS;
}
