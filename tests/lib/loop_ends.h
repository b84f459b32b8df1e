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

/* Lend all of @ram, mapped, to the source's end: regions by their number. */
void lend_to_loop(struct wh_transport *link, const struct wh_ram *ram);

#endif
