/* SPDX-License-Identifier: Apache-2.0 */

/*
 * API - what can be asked of a wherryd, and who answers: docs/api.md.
 *
 * Threads: the loop's own.
 */

#ifndef WH_API_H
#define WH_API_H

#include "ask.h"
#include "daemon.h"
#include "json.h"

/* A client of this node asks. What is not this node's to answer goes to the coordinator. */
void wh_api_request(struct wh_daemon *daemon, const json_t *request, struct wh_ask *ask);

/* The coordinator asks: only this node can answer. */
void wh_api_order(struct wh_daemon *daemon, const json_t *request, struct wh_ask *ask);

#endif
