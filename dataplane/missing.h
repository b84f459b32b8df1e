/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Missing - which pages the source still owes, and the rule by which one is placed.
 *
 * A bit is set exactly as long as what the page must hold is only at the source. A page that was
 * never touched, or is known to be zero, is not missing. The bits live in a file of the daemon's,
 * so that they outlast a mover.
 *
 * Threads: any, but for open, add and close, and before the first of those.
 */

#ifndef WH_MISSING_H
#define WH_MISSING_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "fill.h"
#include "pageset.h"

#include "wherry/cleanup.h"
#include "wherry/error.h"

/* Locks for all units of the guest: more than there are threads that place pages. */
#define WH_MISSING_LOCKS 64u

struct wh_missing {
	_Atomic uint64_t *bits; /* the file, mapped */
	uint64_t bytes;
	uint64_t pages;
	_Atomic uint64_t left; /* bits that are set */
	struct wh_fill *fill;  /* borrowed; set before the first put */
	pthread_mutex_t locks[WH_MISSING_LOCKS];
};

/* Map the missing file @fd, borrowed, of a guest of @pages pages. Return: 0 or -errno. */
wh_must_check int wh_missing_open(struct wh_missing *missing, int fd, uint64_t pages,
                                  struct wh_error *err);
void wh_missing_close(struct wh_missing *missing);

/* These pages are owed from now on. For one thread, before anything is placed. */
void wh_missing_add(struct wh_missing *missing, uint64_t first, uint64_t count);

bool wh_missing_has(const struct wh_missing *missing, uint64_t page);
uint64_t wh_missing_left(const struct wh_missing *missing);

/* The first run at or behind @from, of at most @max pages. Return: false if there is none. */
bool wh_missing_find(const struct wh_missing *missing, uint64_t from, uint32_t max,
                     struct wh_run *ret);

/* The first page of [@from, @end) that is missing, or @end. */
uint64_t wh_missing_next(const struct wh_missing *missing, uint64_t from, uint64_t end);

/*
 * Place contents: a page that is missing gets them, any other keeps what it has.
 *
 * Return: 0; -EAGAIN, with some of them done, while events must be taken first; or -errno.
 */
wh_must_check int wh_missing_put(struct wh_missing *missing, uint64_t first, uint32_t count,
                                 const void *from);

/* These pages are no longer owed: they were given back. Wakes who waits for them. */
void wh_missing_forget(struct wh_missing *missing, uint64_t first, uint64_t count);

/* The same for pages that are zero: those that are missing become it. Return: 0 or -errno. */
wh_must_check int wh_missing_zero(struct wh_missing *missing, uint64_t first, uint64_t count);

#endif
