/* SPDX-License-Identifier: Apache-2.0 */

#include "wherry/session.h"

#include "wherry/assert.h"

#define TO(state) (1u << WH_SESSION_##state)

static const struct {
	const char *name;
	unsigned next; /* set of TO() */
} states[WH_SESSION_STATES] = {
	[WH_SESSION_OPENING] = { "opening",
	                         TO(ATTACHING) | TO(PRECOPY) | TO(POSTCOPY) | TO(FAILED) },
	[WH_SESSION_ATTACHING] = { "attaching",
	                           TO(PRECOPY) | TO(POSTCOPY) | TO(LANDED) | TO(FAILED) },
	[WH_SESSION_PRECOPY] = { "precopy",
	                         TO(ATTACHING) | TO(CONVERGED) | TO(LANDED) | TO(FAILED) },
	[WH_SESSION_CONVERGED] = { "converged", TO(LAST_PASS) | TO(FAILED) },
	[WH_SESSION_LAST_PASS] = { "last-pass", TO(POSTCOPY) | TO(LANDED) | TO(FAILED) },
	[WH_SESSION_POSTCOPY] = { "postcopy", TO(ATTACHING) | TO(LANDED) | TO(FAILED) },
	[WH_SESSION_LANDED] = { "landed", 0 },
	[WH_SESSION_FAILED] = { "failed", 0 },
};

const char *wh_session_state_name(enum wh_session_state state)
{
	wh_assert(state < WH_SESSION_STATES);
	return states[state].name;
}

bool wh_session_may_move(enum wh_session_state from, enum wh_session_state to)
{
	wh_assert(from < WH_SESSION_STATES && to < WH_SESSION_STATES);
	return (states[from].next & (1u << to)) != 0;
}
