/* SPDX-License-Identifier: Apache-2.0 */

#include "synth_guest.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "wherry/clock.h"

#define PAGES_PER_MIB (1024u * 1024 / PAGE_BYTES)
#define NAP_US        100u

/* What a side's process and the caller share. Each semaphore is posted once for each thread. */
struct synth_control {
	sem_t ready, go, wrote, stopped;
	_Atomic bool stop;
	_Atomic uint64_t writes[SYNTH_THREADS_MAX];
};

struct writer {
	pthread_t thread;
	const struct synth_guest *guest;
	struct synth_control *control;
	uint32_t index;
	bool fills;
};

static void check(bool good, const char *what)
{
	if (good)
		return;
	perror(what);
	exit(EXIT_FAILURE);
}

static void *map(int flags, int fd, uint64_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | flags, fd, 0);

	check(p != MAP_FAILED, "synth_guest: mmap");
	return p;
}

static void wait_for_all(const struct synth_guest *guest, sem_t *sem)
{
	for (uint32_t i = 0; i < guest->config.threads; i++)
		while (sem_wait(sem) < 0)
			check(errno == EINTR, "synth_guest: sem_wait");
}

static void tell_all(const struct synth_guest *guest, sem_t *sem)
{
	for (uint32_t i = 0; i < guest->config.threads; i++)
		check(sem_post(sem) == 0, "synth_guest: sem_post");
}

/* --- a side's process ------------------------------------------------------------------------- */

/* The first page of a thread's part; that of the thread after the last is the end. */
static uint32_t first_page(const struct synth_guest *guest, uint32_t index)
{
	return (uint32_t)((uint64_t)guest->pages.count * index / guest->config.threads);
}

static void write_batch(struct writer *w, struct pages *pages, struct cursor *cursor)
{
	const uint32_t first = first_page(w->guest, w->index);

	for (uint32_t i = 0; i < CURSOR_BATCH; i++)
		pages_write(pages, first + cursor_step(cursor));
	if (atomic_fetch_add(&w->control->writes[w->index], CURSOR_BATCH) == 0)
		check(sem_post(&w->control->wrote) == 0, "synth_guest: sem_post");
}

static void *write_pages(void *arg)
{
	struct writer *w = arg;
	const struct synth_config *config = &w->guest->config;
	struct pages pages = w->guest->pages;
	const uint32_t first = first_page(w->guest, w->index);
	const uint32_t end = first_page(w->guest, w->index + 1);
	uint32_t hot = config->hot_mib * PAGES_PER_MIB / config->threads;
	/* Rounded up: 0 would be all it can. */
	uint32_t rate_mib = (config->rate_mib + config->threads - 1) / config->threads;
	struct cursor cursor =
		cursor_make(hot < end - first ? hot : end - first, rate_mib, config->pattern);

	for (uint32_t page = first; w->fills && page < end; page++)
		pages_write(&pages, page);
	check(sem_post(&w->control->ready) == 0, "synth_guest: sem_post");
	check(sem_wait(&w->control->go) == 0, "synth_guest: sem_wait");
	while (!atomic_load(&w->control->stop)) {
		if (cursor_due(&cursor, wh_now_ns(&wh_clock_monotonic)))
			write_batch(w, &pages, &cursor);
		else
			(void)usleep(NAP_US); /* too short a nap does no harm */
	}
	check(sem_post(&w->control->stopped) == 0, "synth_guest: sem_post");
	return NULL;
}

/* The process lives until it is killed: whoever tracks its memory must find it alive. */
static _Noreturn void run(struct synth_guest *guest, struct synth_side *side, int fd, bool fills)
{
	static struct writer writers[SYNTH_THREADS_MAX];

	check(prctl(PR_SET_PDEATHSIG, SIGKILL) == 0, "synth_guest: prctl");
	guest->pages.page = map(0, fd, (uint64_t)guest->pages.count * PAGE_BYTES);
	for (uint32_t i = 0; i < guest->config.threads; i++) {
		writers[i] = (struct writer){
			.guest = guest, .control = side->control, .index = i, .fills = fills
		};
		errno = pthread_create(&writers[i].thread, NULL, write_pages, &writers[i]);
		check(errno == 0, "synth_guest: pthread_create");
	}
	for (;;)
		(void)pause(); /* always interrupted */
}

/* --- the caller's part ------------------------------------------------------------------------ */

static void start_side(struct synth_guest *guest, struct synth_side *side, int fd, bool fills)
{
	struct synth_control *control = map(MAP_ANONYMOUS, -1, sizeof(*control));

	side->control = control;
	check(sem_init(&control->ready, 1, 0) == 0 && sem_init(&control->go, 1, 0) == 0 &&
	              sem_init(&control->wrote, 1, 0) == 0 &&
	              sem_init(&control->stopped, 1, 0) == 0,
	      "synth_guest: sem_init");
	side->pid = fork();
	check(side->pid >= 0, "synth_guest: fork");
	if (side->pid == 0)
		run(guest, side, fd, fills);
	wait_for_all(guest, &control->ready);
}

void synth_start(struct synth_guest *guest, const struct synth_config *config, int source_fd,
                 int target_fd, uint64_t bytes)
{
	*guest = (struct synth_guest){ .config = *config };
	guest->pages.count = (uint32_t)(bytes / PAGE_BYTES);
	guest->pages.slot_words = PAGE_WORDS;
	guest->pages.expected = map(MAP_ANONYMOUS, -1, guest->pages.count * sizeof(uint64_t));
	start_side(guest, &guest->source, source_fd, true);
	start_side(guest, &guest->target, target_fd, false);
}

void synth_go(struct synth_guest *guest, struct synth_side *side)
{
	tell_all(guest, &side->control->go);
	while (sem_wait(&side->control->wrote) < 0)
		check(errno == EINTR, "synth_guest: sem_wait");
}

void synth_stop(struct synth_guest *guest, struct synth_side *side)
{
	atomic_store(&side->control->stop, true);
	wait_for_all(guest, &side->control->stopped);
}

uint64_t synth_writes(const struct synth_guest *guest, const struct synth_side *side)
{
	uint64_t writes = 0;

	for (uint32_t i = 0; i < guest->config.threads; i++)
		writes += atomic_load(&side->control->writes[i]);
	return writes;
}

uint64_t synth_errors(const struct synth_guest *guest, int fd)
{
	const uint64_t bytes = (uint64_t)guest->pages.count * PAGE_BYTES;
	struct pages pages = guest->pages;
	uint64_t errors = 0;

	pages.page = map(0, fd, bytes);
	for (uint32_t page = 0; page < pages.count; page++)
		errors += pages_check(&pages, page).state != PAGE_GOOD;
	(void)munmap(pages.page, bytes);
	return errors;
}

static void end_side(struct synth_side *side)
{
	(void)kill(side->pid, SIGKILL); /* it is our child */
	(void)waitpid(side->pid, NULL, 0);
	(void)munmap(side->control, sizeof(*side->control));
}

void synth_end(struct synth_guest *guest)
{
	end_side(&guest->source);
	end_side(&guest->target);
	(void)munmap(guest->pages.expected, guest->pages.count * sizeof(uint64_t));
}
