/* SPDX-License-Identifier: Apache-2.0 */

#include "delta.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "wherry/assert.h"

/* With everything else a mover stays below 64 MiB and a bit for each page. */
#define PLACES ((24u << 20) / WH_PAGE_SIZE)

/* A page's copy can be in so many places, so that few pages contend for one. */
#define WAYS 4u
#define SETS (PLACES / WAYS)

/* Two connections seldom want the same one. */
#define LOCKS 64u

struct place {
	uint64_t key;   /* of the page; 0: none */
	uint32_t round; /* in which it was sent */
};

struct wh_delta {
	_Atomic bool any; /* there was a copy once */
	pthread_mutex_t locks[LOCKS];
	struct place places[PLACES]; /* those of set n begin at n * WAYS, under locks[n % LOCKS] */
	uint8_t (*copies)[WH_PAGE_SIZE];
};

struct wh_delta *wh_delta_new(void)
{
	struct wh_delta *delta = calloc(1, sizeof(*delta));

	if (!delta)
		return NULL;
	for (uint32_t i = 0; i < LOCKS; i++)
		wh_assert(pthread_mutex_init(&delta->locks[i], NULL) == 0);
	/* As large as this it costs no memory before it is used. */
	delta->copies = malloc(sizeof(*delta->copies) * PLACES);
	return delta->copies ? delta : wh_delta_free(delta);
}

struct wh_delta *wh_delta_free(struct wh_delta *delta)
{
	if (!delta)
		return NULL;
	for (uint32_t i = 0; i < LOCKS; i++)
		(void)pthread_mutex_destroy(&delta->locks[i]);
	free(delta->copies);
	free(delta);
	return NULL;
}

static uint64_t key_of(uint16_t region, uint64_t offset)
{
	return ((uint64_t)region << 48 | offset / WH_PAGE_SIZE) + 1;
}

/* Neighbours have different ones. */
static uint32_t set_of(uint64_t key)
{
	return (uint32_t)(key % SETS);
}

/* Where @key's copy is, or NULL; its set is locked. */
static struct place *find(struct wh_delta *delta, uint64_t key)
{
	struct place *set = &delta->places[(size_t)set_of(key) * WAYS];

	for (uint32_t i = 0; i < WAYS; i++)
		if (set[i].key == key)
			return &set[i];
	return NULL;
}

/* Where it may go: a place that is unused, or was of no use in this round and the last. Or NULL. */
static struct place *find_room(struct wh_delta *delta, uint64_t key, uint32_t round)
{
	struct place *set = &delta->places[(size_t)set_of(key) * WAYS];

	for (uint32_t i = 0; i < WAYS; i++)
		if (set[i].key == 0 || set[i].round + 1 < round)
			return &set[i];
	return NULL;
}

void wh_delta_apply(uint8_t *to, const uint8_t *with, uint32_t len)
{
	for (uint32_t i = 0; i < len; i++)
		to[i] ^= with[i];
}

/* The copy becomes @contents, and @contents the difference. */
static void exchange(uint8_t *restrict copy, uint8_t *restrict contents)
{
	for (uint32_t i = 0; i < WH_PAGE_SIZE; i++) {
		const uint8_t now = contents[i];

		contents[i] ^= copy[i];
		copy[i] = now;
	}
}

/* One page; its set is locked. */
static struct wh_delta_taken take_page(struct wh_delta *delta, uint64_t key, uint32_t round,
                                       uint8_t *contents)
{
	struct place *place = find(delta, key);

	if (place) {
		exchange(delta->copies[place - delta->places], contents);
		place->round = round;
		return (struct wh_delta_taken){ .known = 1, .kept = 1 };
	}
	place = find_room(delta, key, round);
	if (!place)
		return (struct wh_delta_taken){ 0 };
	memcpy(delta->copies[place - delta->places], contents, WH_PAGE_SIZE);
	*place = (struct place){ .key = key, .round = round };
	return (struct wh_delta_taken){ .kept = 1 };
}

struct wh_delta_taken wh_delta_take(struct wh_delta *delta, const struct wh_write *w,
                                    uint8_t *contents, uint8_t known[WH_DELTA_MAP_BYTES])
{
	struct wh_delta_taken all = { 0 };

	wh_assert(w->len % WH_PAGE_SIZE == 0 && w->dst_offset % WH_PAGE_SIZE == 0);
	atomic_store(&delta->any, true);
	for (uint32_t i = 0; i < w->len / WH_PAGE_SIZE; i++) {
		const uint64_t at = (uint64_t)i * WH_PAGE_SIZE;
		const uint64_t key = key_of(w->dst_region, w->dst_offset + at);
		pthread_mutex_t *lock = &delta->locks[set_of(key) % LOCKS];
		struct wh_delta_taken page;

		(void)pthread_mutex_lock(lock);
		page = take_page(delta, key, w->round, contents + at);
		(void)pthread_mutex_unlock(lock);
		known[i / 8] |= (uint8_t)(page.known << i % 8);
		all.known += page.known;
		all.kept += page.kept;
	}
	return all;
}

void wh_delta_forget(struct wh_delta *delta, uint16_t region, uint64_t offset, uint64_t len)
{
	if (!delta || !atomic_load(&delta->any))
		return;
	for (uint64_t at = offset; at < offset + len; at += WH_PAGE_SIZE) {
		const uint64_t key = key_of(region, at);
		pthread_mutex_t *lock = &delta->locks[set_of(key) % LOCKS];
		struct place *place;

		(void)pthread_mutex_lock(lock);
		place = find(delta, key);
		if (place)
			place->key = 0;
		(void)pthread_mutex_unlock(lock);
	}
}
