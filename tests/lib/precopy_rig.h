/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Precopy rig - what tests of precopy rounds stand on: a guest of two regions, a fake link and a fake
 * tracker. For tests: what cannot be is an assertion.
 */

#ifndef PRECOPY_RIG_H
#define PRECOPY_RIG_H

#include <stdint.h>

#include "fake_link.h"
#include "precopy.h"

/* Two regions: more than the longest run, so that its length is cut, and a small one. */
#define FIRST_PAGES  (WH_RUN_PAGES_MAX + 88u)
#define SECOND_PAGES 100u
#define GUEST_PAGES  (FIRST_PAGES + SECOND_PAGES)
#define DEPTH        4u

struct wh_dirty {
	struct wh_pageset *removed;
};

struct rig {
	struct wh_ram ram;
	struct wh_dirty dirty;
	struct wh_stats stats;
	struct fake_link *link;
	struct wh_precopy precopy;
};

int rig_setup(void **state);
int rig_teardown(void **state);

void rig_add_region(struct rig *f, const char *name, uint64_t pages);

/* Write the last byte of @page. */
void rig_touch(struct rig *f, uint64_t page, char what);

/* The guest wrote pages [@first, @first + @count): each has contents, in its last byte. */
void rig_dirty(struct rig *f, uint64_t first, uint32_t count);

/* The guest cleared these pages. */
void rig_clear(struct rig *f, uint64_t first, uint32_t count);

/* How often @page was written. Its place there must be its place here. */
uint32_t rig_times_sent(const struct rig *f, uint64_t page);

/* How often @page was told to be zero. */
uint32_t rig_times_told(const struct rig *f, uint64_t page);

/* What a peer says: that a round has landed. */
void rig_land(struct fake_link *link, uint32_t round);
void rig_answer(struct fake_link *link, const struct wh_frame *frame);

#endif
