/* SPDX-License-Identifier: Apache-2.0 */

/* Schedule - the queue of migrations: docs/semantics.md section 4. */

#ifndef WH_SCHEDULE_H
#define WH_SCHEDULE_H

#include "daemon.h"

/*
 * With the loop's next turn: start what may start, say what the others wait for, forget what ended
 * long ago; and exit if wherryd is stopping and nothing is in the works. Call when a job changes.
 */
void wh_schedule(struct wh_daemon *daemon);

#endif
