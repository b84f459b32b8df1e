/* SPDX-License-Identifier: Apache-2.0 */

/* Random - numbers that a seed repeats. A test takes its seed from SEED in the environment, or the
 * clock, and prints it. */

#ifndef TEST_RANDOM_H
#define TEST_RANDOM_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static inline uint64_t random_seed(void)
{
	const char *given = getenv("SEED");
	const uint64_t seed = given ? strtoull(given, NULL, 10) : (uint64_t)time(NULL);

	(void)printf("# SEED=%llu repeats this\n", (unsigned long long)seed);
	(void)fflush(stdout); /* also if the test crashes */
	return seed * 2 + 1;  /* never 0 */
}

/* A number below @below, from xorshift. */
static inline uint64_t random_below(uint64_t *seed, uint64_t below)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed % below;
}

#endif
