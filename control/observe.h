/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Observe - what monitoring sees of this wherryd by HTTP: /metrics and /healthz, at the address of
 * its configuration.
 *
 * Threads: the loop's own.
 */

#ifndef WH_OBSERVE_H
#define WH_OBSERVE_H

#include "daemon.h"
#include "metrics.h"

#include "wherry/cleanup.h"

struct wh_observe;

/*
 * Start, unless the configuration says "none". Where it cannot listen it says so in the log, and
 * tries again each few seconds: guests come first. Never NULL.
 */
struct wh_observe *wh_observe_open(struct wh_daemon *daemon);

/* Accepts NULL, returns NULL. */
struct wh_observe *wh_observe_close(struct wh_observe *observe);

/* Put in what this node knows by itself: its totals, and the migrations that it remembers. */
void wh_observe_collect(const struct wh_daemon *daemon, struct wh_metrics *metrics);

#endif
