/* SPDX-License-Identifier: Apache-2.0 */

/*
 * RAM - the guest's memory as files, and the numbering of its pages.
 *
 * A region is one RAM file. Pages are numbered through all regions, in their order, so that one
 * pageset covers the guest.
 *
 * Threads: one opens it; after that it does not change and any may read it.
 */

#ifndef WH_RAM_H
#define WH_RAM_H

#include <stdbool.h>
#include <stdint.h>

#include "pageset.h"

#include "wherry/cleanup.h"
#include "wherry/error.h"
#include "wherry/limits.h"

struct wh_region {
	char name[WH_NAME_MAX];
	uint64_t bytes;
	uint64_t first_page; /* number of its first page */
	uint32_t page_bytes; /* of what the hypervisor's page tables track at once */
	int fd;              /* borrowed */
	bool kept;  /* as a target: it is full, so it is written over and gives nothing back */
	void *addr; /* the file, mapped for reading; NULL at the target */

	/* Owned: at the source, to see huge pages go (huge.h). */
	int uffd, pagemap;
	struct wh_pageset *watched; /* in huge pages of this region */
};

struct wh_ram {
	struct wh_region regions[WH_REGIONS_MAX];
	uint16_t count;
	uint64_t pages;
};

/* Add a region of @bytes, backed by @fd, which stays the caller's. Return: 0 or -errno. */
wh_must_check int wh_ram_add(struct wh_ram *ram, const char *name, uint64_t bytes, int fd,
                             struct wh_error *err);

/* Map every region for reading; huge pages are not read from there. Return: 0 or -errno. */
wh_must_check int wh_ram_map(struct wh_ram *ram, struct wh_error *err);

/*
 * Map every region with small pages anew, at the same place, which frees the page tables. Others may read the memory
 * meanwhile. Return: 0 or -errno, and then a region may be gone.
 */
wh_must_check int wh_ram_map_anew(const struct wh_ram *ram);

/* Undo wh_ram_map(). */
void wh_ram_unmap(struct wh_ram *ram);

/* The region that holds page @page, which must exist. */
const struct wh_region *wh_ram_region(const struct wh_ram *ram, uint64_t page);

/* Whether @run, numbered from the region's start, is not empty and within it. */
bool wh_region_holds(const struct wh_region *region, struct wh_run run);

/* Cut @run where its first region ends. */
struct wh_run wh_ram_clip(const struct wh_ram *ram, struct wh_run run);

/* How far wh_ram_add_touched() has come. Starts zeroed. */
struct wh_touched {
	uint64_t page;  /* the next one to look at */
	uint64_t data;  /* no hole comes before this one, if it lies ahead */
	uint64_t found; /* pages so far */
};

/*
 * Add the pages that the files hold among the next @pages or some more; holes are memory that the
 * guest never touched. Return: 1 if there are pages left to look at, 0 if not, or -errno.
 */
wh_must_check int wh_ram_add_touched(const struct wh_ram *ram, struct wh_touched *touched,
                                     uint64_t pages, struct wh_pageset *into);

/* About how many pages the files hold. */
uint64_t wh_ram_touched_pages(const struct wh_ram *ram);

/* Whether any region has huge pages. Those of a tmpfs do not count: they are tracked as small ones. */
bool wh_ram_has_huge(const struct wh_ram *ram);

/* Before @run, which lies in one region, is read from its file: see to it that wh_ram_add_gone()
 * tells if it vanishes later. Return: 0 or -errno. */
wh_must_check int wh_ram_watch(const struct wh_ram *ram, struct wh_run run);

/* Add pages that vanished unseen by the tracker: see huge.h. Return: 0 or -errno. */
wh_must_check int wh_ram_add_gone(const struct wh_ram *ram, struct wh_pageset *into);

/*
 * The granules of @ram as a destination of post-copy: memory of @missing pages can be given back
 * and of @fill pages filled, each on a multiple of it within its region. Return: 0, -EOPNOTSUPP if
 * one has more than WH_RUN_PAGES_MAX pages or a region does not have whole ones to fill, or -errno.
 */
wh_must_check int wh_ram_granules(const struct wh_ram *ram, uint32_t *missing, uint32_t *fill);

/* Whether @page is a hole: it reads as zero, and reading it through a mapping would fill it. */
bool wh_ram_is_hole(const struct wh_ram *ram, uint64_t page);

/* Make [@offset, @offset + @bytes) of @region zero by giving its memory back, if it is not kept; of
 * huge pages, those that are all in there. Return: 0, -ENOSPC if huge pages cannot be reserved, or -errno. */
wh_must_check int wh_ram_punch(const struct wh_region *region, uint64_t offset, uint64_t bytes);

/* Make it zero and give nothing back. Return: 0 or -errno. */
wh_must_check int wh_ram_wipe(const struct wh_region *region, uint64_t offset, uint64_t bytes);

/* Write contents, whole pages, without a mapping that touching could harm. Return: 0, -ENOSPC if there
 * is no memory for them, or -errno. */
wh_must_check int wh_ram_write(const struct wh_region *region, uint64_t offset, const void *from,
                               uint64_t bytes);

/* Whether any region is kept. */
bool wh_ram_keeps(const struct wh_ram *ram);

/*
 * The same for @run, numbered from the region's start, and see that nothing is left there: for what
 * must be filled again. What is kept stays as it is. Return: 0, -EIO if the kernel kept it, or -errno.
 */
wh_must_check int wh_ram_empty(const struct wh_region *region, struct wh_run run);

#endif
