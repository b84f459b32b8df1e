/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Rate - the flow's half of the law that bpf/token_bucket.bpf.c explains:
 *
 *	pace = limit * q / (q + debt)
 *
 * TCP gets a pace from it, before each packet. A flow of writes gets what that pace means for one of them: a
 * pause of price * (q + debt) / q after it. The debt counts as it was before the write, as a packet's.
 * A pause is kept in bytes, so that it shrinks when the limit is raised meanwhile.
 *
 * A write is as large as a mean packet, or larger, and its own price is q then. With several flows in
 * balance there is always some debt, so nobody waits for the debt to be paid.
 */

#include "rate.h"

#include <stdbool.h>

#include "wherry/assert.h"
#include "wherry/clock.h"
#include "wherry/limits.h"

#include "token_bucket.h"

__extension__ typedef unsigned __int128 wide;

/* At most so long until the caller asks again: a limit that was raised is felt by then. */
#define ASK_NS (10 * WH_NSEC_PER_MSEC)

/* One write takes about this long at the limit, and as much as TCP sends at once. */
#define WRITE_NS (8 * WH_NSEC_PER_MSEC)

/* What may be in flight: as long as the debt that the kernel allows, and what waits for a completion. */
#define IN_FLIGHT_NS    (20 * WH_NSEC_PER_MSEC)
#define IN_FLIGHT_BYTES (UINT64_C(2) * WH_RATE_UNTOLD_BYTES)

/* The kernel and other flows change the bucket at any time: read each word once. */
static uint64_t word(const __u64 *field)
{
	return __atomic_load_n(field, __ATOMIC_RELAXED);
}

static uint64_t limit_of(const struct wh_rate *rate)
{
	return rate->bucket ? __atomic_load_n(&rate->bucket->limit_bps, __ATOMIC_ACQUIRE) : 0;
}

/* Bytes of at most some GiB: the product has room, as it has in the kernel. */
static uint64_t price_ns(const struct wh_bucket *bucket, uint64_t bytes)
{
	return (uint64_t)((wide)bytes * word(&bucket->ns_per_byte) >> WH_BUCKET_SHIFT);
}

static uint64_t bytes_in(uint64_t limit_bps, uint64_t ns)
{
	return (uint64_t)((wide)limit_bps * ns / WH_NSEC_PER_SEC);
}

uint32_t wh_rate_write_max(const struct wh_rate *rate)
{
	const uint64_t limit = limit_of(rate);
	uint64_t bytes = limit ? bytes_in(limit, WRITE_NS) : WH_RATE_WRITE_MAX;

	if (bytes >= WH_RATE_WRITE_MAX)
		return WH_RATE_WRITE_MAX;
	return bytes < WH_PAGE_SIZE ? WH_PAGE_SIZE
	                            : (uint32_t)bytes & ~(uint32_t)(WH_PAGE_SIZE - 1);
}

/* Advance the clock by @price. Return: when what was admitted before is paid for. */
static uint64_t charge_clock(struct wh_bucket *bucket, uint64_t now_ns, uint64_t price)
{
	__u64 clock = word(&bucket->clock_ns);

	/* After idleness the clock is far behind. If this fails, somebody else has lifted it. */
	if (clock + WH_BUCKET_CREDIT_NS < now_ns)
		(void)__atomic_compare_exchange_n(&bucket->clock_ns, &clock,
		                                  now_ns - WH_BUCKET_CREDIT_NS, false,
		                                  __ATOMIC_RELAXED, __ATOMIC_RELAXED);
	return __atomic_fetch_add(&bucket->clock_ns, price, __ATOMIC_RELAXED);
}

static void count(__u64 *counter, uint64_t more)
{
	(void)__atomic_fetch_add(counter, more, __ATOMIC_RELAXED);
}

/* Return: when what was admitted before is paid for. */
static uint64_t charge(const struct wh_rate *rate, uint64_t bytes, uint64_t now_ns)
{
	struct wh_bucket *bucket = rate->bucket;

	if (rate->kernel_charges)
		return word(&bucket->clock_ns);
	count(&bucket->charged_bytes, bytes);
	return charge_clock(bucket, now_ns, price_ns(bucket, bytes));
}

static uint64_t max_of(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

/* The pause after a write of @bytes that found the clock at @clock_ns, in bytes at the limit. */
static uint64_t pause_after(struct wh_bucket *bucket, uint32_t bytes, uint64_t clock_ns,
                            uint64_t now_ns)
{
	uint64_t q = max_of(price_ns(bucket, max_of(bytes, word(&bucket->mean_bytes))),
	                    WH_BUCKET_MEAN_MIN_NS);
	uint64_t debt, credit, wait;

	if (clock_ns > now_ns) {
		debt = clock_ns - now_ns;
		wait = debt < WH_BUCKET_DEBT_MAX_MEANS * q ? debt : WH_BUCKET_DEBT_MAX_MEANS * q;
		wait += q;
		count(&bucket->waits, 1);
	} else {
		/* Credit is spent at up to four times the limit. */
		credit = now_ns - clock_ns;
		if (credit > WH_BUCKET_CREDIT_NS)
			credit = WH_BUCKET_CREDIT_NS;
		wait = q > credit + q / 4 ? q - credit : q / 4;
	}
	return (uint64_t)((wide)bytes * wait / q);
}

static uint64_t at_most(uint64_t ns, uint64_t max_ns)
{
	return ns < max_ns ? ns : max_ns;
}

/* The debt beyond which packets are dropped, and writes wait. */
static uint64_t debt_max_ns(const struct wh_bucket *bucket)
{
	return WH_BUCKET_DEBT_MAX_NS + price_ns(bucket, WH_BUCKET_DEBT_MAX_BYTES);
}

/* How long until the pause is over, and the debt is no more than a packet's may be; 0 if they are. */
static uint64_t wait_ns(const struct wh_rate *rate, uint64_t now_ns)
{
	const struct wh_bucket *bucket = rate->bucket;
	const uint64_t pause = price_ns(bucket, rate->pause_bytes);
	const uint64_t passed = now_ns - rate->taken_ns;
	const uint64_t bound = now_ns + debt_max_ns(bucket);
	const uint64_t clock = word(&bucket->clock_ns);

	if (passed < pause)
		return at_most(pause - passed, ASK_NS);
	return clock > bound ? at_most(clock - bound, ASK_NS) : 0;
}

uint64_t wh_rate_take(struct wh_rate *rate, uint32_t bytes, uint64_t now_ns)
{
	const uint64_t limit = limit_of(rate);
	uint64_t clock, wait;

	wh_assert(bytes >= 1 && bytes <= WH_WRITE_LEN_MAX);
	if (limit > 0) {
		wait = wait_ns(rate, now_ns);
		if (wait > 0)
			return wait;
		if (rate->in_flight_bytes > bytes_in(limit, IN_FLIGHT_NS) + IN_FLIGHT_BYTES)
			return WH_RATE_AWAIT;
		clock = charge(rate, bytes, now_ns);
		rate->pause_bytes = pause_after(rate->bucket, bytes, clock, now_ns);
		rate->taken_ns = now_ns;
	}
	rate->in_flight_bytes += bytes;
	return 0;
}

void wh_rate_done(struct wh_rate *rate, uint64_t bytes)
{
	wh_assert(bytes <= rate->in_flight_bytes);
	rate->in_flight_bytes -= bytes;
}

uint64_t wh_rate_unpaid_max(const struct wh_rate *rate, uint64_t now_ns)
{
	if (limit_of(rate) == 0 || rate->kernel_charges)
		return UINT64_MAX;
	if (word(&rate->bucket->clock_ns) > now_ns + debt_max_ns(rate->bucket) / 2)
		return 0;
	return wh_rate_write_max(rate);
}

void wh_rate_charge(struct wh_rate *rate, uint64_t bytes, uint64_t now_ns)
{
	if (limit_of(rate) == 0 || rate->kernel_charges)
		return;
	(void)charge(rate, bytes, now_ns);
	count(&rate->bucket->urgent_bytes, bytes);
}
