/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Ends of TCP links over loopback, with RDMA beside them or not, for tests of the transport. What goes wrong here fails the test.
 *
 * Threads: one, and the opener's own.
 */

#ifndef WH_TCP_END_H
#define WH_TCP_END_H

#include <pthread.h>
#include <stdint.h>

#include "wherry/clock.h"
#include "wherry/limits.h"
#include "wherry/transport.h"

#define PAGES  1024u
#define BYTES  ((uint64_t)PAGES * WH_PAGE_SIZE)
#define DEPTH  8u
#define REGION 5u

/* Nothing here takes a second; a test that waits this long has failed. */
#define PATIENCE_NS (5 * WH_NSEC_PER_SEC)

/* What a test waits to see that nothing happens. */
#define A_MOMENT_NS (30 * WH_NSEC_PER_MSEC)

extern const uint8_t tcp_end_token[WH_TOKEN_BYTES];
extern const uint8_t tcp_end_wrong_token[WH_TOKEN_BYTES];

/* CLOCK_MONOTONIC, @ns from now. */
uint64_t in(uint64_t ns);

/* The passive end, opened by a thread of its own. */
struct opener {
	pthread_t thread;
	int ports[2];                /* a pipe that the port comes through */
	struct wh_rdma_options rdma; /* no pairs: there is none */
	struct wh_transport *link;
	struct wh_error err;
	int result;
};

/* Begin to listen. Return: the port to connect to. */
uint16_t opener_start(struct opener *opener);

/* The same with RDMA beside it. */
uint16_t opener_start_rdma(struct opener *opener, const struct wh_rdma_options *rdma);

/* Wait until the peer has connected. Return: the link, the caller's. */
struct wh_transport *opener_join(struct opener *opener);

/* Return: as wh_transport_open(). */
wh_must_check int connect_to(struct wh_transport **ret, uint16_t port, uint32_t connections,
                             const uint8_t *secret);

/* The same, two connections with a congestion control of one's own. */
wh_must_check int connect_with(struct wh_transport **ret, uint16_t port, const char *congestion,
                               struct wh_error *err);

/*
 * The same where it must succeed, with the right token, and what else @like says of connections,
 * compression and RDMA. Return: the link, the caller's.
 */
struct wh_transport *connect_like(uint16_t port, const struct wh_link_config *like);

struct memory {
	int fd;
	uint8_t *addr; /* the same, mapped */
};

/* Make memory of BYTES in @fd, which it takes over. */
struct memory new_memory(int fd);
void memory_done(struct memory *m);

/* Lend @m to @link as REGION. */
void lend(struct wh_transport *link, const struct memory *m);

/* Wait for one event. Return: what wh_transport_poll() did. */
wh_must_check int await(struct wh_transport *link, struct wh_event *ret);

/* The next event must be this frame. */
void await_frame(struct wh_transport *link, const void *data, uint32_t len);

#endif
