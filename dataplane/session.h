/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WH_DATAPLANE_SESSION_H
#define WH_DATAPLANE_SESSION_H

#include "wherry/session.h"
#include "wherry/stats.h"

/* Go to @to, which the table must allow, and publish it. */
void wh_session_move(struct wh_stats *stats, enum wh_session_state to);

#endif
