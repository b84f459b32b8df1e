/* SPDX-License-Identifier: Apache-2.0 */

/* Check VM - requests about one VM, on the node that has it: "check"; and "check-target" on another. */

#ifndef WH_CHECK_VM_H
#define WH_CHECK_VM_H

#include <stdbool.h>

#include "ask.h"
#include "check.h"
#include "daemon.h"
#include "json.h"

/* Whether this node has that VM: as a domain, or in its configuration and with a hypervisor. */
bool wh_check_has_vm(const struct wh_daemon *daemon, const char *vm);

/* Add what the fabric of this node offers; the list is about it. */
void wh_check_rdma(const struct wh_daemon *daemon, struct wh_check_list *list);

void wh_check_request(struct wh_daemon *daemon, const json_t *request, struct wh_ask *ask);

/* The order: whether the domain of the request's XML could come here. */
void wh_check_target(struct wh_daemon *daemon, const json_t *request, struct wh_ask *ask);

#endif
