/* SPDX-License-Identifier: Apache-2.0 */

/*
 * RDMA pairs - what is on its way on the queue pairs of a link, and what has arrived.
 *
 * A range of the peer's memory always goes on the same pair, so that of two writes to it the later
 * one stays. A barrier is a mark on every pair: when it has arrived, so has everything written
 * before it.
 *
 * A cookie comes back exactly once: from wh_rdma_pairs_poll() when its work is complete, or from
 * wh_rdma_pairs_take_lost() after the pairs broke. What comes back as lost may have landed in
 * full, in part, or not at all, and may land for as long as the peer has its pairs.
 *
 * Threads: one.
 */

#ifndef WH_RDMA_PAIRS_H
#define WH_RDMA_PAIRS_H

#include <stdbool.h>
#include <stdint.h>

#include "verbs.h"

#include "wherry/cleanup.h"

/* Ranges of this many bytes take turns on the pairs. */
#define WH_RDMA_STRIPE_BYTES (2ull << 20)

/* Receives that a pair needs for the other side's marks, and for the receipts of its own. */
#define WH_RDMA_PAIRS_RECEIVES(marks) ((marks) + 2)

struct wh_rdma_pairs;

struct wh_rdma_pairs_config {
	struct wh_verbs *verbs; /* borrowed; connected; its depth is @depth */
	uint32_t pairs;         /* all that @verbs has */
	uint32_t depth;         /* works in flight on each pair, 2 to WH_RDMA_DEPTH_MAX */
	uint32_t signal_every;  /* of so many works one tells of its end, 1 to @depth / 2 */

	/* Barriers in flight, the same at both sides; @verbs was opened with
	 * WH_RDMA_PAIRS_RECEIVES(marks). */
	uint32_t marks;
};

/* Return: the pairs, owned by the caller; NULL if there is no memory. */
struct wh_rdma_pairs *wh_rdma_pairs_new(const struct wh_rdma_pairs_config *cfg);

/* Accepts NULL. Returns NULL. The verbs stay as they are. */
struct wh_rdma_pairs *wh_rdma_pairs_free(struct wh_rdma_pairs *p);

/* How much of [@offset, @offset + @len) of the peer's region one work may carry, from 1 to @len. */
uint32_t wh_rdma_pairs_piece(const struct wh_rdma_pairs *p, uint64_t offset, uint32_t len);

/*
 * Post a write to [@offset, @offset + @w->len) of the peer's @region, which is one piece.
 * @w->signalled is ignored. Return: 0; WH_TX_FULL: poll, then post again; or -errno: broken.
 */
wh_must_check int wh_rdma_pairs_write(struct wh_rdma_pairs *p, uint16_t region, uint64_t offset,
                                      const struct wh_verbs_work *w);

/**
 * wh_rdma_pairs_barrier() - Have the peer know when everything written so far has landed
 * @ret:	receives the barrier's number: a new one, or the last if nothing was written since;
 *		0 if nothing was written ever
 *
 * Return: 0; WH_TX_FULL: poll, then ask again; or -errno: broken.
 */
wh_must_check int wh_rdma_pairs_barrier(struct wh_rdma_pairs *p, uint32_t *ret);

/*
 * No more writes follow for a while: the last one, which is kept back until then, must not be. To be called before
 * waiting, if anything was written since the last poll. Return: 0 or -errno: broken.
 */
wh_must_check int wh_rdma_pairs_push(struct wh_rdma_pairs *p);

/* The newest of the peer's barriers before which everything has landed here; 0: none. */
uint32_t wh_rdma_pairs_arrived(const struct wh_rdma_pairs *p);

/**
 * wh_rdma_pairs_poll() - Take what is complete; never waits
 * @cookies:	receives up to @max, in order of posting on each pair
 * @max:	room in @cookies, at least 1
 *
 * When it has returned 0, everything that was posted will make wh_verbs_fd() readable if it is
 * armed. A barrier that arrived is no cookie: look at wh_rdma_pairs_arrived().
 *
 * Return: the number of cookies; or -errno, again and again: broken, -EPROTO if by the peer's
 * fault. Before that everything comes that is known to be complete.
 */
wh_must_check int wh_rdma_pairs_poll(struct wh_rdma_pairs *p, uint64_t *cookies, uint32_t max);

/*
 * After the pairs broke: take one work that is not known to be complete. Return: whether there was
 * one. From the first call on, nothing is complete any more.
 */
bool wh_rdma_pairs_take_lost(struct wh_rdma_pairs *p, uint64_t *cookie);

/* Works posted, whose cookies have not come back. */
uint32_t wh_rdma_pairs_in_flight(const struct wh_rdma_pairs *p);

WH_DEFINE_CLEANUP(struct wh_rdma_pairs, wh_rdma_pairs_free)

#endif
