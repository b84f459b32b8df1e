/* SPDX-License-Identifier: Apache-2.0 */

#include "totals.h"

#include "wherry/clock.h"

const uint32_t wh_downtime_ends_ms[WH_DOWNTIME_BUCKETS - 1] = {
	5, 10, 25, 50, 100, 250, 500, 1000, 2000, 4000, 8000, 16000, 32000,
};

void wh_totals_downtime(struct wh_totals *totals, uint64_t ns)
{
	uint32_t i = 0;

	while (i < WH_DOWNTIME_BUCKETS - 1 && ns > wh_downtime_ends_ms[i] * WH_NSEC_PER_MSEC)
		i++;
	totals->downtime[i]++;
	totals->downtime_ns += ns;
}
