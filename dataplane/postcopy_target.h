/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Post-copy, the target's side - the guest runs here before its memory is.
 *
 *	miss	each of these pages is still owed: mark it, give its memory back
 *	switch	the hypervisor waits for such pages from now on; serve its faults
 *	...	pages come, pushed and fetched, and are placed where they are missing
 *	end	none is missing: the hypervisor is as if nothing had been
 *
 * Its state is in struct wh_target. What can fail leaves words.
 *
 * Threads: the target's.
 */

#ifndef WH_POSTCOPY_TARGET_H
#define WH_POSTCOPY_TARGET_H

#include "target.h"

/* Write to READY what MISSING runs and what is sent in post-copy must be multiples of. */
wh_must_check int wh_postcopy_granules(struct wh_target *target, struct wh_frame *ready,
                                       struct wh_error *err);

/* The pages of @run are owed. */
wh_must_check int wh_postcopy_miss(struct wh_target *target, const struct wh_region *region,
                                   struct wh_run run);

/* The source said SWITCH. */
wh_must_check int wh_postcopy_switch(struct wh_target *target, struct wh_error *err);

/* The source said RESUME: tell it what is missing, and go on. */
wh_must_check int wh_postcopy_resume(struct wh_target *target, struct wh_error *err);

/* The pages of @run, as of ZERO, are zero. */
wh_must_check int wh_postcopy_zero(struct wh_target *target, const struct wh_region *region,
                                   struct wh_run run);

/* The source has sent everything. */
wh_must_check int wh_postcopy_last_round(struct wh_target *target, struct wh_error *err);

/* Until when to wait for the link: there is more to look at. */
uint64_t wh_postcopy_deadline(const struct wh_target *target, uint64_t deadline_ns);

/* Return: 1 when post-copy is over and the memory whole, 0 while it goes on, or -errno. */
wh_must_check int wh_postcopy_look(struct wh_target *target, struct wh_error *err);

#endif
