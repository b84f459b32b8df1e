/* SPDX-License-Identifier: Apache-2.0 */

#include "ram.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "huge.h"
#include "zero.h"

#include "wherry/assert.h"
#include "wherry/fdpass.h"

/* The unit of st_blocks. */
#define STAT_BLOCK 512u

static bool is_huge(const struct wh_region *region)
{
	return region->page_bytes > WH_PAGE_SIZE;
}

/* Bytes of memory that the file has been given; 0 if that is not known. */
static uint64_t allocated_bytes(const struct wh_region *region)
{
	struct stat st;

	return fstat(region->fd, &st) < 0 ? 0 : (uint64_t)st.st_blocks * STAT_BLOCK;
}

/* Whether the file has no hole, as far as that can be told without looking for one. */
static bool is_full(const struct wh_region *region)
{
	struct stat st;

	return fstat(region->fd, &st) == 0 && (uint64_t)st.st_size == region->bytes &&
	       allocated_bytes(region) >= region->bytes;
}

int wh_ram_add(struct wh_ram *ram, const char *name, uint64_t bytes, int fd, struct wh_error *err)
{
	struct wh_region *region = &ram->regions[ram->count];
	struct stat st;
	uint32_t page_bytes;

	if (ram->count == WH_REGIONS_MAX)
		return wh_fail(err, -E2BIG, "more than %u RAM regions", WH_REGIONS_MAX);
	if (fstat(fd, &st) < 0)
		return wh_fail(err, -errno, "RAM file of '%s': %s", name, strerror(errno));
	page_bytes = wh_huge_page_bytes(fd);
	if (page_bytes == 0)
		return wh_fail(err, -EOPNOTSUPP, "RAM file of '%s' is not on a tmpfs or hugetlbfs",
		               name);
	if (page_bytes > WH_HUGE_BYTES_MAX)
		return wh_fail(
			err, -EOPNOTSUPP,
			"RAM file of '%s' has pages of %u MiB; those of %u MiB are the largest "
			"that can be moved",
			name, page_bytes >> 20, WH_HUGE_BYTES_MAX >> 20);
	if (bytes == 0 || bytes % page_bytes || (uint64_t)st.st_size < bytes)
		return wh_fail(err, -EINVAL,
		               "RAM file of '%s' has %jd bytes, %" PRIu64
		               " in whole pages expected",
		               name, (intmax_t)st.st_size, bytes);

	*region = (struct wh_region){ .bytes = bytes,
		                      .first_page = ram->pages,
		                      .page_bytes = page_bytes,
		                      .fd = fd,
		                      .uffd = -1,
		                      .pagemap = -1 };
	(void)snprintf(region->name, sizeof(region->name), "%s", name);
	/* Not where a tmpfs has huge pages: it is only known for pages as they are tracked. */
	region->kept = is_full(region) && (uint64_t)st.st_blksize == page_bytes;
	ram->count++;
	ram->pages += bytes / WH_PAGE_SIZE;
	return 0;
}

static int map_small(struct wh_region *region)
{
	void *addr = mmap(NULL, region->bytes, PROT_READ, MAP_SHARED, region->fd, 0);

	if (addr == MAP_FAILED)
		return -errno;
	region->addr = addr;
	/* To the kernel our looks are no use of the memory: they keep no page warm. */
	(void)madvise(addr, region->bytes, MADV_SEQUENTIAL);
	return 0;
}

int wh_ram_map(struct wh_ram *ram, struct wh_error *err)
{
	for (uint16_t i = 0; i < ram->count; i++) {
		struct wh_region *region = &ram->regions[i];
		int r = is_huge(region) ? wh_huge_open(region) : map_small(region);

		if (r < 0)
			return wh_fail(err, r, "cannot map RAM '%s': %s", region->name,
			               strerror(-r));
	}
	return 0;
}

int wh_ram_map_anew(const struct wh_ram *ram)
{
	for (uint16_t i = 0; i < ram->count; i++) {
		const struct wh_region *region = &ram->regions[i];

		if (is_huge(region))
			continue; /* not read from there, and few tables */
		if (mmap(region->addr, region->bytes, PROT_READ, MAP_SHARED | MAP_FIXED, region->fd,
		         0) == MAP_FAILED)
			return -errno;
		(void)madvise(region->addr, region->bytes, MADV_SEQUENTIAL);
	}
	return 0;
}

bool wh_region_holds(const struct wh_region *region, struct wh_run run)
{
	const uint64_t pages = region->bytes / WH_PAGE_SIZE;

	return run.count > 0 && run.first < pages && run.count <= pages - run.first;
}

void wh_ram_unmap(struct wh_ram *ram)
{
	for (uint16_t i = 0; i < ram->count; i++) {
		if (ram->regions[i].addr)
			(void)munmap(ram->regions[i].addr, ram->regions[i].bytes);
		ram->regions[i].addr = NULL;
		wh_huge_close(&ram->regions[i]);
	}
}

const struct wh_region *wh_ram_region(const struct wh_ram *ram, uint64_t page)
{
	uint16_t i = ram->count;

	wh_assert(page < ram->pages);
	while (ram->regions[i - 1].first_page > page)
		i--;
	return &ram->regions[i - 1];
}

struct wh_run wh_ram_clip(const struct wh_ram *ram, struct wh_run run)
{
	const struct wh_region *region = wh_ram_region(ram, run.first);
	uint64_t room = region->first_page + region->bytes / WH_PAGE_SIZE - run.first;

	if (run.count > room)
		run.count = (uint32_t)room;
	return run;
}

static uint64_t pages_of(const struct wh_region *region)
{
	return region->bytes / WH_PAGE_SIZE;
}

/*
 * Find the next pages at @touched->page or behind that the file holds, and the hole after them. Each
 * hole is looked for once only: it is a long way through a large file. Return: 0 or -errno.
 */
static int find_data(const struct wh_region *region, struct wh_touched *touched)
{
	const uint64_t end = region->first_page + pages_of(region);
	off_t data, hole;

	touched->data = end;
	if (is_full(region))
		return 0;
	data = lseek(region->fd, (off_t)((touched->page - region->first_page) * WH_PAGE_SIZE),
	             SEEK_DATA);
	if (data < 0 && errno == ENXIO) {
		touched->page = end; /* nothing but a hole */
		return 0;
	}
	hole = data < 0 ? data : lseek(region->fd, data, SEEK_HOLE);
	if (hole < 0)
		return -errno;
	touched->page = region->first_page + (uint64_t)data / WH_PAGE_SIZE;
	touched->data = region->first_page + ((uint64_t)hole + WH_PAGE_SIZE - 1) / WH_PAGE_SIZE;
	if (touched->data > end)
		touched->data = end;
	return 0;
}

/* Add what the file holds of the pages from @touched->page to @end, which lie in @region. */
static int add_data(const struct wh_region *region, struct wh_touched *touched, uint64_t end,
                    struct wh_pageset *into)
{
	/* This ends: each turn gets further. */
	while (touched->page < end) {
		uint64_t until;
		int r = touched->data > touched->page ? 0 : find_data(region, touched);

		if (r < 0)
			return r;
		until = touched->data < end ? touched->data : end;
		if (touched->page < until) {
			wh_pageset_add(into, touched->page, until - touched->page);
			touched->found += until - touched->page;
			touched->page = until;
		}
	}
	return 0;
}

/* The same for all of a region whose huge pages are watched. */
static int add_present(const struct wh_region *region, struct wh_touched *touched,
                       struct wh_pageset *into)
{
	const uint64_t before = wh_pageset_count(into);
	int r = wh_huge_add_present(region, into);

	if (r < 0)
		return r;
	touched->found += wh_pageset_count(into) - before;
	touched->page = touched->data = region->first_page + pages_of(region);
	return 0;
}

int wh_ram_add_touched(const struct wh_ram *ram, struct wh_touched *touched, uint64_t pages,
                       struct wh_pageset *into)
{
	const uint64_t until = pages < ram->pages - touched->page ? touched->page + pages
	                                                          : ram->pages;

	while (touched->page < until) {
		const struct wh_region *region = wh_ram_region(ram, touched->page);
		const uint64_t end = region->first_page + pages_of(region);
		int r = region->watched
		                ? add_present(region, touched, into)
		                : add_data(region, touched, end < until ? end : until, into);

		if (r < 0)
			return r;
	}
	return touched->page < ram->pages;
}

uint64_t wh_ram_touched_pages(const struct wh_ram *ram)
{
	uint64_t bytes = 0;

	for (uint16_t i = 0; i < ram->count; i++) {
		const uint64_t all = ram->regions[i].bytes;
		const uint64_t allocated = allocated_bytes(&ram->regions[i]);

		bytes += allocated < all ? allocated : all;
	}
	return bytes / WH_PAGE_SIZE;
}

bool wh_ram_has_huge(const struct wh_ram *ram)
{
	for (uint16_t i = 0; i < ram->count; i++)
		if (is_huge(&ram->regions[i]))
			return true;
	return false;
}

int wh_ram_watch(const struct wh_ram *ram, struct wh_run run)
{
	const struct wh_region *region = wh_ram_region(ram, run.first);

	if (!region->watched)
		return 0;
	return wh_huge_watch(region, (run.first - region->first_page) * WH_PAGE_SIZE,
	                     (uint64_t)run.count * WH_PAGE_SIZE);
}

int wh_ram_add_gone(const struct wh_ram *ram, struct wh_pageset *into)
{
	int r = 0;

	for (uint16_t i = 0; r == 0 && i < ram->count; i++)
		if (ram->regions[i].watched)
			r = wh_huge_add_gone(&ram->regions[i], into);
	return r;
}

int wh_ram_granules(const struct wh_ram *ram, uint32_t *missing, uint32_t *fill)
{
	uint32_t page_bytes = WH_PAGE_SIZE;
	uint32_t most = 1;

	for (uint16_t i = 0; i < ram->count; i++)
		if (ram->regions[i].page_bytes > page_bytes)
			page_bytes = ram->regions[i].page_bytes;
	for (uint16_t i = 0; i < ram->count; i++) {
		uint64_t pages;
		struct stat st;

		/* A file in huge pages gives their size for its blocks. */
		if (fstat(ram->regions[i].fd, &st) < 0)
			return -errno;
		pages = (uint64_t)st.st_blksize / WH_PAGE_SIZE;
		/* All are filled alike, small pages by as many as make a huge one. */
		if (pages > WH_RUN_PAGES_MAX || ram->regions[i].bytes % page_bytes)
			return -EOPNOTSUPP;
		if (pages > most)
			most = (uint32_t)pages;
	}
	*fill = page_bytes / WH_PAGE_SIZE;
	*missing = most > *fill ? most : *fill;
	return 0;
}

bool wh_ram_is_hole(const struct wh_ram *ram, uint64_t page)
{
	const struct wh_region *region = wh_ram_region(ram, page);
	off_t offset = (off_t)((page - region->first_page) * WH_PAGE_SIZE);
	off_t data = lseek(region->fd, offset, SEEK_DATA);

	if (data < 0)
		return errno == ENXIO; /* nothing but a hole from here to the end */
	return data >= offset + (off_t)WH_PAGE_SIZE;
}

int wh_ram_punch(const struct wh_region *region, uint64_t offset, uint64_t bytes)
{
	int r;

	wh_assert(offset <= region->bytes && bytes <= region->bytes - offset);
	if (region->kept)
		return wh_ram_wipe(region, offset, bytes);
	if (is_huge(region))
		return wh_huge_clear(region, offset, bytes);
	do
		r = fallocate(region->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset,
		              (off_t)bytes);
	while (r < 0 && errno == EINTR);
	return r < 0 ? -errno : 0;
}

int wh_ram_write(const struct wh_region *region, uint64_t offset, const void *from, uint64_t bytes)
{
	ssize_t n;

	wh_assert(offset <= region->bytes && bytes <= region->bytes - offset);
	if (is_huge(region))
		return wh_huge_write(region, offset, from, bytes);
	do
		n = pwrite(region->fd, from, bytes, (off_t)offset);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	return (uint64_t)n == bytes ? 0 : -ENOSPC; /* a tmpfs writes less only where it is full */
}

int wh_ram_wipe(const struct wh_region *region, uint64_t offset, uint64_t bytes)
{
	static const uint8_t zeroes[WH_PAGE_SIZE];
	_Alignas(WH_PAGE_SIZE) uint8_t page[WH_PAGE_SIZE];
	int r = 0;

	if (is_huge(region))
		return wh_huge_wipe(region, offset, bytes);
	for (uint64_t at = offset; r == 0 && at < offset + bytes; at += WH_PAGE_SIZE) {
		ssize_t n = pread(region->fd, page, sizeof(page), (off_t)at);

		if (n != (ssize_t)sizeof(page))
			return n < 0 ? -errno : -EIO;
		if (!wh_page_is_zero(page))
			r = wh_ram_write(region, at, zeroes, sizeof(zeroes));
	}
	return r;
}

bool wh_ram_keeps(const struct wh_ram *ram)
{
	for (uint16_t i = 0; i < ram->count; i++)
		if (ram->regions[i].kept)
			return true;
	return false;
}

int wh_ram_empty(const struct wh_region *region, struct wh_run run)
{
	const uint64_t offset = run.first * WH_PAGE_SIZE;
	const uint64_t bytes = (uint64_t)run.count * WH_PAGE_SIZE;
	off_t data;
	int r;

	if (offset % region->page_bytes || bytes % region->page_bytes)
		return -EIO;
	if (region->kept)
		return 0;
	r = wh_ram_punch(region, offset, bytes);
	if (r < 0 || is_huge(region)) /* where SEEK_DATA takes all for data */
		return r;
	/* The kernel may keep a huge page and clear a part of it. */
	data = lseek(region->fd, (off_t)offset, SEEK_DATA);
	return data >= 0 && data < (off_t)(offset + bytes) ? -EIO : 0;
}
