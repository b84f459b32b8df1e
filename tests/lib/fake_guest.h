/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Fake guest - memory that is written to, and the tracker that sees it: what dataplane/dirty.c
 * does, without a hypervisor. Link this instead of it.
 *
 * The guest knows what its memory must hold: a shadow copy, which only its own writes change.
 */

#ifndef WH_FAKE_GUEST_H
#define WH_FAKE_GUEST_H

#include <stdbool.h>
#include <stdint.h>

#include "dirty.h"
#include "ram.h"

#define FAKE_REGIONS 2u

/* Reads of a disk that are under way at once. */
#define FAKE_READS 8u

/* Pages of what stands for a huge page. */
#define FAKE_HUGE_PAGES 8u

/* A read with O_DIRECT: the device writes @page at @lands_ns, and no tracker sees that. */
struct fake_read {
	bool pending;
	uint64_t page;
	uint64_t lands_ns;
};

struct fake_guest {
	struct wh_ram ram; /* where it runs at first; mapped */
	int fds[FAKE_REGIONS];
	uint8_t *writable[FAKE_REGIONS]; /* the same memory, for the guest */
	uint8_t *shadow;                 /* all regions, one after the other */
	struct wh_dirty *dirty;
	bool huge; /* the last region is tracked in pieces of FAKE_HUGE_PAGES */
	uint64_t random;
	struct fake_read reads[FAKE_READS];

	/* Called before a page goes, or NULL. */
	void (*punching)(void *context, const void *addr);
	void *context;
};

/* Make a guest of @pages pages for each region, half of them touched; @seed decides if it is huge. */
void fake_guest_init(struct fake_guest *guest, uint64_t pages, uint64_t seed);
void fake_guest_done(struct fake_guest *guest);

/* Write, clear or give back one page somewhere. */
void fake_guest_act(struct fake_guest *guest);

/*
 * Begin to read a disk, if there is room, which takes less than @longest_ns. The tracker sees the page
 * written now; or not at all, if it is not @tracked yet.
 */
void fake_guest_read(struct fake_guest *guest, uint64_t now_ns, uint64_t longest_ns, bool tracked);

/* Let the device write what is due at @now_ns. */
void fake_guest_land(struct fake_guest *guest, uint64_t now_ns);

/* Do what was announced and not yet done, as a hypervisor does before it stops; reads end, too. */
void fake_guest_finish(struct fake_guest *guest);

/* Whether the memory of @fds is what the guest wrote. Names the first page that is not. */
bool fake_guest_is_intact(const struct fake_guest *guest, const int fds[FAKE_REGIONS]);

/* Make an empty RAM file of @pages pages. */
int fake_ram_file(uint64_t pages);

#endif
