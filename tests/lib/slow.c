/* SPDX-License-Identifier: Apache-2.0 */

/*
 * slow - slow threads of a process, as auto-converge does, for tests and measurements.
 *
 *	slow ID PID THREAD...
 *
 * It says "ready" and then obeys lines on standard input: a percentage answers "ok" and how many
 * microseconds it took to set it, or the reason. At the end of input the threads are put back, and it
 * says how long that took. ID becomes part of the groups' names.
 */

#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "throttle.h"

#include "wherry/clock.h"

#define THREADS_MAX 1024

static uint64_t now_us(void)
{
	return wh_now_ns(&wh_clock_monotonic) / 1000;
}

static void report(const char *word, uint64_t begun_us)
{
	(void)printf("%s %" PRIu64 "\n", word, now_us() - begun_us);
	(void)fflush(stdout);
}

static void obey(struct wh_throttle *throttle)
{
	char line[64];

	while (fgets(line, sizeof(line), stdin)) {
		uint64_t begun_us = now_us();
		struct wh_error err;

		if (wh_throttle_set(throttle, (unsigned)strtoul(line, NULL, 10), &err) == 0)
			report("ok", begun_us);
		else
			report(err.text, begun_us);
	}
}

int main(int argc, char **argv)
{
	pid_t threads[THREADS_MAX];
	struct wh_throttle_config cfg = { .threads = threads };
	struct wh_throttle *throttle;
	struct wh_error err;
	uint64_t begun_us = now_us();

	if (argc < 4 || argc > THREADS_MAX)
		return EXIT_FAILURE;
	cfg.id = argv[1];
	cfg.pid = (pid_t)strtol(argv[2], NULL, 10);
	for (int i = 3; i < argc; i++)
		threads[cfg.count++] = (pid_t)strtol(argv[i], NULL, 10);
	if (wh_throttle_open(&throttle, &cfg, &err) < 0) {
		(void)fprintf(stderr, "slow: %s\n", err.text);
		return EXIT_FAILURE;
	}
	report("ready", begun_us);
	obey(throttle);
	begun_us = now_us();
	if (wh_throttle_close(throttle, &err) < 0) {
		(void)fprintf(stderr, "slow: %s\n", err.text);
		return EXIT_FAILURE;
	}
	report("undone", begun_us);
	return EXIT_SUCCESS;
}
