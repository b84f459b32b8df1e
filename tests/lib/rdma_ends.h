/* SPDX-License-Identifier: Apache-2.0 */

/*
 * RDMA ends - the queue pairs of a source and a target, over fake_verbs.h. What cannot be is an
 * assertion of cmocka.
 */

#ifndef WH_RDMA_ENDS_H
#define WH_RDMA_ENDS_H

#include <stdint.h>

#include "rdma_pairs.h"

#include "wherry/limits.h"

#define PAIRS  2u
#define DEPTH  16u
#define EVERY  4u
#define MARKS  3u
#define STRIPE WH_RDMA_STRIPE_BYTES
#define BYTES  (4 * STRIPE)
#define SMALL  4096u

/* The source writes, and the target is where it lands. */
struct rdma_end {
	struct wh_verbs *verbs;
	struct wh_rdma_pairs *pairs;
	uint8_t *memory;
	struct wh_verbs_key key;
};

struct rdma_ends {
	struct rdma_end source, target;
	uint64_t cookies[4 * DEPTH]; /* of the last poll */
};

/* A cmocka fixture: *@state is a struct rdma_ends. */
int open_rdma_ends(void **state);
int close_rdma_ends(void **state);

/* Write SMALL bytes of the source to where they belong. Return: what the pairs said. */
int write_at(struct rdma_ends *f, uint64_t offset, uint64_t cookie);

/* Writes of pair 0, whose cookies are @first and those behind it. */
void write_some(struct rdma_ends *f, uint64_t first, uint32_t count);

/* Poll into @f->cookies. Return: what the pairs said. */
int poll_source(struct rdma_ends *f);
int poll_target(struct rdma_ends *f);

/* Polls the source once: exactly @count cookies come, from @first on. */
void assert_complete(struct rdma_ends *f, uint64_t first, uint32_t count);

/* Exactly @count cookies of the source come back as lost, from @first on. */
void assert_lost(struct rdma_ends *f, uint64_t first, uint32_t count);

#endif
