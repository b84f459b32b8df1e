/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Lend - the source's end of pages that are read by RDMA, out of its memory (rdma_reads.h is the other).
 *
 * Chunks that hold something the destination lacks are made known to the device, those first that somebody waits for, and
 * the destination is told their keys. It gives each back when it lacks nothing in there any more, and then there is room for
 * another: no more is pinned at once than the options say. Nobody can write to this memory, and it
 * does not change: the guest is stopped.
 *
 * Nothing that is read passes the source's hands. So it grants bytes to be read, and grants them
 * anew when it hears that they were, as far as the limit allows.
 *
 * Threads: one at a time.
 */

#ifndef WH_RDMA_LEND_H
#define WH_RDMA_LEND_H

#include <stdint.h>

#include "push.h"
#include "ram.h"
#include "urgent.h"

#include "wherry/cleanup.h"
#include "wherry/clock.h"

struct wh_rdma_way;

/* All borrowed. */
struct wh_rdma_lend_config {
	const struct wh_ram *ram; /* mapped */
	const struct wh_clock *clock;
};

struct wh_rdma_lend {
	const struct wh_rdma_lend_ops *ops;
	int fd;           /* readable when it is time for look() */
	uint64_t wake_ns; /* or at this time; UINT64_MAX: there is none */
};

struct wh_rdma_lend_ops {
	/* Go on; @push says what the destination lacks. Return: 0, or -errno of the urgent connection. */
	int (*look)(struct wh_rdma_lend *lend, struct wh_urgent *urgent, struct wh_push *push);

	/* Somebody waits for this page, and cannot read it yet. */
	void (*want)(struct wh_rdma_lend *lend, uint64_t page);

	/* @bytes were read, as the destination says. Return: 0, or -EPROTO if they cannot have been. */
	int (*have)(struct wh_rdma_lend *lend, uint32_t bytes);

	/* Act on a READ_OFFER, READ_DONE or READ_OVER of the destination's. Return: 0 or -EPROTO. */
	int (*record)(struct wh_rdma_lend *lend, const struct wh_record *record,
	              const uint8_t *payload);

	/* When it returns, nobody reads any more, and the device holds none of the memory. */
	void (*free)(struct wh_rdma_lend *lend);
};

/* Lend memory by @way as soon as the destination offers to read. Return: NULL if out of memory. */
struct wh_rdma_lend *wh_rdma_lend_new(const struct wh_rdma_way *way,
                                      const struct wh_rdma_lend_config *cfg);

/* Accepts NULL. Returns NULL. */
static inline struct wh_rdma_lend *wh_rdma_lend_free(struct wh_rdma_lend *lend)
{
	if (lend)
		lend->ops->free(lend);
	return NULL;
}

#endif
