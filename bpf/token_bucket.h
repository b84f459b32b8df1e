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
