/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Huge - RAM files on hugetlbfs: what they hold, and how they become zero.
 *
 * They differ from a tmpfs in what counts here: SEEK_DATA takes all for data, there is no write()
 * and no sendfile(); and a hole that is touched through a mapping when there are no huge pages left
 * is a signal. So nothing here touches a hole.
 *
 * Threads: as ram.h, but wh_huge_watch() and wh_huge_add_gone() are for one.
 */

#ifndef WH_HUGE_H
#define WH_HUGE_H

#include <stdint.h>

#include "pageset.h"

#include "wherry/cleanup.h"

struct wh_region;

/* Size of @fd's pages: huge on hugetlbfs, else WH_PAGE_SIZE. 0 if it is on neither that nor tmpfs. */
uint32_t wh_huge_page_bytes(int fd);

/* --- at the source ---------------------------------------------------------------------------- */

/* Map @region, to see its huge pages go. Return: 0 or -errno. */
wh_must_check int wh_huge_open(struct wh_region *region);

/* Undo it, but for the mapping. */
void wh_huge_close(struct wh_region *region);

/* Add every page that is there, and watch it. Return: 0 or -errno. */
wh_must_check int wh_huge_add_present(const struct wh_region *region, struct wh_pageset *into);

/* Watch the huge pages that hold [@offset, @offset + @bytes), before they are read. Return: 0 or
 * -errno. */
wh_must_check int wh_huge_watch(const struct wh_region *region, uint64_t offset, uint64_t bytes);

/* Add the pages that were watched and are gone: they are zero now. Return: 0 or -errno. */
wh_must_check int wh_huge_add_gone(const struct wh_region *region, struct wh_pageset *into);

/* --- at the target ---------------------------------------------------------------------------- */

/*
 * Make [@offset, @offset + @bytes) zero. Whole huge pages become holes, which are reserved: the
 * guest may touch them when no huge page is free any more.
 *
 * Return: 0; -ENOSPC if they cannot be reserved; or -errno.
 */
wh_must_check int wh_huge_clear(const struct wh_region *region, uint64_t offset, uint64_t bytes);

/* Make it zero; no huge page becomes a hole. Return: 0 or -errno. */
wh_must_check int wh_huge_wipe(const struct wh_region *region, uint64_t offset, uint64_t bytes);

/* Write contents. Return: 0, -ENOSPC if there is a hole and no huge page left for it, or -errno. */
wh_must_check int wh_huge_write(const struct wh_region *region, uint64_t offset, const void *from,
                                uint64_t bytes);

/* Have memory at @addr, in a mapping of hugetlbfs: touching it cannot fail then. Return: 0, -ENOSPC
 * if there are no huge pages left, or -errno. */
wh_must_check int wh_huge_allocate(void *addr, uint64_t bytes);

#endif
