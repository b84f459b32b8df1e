/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */

/*
 * Token bucket - the memory that the BPF programs share with their loader.
 *
 * The bucket is a clock: clock_ns is the time (CLOCK_MONOTONIC) at which everything admitted so
 * far will have been paid for. clock_ns - now is the debt; a clock in the past is credit.
 *
 * What every packet writes, what the loader writes, and what is only counted are on cache lines
 * of their own.
 */

#ifndef WH_TOKEN_BUCKET_H
#define WH_TOKEN_BUCKET_H

#include <linux/types.h>

/* ns_per_byte is a fixed-point number with this many bits behind the point. */
#define WH_BUCKET_SHIFT 20

/* The rules of debt, for who charges the bucket: packets in the kernel, and RDMA in the mover. */

/* What an idle bucket saves up. Timers fire late; this is what they catch up from. */
#define WH_BUCKET_CREDIT_NS 5000000ull

/*
 * The backstop's bound: a time, and some bytes, because at small limits the time is less than one
 * super-packet. TCP does not pace the first ten segments of a connection: 16 connections with
 * jumbo frames begin with 1.4 MiB.
 */
#define WH_BUCKET_DEBT_MAX_NS    10000000ull
#define WH_BUCKET_DEBT_MAX_BYTES (2ull << 20)

/* The law's q is at least this: shorter sleeps are below what timers can do. */
#define WH_BUCKET_MEAN_MIN_NS 50000ull

/* A pacing timer cannot be shortened, so no flow is sent to sleep for longer than this many q. */
#define WH_BUCKET_DEBT_MAX_MEANS 64ull

struct wh_bucket {
	__u64 clock_ns; /* charged by every packet */
	__u64 clock_line[7];

	__u64 limit_bps;    /* bytes per second; 0 lets everything pass */
	__u64 ns_per_byte;  /* what one byte costs at limit_bps, << WH_BUCKET_SHIFT */
	__u64 grace_end_ns; /* until then nothing is dropped: senders are learning a new limit */
	__u64 config_line[5];

	__u64 charged_bytes;
	__u64 dropped_packets; /* by the backstop; a sender that waits when told never gets here */
	__u64 dropped_bytes;
	__u64 waits;        /* transmissions that were told to wait for the bucket */
	__u64 mean_bytes;   /* moving average of the bulk packets' payload */
	__u64 armed;        /* sockets that were open before the limit, now listening to it */
	__u64 unarmed;      /* such sockets that the kernel could not arm */
	__u64 urgent_bytes; /* of the charged ones, on sockets that are marked as urgent */
};

_Static_assert(sizeof(struct wh_bucket) == 192, "three cache lines");

#endif
