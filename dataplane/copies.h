/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Copies - the contents of huge pages as they are sent: copied, looked at, compared.
 *
 * Memory on hugetlbfs is never looked at through a mapping: that would allocate what is not there,
 * or end in a signal if there are no huge pages left. A copy is also what changed.h needs.
 *
 *	wh_copies_make(), then wh_copies_next() until there is no more
 *	wh_copies_hold() for each piece that is posted, and wh_copies_release() when it has left
 *
 * Threads: the one that opened it.
 */

#ifndef WH_COPIES_H
#define WH_COPIES_H

#include <stdbool.h>
#include <stdint.h>

#include "changed.h"
#include "ram.h"

#include "wherry/cleanup.h"

enum {
	WH_COPIES_FULL = 1, /* release something first */
};

/* What is to be done about pages. */
enum wh_copies_kind {
	WH_COPIES_DATA, /* to be sent */
	WH_COPIES_ZERO, /* to be told */
	WH_COPIES_SAME, /* the peer has them */
};

struct wh_copies_piece {
	struct wh_run run;
	enum wh_copies_kind kind;
	const uint8_t *contents; /* borrowed; stays as it is while its chunk is held */
};

struct wh_copies;

/* @ram is borrowed until free. Return: NULL if out of memory. */
struct wh_copies *wh_copies_new(const struct wh_ram *ram,
                                const uint8_t secret[WH_CHANGED_SECRET_BYTES]);

/* Accepts NULL, returns NULL. */
struct wh_copies *wh_copies_free(struct wh_copies *copies);

/* Copy @run, which lies in one region. Return: 0, WH_COPIES_FULL or -errno. */
wh_must_check int wh_copies_make(struct wh_copies *copies, struct wh_run run);

/* The next pages of what was copied last, as many as are alike. Return: false at its end. */
wh_must_check bool wh_copies_next(struct wh_copies *copies, struct wh_copies_piece *ret);

/* All of what was copied last as one piece of data, in place of wh_copies_next(). */
void wh_copies_all(const struct wh_copies *copies, struct wh_copies_piece *ret);

/* The peer no longer has what it was sent: nothing is left out from now on. */
void wh_copies_peer_lost(struct wh_copies *copies);

/* Keep what was copied last until it is released as often. Return: its number, above 0. */
uint32_t wh_copies_hold(struct wh_copies *copies);

/* Number 0 is nobody's. */
void wh_copies_release(struct wh_copies *copies, uint32_t number);

WH_DEFINE_CLEANUP(struct wh_copies, wh_copies_free)

#endif
