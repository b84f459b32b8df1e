/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Fill - how pages get into the memory of a hypervisor whose guest may be waiting for them.
 *
 * The real one is uffd.h. Pages are numbered as in struct wh_ram.
 *
 * Threads: any may call at once, unless it says otherwise.
 */

#ifndef WH_FILL_H
#define WH_FILL_H

#include <stdbool.h>
#include <stdint.h>

struct wh_fill;

/* What to do about what happened in the hypervisor. */
struct wh_fill_handler {
	void (*fault)(void *context, uint64_t page); /* somebody waits for it */
	/* These pages are given back: what they held no longer matters. */
	void (*removed)(void *context, uint64_t page, uint64_t count);
	void *context;
};

struct wh_fill {
	/*
	 * Copy contents to @count pages that are missing, and wake who waits for them. A page that
	 * is there already keeps what it has, unless memory is kept there: then nobody has seen it,
	 * and nobody does until it is shown.
	 *
	 * Return: how many are there now, from the front, at least one; -EAGAIN while there are
	 * events to take before anything can be done; or -errno.
	 */
	int (*copy)(struct wh_fill *fill, uint64_t page, uint32_t count, const void *from);

	/*
	 * None of these pages is missing, and they are whole pages of their memory: where that is
	 * kept, let them be seen, and wake who waits for them.
	 *
	 * Return: whether the first one is in kept memory, and there.
	 */
	bool (*show)(struct wh_fill *fill, uint64_t page, uint32_t count);

	/* A page of the memory that nobody owes: if it is not there it becomes zero. Wakes who waits.
	 * Return: 0 or -errno. */
	int (*zero)(struct wh_fill *fill, uint64_t page, uint32_t count);

	/* Pages that are missing, and zero at the source. Return: 0 or -errno. */
	int (*wipe)(struct wh_fill *fill, uint64_t page, uint32_t count);

	/* Have who waits for any of them look again. */
	void (*wake)(struct wh_fill *fill, uint64_t page, uint64_t count);

	/*
	 * Hand what happened to @handler, at most @max events, without waiting. For one thread.
	 * Return: how many there were, or -errno.
	 */
	int (*take)(struct wh_fill *fill, const struct wh_fill_handler *handler, uint32_t max);

	int fd;           /* readable when there is something to take; -1: ask */
	uint32_t granule; /* pages that can only be filled as one, on a multiple of it */
};

#endif
