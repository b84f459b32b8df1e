/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Events: the thread reads one and notes its pages under the lock, and collecting takes the same
 * lock. So when a collect begins, every event that was answered is noted; one that was not
 * answered yet still holds up the hypervisor, which has not given the memory back.
 */

#include "dirty.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "attach.h"
#include "crew.h"
#include "vmm_map.h"

#include "wherry/assert.h"
#include "wherry/fdpass.h"
#include "wherry/linux_compat.h"

/* Runs that one scan call reports: 192 KiB, so that a call costs little for each run. */
#define SCAN_RUNS 8192u

/*
 * What one thread protects or scans before it takes the next piece. A call takes no more than one:
 * the hypervisor cannot change its mappings meanwhile. No huge page lies in two.
 */
#define PIECE_BYTES (UINT64_C(1) << 30)

/* The same for the end of tracking, when the hypervisor can't even touch its memory meanwhile. */
#define UNTRACK_BYTES (UINT64_C(64) << 20)

/* Written runs that are closer than this are protected again together: a huge page. */
#define SPAN_GAP_BYTES (UINT64_C(2) << 20)

/* To protect or scan less takes no longer than waking another thread is worth. */
#define THREAD_BYTES (UINT64_C(1) << 30)

struct wh_dirty {
	struct wh_vmm_map map;
	int uffd;
	int pagemap;
	uint64_t pieces; /* of all ranges */
	struct wh_crew *crew;
	struct page_region *runs; /* owned, twice SCAN_RUNS for each of the crew */

	int stop; /* eventfd; ends the thread */
	pthread_t thread;
	bool thread_runs;
	pthread_mutex_t lock;       /* guards @removed */
	struct wh_pageset *removed; /* owned */
	_Atomic bool any_removed;   /* since the start; saves the lock where there is no balloon */
};

/* Note [@start, @end), addresses in the hypervisor, as given back. The caller holds the lock. */
static void note_removed(struct wh_dirty *dirty, uint64_t start, uint64_t end)
{
	for (size_t i = 0; i < dirty->map.count; i++) {
		const struct wh_vmm_range *range = &dirty->map.ranges[i];
		uint64_t from = start > range->addr ? start : range->addr;
		uint64_t to = end < range->addr + range->bytes ? end : range->addr + range->bytes;

		if (from < to)
			wh_pageset_add(dirty->removed,
			               range->first_page + (from - range->addr) / WH_PAGE_SIZE,
			               (to - from) / WH_PAGE_SIZE);
	}
}

static void take_events(struct wh_dirty *dirty)
{
	struct uffd_msg msg;

	(void)pthread_mutex_lock(&dirty->lock);
	while (read(dirty->uffd, &msg, sizeof(msg)) == (ssize_t)sizeof(msg))
		if (msg.event == UFFD_EVENT_REMOVE) {
			note_removed(dirty, msg.arg.remove.start, msg.arg.remove.end);
			dirty->any_removed = true;
		}
	(void)pthread_mutex_unlock(&dirty->lock);
}

static void *event_thread(void *arg)
{
	struct wh_dirty *dirty = arg;
	struct pollfd fds[] = {
		{ .fd = dirty->uffd, .events = POLLIN },
		{ .fd = dirty->stop, .events = POLLIN },
	};

	/* Ends when close writes to @stop. */
	for (;;) {
		if (poll(fds, 2, -1) < 0)
			continue; /* a signal */
		if (fds[1].revents)
			return NULL;
		if (fds[0].revents & POLLIN)
			take_events(dirty);
		else if (fds[0].revents)
			fds[0].fd = -1; /* the hypervisor is gone; the daemon will see it, too */
	}
}

static uint64_t pieces_of(const struct wh_vmm_range *range)
{
	return (range->bytes + PIECE_BYTES - 1) / PIECE_BYTES;
}

/* Piece @number, counted through all ranges. */
static struct wh_vmm_range find_piece(const struct wh_dirty *dirty, uint64_t number)
{
	const struct wh_vmm_range *range = dirty->map.ranges;
	uint64_t offset, left;

	/* This ends: the number is below that of all pieces. */
	for (; number >= pieces_of(range); range++)
		number -= pieces_of(range);
	offset = number * PIECE_BYTES;
	left = range->bytes - offset;
	return (struct wh_vmm_range){
		.addr = range->addr + offset,
		.bytes = left < PIECE_BYTES ? left : PIECE_BYTES,
		.first_page = range->first_page + offset / WH_PAGE_SIZE,
	};
}

/*
 * Protect one piece for the first time. A scan could do that, too; but it would leave huge pages
 * whole, and then a guest that writes a byte here and there dirties all of its memory. This takes
 * them apart in the hypervisor's page tables, not in memory.
 */
static int protect(void *context, uint32_t member, uint64_t number)
{
	const struct wh_dirty *dirty = context;
	const struct wh_vmm_range piece = find_piece(dirty, number);
	struct uffdio_writeprotect wp = {
		.range = { .start = piece.addr, .len = piece.bytes },
		.mode = UFFDIO_WRITEPROTECT_MODE_WP,
	};

	(void)member;
	/* This ends: the kernel is asked again only when something came between. */
	while (ioctl(dirty->uffd, UFFDIO_WRITEPROTECT, &wp) < 0)
		if (errno != EAGAIN && errno != EINTR)
			return -errno;
	return 0;
}

struct scan {
	struct wh_dirty *dirty;
	struct wh_pageset *into;
	bool again; /* protect what was written again */
};

/* Note what [@start, @end), addresses in the hypervisor, has of @piece. */
static void note_written(struct wh_pageset *into, const struct wh_vmm_range *piece, uint64_t start,
                         uint64_t end)
{
	wh_pageset_add(into, piece->first_page + (start - piece->addr) / WH_PAGE_SIZE,
	               (end - start) / WH_PAGE_SIZE);
}

/* Scan on from @arg->start. Return: how many runs are in @arg->vec, or -errno. */
static int scan_on(const struct wh_dirty *dirty, struct pm_scan_arg *arg)
{
	int n;

	do
		n = ioctl(dirty->pagemap, PAGEMAP_SCAN, arg);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	arg->start = arg->walk_end;
	return n;
}

static struct pm_scan_arg scan_of(uint64_t start, uint64_t end, struct page_region *runs)
{
	return (struct pm_scan_arg){
		.size = sizeof(struct pm_scan_arg),
		.flags = PM_SCAN_CHECK_WPASYNC,
		.start = start,
		.end = end,
		.vec = (uint64_t)(uintptr_t)runs,
		.vec_len = SCAN_RUNS,
		.category_mask = PAGE_IS_WRITTEN,
		.return_mask = PAGE_IS_WRITTEN,
	};
}

/* Report what was written in [@start, @end) of @piece, and protect it again in the same step. */
static int take_span(const struct scan *job, const struct wh_vmm_range *piece, uint64_t start,
                     uint64_t end, struct page_region *runs)
{
	struct pm_scan_arg arg = scan_of(start, end, runs);
	int n = 0;

	arg.flags |= PM_SCAN_WP_MATCHING;
	/* This ends: each turn gets further, and a span is finite. */
	while (n >= 0 && arg.start < arg.end) {
		n = scan_on(job->dirty, &arg);
		for (int i = 0; i < n; i++)
			note_written(job->into, piece, runs[i].start, runs[i].end);
	}
	return n < 0 ? n : 0;
}

/* The same for the @n runs that a look found, @runs; @spare has room for as many as a scan reports. */
static int take_runs(const struct scan *job, const struct wh_vmm_range *piece,
                     const struct page_region *runs, int n, struct page_region *spare)
{
	int r = 0;

	for (int i = 0, next; r == 0 && i < n; i = next) {
		for (next = i + 1; next < n; next++)
			if (runs[next].start - runs[next - 1].end >= SPAN_GAP_BYTES)
				break;
		r = take_span(job, piece, runs[i].start, runs[next - 1].end, spare);
	}
	return r;
}

/*
 * Scan one piece. To protect is a scan of its own, of no more than what a look has shown as written:
 * where the guest runs under KVM, the kernel has it fault in anew all that such a scan passes over.
 */
static int scan(void *context, uint32_t member, uint64_t number)
{
	const struct scan *job = context;
	const struct wh_vmm_range piece = find_piece(job->dirty, number);
	struct page_region *runs = job->dirty->runs + 2 * (size_t)member * SCAN_RUNS;
	struct pm_scan_arg arg = scan_of(piece.addr, piece.addr + piece.bytes, runs);
	int r = 0;

	/* This ends: each turn gets further, and a piece is finite. */
	while (r == 0 && arg.start < arg.end) {
		int n = scan_on(job->dirty, &arg);

		if (n < 0)
			return n;
		if (job->again)
			r = take_runs(job, &piece, runs, n, runs + SCAN_RUNS);
		for (int i = 0; !job->again && i < n; i++)
			note_written(job->into, &piece, runs[i].start, runs[i].end);
	}
	return r;
}

static int collect(struct wh_dirty *dirty, struct wh_pageset *into, bool again)
{
	struct scan job = { .dirty = dirty, .into = into, .again = again };

	take_events(dirty);
	(void)pthread_mutex_lock(&dirty->lock);
	wh_pageset_merge(into, dirty->removed);
	(void)pthread_mutex_unlock(&dirty->lock);
	return wh_crew_run(dirty->crew, scan, &job, dirty->pieces);
}

int wh_dirty_collect(struct wh_dirty *dirty, struct wh_pageset *into)
{
	return collect(dirty, into, true);
}

int wh_dirty_collect_last(struct wh_dirty *dirty, struct wh_pageset *into)
{
	return collect(dirty, into, false);
}

struct wh_crew *wh_dirty_crew(const struct wh_dirty *dirty)
{
	return dirty->crew;
}

bool wh_dirty_any_removed(struct wh_dirty *dirty)
{
	return dirty->any_removed;
}

bool wh_dirty_removed(struct wh_dirty *dirty, uint64_t page)
{
	bool removed;

	if (!dirty->any_removed)
		return false;
	(void)pthread_mutex_lock(&dirty->lock);
	removed = wh_pageset_has(dirty->removed, page);
	(void)pthread_mutex_unlock(&dirty->lock);
	return removed;
}

void wh_dirty_forget(struct wh_dirty *dirty, uint64_t page)
{
	(void)pthread_mutex_lock(&dirty->lock);
	wh_pageset_remove(dirty->removed, page);
	(void)pthread_mutex_unlock(&dirty->lock);
}

/* Everything that can be had without touching the hypervisor. */
static struct wh_dirty *new_dirty(uint64_t pages)
{
	struct wh_dirty *dirty = calloc(1, sizeof(*dirty));

	if (!dirty)
		return NULL;
	dirty->uffd = -1;
	dirty->pagemap = -1;
	wh_assert(pthread_mutex_init(&dirty->lock, NULL) == 0);
	dirty->stop = eventfd(0, EFD_CLOEXEC);
	dirty->removed = wh_pageset_new(pages);
	if (dirty->stop < 0 || !dirty->removed)
		return wh_dirty_close(dirty);
	return dirty;
}

static int start_thread(struct wh_dirty *dirty, struct wh_error *err)
{
	int r = pthread_create(&dirty->thread, NULL, event_thread, dirty);

	if (r)
		return wh_fail(err, -r, "cannot start a thread: %s", strerror(r));
	dirty->thread_runs = true;
	return 0;
}

/* CPUs that this process may use; if they are too many for a cpu_set_t, more than it will. */
static uint32_t usable_cpus(void)
{
	cpu_set_t cpus;

	return sched_getaffinity(0, sizeof(cpus), &cpus) < 0 ? CPU_SETSIZE
	                                                     : (uint32_t)CPU_COUNT(&cpus);
}

/* Whoever scans @bytes. */
static int open_crew(struct wh_dirty *dirty, uint64_t bytes, struct wh_error *err)
{
	uint64_t size = 1 + (bytes - 1) / THREAD_BYTES;
	int r;

	if (size > usable_cpus())
		size = usable_cpus();
	if (size > WH_SCAN_THREADS_MAX)
		size = WH_SCAN_THREADS_MAX;
	r = wh_crew_open(&dirty->crew, (uint32_t)size, err);
	if (r < 0)
		return r;
	dirty->runs = calloc(2 * size * SCAN_RUNS, sizeof(*dirty->runs));
	return dirty->runs ? 0 : wh_fail(err, -ENOMEM, "out of memory");
}

int wh_dirty_open(struct wh_dirty **ret, const struct wh_ram *ram, pid_t pid, struct wh_error *err)
{
	wh_cleanup(wh_dirty_closep) struct wh_dirty *dirty = new_dirty(ram->pages);
	char path[32];
	int r;

	if (!dirty)
		return wh_fail(err, -ENOMEM, "out of memory");
	r = wh_vmm_map_read(&dirty->map, pid, ram, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < dirty->map.count; i++)
		dirty->pieces += pieces_of(&dirty->map.ranges[i]);
	r = open_crew(dirty, ram->pages * WH_PAGE_SIZE, err);
	if (r < 0)
		return r;
	(void)snprintf(path, sizeof(path), "/proc/%d/pagemap", (int)pid);
	dirty->pagemap = open(path, O_RDONLY | O_CLOEXEC);
	if (dirty->pagemap < 0)
		return wh_fail(err, -errno, "%s: %s", path, strerror(errno));

	dirty->uffd = wh_attach(pid, &dirty->map, err);
	if (dirty->uffd < 0)
		return wh_context(err, dirty->uffd, "cannot attach to process %d", (int)pid);
	r = start_thread(dirty, err);
	if (r < 0)
		return r;
	r = wh_crew_run(dirty->crew, protect, dirty, dirty->pieces);
	if (r < 0)
		return wh_fail(err, r, "cannot write-protect the memory of process %d: %s",
		               (int)pid, strerror(-r));
	*ret = wh_steal(dirty);
	return 0;
}

/*
 * Closing the userfaultfd does that at once, and stops the guest for as long: 20 ms for each GiB. So
 * it is done bit by bit. What fails is left to the close; a hypervisor that is gone fails at once.
 */
void wh_dirty_untrack(const struct wh_dirty *dirty)
{
	for (size_t i = 0; i < dirty->map.count; i++) {
		const struct wh_vmm_range *range = &dirty->map.ranges[i];

		for (uint64_t done = 0; done < range->bytes; done += UNTRACK_BYTES) {
			const uint64_t left = range->bytes - done;
			struct uffdio_range part = {
				.start = range->addr + done,
				.len = left < UNTRACK_BYTES ? left : UNTRACK_BYTES,
			};

			if (ioctl(dirty->uffd, UFFDIO_UNREGISTER, &part) < 0)
				return;
		}
	}
}

struct wh_dirty *wh_dirty_close(struct wh_dirty *dirty)
{
	if (!dirty)
		return NULL;
	if (dirty->uffd >= 0)
		wh_dirty_untrack(dirty);
	if (dirty->thread_runs) {
		(void)eventfd_write(dirty->stop, 1); /* cannot be full: it is the first */
		(void)pthread_join(dirty->thread, NULL);
	}
	dirty->crew = wh_crew_close(dirty->crew);
	wh_closep(&dirty->uffd);
	wh_closep(&dirty->pagemap);
	wh_closep(&dirty->stop);
	wh_vmm_map_done(&dirty->map);
	dirty->removed = wh_pageset_free(dirty->removed);
	(void)pthread_mutex_destroy(&dirty->lock);
	free(dirty->runs);
	free(dirty);
	return NULL;
}
