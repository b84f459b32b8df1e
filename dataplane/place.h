/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Place - memory of the destination's guest, and how page contents get there.
 *
 * Allocating the destination's pages costs more than all the rest of a migration, so how it is
 * done decides its speed (docs/performance.md). There are several ways:
 *
 *	fill	UFFDIO_COPY through a mapping of our own: allocates pages and copies into them in
 *		one step, on any number of CPUs at once. Only where nothing is yet, and only in
 *		small pages. What is there, in a later round, is copied over in that mapping.
 *	write	pwrite(): in huge pages where the tmpfs has them. The kernel lets one thread at a
 *		time write to a file.
 *	huge	hugetlbfs has no write(): a whole huge page that is missing is filled, the others are
 *		allocated first and then copied into, through a second mapping.
 *
 * A file on a tmpfs without huge pages is filled. Others on a tmpfs are written.
 *
 * Threads: any may put while it is lent; the others are for the one that opened it.
 */

#ifndef WH_PLACE_H
#define WH_PLACE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "wherry/cleanup.h"

struct wh_place {
	pthread_rwlock_t use; /* held for reading by whoever puts, for writing to take it back */
	uint64_t bytes;       /* 0 while nothing may be put here */
	int fd;               /* the RAM file, borrowed */
	pthread_mutex_t
		turn;    /* to write: the kernel has those that wait spin, this lets them sleep */
	int uffd;        /* to fill, or -1 */
	uint8_t *addr;   /* the file, mapped to fill it */
	uint64_t mapped; /* bytes of it */
	_Atomic uint32_t fills; /* since it was mapped */
	_Atomic bool rewrites;  /* the last put found something */
	uint8_t *over;          /* the same bytes on hugetlbfs once more, to copy into; else NULL */

	/* Where writes go instead, or NULL. */
	int (*divert)(void *context, uint64_t offset, const void *from, uint32_t len);
	void *context;
};

void wh_place_init(struct wh_place *place);
void wh_place_done(struct wh_place *place);

/* Have @bytes of @fd, which stays the caller's, written into. Return: 0 or -errno. */
wh_must_check int wh_place_lend(struct wh_place *place, int fd, uint64_t bytes);

/* Have what is written handed to @memory's put() instead. */
struct wh_memory;
void wh_place_divert(struct wh_place *place, const struct wh_memory *memory);

/*
 * Take it back: when this returns, nothing is being put there, and nothing will be. The mapping stays
 * until wh_place_done(): the guest waits for this, and to take it down takes 40 ms for each GiB.
 */
void wh_place_take_back(struct wh_place *place);

/* Whether [@offset, @offset + @len) is lent. */
bool wh_place_holds(struct wh_place *place, uint64_t offset, uint32_t len);

/* How many bytes are best put at once: more may be put in pieces of so many. */
uint32_t wh_place_piece(struct wh_place *place);

/*
 * Put @len bytes, whole pages, at @offset. Return: 0, -EPROTO if that is not lent, or -errno
 * (-ENOSPC if the tmpfs is full, or no huge page is left).
 */
wh_must_check int wh_place_put(struct wh_place *place, const uint8_t *from, uint32_t len,
                               uint64_t offset);

/* Have the @len bytes that are at @offset. Return: 0, -EPROTO if that is not lent, or -errno. */
wh_must_check int wh_place_get(struct wh_place *place, uint8_t *to, uint32_t len, uint64_t offset);

#endif
