/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Undo of a source whose guest is a domain - libvirt resumes the guest; what is undone here is what was
 * done here.
 *
 *	close the ways -> end the mover -> abort libvirt's migration, if it goes on -> wait for all
 *	answers of libvirt's -> x-ignore-shared off -> resume, if libvirt has not -> tell the target
 */

#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "job_domain.h"

#include "wherry/assert.h"
#include "wherry/log.h"

/* Each call to libvirt that answers to this job ends with this. Return: whether the job goes on. */
bool wh_domain_answered(struct wh_job *job)
{
	wh_assert(job->domain->due > 0);
	job->domain->due--;
	return job->state != WH_JOB_CANCELLING;
}

/* The target may have a domain that waits for our word: it gets that, however long it takes. */
static void tell_target(struct wh_job *job)
{
	struct wh_error err;

	job->closing = job->staying = true;
	/* Without this record the next wherryd finds out once more that the guest is here. */
	if (wh_job_record(job, WH_PHASE_BEGUN, &err) < 0)
		wh_log(WH_LOG_WARNING, "journal.failed", WH_STR("migration", job->record.id),
		       WH_STR("reason", err.text));
}

static void end_undo(struct wh_job *job)
{
	const bool failed = job->outcome == WH_OUTCOME_FAILED;

	job->domain->ignoring = false;
	wh_ram_unlink_second(&job->record.ram, job->record.id);
	if (job->record.phase == WH_PHASE_ASKING || job->domain->recovered)
		tell_target(job);
	else
		wh_job_unrecord(job);
	wh_job_end(job, failed ? WH_JOB_FAILED : WH_JOB_CANCELLED);
	if (job->closing)
		wh_asking_lost(job, "to say that the guest stays here");
}

static void trouble(const struct wh_job *job, const char *what, const char *why)
{
	wh_log(WH_LOG_ERROR, "migration.undo-failed", WH_STR("migration", job->record.id),
	       WH_STR("vm", job->record.vm), WH_STR("what", what), WH_STR("reason", why));
}

static void on_resumed(void *ctx, const char *text, const char *error)
{
	struct wh_job *job = ctx;

	(void)wh_domain_answered(job);
	if (!text)
		trouble(job, "the guest could not be resumed", error);
	end_undo(job);
}

/* libvirt resumes it by itself, unless it was restarted in the middle of that. */
static void on_status(void *ctx, const json_t *result, const char *error)
{
	const char *status = wh_json_text(result, "status");
	struct wh_job *job = ctx;

	(void)error;
	if (!job->record.running || !result || !strcmp(status, "running")) {
		end_undo(job);
		return;
	}
	job->domain->due++;
	wh_libvirt_resume(job->daemon->libvirt, job->record.vm, on_resumed, job);
}

static void on_restored(void *ctx, const json_t *result, const char *error)
{
	struct wh_job *job = ctx;

	if (!result)
		trouble(job, "x-ignore-shared is still on", error);
	wh_qmp_call(job->qmp, "query-status", NULL, on_status, job);
}

static void on_again(void *ctx)
{
	wh_domain_undo_further(ctx);
}

static void on_monitor(void *ctx)
{
	struct wh_job *job = ctx;

	job->qmp_ready = true;
	wh_domain_undo_further(job);
}

/* libvirtd may be away at the moment: its domain is not. */
static void wait_for_monitor(struct wh_job *job)
{
	struct wh_error err;

	if (job->qmp || wh_source_monitor(job, on_monitor, &err) == 0)
		return;
	(void)wh_fail(&job->note, 0, "waits for libvirt, to undo what was prepared: %s", err.text);
	wh_domain_again(job, on_again);
}

static void on_aborted(void *ctx, const char *text, const char *error)
{
	struct wh_job *job = ctx;

	(void)text;
	(void)error; /* what counts is that the migration ends */
	(void)wh_domain_answered(job);
	wh_domain_undo_further(job);
}

/* Whatever is due leads here again. */
void wh_domain_undo_further(struct wh_job *job)
{
	struct wh_job_domain *d = job->domain;

	if (d->due > 0)
		return;
	if (!d->ignoring || d->vmm_gone)
		end_undo(job);
	else if (job->qmp_ready)
		wh_domain_ignore_shared(job, false, on_restored);
	else
		wait_for_monitor(job);
}

static void go_on(void *ctx)
{
	struct wh_job *job = ctx;
	struct wh_job_domain *d = job->domain;

	wh_job_drop_worker(job);
	if (d->migrating) {
		d->due++;
		wh_libvirt_abort(job->daemon->libvirt, job->record.vm, on_aborted, job);
	}
	wh_domain_undo_further(job);
}

void wh_domain_undo(struct wh_job *job)
{
	/* libvirt's migration fails for want of its ways, and the guest goes on if it stood still. */
	wh_ways_close(job);
	wh_domain_thaw(job);
	if (job->times.stopped_ns || !job->worker ||
	    !wh_worker_stop(job->worker, SIGTERM, go_on, job))
		go_on(job);
}

void wh_domain_monitor_lost(struct wh_job *job, const char *why)
{
	if (job->state == WH_JOB_CANCELLING)
		wh_domain_undo_further(job);
	else if (!job->domain->migrating)
		wh_job_fail(job, WH_OUTCOME_FAILED, why); /* else libvirt's answer comes, too */
}
