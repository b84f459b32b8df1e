/* SPDX-License-Identifier: Apache-2.0 */

/*
 * TCP - the connections of a link, opened and agreed on.
 *
 * Each connection begins with a HELLO of the connecting side, answered by a WELCOME
 * (docs/wire-protocol.md). What comes after belongs to the transport.
 */

#ifndef WH_TCP_H
#define WH_TCP_H

#include <stdint.h>

#include "wherry/cleanup.h"
#include "wherry/error.h"
#include "wherry/limits.h"
#include "wherry/transport.h"

struct wh_tcp {
	int fds[WH_CONNECTIONS_MAX]; /* owned; blocking; in the order of their numbers */
	uint32_t count;
	int urgent; /* owned; -1 if there is none */
};

/*
 * Open all connections, as @cfg says. The side that connects, and sends the memory, chooses their
 * congestion control: "auto" is cubic if there is one, "system" the host's default, else a name.
 *
 * Return: 0; -ETIMEDOUT at the deadline; or -errno.
 */
wh_must_check int wh_tcp_open(struct wh_tcp *ret, const struct wh_link_config *cfg,
                              struct wh_error *err);

void wh_tcp_close(struct wh_tcp *tcp);

#endif
