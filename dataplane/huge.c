/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Which pages a file holds is told by UFFDIO_CONTINUE in a mapping of our own that nobody touches:
 * it maps a page that is there, and fails where none is.
 *
 * The same mapping shows which pages vanish. A hypervisor gives huge pages back by fallocate(),
 * without the madvise() that would be an event of the tracker's, and a scan does not report them,
 * not even if the guest had written to them just before. But the kernel takes them out of all page
 * tables, ours included. A page is watched before it is read, so none vanishes unseen.
 */

#include "huge.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <linux/magic.h>

#include "ram.h"
#include "zero.h"

#include "wherry/assert.h"
#include "wherry/fdpass.h"
#include "wherry/linux_compat.h"

/* Runs that one scan reports: on the stack. */
#define SCAN_RUNS 64u

uint32_t wh_huge_page_bytes(int fd)
{
	struct statfs fs;

	if (fstatfs(fd, &fs) < 0)
		return 0;
	if (fs.f_type == TMPFS_MAGIC)
		return WH_PAGE_SIZE;
	return fs.f_type == HUGETLBFS_MAGIC ? (uint32_t)fs.f_bsize : 0;
}

static uint64_t align_down(uint64_t offset, const struct wh_region *region)
{
	return offset - offset % region->page_bytes;
}

static uint64_t align_up(uint64_t offset, const struct wh_region *region)
{
	return align_down(offset + region->page_bytes - 1, region);
}

/* Small pages of a huge one. */
static uint32_t small_pages(const struct wh_region *region)
{
	return region->page_bytes / WH_PAGE_SIZE;
}

/* --- at the source ---------------------------------------------------------------------------- */

static int open_uffd(const struct wh_region *region)
{
	struct uffdio_api api = { .api = UFFD_API, .features = UFFD_FEATURE_MINOR_HUGETLBFS };
	struct uffdio_register reg = {
		.range = { .start = (uintptr_t)region->addr, .len = region->bytes },
		.mode = UFFDIO_REGISTER_MODE_MINOR,
	};
	wh_cleanup(wh_closep) int fd =
		(int)syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);

	if (fd < 0 || ioctl(fd, UFFDIO_API, &api) < 0 || ioctl(fd, UFFDIO_REGISTER, &reg) < 0)
		return -errno;
	return wh_steal_fd(&fd);
}

int wh_huge_open(struct wh_region *region)
{
	/* Without MAP_NORESERVE it would claim huge pages for the holes. */
	void *addr =
		mmap(NULL, region->bytes, PROT_READ, MAP_SHARED | MAP_NORESERVE, region->fd, 0);

	if (addr == MAP_FAILED)
		return -errno;
	region->addr = addr;
	region->watched = wh_pageset_new(region->bytes / region->page_bytes);
	region->pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	if (!region->watched || region->pagemap < 0)
		return region->watched ? -errno : -ENOMEM;
	region->uffd = open_uffd(region);
	return region->uffd < 0 ? region->uffd : 0;
}

void wh_huge_close(struct wh_region *region)
{
	region->watched = wh_pageset_free(region->watched);
	wh_closep(&region->pagemap);
	wh_closep(&region->uffd);
}

/* Watch what is there from @offset on, up to the first hole or @end. Return: bytes, or -errno. */
static int64_t watch(const struct wh_region *region, uint64_t offset, uint64_t end)
{
	struct uffdio_continue c = {
		.range = { .start = (uintptr_t)region->addr + offset, .len = end - offset },
	};
	int r;

	/* This ends: EAGAIN without a page means that the mapping changes, which ours does not. */
	do
		r = ioctl(region->uffd, UFFDIO_CONTINUE, &c);
	while (r < 0 && errno == EAGAIN && c.mapped <= 0);
	if (r < 0 && c.mapped <= 0 && errno != EFAULT && errno != EEXIST)
		return -errno;
	if (r < 0 && c.mapped <= 0)
		c.mapped = errno == EEXIST ? region->page_bytes : 0;
	if (c.mapped > 0)
		wh_pageset_add(region->watched, offset / region->page_bytes,
		               (uint64_t)c.mapped / region->page_bytes);
	return c.mapped;
}

int wh_huge_add_present(const struct wh_region *region, struct wh_pageset *into)
{
	uint64_t at = 0;

	/* This ends: each turn gets further, by what is there or by a hole. */
	while (at < region->bytes) {
		int64_t there = watch(region, at, region->bytes);

		if (there < 0)
			return (int)there;
		if (there > 0)
			wh_pageset_add(into, region->first_page + at / WH_PAGE_SIZE,
			               (uint64_t)there / WH_PAGE_SIZE);
		at += there > 0 ? (uint64_t)there : region->page_bytes;
	}
	return 0;
}

int wh_huge_watch(const struct wh_region *region, uint64_t offset, uint64_t bytes)
{
	const uint64_t end = align_up(offset + bytes, region);
	int64_t r = 0;

	/* A hole needs no watch: it is zero. */
	for (uint64_t at = align_down(offset, region); r >= 0 && at < end; at += region->page_bytes)
		r = watch(region, at, at + region->page_bytes);
	return r < 0 ? (int)r : 0;
}

/* Of the huge pages [@first, @end), which are not mapped, note those that were watched. */
static void note_gone(const struct wh_region *region, uint64_t first, uint64_t end,
                      struct wh_pageset *into)
{
	for (uint64_t page = first; page < end; page++) {
		if (!wh_pageset_has(region->watched, page))
			continue;
		wh_pageset_remove(region->watched, page);
		wh_pageset_add(into, region->first_page + page * small_pages(region),
		               small_pages(region));
	}
}

int wh_huge_add_gone(const struct wh_region *region, struct wh_pageset *into)
{
	const uint64_t base = (uintptr_t)region->addr;
	struct page_region runs[SCAN_RUNS];
	struct pm_scan_arg arg = {
		.size = sizeof(arg),
		.start = base,
		.end = base + region->bytes,
		.vec = (uintptr_t)runs,
		.vec_len = SCAN_RUNS,
		.category_inverted = PAGE_IS_PRESENT,
		.category_mask = PAGE_IS_PRESENT,
		.return_mask = PAGE_IS_PRESENT,
	};

	/* This ends: each turn gets further, and a region is finite. */
	while (arg.start < arg.end) {
		int n = ioctl(region->pagemap, PAGEMAP_SCAN, &arg);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		for (int i = 0; i < n; i++)
			note_gone(region, (runs[i].start - base) / region->page_bytes,
			          (runs[i].end - base) / region->page_bytes, into);
		arg.start = arg.walk_end;
	}
	return 0;
}

/* --- at the target ---------------------------------------------------------------------------- */

int wh_huge_allocate(void *addr, uint64_t bytes)
{
	int r;

	do
		r = madvise(addr, bytes, MADV_POPULATE_WRITE);
	while (r < 0 && errno == EINTR);
	if (r == 0)
		return 0;
	/* EFAULT is what a touch would have been: SIGBUS. */
	return errno == EFAULT || errno == ENOMEM ? -ENOSPC : -errno;
}

static void *map(const struct wh_region *region, uint64_t offset, uint64_t bytes)
{
	return mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, region->fd, (off_t)offset);
}

/* Punching took the reservation away, too; to map is to reserve, and that stays with the file. */
static int punch(const struct wh_region *region, uint64_t offset, uint64_t bytes)
{
	void *addr;
	int r;

	do
		r = fallocate(region->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset,
		              (off_t)bytes);
	while (r < 0 && errno == EINTR);
	if (r < 0)
		return -errno;
	addr = map(region, offset, bytes);
	if (addr == MAP_FAILED)
		return errno == ENOMEM ? -ENOSPC : -errno;
	(void)munmap(addr, bytes);
	return 0;
}

static int is_zero(const struct wh_region *region, uint64_t offset, uint64_t bytes)
{
	_Alignas(WH_PAGE_SIZE) uint8_t page[WH_PAGE_SIZE];

	for (uint64_t at = offset; at < offset + bytes; at += WH_PAGE_SIZE) {
		ssize_t n = pread(region->fd, page, sizeof(page), (off_t)at);

		if (n != (ssize_t)sizeof(page))
			return n < 0 ? -errno : -EIO;
		if (!wh_page_is_zero(page))
			return 0;
	}
	return 1;
}

/* A copy that meets a hole when there is no huge page left is a signal; this is an error then. */
static int write_through(uint8_t *addr, const void *from, uint64_t bytes)
{
	const struct iovec ours = { .iov_base = (void *)(uintptr_t)from, .iov_len = bytes };
	const struct iovec there = { .iov_base = addr, .iov_len = bytes };
	ssize_t n = process_vm_writev(getpid(), &ours, 1, &there, 1, 0);

	if (n < 0 && errno != EFAULT)
		return -errno;
	return n == (ssize_t)bytes ? 0 : -ENOSPC;
}

int wh_huge_write(const struct wh_region *region, uint64_t offset, const void *from, uint64_t bytes)
{
	const uint64_t start = align_down(offset, region);
	const uint64_t mapped = align_up(offset + bytes, region) - start;
	uint8_t *addr = mmap(NULL, mapped, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE,
	                     region->fd, (off_t)start);
	int r;

	if (addr == MAP_FAILED)
		return -errno;
	r = write_through(addr + (offset - start), from, bytes);
	(void)munmap(addr, mapped);
	return r;
}

/* Clear a part of one huge page. A hole is zero already, and stays one. */
static int clear_part(const struct wh_region *region, uint64_t offset, uint64_t bytes)
{
	static uint8_t zeroes[WH_HUGE_BYTES_MAX]; /* never written: it costs no memory */
	int r = is_zero(region, offset, bytes);

	wh_assert(bytes <= sizeof(zeroes));
	if (r != 0)
		return r < 0 ? r : 0;
	return wh_huge_write(region, offset, zeroes, bytes);
}

int wh_huge_wipe(const struct wh_region *region, uint64_t offset, uint64_t bytes)
{
	const uint64_t end = offset + bytes;
	int r = 0;

	for (uint64_t at = offset; r == 0 && at < end;) {
		const uint64_t behind = align_down(at, region) + region->page_bytes;
		const uint64_t part = (behind < end ? behind : end) - at;

		r = clear_part(region, at, part);
		at += part;
	}
	return r;
}

int wh_huge_clear(const struct wh_region *region, uint64_t offset, uint64_t bytes)
{
	const uint64_t end = offset + bytes;
	const uint64_t first = align_up(offset, region), last = align_down(end, region);
	int r = 0;

	if (first > last) /* within one huge page */
		return clear_part(region, offset, bytes);
	if (offset < first)
		r = clear_part(region, offset, first - offset);
	if (r == 0 && first < last)
		r = punch(region, first, last - first);
	if (r == 0 && last < end)
		r = clear_part(region, last, end - last);
	return r;
}
