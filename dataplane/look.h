/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Look - which pages are zero, without mapping any and without looking at most.
 *
 * To look at a page through a mapping costs more than all of reading it by pread(), which also leaves
 * holes what they are. And zero pages come in clusters: of each block of WH_LOOK_PAGES the start of one
 * page is read, and if it has contents, the block goes as it is. A zero page in such a block costs what any
 * page costs, and is right at the destination all the same.
 *
 * Where zero pages are scattered, that would miss many. So of those blocks one in AUDIT_EVERY is
 * looked at page by page; and as long as the audits find enough zero pages, all of them.
 *
 * Threads: values, no state but what is passed.
 */

#ifndef WH_LOOK_H
#define WH_LOOK_H

#include <stdbool.h>
#include <stdint.h>

#include "ram.h"

#include "wherry/limits.h"

/* Blocks begin at multiples of this in their region; so many pages of a run go without a copy. */
#define WH_LOOK_PAGES 16u

/* Starts zeroed. */
struct wh_look {
	_Alignas(WH_PAGE_SIZE) uint8_t contents[WH_LOOK_PAGES * WH_PAGE_SIZE];
	uint32_t turn;      /* blocks so far, to take another page of each */
	uint32_t unaudited; /* blocks taken for data since the last audit */
	uint32_t zero_mean; /* zero pages that audits find in a block, a running mean, of SCALE */
};

/*
 * Which of @count pages, at most WH_LOOK_PAGES, from page @first of @region on are zero: a bit for
 * each, the first one's is the lowest. The guest may write meanwhile: the answer is then true of some
 * instant, and the tracker reports the page again. What cannot be read is not zero.
 */
uint32_t wh_look_pages(struct wh_look *look, const struct wh_region *region, uint64_t first,
                       uint32_t count);

/* The same for the block that begins there; of which no zero pages may be found that are there. */
uint32_t wh_look_block(struct wh_look *look, const struct wh_region *region, uint64_t first);

#endif
