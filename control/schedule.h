/* SPDX-License-Identifier: Apache-2.0 */

/* Schedule - the queue of migrations: docs/semantics.md section 4. */

#ifndef WH_SCHEDULE_H
#define WH_SCHEDULE_H

#include "daemon.h"

/* Start what may start, say what the others wait for, and forget what ended long ago. */
void wh_schedule_run(struct wh_daemon *daemon);

#endif
