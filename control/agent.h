/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Agent - this node as a member of its cluster: a connection to the coordinator, over which it
 * reports each second, and whenever something changed, and gets its orders.
 *
 * A node that is its own coordinator has the same connection, over a socket pair. Nothing of a
 * running migration depends on it: while it is away, migrations go on, and only new ones wait.
 *
 * Threads: the loop's own.
 */

#ifndef WH_AGENT_H
#define WH_AGENT_H

#include "daemon.h"
#include "json.h"
#include "rpc.h"

#include "wherry/cleanup.h"

struct wh_agent;

/* Starts to connect, and goes on trying for good. Never NULL. */
struct wh_agent *wh_agent_open(struct wh_daemon *daemon);

/* Whether the coordinator can be asked. If not, @why (may be NULL) receives words that say so. */
bool wh_agent_connected(const struct wh_agent *agent, struct wh_error *why);

/* Ask the coordinator; @request is given away. @answer is called once, whatever happens. */
void wh_agent_ask(struct wh_agent *agent, json_t *request, wh_rpc_answer_fn answer, void *ctx);

/* Accepts NULL, returns NULL. */
struct wh_agent *wh_agent_close(struct wh_agent *agent);

#endif
