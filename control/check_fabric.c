/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Check: what the fabric offers, on the interface that migrations take. Without RDMA they go over TCP, so
 * what is in its way is only worth a note, unless the configuration says that RDMA it must be.
 */

#include "check.h"

#include <inttypes.h>

#include "config.h"
#include "fabric.h"
#include "memlock.h"

#define MIB (UINT64_C(1) << 20)

static void no(struct wh_check_list *list, const struct wh_config *config, const char *rule,
               const char *remedy, const char *why)
{
	if (config->transport == WH_TRANSPORT_RDMA)
		wh_check_no(list, rule, remedy, "%s", why);
	else
		wh_check_heed(list, rule, "no RDMA, so memory goes over TCP: %s", why);
}

static void describe(struct wh_check_list *list, const struct wh_fabric *f, const char *interface)
{
	wh_check_yes(list, "rdma",
	             "RDMA device %s serves %s: port %u, %s, %s, %s, %u bytes in a packet",
	             f->device, interface, f->port, f->layer, f->state, f->rate, f->mtu_bytes);
}

static void check_memory(struct wh_check_list *list, const struct wh_config *config,
                         const struct wh_fabric *f)
{
	struct wh_error err;

	if (f->odp)
		wh_check_yes(list, "rdma-odp", "%s can do without pinned memory (ODP)%s", f->device,
		             config->rdma.odp ? "" : "; rdma.odp: true has it do so");
	else if (config->rdma.odp)
		wh_check_heed(list, "rdma-odp", "%s cannot do without pinned memory (no ODP)",
		              f->device);
	else
		wh_check_yes(list, "rdma-odp", "memory is pinned: %s has no ODP", f->device);
	if (config->rdma.odp && f->odp)
		return;
	if (wh_memlock_allow(config->rdma.pinned_bytes_max, &err) < 0)
		no(list, config, "rdma-memlock", "LimitMEMLOCK=infinity in the unit of its wherryd",
		   err.text);
	else
		wh_check_yes(list, "rdma-memlock", "its movers may pin %" PRIu64 " MiB each",
		             config->rdma.pinned_bytes_max / MIB);
}

static void check_tls(struct wh_check_list *list, const struct wh_config *config, bool disable_tls)
{
	if (disable_tls || config->plaintext_rdma)
		wh_check_heed(list, "rdma-plaintext", "memory that goes by RDMA is not encrypted");
	else
		no(list, config, "rdma-plaintext",
		   "allowPlaintextRDMA: true in its configuration, if the network may be trusted",
		   "TLS is on (disableTLS: false) and RDMA does not encrypt");
}

void wh_check_fabric(struct wh_check_list *list, const char *sys, const char *interface,
                     const struct wh_config *config, bool disable_tls)
{
	static const char remedy[] = "what docs/rdma.md says, or transport: auto";
	struct wh_fabric fabric;
	struct wh_error err;
	int r;

	if (config->transport == WH_TRANSPORT_TCP)
		return;
	r = wh_fabric_find(&fabric, sys, interface, &err);
	if (r == 0)
		r = wh_fabric_is_up(&fabric, &err);
	if (r == 0)
		r = wh_fabric_ask(&fabric, &err);
	if (r < 0) {
		no(list, config, "rdma", remedy, err.text);
		return;
	}
	describe(list, &fabric, interface);
	check_memory(list, config, &fabric);
	check_tls(list, config, disable_tls);
}
