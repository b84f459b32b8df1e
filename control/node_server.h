/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Node server - where other nodes reach this one: control connections and tunnels.
 *
 * It listens at the device of the migration network, and only nodes of the configuration, from
 * their addresses, get beyond the first line.
 *
 * Threads: the loop's own.
 */

#ifndef WH_NODE_SERVER_H
#define WH_NODE_SERVER_H

#include "daemon.h"

#include "wherry/cleanup.h"
#include "wherry/error.h"

struct wh_node_server;

/* Start. Where it cannot listen yet, it tries again each few seconds. Return: 0 or -errno. */
wh_must_check int wh_node_server_open(struct wh_node_server **ret, struct wh_daemon *daemon,
                                      struct wh_error *err);

/* The settings may name another network now. */
void wh_node_server_reopen(struct wh_node_server *server);

/* Why other nodes cannot reach this one; "" if they can. */
const char *wh_node_server_trouble(const struct wh_node_server *server);

/* Accepts NULL, returns NULL. */
struct wh_node_server *wh_node_server_close(struct wh_node_server *server);

#endif
