/* SPDX-License-Identifier: Apache-2.0 */

/*
 * RPC - requests and answers over one connection, both ways at once: docs/node-protocol.md.
 *
 *	{"call":7,"request":{"command":"report",...}}
 *	{"reply":7,"answer":{"ok":true,...}}
 *
 * Requests and answers are those of docs/api.md. A connection over which nothing comes for
 * WH_PEER_SILENCE_NS is lost, so one end has to ask something more often than that. After @lost
 * nothing more is called.
 *
 * Threads: the loop's own. Callbacks may close it.
 */

#ifndef WH_RPC_H
#define WH_RPC_H

#include "ask.h"
#include "json.h"
#include "lines.h"

#include "wherry/cleanup.h"

struct wh_rpc;

struct wh_rpc_handler {
	/* The other end asks; @request is borrowed. */
	void (*request)(void *ctx, const json_t *request, struct wh_ask *ask);
	void (*lost)(void *ctx, const char *why);
	void *ctx;
};

/* The answer, given away to this function; or NULL and why none will come. */
typedef void (*wh_rpc_answer_fn)(void *ctx, json_t *answer, const char *why);

/*
 * Go on with a connection; @lines is owned from here on, also on failure. @node is the name of the
 * other end, borrowed. Return: 0 or -ENOMEM.
 */
wh_must_check int wh_rpc_adopt(struct wh_rpc **ret, struct wh_lines *lines, sd_event *loop,
                               const char *node, const struct wh_rpc_handler *handler);

/* Ask; @request is given away. @answer is called once, whatever happens. */
void wh_rpc_call(struct wh_rpc *rpc, json_t *request, wh_rpc_answer_fn answer, void *ctx);

/* Accepts NULL, returns NULL. Who waits for an answer is told that none comes. */
struct wh_rpc *wh_rpc_close(struct wh_rpc *rpc);

#endif
