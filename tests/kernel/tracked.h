/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Tracked memory - a stand-in for guest RAM, watched the way a mover watches it.
 *
 * Every call ends the test with words if it cannot do its work: exit 77 where the kernel lacks
 * the feature, 1 otherwise.
 *
 * Threads: any.
 */

#ifndef WH_TEST_TRACKED_H
#define WH_TEST_TRACKED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "wherry/linux_compat.h"

#define PAGE ((size_t)4096)

/* What a mover asks of its userfaultfd. */
#define TRACK_FEATURES                                                    \
	((uint64_t)(UFFD_FEATURE_WP_ASYNC | UFFD_FEATURE_WP_UNPOPULATED | \
	            UFFD_FEATURE_WP_HUGETLBFS_SHMEM | UFFD_FEATURE_EVENT_REMOVE))

struct tracked {
	char *addr; /* a shared mapping of @file */
	uint32_t pages;
	int file;      /* a memfd, empty at first */
	int uffd;      /* registered for write protection over the whole mapping */
	int pagemap;   /* of the process that owns the mapping */
	bool *written; /* one for each page: what the last tracked_scan() reported */
};

/* A new memfd of @pages, mapped shared and not touched. */
char *shared_memory(int *file, uint32_t pages);

/* A userfaultfd with @features, non-blocking. */
int open_uffd(uint64_t features);

/* Register @pages from @addr for write protection. */
void register_wp(int uffd, void *addr, uint32_t pages);

/* /proc/@pid/pagemap, or one's own for 0. */
int open_pagemap(pid_t pid);

/* All of the above. Nothing is protected yet. The process's end frees it. */
struct tracked tracked_memory(uint32_t pages);

/*
 * Report and protect again what was written since the last scan. Fills @t->written. Return: the
 * number of pages.
 */
uint32_t tracked_scan(struct tracked *t);

/* Protect everything for the first time, touched or not. */
void tracked_protect(const struct tracked *t);

/* Whether the last scan reported exactly the pages [@first, @first + @count). */
bool tracked_only(const struct tracked *t, uint32_t first, uint32_t count);

#endif
