/* SPDX-License-Identifier: Apache-2.0 */

/*
 * RAM files - the files on tmpfs or hugetlbfs that are a guest's memory.
 */

#ifndef WH_RAM_FILES_H
#define WH_RAM_FILES_H

#include <stdint.h>
#include <sys/types.h>

#include "wherry/cleanup.h"
#include "wherry/error.h"
#include "wherry/limits.h"

struct wh_ram_file {
	char name[WH_NAME_MAX]; /* the memory backend's id */
	char *path;
	uint64_t bytes;
	int fd; /* read-write, -1 until opened */
	dev_t dev;
	ino_t ino;
};

/* All of a guest. Zeroed memory is an empty one. */
struct wh_ram {
	struct wh_ram_file *files;
	uint32_t count;
};

/* Add a file that is not opened yet. Return: 0; -E2BIG above WH_REGIONS_MAX; -ENOMEM. */
wh_must_check int wh_ram_add(struct wh_ram *ram, const char *name, const char *path,
                             uint64_t bytes);

/**
 * wh_ram_open() - Open every file, and make sure that it is what the guest has mapped
 * @vmm_pid:	the hypervisor; its mappings are compared
 *
 * Refused are files that are not on tmpfs or hugetlbfs, shorter than the guest's memory, or not
 * mapped by the hypervisor under that name.
 *
 * Return: 0 or -errno.
 */
wh_must_check int wh_ram_open(struct wh_ram *ram, pid_t vmm_pid, struct wh_error *err);

/*
 * Open files again that are known by device and inode, without a hypervisor: it may be gone, or
 * too busy with faults to be asked. Those that are open stay as they are. Return: 0 or -errno.
 */
wh_must_check int wh_ram_reopen(struct wh_ram *ram, struct wh_error *err);

/* Add all files of @from, not opened, with what is known of them. Return: 0; -E2BIG; -ENOMEM. */
wh_must_check int wh_ram_copy(struct wh_ram *to, const struct wh_ram *from);

/*
 * Give a file a second name, beside its directory, so that it outlives who made it. Return: 0 or -errno.
 */
wh_must_check int wh_ram_link(struct wh_ram_file *file, const char *id, uint32_t index,
                              struct wh_error *err);

/* Take back what wh_ram_link() gave, and nothing else: the guest stays where it is. */
void wh_ram_unlink_second(const struct wh_ram *ram, const char *id);

/*
 * Whether @theirs has the same names and sizes as @ram, in any order. Return: 0 or -EINVAL with
 * the difference in words.
 */
struct wh_worker_region;
wh_must_check int wh_ram_compare(const struct wh_ram *ram, const struct wh_worker_region *theirs,
                                 uint32_t count, struct wh_error *err);

uint64_t wh_ram_bytes(const struct wh_ram *ram);

/*
 * Remove the files from their directories. A path that has become another file since is left
 * alone. Return: the number removed.
 */
uint32_t wh_ram_unlink(const struct wh_ram *ram);

/* Close the descriptors, in a thread if that may take its time, and forget the files. */
void wh_ram_done(struct wh_ram *ram);

#endif
