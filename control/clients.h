/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Clients - the unix socket where the CLI and other programs ask this wherryd: docs/api.md.
 *
 * One request a line, one answer a line, in order. The socket is root's alone.
 *
 * Threads: the loop's own.
 */

#ifndef WH_CLIENTS_H
#define WH_CLIENTS_H

#include "daemon.h"

#include "wherry/cleanup.h"
#include "wherry/error.h"

struct wh_clients;

/* Listen at the socket of the configuration. Return: 0, -EADDRINUSE, or -errno. */
wh_must_check int wh_clients_open(struct wh_clients **ret, struct wh_daemon *daemon,
                                  struct wh_error *err);

/* Accepts NULL, returns NULL. */
struct wh_clients *wh_clients_close(struct wh_clients *clients);

#endif
