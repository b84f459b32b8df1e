/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Stale sockets - those that the QEMU of a migrated domain leaves where it is killed.
 *
 * A job removes its own at its end. But libvirt may still be making a target's QEMU when both daemons have lost
 * each other, and that one has sockets for a moment after the job's end.
 */

#ifndef WH_STALE_SOCKETS_H
#define WH_STALE_SOCKETS_H

#include <stdbool.h>
#include <stdint.h>

/**
 * wh_stale_sockets_remove() - Remove what migrations of a domain have left in a directory
 * @dir:	where QEMUs of libvirt may make sockets
 * @vm:		name of the domain; its migrations are called VM-XXXXXXXX
 * @is_on:	whether a migration of this id goes on: its sockets are not touched
 *
 * Neither is a socket at which somebody listens. Return: the number removed.
 */
uint32_t wh_stale_sockets_remove(const char *dir, const char *vm,
                                 bool (*is_on)(void *ctx, const char *id), void *ctx);

#endif
