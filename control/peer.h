/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Peer - a control connection to the wherryd of another node: docs/node-protocol.md.
 *
 * It pings each second, and a peer that stays silent for WH_PEER_SILENCE_NS is lost. After
 * @lost nothing more is called.
 *
 * Threads: the loop's own. Callbacks may close the peer.
 */

#ifndef WH_PEER_H
#define WH_PEER_H

#include "lines.h"
#include "loop.h"
#include "network.h"
#include "node_protocol.h"

#include "wherry/cleanup.h"
#include "wherry/error.h"

struct wh_peer;

struct wh_peer_handler {
	/* Everything but pings. The caller's first message is WELCOME, with version and name
	 * checked. */
	void (*message)(void *ctx, const struct wh_node_message *msg);
	void (*lost)(void *ctx, const char *why);
	void *ctx;
};

struct wh_peer_config {
	sd_event *loop;
	const char *node;      /* our name */
	const char *peer;      /* the name the other must give; borrowed for its life */
	const char *interface; /* "" for any */
	union wh_worker_address address;
	struct wh_peer_handler handler;
};

/* Call another node. Return: 0, and WELCOME or @lost comes later; or -errno. */
wh_must_check int wh_peer_call(struct wh_peer **ret, const struct wh_peer_config *cfg,
                               struct wh_error *err);

/*
 * Go on with a connection whose hello was answered with @version; @lines is owned from here on.
 * Return: 0 or -errno.
 */
wh_must_check int wh_peer_adopt(struct wh_peer **ret, struct wh_lines *lines, uint32_t version,
                                const struct wh_peer_config *cfg);

/* Does nothing before the connection is made. */
void wh_peer_send(struct wh_peer *peer, const struct wh_node_message *msg);

/* Whether the other side speaks a version that has post-copy. Valid from WELCOME on. */
bool wh_peer_knows_post_copy(const struct wh_peer *peer);

/* The same for domains of libvirt. */
bool wh_peer_knows_domains(const struct wh_peer *peer);

/* The same for RDMA. */
bool wh_peer_knows_rdma(const struct wh_peer *peer);

/* This end's address of the connection. Return: 0 or -errno. */
wh_must_check int wh_peer_local_address(const struct wh_peer *peer, union wh_worker_address *ret);

/* Accepts NULL, returns NULL. What was sent before is still delivered by the kernel. */
struct wh_peer *wh_peer_close(struct wh_peer *peer);

WH_DEFINE_CLEANUP(struct wh_peer, wh_peer_close)

#endif
