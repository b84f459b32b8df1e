/* SPDX-License-Identifier: Apache-2.0 */

#include "look.h"

#include <string.h>
#include <unistd.h>

#include "wherry/limits.h"

/* Enough that few pages with contents have none here; a call costs the same for less. */
#define SAMPLE_BYTES 256u

/* One block in so many is audited: that costs less than a hundredth of sending the others. */
#define AUDIT_EVERY 32u

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

bool wh_look_is_data(struct wh_look *look, const struct wh_region *region, uint64_t first)
{
	const uint32_t every = look->zero_mean >= SCATTERED ? 1 : AUDIT_EVERY;

	look->auditing = false;
	if (!has_contents(region, first + look->turn++ % WH_LOOK_PAGES))
		return false;
	look->auditing = ++look->unaudited >= every;
	if (look->auditing)
		look->unaudited = 0;
	return !look->auditing;
}

void wh_look_found(struct wh_look *look, uint32_t zero_pages)
{
	if (look->auditing)
		look->zero_mean += (zero_pages * SCALE) / WEIGHT - look->zero_mean / WEIGHT;
}
