/* SPDX-License-Identifier: Apache-2.0 */

/* Progress - a migration as the CLI shows it: one line while it runs, a summary at its end. */

#ifndef WH_PROGRESS_H
#define WH_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "move.h"

#include "wherry/error.h"
#include "wherry/limits.h"
#include "wherry/stats.h"

/* What "status" says of one migration; times in ns. */
struct wh_view {
	char migration[WH_NAME_MAX];
	char vm[WH_NAME_MAX];
	char role[WH_NAME_MAX]; /* "source" or "target" */
	char peer[WH_NAME_MAX];
	char state[WH_NAME_MAX];
	char outcome[WH_NAME_MAX];
	char reason[WH_ERROR_TEXT_MAX];
	char note[WH_ERROR_TEXT_MAX];
	char name_space[WH_NAME_MAX];
	char source[WH_NAME_MAX];
	char target[WH_NAME_MAX]; /* "" until one is chosen */
	char priority[WH_NAME_MAX];
	char policy[WH_OBJECT_NAME_MAX]; /* "" if none matches */
	char transport[WH_NAME_MAX];     /* "tcp" or "rdma": what carries pages now */
	char no_rdma[WH_ERROR_TEXT_MAX]; /* why it is not RDMA, if that is known */
	bool tries_rdma;                 /* both sides' movers do, or did */
	bool over;
	uint64_t attempt;    /* 1 is the first try of a drain */
	uint64_t place;      /* in the queue, 1 is next; 0 once it runs */
	uint64_t created_ms; /* since 1970 */
	uint64_t bandwidth_bps;
	uint64_t throttle_percent; /* by how much its vCPUs are slowed */
	uint64_t throttle_peak_percent;
	uint64_t elapsed_ns;
	uint64_t postcopy_ns; /* how long memory followed the guest; 0 if it did not */
	uint64_t copied_ns;   /* from the first byte copied to the last */
	struct {
		uint64_t total_ns;
		uint64_t stop_ns;
		uint64_t scan_ns;
		uint64_t pages_ns;
		uint64_t device_ns;
		uint64_t resume_ns;
	} downtime;
	uint64_t stats[WH_STAT_COUNT];
	uint64_t fault_ns_log2[WH_FAULT_BUCKETS];
};

/* Whether the mover's counters say how far it is; else what follows means nothing. */
bool wh_progress_is_copying(const struct wh_view *view);

/* Page contents per second: as measured, or before anything was, the average so far. */
uint64_t wh_progress_bps(const struct wh_view *view);

/* How much of the current round is done, from 0 to 1. */
double wh_progress_done(const struct wh_view *view);

/* Time for what is left, at that rate. Return: whether it is known. */
bool wh_progress_eta_ns(const struct wh_view *view, uint64_t *ret);

#define WH_PROGRESS_MAX 256

/* "PreCopy  round 2  63%  1.21 GiB/s  dirty 110 MiB/s  left 95.3 MiB  ETA 0.1 ms  throttled 40%" */
void wh_progress_line(char line[WH_PROGRESS_MAX], const struct wh_view *view);

/*
 * The wait that @per_mille of all waits did not exceed: the upper end of its bucket, so it is
 * rather too much than too little. 0 if there was none.
 */
uint64_t wh_progress_wait_ns(const uint64_t buckets[WH_FAULT_BUCKETS], uint32_t per_mille);

/* Several lines for a migration that has succeeded. */
void wh_progress_summary(FILE *out, const struct wh_view *view);

#endif
