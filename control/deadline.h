/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Deadline - when a migration has taken too long: docs/semantics.md section 3.
 *
 * Pure functions: what time it is and how much is left is told by the caller. Both clocks start
 * when copying begins; a limit is exceeded when more time than it has passed, not at it.
 */

#ifndef WH_DEADLINE_H
#define WH_DEADLINE_H

#include <stdbool.h>
#include <stdint.h>

#include "settings.h"

#include "wherry/error.h"

/* The last two end the migration, and the guest goes on at the source. */
enum wh_verdict {
	WH_IN_TIME,
	WH_GO_POST_COPY, /* completionTimeoutPerGiB exceeded, allowPostCopy */
	WH_GO_PAUSE,     /* exceeded, only allowWorkloadDisruption */
	WH_TOO_LONG,     /* exceeded, neither; or twice the time has passed, paused */
	WH_NO_PROGRESS,  /* progressTimeout exceeded */
};

/* What the data plane says is left. */
struct wh_left {
	uint64_t round_bytes; /* dirty when the current round began */
	uint64_t left_bytes;  /* of them, still to be looked at */
};

struct wh_deadline {
	uint64_t started_ns;  /* copying began */
	uint64_t progress_ns; /* the least amount left so far became smaller */
	uint64_t size_bytes;
	struct wh_left least;
	bool post_copy; /* asked for */
	bool paused;    /* asked for, or done */
};

/* Start both clocks. @size_bytes is the guest's RAM, and the disks that are being copied. */
void wh_deadline_start(struct wh_deadline *d, uint64_t size_bytes, uint64_t now_ns);

/* Time allowed for @size_bytes, a whole number of ms; UINT64_MAX if the check is off. */
uint64_t wh_deadline_acceptable_ns(const struct wh_settings *settings, uint64_t size_bytes);

/* Take note of what is left now, and judge. */
enum wh_verdict wh_deadline_check(struct wh_deadline *d, const struct wh_settings *settings,
                                  struct wh_left left, uint64_t now_ns);

/*
 * The data plane was told to go into post-copy, or to finish with the guest paused. Both take
 * @progress_ns anew: what was decided in time is given its time. In post-copy the acceptable time
 * does not count any more, and once the guest runs at the destination nothing is to be checked.
 */
void wh_deadline_post_copy(struct wh_deadline *d, uint64_t now_ns);
void wh_deadline_pause(struct wh_deadline *d, uint64_t now_ns);

/* Say why @verdict (not WH_IN_TIME) was passed, and which key allows more. */
void wh_deadline_explain(struct wh_error *err, enum wh_verdict verdict, const struct wh_deadline *d,
                         const struct wh_settings *settings);

#endif
