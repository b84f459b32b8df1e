/* SPDX-License-Identifier: Apache-2.0 */

/* Fabric - what the device itself says. The only file of control/ that knows libibverbs. */

#include "fabric.h"

#include <errno.h>
#include <string.h>

#include <infiniband/verbs.h>

#include "wherry/cleanup.h"

/* What a mover asks of a device, too, before it leaves memory unpinned: on reliable connections. */
#define ODP_NEEDED (IBV_ODP_SUPPORT_WRITE | IBV_ODP_SUPPORT_READ)

static struct ibv_context *context_close(struct ibv_context *context)
{
	if (context)
		(void)ibv_close_device(context); /* nothing was made with it */
	return NULL;
}

WH_DEFINE_CLEANUP(struct ibv_context, context_close)

static struct ibv_context *open_device(const char *name)
{
	struct ibv_device **list = ibv_get_device_list(NULL);
	struct ibv_context *context = NULL;

	for (int i = 0; list && list[i] && !context; i++)
		if (!strcmp(ibv_get_device_name(list[i]), name))
			context = ibv_open_device(list[i]);
	if (list)
		ibv_free_device_list(list);
	return context;
}

int wh_fabric_ask(struct wh_fabric *f, struct wh_error *err)
{
	wh_cleanup(context_closep) struct ibv_context *context = open_device(f->device);
	struct ibv_device_attr_ex device = { 0 };
	struct ibv_port_attr port = { 0 };
	int r;

	if (!context)
		return wh_fail(err, -ENODEV,
		               "libibverbs cannot open RDMA device %s: are the package "
		               "ibverbs-providers and the module ib_uverbs there?",
		               f->device);
	r = ibv_query_port(context, (uint8_t)f->port, &port);
	if (r == 0)
		r = ibv_query_device_ex(context, NULL, &device);
	if (r != 0)
		return wh_fail(err, -r, "RDMA device %s does not answer: %s", f->device,
		               strerror(r));
	f->mtu_bytes = 128u << port.active_mtu; /* IBV_MTU_256 is 1 */
	f->odp = (device.odp_caps.general_caps & IBV_ODP_SUPPORT) &&
	         (device.odp_caps.per_transport_caps.rc_odp_caps & ODP_NEEDED) == ODP_NEEDED;
	return 0;
}
