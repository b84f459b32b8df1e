/* SPDX-License-Identifier: Apache-2.0 */

/* Turn - what is to be done once a job has changed, when the loop comes round again. */

#ifndef WH_TURN_H
#define WH_TURN_H

#include "daemon.h"

/*
 * With the loop's next turn: tell the coordinator, forget what ended long ago; and exit if wherryd
 * is stopping and nothing is in the works. Call when a job changes.
 */
void wh_turn(struct wh_daemon *daemon);

#endif
