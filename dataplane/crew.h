/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Crew - threads that do the parts of a job together.
 *
 * They are made while opening and sleep between jobs. Who gives a job works on it, too, so that a
 * crew of one has no thread, and a job never waits for one that gets no CPU.
 *
 * Threads: one gives the jobs, one after the other.
 */

#ifndef WH_CREW_H
#define WH_CREW_H

#include <stdint.h>

#include "wherry/cleanup.h"
#include "wherry/error.h"

struct wh_crew;

/*
 * Does part @part. @member, below the crew's size, is never at two parts at once: it may have
 * memory of its own. Return: 0 or -errno.
 */
typedef int (*wh_crew_part)(void *context, uint32_t member, uint64_t part);

/* Make a crew of @size, 1 to WH_SCAN_THREADS_MAX, the caller included. Return: 0 or -errno. */
wh_must_check int wh_crew_open(struct wh_crew **ret, uint32_t size, struct wh_error *err);

/* Accepts NULL, returns NULL. */
struct wh_crew *wh_crew_close(struct wh_crew *crew);

uint32_t wh_crew_size(const struct wh_crew *crew);

/*
 * Do parts 0 to @parts - 1, each once, in any order. After a failure no other is begun.
 * Return: 0 or the first failure.
 */
wh_must_check int wh_crew_run(struct wh_crew *crew, wh_crew_part fn, void *context, uint64_t parts);

WH_DEFINE_CLEANUP(struct wh_crew, wh_crew_close)

#endif
