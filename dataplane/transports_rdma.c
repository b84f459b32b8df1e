/* SPDX-License-Identifier: Apache-2.0 */

/* The transports of a mover that was built with RDMA. */

#include <stddef.h>

#include "transport_ops.h"

const struct wh_transport_ops *const wh_transports[] = { &wh_transport_tcp, &wh_transport_rdma,
	                                                 NULL };
const struct wh_transport_ops *const wh_rdma_beside = &wh_transport_tcp;
