/* SPDX-License-Identifier: Apache-2.0 */

/* Fabric - in a build without libibverbs, whose mover has no RDMA either. */

#include "fabric.h"

#include <errno.h>

int wh_fabric_ask(struct wh_fabric *fabric, struct wh_error *err)
{
	(void)fabric;
	return wh_fail(err, -EOPNOTSUPP,
	               "this wherryd was built without RDMA: build it with librdmacm-dev and "
	               "libibverbs-dev");
}
