/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Fake verbs - RDMA between two ends of one process. Link this instead of dataplane/verbs.c.
 *
 * Works wait on their pair until fake_verbs_step() performs them, or, if the fabric was given a
 * seed, until either end is polled: then some of them are performed, those of one pair in order. A
 * write copies memory if both keys are enrolled and allow it. What would be a mistake of the
 * caller - a full send queue, a cookie too large, a key that is still in use - aborts.
 *
 * As with a device, a key is of pages, not of addresses. A write to memory whose page was punched out
 * after it was enrolled goes to the page that was there, and nobody sees it again: the fake asks the
 * kernel whether the page is still there, so that no test can forget to tell it. What is read must
 * be told (fake_verbs_detach()), since it takes the old contents.
 *
 * Threads: as verbs.h says; and each end may have its own.
 */

#ifndef WH_FAKE_VERBS_H
#define WH_FAKE_VERBS_H

#include <stdbool.h>
#include <stdint.h>

#include "verbs.h"

enum fake_work_kind { FAKE_WRITE, FAKE_READ, FAKE_MARK };

struct fake_work {
	enum fake_work_kind kind;
	struct wh_verbs_work w; /* of FAKE_MARK: cookie and signalled */
	uint32_t value;         /* of FAKE_MARK */
};

/* From now on works are performed by themselves, in an order that @seed decides. 0: no longer. */
void fake_verbs_set_seed(uint64_t seed);

/* What wh_verbs_open() returns from now on, unless 0: no device, for example. */
void fake_verbs_refuse_open(int code);

/* What wh_verbs_enroll() returns once so many more bytes are enrolled at this end. */
void fake_verbs_limit_enrolled(struct wh_verbs *v, uint64_t bytes, int code);

/* The end that was opened last on this side, or NULL if it is closed. */
struct wh_verbs *fake_verbs_newest(bool passive);

/* Performs the oldest work of @pair that was not. Return: whether there was one. */
bool fake_verbs_step(struct wh_verbs *v, uint32_t pair);

/* Performs all works of all pairs. */
void fake_verbs_run(struct wh_verbs *v);

/* The next work of @pair that is performed fails so, and those behind it are flushed. */
void fake_verbs_fail(struct wh_verbs *v, uint32_t pair, int error);

/* Hands out @c with the next poll, whatever was posted. */
void fake_verbs_deliver(struct wh_verbs *v, const struct wh_completion *c);

/* Removes the device of this end, or its connection: what was not performed is flushed. */
void fake_verbs_remove(struct wh_verbs *v, int code);

/* Works of @pair that were posted and not performed; and of these number @nth, the oldest being 0. */
uint32_t fake_verbs_waiting(const struct wh_verbs *v, uint32_t pair);
const struct fake_work *fake_verbs_work(const struct wh_verbs *v, uint32_t pair, uint32_t nth);

/*
 * The page at @addr is about to be taken out of the memory there: what is enrolled at this end goes on
 * with what it holds now.
 */
void fake_verbs_detach(struct wh_verbs *v, const void *addr);

/* Keys enrolled and not expelled. */
uint32_t fake_verbs_keys(const struct wh_verbs *v);

#endif
