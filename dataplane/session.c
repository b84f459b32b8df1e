/* SPDX-License-Identifier: Apache-2.0 */

#include "session.h"

#include "wherry/assert.h"

void wh_session_move(struct wh_stats *stats, enum wh_session_state to)
{
	enum wh_session_state from = (enum wh_session_state)wh_stat_get(stats, WH_STAT_STATE);

	wh_assert(wh_session_may_move(from, to));
	wh_stat_set(stats, WH_STAT_STATE, (uint64_t)to);
}
