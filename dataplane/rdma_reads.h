/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Reads - the destination's end of pages that are read by RDMA, out of the source's memory.
 *
 *	ask	a page is missing, and the source lends the chunk it is in: read it, and what is behind it
 *	take	it is here, in a ring that the device knows: for the owner to place
 *	end	it is placed: tell the source, who need not send it any more
 *
 * The device has a connection of its own for it, with one queue pair. The source grants how many bytes may
 * be read, so that its limit holds. Whatever cannot be read, and all there is once RDMA is over, is
 * for the owner to FETCH.
 *
 * Threads: one at a time.
 */

#ifndef WH_RDMA_READS_H
#define WH_RDMA_READS_H

#include <stdbool.h>
#include <stdint.h>

#include "missing.h"
#include "ram.h"
#include "urgent.h"

#include "wherry/cleanup.h"

struct wh_rdma_way;
struct wh_region_ids; /* fault.h */

enum {
	WH_RDMA_READS_NO = 1, /* not this way, or not now */
};

/* What is on its way or not placed yet, at most; a granule is half of it at most. */
#define WH_RDMA_READS_BYTES (4u << 20)

/* All borrowed. */
struct wh_rdma_reads_config {
	const struct wh_ram *ram;
	const struct wh_region_ids *ids;
	const struct wh_missing *missing;
	uint32_t granule; /* pages that can only be filled as one */
};

struct wh_rdma_read {
	struct wh_run run;
	const uint8_t *contents; /* borrowed until it is ended; NULL: it failed */
	uint32_t slot;
};

struct wh_rdma_reads {
	const struct wh_rdma_reads_ops *ops;
	int fd; /* to wait on for reading, if arm() says so; -1: there is nothing to wait for */
};

struct wh_rdma_reads_ops {
	/* Go on with what does not need the owner. Return: 0, or -errno of the urgent connection. */
	int (*look)(struct wh_rdma_reads *reads, struct wh_urgent *urgent);

	/* Before waiting. Return: whether @fd will tell of what there is; else look again at once. */
	bool (*arm)(struct wh_rdma_reads *reads);

	/* Read @run, of one region. Return: 0 or WH_RDMA_READS_NO. */
	int (*ask)(struct wh_rdma_reads *reads, struct wh_run run);

	/* Take a read that is over. Return: whether there was one. */
	bool (*take)(struct wh_rdma_reads *reads, struct wh_rdma_read *ret);

	/* The pages of @read are placed, or it had failed. Return: 0, or -errno of the urgent connection. */
	int (*end)(struct wh_rdma_reads *reads, struct wh_urgent *urgent,
	           const struct wh_rdma_read *read);

	/* Act on a READ_KEY, READ_GRANT or READ_OVER of the source's. Return: 0 or -EPROTO. */
	int (*record)(struct wh_rdma_reads *reads, const struct wh_record *record,
	              const uint8_t *payload);

	/* Nothing more is read: tell the source so, if it can be told, and end it. */
	void (*stop)(struct wh_rdma_reads *reads, struct wh_urgent *urgent);

	/* When it returns, the device neither writes to this side's memory nor holds any of it. */
	void (*free)(struct wh_rdma_reads *reads);
};

/*
 * Wait for the source to connect by @way. That it cannot is said there, and all is WH_RDMA_READS_NO then.
 * Return: NULL if out of memory.
 */
struct wh_rdma_reads *wh_rdma_reads_new(const struct wh_rdma_way *way,
                                        const struct wh_rdma_reads_config *cfg);

/* Accepts NULL. Returns NULL. */
static inline struct wh_rdma_reads *wh_rdma_reads_free(struct wh_rdma_reads *reads)
{
	if (reads)
		reads->ops->free(reads);
	return NULL;
}

#endif
