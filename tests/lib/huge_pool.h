/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Huge pool - huge pages of 2 MiB for a test, given back however it ends.
 */

#ifndef WH_HUGE_POOL_H
#define WH_HUGE_POOL_H

#include <stdbool.h>
#include <stdint.h>

#define HUGE_PAGE_BYTES ((size_t)2 << 20)

/*
 * Have @pages more in the kernel's pool until this process has ended. Call it once, before there
 * is anything that a child should not have. Return: whether they are there.
 */
bool huge_pool_open(uint32_t pages);

/* Pages of the pool that nobody uses or has claimed. */
uint32_t huge_pool_free(void);

/* A file of @bytes on hugetlbfs, without a name. Return: its descriptor or -1. */
int huge_file(uint64_t bytes);

#endif
