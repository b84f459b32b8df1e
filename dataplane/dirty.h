/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Dirty tracking - which pages the guest has written.
 *
 * Two sources: PAGEMAP_SCAN, which reports the pages written since it last did and protects them
 * again in the same step, and EVENT_REMOVE of the userfaultfd, for memory that a balloon gives
 * back, which a scan does not see. Kernel 6.7 or newer. Huge pages of hugetlbfs are tracked as such;
 * those that are given back without an event are for wh_ram_add_gone().
 *
 * Not seen: memory written past the hypervisor's page tables. The daemon refuses guests with VFIO,
 * vDPA or vhost-user. Of a read with O_DIRECT the start is seen, when the kernel pins its pages, and not
 * what the device writes later: that is for echo.h.
 *
 * Threads: the one that opened it. Inside, another thread takes EVENT_REMOVE at once, because
 * the hypervisor waits for that, and a large guest's memory is scanned by several.
 */

#ifndef WH_DIRTY_H
#define WH_DIRTY_H

#include <stdbool.h>
#include <sys/types.h>

#include "crew.h"
#include "pageset.h"
#include "ram.h"

#include "wherry/cleanup.h"
#include "wherry/error.h"

struct wh_dirty;

/**
 * wh_dirty_open() - Start to track the guest that process @pid runs
 * @ret:	receives the tracker; everything written from now on is reported
 * @ram:	borrowed until close
 *
 * Return: 0 or -errno; see wh_vmm_map_read() and wh_attach().
 */
wh_must_check int wh_dirty_open(struct wh_dirty **ret, const struct wh_ram *ram, pid_t pid,
                                struct wh_error *err);

/* Have nothing tracked any more, without the guest standing still for long. For any thread, while the
 * tracker is open; to collect fails from then on. */
void wh_dirty_untrack(const struct wh_dirty *dirty);

/* Stop tracking; the hypervisor is left as it was. Accepts NULL, returns NULL. */
struct wh_dirty *wh_dirty_close(struct wh_dirty *dirty);

/*
 * Add every page written or given back since the last call to @into, and protect them again.
 * Return: 0 or -errno.
 */
wh_must_check int wh_dirty_collect(struct wh_dirty *dirty, struct wh_pageset *into);

/*
 * The same, once, for a guest that stands still: nothing is protected, so that no later write is
 * seen. A page written takes a quarter of the time, and the page tables stay as they are.
 */
wh_must_check int wh_dirty_collect_last(struct wh_dirty *dirty, struct wh_pageset *into);

/* Who scans: idle between two collects, for the same thread to use. As long as the tracker. */
struct wh_crew *wh_dirty_crew(const struct wh_dirty *dirty);

/* Whether any page was given back so far: then a hole may be anywhere. */
bool wh_dirty_any_removed(struct wh_dirty *dirty);

/*
 * Whether @page was given back and may be a hole by now: ask wh_ram_is_hole() before reading it.
 * Such a page is collected again and again until wh_dirty_forget(), because the event comes
 * before the memory is gone.
 */
bool wh_dirty_removed(struct wh_dirty *dirty, uint64_t page);

/* @page was seen as a hole, and the peer will be told. */
void wh_dirty_forget(struct wh_dirty *dirty, uint64_t page);

WH_DEFINE_CLEANUP(struct wh_dirty, wh_dirty_close)

#endif
