/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Tunnel - carries the device state: bytes between two stream sockets, both ways.
 *
 * A close is passed on at once: when one side has sent its last byte, the other side is told as
 * soon as it has that byte. An error on either side ends both.
 *
 * Threads: the loop's own.
 */

#ifndef WH_TUNNEL_H
#define WH_TUNNEL_H

#include <stdbool.h>
#include <stddef.h>

#include "loop.h"

#include "wherry/cleanup.h"

struct wh_tunnel;

struct wh_tunnel_config {
	sd_event *loop;
	int a; /* connected, non-blocking; owned by the tunnel from here on, also on failure */
	int b; /* the same */
	const void *early; /* bytes that came from @a before; copied */
	size_t early_len;  /* at most WH_TUNNEL_BYTES */
};

/* Bytes on the way in one direction: a device state of typical size in one piece. */
#define WH_TUNNEL_BYTES (256u << 10)

/* Return: 0 or -errno. */
wh_must_check int wh_tunnel_open(struct wh_tunnel **ret, const struct wh_tunnel_config *cfg);

/*
 * Hold @a back: once all that it has to say has come, nothing more is taken from it until it is to be held
 * no longer. A QEMU that waits for its guest to be stopped repeats without pause that there is nothing.
 */
void wh_tunnel_hold(struct wh_tunnel *tunnel, bool hold);

/* Accepts NULL, returns NULL. */
struct wh_tunnel *wh_tunnel_close(struct wh_tunnel *tunnel);

WH_DEFINE_CLEANUP(struct wh_tunnel, wh_tunnel_close)

#endif
