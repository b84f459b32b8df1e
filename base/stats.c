/* SPDX-License-Identifier: Apache-2.0 */

#include "wherry/stats.h"

const struct wh_stat_info wh_stat_table[WH_STAT_COUNT] = {
	[WH_STAT_STATE] = { "state", "state of the data plane" },
	[WH_STAT_ROUND] = { "rounds", "rounds begun, the last pass included" },
	[WH_STAT_RAM_BYTES] = { "ram_bytes", "guest RAM" },
	[WH_STAT_UNTOUCHED_BYTES] = { "untouched_bytes", "never written by the guest, not sent" },
	[WH_STAT_ZERO_BYTES] = { "zero_bytes", "zero pages, told and not sent" },
	[WH_STAT_PAGE_BYTES] = { "page_bytes", "page contents sent" },
	[WH_STAT_WIRE_BYTES] = { "wire_bytes", "everything handed to the network" },
	[WH_STAT_ROUND_BYTES] = { "round_bytes", "dirty when the current round began" },
	[WH_STAT_LEFT_BYTES] = { "left_bytes", "left to send, new writes estimated" },
	[WH_STAT_RATE_BPS] = { "rate_bps", "measured transfer rate" },
	[WH_STAT_DIRTY_BPS] = { "dirty_bps", "rate at which the guest dirties memory" },
	[WH_STAT_STARTED_NS] = { "started_ns", "copying began" },
	[WH_STAT_CONVERGED_NS] = { "converged_ns", "the rest fits into the downtime target" },
	[WH_STAT_STOPPED_NS] = { "stopped_ns", "the guest stood still" },
	[WH_STAT_SCANNED_NS] = { "scanned_ns", "the last scan was done" },
	[WH_STAT_LANDED_NS] = { "landed_ns", "the destination had every byte" },
	[WH_STAT_COMPRESSED_RAW_BYTES] = { "compressed_raw_bytes", "contents sent compressed" },
	[WH_STAT_COMPRESSED_BYTES] = { "compressed_bytes", "what became of those contents" },
	[WH_STAT_UNCHANGED_BYTES] = { "unchanged_bytes", "in dirty huge pages, but not changed" },
	[WH_STAT_DELTA_RAW_BYTES] = { "delta_raw_bytes", "contents sent as differences" },
	[WH_STAT_DELTA_BYTES] = { "delta_bytes", "what became of those differences" },
	[WH_STAT_ECHO_BYTES] = { "echo_bytes", "sent once more, for reads with O_DIRECT" },
	[WH_STAT_POSTCOPY_NS] = { "postcopy_ns", "post-copy began, or was resumed" },
	[WH_STAT_FAULTS] = { "faults", "how often the guest waited for a page in post-copy" },
	[WH_STAT_FAULT_BYTES] = { "fault_bytes", "page contents carried to end or avoid a wait" },
	[WH_STAT_PUSH_BYTES] = { "push_bytes", "page contents sent unasked in post-copy" },
	[WH_STAT_STALL_NS] = { "stall_ns", "sum of the waits for pages in post-copy" },
	[WH_STAT_RDMA_BYTES] = { "rdma_bytes", "of wire_bytes, by RDMA" },
	[WH_STAT_RDMA_READ_BYTES] = { "rdma_read_bytes", "of fault_bytes, read by RDMA" },
};

const struct wh_stat_info wh_stat_faults_info = {
	"fault_ns_log2", "how many waits were of 2^i ns and more, below twice that, for each i"
};

void wh_stat_count_fault(struct wh_stats *stats, uint64_t ns)
{
	uint32_t bucket = ns > 0 ? 63u - (uint32_t)__builtin_clzll(ns) : 0;

	if (bucket >= WH_FAULT_BUCKETS)
		bucket = WH_FAULT_BUCKETS - 1;
	atomic_fetch_add_explicit(&stats->fault_ns_log2[bucket], 1, memory_order_relaxed);
	wh_stat_add(stats, WH_STAT_STALL_NS, ns);
}
