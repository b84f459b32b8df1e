/* SPDX-License-Identifier: Apache-2.0 */

#include "look.h"

#include <string.h>
#include <unistd.h>

#include "zero.h"

#include "wherry/assert.h"

/* Enough that few pages with contents have none here; a call costs the same for less. */
#define SAMPLE_BYTES 256u

/* One block in so many is audited: that costs less than a hundredth of sending the others. */
#define AUDIT_EVERY 64u

/* The fixed point of the mean, and how slowly it follows. */
#define SCALE  256u
#define WEIGHT 8u

/* To look at each page costs as much as to send a sixth of them. */
#define SCATTERED (WH_LOOK_PAGES * SCALE / 6)

static bool has_contents(const struct wh_region *region, uint64_t page)
{
	static const uint8_t zero[SAMPLE_BYTES];
	uint8_t sample[SAMPLE_BYTES];
	ssize_t n = pread(region->fd, sample, sizeof(sample), (off_t)(page * WH_PAGE_SIZE));

	return n == (ssize_t)sizeof(sample) && memcmp(sample, zero, sizeof(sample)) != 0;
}

uint32_t wh_look_pages(struct wh_look *look, const struct wh_region *region, uint64_t first,
                       uint32_t count)
{
	const size_t len = (size_t)count * WH_PAGE_SIZE;
	uint32_t zero = 0;

	wh_assert(count <= WH_LOOK_PAGES);
	if (pread(region->fd, look->contents, len, (off_t)(first * WH_PAGE_SIZE)) != (ssize_t)len)
		return 0;
	for (uint32_t i = 0; i < count; i++)
		if (wh_page_is_zero(look->contents + (size_t)i * WH_PAGE_SIZE))
			zero |= UINT32_C(1) << i;
	return zero;
}

uint32_t wh_look_block(struct wh_look *look, const struct wh_region *region, uint64_t first)
{
	const uint32_t every = look->zero_mean >= SCATTERED ? 1 : AUDIT_EVERY;
	uint32_t zero, zero_pages;

	if (!has_contents(region, first + look->turn++ % WH_LOOK_PAGES))
		return wh_look_pages(look, region, first, WH_LOOK_PAGES);
	if (++look->unaudited < every)
		return 0;
	look->unaudited = 0;
	zero = wh_look_pages(look, region, first, WH_LOOK_PAGES);
	zero_pages = (uint32_t)__builtin_popcount(zero);
	look->zero_mean += zero_pages * SCALE / WEIGHT - look->zero_mean / WEIGHT;
	return zero;
}
