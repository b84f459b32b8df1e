/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A few chunks, each as long as the longest write. pread() copies them: of memory that is not there
 * it gives zeros and allocates nothing.
 */

#include "copies.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "zero.h"

#include "wherry/assert.h"
#include "wherry/limits.h"

/* For two connections: one chunk that each sends, and one that waits for it. */
#define CHUNKS 4u

/* Copied at once, and looked at while it is still in the cache. */
#define STEP_PAGES 32u

struct wh_copies {
	const struct wh_ram *ram;   /* borrowed */
	struct wh_changed *changed; /* owned; NULL once the peer lost what it had */
	uint8_t *chunks;            /* owned, CHUNKS of them */
	uint32_t held[CHUNKS];      /* writes on their way out of each */

	uint32_t current;  /* the chunk copied last */
	struct wh_run run; /* what is in it */
	uint32_t next;     /* pages of it that were handed out */
	uint8_t kinds[WH_RUN_PAGES_MAX];
};

struct wh_copies *wh_copies_new(const struct wh_ram *ram,
                                const uint8_t secret[WH_CHANGED_SECRET_BYTES])
{
	struct wh_copies *copies = calloc(1, sizeof(*copies));

	if (!copies)
		return NULL;
	copies->ram = ram;
	copies->changed = wh_changed_new(ram, secret);
	copies->chunks = aligned_alloc(WH_PAGE_SIZE, (size_t)CHUNKS * WH_WRITE_LEN_MAX);
	return copies->changed && copies->chunks ? copies : wh_copies_free(copies);
}

struct wh_copies *wh_copies_free(struct wh_copies *copies)
{
	if (!copies)
		return NULL;
	copies->changed = wh_changed_free(copies->changed);
	free(copies->chunks);
	free(copies);
	return NULL;
}

static uint8_t *page_at(struct wh_copies *copies, uint32_t page)
{
	return copies->chunks + (size_t)copies->current * WH_WRITE_LEN_MAX +
	       (size_t)page * WH_PAGE_SIZE;
}

/* Copy pages [@first, @first + @count) of the run. Return: 0 or -errno. */
static int copy(struct wh_copies *copies, const struct wh_region *region, uint32_t first,
                uint32_t count)
{
	const uint64_t page = copies->run.first - region->first_page + first;
	uint8_t *to = page_at(copies, first);
	size_t left = (size_t)count * WH_PAGE_SIZE;
	off_t from = (off_t)(page * WH_PAGE_SIZE);

	while (left > 0) {
		ssize_t n = pread(region->fd, to, left, from);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO; /* the RAM file was cut short */
		to += n;
		from += n;
		left -= (size_t)n;
	}
	return 0;
}

static enum wh_copies_kind look(struct wh_copies *copies, uint32_t page)
{
	const uint8_t *contents = page_at(copies, page);

	if (copies->changed &&
	    !wh_changed_note(copies->changed, copies->run.first + page, contents))
		return WH_COPIES_SAME;
	return wh_page_is_zero(contents) ? WH_COPIES_ZERO : WH_COPIES_DATA;
}

/* A chunk that nothing on its way needs. Return: its number, or CHUNKS. */
static uint32_t find_chunk(const struct wh_copies *copies)
{
	uint32_t chunk = 0;

	while (chunk < CHUNKS && copies->held[chunk] > 0)
		chunk++;
	return chunk;
}

int wh_copies_make(struct wh_copies *copies, struct wh_run run)
{
	const struct wh_region *region = wh_ram_region(copies->ram, run.first);
	const uint32_t chunk = find_chunk(copies);
	int r;

	wh_assert(run.count <= WH_RUN_PAGES_MAX);
	if (chunk == CHUNKS)
		return WH_COPIES_FULL;
	copies->current = chunk;
	copies->run = run;
	copies->next = 0;
	r = wh_ram_watch(copies->ram, run);
	if (r < 0)
		return r;
	if (copies->changed)
		wh_changed_begin(copies->changed, run);
	for (uint32_t at = 0; at < run.count; at += STEP_PAGES) {
		uint32_t end = at + STEP_PAGES < run.count ? at + STEP_PAGES : run.count;
		r = copy(copies, region, at, end - at);
		if (r < 0)
			return r;
		for (uint32_t page = at; page < end; page++)
			copies->kinds[page] = (uint8_t)look(copies, page);
	}
	return 0;
}

bool wh_copies_next(struct wh_copies *copies, struct wh_copies_piece *ret)
{
	const uint32_t first = copies->next;
	uint32_t end = first;

	if (first == copies->run.count)
		return false;
	while (end < copies->run.count && copies->kinds[end] == copies->kinds[first])
		end++;
	copies->next = end;
	*ret = (struct wh_copies_piece){
		.run = { .first = copies->run.first + first, .count = end - first },
		.kind = (enum wh_copies_kind)copies->kinds[first],
		.contents = page_at(copies, first),
	};
	return true;
}

void wh_copies_all(const struct wh_copies *copies, struct wh_copies_piece *ret)
{
	*ret = (struct wh_copies_piece){
		.run = copies->run,
		.kind = WH_COPIES_DATA,
		.contents = copies->chunks + (size_t)copies->current * WH_WRITE_LEN_MAX,
	};
}

void wh_copies_peer_lost(struct wh_copies *copies)
{
	copies->changed = wh_changed_free(copies->changed);
}

uint32_t wh_copies_hold(struct wh_copies *copies)
{
	copies->held[copies->current]++;
	return copies->current + 1;
}

void wh_copies_release(struct wh_copies *copies, uint32_t number)
{
	if (number == 0)
		return;
	wh_assert(number <= CHUNKS && copies->held[number - 1] > 0);
	copies->held[number - 1]--;
}
