/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Linux compat - kernel interfaces newer than the C library's headers.
 *
 * Debian 12 ships the headers of Linux 6.1; the dirty page scan came with
 * Linux 6.7. The values below are those of the kernel's own uapi headers
 * (linux/fs.h and linux/userfaultfd.h) and are a fixed part of its ABI.
 * Whether the running kernel knows them is another question: ask it.
 */

#ifndef WH_LINUX_COMPAT_H
#define WH_LINUX_COMPAT_H

#include <assert.h>
#include <linux/fs.h>
#include <linux/ioctl.h>
#include <linux/types.h>
#include <linux/userfaultfd.h>

/* linux/userfaultfd.h: the first is Linux 5.19, the second 6.4, the third 6.7. */

#ifndef UFFD_FEATURE_WP_HUGETLBFS_SHMEM
#define UFFD_FEATURE_WP_HUGETLBFS_SHMEM (1 << 12)
#endif

#ifndef UFFD_FEATURE_WP_UNPOPULATED
#define UFFD_FEATURE_WP_UNPOPULATED (1 << 13)
#endif

#ifndef UFFD_FEATURE_WP_ASYNC
#define UFFD_FEATURE_WP_ASYNC (1 << 15)
#endif

/* linux/fs.h, Linux 6.7: ioctl() of /proc/PID/pagemap. */

#ifndef PAGEMAP_SCAN

/* Page categories: what to look for, and what was found. */
#define PAGE_IS_WPALLOWED  (1 << 0) /* tracked: in a mapping registered with WP_ASYNC */
#define PAGE_IS_WRITTEN    (1 << 1) /* written since it was last protected */
#define PAGE_IS_FILE       (1 << 2)
#define PAGE_IS_PRESENT    (1 << 3)
#define PAGE_IS_SWAPPED    (1 << 4)
#define PAGE_IS_PFNZERO    (1 << 5)
#define PAGE_IS_HUGE       (1 << 6)
#define PAGE_IS_SOFT_DIRTY (1 << 7)

/* A run of pages of one kind: addresses in bytes, the end is exclusive. */
struct page_region {
	__u64 start;
	__u64 end;
	__u64 categories; /* the PAGE_IS_ bits asked for in return_mask */
};

#define PM_SCAN_WP_MATCHING   (1 << 0) /* protect what is reported, in the same step */
#define PM_SCAN_CHECK_WPASYNC (1 << 1) /* -EPERM at a page that is not tracked */

struct pm_scan_arg {
	__u64 size;                /* of this struct */
	__u64 flags;               /* PM_SCAN_ bits */
	__u64 start;               /* first address; aligned to a page */
	__u64 end;                 /* first address behind the range */
	__u64 walk_end;            /* out: where the scan stopped */
	__u64 vec;                 /* out: address of an array of struct page_region, or 0 */
	__u64 vec_len;             /* room in it, in elements */
	__u64 max_pages;           /* stop after so many matching pages; 0 is no limit */
	__u64 category_inverted;   /* categories whose sense is turned around */
	__u64 category_mask;       /* all of these must hold */
	__u64 category_anyof_mask; /* one of these must hold, if there is any */
	__u64 return_mask;         /* which categories to report */
};

static_assert(sizeof(struct page_region) == 24, "struct page_region is kernel ABI");
static_assert(sizeof(struct pm_scan_arg) == 96, "struct pm_scan_arg is kernel ABI");

/* Returns the number of regions filled in, or -1 and errno. */
#define PAGEMAP_SCAN _IOWR('f', 16, struct pm_scan_arg)

#endif

#endif
