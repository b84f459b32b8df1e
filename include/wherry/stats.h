/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Stats - what a mover has counted, on a page it shares with its daemon.
 *
 * The daemon makes the page (a memfd), the mover writes it, the daemon reads it whenever it
 * likes, also after the mover has died. Each value is one 64-bit word, so none is ever torn; two
 * values read together may be an instant apart.
 *
 * Times are CLOCK_MONOTONIC ns, 0 until they happened. The table in base/stats.c gives each
 * value its name for JSON and metrics.
 *
 * A mover that resumes gets a fresh page: its counters begin at 0 again.
 */

#ifndef WH_STATS_H
#define WH_STATS_H

#include <stdatomic.h>
#include <stdint.h>

enum wh_stat {
	WH_STAT_STATE,           /* enum wh_session_state, include/wherry/session.h */
	WH_STAT_ROUND,           /* rounds begun; the last pass counts */
	WH_STAT_RAM_BYTES,       /* size of all regions */
	WH_STAT_UNTOUCHED_BYTES, /* never written by the guest, so never sent */
	WH_STAT_ZERO_BYTES,      /* zero pages, told and not sent; a page counts each time */
	WH_STAT_PAGE_BYTES,      /* page contents handed to the transport; counts each time */
	WH_STAT_WIRE_BYTES,      /* everything handed to the network, headers of ours included */
	WH_STAT_ROUND_BYTES,     /* dirty when the current round began */
	WH_STAT_LEFT_BYTES,      /* to send, what was probably dirtied since included */
	WH_STAT_RATE_BPS,        /* measured transfer rate, page contents per second */
	WH_STAT_DIRTY_BPS,       /* bytes per second that the guest dirtied in the last round */
	WH_STAT_STARTED_NS,      /* copying began */
	WH_STAT_CONVERGED_NS,    /* what is left fits into the downtime target */
	WH_STAT_STOPPED_NS,      /* the daemon said that the guest stands still */
	WH_STAT_SCANNED_NS,      /* the last scan is done */
	WH_STAT_LANDED_NS,       /* the destination has every byte */
	WH_STAT_COMPRESSED_RAW_BYTES, /* page contents that were compressed */
	WH_STAT_COMPRESSED_BYTES,     /* what became of them */
	WH_STAT_UNCHANGED_BYTES,      /* of dirty huge pages, what the destination had already */
	WH_STAT_DELTA_RAW_BYTES,      /* page contents sent as differences to older ones */
	WH_STAT_DELTA_BYTES,          /* what became of them */
	WH_STAT_ECHO_BYTES,           /* sent again because DMA might have changed them late */
	WH_STAT_POSTCOPY_NS,          /* post-copy began, or was resumed */
	WH_STAT_FAULTS,               /* post-copy: how often the guest waited for a page */
	WH_STAT_FAULT_BYTES,          /* post-copy: page contents carried for that */
	WH_STAT_PUSH_BYTES,           /* source, post-copy: page contents sent unasked */
	WH_STAT_STALL_NS,             /* target, post-copy: sum of the waits for those pages */
	WH_STAT_RDMA_BYTES,           /* of WIRE_BYTES, by RDMA */
	WH_STAT_RDMA_READ_BYTES,      /* of FAULT_BYTES, read by RDMA */
	WH_STAT_COUNT,
};

/* How long those waits were: bucket i counts the ones of 2^i to 2^(i+1) - 1 ns; the last, longer. */
#define WH_FAULT_BUCKETS 40u

struct wh_stats {
	_Atomic uint64_t value[WH_STAT_COUNT];
	_Atomic uint64_t fault_ns_log2[WH_FAULT_BUCKETS]; /* target, post-copy */
};

struct wh_stat_info {
	const char *name; /* "page_bytes"; the suffix is the unit */
	const char *help;
};

extern const struct wh_stat_info wh_stat_table[WH_STAT_COUNT];

/* The name of @fault_ns_log2, an array of WH_FAULT_BUCKETS numbers. */
extern const struct wh_stat_info wh_stat_faults_info;

static inline uint64_t wh_stat_get(const struct wh_stats *stats, enum wh_stat which)
{
	return atomic_load_explicit(&stats->value[which], memory_order_relaxed);
}

static inline void wh_stat_set(struct wh_stats *stats, enum wh_stat which, uint64_t value)
{
	atomic_store_explicit(&stats->value[which], value, memory_order_relaxed);
}

static inline void wh_stat_add(struct wh_stats *stats, enum wh_stat which, uint64_t more)
{
	atomic_fetch_add_explicit(&stats->value[which], more, memory_order_relaxed);
}

/* Count a wait of @ns. */
void wh_stat_count_fault(struct wh_stats *stats, uint64_t ns);

/* Waits counted in bucket @bucket, below WH_FAULT_BUCKETS. */
static inline uint64_t wh_stat_fault_bucket(const struct wh_stats *stats, uint32_t bucket)
{
	return atomic_load_explicit(&stats->fault_ns_log2[bucket], memory_order_relaxed);
}

#endif
