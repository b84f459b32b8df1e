/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Session - the states of one side of a migration's data plane.
 *
 * The table of legal moves is in base/session.c. Both sides use the same states; the target
 * passes from OPENING to PRECOPY, and to LANDED when the source says that the last pass is over.
 *
 * Post-copy comes between: the source goes from LAST_PASS to POSTCOPY, the target from PRECOPY by
 * ATTACHING, because it borrows a thread of its hypervisor; and again at the end, by ATTACHING to
 * LANDED. A mover that resumes goes from OPENING to POSTCOPY.
 */

#ifndef WH_SESSION_H
#define WH_SESSION_H

#include <stdbool.h>

enum wh_session_state {
	WH_SESSION_OPENING,   /* connecting, agreeing on the regions */
	WH_SESSION_ATTACHING, /* a thread of the hypervisor is borrowed; do not kill now */
	WH_SESSION_PRECOPY,   /* rounds; the guest runs at the source */
	WH_SESSION_CONVERGED, /* what is left is small enough; waiting for the guest to stop */
	WH_SESSION_LAST_PASS, /* the guest stands still; the rest is being sent */
	WH_SESSION_POSTCOPY,  /* the guest may run at the destination, which lacks pages */
	WH_SESSION_LANDED,    /* the destination has every byte */
	WH_SESSION_FAILED,    /* over; left from POSTCOPY, others can resume; else nothing counts */
	WH_SESSION_STATES,
};

/* The state's name in logs, status and docs: "precopy". */
const char *wh_session_state_name(enum wh_session_state state);

/* Whether a session may go from @from to @to in one step. */
bool wh_session_may_move(enum wh_session_state from, enum wh_session_state to);

#endif
