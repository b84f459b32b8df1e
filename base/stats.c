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
};
