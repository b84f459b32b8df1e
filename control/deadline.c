/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Deadline - what counts as progress.
 *
 * A round that begins with less than any before it is progress, and so is every page taken off
 * such a round: it may take as long as it needs. A round that begins with more than an earlier
 * one only sends again what the guest keeps dirtying, so it is none, however busy it looks.
 *
 * While the guest is paused nothing is dirtied, so there any change of what is left is progress.
 */

#include "deadline.h"

#include "units.h"

#include "wherry/assert.h"
#include "wherry/clock.h"

#define GIB (UINT64_C(1) << 30)

__extension__ typedef unsigned __int128 u128;

void wh_deadline_start(struct wh_deadline *d, uint64_t size_bytes, uint64_t now_ns)
{
	*d = (struct wh_deadline){
		.started_ns = now_ns,
		.progress_ns = now_ns,
		.size_bytes = size_bytes,
		.least = { .round_bytes = UINT64_MAX, .left_bytes = UINT64_MAX },
	};
}

uint64_t wh_deadline_acceptable_ns(const struct wh_settings *settings, uint64_t size_bytes)
{
	u128 bytes = size_bytes < GIB ? GIB : size_bytes;
	u128 ms = (bytes * settings->completion_s_per_gib * 1000 + GIB - 1) / GIB;

	if (settings->completion_s_per_gib == 0 || ms > UINT64_MAX / WH_NSEC_PER_MSEC)
		return UINT64_MAX;
	return (uint64_t)ms * WH_NSEC_PER_MSEC;
}

static bool is_progress(const struct wh_deadline *d, struct wh_left left)
{
	if (d->paused)
		return left.left_bytes != d->least.left_bytes;
	if (left.round_bytes == 0)
		return false; /* the first round has not begun */
	if (left.round_bytes != d->least.round_bytes)
		return left.round_bytes < d->least.round_bytes;
	return left.left_bytes < d->least.left_bytes;
}

static void note_progress(struct wh_deadline *d, struct wh_left left, uint64_t now_ns)
{
	/* The two values may be an instant apart: a new round begins with all of it. */
	if (!d->paused && left.round_bytes < d->least.round_bytes)
		left.left_bytes = left.round_bytes;
	d->least = left;
	d->progress_ns = now_ns;
}

/* The time after which there is nothing left but to give up; UINT64_MAX if there is none. */
static uint64_t final_ns(const struct wh_deadline *d, const struct wh_settings *settings)
{
	uint64_t acceptable_ns = wh_deadline_acceptable_ns(settings, d->size_bytes);

	if (!d->paused)
		return acceptable_ns;
	return acceptable_ns > UINT64_MAX / 2 ? UINT64_MAX : 2 * acceptable_ns;
}

enum wh_verdict wh_deadline_check(struct wh_deadline *d, const struct wh_settings *settings,
                                  struct wh_left left, uint64_t now_ns)
{
	if (is_progress(d, left))
		note_progress(d, left, now_ns);
	/* First: a migration that makes no progress is never switched. */
	if (settings->progress_s > 0 &&
	    now_ns - d->progress_ns > settings->progress_s * WH_NSEC_PER_SEC)
		return WH_NO_PROGRESS;
	if (d->post_copy || now_ns - d->started_ns <= final_ns(d, settings))
		return WH_IN_TIME;
	if (d->paused)
		return WH_TOO_LONG;
	if (settings->allow_post_copy)
		return WH_GO_POST_COPY;
	return settings->allow_workload_disruption ? WH_GO_PAUSE : WH_TOO_LONG;
}

void wh_deadline_post_copy(struct wh_deadline *d, uint64_t now_ns)
{
	d->post_copy = true;
	d->progress_ns = now_ns;
}

void wh_deadline_pause(struct wh_deadline *d, uint64_t now_ns)
{
	d->paused = true;
	d->progress_ns = now_ns;
}

static const char *consequence(enum wh_verdict verdict, const struct wh_deadline *d)
{
	if (verdict == WH_GO_POST_COPY)
		return "; allowPostCopy: the guest goes ahead of its memory";
	if (verdict == WH_GO_PAUSE)
		return "; allowWorkloadDisruption: the guest is paused for the rest";
	return d->paused ? ", although the guest is paused"
	                 : "; neither allowPostCopy nor allowWorkloadDisruption is set";
}

void wh_deadline_explain(struct wh_error *err, enum wh_verdict verdict, const struct wh_deadline *d,
                         const struct wh_settings *settings)
{
	wh_assert(verdict != WH_IN_TIME);
	if (verdict == WH_NO_PROGRESS) {
		(void)wh_fail(err, 0,
		              "no progress for %u s (progressTimeout): the guest dirties memory as "
		              "fast as it is copied, or nothing gets through",
		              settings->progress_s);
		return;
	}
	(void)wh_fail(err, 0, "not done after %s, %s completionTimeoutPerGiB %u allows %s%s",
	              wh_units_time(final_ns(d, settings)).s, d->paused ? "twice what" : "which",
	              settings->completion_s_per_gib, wh_units_bytes(d->size_bytes).s,
	              consequence(verdict, d));
}
