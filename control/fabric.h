/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Fabric - the RDMA device that serves a network interface, if there is one.
 *
 * What the kernel shows in sysfs is read by fabric.c; what only libibverbs tells, by fabric_verbs.c. A
 * build without that library has fabric_no_verbs.c in its place, and no mover of it does RDMA.
 */

#ifndef WH_FABRIC_H
#define WH_FABRIC_H

#include <stdbool.h>
#include <stdint.h>

#include "wherry/error.h"

#define WH_FABRIC_TEXT_MAX 64u

struct wh_fabric {
	char device[WH_FABRIC_TEXT_MAX]; /* "mlx5_0" */
	uint32_t port;                   /* from 1 */
	char layer[WH_FABRIC_TEXT_MAX];  /* "Ethernet": that is RoCE; or "InfiniBand" */
	char state[WH_FABRIC_TEXT_MAX];  /* "ACTIVE", "DOWN" */
	char rate[WH_FABRIC_TEXT_MAX];   /* "100 Gb/sec (4X EDR)" */
	uint32_t mtu_bytes;              /* of its packets' payload; 0: not known */
	bool odp; /* it can do without pinned memory; after wh_fabric_ask() */
};

/**
 * wh_fabric_find() - Look for the device and port that serve an interface
 * @ret:	untouched on failure
 * @sys:	where sysfs is mounted: "/sys"
 * @interface:	a network interface's name
 *
 * Return: 0, -ENODEV if there is none, or -errno.
 */
wh_must_check int wh_fabric_find(struct wh_fabric *ret, const char *sys, const char *interface,
                                 struct wh_error *err);

/* Whether its port is up: 0, or -ENETDOWN. */
wh_must_check int wh_fabric_is_up(const struct wh_fabric *fabric, struct wh_error *err);

/* Fill in what the device itself says. Return: 0; -EOPNOTSUPP: this build cannot; or -errno. */
wh_must_check int wh_fabric_ask(struct wh_fabric *fabric, struct wh_error *err);

#endif
