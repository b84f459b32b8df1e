/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Urgency - which threads of a mover go first in post-copy, where a guest waits and is next to run.
 *
 * Best effort: without CAP_SYS_NICE nothing changes.
 */

#ifndef WH_URGENCY_H
#define WH_URGENCY_H

/* All threads of this process that only move bytes, and the caller, yield to any guest. */
void wh_urgency_yield(void);

/* The calling thread goes ahead of all that. */
void wh_urgency_lead(void);

/* The calling thread is like any other, whoever made it. */
void wh_urgency_rest(void);

#endif
