/* SPDX-License-Identifier: Apache-2.0 */

/*
 * TAP - how a test program without a framework says what it found.
 *
 * One line for each fact, "ok 1 - ..." or "not ok 1 - ...", the plan "1..N" last, and the exit
 * status: 0 all true, 1 something false, 77 the machine lacks something (and which).
 *
 * Threads: the main thread only.
 */

#ifndef WH_TAP_H
#define WH_TAP_H

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TAP_EXIT_SKIP 77

static int tap_count;
static int tap_failures;

/* State a fact: tap_ok(is_so, "what is so"). Evaluates to @is_so. */
#define tap_ok(is_so, ...) tap_report((is_so), __FILE__, __LINE__, __VA_ARGS__)

/* A step that the test needs. If it does not work, the test has failed, here and now. */
#define tap_need(works, what)                               \
	do {                                                \
		if (!(works))                               \
			tap_bail(__FILE__, __LINE__, what); \
	} while (0)

static inline __attribute__((format(printf, 4, 5))) bool tap_report(bool is_so, const char *file,
                                                                    int line, const char *fmt, ...)
{
	va_list args;

	tap_count++;
	tap_failures += !is_so;
	(void)printf("%s %d - ", is_so ? "ok" : "not ok", tap_count);
	va_start(args, fmt);
	(void)vprintf(fmt, args);
	va_end(args);
	(void)printf("\n");
	if (!is_so)
		(void)printf("# %s:%d\n", file, line);
	(void)fflush(stdout); /* so that a forked child does not print it again */
	return is_so;
}

static inline __attribute__((noreturn)) void tap_exit(int status)
{
	(void)fflush(stdout);
	exit(status); /* NOLINT(concurrency-mt-unsafe): other threads may just end here */
}

static inline __attribute__((noreturn)) void tap_bail(const char *file, int line, const char *what)
{
	(void)printf("Bail out! %s:%d: %s: %s\n", file, line, what, strerror(errno));
	tap_exit(1);
}

/* The machine lacks what the test is about: say what. */
static inline __attribute__((noreturn)) void tap_skip_all(const char *lacking)
{
	(void)printf("1..0 # SKIP %s\n", lacking);
	tap_exit(TAP_EXIT_SKIP);
}

/* The last call of main(): prints the plan. Return: the exit status. */
static inline int tap_done(void)
{
	(void)printf("1..%d\n", tap_count);
	return tap_failures || !tap_count;
}

#endif
