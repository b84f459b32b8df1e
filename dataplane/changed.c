/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Why a page that is left out is a page that the peer has:
 *
 * The trap is a guest that writes A, B and A again. Were A hashed in the guest's own memory and the
 * page sent from there later, B might leave, and the A of the next round be taken for sent. So only
 * copies are hashed, and the very same copy is sent: what the guest does meanwhile reaches neither.
 * A hash that is noted is that of the bytes which the peer has when the round has landed, and the
 * next look at this page comes after that. It does not matter what happened in between: equal
 * hashes mean that the page is now what the peer has.
 *
 * Equal hashes of different pages: 128 bits, and a secret that a guest cannot know, so that it
 * cannot look for two such pages. By chance it takes 2^64 pages to find them.
 *
 * Hashes are kept for groups of pages. Where there is room for all groups, a page is hashed when it
 * is sent first. Else a group gets its room when it is sent for the second time: what the guest
 * writes again and again is what counts.
 */

#include "changed.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <xxh_x86dispatch.h> /* xxHash, with the widest vectors that this CPU has */

#include "wherry/assert.h"
#include "wherry/limits.h"

/* A run of wh_pageset_take_run() lies in one group. */
#define GROUP_PAGES WH_RUN_PAGES_MAX

/* A page that was not sent yet has a hash of zeros, which is as improbable as any other. */
struct group {
	XXH128_hash_t hashes[GROUP_PAGES];
};

#define GROUPS_MAX (WH_CHANGED_BYTES_MAX / sizeof(struct group))

/* What is known of a group: its room, counted from FIRST_ROOM, or that there is none. */
enum {
	NEVER_SENT,
	SENT_ONCE,
	FIRST_ROOM,
};

struct wh_changed {
	uint8_t secret[WH_CHANGED_SECRET_BYTES];
	struct group *groups; /* owned */
	uint32_t room;        /* for so many */
	uint32_t used;
	bool room_for_all;
	uint16_t *known;       /* owned; of each group of the guest */
	struct group *current; /* the one of wh_changed_begin(), or NULL */
};

static_assert(GROUPS_MAX + FIRST_ROOM <= UINT16_MAX, "the number of a room fits");
static_assert(WH_CHANGED_SECRET_BYTES >= XXH3_SECRET_SIZE_MIN, "xxHash wants so many");

/* Groups that hold huge pages. */
static uint64_t count_groups(const struct wh_ram *ram)
{
	uint64_t count = 0;

	for (uint16_t i = 0; i < ram->count; i++) {
		const struct wh_region *region = &ram->regions[i];
		const uint64_t last = region->first_page + region->bytes / WH_PAGE_SIZE - 1;

		if (region->page_bytes > WH_PAGE_SIZE)
			count += last / GROUP_PAGES - region->first_page / GROUP_PAGES + 1;
	}
	return count;
}

struct wh_changed *wh_changed_new(const struct wh_ram *ram,
                                  const uint8_t secret[WH_CHANGED_SECRET_BYTES])
{
	const uint64_t wanted = count_groups(ram);
	struct wh_changed *changed = calloc(1, sizeof(*changed));

	wh_assert(wanted > 0);
	if (!changed)
		return NULL;
	memcpy(changed->secret, secret, sizeof(changed->secret));
	changed->room_for_all = wanted <= GROUPS_MAX;
	changed->room = changed->room_for_all ? (uint32_t)wanted : (uint32_t)GROUPS_MAX;
	changed->groups = calloc(changed->room, sizeof(*changed->groups));
	changed->known = calloc(ram->pages / GROUP_PAGES + 1, sizeof(*changed->known));
	if (!changed->groups || !changed->known)
		return wh_changed_free(changed);
	return changed;
}

struct wh_changed *wh_changed_free(struct wh_changed *changed)
{
	if (!changed)
		return NULL;
	free(changed->groups);
	free(changed->known);
	free(changed);
	return NULL;
}

void wh_changed_begin(struct wh_changed *changed, struct wh_run run)
{
	uint16_t *known = &changed->known[run.first / GROUP_PAGES];

	wh_assert(run.count > 0 && run.first % GROUP_PAGES + run.count <= GROUP_PAGES);
	if (*known == NEVER_SENT && !changed->room_for_all)
		*known = SENT_ONCE;
	else if (*known < FIRST_ROOM && changed->used < changed->room)
		*known = (uint16_t)(FIRST_ROOM + changed->used++);
	changed->current = *known < FIRST_ROOM ? NULL : &changed->groups[*known - FIRST_ROOM];
}

bool wh_changed_note(struct wh_changed *changed, uint64_t page, const void *contents)
{
	XXH128_hash_t *kept, hash;

	if (!changed->current)
		return true;
	kept = &changed->current->hashes[page % GROUP_PAGES];
	hash = XXH3_128bits_withSecret(contents, WH_PAGE_SIZE, changed->secret,
	                               sizeof(changed->secret));
	if (XXH128_isEqual(*kept, hash))
		return false;
	*kept = hash;
	return true;
}
