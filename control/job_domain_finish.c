/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The end of a source whose guest is a domain - from libvirt's call that is to let the guest run at the target.
 *
 *	Finish is called  -> QEMU here is frozen -> the call is passed on
 *	it went well      -> journal: done or postcopy -> our libvirtd has read so -> QEMU is thawed, to be ended
 *	it failed         -> QEMU is thawed -> our libvirtd hears so, and resumes the guest
 *	neither is heard  -> Asking; the target's wherryd knows whether the guest runs there
 *	                     -> it does: QEMU is killed. It does not: thawed
 *
 * libvirtd resumes its guest when no answer comes, and could do so while the target runs it. A QEMU that is frozen
 * takes that command only once it is thawed.
 */

#include <signal.h>
#include <stdio.h>

#include "job_domain.h"

#include "wherry/clock.h"
#include "wherry/log.h"

#define LOOK_NS (2 * WH_NSEC_PER_MSEC)

void wh_domain_thaw(struct wh_job *job)
{
	if (job->domain->frozen)
		(void)wh_process_thaw(&job->record.vmm); /* gone: just as well */
	job->domain->frozen = false;
}

void wh_domain_finish(struct wh_job *job)
{
	struct wh_job_domain *d = job->domain;
	const bool native = job->record.engine == WH_ENGINE_NATIVE;

	if (!native && !job->continued) {
		wh_domain_refuse(job, "libvirt did not wait for the memory");
		return;
	}
	/* QEMU's own post-copy has libvirt's own weak moment: its memory is needed there. */
	if (!native || job->switching != WH_SWITCH_POSTCOPY) {
		if (wh_process_freeze(&job->record.vmm) < 0) {
			wh_domain_refuse(job, "the source's QEMU does not stand still");
			return;
		}
		d->frozen = true;
	}
	d->finishing = job->continued = true;
	if (job->state == WH_JOB_PRECOPY || job->state == WH_JOB_PAUSED)
		wh_job_move(job, WH_JOB_HAND_OVER); /* QEMU did not say that it leaves */
	wh_ways_go_on(job);
}

/* The guest has moved: what is left of it here is to be ended. */

void wh_domain_kill(struct wh_job *job)
{
	wh_log(WH_LOG_WARNING, "migration.killed", WH_STR("migration", job->record.id),
	       WH_STR("vm", job->record.vm));
	job->domain->killed = true;
	(void)wh_process_kill(&job->record.vmm, SIGKILL); /* gone: just as well */
}

/* A libvirtd that has read the answer ends QEMU as one that has moved; else it would see one that has crashed. */
static void end_vmm(void *ctx)
{
	struct wh_job *job = ctx;
	struct wh_job_domain *d = job->domain;

	wh_timer_stop(&d->read_due);
	if (!d->frozen || d->vmm_gone || d->killed)
		return;
	if (d->went_well && wh_ways_was_read(job)) {
		wh_domain_thaw(job);
		return;
	}
	if (d->rpc_ended || d->asked) {
		wh_domain_kill(job);
		return;
	}
	d->read_due = (struct wh_timer){ .fired = end_vmm, .ctx = job };
	wh_timer_start(&d->read_due, job->daemon->loop, LOOK_NS);
}

void wh_domain_moved(struct wh_job *job)
{
	struct wh_job_domain *d = job->domain;
	struct wh_error err;

	if (d->moved)
		return;
	d->moved = true;
	d->finishing = false;
	if (job->state == WH_JOB_PRECOPY || job->state == WH_JOB_PAUSED)
		wh_job_move(job, WH_JOB_HAND_OVER); /* its last moments were missed */
	/* Without this record the next wherryd asks the target once more. */
	if (wh_job_record(job, job->postcopy ? WH_PHASE_POSTCOPY : WH_PHASE_DONE, &err) < 0)
		wh_log(WH_LOG_WARNING, "journal.failed", WH_STR("migration", job->record.id),
		       WH_STR("reason", err.text));
	end_vmm(job);
}

void wh_domain_finished(struct wh_job *job, bool well)
{
	if (well) {
		job->domain->went_well = true;
		wh_domain_moved(job);
	} else {
		job->domain->finishing = false;
		wh_domain_thaw(job);
	}
	wh_ways_go_on(job);
	if (job->domain->moved && !job->peer)
		wh_asking_enter(job, "the connection to the target is lost");
}

/* Nobody here knows. */
void wh_domain_ask(struct wh_job *job, const char *why)
{
	if (job->state == WH_JOB_PRECOPY || job->state == WH_JOB_PAUSED)
		wh_job_move(job, WH_JOB_HAND_OVER);
	wh_asking_enter(job, why);
}

void wh_domain_told(struct wh_job *job, bool runs_there, bool owed)
{
	job->domain->asked = true;
	if (!runs_there)
		return; /* the undo thaws it */
	job->postcopy = job->postcopy || owed;
	wh_domain_moved(job);
	end_vmm(job);
}

void wh_domain_rpc_ended(struct wh_job *job)
{
	struct wh_job_domain *d = job->domain;

	d->rpc_ended = true;
	if (d->moved)
		end_vmm(job);
	else if (d->finishing)
		wh_domain_ask(job,
		              "libvirt's connection to the target ended before its answer came");
}

/* What libvirt does not know to have moved, it still has a definition of. */

static void undefine(void *ctx);

static void end_undefine(struct wh_job *job)
{
	void (*ended)(void *ctx) = job->domain->ended;

	job->domain->by_libvirt = true;
	job->domain->ended = NULL;
	ended(job);
}

static void on_undefined(void *ctx, const char *text, const char *error)
{
	struct wh_job *job = ctx;

	(void)error; /* it has done so by itself */
	job->domain->due--;
	if (!text && !wh_libvirt_connected(job->daemon->libvirt, NULL))
		wh_domain_again(job, undefine);
	else
		end_undefine(job);
}

static void undefine(void *ctx)
{
	struct wh_job *job = ctx;
	struct wh_libvirt *libvirt = job->daemon->libvirt;
	const struct wh_domain *domain;

	if (!libvirt || !wh_libvirt_connected(libvirt, NULL)) {
		wh_domain_again(job, undefine);
		return;
	}
	domain = wh_libvirt_domain(libvirt, job->record.vm);
	if (domain && domain->active) { /* it has not seen yet that QEMU is gone */
		wh_domain_again(job, undefine);
		return;
	}
	if (!domain) {
		end_undefine(job);
		return;
	}
	job->domain->due++;
	wh_libvirt_undefine(libvirt, job->record.vm, on_undefined, job);
}

/* Of what an earlier wherryd has moved, only what it had not ended: the domain may have come again since. */
static bool must_undefine(const struct wh_job_domain *d)
{
	return !d->by_libvirt && (d->killed || (d->moved && !d->recovered));
}

bool wh_domain_is_ending(struct wh_job *job, void (*ended)(void *ctx))
{
	struct wh_job_domain *d = job->domain;

	if (!d || (!d->migrating && !must_undefine(d)))
		return false;
	d->ended = ended;
	if (!d->migrating)
		undefine(job);
	return true;
}
