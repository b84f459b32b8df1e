/* SPDX-License-Identifier: Apache-2.0 */

#include "fake_fill.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "missing.h"

#include "wherry/assert.h"
#include "wherry/limits.h"

static const uint8_t zeroes[WH_PAGE_SIZE];

static struct fake_fill *fake_of(struct wh_fill *fill)
{
	return (struct fake_fill *)fill;
}

static void put_event(struct fake_fill *fake, struct fake_event event)
{
	wh_assert(fake->event_count < FAKE_EVENTS);
	fake->events[fake->event_count++] = event;
}

bool fake_fill_touch(struct fake_fill *fake, uint32_t number, uint64_t page)
{
	struct fake_vcpu *vcpu = &fake->vcpus[number];

	wh_assert(!vcpu->waits);
	if (wh_pageset_has(fake->present, page)) {
		fake->touches++;
		return true;
	}
	*vcpu = (struct fake_vcpu){ .waits = true, .page = page };
	put_event(fake, (struct fake_event){ .page = page });
	return false;
}

void fake_fill_remove(struct fake_fill *fake, uint64_t page)
{
	fake->busy = true;
	put_event(fake, (struct fake_event){ .removed = true, .page = page });
}

static void wake(struct wh_fill *fill, uint64_t page, uint64_t count)
{
	struct fake_fill *fake = fake_of(fill);

	for (uint32_t i = 0; i < FAKE_VCPUS; i++) {
		struct fake_vcpu *vcpu = &fake->vcpus[i];

		if (!vcpu->waits || vcpu->page - page >= count)
			continue;
		vcpu->waits = false;
		(void)fake_fill_touch(fake, i, vcpu->page); /* and waits again, if it must */
	}
}

static const struct wh_region *region_of(const struct fake_fill *fake, uint64_t page, off_t *offset)
{
	const struct wh_region *region = wh_ram_region(fake->ram, page);

	*offset = (off_t)((page - region->first_page) * WH_PAGE_SIZE);
	return region;
}

/* Pages that are there as one. */
static uint32_t unit_of(const struct fake_fill *fake, uint64_t page)
{
	return wh_ram_region(fake->ram, page)->page_bytes / WH_PAGE_SIZE;
}

static void write_page(struct fake_fill *fake, uint64_t page, const uint8_t *contents)
{
	off_t offset;
	const struct wh_region *region = region_of(fake, page, &offset);

	wh_assert(pwrite(region->fd, contents, WH_PAGE_SIZE, offset) == (ssize_t)WH_PAGE_SIZE);
}

/* Fill page by page, as far as none is there. */
static int fill_pages(struct fake_fill *fake, uint64_t page, uint32_t count, const uint8_t *from)
{
	uint32_t done = 0;

	wh_assert(count % unit_of(fake, page) == 0);
	if (fake->busy)
		return -EAGAIN;
	for (; done < count && !wh_pageset_has(fake->present, page + done); done++) {
		write_page(fake, page + done, from ? from + (size_t)done * WH_PAGE_SIZE : zeroes);
		wh_pageset_add(fake->present, page + done, 1);
	}
	if (done == 0) /* there already */
		done = unit_of(fake, page);
	wake(&fake->fill, page, done);
	return (int)done;
}

static int copy(struct wh_fill *fill, uint64_t page, uint32_t count, const void *from)
{
	struct fake_fill *fake = fake_of(fill);
	int n = (int)count;

	if (!fake->kept)
		n = fill_pages(fake, page, count, from);
	for (uint32_t i = 0; fake->kept && i < count; i++) {
		wh_assert(!wh_pageset_has(fake->present, page + i)); /* somebody would see it */
		write_page(fake, page + i, (const uint8_t *)from + (size_t)i * WH_PAGE_SIZE);
	}
	fake->copies += n > 0 ? (uint32_t)n : 0;
	return n;
}

static bool show(struct wh_fill *fill, uint64_t page, uint32_t count)
{
	struct fake_fill *fake = fake_of(fill);
	bool there = fake->kept && !wh_ram_is_hole(fake->ram, page);

	for (uint32_t i = 0; there && i < count && !wh_ram_is_hole(fake->ram, page + i); i++)
		wh_pageset_add(fake->present, page + i, 1);
	if (there)
		wake(fill, page, count);
	return there;
}

static int zero(struct wh_fill *fill, uint64_t page, uint32_t count)
{
	int n = fill_pages(fake_of(fill), page, count, NULL);

	if (n == -EAGAIN)
		wake(fill, page, count);
	return n < 0 && n != -EAGAIN ? n : 0;
}

static int wipe(struct wh_fill *fill, uint64_t page, uint32_t count)
{
	for (uint32_t i = 0; fake_of(fill)->kept && i < count; i++)
		write_page(fake_of(fill), page + i, zeroes);
	return 0;
}

static void remove_page(struct fake_fill *fake, uint64_t page)
{
	const struct wh_region *region = wh_ram_region(fake->ram, page);

	wh_pageset_remove(fake->present, page);
	/* Also where memory is kept: that is for movers. */
	wh_assert(fallocate(region->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
	                    (off_t)((page - region->first_page) * WH_PAGE_SIZE),
	                    WH_PAGE_SIZE) == 0);
}

static int take(struct wh_fill *fill, const struct wh_fill_handler *handler, uint32_t max)
{
	struct fake_fill *fake = fake_of(fill);
	uint32_t count = fake->event_count < max ? fake->event_count : max;
	struct fake_event taken[FAKE_EVENTS];

	memcpy(taken, fake->events, count * sizeof(taken[0]));
	fake->event_count -= count;
	memmove(fake->events, fake->events + count, fake->event_count * sizeof(taken[0]));
	fake->busy = false;
	for (uint32_t i = 0; i < count; i++)
		if (taken[i].removed) {
			handler->removed(handler->context, taken[i].page, 1);
			remove_page(fake, taken[i].page);
		} else {
			handler->fault(handler->context, taken[i].page);
		}
	for (uint32_t i = 0; i < fake->event_count; i++)
		fake->busy |= fake->events[i].removed;
	return (int)count;
}

/* Of a huge page all is present, or nothing. */
static void round_out(struct fake_fill *fake)
{
	for (uint64_t page = 0; page < fake->ram->pages; page++) {
		const uint32_t unit = unit_of(fake, page);
		const uint64_t in = (page - wh_ram_region(fake->ram, page)->first_page) % unit;

		if (wh_pageset_has(fake->present, page))
			wh_pageset_add(fake->present, page - in, unit);
	}
}

void fake_fill_init(struct fake_fill *fake, const struct wh_ram *ram)
{
	struct wh_touched touched = { 0 };
	uint32_t missing;

	*fake = (struct fake_fill){ .fill = { .copy = copy,
		                              .show = show,
		                              .zero = zero,
		                              .wipe = wipe,
		                              .wake = wake,
		                              .take = take,
		                              .fd = -1 },
		                    .ram = ram,
		                    .present = wh_pageset_new(ram->pages) };
	wh_assert(fake->present && wh_ram_granules(ram, &missing, &fake->fill.granule) == 0 &&
	          wh_ram_add_touched(ram, &touched, ram->pages, fake->present) == 0);
	round_out(fake);
}

void fake_fill_keep(struct fake_fill *fake, const struct wh_missing *missing)
{
	fake->kept = true;
	for (uint64_t page = 0; page < fake->ram->pages; page++)
		if (wh_missing_has(missing, page))
			wh_pageset_remove(fake->present, page);
}

void fake_fill_release(struct fake_fill *fake)
{
	for (uint32_t i = 0; i < fake->event_count; i++)
		if (fake->events[i].removed)
			remove_page(fake, fake->events[i].page);
	fake->event_count = 0;
	for (uint32_t i = 0; i < FAKE_VCPUS; i++)
		fake->vcpus[i].waits = false;
}

void fake_fill_done(struct fake_fill *fake)
{
	fake->present = wh_pageset_free(fake->present);
}
