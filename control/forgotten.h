/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Forgotten - a domain that libvirtd took off its list, and did not end.
 *
 * libvirt 11.3 does that to an incoming domain whose QEMU ends while libvirt, called to finish the migration, waits for
 * an answer of QEMU's. The owners of its files, and its directories, are not given back, and what libvirtd writes of a
 * domain that runs, NAME.xml beside NAME.pid, stays. The next libvirtd reads that, and ends the domain.
 *
 * Source: qemuMigrationDstFinishActive() of libvirt 11.3 takes a domain that another thread is about to end for one
 * that has ended, and that thread (processMonitorEOFEvent()) then finds it removed.
 */

#ifndef WH_FORGOTTEN_H
#define WH_FORGOTTEN_H

#include <stdbool.h>

#include "daemon.h"

#include "wherry/error.h"

#define WH_FORGOTTEN_REMEDY "restart libvirtd there (guests go on)"

/*
 * Whether that became of a domain called @name, by what is left of it; @why receives words that name the file. One whose QEMU
 * has just ended looks the same until libvirtd is done with it.
 */
bool wh_domain_is_forgotten(const struct wh_daemon *daemon, const char *name, struct wh_error *why);

#endif
