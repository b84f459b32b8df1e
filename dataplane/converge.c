/* SPDX-License-Identifier: Apache-2.0 */

#include "converge.h"

#include "wherry/clock.h"

/* Older samples lose half of their weight when the mean covers more than this. */
#define WINDOW_NS WH_NSEC_PER_SEC

/* Bytes times nanoseconds do not fit into 64 bits. */
__extension__ typedef unsigned __int128 wide;

void wh_rate_mean_add(struct wh_rate_mean *mean, uint64_t bytes, uint64_t ns)
{
	mean->bytes += bytes;
	mean->ns += ns;
	while (mean->ns > WINDOW_NS) {
		mean->bytes /= 2;
		mean->ns /= 2;
	}
}

uint64_t wh_bytes_per_s(uint64_t bytes, uint64_t ns)
{
	wide bps;

	if (ns == 0)
		return 0;
	bps = (wide)bytes * WH_NSEC_PER_SEC / ns;
	return bps > UINT64_MAX ? UINT64_MAX : (uint64_t)bps;
}

uint64_t wh_rate_mean_bps(const struct wh_rate_mean *mean)
{
	return wh_bytes_per_s(mean->bytes, mean->ns);
}

bool wh_converged(uint64_t left_bytes, uint64_t rate_bps, uint64_t target_ns)
{
	return (wide)left_bytes * WH_NSEC_PER_SEC <= (wide)rate_bps * target_ns;
}

bool wh_round_helps(uint64_t before_bytes, uint64_t left_bytes, uint64_t rate_bps,
                    uint64_t worth_ns)
{
	return left_bytes <= before_bytes / 2 && !wh_converged(left_bytes, rate_bps, worth_ns);
}

bool wh_round_is_cheap(uint64_t dirty_bps, uint64_t rate_bps)
{
	return dirty_bps <= rate_bps / 4;
}
