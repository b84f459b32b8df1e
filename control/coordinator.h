/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Coordinator - the one wherryd of a cluster that keeps its objects and its queue: cluster.h, with
 * connections to the nodes, a clock, and an API around it.
 *
 *	coordinator.c          members, their reports, orders to them
 *	coordinator_api.c      what it is asked, by any node
 *	coordinator_status.c   a migration, from the move and what its nodes say
 *
 * Threads: the loop's own.
 */

#ifndef WH_COORDINATOR_H
#define WH_COORDINATOR_H

#include "cluster.h"
#include "daemon.h"
#include "json.h"
#include "lines.h"
#include "loop.h"
#include "rpc.h"

#include "wherry/cleanup.h"
#include "wherry/error.h"

struct wh_joined;

struct wh_coordinator {
	struct wh_daemon *daemon;
	struct wh_cluster *cluster;
	struct wh_joined *members;
	struct wh_timer timer;
	sd_event_source *turn;
	/* What the nodes have last said of each migration: id -> "source", "target" -> status. */
	json_t *details;
};

/* Return: 0, or -errno: as wh_cluster_open(). */
wh_must_check int wh_coordinator_open(struct wh_coordinator **ret, struct wh_daemon *daemon,
                                      struct wh_error *err);

/* @node has joined. @lines is owned from here on. */
void wh_coordinator_adopt(struct wh_coordinator *c, struct wh_lines *lines, const char *node);
/* The same with a connected socket. */
void wh_coordinator_adopt_fd(struct wh_coordinator *c, int fd, const char *node);

/* Somebody asks: docs/api.md. */
void wh_coordinator_request(struct wh_coordinator *c, const json_t *request, struct wh_ask *ask);

/* Accepts NULL, returns NULL. */
struct wh_coordinator *wh_coordinator_close(struct wh_coordinator *c);

/* For its parts. */
struct wh_cluster_time wh_coordinator_now(void);
/* Have the cluster take its turn with the loop's next one. */
void wh_coordinator_turn(struct wh_coordinator *c);
/* Pass a request on to @node and its answer back. */
void wh_coordinator_pass(struct wh_coordinator *c, const char *node, const json_t *request,
                         struct wh_ask *ask);
/* Take note of a report's "jobs". */
void wh_coordinator_note(struct wh_coordinator *c, const json_t *jobs);
/* "status" of one migration, NULL if there is none of this name; or of all. New references. */
json_t *wh_coordinator_status(const struct wh_coordinator *c, const char *migration);
json_t *wh_coordinator_status_all(const struct wh_coordinator *c);

#endif
