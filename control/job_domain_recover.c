/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What an earlier wherryd, which was killed, left of domains.
 *
 * Its tunnels died with it, so libvirt's migration has failed, unless it was over but for its end
 * here. A source's QEMU that is frozen, or gone, says that libvirt was about to let the guest run at the target: the target
 * is asked. Any other is the guest's place, once libvirt has no job in the domain any more.
 */

#include "job_domain.h"

#include "wherry/log.h"

static void look(void *ctx);

/* The guest is here, and libvirt does nothing with it. */
static void undo(struct wh_job *job)
{
	job->continued = false;
	job->outcome = WH_OUTCOME_FAILED;
	wh_job_move(job, WH_JOB_CANCELLING);
	wh_undo_source(job);
}

static void on_libvirt_job(void *ctx, const struct wh_libvirt_job *libvirt, const char *error)
{
	struct wh_job *job = ctx;

	(void)error;
	job->domain->due--;
	if (job->domain->finishing)
		return;
	if (!libvirt || libvirt->active)
		wh_domain_again(job, look);
	else
		undo(job);
}

static void look(void *ctx)
{
	struct wh_job *job = ctx;

	if (job->domain->vmm_gone)
		return;
	job->domain->due++;
	wh_libvirt_job(job->daemon->libvirt, job->record.vm, on_libvirt_job, job);
}

/* Frozen, or gone. */
static void ask(struct wh_job *job)
{
	if (job->domain->moved)
		return;
	job->domain->finishing = true;
	job->domain->rpc_ended = true;
	wh_domain_ask(job, job->reason.text);
}

static void on_vmm_gone(void *ctx, uint32_t events)
{
	struct wh_job *job = ctx;

	(void)events;
	wh_watch_stop(&job->domain->vmm_watch);
	job->domain->vmm_gone = true;
	if (job->state == WH_JOB_CANCELLING)
		wh_domain_undo(job); /* there is nothing left to undo in it */
	else
		ask(job);
}

void wh_domain_recover_begun(struct wh_job *job)
{
	job->domain->ignoring = job->record.engine == WH_ENGINE_OFFLOAD;
	job->domain->recovered = true;
	wh_undo_source(job);
	if (!wh_job_is_over(job->state))
		wh_domain_watch_vmm(job, on_vmm_gone);
}

void wh_domain_recover_source(struct wh_job *job)
{
	job->continued = true; /* as far as we know */
	job->domain->recovered = true;
	job->domain->ignoring = job->record.engine == WH_ENGINE_OFFLOAD;
	wh_domain_watch_vmm(job, on_vmm_gone);
	if (job->domain->vmm_gone)
		return;
	job->domain->frozen = wh_process_is_frozen(&job->record.vmm);
	if (job->domain->frozen)
		ask(job);
	else
		look(job);
}

void wh_domain_recover_moved(struct wh_job *job)
{
	job->domain->recovered = job->domain->moved = true;
	if (wh_process_is_frozen(&job->record.vmm))
		wh_domain_kill(job);
}

static void on_target_gone(void *ctx, uint32_t events)
{
	struct wh_job *job = ctx;

	(void)events;
	wh_watch_stop(&job->domain->vmm_watch);
	job->domain->vmm_gone = true;
	wh_domain_target_gone(job);
}

void wh_domain_recover_target(struct wh_job *job)
{
	struct wh_job_domain *d = job->domain;

	d->proceeded = d->recovered = d->rpc_ended = true;
	job->landed_here = true; /* if it had not, libvirt ends this QEMU */
	job->resuming = wh_phase_is_committed(job->record.phase);
	if (job->record.phase == WH_PHASE_POSTCOPY)
		job->postcopy = job->may_postcopy = job->mover_lost = true;
	if (wh_process_is_frozen(&job->record.vmm)) /* the last that the one before did */
		(void)wh_process_thaw(&job->record.vmm);
	wh_domain_watch_vmm(job, on_target_gone);
	if (job->resuming && !d->vmm_gone)
		wh_domain_let_run(job);
}

void wh_domain_recover_owed(struct wh_job *job)
{
	wh_domain_watch_vmm(job, on_target_gone);
}
