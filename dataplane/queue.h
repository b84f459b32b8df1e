/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Queue - messages from one thread to one other, without locks.
 *
 * Threads: one puts, one takes. Neither waits here; who wants to sleep does it with a
 * struct wh_bell.
 */

#ifndef WH_QUEUE_H
#define WH_QUEUE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wherry/cleanup.h"

struct wh_queue {
	uint8_t *slots; /* owned */
	size_t item_size;
	uint32_t room; /* a power of two */
	_Alignas(64) _Atomic uint32_t put;
	_Alignas(64) _Atomic uint32_t taken;
};

/* Make room for at least @room items of @item_size bytes. Return: 0 or -ENOMEM. */
wh_must_check int wh_queue_init(struct wh_queue *q, uint32_t room, size_t item_size);

void wh_queue_done(struct wh_queue *q);

/* Return: false if the queue is full. */
wh_must_check bool wh_queue_put(struct wh_queue *q, const void *item);

/* Return: false if the queue is empty. */
wh_must_check bool wh_queue_take(struct wh_queue *q, void *ret);

bool wh_queue_empty(const struct wh_queue *q);

/*
 * A bell wakes a thread that sleeps until somebody put something into its queues.
 *
 * The sleeper:	wh_bell_arm(), look at the queues once more, wait for @fd to be readable if they
 *		are empty, then wh_bell_disarm().
 * The others:	put, then wh_bell_ring(), which costs a system call only if the sleeper sleeps.
 */
struct wh_bell {
	int fd; /* eventfd */
	_Atomic bool armed;
};

wh_must_check int wh_bell_init(struct wh_bell *bell);
void wh_bell_done(struct wh_bell *bell);
void wh_bell_arm(struct wh_bell *bell);
void wh_bell_disarm(struct wh_bell *bell);
void wh_bell_ring(struct wh_bell *bell);

/* Wake the sleeper whether or not it is armed. */
void wh_bell_wake(struct wh_bell *bell);

#endif
