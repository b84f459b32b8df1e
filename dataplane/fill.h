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
	 * Copy contents to @count pages, none of which may be there, and wake who waits for them.
	 *
	 * Return: how many were done, from the front; 0 if the first one is there already; -EAGAIN
	 * while there are events to take before anything can be done; or -errno.
	 */
	int (*copy)(struct wh_fill *fill, uint64_t page, uint32_t count, const void *from);

	/* Make them zero, likewise; @count is the granule. */
	int (*zero)(struct wh_fill *fill, uint64_t page, uint32_t count);

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
