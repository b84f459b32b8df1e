/* SPDX-License-Identifier: Apache-2.0 */

/*
 * RDMA enroll - a thread that makes memory known to the device, and forgets it again.
 *
 * To pin a chunk of 16 MiB takes milliseconds, and at the destination its pages are allocated
 * meanwhile. The link's owner must not wait for that: it posts jobs, which are done in their
 * order, and takes the results.
 *
 * Tests link tests/lib/fake_enroll.c instead, which has no thread.
 *
 * Threads: all calls are the owner's.
 */

#ifndef WH_RDMA_ENROLL_H
#define WH_RDMA_ENROLL_H

#include <stdbool.h>
#include <stdint.h>

#include "verbs.h"

#include "wherry/cleanup.h"

/* Jobs whose results have not been taken. */
#define WH_RDMA_JOBS_MAX 64u

struct wh_rdma_job {
	void *owner;             /* comes back with the result */
	struct wh_verbs_key key; /* with a handle: expel this. Else, in a result: what was made */
	const void *addr;
	uint64_t bytes;
	uint32_t rights;
	bool expels;
	int result; /* 0 or -errno */
};

struct wh_rdma_enroll;

/* @verbs is borrowed, and connected. Return: NULL if there is no memory or no thread. */
struct wh_rdma_enroll *wh_rdma_enroll_new(struct wh_verbs *verbs);

/* Whether another job may be posted. */
bool wh_rdma_enroll_has_room(const struct wh_rdma_enroll *e);

/* Post a job; there must be room. */
void wh_rdma_enroll_post(struct wh_rdma_enroll *e, const struct wh_rdma_job *job);

/* Take a result. Return: whether there was one. */
wh_must_check bool wh_rdma_enroll_take(struct wh_rdma_enroll *e, struct wh_rdma_job *ret);

/* Readable when there is a result, from when wh_rdma_enroll_take() said that there is none. */
int wh_rdma_enroll_fd(const struct wh_rdma_enroll *e);

/* End the thread. What was to be expelled is, and what nobody took. Accepts NULL, returns NULL. */
struct wh_rdma_enroll *wh_rdma_enroll_free(struct wh_rdma_enroll *e);

#endif
