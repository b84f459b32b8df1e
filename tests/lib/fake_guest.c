/* SPDX-License-Identifier: Apache-2.0 */

#include "fake_guest.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "wherry/assert.h"
#include "wherry/limits.h"

struct wh_dirty {
	struct wh_pageset *written;
	struct wh_pageset *removed;
	const struct wh_ram *ram;
	uint64_t punch_late; /* a page whose removal is announced and not yet done, or NONE */
};

#define NONE UINT64_MAX

#define FLICKERING 4u

/* Add @run, and what is tracked together with it. */
static void add(const struct wh_dirty *dirty, struct wh_run run, struct wh_pageset *into)
{
	for (uint64_t page = run.first; page < run.first + run.count; page++) {
		const struct wh_region *region = wh_ram_region(dirty->ram, page);
		const uint64_t together = region->page_bytes / WH_PAGE_SIZE;
		const uint64_t pages = region->bytes / WH_PAGE_SIZE;
		uint64_t first = page - region->first_page;

		first -= first % together;
		wh_pageset_add(into, region->first_page + first,
		               together < pages - first ? together : pages - first);
	}
}

int wh_dirty_collect(struct wh_dirty *dirty, struct wh_pageset *into)
{
	struct wh_run run;

	while (wh_pageset_take_run(dirty->written, UINT32_MAX, &run))
		add(dirty, run, into);
	wh_pageset_merge(into, dirty->removed);
	return 0;
}

int wh_dirty_collect_last(struct wh_dirty *dirty, struct wh_pageset *into)
{
	return wh_dirty_collect(dirty, into);
}

bool wh_dirty_any_removed(struct wh_dirty *dirty)
{
	return wh_pageset_count(dirty->removed) > 0;
}

bool wh_dirty_removed(struct wh_dirty *dirty, uint64_t page)
{
	return wh_pageset_has(dirty->removed, page);
}

void wh_dirty_forget(struct wh_dirty *dirty, uint64_t page)
{
	wh_pageset_remove(dirty->removed, page);
}

static uint64_t roll(struct fake_guest *guest, uint64_t sides)
{
	guest->random = guest->random * UINT64_C(6364136223846793005) + 1442695040888963407u;
	return (guest->random >> 33) % sides;
}

int fake_ram_file(uint64_t pages)
{
	int fd = memfd_create("ram", MFD_CLOEXEC);

	wh_assert(fd >= 0 && ftruncate(fd, (off_t)(pages * WH_PAGE_SIZE)) == 0);
	return fd;
}

static uint8_t *page_of(struct fake_guest *guest, uint64_t page)
{
	const struct wh_region *region = wh_ram_region(&guest->ram, page);

	return guest->writable[region - guest->ram.regions] +
	       (page - region->first_page) * WH_PAGE_SIZE;
}

static void set(struct fake_guest *guest, uint64_t page, uint64_t value)
{
	uint8_t *at = page_of(guest, page);

	/* Mostly the first byte decides; sometimes only the last one is not zero. */
	memset(at, 0, WH_PAGE_SIZE);
	if (value % 8)
		for (size_t i = 0; i < WH_PAGE_SIZE; i += sizeof(value))
			memcpy(at + i, &value, sizeof(value));
	else
		at[WH_PAGE_SIZE - 1] = 1;
	memcpy(guest->shadow + page * WH_PAGE_SIZE, at, WH_PAGE_SIZE);
}

static void fill(struct fake_guest *guest, uint64_t page)
{
	set(guest, page, roll(guest, UINT32_MAX) + 1);
}

static void clear(struct fake_guest *guest, uint64_t page)
{
	memset(page_of(guest, page), 0, WH_PAGE_SIZE);
	memset(guest->shadow + page * WH_PAGE_SIZE, 0, WH_PAGE_SIZE);
}

static void punch(struct fake_guest *guest, uint64_t page)
{
	const struct wh_region *region = wh_ram_region(&guest->ram, page);

	if (guest->punching)
		guest->punching(guest->context, (const uint8_t *)region->addr +
		                                        (page - region->first_page) * WH_PAGE_SIZE);
	/* It is a tmpfs, whatever it stands for. */
	wh_assert(fallocate(region->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
	                    (off_t)((page - region->first_page) * WH_PAGE_SIZE),
	                    WH_PAGE_SIZE) == 0);
	memset(guest->shadow + page * WH_PAGE_SIZE, 0, WH_PAGE_SIZE);
}

static bool is_being_read(const struct fake_guest *guest, uint64_t page)
{
	for (uint32_t i = 0; i < FAKE_READS; i++)
		if (guest->reads[i].pending && guest->reads[i].page == page)
			return true;
	return false;
}

void fake_guest_read(struct fake_guest *guest, uint64_t now_ns, uint64_t longest_ns, bool tracked)
{
	struct fake_read *read = &guest->reads[roll(guest, FAKE_READS)];
	const uint64_t page = roll(guest, guest->ram.pages);
	volatile uint8_t *at = page_of(guest, page);

	/* What becomes of a page that is given back while a device writes it is nobody's concern. */
	if (read->pending || page == guest->dirty->punch_late)
		return;
	*read = (struct fake_read){ .pending = true,
		                    .page = page,
		                    .lands_ns = now_ns + roll(guest, longest_ns) };
	*at = *at; /* a page must be there for that */
	if (tracked)
		wh_pageset_add(guest->dirty->written, page, 1);
}

void fake_guest_land(struct fake_guest *guest, uint64_t now_ns)
{
	for (uint32_t i = 0; i < FAKE_READS; i++) {
		struct fake_read *read = &guest->reads[i];

		if (!read->pending || read->lands_ns > now_ns)
			continue;
		read->pending = false;
		if (roll(guest, 4) == 0)
			clear(guest, read->page);
		else
			fill(guest, read->page);
	}
}

static void punch_announced(struct fake_guest *guest)
{
	if (guest->dirty->punch_late != NONE)
		punch(guest, guest->dirty->punch_late);
	guest->dirty->punch_late = NONE;
}

void fake_guest_finish(struct fake_guest *guest)
{
	punch_announced(guest);
	fake_guest_land(guest, UINT64_MAX);
}

void fake_guest_act(struct fake_guest *guest)
{
	/* A few pages flicker between two contents: who compares must not take one for the other. */
	const bool flicker = roll(guest, 4) == 0;
	uint64_t page = flicker ? guest->ram.pages - 1 - roll(guest, FLICKERING)
	                        : roll(guest, guest->ram.pages);
	struct wh_dirty *dirty = guest->dirty;

	/* The hypervisor announces a removal and does nothing else until it is done. */
	if (dirty->punch_late != NONE) {
		punch_announced(guest);
		return;
	}
	if (flicker) {
		set(guest, page, roll(guest, 2) + 1);
		wh_pageset_add(dirty->written, page, 1);
		return;
	}
	switch (is_being_read(guest, page) ? 7 : roll(guest, 8)) {
	case 0:
		dirty->punch_late = page;
		wh_pageset_add(dirty->removed, page, 1);
		return;
	case 1:
		clear(guest, page);
		break;
	default:
		fill(guest, page);
	}
	wh_pageset_add(dirty->written, page, 1);
}

void fake_guest_init(struct fake_guest *guest, uint64_t pages, uint64_t seed)
{
	*guest = (struct fake_guest){ .random = seed };
	guest->dirty = calloc(1, sizeof(*guest->dirty));
	guest->shadow = calloc(FAKE_REGIONS * pages, WH_PAGE_SIZE);
	for (uint16_t i = 0; i < FAKE_REGIONS; i++) {
		char name[] = { 'r', 'a', 'm', (char)('0' + i), '\0' };

		guest->fds[i] = fake_ram_file(pages);
		guest->writable[i] = mmap(NULL, pages * WH_PAGE_SIZE, PROT_READ | PROT_WRITE,
		                          MAP_SHARED, guest->fds[i], 0);
		wh_assert(guest->writable[i] != MAP_FAILED);
		wh_assert(wh_ram_add(&guest->ram, name, pages * WH_PAGE_SIZE, guest->fds[i],
		                     NULL) == 0);
	}
	wh_assert(wh_ram_map(&guest->ram, NULL) == 0);
	guest->dirty->ram = &guest->ram;
	guest->huge = seed / 4 % 2;
	if (guest->huge)
		guest->ram.regions[FAKE_REGIONS - 1].page_bytes = FAKE_HUGE_PAGES * WH_PAGE_SIZE;
	guest->dirty->written = wh_pageset_new(guest->ram.pages);
	guest->dirty->removed = wh_pageset_new(guest->ram.pages);
	guest->dirty->punch_late = NONE;
	for (uint64_t i = 0; i < guest->ram.pages / 2; i++)
		fill(guest, roll(guest, guest->ram.pages));
}

void fake_guest_done(struct fake_guest *guest)
{
	for (uint16_t i = 0; i < FAKE_REGIONS; i++) {
		(void)munmap(guest->writable[i], guest->ram.regions[i].bytes);
		(void)close(guest->fds[i]);
	}
	wh_ram_unmap(&guest->ram);
	guest->dirty->written = wh_pageset_free(guest->dirty->written);
	guest->dirty->removed = wh_pageset_free(guest->dirty->removed);
	free(guest->dirty);
	free(guest->shadow);
}

bool fake_guest_is_intact(const struct fake_guest *guest, const int fds[FAKE_REGIONS])
{
	uint8_t page[WH_PAGE_SIZE];

	for (uint64_t i = 0; i < guest->ram.pages; i++) {
		const struct wh_region *region = wh_ram_region(&guest->ram, i);
		off_t offset = (off_t)((i - region->first_page) * WH_PAGE_SIZE);

		wh_assert(pread(fds[region - guest->ram.regions], page, sizeof(page), offset) ==
		          (ssize_t)sizeof(page));
		if (memcmp(page, guest->shadow + i * WH_PAGE_SIZE, sizeof(page)) != 0) {
			(void)fprintf(stderr, "page %ju of region %s differs\n",
			              (uintmax_t)(i - region->first_page), region->name);
			return false;
		}
	}
	return true;
}
