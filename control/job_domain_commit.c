/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The end of a target whose guest is a domain - from libvirt's call that is to let the guest run here.
 *
 *	Finish is called    -> QEMU here is frozen -> the call is passed on
 *	                    -> journal: done or postcopy (the commit) -> QEMU is thawed
 *	QEMU says RESUME, or libvirt answers that all went well   -> running
 *	QEMU is gone, and has not said that the guest ran         -> journal: asking -> failed
 *
 * libvirt needs a moment before it tells QEMU to resume the guest, in which the record is written. The call is passed on
 * first, so that a record says that libvirt was told. That the guest does not run before the record is on disk is what
 * QEMU is frozen for.
 */

#include <signal.h>
#include <stdio.h>

#include "job_domain.h"

#include "wherry/log.h"

static int commit(struct wh_job *job)
{
	const bool owed = job->postcopy && !job->arrived;
	struct wh_error err;
	int r = wh_job_record(job, owed ? WH_PHASE_POSTCOPY : WH_PHASE_DONE, &err);

	if (r < 0)
		wh_log(WH_LOG_ERROR, "journal.failed", WH_STR("migration", job->record.id),
		       WH_STR("reason", err.text));
	job->resuming = r == 0;
	return r;
}

void wh_domain_target_finish(struct wh_job *job)
{
	if (job->state == WH_JOB_PRECOPY && job->record.engine == WH_ENGINE_NATIVE)
		wh_job_move(job, WH_JOB_HAND_OVER); /* QEMU has all of it */
	if (job->state != WH_JOB_HAND_OVER || wh_phase_is_committed(job->record.phase)) {
		wh_ways_close(job); /* libvirt ends its QEMU */
		return;
	}
	if (wh_process_freeze(&job->record.vmm) < 0) {
		wh_domain_refuse(job, "the target's QEMU does not stand still");
		return;
	}
	wh_ways_go_on(job);
	if (commit(job) < 0)
		(void)wh_process_kill(&job->record.vmm,
		                      SIGKILL); /* the guest goes on at the source */
	(void)wh_process_thaw(&job->record.vmm);
}

void wh_domain_target_finished(struct wh_job *job, bool well)
{
	if (well)
		wh_domain_resumed(job);
	wh_ways_go_on(job);
}

void wh_domain_resumed(struct wh_job *job)
{
	if (!job->resuming)
		return;
	wh_timer_stop(&job->domain->again);
	wh_timer_stop(&job->timer);
	wh_target_settle(job);
}

/* No answer of libvirt's has come. */

static void on_again(void *ctx)
{
	wh_domain_let_run(ctx);
}

static void try_again(struct wh_job *job, const char *why)
{
	if (job->domain->vmm_gone)
		return; /* which is an answer, too */
	(void)wh_fail(&job->note, 0, "waits for libvirt to let the guest run here: %s", why);
	wh_domain_again(job, on_again);
}

/* libvirt refuses to resume a domain that runs. */
static bool runs(const struct wh_job *job)
{
	const struct wh_domain *domain = wh_libvirt_domain(job->daemon->libvirt, job->record.vm);

	return domain && domain->running;
}

static void on_resume(void *ctx, const char *text, const char *error)
{
	struct wh_job *job = ctx;

	job->domain->due--;
	if (job->state == WH_JOB_CANCELLING)
		wh_domain_target_undo(job);
	else if (text || runs(job))
		wh_domain_resumed(job);
	else if (job->resuming)
		try_again(job, error);
}

/* A guest that stood still before stays so: its place is here once libvirt has done its part. */
static void on_libvirt_job(void *ctx, const struct wh_libvirt_job *libvirt, const char *error)
{
	struct wh_job *job = ctx;

	job->domain->due--;
	if (job->state == WH_JOB_CANCELLING)
		wh_domain_target_undo(job);
	else if (libvirt && !libvirt->active)
		wh_domain_resumed(job);
	else if (job->resuming)
		try_again(job, libvirt ? "it is still at it" : error);
}

/* libvirt does neither for as long as its migration goes on. */
void wh_domain_let_run(struct wh_job *job)
{
	job->resuming = true;
	job->domain->due++;
	if (job->record.running)
		wh_libvirt_resume(job->daemon->libvirt, job->record.vm, on_resume, job);
	else
		wh_libvirt_job(job->daemon->libvirt, job->record.vm, on_libvirt_job, job);
}

void wh_domain_target_rpc_ended(struct wh_job *job)
{
	struct wh_job_domain *d = job->domain;
	void (*ended)(void *ctx) = d->ended;

	d->rpc_ended = true;
	d->ended = NULL;
	if (ended)
		ended(job);
	else if (job->resuming)
		wh_domain_let_run(job);
}

bool wh_domain_target_is_ending(struct wh_job *job, void (*ended)(void *ctx))
{
	if (!job->domain || job->domain->rpc_ended || !job->peer || !wh_ways_has_rpc(job))
		return false;
	job->domain->ended = ended;
	return true;
}

/* The source asks. */

void wh_domain_target_ask(struct wh_job *job, struct wh_peer *peer)
{
	job->peer = peer;
	job->asked = true;
	if (wh_phase_is_committed(job->record.phase))
		return; /* answered once it is known */
	if (!job->domain->recovered || wh_process_is_gone(&job->record.vmm)) {
		wh_ways_close(job); /* libvirt has not been told to let it run, and ends its QEMU */
		return;
	}
	/* An earlier wherryd may have told it to in its last moment. */
	if (commit(job) == 0)
		wh_domain_let_run(job);
}

/* The end of its QEMU. */

static void take_back(void *ctx)
{
	struct wh_job *job = ctx;
	struct wh_error err;

	if (wh_job_record(job, WH_PHASE_ASKING, &err) < 0) {
		wh_log(WH_LOG_ERROR, "journal.failed", WH_STR("migration", job->record.id),
		       WH_STR("reason", err.text));
		wh_domain_again(job, take_back);
		return;
	}
	job->resuming = false;
	wh_job_fail(job, WH_OUTCOME_FAILED,
	            "libvirt has ended the domain here before the guest ran");
}

/*
 * An earlier wherryd has told libvirt to let the guest run, and nobody was there to hear QEMU. The death of that one cuts
 * libvirt's connection: a libvirtd that has not read the call by then ends its QEMU. One that has defines the
 * domain before the guest runs.
 */
static void judge(void *ctx)
{
	struct wh_job *job = ctx;
	struct wh_libvirt *libvirt = job->daemon->libvirt;
	const struct wh_domain *domain = libvirt ? wh_libvirt_domain(libvirt, job->record.vm)
	                                         : NULL;
	const bool listed = domain && domain->active;

	/* It has not seen yet that QEMU is gone, or the list is behind. */
	if (listed)
		wh_libvirt_look(libvirt);
	if (!libvirt || !wh_libvirt_connected(libvirt, NULL) || listed)
		wh_domain_again(job, judge);
	else if (domain && domain->persistent && !job->record.defined)
		wh_domain_resumed(job); /* what became of the guest, became of it here */
	else
		take_back(job);
}

void wh_domain_target_gone(struct wh_job *job)
{
	const bool committed = wh_phase_is_committed(job->record.phase);

	if (job->state == WH_JOB_CANCELLING)
		wh_domain_target_undo(job);
	else if (!committed)
		wh_job_fail(job, WH_OUTCOME_FAILED, "libvirt has ended the domain here");
	else if (!job->resuming || job->qmp)
		return; /* it was the guest's; or its last words are still to come, and may say so */
	else if (job->domain->recovered)
		wh_domain_again(job, judge); /* the list of domains may be behind */
	else
		take_back(job);
}
