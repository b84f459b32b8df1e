/* SPDX-License-Identifier: Apache-2.0 */

/*
 * RDMA way - what a link with RDMA knows, for connections beside it: those by which pages are read in
 * post-copy (rdma_reads.h, rdma_lend.h).
 *
 * Threads: values, no state.
 */

#ifndef WH_RDMA_WAY_H
#define WH_RDMA_WAY_H

#include "wherry/clock.h"
#include "wherry/transport.h"

/* For the peer to connect: writes wait for that. */
#define WH_RDMA_CONNECT_NS (5 * WH_NSEC_PER_SEC)

/* All pointers are borrowed from the link, and good until it is closed. */
struct wh_rdma_way {
	const char *address; /* as of struct wh_verbs_config */
	const char *local;
	const uint8_t *token; /* WH_TOKEN_BYTES */
	struct wh_rdma_options options;
	struct wh_bucket *bucket;

	/* As of struct wh_link_config. Called by the thread that has the reads. */
	void (*carries)(void *context, enum wh_transport_kind kind, const char *why);
	void *context;
};

#endif
