/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Auto-converge at the source - the guest is slowed, step by step, until copying keeps up with it.
 *
 *	PreCopy, allowAutoConverge: the plan says when -> QEMU says which threads its vCPUs are
 *	-> a group for each -> a quota, and another at each further step
 *	the guest is about to be stopped, or a switch was decided: no quota
 *	the migration ends, however it does: no groups
 *
 * A guest that cannot be slowed is migrated all the same: why is logged, and is in the note.
 */

#include <errno.h>
#include <stdlib.h>

#include "job.h"

#include "wherry/clock.h"
#include "wherry/log.h"

static void tell(struct wh_job *job, unsigned percent)
{
	if (percent > job->throttle_peak)
		job->throttle_peak = percent;
	job->throttle_percent = percent;
	wh_log(WH_LOG_INFO, "migration.throttle", WH_STR("migration", job->record.id),
	       WH_STR("vm", job->record.vm), WH_U64("percent", percent));
}

static void give_up(struct wh_job *job, const char *why)
{
	job->throttle_unable = true;
	(void)wh_fail(&job->note, 0, "the guest is not slowed: %s", why);
	wh_log(WH_LOG_WARNING, "migration.throttle-failed", WH_STR("migration", job->record.id),
	       WH_STR("vm", job->record.vm), WH_STR("reason", why));
	wh_job_unthrottle(job);
}

static bool may_slow(const struct wh_job *job)
{
	return job->settings.allow_auto_converge && job->state == WH_JOB_PRECOPY &&
	       job->switching == WH_SWITCH_NONE && !job->throttle_unable;
}

static void set(struct wh_job *job)
{
	struct wh_error err;

	if (wh_throttle_set(job->throttle, job->throttle_plan.percent, &err) < 0)
		give_up(job, err.text);
	else
		tell(job, job->throttle_plan.percent);
}

static int open_throttle(struct wh_job *job, const json_t *vcpus, struct wh_error *err)
{
	struct wh_throttle_config cfg = { .id = job->record.id, .pid = job->record.vmm.pid };
	wh_cleanup(wh_guest_threads_freep) pid_t *threads = NULL;
	int r = wh_guest_threads(vcpus, &threads, &cfg.count, err);

	if (r < 0)
		return r;
	cfg.threads = threads;
	return wh_throttle_open(&job->throttle, &cfg, err);
}

static void on_vcpus(void *ctx, const json_t *result, const char *error)
{
	struct wh_job *job = ctx;
	struct wh_error err;

	if (!may_slow(job) || job->throttle)
		return;
	if (!result)
		give_up(job, error);
	else if (open_throttle(job, result, &err) < 0)
		give_up(job, err.text);
	else
		set(job);
}

void wh_throttle_tick(struct wh_job *job)
{
	const struct wh_throttle_sample sample = {
		.round = wh_job_stat(job, WH_STAT_ROUND),
		.dirty_bps = wh_job_stat(job, WH_STAT_DIRTY_BPS),
		.rate_bps = wh_job_stat(job, WH_STAT_RATE_BPS),
	};

	if (!may_slow(job) ||
	    !wh_throttle_plan_judge(&job->throttle_plan, &sample, wh_now_ns(&wh_clock_monotonic)))
		return;
	if (job->throttle)
		set(job);
	else
		wh_qmp_call(job->qmp, "query-cpus-fast", NULL, on_vcpus, job);
}

void wh_throttle_lift(struct wh_job *job)
{
	struct wh_error err;

	if (!job->throttle || job->throttle_percent == 0)
		return;
	if (wh_throttle_set(job->throttle, 0, &err) < 0)
		give_up(job, err.text); /* undoing it has the same effect, and takes longer */
	else
		tell(job, 0);
}

void wh_job_unthrottle(struct wh_job *job)
{
	struct wh_error err;
	struct wh_throttle *throttle = wh_steal(job->throttle);

	if (!throttle)
		return;
	if (wh_throttle_close(throttle, &err) < 0)
		wh_log(WH_LOG_WARNING, "cgroup.left", WH_STR("migration", job->record.id),
		       WH_STR("reason", err.text));
	if (job->throttle_percent > 0)
		tell(job, 0);
}

void wh_throttle_recover(const char *id, const char *vm)
{
	struct wh_error err;
	int r = wh_throttle_sweep(id, &err);

	if (r < 0)
		wh_log(WH_LOG_ERROR, "migration.undo-failed", WH_STR("migration", id),
		       WH_STR("vm", vm), WH_STR("what", "the guest may still be slowed"),
		       WH_STR("reason", err.text));
	else if (r > 0)
		wh_log(WH_LOG_INFO, "migration.throttle", WH_STR("migration", id), WH_STR("vm", vm),
		       WH_U64("percent", 0));
}
