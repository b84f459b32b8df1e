/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What an earlier wherryd, which was killed, left of domains.
 *
 * Its tunnels died with it, so libvirt's migration has failed, unless it was over but for its end
 * here. What counts is the source's QEMU, and libvirt may be about to end it: so its process is
 * looked at only once libvirt has no job in the domain any more.
 */

#include "job_domain.h"

#include "wherry/clock.h"
#include "wherry/log.h"

#define AGAIN_NS WH_NSEC_PER_SEC

static void look(void *ctx);

static void look_again(struct wh_job *job)
{
	job->domain->again = (struct wh_timer){ .fired = look, .ctx = job };
	wh_timer_start(&job->domain->again, job->daemon->loop, AGAIN_NS);
}

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
	if (job->domain->moved)
		return;
	if (!libvirt || libvirt->active)
		look_again(job);
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

static void on_vmm_gone(void *ctx, uint32_t events)
{
	struct wh_job *job = ctx;

	(void)events;
	wh_watch_stop(&job->domain->vmm_watch);
	job->domain->vmm_gone = true;
	if (job->state == WH_JOB_CANCELLING)
		wh_domain_undo(job); /* there is nothing left to undo in it */
	else
		wh_domain_moved(job);
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
	job->domain->ignoring = job->record.engine == WH_ENGINE_OFFLOAD;
	wh_domain_watch_vmm(job, on_vmm_gone);
	if (!job->domain->vmm_gone)
		look(job);
}

static void on_target_gone(void *ctx, uint32_t events)
{
	struct wh_job *job = ctx;

	(void)events;
	wh_watch_stop(&job->domain->vmm_watch);
	job->domain->vmm_gone = true;
	if (!wh_phase_is_committed(job->record.phase))
		wh_job_fail(job, WH_OUTCOME_FAILED, job->reason.text);
}

void wh_domain_recover_target(struct wh_job *job)
{
	job->domain->proceeded = true;
	job->landed_here = true; /* if it had not, libvirt ends this QEMU */
	wh_domain_watch_vmm(job, on_target_gone);
	if (wh_phase_is_committed(job->record.phase))
		wh_domain_let_run(job);
}

void wh_domain_recover_owed(struct wh_job *job)
{
	wh_domain_watch_vmm(job, on_target_gone);
	if (job->resuming)
		wh_domain_let_run(job);
}
