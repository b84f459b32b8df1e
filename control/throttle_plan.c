/* SPDX-License-Identifier: Apache-2.0 */

#include "throttle_plan.h"

#include "wherry/assert.h"
#include "wherry/clock.h"

#define FIRST_PERCENT 20u
#define STEP_PERCENT  10u

/* Rounds become short as they near the end. Those that follow within this say nothing new. */
#define PAUSE_NS WH_NSEC_PER_SEC

/* Short, so that no vCPU stands still for long. The kernel grants no quota below 1 ms. */
#define PERIOD_US    20000u
#define QUOTA_MIN_US 1000u

static unsigned step_after(unsigned percent)
{
	if (percent == 0)
		return FIRST_PERCENT;
	percent += STEP_PERCENT;
	return percent > WH_THROTTLE_MAX_PERCENT ? WH_THROTTLE_MAX_PERCENT : percent;
}

bool wh_throttle_plan_judge(struct wh_throttle_plan *plan, const struct wh_throttle_sample *sample,
                            uint64_t now_ns)
{
	/* While the first round is under way, there is none before it. */
	if (sample->round < 2 || sample->round == plan->round)
		return false;
	if (plan->round > 0 && now_ns - plan->judged_ns < PAUSE_NS)
		return false;

	plan->round = sample->round;
	plan->judged_ns = now_ns;
	plan->high = sample->dirty_bps > sample->rate_bps / 2 ? plan->high + 1 : 0;
	if (plan->high < 2 || plan->percent == WH_THROTTLE_MAX_PERCENT)
		return false;
	plan->high = 0;
	plan->percent = step_after(plan->percent);
	return true;
}

struct wh_throttle_quota wh_throttle_quota(unsigned percent, unsigned have_per_mille)
{
	uint32_t keep_ppm = (100 - percent) * have_per_mille * 10;
	uint32_t quota_us;

	wh_assert(percent <= WH_THROTTLE_MAX_PERCENT && have_per_mille - 1 < 1000);
	if (keep_ppm < 1000)
		keep_ppm = 1000; /* for the kernel, a period is a second at most */
	quota_us = PERIOD_US / 1000 * keep_ppm / 1000;
	if (quota_us >= QUOTA_MIN_US)
		return (struct wh_throttle_quota){ quota_us, PERIOD_US };
	return (struct wh_throttle_quota){
		.quota_us = QUOTA_MIN_US,
		.period_us = (uint32_t)(UINT64_C(1000000) * QUOTA_MIN_US / keep_ppm),
	};
}
