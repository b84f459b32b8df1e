/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Changed - which small pages of huge ones differ from what the peer has.
 *
 * Where memory is tracked in huge pages, a byte that the guest writes makes 2 MiB dirty. This
 * remembers a hash of every small page as it was sent, so that the others need not be sent again.
 *
 * Its memory is bounded (WH_CHANGED_BYTES_MAX) and taken at the start. Pages there is no room for
 * are sent each time.
 *
 * Threads: the one that opened it.
 */

#ifndef WH_CHANGED_H
#define WH_CHANGED_H

#include <stdbool.h>
#include <stdint.h>

#include "ram.h"

#include "wherry/cleanup.h"

/* Random bytes that make hashes unpredictable, other ones for each migration. */
#define WH_CHANGED_SECRET_BYTES 192u

/* What the hashes may take: those of 6 GiB. */
#define WH_CHANGED_BYTES_MAX (23u << 20)

struct wh_changed;

/* For the huge pages of @ram, which has some and is not kept. Return: NULL if out of memory. */
struct wh_changed *wh_changed_new(const struct wh_ram *ram,
                                  const uint8_t secret[WH_CHANGED_SECRET_BYTES]);

/* Accepts NULL, returns NULL. */
struct wh_changed *wh_changed_free(struct wh_changed *changed);

/* The next calls of wh_changed_note() are about @run, of at most WH_RUN_PAGES_MAX pages that
 * wh_pageset_take_run() gave. */
void wh_changed_begin(struct wh_changed *changed, struct wh_run run);

/**
 * wh_changed_note() - Compare a page with what the peer has, and remember it as what it has now
 * @contents:	a copy that the guest cannot change. Unless the answer is false, the caller makes
 *		exactly this what the peer has: sends these bytes, or tells that they are zero
 *
 * Return: whether the peer may have anything else.
 */
bool wh_changed_note(struct wh_changed *changed, uint64_t page, const void *contents);

WH_DEFINE_CLEANUP(struct wh_changed, wh_changed_free)

#endif
