/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A page is copied first, and its bit cleared after. The other order would let a guest that
 * faults in between have a zero page: a fault on a page that is not missing is answered with one.
 *
 * Both happen under the lock of the page's unit, so that a page that comes twice, by push and by
 * fetch, is placed once: between the two the guest may have written to it. And should a mover die
 * between copy and clear, the next one finds the page there, and that is as good as placed.
 *
 * In memory that is kept, a page is always there, so that would tell nothing. But nobody sees it before
 * its bit is cleared: the next mover copies it again.
 */

#include "missing.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "wherry/assert.h"
#include "wherry/limits.h"
#include "wherry/worker.h"

#define WORD_BITS 64u

/*
 * Pages of a unit: what is placed under one lock. Few, so that a page that is waited for does not
 * wait for many others; but not less than can be filled as one, which may then lie in two units.
 */
#define UNIT_PAGES 16u

static uint32_t unit_of(const struct wh_missing *missing)
{
	return missing->fill->granule > UNIT_PAGES ? missing->fill->granule : UNIT_PAGES;
}

int wh_missing_open(struct wh_missing *missing, int fd, uint64_t pages, struct wh_error *err)
{
	const uint64_t bytes = wh_missing_file_bytes(pages * WH_PAGE_SIZE);
	uint64_t left = 0;
	struct stat st;
	void *bits;

	if (fstat(fd, &st) < 0 || (uint64_t)st.st_size < bytes)
		return wh_fail(err, -EINVAL, "the file for missing pages is too short");
	bits = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (bits == MAP_FAILED)
		return wh_fail(err, -errno, "cannot map the file for missing pages: %s",
		               strerror(errno));
	*missing = (struct wh_missing){ .bits = bits, .bytes = bytes, .pages = pages };
	for (uint64_t w = 0; w < bytes / 8; w++)
		left += (uint64_t)__builtin_popcountll(missing->bits[w]);
	missing->left = left;
	for (uint32_t i = 0; i < WH_MISSING_LOCKS; i++)
		wh_assert(pthread_mutex_init(&missing->locks[i], NULL) == 0);
	return 0;
}

void wh_missing_close(struct wh_missing *missing)
{
	if (!missing->bits)
		return;
	(void)munmap((void *)missing->bits, missing->bytes);
	for (uint32_t i = 0; i < WH_MISSING_LOCKS; i++)
		(void)pthread_mutex_destroy(&missing->locks[i]);
	missing->bits = NULL;
}

bool wh_missing_has(const struct wh_missing *missing, uint64_t page)
{
	wh_assert(page < missing->pages);
	return (atomic_load(&missing->bits[page / WORD_BITS]) >> (page % WORD_BITS)) & 1;
}

uint64_t wh_missing_left(const struct wh_missing *missing)
{
	return atomic_load(&missing->left);
}

/* The bits of the word that holds @first which belong to [@first, @end). */
static uint64_t mask(uint64_t first, uint64_t end)
{
	uint64_t bits = ~UINT64_C(0) << (first % WORD_BITS);

	if (end - first + first % WORD_BITS < WORD_BITS)
		bits &= ~(~UINT64_C(0) << (first % WORD_BITS + (end - first)));
	return bits;
}

static uint64_t next_word(uint64_t page)
{
	return (page / WORD_BITS + 1) * WORD_BITS;
}

void wh_missing_add(struct wh_missing *missing, uint64_t first, uint64_t count)
{
	const uint64_t end = first + count;

	wh_assert(count > 0 && first < end && end <= missing->pages);
	for (; first < end; first = next_word(first)) {
		const uint64_t bits = mask(first, end);
		const uint64_t before = atomic_fetch_or(&missing->bits[first / WORD_BITS], bits);

		atomic_fetch_add(&missing->left, (uint64_t)__builtin_popcountll(bits & ~before));
	}
}

/* The caller holds the locks of these pages. */
static void clear(struct wh_missing *missing, uint64_t first, uint64_t count)
{
	const uint64_t end = first + count;

	for (; first < end; first = next_word(first)) {
		const uint64_t bits = mask(first, end);
		const uint64_t before = atomic_fetch_and(&missing->bits[first / WORD_BITS], ~bits);

		atomic_fetch_sub(&missing->left, (uint64_t)__builtin_popcountll(bits & before));
	}
}

/* The first page in [@page, @end) whose bit is @bit, or @end. */
static uint64_t find(const struct wh_missing *missing, uint64_t page, uint64_t end, bool bit)
{
	while (page < end) {
		const uint64_t word = atomic_load(&missing->bits[page / WORD_BITS]);
		const uint64_t rest = (bit ? word : ~word) >> (page % WORD_BITS);

		if (rest) {
			page += (uint64_t)__builtin_ctzll(rest);
			return page < end ? page : end;
		}
		page = next_word(page);
	}
	return end;
}

bool wh_missing_find(const struct wh_missing *missing, uint64_t from, uint32_t max,
                     struct wh_run *ret)
{
	const uint64_t first = find(missing, from, missing->pages, true);
	uint64_t end;

	if (first >= missing->pages)
		return false;
	end = missing->pages - first < max ? missing->pages : first + max;
	end = find(missing, first, end, false);
	*ret = (struct wh_run){ .first = first, .count = (uint32_t)(end - first) };
	return true;
}

uint64_t wh_missing_next(const struct wh_missing *missing, uint64_t from, uint64_t end)
{
	wh_assert(end <= missing->pages);
	return find(missing, from, end, true);
}

/* Lock or unlock the one or two units of @run, which has no more pages than one. */
static void lock(struct wh_missing *missing, struct wh_run run, int (*turn)(pthread_mutex_t *))
{
	const uint32_t unit = unit_of(missing);
	uint64_t a = run.first / unit % WH_MISSING_LOCKS;
	uint64_t b = (run.first + run.count - 1) / unit % WH_MISSING_LOCKS;

	/* Always in the same order. */
	(void)turn(&missing->locks[a < b ? a : b]);
	if (a != b)
		(void)turn(&missing->locks[a < b ? b : a]);
}

/* The first part of [@first, @end) that is locked as one: whole granules, wherever they begin. */
static struct wh_run first_part(const struct wh_missing *missing, uint64_t first, uint64_t end)
{
	const uint32_t unit = unit_of(missing);
	uint64_t behind = first + unit;

	if (missing->fill->granule == 1)
		behind -= first % unit;
	return (struct wh_run){ .first = first,
		                .count = (uint32_t)((behind < end ? behind : end) - first) };
}

/* Copy a run of missing pages and clear their bits. Return: pages done, at least 1, or -errno. */
static int place(struct wh_missing *missing, uint64_t first, uint32_t count, const void *from)
{
	int n = missing->fill->copy(missing->fill, first, count, from);

	if (n > 0) {
		clear(missing, first, (uint64_t)n);
		(void)missing->fill->show(missing->fill, first, (uint32_t)n);
	}
	return n;
}

/* As wh_missing_put(), with the locks held. */
static int put(struct wh_missing *missing, struct wh_run run, const uint8_t *from)
{
	const uint64_t end = run.first + run.count;
	uint64_t at = run.first;

	/* This ends: each turn gets further, or fails. */
	while (at < end) {
		const uint64_t first = find(missing, at, end, true);
		const uint64_t behind = find(missing, first, end, false);
		int n;

		if (first == end)
			break;
		n = place(missing, first, (uint32_t)(behind - first),
		          from + (first - run.first) * WH_PAGE_SIZE);
		if (n < 0)
			return n;
		at = first + (uint64_t)n;
	}
	return 0;
}

int wh_missing_put(struct wh_missing *missing, uint64_t first, uint32_t count, const void *from)
{
	const uint64_t end = first + count;
	const uint8_t *contents = from;
	int r = 0;

	wh_assert(count > 0 && count <= WH_RUN_PAGES_MAX && end <= missing->pages);
	for (uint64_t at = first; r == 0 && at < end;) {
		const struct wh_run run = first_part(missing, at, end);

		lock(missing, run, pthread_mutex_lock);
		r = put(missing, run, contents + (at - first) * WH_PAGE_SIZE);
		lock(missing, run, pthread_mutex_unlock);
		at += run.count;
	}
	return r;
}

/* Wipe and clear what is missing of @run, whose locks the caller holds. Return: 0 or -errno. */
static int wipe(struct wh_missing *missing, struct wh_run run)
{
	const uint64_t end = run.first + run.count;
	uint64_t at = run.first;
	int r = 0;

	/* This ends: each turn gets further. */
	while (r == 0 && (at = find(missing, at, end, true)) < end) {
		const uint64_t behind = find(missing, at, end, false);

		r = missing->fill->wipe(missing->fill, at, (uint32_t)(behind - at));
		if (r == 0)
			clear(missing, at, behind - at);
		at = behind;
	}
	return r;
}

int wh_missing_zero(struct wh_missing *missing, uint64_t first, uint64_t count)
{
	const uint64_t end = first + count;
	int r = 0;

	wh_assert(end <= missing->pages);
	for (uint64_t at = first; r == 0 && at < end;) {
		const struct wh_run run = first_part(missing, at, end);

		lock(missing, run, pthread_mutex_lock);
		r = wipe(missing, run);
		lock(missing, run, pthread_mutex_unlock);
		at += run.count;
	}
	missing->fill->wake(missing->fill, first, count);
	return r;
}

void wh_missing_forget(struct wh_missing *missing, uint64_t first, uint64_t count)
{
	const uint64_t end = first + count;

	wh_assert(end <= missing->pages);
	for (uint64_t at = first; at < end;) {
		const struct wh_run run = first_part(missing, at, end);

		lock(missing, run, pthread_mutex_lock);
		clear(missing, run.first, run.count);
		lock(missing, run, pthread_mutex_unlock);
		at += run.count;
	}
	/* Who waits faults again, and then it is a page that nobody owes. */
	missing->fill->wake(missing->fill, first, count);
}
