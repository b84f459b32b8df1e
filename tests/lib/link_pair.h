/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Link pair - both ends of a link, and memory that is written from one to the other.
 *
 * A link gets on while it is polled, and one thread has both ends: so who waits at one of them looks
 * at the other meanwhile. What comes there is kept until somebody waits for it.
 *
 * Threads: one.
 */

#ifndef WH_LINK_PAIR_H
#define WH_LINK_PAIR_H

#include <stdbool.h>
#include <stdint.h>

#include "tcp_end.h"

#include "wherry/transport.h"

struct kept_event;

struct link_end {
	struct wh_transport *link; /* owned */
	struct memory memory;
	struct link_pair *pair;
	struct kept_event *kept; /* owned; oldest first */
	struct kept_event *lent; /* owned: of the last wait */
	bool ended;              /* the newest that is kept, if any, is the link's end */
};

struct link_pair {
	struct link_end source, target;
	uint32_t round; /* of the writes that are posted; 0: none */
	bool resends;   /* contents may be sent twice */

	/* Called with each look at the links, or NULL. */
	void (*turn)(struct link_pair *pair);
	uint32_t turns;
};

/* Take over both ends, and lend new memory to them. */
void link_pair_init(struct link_pair *pair, struct wh_transport *source,
                    struct wh_transport *target);
void link_pair_done(struct link_pair *pair);

/* Wait for one event at @end. Return: what wh_transport_poll() did. */
wh_must_check int await_at(struct link_end *end, struct wh_event *ret);

/* The next event at @end must be this frame. */
void await_frame_at(struct link_end *end, const void *data, uint32_t len);

/* Post a write of @pages pages from @page on. Return: as wh_transport_write(). */
wh_must_check int post_pages(struct link_pair *pair, uint64_t page, uint32_t pages,
                             uint64_t cookie);

/* The same, and wait for room first where there is none. Return: the writes that left meanwhile. */
uint32_t post_for_sure(struct link_pair *pair, uint64_t page, uint32_t pages);

/* Write all of the memory, in pieces of many lengths: it must arrive. */
void write_all(struct link_pair *pair);

/* A number below @sides. */
uint32_t roll(uint64_t *random, uint32_t sides);

#endif
