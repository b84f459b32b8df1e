/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Rate - keeps what the kernel does not see under the migration's bandwidth limit.
 *
 * An adapter that does RDMA takes memory to the network past every hook. So who posts takes the price
 * from the bucket of bpf/token_bucket.bpf.c himself, before posting: the limit holds over both
 * together. Nothing here waits; the caller is told for how long.
 *
 * Threads: an object belongs to one. Any number of objects, and the kernel, may share a bucket.
 */

#ifndef WH_RATE_H
#define WH_RATE_H

#include <stdbool.h>
#include <stdint.h>

#include "wherry/error.h"

struct wh_bucket;

/* Take nothing more until something that was posted has completed. */
#define WH_RATE_AWAIT UINT64_MAX

struct wh_rate {
	struct wh_bucket *bucket; /* borrowed; NULL: there never is a limit */
	bool kernel_charges;      /* the eBPF program sees what is posted, too: only wait here */
	uint64_t taken_ns;        /* when the last bytes were taken */
	uint64_t pause_bytes;     /* since then, the time these take at the limit has to pass */
	uint64_t in_flight_bytes;
};

/*
 * The most that one take should be of, whole pages: at small limits one write must not keep the limit busy
 * for long. It changes with the limit.
 */
uint32_t wh_rate_write_max(const struct wh_rate *rate);

/**
 * wh_rate_take() - Pay for @bytes, which are to be posted next
 * @bytes:	1 to WH_WRITE_LEN_MAX
 * @now_ns:	CLOCK_MONOTONIC
 *
 * The bytes are in flight until wh_rate_done(). At most WH_RATE_UNTOLD_BYTES of what is posted may be
 * without a completion of its own, or WH_RATE_AWAIT may be answered for ever.
 *
 * Return: 0: they are paid for. WH_RATE_AWAIT: too much is in flight. Else ns after which to ask again, and
 * nothing was taken: few enough that a limit that is raised is soon felt.
 */
wh_must_check uint64_t wh_rate_take(struct wh_rate *rate, uint32_t bytes, uint64_t now_ns);

/* @bytes that were taken have completed, or will never be posted. */
void wh_rate_done(struct wh_rate *rate, uint64_t bytes);

/*
 * How many bytes may leave before they are paid for, as a peer's reads do: UINT64_MAX without a limit of ours; 0
 * while there is so much debt that who is urgent waits, too.
 */
uint64_t wh_rate_unpaid_max(const struct wh_rate *rate, uint64_t now_ns);

/* @bytes have left already, as a peer's reads do: pay for them, so that everything else gives way. */
void wh_rate_charge(struct wh_rate *rate, uint64_t bytes, uint64_t now_ns);

#endif
