/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Echo - pages that may change once more after they were reported as written.
 *
 * A read with O_DIRECT tells the device where to put what it reads, and that is when the tracker sees
 * the page written. The device may write it much later, which nobody sees: by then the page may be
 * protected again, and copied. So a page that was reported is due again once the longest read has
 * ended, and what is not due yet when the guest stops is sent when it stands still: its reads have ended
 * then, too. See docs/decisions/0010-pages-that-dma-may-still-change.md.
 *
 * Pages are kept by the time of their last report, in a few windows of a bit for each page. A page is
 * in one of them at most: one that is written all the time is in the newest, and is never due.
 *
 * Threads: one.
 */

#ifndef WH_ECHO_H
#define WH_ECHO_H

#include <stdint.h>

#include "pageset.h"

#include "wherry/cleanup.h"

struct wh_echo;

/* For a guest of @pages whose reads take less than @wait_ns, above 0. Return: NULL if out of memory. */
struct wh_echo *wh_echo_new(uint64_t pages, uint64_t wait_ns);

/* Accepts NULL, returns NULL. */
struct wh_echo *wh_echo_free(struct wh_echo *echo);

/* What it was made with. */
uint64_t wh_echo_wait_ns(const struct wh_echo *echo);

/* An empty set, for what a scan reports. Borrowed, until wh_echo_note() has emptied it again. */
struct wh_pageset *wh_echo_fresh(struct wh_echo *echo);

/**
 * wh_echo_note() - Take what a scan has put into wh_echo_fresh()
 * @now_ns:	when the scan had ended; no call has an earlier time than the one before
 * @pending:	receives these pages, and those that are due
 *
 * Return: how many were due.
 */
uint64_t wh_echo_note(struct wh_echo *echo, uint64_t now_ns, struct wh_pageset *pending);

/* How many pages are not due yet. */
uint64_t wh_echo_pages(const struct wh_echo *echo);

/* Add all of them to @into, and forget them. */
void wh_echo_take_all(struct wh_echo *echo, struct wh_pageset *into);

WH_DEFINE_CLEANUP(struct wh_echo, wh_echo_free)

#endif
