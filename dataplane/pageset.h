/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Pageset - a set of guest pages, one bit for each.
 *
 * Pages are numbered through all regions of the guest, in the order of struct wh_ram. A set takes
 * memory only near pages that were ever added: for 128 MiB of the guest at a time.
 *
 * Threads: one at a time; but several may add at once.
 */

#ifndef WH_PAGESET_H
#define WH_PAGESET_H

#include <stdbool.h>
#include <stdint.h>

#include "wherry/cleanup.h"

struct wh_run {
	uint64_t first; /* page number */
	uint32_t count; /* pages, at least 1 */
};

struct wh_pageset {
	uint64_t *bits; /* owned */
	uint64_t pages; /* room: page numbers are below this */
	uint64_t next;  /* no page below this one is in the set */
};

/* Make an empty set of @pages pages, at least 1. Return: NULL if out of memory. */
struct wh_pageset *wh_pageset_new(uint64_t pages);

struct wh_pageset *wh_pageset_free(struct wh_pageset *set);

/* Add pages [@first, @first + @count), @count at least 1. */
void wh_pageset_add(struct wh_pageset *set, uint64_t first, uint64_t count);
void wh_pageset_remove(struct wh_pageset *set, uint64_t page);
bool wh_pageset_has(const struct wh_pageset *set, uint64_t page);
uint64_t wh_pageset_count(const struct wh_pageset *set);

/* Add every page of @other, a set of the same size. */
void wh_pageset_merge(struct wh_pageset *set, const struct wh_pageset *other);

/* Remove every page. */
void wh_pageset_clear(struct wh_pageset *set);

/* Remove every page of @other, a set of the same size. */
void wh_pageset_subtract(struct wh_pageset *set, const struct wh_pageset *other);

/*
 * Take the lowest run out of the set. It crosses no multiple of @max, so that no run has parts of
 * two huge pages. Return: false if the set is empty.
 */
bool wh_pageset_take_run(struct wh_pageset *set, uint32_t max, struct wh_run *ret);

/*
 * Take the lowest run within [@first, @end), as wh_pageset_take_run() would; @end may be beyond
 * the last page. Return: false if there is none.
 */
bool wh_pageset_take_run_in(struct wh_pageset *set, uint64_t first, uint64_t end, uint32_t max,
                            struct wh_run *ret);

/* The lowest run at or behind @from, which stays in the set, as wh_pageset_take_run() cuts it. */
bool wh_pageset_find_run(const struct wh_pageset *set, uint64_t from, uint32_t max,
                         struct wh_run *ret);

WH_DEFINE_CLEANUP(struct wh_pageset, wh_pageset_free)

#endif
