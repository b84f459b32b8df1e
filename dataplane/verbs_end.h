/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Verbs end - what verbs.c (memory, works, completions) and verbs_connect.c (the connection
 * manager) share.
 */

#ifndef WH_VERBS_END_H
#define WH_VERBS_END_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <infiniband/verbs.h>
#include <netinet/in.h>
#include <rdma/rdma_cma.h>

#include "verbs.h"

#include "wherry/cleanup.h"
#include "wherry/error.h"
#include "wherry/limits.h"

struct wh_verbs_pair {
	struct wh_verbs *end;
	struct rdma_cm_id *id; /* owned; its queue pair is created once the device is known */
	bool connected;
	uint64_t notes_sent;
};

struct wh_verbs {
	struct wh_verbs_config cfg; /* without its pointers */
	uint8_t token[WH_TOKEN_BYTES];
	struct sockaddr_storage local; /* ss_family 0: left to routing */
	struct wh_verbs_caps caps;

	struct rdma_event_channel *cm;
	struct rdma_cm_id *listener;
	struct wh_verbs_pair pairs[WH_RDMA_PAIRS_MAX];
	uint32_t connected; /* pairs */

	struct ibv_context *device; /* librdmacm's, for as long as there is an id on it */
	uint8_t initiator_depth, responder_resources; /* of reads */
	struct ibv_pd *pd;
	struct ibv_comp_channel *channel;
	struct ibv_cq *send_cq, *recv_cq;

	/* Values of marks, where these are sends: @notes_of() says whose is where. */
	uint32_t *notes;
	struct ibv_mr *notes_mr;

	int fd; /* an epoll of the three channels */
	atomic_uint keys;
	bool armed; /* the queues are, and nothing was heard or taken since */
	bool cut;
	bool removed; /* the device, or it is about to be */
	int over;     /* -errno, from when RDMA is */
	struct wh_error reason;
};

/* RDMA is over, and why. Of several reasons the first one counts. */
void wh_verbs_end(struct wh_verbs *v, int code, const char *fmt, ...) wh_printf(3, 4);

/* Create what all pairs share, on the device of @id; once. Return: 0 or -errno. */
wh_must_check int wh_verbs_use_device(struct wh_verbs *v, struct rdma_cm_id *id,
                                      struct wh_error *err);

/* Create the queue pair of @pair, with all its receives. Return: 0 or -errno. */
wh_must_check int wh_verbs_create_pair(struct wh_verbs_pair *pair, struct wh_error *err);

/* Begin to connect, or to listen. Return: 0 or -errno. */
wh_must_check int wh_verbs_begin(struct wh_verbs *v, const struct wh_verbs_config *cfg,
                                 struct wh_error *err);

/* Handle all that the connection manager has to say. It never waits. */
void wh_verbs_take_cm_events(struct wh_verbs *v);

#endif
