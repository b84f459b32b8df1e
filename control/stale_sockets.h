/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Stale sockets - those that the QEMU of a migrated domain leaves where it is killed.
 *
 * A job removes its own at its end. But libvirt may still be making a target's QEMU when both daemons have lost
 * each other, and that one has sockets for a moment after the job's end. If it fails to start, libvirt says nothing.
 */

#ifndef WH_STALE_SOCKETS_H
#define WH_STALE_SOCKETS_H

#include <stdbool.h>
#include <stdint.h>

#include "wherry/limits.h"

/* Of what a migration has left: its id, VM-XXXXXXXX, and the VM. */
struct wh_stale_id {
	char migration[WH_NAME_MAX];
	char vm[WH_NAME_MAX];
};

/**
 * wh_stale_sockets_remove() - Remove what migrations of domains have left in a directory
 * @dir:	where QEMUs of libvirt may make sockets
 * @is_stale:	whether that migration is over, and its QEMU not there; else its sockets are not touched
 *
 * Neither is a socket at which somebody listens. Return: the number removed.
 */
uint32_t wh_stale_sockets_remove(const char *dir,
                                 bool (*is_stale)(void *ctx, const struct wh_stale_id *id),
                                 void *ctx);

#endif
