/* SPDX-License-Identifier: Apache-2.0 */

/* The transports of a mover that was built without RDMA. */

#include <stddef.h>

#include "transport_ops.h"

const struct wh_transport_ops *const wh_transports[] = { &wh_transport_tcp, NULL };
