/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Delta - copies of pages as the peer has them, so that a page that is sent again can be told by how
 * it differs (XOR).
 *
 * A copy is the peer's page because
 *
 *	- it is what was sent, not what the guest's memory held before or after: contents are taken
 *	  from a private copy, and that copy is what leaves;
 *	- whatever else changes the page at the peer drops the copy: contents that leave any other
 *	  way, and zero pages, which are told by frames;
 *	- all of a round has landed before the next begins, and a round writes a page once. So on
 *	  whichever connection the page was sent last, it is there before its difference is.
 *
 * The memory is bounded: each page has a few places where its copy may be. A copy that was of use in
 * this round or the last keeps its place, so a guest that rewrites more than fits still profits.
 *
 * Threads: any.
 */

#ifndef WH_DELTA_H
#define WH_DELTA_H

#include <stdbool.h>
#include <stdint.h>

#include "wherry/cleanup.h"
#include "wherry/limits.h"
#include "wherry/transport.h"

/* One bit for each page of a write. */
#define WH_DELTA_MAP_BYTES ((WH_RUN_PAGES_MAX + 7) / 8)

struct wh_delta;

/* Return: NULL if there is no memory. */
struct wh_delta *wh_delta_new(void);
struct wh_delta *wh_delta_free(struct wh_delta *delta);

struct wh_delta_taken {
	uint32_t known; /* pages that are differences now */
	uint32_t kept;  /* pages of which there is a copy now */
};

/*
 * Contents of @w are about to leave, from @contents: a private copy, whole pages. Those that the peer
 * has in an older version become differences, with their bits set in @known, which starts zeroed.
 * If the caller then sends them in any other way it has to call wh_delta_forget().
 */
struct wh_delta_taken wh_delta_take(struct wh_delta *delta, const struct wh_write *w,
                                    uint8_t *contents, uint8_t known[WH_DELTA_MAP_BYTES]);

/* [@offset, @offset + @len) of the peer's @region changes in another way. Accepts NULL. */
void wh_delta_forget(struct wh_delta *delta, uint16_t region, uint64_t offset, uint64_t len);

static inline bool wh_delta_is_known(const uint8_t *known, uint32_t page)
{
	return known[page / 8] >> page % 8 & 1;
}

/* @to ^= @with */
void wh_delta_apply(uint8_t *to, const uint8_t *with, uint32_t len);

#endif
