/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WH_ZERO_H
#define WH_ZERO_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Whether the WH_PAGE_SIZE bytes at @page, aligned to it, are all zero. Uses the widest vectors
 * this CPU has. The guest may write while we look: the answer is then true of some instant, and
 * the tracker reports the page again.
 */
bool wh_page_is_zero(const void *page);

/*
 * How many pages from @at on, of @count, are alike: all zero, or such that no granule of them is.
 * @count is a multiple of @granule, and so is the answer; @zero: which of the two.
 */
uint32_t wh_pages_alike(const void *at, uint32_t count, uint32_t granule, bool *zero);

/* What wh_page_is_zero() uses, for tests and logs: "avx2". */
const char *wh_zero_method(void);

/* One way to test a page. The table ends with a NULL name; the first supported one is used. */
struct wh_zero_method {
	const char *name;
	bool (*supported)(void);
	bool (*is_zero)(const void *page);
};

extern const struct wh_zero_method wh_zero_methods[];

#endif
