/* SPDX-License-Identifier: Apache-2.0 */

#include "tracked.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tap.h"

#define REGIONS 64

char *shared_memory(int *file, uint32_t pages)
{
	char *addr;

	if (sysconf(_SC_PAGESIZE) != (long)PAGE)
		tap_skip_all("pages of 4 KiB");
	*file = memfd_create("probe", MFD_CLOEXEC);
	tap_need(*file >= 0, "memfd_create");
	tap_need(ftruncate(*file, (off_t)(pages * PAGE)) == 0, "ftruncate");
	addr = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, *file, 0);
	tap_need(addr != MAP_FAILED, "mmap");
	(void)madvise(addr, pages * PAGE, MADV_NOHUGEPAGE); /* facts are about single pages */
	return addr;
}

int open_uffd(uint64_t features)
{
	struct uffdio_api api = { .api = UFFD_API, .features = features };
	int uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);

	if (uffd < 0 && (errno == ENOSYS || errno == EPERM))
		tap_skip_all("userfaultfd, or the right to use it");
	tap_need(uffd >= 0, "userfaultfd");
	if (ioctl(uffd, UFFDIO_API, &api) < 0)
		tap_skip_all("features of userfaultfd that a mover needs (Linux 6.7)");
	return uffd;
}

void register_wp(int uffd, void *addr, uint32_t pages)
{
	struct uffdio_register reg = {
		.range = { .start = (uintptr_t)addr, .len = pages * PAGE },
		.mode = UFFDIO_REGISTER_MODE_WP,
	};

	tap_need(ioctl(uffd, UFFDIO_REGISTER, &reg) == 0, "UFFDIO_REGISTER");
}

int open_pagemap(pid_t pid)
{
	char path[64] = "/proc/self/pagemap";
	int fd;

	if (pid)
		(void)snprintf(path, sizeof(path), "/proc/%d/pagemap", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	tap_need(fd >= 0, path);
	return fd;
}

struct tracked tracked_memory(uint32_t pages)
{
	struct tracked t = { .pages = pages };

	t.addr = shared_memory(&t.file, pages);
	t.uffd = open_uffd(TRACK_FEATURES);
	register_wp(t.uffd, t.addr, pages);
	t.pagemap = open_pagemap(0);
	t.written = calloc(pages, sizeof(*t.written));
	tap_need(t.written, "calloc");
	return t;
}

static struct pm_scan_arg whole_scan(const struct tracked *t)
{
	return (struct pm_scan_arg){
		.size = sizeof(struct pm_scan_arg),
		.flags = PM_SCAN_WP_MATCHING | PM_SCAN_CHECK_WPASYNC,
		.start = (uintptr_t)t->addr,
		.end = (uintptr_t)t->addr + t->pages * PAGE,
		.category_mask = PAGE_IS_WRITTEN,
		.return_mask = PAGE_IS_WRITTEN,
	};
}

static int scan(const struct tracked *t, struct pm_scan_arg *arg)
{
	int count = ioctl(t->pagemap, PAGEMAP_SCAN, arg);

	if (count < 0 && errno == ENOTTY)
		tap_skip_all("PAGEMAP_SCAN (Linux 6.7)");
	tap_need(count >= 0, "PAGEMAP_SCAN");
	return count;
}

uint32_t tracked_scan(struct tracked *t)
{
	struct page_region regions[REGIONS];
	struct pm_scan_arg arg = whole_scan(t);
	uint32_t total = 0;

	arg.vec = (uintptr_t)regions;
	arg.vec_len = REGIONS;
	memset(t->written, 0, t->pages);

	/* This ends: each scan moves start to where it stopped, and end stays. */
	while (arg.start < arg.end) {
		int count = scan(t, &arg);

		for (int i = 0; i < count; i++) {
			uint64_t first = (regions[i].start - (uintptr_t)t->addr) / PAGE;
			uint64_t pages = (regions[i].end - regions[i].start) / PAGE;

			memset(t->written + first, 1, pages);
			total += (uint32_t)pages;
		}
		arg.start = arg.walk_end;
	}
	return total;
}

void tracked_protect(const struct tracked *t)
{
	struct uffdio_writeprotect wp = {
		.range = { .start = (uintptr_t)t->addr, .len = t->pages * PAGE },
		.mode = UFFDIO_WRITEPROTECT_MODE_WP,
	};

	tap_need(ioctl(t->uffd, UFFDIO_WRITEPROTECT, &wp) == 0, "UFFDIO_WRITEPROTECT");
}

bool tracked_only(const struct tracked *t, uint32_t first, uint32_t count)
{
	for (uint32_t page = 0; page < t->pages; page++) {
		bool expected = page >= first && page < first + count;

		if (t->written[page] != expected) {
			(void)printf("# page %u is %sreported\n", page, expected ? "not " : "");
			return false;
		}
	}
	return true;
}
