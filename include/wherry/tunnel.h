/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Tunnel - what wherryd and a wherry-tunnel say to each other.
 *
 * A wherry-tunnel carries byte streams of one migration: each between two sockets, both ways. wherryd
 * starts it as it starts a mover (worker.h): in the migration's cgroup leaf, with one end of a unix
 * SOCK_SEQPACKET pair at WH_WORKER_FD. Each message is one struct below; both programs come from one
 * build, so layouts are native.
 *
 *	START ->			once, and first
 *	CONNECT ->			<- REFUSED, if the connection does not come about
 *	JOIN ->				<- REFUSED, if there are WH_STREAMS_MAX streams already
 *	<- FAILED			nothing follows, and it exits
 *
 * A CONNECT makes its TCP socket here, inside the cgroup: so the migration's limit holds for it. Of a
 * stream that comes about nothing more is said: its two ends say more than the tunnel could. It ends
 * when wherryd closes its end of the socket, or kills it, or dies.
 *
 * Descriptors:
 *	START	the stats page, a memfd of sizeof(struct wh_tunnel_stats), and up to WH_WORKER_HOLD_MAX that
 *		are kept open and never used: BPF links, as with a mover
 *	CONNECT	the local socket
 *	JOIN	two sockets; what came early came from the first
 */

#ifndef WH_TUNNEL_MESSAGES_H
#define WH_TUNNEL_MESSAGES_H

#include <assert.h>
#include <net/if.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"
#include "limits.h"
#include "worker.h"

enum wh_stream_type {
	WH_STREAM_START,   /* daemon -> tunnel, only its type */
	WH_STREAM_CONNECT, /* daemon -> tunnel, struct wh_stream_connect */
	WH_STREAM_JOIN,    /* daemon -> tunnel, struct wh_stream_join */
	WH_STREAM_REFUSED, /* tunnel -> daemon, struct wh_stream_failed: of one stream */
	WH_STREAM_FAILED,  /* tunnel -> daemon, struct wh_stream_failed: of all; nothing follows */
};

struct wh_stream_connect {
	uint32_t type;            /* WH_STREAM_CONNECT */
	uint32_t line_bytes;      /* at most WH_STREAM_LINE_MAX + 1: the newline is one of them */
	char interface[IFNAMSIZ]; /* bind the socket to this device; "" leaves it to routing */
	union wh_worker_address address;
	char line[WH_STREAM_LINE_MAX + 1]; /* to be said first */
};

/* No more of it is sent than @early has bytes. */
struct wh_stream_join {
	uint32_t type;        /* WH_STREAM_JOIN */
	uint32_t early_bytes; /* at most WH_STREAM_EARLY_MAX */
	uint8_t early[WH_STREAM_EARLY_MAX];
};

struct wh_stream_failed {
	uint32_t type; /* WH_STREAM_REFUSED or WH_STREAM_FAILED */
	int32_t code;  /* negative errno */
	struct wh_error error;
};

/* Written by the tunnel; read by the daemon whenever it likes, also after the tunnel has died. */
struct wh_tunnel_stats {
	_Atomic uint64_t
		sent_bytes; /* to the side that is no unix socket; if both are, from the first */
	_Atomic uint64_t received_bytes;
};

static_assert(sizeof(struct wh_stream_failed) == 8 + WH_ERROR_TEXT_MAX, "no padding travels");
static_assert(offsetof(struct wh_stream_join, early) == 8, "no padding travels");

#endif
