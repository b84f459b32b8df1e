/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A page that the hypervisor maps at several addresses is filled through the first: all of them
 * show the same file. Waking concerns addresses, so that is done for each.
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

struct wh_uffd {
	struct wh_fill fill;
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

	if (done < 0)
		return done == -EEXIST ? 0 : (int)done;
	if (pages > 0 && uffd_of(fill)->map.count > 1)
		wake(fill, page, pages); /* at its other addresses, if it has any */
	return pages > 0 ? (int)pages : -EAGAIN;
}

static int copy(struct wh_fill *fill, uint64_t page, uint32_t count, const void *from)
{
	const struct uffdio_range to = find(uffd_of(fill), page, count);
	struct uffdio_copy copy = { .dst = to.start, .src = (uintptr_t)from, .len = to.len };

	if (ioctl(fill->fd, UFFDIO_COPY, &copy) == 0)
		copy.copy = (int64_t)to.len;
	else if (copy.copy == 0)
		copy.copy = -errno;
	return outcome(fill, page, copy.copy);
}

static int zero(struct wh_fill *fill, uint64_t page, uint32_t count)
{
	const struct wh_uffd *uffd = uffd_of(fill);
	struct uffdio_zeropage zeropage = { .range = find(uffd, page, count) };

	wh_assert(!uffd->zeroes || count == fill->granule);
	if (uffd->zeroes)
		return copy(fill, page, count, uffd->zeroes);
	if (ioctl(fill->fd, UFFDIO_ZEROPAGE, &zeropage) == 0)
		zeropage.zeropage = (int64_t)zeropage.range.len;
	else if (zeropage.zeropage == 0)
		zeropage.zeropage = -errno;
	return outcome(fill, page, zeropage.zeropage);
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
		.copy = copy, .zero = zero, .wake = wake, .take = take, .fd = -1
	};
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
