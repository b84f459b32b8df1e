/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Census - which guests are on this node now, and how much memory they have: those of the configuration,
 * and the domains of libvirt.
 *
 * A guest of the configuration is here if a hypervisor listens at its QMP socket. It is asked once for its memory, and
 * then only its process is looked at: a monitor has better things to do than to answer us each
 * second, and somebody else may need it. Of domains libvirt tells. While a guest is being moved its job
 * knows.
 *
 * Threads: the loop's own.
 */

#ifndef WH_CENSUS_H
#define WH_CENSUS_H

#include "census_domains.h"
#include "cluster.h"
#include "daemon.h"

#include "wherry/cleanup.h"

struct wh_census;

/* Never NULL. */
struct wh_census *wh_census_open(struct wh_daemon *daemon);

/*
 * Look again. @domains are libvirt's, in the order of names. Return: one entry for each VM of the configuration, in its order, and then one for each
 * domain, borrowed until the next look or until @domains change.
 */
const struct wh_report_vm *wh_census_look(struct wh_census *census,
                                          const struct wh_domain_list *domains, size_t *count);

/* Accepts NULL, returns NULL. */
struct wh_census *wh_census_close(struct wh_census *census);

#endif
