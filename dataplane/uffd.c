/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A page that the hypervisor maps at several addresses is filled through the first: all of them
 * show the same file. Waking and showing concern addresses, so that is done for each.
 *
 * Kept memory is written through its file, past all mappings, and shown by UFFDIO_CONTINUE.
 */

#include "uffd.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "attach.h"
#include "vmm_map.h"

#include "wherry/assert.h"
#include "wherry/fdpass.h"
#include "wherry/limits.h"
#include "wherry/linux_compat.h"

/* Page tables of so much memory are emptied within 30 ms. */
#define LOOSEN_BYTES (UINT64_C(256) << 20)

struct wh_uffd {
	struct wh_fill fill;
	const struct wh_ram *ram; /* borrowed */
	struct wh_vmm_map map;
	pid_t pid;
	int number;
	bool gone;       /* it is closed there: detached by an earlier mover */
	uint8_t *zeroes; /* owned; one granule, where UFFDIO_ZEROPAGE has none; else NULL */
};

static struct wh_uffd *uffd_of(struct wh_fill *fill)
{
	return (struct wh_uffd *)fill;
}

static uint64_t pages_of(const struct wh_vmm_range *range)
{
	return range->bytes / WH_PAGE_SIZE;
}

/* The part of @range that holds any of [@page, @page + @count), as addresses. */
static struct uffdio_range overlap(const struct wh_vmm_range *range, uint64_t page, uint64_t count)
{
	const uint64_t behind = range->first_page + pages_of(range);
	const uint64_t from = page > range->first_page ? page : range->first_page;
	const uint64_t to = page + count < behind ? page + count : behind;

	if (from >= to)
		return (struct uffdio_range){ 0 };
	return (struct uffdio_range){
		.start = range->addr + (from - range->first_page) * WH_PAGE_SIZE,
		.len = (to - from) * WH_PAGE_SIZE,
	};
}

static bool is_kept(const struct wh_uffd *uffd, uint64_t page)
{
	for (size_t i = 0; i < uffd->map.count; i++)
		if (overlap(&uffd->map.ranges[i], page, 1).len > 0)
			return uffd->map.ranges[i].kept;
	return false;
}

/* Pages that are there as one where @page is. */
static uint32_t unit_of(const struct wh_uffd *uffd, uint64_t page)
{
	return wh_ram_region(uffd->ram, page)->page_bytes / WH_PAGE_SIZE;
}

static uint64_t offset_of(const struct wh_region *region, uint64_t page)
{
	return (page - region->first_page) * WH_PAGE_SIZE;
}

/* The address of @page, and how much is mapped there; every page is somewhere. */
static struct uffdio_range find(const struct wh_uffd *uffd, uint64_t page, uint32_t count)
{
	struct uffdio_range found = { 0 };

	for (size_t i = 0; found.len == 0 && i < uffd->map.count; i++) {
		const struct wh_vmm_range *range = &uffd->map.ranges[i];

		if (page >= range->first_page)
			found = overlap(range, page, count);
	}
	return found;
}

static void wake(struct wh_fill *fill, uint64_t page, uint64_t count)
{
	const struct wh_uffd *uffd = uffd_of(fill);

	for (size_t i = 0; i < uffd->map.count; i++) {
		struct uffdio_range range = overlap(&uffd->map.ranges[i], page, count);

		/* Fails only where the hypervisor is gone. */
		if (range.len > 0)
			(void)ioctl(fill->fd, UFFDIO_WAKE, &range);
	}
}

/* What UFFDIO_COPY or UFFDIO_ZEROPAGE said: bytes done, or -errno. Return: as wh_fill.copy(). */
static int outcome(struct wh_fill *fill, uint64_t page, int64_t done)
{
	const uint32_t pages = done > 0 ? (uint32_t)(done / WH_PAGE_SIZE) : 0;

	if (done == -EEXIST) {
		/* There already: a mover died before it could say so. It may still be waited for. */
		wake(fill, page, unit_of(uffd_of(fill), page));
		return (int)unit_of(uffd_of(fill), page);
	}
	if (done < 0)
		return (int)done;
	if (pages > 0 && uffd_of(fill)->map.count > 1)
		wake(fill, page, pages); /* at its other addresses, if it has any */
	return pages > 0 ? (int)pages : -EAGAIN;
}

/* Whole pages only: what is not cannot be shown. */
static int copy_to_kept(const struct wh_uffd *uffd, uint64_t page, uint32_t count, const void *from)
{
	const struct wh_region *region = wh_ram_region(uffd->ram, page);
	const uint32_t unit = unit_of(uffd, page);
	int r;

	if ((page - region->first_page) % unit || count % unit)
		return -EINVAL;
	r = wh_ram_write(region, offset_of(region, page), from, (uint64_t)count * WH_PAGE_SIZE);
	return r < 0 ? r : (int)count;
}

static int copy(struct wh_fill *fill, uint64_t page, uint32_t count, const void *from)
{
	const struct uffdio_range to = find(uffd_of(fill), page, count);
	struct uffdio_copy copy = { .dst = to.start, .src = (uintptr_t)from, .len = to.len };

	if (is_kept(uffd_of(fill), page))
		return copy_to_kept(uffd_of(fill), page, count, from);
	if (ioctl(fill->fd, UFFDIO_COPY, &copy) == 0)
		copy.copy = (int64_t)to.len;
	else if (copy.copy == 0)
		copy.copy = -errno;
	return outcome(fill, page, copy.copy);
}

/* Map what is there of @range. Return: whether that is its first page. */
static bool show_range(const struct wh_uffd *uffd, struct uffdio_range range, uint64_t unit_bytes)
{
	bool first = true, there = true;

	/* This ends: each turn gets further, or is the last one. */
	while (range.len > 0) {
		struct uffdio_continue c = { .range = range };
		const int error = ioctl(uffd->fill.fd, UFFDIO_CONTINUE, &c) < 0 ? errno : 0;
		uint64_t done = range.len;

		if (error && c.mapped > 0) {
			done = (uint64_t)c.mapped;
		} else if (error == EEXIST) { /* and perhaps waited for, from before it was */
			struct uffdio_range one = { .start = range.start, .len = unit_bytes };

			(void)ioctl(uffd->fill.fd, UFFDIO_WAKE, &one);
			done = unit_bytes;
		} else if (error) {
			there = !first || error != EFAULT;
			/* Not now, or nobody is left: who waits looks again, and may be back. */
			if (there)
				(void)ioctl(uffd->fill.fd, UFFDIO_WAKE, &range);
			break;
		}
		first = false;
		range.start += done;
		range.len -= done;
	}
	return there;
}

static bool show(struct wh_fill *fill, uint64_t page, uint32_t count)
{
	const struct wh_uffd *uffd = uffd_of(fill);
	const uint64_t unit_bytes = (uint64_t)unit_of(uffd, page) * WH_PAGE_SIZE;
	bool there = is_kept(uffd, page);

	for (size_t i = 0; there && i < uffd->map.count; i++) {
		struct uffdio_range range = overlap(&uffd->map.ranges[i], page, count);

		if (range.len > 0)
			there = show_range(uffd, range, unit_bytes);
	}
	return there;
}

static int zero(struct wh_fill *fill, uint64_t page, uint32_t count)
{
	const struct wh_uffd *uffd = uffd_of(fill);
	const struct uffdio_range range = find(uffd, page, count);
	struct uffdio_copy copy = { .dst = range.start,
		                    .src = (uintptr_t)uffd->zeroes,
		                    .len = range.len };
	struct uffdio_zeropage zeropage = { .range = range };
	int64_t done;
	int r;

	if (count > 1) { /* huge: there is no zero page */
		r = ioctl(fill->fd, UFFDIO_COPY, &copy);
		done = copy.copy;
	} else {
		r = ioctl(fill->fd, UFFDIO_ZEROPAGE, &zeropage);
		done = zeropage.zeropage;
	}
	if (r == 0)
		done = (int64_t)range.len;
	else if (done == 0)
		done = -errno;
	r = outcome(fill, page, done);
	if (r == -EAGAIN) /* not now: who waits looks again, and may be back */
		wake(fill, page, count);
	return r < 0 && r != -EAGAIN ? r : 0;
}

static int wipe(struct wh_fill *fill, uint64_t page, uint32_t count)
{
	const struct wh_region *region = wh_ram_region(uffd_of(fill)->ram, page);

	if (!is_kept(uffd_of(fill), page))
		return 0; /* a hole is zero */
	return wh_ram_wipe(region, offset_of(region, page), (uint64_t)count * WH_PAGE_SIZE);
}

static void on_fault(const struct wh_uffd *uffd, uint64_t address,
                     const struct wh_fill_handler *handler)
{
	for (size_t i = 0; i < uffd->map.count; i++) {
		const struct wh_vmm_range *range = &uffd->map.ranges[i];

		if (address - range->addr < range->bytes) {
			handler->fault(handler->context,
			               range->first_page + (address - range->addr) / WH_PAGE_SIZE);
			return;
		}
	}
}

static void on_removed(const struct wh_uffd *uffd, uint64_t start, uint64_t end,
                       const struct wh_fill_handler *handler)
{
	for (size_t i = 0; i < uffd->map.count; i++) {
		const struct wh_vmm_range *range = &uffd->map.ranges[i];
		const uint64_t from = start > range->addr ? start : range->addr;
		const uint64_t behind = range->addr + range->bytes;
		const uint64_t to = end < behind ? end : behind;

		if (from < to)
			handler->removed(handler->context,
			                 range->first_page + (from - range->addr) / WH_PAGE_SIZE,
			                 (to - from) / WH_PAGE_SIZE);
	}
}

/* Events of one read(). */
#define BATCH 64u

static int take(struct wh_fill *fill, const struct wh_fill_handler *handler, uint32_t max)
{
	const struct wh_uffd *uffd = uffd_of(fill);
	struct uffd_msg messages[BATCH];
	ssize_t n = read(fill->fd, messages, sizeof(messages[0]) * (max < BATCH ? max : BATCH));
	const size_t count = n > 0 ? (size_t)n / sizeof(messages[0]) : 0;

	if (n < 0 && errno != EAGAIN && errno != EINTR)
		return -errno;
	for (size_t i = 0; i < count; i++) {
		const struct uffd_msg *m = &messages[i];

		if (m->event == UFFD_EVENT_PAGEFAULT)
			on_fault(uffd, m->arg.pagefault.address, handler);
		else if (m->event == UFFD_EVENT_REMOVE)
			on_removed(uffd, m->arg.remove.start, m->arg.remove.end, handler);
	}
	return (int)count;
}

/* Make one with everything that can be had without touching the hypervisor. */
static struct wh_uffd *new_uffd(const struct wh_ram *ram, pid_t pid, int *code,
                                struct wh_error *err)
{
	struct wh_uffd *uffd = calloc(1, sizeof(*uffd));
	uint32_t missing;

	if (!uffd) {
		*code = wh_fail(err, -ENOMEM, "out of memory");
		return NULL;
	}
	uffd->fill = (struct wh_fill){
		.copy = copy,
		.show = show,
		.zero = zero,
		.wipe = wipe,
		.wake = wake,
		.take = take,
		.fd = -1,
	};
	uffd->ram = ram;
	uffd->pid = pid;
	*code = wh_ram_granules(ram, &missing, &uffd->fill.granule);
	if (*code < 0)
		(void)wh_fail(err, *code, "cannot wait for pages of this memory: %s",
		              strerror(-*code));
	else
		*code = wh_vmm_map_read(&uffd->map, pid, ram, err);
	if (*code == 0 && uffd->fill.granule > 1) {
		uffd->zeroes = calloc(uffd->fill.granule, WH_PAGE_SIZE);
		*code = uffd->zeroes ? 0 : wh_fail(err, -ENOMEM, "out of memory");
	}
	return *code < 0 ? wh_uffd_close(uffd) : uffd;
}

/* In pieces: the hypervisor stands still for each. */
static int loosen_range(const struct wh_vmm_range *range, pid_t pid, struct wh_error *err)
{
	int r = 0;

	for (uint64_t at = 0; r == 0 && at < range->bytes; at += LOOSEN_BYTES) {
		const uint64_t left = range->bytes - at;
		const struct wh_vmm_range piece = {
			.addr = range->addr + at,
			.bytes = left < LOOSEN_BYTES ? left : LOOSEN_BYTES,
		};

		r = wh_attach_loosen(pid, &piece, err);
	}
	return r;
}

int wh_uffd_loosen(const struct wh_ram *ram, pid_t pid, struct wh_error *err)
{
	struct wh_vmm_map map = { 0 };
	int r = wh_vmm_map_read(&map, pid, ram, err);

	for (size_t i = 0; r == 0 && i < map.count; i++)
		if (map.ranges[i].kept)
			r = loosen_range(&map.ranges[i], pid, err);
	wh_vmm_map_done(&map);
	return r;
}

int wh_uffd_attach(struct wh_uffd **ret, const struct wh_ram *ram, pid_t pid, struct wh_error *err)
{
	int r;
	wh_cleanup(wh_uffd_closep) struct wh_uffd *uffd = new_uffd(ram, pid, &r, err);

	if (!uffd)
		return r;
	uffd->fill.fd = wh_attach_faults(pid, &uffd->map, &uffd->number, err);
	if (uffd->fill.fd < 0)
		return wh_context(err, uffd->fill.fd, "cannot attach to process %d", (int)pid);
	*ret = wh_steal(uffd);
	return 0;
}

/* Whether descriptor @number of process @pid is a userfaultfd. */
static bool is_userfaultfd(pid_t pid, int number)
{
	char path[48], target[32] = "";

	(void)snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)pid, number);
	return readlink(path, target, sizeof(target) - 1) > 0 && strstr(target, "userfaultfd");
}

int wh_uffd_resume(struct wh_uffd **ret, const struct wh_ram *ram, const struct wh_uffd_left *left,
                   struct wh_error *err)
{
	int r;
	wh_cleanup(wh_uffd_closep) struct wh_uffd *uffd = new_uffd(ram, left->pid, &r, err);

	if (!uffd)
		return r;
	r = wh_vmm_map_read_kept(&uffd->map, left->pid, err);
	if (r < 0)
		return r;
	uffd->number = left->number;
	uffd->gone = left->nothing_missing && !is_userfaultfd(left->pid, left->number);
	if (uffd->gone)
		uffd->fill.fd = eventfd(0, EFD_CLOEXEC); /* nothing ever happens on it */
	else
		uffd->fill.fd = wh_attach_take(left->pid, left->number, err);
	if (uffd->fill.fd < 0)
		return uffd->fill.fd;
	if (!uffd->gone)
		wake(&uffd->fill, 0, ram->pages);
	*ret = wh_steal(uffd);
	return 0;
}

int wh_uffd_detach(struct wh_uffd *uffd, struct wh_error *err)
{
	if (uffd->gone)
		return 0;
	for (size_t i = 0; i < uffd->map.count; i++) {
		struct uffdio_range range = { .start = uffd->map.ranges[i].addr,
			                      .len = uffd->map.ranges[i].bytes };

		if (ioctl(uffd->fill.fd, UFFDIO_UNREGISTER, &range) < 0)
			return wh_fail(err, -errno, "cannot let go of process %d: %s",
			               (int)uffd->pid, strerror(errno));
	}
	return wh_attach_drop(uffd->pid, uffd->number, err);
}

struct wh_uffd *wh_uffd_close(struct wh_uffd *uffd)
{
	if (!uffd)
		return NULL;
	wh_closep(&uffd->fill.fd);
	wh_vmm_map_done(&uffd->map);
	free(uffd->zeroes);
	free(uffd);
	return NULL;
}

struct wh_fill *wh_uffd_fill(struct wh_uffd *uffd)
{
	return &uffd->fill;
}

int wh_uffd_number(const struct wh_uffd *uffd)
{
	return uffd->number;
}
