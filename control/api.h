/* SPDX-License-Identifier: Apache-2.0 */

/*
 * API - what the CLI and other programs ask of wherryd, over its unix socket: docs/api.md.
 *
 * One request a line, one answer a line, in order. The socket is root's alone.
 *
 * Threads: the loop's own.
 */

#ifndef WH_API_H
#define WH_API_H

#include "daemon.h"

#include "wherry/cleanup.h"
#include "wherry/error.h"

/* The manifest that was applied last, in the state directory. */
#define WH_APPLIED_FILE "hyperconverged.yaml"

struct wh_api;

/* Listen at the socket of the configuration. Return: 0, -EADDRINUSE, or -errno. */
wh_must_check int wh_api_open(struct wh_api **ret, struct wh_daemon *daemon, struct wh_error *err);

/* Accepts NULL, returns NULL. */
struct wh_api *wh_api_close(struct wh_api *api);

#endif
