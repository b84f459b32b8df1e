/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Schedule - which migration may start, and which are forgotten.
 *
 * A migration holds a slot of the cluster, as far as this node sees it, from Preparing until it
 * is over; one that leaves this node also holds an outbound slot. The oldest goes first.
 */

#include "schedule.h"

#include "job.h"

#include "wherry/assert.h"
#include "wherry/limits.h"

struct use {
	unsigned all;
	unsigned outbound;
};

static struct use slots_in_use(const struct wh_daemon *d)
{
	struct use use = { 0 };

	for (const struct wh_job *job = d->jobs; job; job = job->next) {
		if (job->state == WH_JOB_PENDING || wh_job_is_over(job->state))
			continue;
		use.all++;
		use.outbound += job->record.role == WH_ROLE_SOURCE;
	}
	return use;
}

static struct wh_job *oldest_pending(const struct wh_daemon *d)
{
	struct wh_job *oldest = NULL;

	for (struct wh_job *job = d->jobs; job; job = job->next)
		if (job->state == WH_JOB_PENDING)
			oldest = job;
	return oldest;
}

/* Say what each Pending job waits for, the oldest first. */
static void explain(const struct wh_daemon *d, struct use use)
{
	const struct wh_settings *s = &d->settings;
	unsigned pending = 0;

	for (struct wh_job *job = d->jobs; job; job = job->next)
		pending += job->state == WH_JOB_PENDING;
	for (struct wh_job *job = d->jobs; job; job = job->next)
		if (job->state == WH_JOB_PENDING)
			(void)wh_fail(
				&job->note, 0,
				"place %u in the queue: waits for %s (%u of %u in use)", pending--,
				use.all >= s->parallel_per_cluster
					? "parallelMigrationsPerCluster"
					: "parallelOutboundMigrationsPerNode",
				use.all >= s->parallel_per_cluster ? use.all : use.outbound,
				use.all >= s->parallel_per_cluster ? s->parallel_per_cluster
								   : s->parallel_outbound_per_node);
}

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

static void run_queue(struct wh_daemon *d)
{
	struct wh_job *job;
	struct use use;

	/* This ends: each turn takes a job out of Pending. */
	for (;;) {
		job = oldest_pending(d);
		use = slots_in_use(d);
		if (!job || use.all >= d->settings.parallel_per_cluster ||
		    use.outbound >= d->settings.parallel_outbound_per_node)
			break;
		wh_source_start(job);
	}
	explain(d, use);
	forget_old(d);
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
	if (!d->stopping)
		run_queue(d);
	else if (!is_busy(d))
		(void)sd_event_exit(d->loop, 0); /* fails only if it is exiting */
	return 0;
}

/* Jobs change inside callbacks of things that starting or freeing others may touch: not now. */
void wh_schedule(struct wh_daemon *d)
{
	if (!d->turn)
		wh_assert(sd_event_add_defer(d->loop, &d->turn, on_turn, d) >= 0);
	wh_assert(sd_event_source_set_enabled(d->turn, SD_EVENT_ONESHOT) >= 0);
}
