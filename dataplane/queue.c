/* SPDX-License-Identifier: Apache-2.0 */

/*
 * @put and @taken count items and wrap around. Each is written by one thread and published with
 * release order, so an item is seen whole or not at all.
 */

#include "queue.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#include "wherry/assert.h"
#include "wherry/fdpass.h"

int wh_queue_init(struct wh_queue *q, uint32_t room, size_t item_size)
{
	uint32_t power = 1;

	wh_assert(room <= UINT32_C(1) << 30);
	while (power < room)
		power *= 2;
	*q = (struct wh_queue){ .item_size = item_size, .room = power };
	q->slots = calloc(power, item_size);
	return q->slots ? 0 : -ENOMEM;
}

void wh_queue_done(struct wh_queue *q)
{
	free(q->slots);
	q->slots = NULL;
}

static uint8_t *slot(const struct wh_queue *q, uint32_t number)
{
	return q->slots + (number & (q->room - 1)) * q->item_size;
}

bool wh_queue_put(struct wh_queue *q, const void *item)
{
	uint32_t put = atomic_load_explicit(&q->put, memory_order_relaxed);
	uint32_t taken = atomic_load_explicit(&q->taken, memory_order_acquire);

	if (put - taken == q->room)
		return false;
	memcpy(slot(q, put), item, q->item_size);
	atomic_store_explicit(&q->put, put + 1, memory_order_release);
	return true;
}

bool wh_queue_take(struct wh_queue *q, void *ret)
{
	uint32_t taken = atomic_load_explicit(&q->taken, memory_order_relaxed);
	uint32_t put = atomic_load_explicit(&q->put, memory_order_acquire);

	if (put == taken)
		return false;
	memcpy(ret, slot(q, taken), q->item_size);
	atomic_store_explicit(&q->taken, taken + 1, memory_order_release);
	return true;
}

bool wh_queue_empty(const struct wh_queue *q)
{
	return atomic_load_explicit(&q->put, memory_order_acquire) ==
	       atomic_load_explicit(&q->taken, memory_order_relaxed);
}

int wh_bell_init(struct wh_bell *bell)
{
	bell->armed = false;
	bell->fd = eventfd(0, EFD_CLOEXEC);
	return bell->fd < 0 ? -errno : 0;
}

void wh_bell_done(struct wh_bell *bell)
{
	wh_closep(&bell->fd);
}

/* The fences order "I sleep" against "I looked at the queue", and "I put" against "it sleeps". */

void wh_bell_arm(struct wh_bell *bell)
{
	atomic_store(&bell->armed, true);
	atomic_thread_fence(memory_order_seq_cst);
}

void wh_bell_disarm(struct wh_bell *bell)
{
	atomic_store(&bell->armed, false);
}

void wh_bell_ring(struct wh_bell *bell)
{
	atomic_thread_fence(memory_order_seq_cst);
	if (atomic_load_explicit(&bell->armed, memory_order_relaxed) &&
	    atomic_exchange(&bell->armed, false))
		wh_bell_wake(bell);
}

void wh_bell_wake(struct wh_bell *bell)
{
	(void)eventfd_write(bell->fd, 1); /* a full counter is readable, too */
}
