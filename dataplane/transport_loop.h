/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Loop - both ends of a link in one process and one thread, for whole migrations under test.
 *
 * What happens when is decided by a seed: how writes are cut, in which order they land, how long
 * everything takes, and which faults strike. The same seed gives the same run.
 *
 * Waiting in wh_transport_poll() is what makes time pass: each turn calls the world's step(),
 * which moves the clock and lets the guest and the other end act. A poll that does not wait makes
 * no time pass.
 *
 * Ends: "loop://NAME", NAME being the world's; the passive end is the target's.
 */

#ifndef WH_TRANSPORT_LOOP_H
#define WH_TRANSPORT_LOOP_H

#include <stdint.h>

#include "wherry/cleanup.h"
#include "wherry/clock.h"
#include "wherry/transport.h"

struct wh_loop_world {
	const char *name;
	const struct wh_clock *clock;
	uint64_t seed;
	uint32_t reset_after; /* the link breaks at this landing; 0 never */
	uint32_t full_after;  /* the target's memory is full at this landing; 0 never */
	int urgent[2];        /* the urgent connection's ends: source, target; -1 for none */
	void (*step)(void *context, uint64_t passed_ns);
	void *context;
};

struct wh_loop;

/* Make the link of @world, borrowed, for both ends to open. Return: NULL if out of memory. */
struct wh_loop *wh_loop_new(const struct wh_loop_world *world);

/* Break the link: from now on every call returns @code, a negative errno. */
void wh_loop_break(struct wh_loop *loop, int code);

/* Both ends must be closed. Accepts NULL, returns NULL. */
struct wh_loop *wh_loop_free(struct wh_loop *loop);

WH_DEFINE_CLEANUP(struct wh_loop, wh_loop_free)

#endif
