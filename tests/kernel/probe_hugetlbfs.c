/* SPDX-License-Identifier: Apache-2.0 */

/*
 * RAM on hugetlbfs, which differs from a tmpfs in most of what a mover does: how contents are read
 * and written, what tells which pages are there, what a scan reports, and what happens when there
 * are no huge pages left.
 */

#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "huge_pool.h"
#include "tap.h"
#include "tracked.h"

#define COUNT 8u /* huge pages of the file */
#define BYTES ((size_t)COUNT * HUGE_PAGE_BYTES)
#define SMALL ((uint32_t)(HUGE_PAGE_BYTES / PAGE))
#define AT(n) ((size_t)(n)*HUGE_PAGE_BYTES)

static char buffer[HUGE_PAGE_BYTES];

static char *map(int file, int flags)
{
	char *addr = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | flags, file, 0);

	tap_need(addr != MAP_FAILED, "mmap");
	return addr;
}

static uint32_t allocated(int file)
{
	struct stat st;

	tap_need(fstat(file, &st) == 0, "fstat");
	return (uint32_t)((uint64_t)st.st_blocks * 512 / HUGE_PAGE_BYTES);
}

static int punch(int file, uint32_t first, uint32_t count)
{
	return fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)AT(first),
	                 (off_t)AT(count));
}

static void reading(int file)
{
	int sockets[2];
	off_t at = 0;

	tap_need(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) == 0, "socketpair");
	tap_ok(lseek(file, 0, SEEK_DATA) == 0, "SEEK_DATA takes a hole for data");
	tap_ok(pread(file, buffer, PAGE, 0) == PAGE && buffer[0] == 0 && allocated(file) == 0,
	       "pread() of a hole gives zeros and allocates nothing");
	tap_ok(pwrite(file, buffer, PAGE, 0) < 0, "there is no pwrite()");
	tap_ok(sendfile(sockets[0], file, &at, PAGE) < 0, "there is no sendfile()");
	(void)close(sockets[0]);
	(void)close(sockets[1]);
}

/* UFFDIO_CONTINUE of one page. Return: 0 or errno. */
static int continue_page(int uffd, const char *addr, uint32_t number)
{
	struct uffdio_continue c = { .range = { .start = (uintptr_t)addr + AT(number),
		                                .len = HUGE_PAGE_BYTES } };

	return ioctl(uffd, UFFDIO_CONTINUE, &c) == 0 ? 0 : errno;
}

/* Whether a page of our own is in our page tables. */
static bool is_mapped(int pagemap, const char *addr, uint32_t number)
{
	struct page_region run;
	struct pm_scan_arg arg = {
		.size = sizeof(arg),
		.start = (uintptr_t)addr + AT(number),
		.end = (uintptr_t)addr + AT(number + 1),
		.vec = (uintptr_t)&run,
		.vec_len = 1,
		.category_mask = PAGE_IS_PRESENT,
		.return_mask = PAGE_IS_PRESENT,
	};

	return ioctl(pagemap, PAGEMAP_SCAN, &arg) == 1;
}

static void watching(int file, char *guest, int pagemap)
{
	char *ours = map(file, MAP_NORESERVE);
	int uffd = open_uffd(UFFD_FEATURE_MINOR_HUGETLBFS);
	struct uffdio_register reg = { .range = { .start = (uintptr_t)ours, .len = BYTES },
		                       .mode = UFFDIO_REGISTER_MODE_MINOR };

	tap_need(ioctl(uffd, UFFDIO_REGISTER, &reg) == 0, "UFFDIO_REGISTER");
	guest[AT(1)] = 'x';
	tap_ok(continue_page(uffd, ours, 1) == 0, "UFFDIO_CONTINUE maps a page that is there");
	tap_ok(continue_page(uffd, ours, 1) == EEXIST, "and says EEXIST the second time");
	tap_ok(continue_page(uffd, ours, 2) == EFAULT && allocated(file) == 1,
	       "of a hole it says EFAULT and allocates nothing");
	tap_ok(is_mapped(pagemap, ours, 1) && !is_mapped(pagemap, ours, 2),
	       "PAGEMAP_SCAN tells which were mapped");

	tap_need(punch(file, 1, 1) == 0, "fallocate");
	tap_ok(!is_mapped(pagemap, ours, 1), "a page that is punched is in no page table");
	guest[AT(1)] = 'x';
	tap_ok(!is_mapped(pagemap, ours, 1), "nor one that took its place");
	tap_need(punch(file, 0, COUNT) == 0, "fallocate");
	(void)close(uffd);
	(void)munmap(ours, BYTES);
}

static void tracking(struct tracked *t)
{
	struct pollfd event = { .fd = t->uffd, .events = POLLIN };

	register_wp(t->uffd, t->addr, t->pages);
	t->addr[AT(1)] = 'x';
	tracked_protect(t);
	tap_ok(tracked_scan(t) == 0, "nothing is written after the first protection");
	t->addr[AT(1) + 5 * PAGE] = 'y';
	t->addr[AT(3)] = 'y';
	tap_ok(tracked_scan(t) == 2 * SMALL && t->written[SMALL] && t->written[(size_t)3 * SMALL],
	       "a write is reported as the whole huge page, also one to a hole");
	tap_ok(tracked_scan(t) == 0, "and not again");

	t->addr[AT(3)] = 'z';
	tap_need(punch(t->file, 3, 1) == 0, "fallocate");
	tap_ok(tracked_scan(t) == 0, "a page that is written and then punched is NOT reported");
	tap_ok(poll(&event, 1, 100) == 0, "and NO event comes");
	t->addr[AT(3)] = 'z';
	tap_ok(tracked_scan(t) == SMALL, "the next write to it is");
}

/* Put a page where none is. Return: 0 or errno. */
static int copy_page(int uffd, const char *addr, uint32_t number)
{
	struct uffdio_copy copy = { .dst = (uintptr_t)addr + AT(number),
		                    .src = (uintptr_t)buffer,
		                    .len = HUGE_PAGE_BYTES };

	return ioctl(uffd, UFFDIO_COPY, &copy) == 0 ? 0 : errno;
}

static void placing(int file, char *guest)
{
	char *ours = map(file, MAP_NORESERVE), *over = map(file, MAP_NORESERVE);
	int uffd = open_uffd(0);
	struct uffdio_register reg = { .range = { .start = (uintptr_t)ours, .len = BYTES },
		                       .mode = UFFDIO_REGISTER_MODE_MISSING };

	tap_need(ioctl(uffd, UFFDIO_REGISTER, &reg) == 0, "UFFDIO_REGISTER");
	memset(buffer, 'c', sizeof(buffer));
	tap_ok(copy_page(uffd, ours, 4) == 0 && guest[AT(4)] == 'c',
	       "UFFDIO_COPY fills a huge page that is missing");
	guest[AT(5)] = 'g';
	tap_ok(copy_page(uffd, ours, 5) == EEXIST && guest[AT(5)] == 'g', "and no other");
	tap_ok(madvise(over + AT(6) + PAGE, PAGE, MADV_POPULATE_WRITE) == 0 && allocated(file) == 3,
	       "MADV_POPULATE_WRITE of a small page allocates its huge page");
	tap_need(punch(file, 0, COUNT) == 0, "fallocate");
	(void)close(uffd);
	(void)munmap(ours, BYTES);
	(void)munmap(over, BYTES);
}

static void reserving(int file)
{
	uint32_t before = huge_pool_free();
	char *addr;

	tap_ok(allocated(file) == 0, "the file is empty");
	addr = map(file, 0);
	tap_ok(huge_pool_free() + COUNT == before, "to map is to reserve");
	(void)munmap(addr, BYTES);
	tap_ok(huge_pool_free() + COUNT == before, "which stays with the file");
	(void)memset(map(file, MAP_NORESERVE), 'x', BYTES);
	tap_ok(huge_pool_free() + COUNT == before, "and is what a page is taken from");
	tap_need(punch(file, 0, COUNT) == 0, "fallocate");
	tap_ok(huge_pool_free() == before, "punching takes the reservation away, too");
}

static void running_out(int file)
{
	const size_t others = (size_t)huge_pool_free() * HUGE_PAGE_BYTES;
	char *addr = map(file, MAP_NORESERVE);
	void *taken = mmap(NULL, others, PROT_READ | PROT_WRITE,
	                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);

	tap_need(taken != MAP_FAILED, "mmap of all that is free");
	tap_ok(madvise(addr, PAGE, MADV_POPULATE_WRITE) < 0 && errno == EFAULT,
	       "with none left, MADV_POPULATE_WRITE says EFAULT and sends no signal");
	tap_ok(pread(file, buffer, PAGE, 0) == PAGE, "pread() of a hole works as before");
	tap_ok(mmap(NULL, BYTES, PROT_READ, MAP_SHARED, file, 0) == MAP_FAILED && errno == ENOMEM,
	       "to map without MAP_NORESERVE is ENOMEM");
	(void)munmap(taken, others);
}

int main(void)
{
	struct tracked t = { .pages = COUNT * SMALL };
	static bool written[COUNT * SMALL];

	/* Each step begins with an empty file. */
	if (!huge_pool_open(COUNT + 4))
		tap_skip_all("memory for a few huge pages");
	t.file = huge_file(BYTES);
	tap_need(t.file >= 0, "memfd on hugetlbfs");
	t.addr = map(t.file, MAP_NORESERVE);
	t.pagemap = open_pagemap(0);
	t.written = written;
	t.uffd = open_uffd(TRACK_FEATURES);

	reading(t.file);
	watching(t.file, t.addr, t.pagemap);
	placing(t.file, t.addr);
	reserving(t.file);
	running_out(t.file);
	tracking(&t);
	return tap_done();
}
