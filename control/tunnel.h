/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Tunnel - carries the device state: bytes between two stream sockets, both ways.
 *
 * A close is passed on at once: when one side has sent its last byte, the other side is told as
 * soon as it has that byte. An error on either side ends both.
 *
 * What @a says can be held until it is released. It is taken in meanwhile, so @a can say all it has; and
 * @b can, and can close, and @a hears of that at once: a QEMU that cannot learn that the other is gone
 * would keep its guest paused.
 *
 * Threads: the loop's own. The callbacks may close the tunnel.
 */

#ifndef WH_TUNNEL_H
#define WH_TUNNEL_H

#include <stdbool.h>
#include <stddef.h>

#include "loop.h"

#include "wherry/cleanup.h"

struct wh_tunnel;

enum wh_tunnel_mode {
	WH_TUNNEL_PASS,     /* hold nothing */
	WH_TUNNEL_HOLD_ALL, /* from the first byte on */
	WH_TUNNEL_RPC,      /* @b is a libvirtd, and its replies may be held */
};

/* Where a tunnel stops, and says so. */
enum wh_tunnel_gate {
	WH_GATE_CALL, /* before Finish is passed on to @b */
	WH_GATE_GOOD, /* before its answer is passed on to @a: it went well */
	WH_GATE_BAD,  /* or failed */
};

struct wh_tunnel_config {
	sd_event *loop;
	enum wh_tunnel_mode mode;
	int a; /* connected, non-blocking; owned by the tunnel from here on, also on failure */
	int b; /* the same */
	const void *early; /* bytes that came from @a before; copied */
	size_t early_len;  /* at most WH_TUNNEL_BYTES */
	/*
	 * @a has said its last byte, held or not: 0; or before that the tunnel has broken, and both sides
	 * are closed: -errno. At most once; may be NULL.
	 */
	void (*said_all)(void *ctx, int result);
	/*
	 * WH_TUNNEL_RPC: @a calls for Finish, with a guest that is to run, or @b has answered that. Nothing more
	 * comes from there until wh_tunnel_go_on(). NULL: all passes.
	 */
	void (*at_gate)(void *ctx, enum wh_tunnel_gate gate);
	void *ctx;
};

/* Bytes on the way in one direction: a device state of typical size in one piece. */
#define WH_TUNNEL_BYTES (256u << 10)

/* Bytes that are held: the device states of the largest guests are some MiB. More makes @a wait. */
#define WH_TUNNEL_HELD_BYTES (64u << 20)

/* Return: 0 or -errno. */
wh_must_check int wh_tunnel_open(struct wh_tunnel **ret, const struct wh_tunnel_config *cfg);

/*
 * Hold @a back: once all that it has to say has come, nothing more is taken from it until it is to be held
 * no longer. A QEMU that waits for its guest to be stopped repeats without pause that there is nothing.
 */
void wh_tunnel_hold(struct wh_tunnel *tunnel, bool hold);

/*
 * WH_TUNNEL_RPC: hold the replies that @b gives from now on. Its keep-alive and events go on. What is held is
 * dropped if @b closes.
 */
void wh_tunnel_hold_replies(struct wh_tunnel *tunnel);

/* Go on after @at_gate. May call it, and @said_all. */
void wh_tunnel_go_on(struct wh_tunnel *tunnel);

/* Whether who is at the other end of @a has read all that @b has said so far, to the last byte. */
bool wh_tunnel_was_read(const struct wh_tunnel *tunnel);

/*
 * WH_TUNNEL_HOLD_ALL, before the release: pass on what @a says until @b, an incoming QEMU, has said that @a's guest
 * may stop, and hold what comes from there.
 */
void wh_tunnel_hold_after_ack(struct wh_tunnel *tunnel);

/* Pass on what is held, and all that follows. May call @said_all. */
void wh_tunnel_release(struct wh_tunnel *tunnel);

/* Whether something is, or would be, held now. */
bool wh_tunnel_is_holding(const struct wh_tunnel *tunnel);

/* Accepts NULL, returns NULL. */
struct wh_tunnel *wh_tunnel_close(struct wh_tunnel *tunnel);

WH_DEFINE_CLEANUP(struct wh_tunnel, wh_tunnel_close)

#endif
