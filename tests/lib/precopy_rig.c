/* SPDX-License-Identifier: Apache-2.0 */

#include "precopy_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "wherry/fdpass.h"

bool wh_dirty_any_removed(struct wh_dirty *dirty)
{
	return wh_pageset_count(dirty->removed) > 0;
}

bool wh_dirty_removed(struct wh_dirty *dirty, uint64_t page)
{
	return wh_pageset_has(dirty->removed, page);
}

void wh_dirty_forget(struct wh_dirty *dirty, uint64_t page)
{
	wh_pageset_remove(dirty->removed, page);
}

static uint64_t fake_now(const struct wh_clock *clock)
{
	(void)clock;
	return WH_NSEC_PER_SEC;
}

static const struct wh_clock fake_clock = { .now_ns = fake_now };

void rig_touch(struct rig *f, uint64_t page, char what)
{
	const struct wh_region *region = wh_ram_region(&f->ram, page);
	off_t offset = (off_t)((page - region->first_page + 1) * WH_PAGE_SIZE) - 1;

	assert_int_equal(pwrite(region->fd, &what, 1, offset), 1);
}

void rig_dirty(struct rig *f, uint64_t first, uint32_t count)
{
	wh_pageset_add(f->precopy.pending, first, count);
	for (uint64_t page = first; page < first + count; page++)
		rig_touch(f, page, 'x');
}

void rig_clear(struct rig *f, uint64_t first, uint32_t count)
{
	wh_pageset_add(f->precopy.pending, first, count);
	for (uint64_t page = first; page < first + count; page++)
		rig_touch(f, page, '\0');
}

uint32_t rig_times_sent(const struct rig *f, uint64_t page)
{
	uint32_t times = 0;

	for (uint32_t i = 0; i < fake_link_writes(f->link); i++) {
		const struct wh_write *w = fake_link_write(f->link, i);
		uint64_t first =
			f->ram.regions[w->src_region].first_page + w->src_offset / WH_PAGE_SIZE;

		assert_int_equal(w->src_region, w->dst_region);
		assert_int_equal(w->src_offset, w->dst_offset);
		times += page >= first && page < first + w->len / WH_PAGE_SIZE;
	}
	return times;
}

uint32_t rig_times_told(const struct rig *f, uint64_t page)
{
	uint32_t times = 0;

	for (uint32_t i = 0; i < fake_link_frames(f->link); i++) {
		const struct wh_frame *frame = fake_link_frame(f->link, i);

		if (frame->kind != WH_FRAME_ZERO)
			continue;
		for (uint16_t k = 0; k < frame->zero.count; k++) {
			uint64_t first = f->ram.regions[frame->zero.region].first_page +
			                 frame->zero.runs[k].first;

			times += page >= first && page < first + frame->zero.runs[k].count;
		}
	}
	return times;
}

void rig_land(struct fake_link *link, uint32_t round)
{
	fake_link_deliver(link, &(struct wh_frame){ .kind = WH_FRAME_ROUND_LANDED,
	                                            .round_landed = { .round = round } });
}

void rig_answer(struct fake_link *link, const struct wh_frame *frame)
{
	if (frame->kind == WH_FRAME_ROUND_END)
		rig_land(link, frame->round_end.round);
}

void rig_add_region(struct rig *f, const char *name, uint64_t pages)
{
	int fd = memfd_create("ram", MFD_CLOEXEC);

	assert_int_equal(ftruncate(fd, (off_t)(pages * WH_PAGE_SIZE)), 0);
	assert_int_equal(wh_ram_add(&f->ram, name, pages * WH_PAGE_SIZE, fd, NULL), 0);
}

int rig_setup(void **state)
{
	static struct rig f;

	f = (struct rig){ .link = fake_link_new(DEPTH) };
	fake_link_set_peer(f.link, rig_answer);
	rig_add_region(&f, "first", FIRST_PAGES);
	rig_add_region(&f, "second", SECOND_PAGES);
	assert_int_equal(wh_ram_map(&f.ram, NULL), 0);
	f.dirty.removed = wh_pageset_new(GUEST_PAGES);
	f.precopy = (struct wh_precopy){
		.link = fake_link_transport(f.link),
		.ram = &f.ram,
		.dirty = &f.dirty,
		.clock = &fake_clock,
		.stats = &f.stats,
		.pending = wh_pageset_new(GUEST_PAGES),
		.gone = wh_pageset_new(GUEST_PAGES),
	};
	*state = &f;
	return 0;
}

int rig_teardown(void **state)
{
	struct rig *f = *state;

	f->link = fake_link_free(f->link);
	f->dirty.removed = wh_pageset_free(f->dirty.removed);
	f->precopy.pending = wh_pageset_free(f->precopy.pending);
	f->precopy.gone = wh_pageset_free(f->precopy.gone);
	wh_ram_unmap(&f->ram);
	for (uint16_t i = 0; i < f->ram.count; i++)
		wh_closep(&f->ram.regions[i].fd);
	return 0;
}
