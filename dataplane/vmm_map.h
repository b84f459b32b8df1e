/* SPDX-License-Identifier: Apache-2.0 */

/*
 * VMM map - where a hypervisor maps its guest's memory.
 *
 * Threads: values, no state.
 */

#ifndef WH_VMM_MAP_H
#define WH_VMM_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "ram.h"

#include "wherry/cleanup.h"
#include "wherry/error.h"

/* A piece of guest memory as the hypervisor maps it. */
struct wh_vmm_range {
	uint64_t addr; /* in the hypervisor's address space */
	uint64_t bytes;
	uint64_t first_page; /* of the guest */
	bool kept;           /* its region is: see ram.h */
};

struct wh_vmm_map {
	struct wh_vmm_range *ranges; /* owned */
	size_t count;
};

/**
 * wh_vmm_map_read() - Find where process @pid maps the guest's RAM files
 * @ret:	receives the ranges; release with wh_vmm_map_done()
 *
 * Return: 0; -ENXIO if the process does not map every page of the guest, shared; or -errno.
 */
wh_must_check int wh_vmm_map_read(struct wh_vmm_map *ret, pid_t pid, const struct wh_ram *ram,
                                  struct wh_error *err);

/*
 * Have @kept of each range say whether the process waits there for pages that are in their file: what
 * it was when they were registered. Return: 0 or -errno.
 */
wh_must_check int wh_vmm_map_read_kept(struct wh_vmm_map *map, pid_t pid, struct wh_error *err);

void wh_vmm_map_done(struct wh_vmm_map *map);

#endif
