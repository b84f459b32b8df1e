/* SPDX-License-Identifier: Apache-2.0 */

#include "beat.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "pages.h"

/* Marked only while it runs, so that no copy of the program has the mark. */
static volatile union {
	struct beat beat;
	char page[PAGE_BYTES];
} shown __attribute__((aligned(PAGE_BYTES)));

static _Noreturn void give_up(const char *what)
{
	printf("memguest: error: the beat has no %s: %s\n", what, strerror(errno));
	_exit(EXIT_FAILURE); /* stdout is written line by line */
}

/* Runs for as long as the guest does. */
static _Noreturn void run(void)
{
	const struct sched_param first = { .sched_priority = 1 };
	const struct timespec pause = { .tv_nsec = BEAT_NS };

	/* The guest's only CPU is busy with its memory. */
	if (sched_setscheduler(0, SCHED_FIFO, &first) < 0)
		give_up("real-time priority");
	shown.beat.mark[0] = BEAT_MARK_0;
	shown.beat.mark[1] = BEAT_MARK_1;
	for (uint64_t count = 1;; count++) {
		shown.beat.count = count;
		shown.beat.inverse = ~count;
		(void)nanosleep(&pause, NULL); /* too short a pause does no harm */
	}
}

void beat_start(void)
{
	const pid_t pid = fork();

	if (pid < 0)
		give_up("process");
	if (pid == 0)
		run();
}
