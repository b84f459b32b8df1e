/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Totals - what one wherryd has counted since it started, for metrics. Migrations are forgotten
 * some time after their end, these are not.
 *
 * Plain values; zeroed memory is the beginning.
 */

#ifndef WH_TOTALS_H
#define WH_TOTALS_H

#include <stdbool.h>
#include <stdint.h>

/* Why a job ends, where it does not succeed. */
enum wh_outcome {
	WH_OUTCOME_NONE,
	WH_OUTCOME_CANCELLED, /* somebody asked for it */
	WH_OUTCOME_DEADLINE,  /* a timeout of the settings */
	WH_OUTCOME_FAILED,
};

#define WH_OUTCOMES (WH_OUTCOME_FAILED + 1)

/* Downtimes are counted in the buckets that KubeVirt has. */
#define WH_DOWNTIME_BUCKETS 14u

/* Their upper ends in ms; the last has none. */
extern const uint32_t wh_downtime_ends_ms[WH_DOWNTIME_BUCKETS - 1];

struct wh_totals {
	uint64_t sources[WH_OUTCOMES]; /* jobs that are over, WH_OUTCOME_NONE is success */
	uint64_t targets[WH_OUTCOMES];
	uint64_t downtime[WH_DOWNTIME_BUCKETS]; /* guests that left this node, by their downtime */
	uint64_t downtime_ns;                   /* of all together */
	uint64_t manifest_errors;               /* manifests that did not validate */
};

void wh_totals_downtime(struct wh_totals *totals, uint64_t ns);

#endif
