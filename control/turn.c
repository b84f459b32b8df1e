/* SPDX-License-Identifier: Apache-2.0 */

#include "turn.h"

#include "job.h"

#include "wherry/assert.h"
#include "wherry/limits.h"

static void forget_old(struct wh_daemon *d)
{
	struct wh_job **at = &d->jobs;
	unsigned seen = 0;

	while (*at) {
		struct wh_job *job = *at;

		seen++;
		if (seen <= WH_HISTORY_MAX || !wh_job_is_over(job->state) || job->peer ||
		    job->closing) {
			at = &job->next;
			continue;
		}
		*at = job->next;
		wh_job_free(job);
	}
}

/* Whether something is still in the works that the end of wherryd should wait for. */
static bool is_busy(const struct wh_daemon *d)
{
	for (const struct wh_job *job = d->jobs; job; job = job->next)
		if (!wh_job_is_over(job->state) && job->state != WH_JOB_ASKING &&
		    job->state != WH_JOB_POSTCOPY_PAUSED)
			return true;
	return false;
}

static int on_turn(sd_event_source *source, void *ctx)
{
	struct wh_daemon *d = ctx;

	(void)source;
	if (d->turned)
		d->turned(d);
	forget_old(d);
	if (d->stopping && !is_busy(d))
		(void)sd_event_exit(d->loop, 0); /* fails only if it is exiting */
	return 0;
}

/* Jobs change inside callbacks of things that freeing others may touch: not now. */
void wh_turn(struct wh_daemon *d)
{
	if (!d->loop)
		return; /* nothing goes round yet */
	if (!d->turn)
		wh_assert(sd_event_add_defer(d->loop, &d->turn, on_turn, d) >= 0);
	wh_assert(sd_event_source_set_enabled(d->turn, SD_EVENT_ONESHOT) >= 0);
}
