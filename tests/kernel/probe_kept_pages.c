/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Post-copy into memory that stays where it is: a page that is in the file, but in no page table, is
 * waited for like one that is missing. Its contents are written past the mapping that waits, and
 * UFFDIO_CONTINUE then maps it. On a tmpfs and on hugetlbfs.
 */

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "huge_pool.h"
#include "tap.h"
#include "tracked.h"

#define COUNT   8u /* pages of the file */
#define WAIT_MS 5000

struct memory {
	const char *where;
	int file;
	size_t unit; /* bytes of a page */
	char *guest; /* what waits */
	char *over;  /* the same, which does not */
	int uffd, pagemap;
	blkcnt_t blocks;

	_Atomic size_t touch; /* which page to touch, + 1 */
	_Atomic int seen;     /* what was there, + 1 */
};

static char contents[HUGE_PAGE_BYTES];

static char *at(const struct memory *m, size_t page)
{
	return m->guest + page * m->unit;
}

static blkcnt_t blocks(const struct memory *m)
{
	struct stat st;

	tap_need(fstat(m->file, &st) == 0, "fstat");
	return st.st_blocks;
}

static char *map(const struct memory *m)
{
	char *addr = mmap(NULL, COUNT * m->unit, PROT_READ | PROT_WRITE, MAP_SHARED, m->file, 0);

	tap_need(addr != MAP_FAILED, "mmap");
	return addr;
}

static bool is_mapped(const struct memory *m, size_t page)
{
	struct page_region run;
	struct pm_scan_arg arg = {
		.size = sizeof(arg),
		.start = (uintptr_t)at(m, page),
		.end = (uintptr_t)at(m, page + 1),
		.vec = (uintptr_t)&run,
		.vec_len = 1,
		.category_mask = PAGE_IS_PRESENT,
		.return_mask = PAGE_IS_PRESENT,
	};

	return ioctl(m->pagemap, PAGEMAP_SCAN, &arg) == 1;
}

/* A thread that may have to wait. */
static void *toucher(void *arg)
{
	struct memory *m = arg;

	/* Ends with the process. */
	for (;;) {
		size_t touch = atomic_exchange(&m->touch, 0);

		if (touch)
			atomic_store(&m->seen, *(volatile char *)at(m, touch - 1) + 1);
		(void)poll(NULL, 0, 1);
	}
	return NULL;
}

/* Have @page touched. Return: whether that waits, and why. */
static bool waits(struct memory *m, size_t page, uint64_t *flags)
{
	struct pollfd event = { .fd = m->uffd, .events = POLLIN };
	struct uffd_msg msg;

	atomic_store(&m->seen, 0);
	atomic_store(&m->touch, page + 1);
	for (int i = 0; i < WAIT_MS && !atomic_load(&m->seen); i++) {
		if (poll(&event, 1, 1) != 1)
			continue;
		tap_need(read(m->uffd, &msg, sizeof(msg)) == sizeof(msg), "read a fault");
		*flags = msg.arg.pagefault.flags;
		return true;
	}
	return false;
}

static bool sees(struct memory *m, char what)
{
	for (int i = 0; i < WAIT_MS && !atomic_load(&m->seen); i++)
		(void)poll(NULL, 0, 1);
	return atomic_load(&m->seen) == what + 1;
}

/* UFFDIO_CONTINUE of @count pages. Return: 0 or errno. */
static int show(const struct memory *m, size_t page, size_t count)
{
	struct uffdio_continue c = {
		.range = { .start = (uintptr_t)at(m, page), .len = count * m->unit },
	};

	return ioctl(m->uffd, UFFDIO_CONTINUE, &c) == 0 ? 0 : errno;
}

static bool write_over(const struct memory *m, size_t page, char what)
{
	struct iovec from = { .iov_base = contents, .iov_len = m->unit };
	struct iovec to = { .iov_base = m->over + page * m->unit, .iov_len = m->unit };

	memset(contents, what, sizeof(contents));
	return process_vm_writev(getpid(), &from, 1, &to, 1, 0) == (ssize_t)m->unit;
}

static void forgetting(struct memory *m)
{
	tap_need(m->guest, "mmap");
	memset(m->guest, 'o', COUNT * m->unit);
	m->blocks = blocks(m);
	tap_ok(madvise(at(m, 0), (COUNT - 1) * m->unit, MADV_DONTNEED_LOCKED) == 0 &&
	               !is_mapped(m, 0) && !is_mapped(m, COUNT - 2),
	       "%s: MADV_DONTNEED_LOCKED takes pages out of the page table", m->where);
	tap_ok(blocks(m) == m->blocks && m->over[m->unit] == 'o', "%s: and not out of the file",
	       m->where);
}

static void waiting(struct memory *m)
{
	struct uffdio_register reg = {
		.range = { .start = (uintptr_t)m->guest, .len = COUNT * m->unit },
		.mode = UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_MINOR,
	};
	uint64_t flags = 0;

	tap_need(ioctl(m->uffd, UFFDIO_REGISTER, &reg) == 0, "UFFDIO_REGISTER");
	tap_ok(is_mapped(m, COUNT - 1) && !waits(m, COUNT - 1, &flags),
	       "%s: a page that is mapped when the memory is registered is not waited for",
	       m->where);
	tap_ok(waits(m, 1, &flags) && flags & UFFD_PAGEFAULT_FLAG_MINOR,
	       "%s: one that is only in the file is, as a minor fault", m->where);
	tap_ok(write_over(m, 1, 'n') && atomic_load(&m->seen) == 0,
	       "%s: its contents are written elsewhere without waiting", m->where);
	tap_ok(show(m, 1, 1) == 0 && sees(m, 'n'),
	       "%s: UFFDIO_CONTINUE maps it, and who waited sees what was written", m->where);
	tap_ok(show(m, 1, 1) == EEXIST && show(m, 0, 2) == EAGAIN && is_mapped(m, 0),
	       "%s: it maps a run up to what is mapped already", m->where);
	tap_ok(blocks(m) == m->blocks, "%s: nothing was given back or allocated", m->where);
}

static void holes(struct memory *m)
{
	struct uffdio_copy copy = { .dst = (uintptr_t)at(m, 3),
		                    .src = (uintptr_t)contents,
		                    .len = m->unit };
	uint64_t flags = 0;

	tap_need(fallocate(m->file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
	                   (off_t)(3 * m->unit), (off_t)m->unit) == 0,
	         "fallocate");
	tap_ok(waits(m, 3, &flags) && !(flags & UFFD_PAGEFAULT_FLAG_MINOR),
	       "%s: a hole is waited for as missing", m->where);
	tap_ok(show(m, 3, 1) == EFAULT, "%s: UFFDIO_CONTINUE of it says EFAULT", m->where);
	memset(contents, 'z', sizeof(contents));
	tap_ok(ioctl(m->uffd, UFFDIO_COPY, &copy) == 0 && sees(m, 'z'), "%s: UFFDIO_COPY fills it",
	       m->where);
}

static void probe(struct memory *m)
{
	pthread_t thread;

	m->guest = map(m);
	m->over = map(m);
	m->uffd = open_uffd(UFFD_FEATURE_MINOR_SHMEM | UFFD_FEATURE_MINOR_HUGETLBFS);
	m->pagemap = open_pagemap(0);
	tap_need(pthread_create(&thread, NULL, toucher, m) == 0, "pthread_create");
	forgetting(m);
	waiting(m);
	holes(m);
}

/* The write that finds no huge page is an error, and would be a signal if it were a copy. */
static void running_out(struct memory *m)
{
	const size_t others = (size_t)huge_pool_free() * HUGE_PAGE_BYTES;
	void *taken;

	tap_need(fallocate(m->file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
	                   (off_t)(4 * m->unit), (off_t)m->unit) == 0,
	         "fallocate");
	taken = mmap(NULL, others + m->unit, PROT_READ | PROT_WRITE,
	             MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
	tap_need(taken != MAP_FAILED, "mmap of all that is free");
	tap_ok(!write_over(m, 4, 'n') && errno == EFAULT,
	       "%s: with no page left, process_vm_writev() into a hole says EFAULT", m->where);
	(void)munmap(taken, others + m->unit);
}

int main(void)
{
	static struct memory small = { .where = "tmpfs", .unit = PAGE };
	static struct memory huge = { .where = "hugetlbfs", .unit = HUGE_PAGE_BYTES };

	if (!huge_pool_open(COUNT + 4))
		tap_skip_all("memory for a few huge pages");
	small.file = memfd_create("probe", MFD_CLOEXEC);
	tap_need(small.file >= 0 && ftruncate(small.file, (off_t)(COUNT * PAGE)) == 0, "memfd");
	probe(&small);
	huge.file = huge_file(COUNT * HUGE_PAGE_BYTES);
	tap_need(huge.file >= 0, "memfd on hugetlbfs");
	probe(&huge);
	running_out(&huge);
	return tap_done();
}
