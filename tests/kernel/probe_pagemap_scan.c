/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What dirty tracking relies upon: PAGEMAP_SCAN reports the pages written since the last scan and
 * protects them again in the same step, so that no write falls between the two. Several threads may
 * scan a part each at the same time.
 *
 * It watches one mapping of one process. Writes to the same memory by another way are not seen,
 * which is why a guest whose memory has other writers is refused.
 */

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tap.h"
#include "tracked.h"

#define PAGES      1024u /* more than one page table holds */
#define RACE_PAGES 256u
#define RACE_MS    500

#define SCANNERS_MAX 2u

static void touch(const struct tracked *t, uint32_t first, uint32_t count)
{
	for (uint32_t page = first; page < first + count; page++)
		t->addr[page * PAGE]++;
}

static void reports_what_was_written(struct tracked *t)
{
	uint32_t first_scan = tracked_scan(t);

	tap_ok(first_scan == PAGES, "before anything is protected, all counts as written");
	tap_ok(tracked_scan(t) == 0, "pages that were never populated can be protected");

	touch(t, 7, 3);
	(void)tracked_scan(t);
	tap_ok(tracked_only(t, 7, 3), "first writes to never populated pages are reported");
	tap_ok(tracked_scan(t) == 0, "a reported page is not reported again");

	touch(t, 8, 1);
	(void)tracked_scan(t);
	tap_ok(tracked_only(t, 8, 1), "it was protected again: the next write is reported");
}

static void ignores_reads(struct tracked *t)
{
	volatile char sum = 0;

	for (uint32_t page = 0; page < 40; page++)
		sum = (char)(sum + t->addr[page * PAGE]);

	tap_ok(tracked_scan(t) == 0, "reads are not reported, not of unpopulated pages either");
}

static void protects_without_reporting(struct tracked *t)
{
	touch(t, 100, 50);
	tracked_protect(t);

	tap_ok(tracked_scan(t) == 0, "a scan with vec = NULL protects and reports nothing");

	touch(t, 120, 2);
	(void)tracked_scan(t);
	tap_ok(tracked_only(t, 120, 2), "and a write after it is reported");
}

static void sees_writes_by_system_calls(struct tracked *t)
{
	char *here = t->addr + 200 * PAGE;
	int zero = open("/dev/zero", O_RDONLY | O_CLOEXEC);
	ssize_t n;

	tap_need(zero >= 0, "/dev/zero");
	n = read(zero, here, 3 * PAGE);

	(void)tracked_scan(t);
	tap_ok(n == (ssize_t)(3 * PAGE) && tracked_only(t, 200, 3),
	       "read() into memory is reported");
	(void)close(zero);
}

static void sees_writes_by_other_processes(struct tracked *t)
{
	char byte = 1;
	struct iovec local = { .iov_base = &byte, .iov_len = 1 };
	struct iovec remote = { .iov_base = t->addr + 300 * PAGE, .iov_len = 1 };
	pid_t parent = getpid();
	pid_t pid = fork();
	int status = -1;

	tap_need(pid >= 0, "fork");
	if (pid == 0)
		_exit(process_vm_writev(parent, &local, 1, &remote, 1, 0) != 1);
	tap_need(waitpid(pid, &status, 0) == pid && status == 0, "process_vm_writev");

	(void)tracked_scan(t);
	tap_ok(tracked_only(t, 300, 1), "a write through the process by another one is reported");
}

static void misses_other_ways_to_the_file(struct tracked *t)
{
	char *other = mmap(NULL, PAGES * PAGE, PROT_WRITE, MAP_SHARED, t->file, 0);

	tap_need(other != MAP_FAILED, "mmap");
	other[400 * PAGE] = 1;
	tap_need(pwrite(t->file, "x", 1, 401 * PAGE) == 1, "pwrite");

	tap_ok(tracked_scan(t) == 0, "writes by another mapping or pwrite() are NOT reported");
	(void)munmap(other, PAGES * PAGE);
}

static struct pm_scan_arg small_scan(const struct tracked *t, struct page_region *one)
{
	return (struct pm_scan_arg){
		.size = sizeof(struct pm_scan_arg),
		.flags = PM_SCAN_WP_MATCHING | PM_SCAN_CHECK_WPASYNC,
		.start = (uintptr_t)t->addr,
		.end = (uintptr_t)t->addr + PAGES * PAGE,
		.vec = (uintptr_t)one,
		.vec_len = 1,
		.category_mask = PAGE_IS_WRITTEN,
		.return_mask = PAGE_IS_WRITTEN,
	};
}

static void stops_where_the_room_ends(struct tracked *t)
{
	uint64_t base = (uintptr_t)t->addr;
	struct page_region one = { 0 };
	struct pm_scan_arg arg = small_scan(t, &one);
	int count;

	touch(t, 500, 2);
	touch(t, 600, 1);
	count = ioctl(t->pagemap, PAGEMAP_SCAN, &arg);

	tap_ok(count == 1 && one.start == base + 500 * PAGE && one.end == one.start + 2 * PAGE,
	       "with room for one run, the first one is reported");
	tap_ok(arg.walk_end >= one.end && arg.walk_end <= base + 600 * PAGE,
	       "the scan says that it stopped before the next");
	(void)tracked_scan(t);
	tap_ok(tracked_only(t, 600, 1), "what was not reported was not protected");
}

static void reports_without_protecting(struct tracked *t)
{
	uint64_t base = (uintptr_t)t->addr;
	struct page_region one = { 0 };
	struct pm_scan_arg arg = small_scan(t, &one);
	int count;

	arg.flags = PM_SCAN_CHECK_WPASYNC;
	touch(t, 700, 3);
	count = ioctl(t->pagemap, PAGEMAP_SCAN, &arg);
	tap_ok(count == 1 && one.start == base + 700 * PAGE && one.end == one.start + 3 * PAGE,
	       "a scan need not protect what it reports");

	(void)tracked_scan(t);
	tap_ok(tracked_only(t, 700, 3), "which the next one reports again");
}

static void refuses_untracked_memory(void)
{
	struct tracked t = { .pages = PAGES, .pagemap = open_pagemap(0) };
	struct page_region one;
	struct pm_scan_arg arg;

	t.addr = shared_memory(&t.file, PAGES);
	arg = small_scan(&t, &one);

	tap_ok(ioctl(t.pagemap, PAGEMAP_SCAN, &arg) < 0 && errno == EPERM,
	       "untracked memory is refused with EPERM, not passed over");
	(void)munmap(t.addr, PAGES * PAGE);
	(void)close(t.file);
	(void)close(t.pagemap);
}

struct writer {
	_Atomic uint64_t *counter[RACE_PAGES]; /* one in each page */
	_Atomic bool stop;
	uint64_t writes;
};

static void *keep_writing(void *arg)
{
	struct writer *w = arg;
	uint32_t page = 0;

	/* This ends: the scanner sets stop after RACE_MS. */
	while (!atomic_load(&w->stop)) {
		atomic_fetch_add(w->counter[page], 1);
		page = (page * 5 + 1) % RACE_PAGES; /* each page once in RACE_PAGES steps */
		w->writes++;
	}
	return NULL;
}

/* Who scans a part of the memory, and copies what was reported. */
struct scanner {
	struct tracked part;
	struct writer *writer;
	uint32_t first; /* page of the whole */
	uint64_t copy[RACE_PAGES];
	uint32_t scans;
};

static void copy_reported(struct scanner *s)
{
	(void)tracked_scan(&s->part);
	for (uint32_t page = 0; page < s->part.pages; page++) {
		if (s->part.written[page])
			s->copy[page] = atomic_load(s->writer->counter[s->first + page]);
	}
	s->scans++;
}

static void *keep_scanning(void *arg)
{
	struct scanner *s = arg;

	/* This ends: the test sets stop after RACE_MS. */
	while (!atomic_load(&s->writer->stop))
		copy_reported(s);
	return NULL;
}

static uint32_t stale_pages(const struct scanner *s)
{
	uint32_t stale = 0;

	for (uint32_t page = 0; page < s->part.pages; page++)
		stale += s->copy[page] != atomic_load(s->writer->counter[s->first + page]);
	return stale;
}

static void race(struct scanner *scanners, uint32_t count, struct writer *w)
{
	pthread_t threads[SCANNERS_MAX];
	pthread_t writer;

	tap_need(pthread_create(&writer, NULL, keep_writing, w) == 0, "pthread_create");
	for (uint32_t i = 0; i < count; i++)
		tap_need(pthread_create(&threads[i], NULL, keep_scanning, &scanners[i]) == 0,
		         "pthread_create");
	(void)usleep(RACE_MS * 1000);
	atomic_store(&w->stop, true);
	for (uint32_t i = 0; i < count; i++)
		(void)pthread_join(threads[i], NULL);
	(void)pthread_join(writer, NULL);
}

static void loses_no_write(uint32_t count)
{
	struct tracked t = tracked_memory(RACE_PAGES);
	struct scanner scanners[SCANNERS_MAX] = { 0 };
	struct writer w = { 0 };
	uint32_t fewest = UINT32_MAX;
	uint32_t stale = 0;

	for (uint32_t page = 0; page < RACE_PAGES; page++)
		w.counter[page] = (_Atomic uint64_t *)(void *)(t.addr + page * PAGE);
	for (uint32_t i = 0; i < count; i++) {
		uint32_t first = i * (RACE_PAGES / count);

		scanners[i] = (struct scanner){ .part = t, .writer = &w, .first = first };
		scanners[i].part.addr += first * PAGE;
		scanners[i].part.pages = RACE_PAGES / count;
		scanners[i].part.written += first;
	}

	race(scanners, count, &w);

	for (uint32_t i = 0; i < count; i++) {
		fewest = scanners[i].scans < fewest ? scanners[i].scans : fewest;
		copy_reported(&scanners[i]);
		stale += stale_pages(&scanners[i]);
	}
	(void)printf("# %llu writes against %u scans\n", (unsigned long long)w.writes, fewest);
	tap_ok(fewest > 10 && w.writes > RACE_PAGES && stale == 0,
	       "no write is lost to scans of %u parts at the same time (%u stale pages)", count,
	       stale);
}

int main(void)
{
	struct tracked t = tracked_memory(PAGES);

	reports_what_was_written(&t);
	ignores_reads(&t);
	protects_without_reporting(&t);
	sees_writes_by_system_calls(&t);
	sees_writes_by_other_processes(&t);
	misses_other_ways_to_the_file(&t);
	stops_where_the_room_ends(&t);
	reports_without_protecting(&t);
	refuses_untracked_memory();
	loses_no_write(1);
	loses_no_write(SCANNERS_MAX);
	return tap_done();
}
