/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Look - which pages are zero, without looking at each.
 *
 * To look at a page of a RAM file it has to be mapped, page by page where pages are small, and that
 * costs as much as half of sending it. Zero pages come in clusters, so of each block of
 * WH_LOOK_PAGES one page is read by pread(), which maps nothing. If it has contents, the block goes
 * as it is. A zero page in such a block costs what any page costs, and is right at the destination
 * all the same.
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

/* What one read fault maps, usually. Blocks begin at multiples of this in their region. */
#define WH_LOOK_PAGES 16u

/* Starts zeroed. */
struct wh_look {
	uint32_t turn;      /* blocks so far, to take another page of each */
	uint32_t unaudited; /* blocks taken for data since the last audit */
	bool auditing;      /* the block at hand is an audit */
	uint32_t zero_mean; /* zero pages that audits find in a block, a running mean, of SCALE */
};

/*
 * Whether the block at page @first of @region may go as data. If not, the caller looks at each of
 * its pages, and tells by wh_look_found().
 */
bool wh_look_is_data(struct wh_look *look, const struct wh_region *region, uint64_t first);

/* The block that wh_look_is_data() was not sure of has @zero_pages zero pages. */
void wh_look_found(struct wh_look *look, uint32_t zero_pages);

#endif
