/* SPDX-License-Identifier: Apache-2.0 */

#include "pageset.h"

#include <stdlib.h>
#include <sys/mman.h>

#include "wherry/assert.h"

#define WORD_BITS 64u

static uint64_t words(const struct wh_pageset *set)
{
	return set->pages / WORD_BITS + (set->pages % WORD_BITS != 0);
}

static size_t room(const struct wh_pageset *set)
{
	return words(set) * sizeof(*set->bits);
}

struct wh_pageset *wh_pageset_new(uint64_t pages)
{
	struct wh_pageset *set = calloc(1, sizeof(*set));

	if (!set)
		return NULL;
	set->pages = pages;
	set->next = pages;
	/* Not calloc(): it may clear memory that it has used before, and then all of it is there. */
	set->bits = mmap(NULL, room(set), PROT_READ | PROT_WRITE,
	                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (set->bits != MAP_FAILED)
		return set;
	free(set);
	return NULL;
}

struct wh_pageset *wh_pageset_free(struct wh_pageset *set)
{
	if (!set)
		return NULL;
	(void)munmap(set->bits, room(set));
	free(set);
	return NULL;
}

/* The bits of word @word that belong to [@first, @end). */
static uint64_t mask(uint64_t word, uint64_t first, uint64_t end)
{
	uint64_t low = word * WORD_BITS;
	uint64_t bits = ~UINT64_C(0);

	if (first > low)
		bits <<= first - low;
	if (end < low + WORD_BITS)
		bits &= ~UINT64_C(0) >> (low + WORD_BITS - end);
	return bits;
}

void wh_pageset_add(struct wh_pageset *set, uint64_t first, uint64_t count)
{
	uint64_t end = first + count;
	uint64_t next;

	wh_assert(count > 0 && first < end && end <= set->pages);
	for (uint64_t w = first / WORD_BITS; w * WORD_BITS < end; w++)
		(void)__atomic_fetch_or(&set->bits[w], mask(w, first, end), __ATOMIC_RELAXED);

	/* This ends: where another thread was faster, @next is lower than before. */
	next = __atomic_load_n(&set->next, __ATOMIC_RELAXED);
	while (first < next && !__atomic_compare_exchange_n(&set->next, &next, first, false,
	                                                    __ATOMIC_RELAXED, __ATOMIC_RELAXED))
		;
}

void wh_pageset_remove(struct wh_pageset *set, uint64_t page)
{
	wh_assert(page < set->pages);
	set->bits[page / WORD_BITS] &= ~(UINT64_C(1) << (page % WORD_BITS));
}

bool wh_pageset_has(const struct wh_pageset *set, uint64_t page)
{
	wh_assert(page < set->pages);
	return (set->bits[page / WORD_BITS] >> (page % WORD_BITS)) & 1;
}

uint64_t wh_pageset_count(const struct wh_pageset *set)
{
	uint64_t count = 0;

	for (uint64_t w = set->next / WORD_BITS; w < words(set); w++)
		count += (uint64_t)__builtin_popcountll(set->bits[w]);
	return count;
}

void wh_pageset_merge(struct wh_pageset *set, const struct wh_pageset *other)
{
	wh_assert(set->pages == other->pages);
	for (uint64_t w = other->next / WORD_BITS; w < words(other); w++)
		set->bits[w] |= other->bits[w];
	if (other->next < set->next)
		set->next = other->next;
}

void wh_pageset_clear(struct wh_pageset *set)
{
	/* Where nothing was ever added, nothing is written: it takes no memory then. */
	for (uint64_t w = set->next / WORD_BITS; w < words(set); w++)
		if (set->bits[w])
			set->bits[w] = 0;
	set->next = set->pages;
}

void wh_pageset_subtract(struct wh_pageset *set, const struct wh_pageset *other)
{
	wh_assert(set->pages == other->pages);
	for (uint64_t w = other->next / WORD_BITS; w < words(other); w++)
		set->bits[w] &= ~other->bits[w];
}

/* The first page in [@page, @end) whose bit is @bit, or @end. */
static uint64_t find(const struct wh_pageset *set, uint64_t page, uint64_t end, bool bit)
{
	while (page < end) {
		uint64_t w = set->bits[page / WORD_BITS];
		uint64_t rest = (bit ? w : ~w) >> (page % WORD_BITS);

		if (rest) {
			page += (uint64_t)__builtin_ctzll(rest);
			return page < end ? page : end;
		}
		page = (page / WORD_BITS + 1) * WORD_BITS;
	}
	return end;
}

/* Find the lowest run within [@from, @limit). */
static bool find_run(const struct wh_pageset *set, uint64_t from, uint64_t limit, uint32_t max,
                     struct wh_run *ret)
{
	const uint64_t first = find(set, from, limit, true);
	uint64_t end = first - first % max + max;

	if (first >= limit)
		return false;
	end = find(set, first, end < limit ? end : limit, false);
	*ret = (struct wh_run){ .first = first, .count = (uint32_t)(end - first) };
	return true;
}

static void take(struct wh_pageset *set, struct wh_run run)
{
	const uint64_t end = run.first + run.count;

	for (uint64_t w = run.first / WORD_BITS; w * WORD_BITS < end; w++)
		set->bits[w] &= ~mask(w, run.first, end);
}

bool wh_pageset_find_run(const struct wh_pageset *set, uint64_t from, uint32_t max,
                         struct wh_run *ret)
{
	return find_run(set, from > set->next ? from : set->next, set->pages, max, ret);
}

bool wh_pageset_take_run_in(struct wh_pageset *set, uint64_t first, uint64_t end, uint32_t max,
                            struct wh_run *ret)
{
	if (!find_run(set, first, end < set->pages ? end : set->pages, max, ret))
		return false;
	take(set, *ret);
	return true;
}

bool wh_pageset_take_run(struct wh_pageset *set, uint32_t max, struct wh_run *ret)
{
	if (!find_run(set, set->next, set->pages, max, ret)) {
		set->next = set->pages;
		return false;
	}
	take(set, *ret);
	set->next = ret->first + ret->count;
	return true;
}
