/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Loop ends - both ends of a link of transport_loop.h, as whole migrations in one thread need them.
 * What cannot be is an assertion.
 */

#ifndef WH_LOOP_ENDS_H
#define WH_LOOP_ENDS_H

#include <stdbool.h>

#include "ram.h"

#include "wherry/transport.h"

/* Open one end of "loop://sim", to be closed by the caller. */
struct wh_transport *open_loop_end(bool passive);

/* The same with RDMA of tests/lib/fake_verbs.c beside it, for programs that have that. */
struct wh_transport *open_rdma_end(bool passive, const struct wh_rdma_options *options,
                                   void (*carries)(void *context, enum wh_transport_kind kind,
                                                   const char *why),
                                   void *context);

/* What RDMA may use: chunks so small that little memory has many, and with @little_room only three at a time. */
struct wh_rdma_options small_rdma_options(uint32_t pairs, bool little_room);

/* Lend all of @ram, mapped, to the source's end: regions by their number. */
void lend_to_loop(struct wh_transport *link, const struct wh_ram *ram);

#endif
