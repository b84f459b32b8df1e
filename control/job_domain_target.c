/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A target whose guest is a domain - libvirt makes its QEMU, and the source's libvirt waits to hear of that
 * for as long as memory comes. In its hook libvirt waits for moments only: meanwhile nobody else can ask
 * this libvirtd for its domains.
 *
 *	expect    -> journal: begun -> the hook is expected -> expected
 *	hook      -> libvirtd's answer is to be held -> our monitor -> compare RAM
 *	          -> x-ignore-shared on -> the hook is let go -> mover -> ready
 *	proceed   -> journal: asking -> the answer is let go
 *	landed    -> its QEMU loads the device state: job_domain_commit.c
 *
 * From proceed on libvirt rules. So nothing but the source's word, or the end of the QEMU here, ends what is
 * not committed.
 */

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "domain_xml.h"
#include "forgotten.h"
#include "job_domain.h"
#include "qmp_domain.h"

#include "wherry/assert.h"
#include "wherry/clock.h"
#include "wherry/log.h"

/* Longer than any migration; one that nobody cancels shall not hold libvirt for ever. */
#define HOLD_NS (UINT64_C(604800) * WH_NSEC_PER_SEC)

/* libvirt 9.0 was seen to need 0.2 s for the files of a domain that it does not list any more. */
#define FORGOTTEN_AFTER 5u /* looks, one a second */

static void fail(struct wh_job *job, const char *why)
{
	wh_job_fail(job, WH_OUTCOME_FAILED, why);
}

static void on_vmm_gone(void *ctx, uint32_t events)
{
	struct wh_job *job = ctx;

	(void)events;
	wh_watch_stop(&job->domain->vmm_watch);
	job->domain->vmm_gone = true;
	wh_domain_target_gone(job);
}

/* The hook. */

static void on_hook_waits(void *ctx)
{
	struct wh_job *job = ctx;

	if (wh_ways_hold_replies(job))
		wh_target_monitor(job);
	else
		fail(job, "libvirt's hook was called, and not by the source's libvirt");
}

static void on_hook_lost(void *ctx)
{
	fail(ctx, "libvirt's hook was killed, or has waited too long");
}

static void on_ignoring(void *ctx, const json_t *result, const char *error)
{
	struct wh_job *job = ctx;
	struct wh_error err;

	if (job->state != WH_JOB_PREPARING)
		return;
	if (!result) {
		(void)wh_fail(&err, 0, "QEMU cannot leave the memory to us: %s", error);
		fail(job, err.text);
		return;
	}
	/* libvirt would hold the domain, and all who ask for it, for as long as its hook takes. */
	if (wh_hook_waits(job->domain->hook))
		wh_hook_proceed(job->domain->hook);
	if (wh_target_start_mover(job, false, &err) < 0)
		fail(job, err.text);
}

void wh_domain_target_described(struct wh_job *job)
{
	wh_domain_watch_vmm(job, on_vmm_gone);
	if (job->state == WH_JOB_PREPARING)
		wh_domain_ignore_shared(job, true, on_ignoring);
}

/* The list of domains may be behind: the end of one that has just moved away is told after libvirt's answer. */
static bool runs(const struct wh_daemon *daemon, const char *name)
{
	struct wh_error err;
	pid_t pid;

	return wh_qmp_domain_pid(&pid, daemon->config->libvirt->pids, name, &err) == 0;
}

static int check(struct wh_daemon *daemon, const struct wh_peer *source,
                 const struct wh_node_message *expect, struct wh_error *err)
{
	const struct wh_domain *domain;
	struct wh_error why;

	if (!wh_peer_knows_domains(source))
		return wh_fail(err, -EPROTO,
		               "the source's wherryd is too old to move domains here");
	if (!daemon->libvirt)
		return wh_fail(err, -ENOENT, "its configuration has no 'libvirt'");
	if (!wh_libvirt_connected(daemon->libvirt, &why))
		return wh_fail(err, -ENOTCONN, "%s", why.text);
	domain = wh_libvirt_domain(daemon->libvirt, expect->vm);
	if (domain && domain->active && runs(daemon, expect->vm))
		return wh_fail(err, -EEXIST, "a domain '%s' runs here already", expect->vm);
	if (wh_find_vm(daemon->config, expect->vm))
		return wh_fail(err, -EEXIST, "its configuration has a VM '%s'", expect->vm);
	if (wh_job_find(daemon, expect->migration) || wh_job_find(daemon, expect->vm))
		return wh_fail(err, -EBUSY, "'%s' is in a migration here already", expect->vm);
	if (daemon->stopping)
		return wh_fail(err, -ESHUTDOWN, "wherryd is about to stop");
	return 0;
}

static int begin(struct wh_job *job, const struct wh_node_message *expect, struct wh_error *err)
{
	struct wh_node_message expected = { .type = WH_NODE_EXPECTED };
	const struct wh_hook_config hook = {
		.domain = job->record.vm,
		.migration = job->record.id,
		.hold_ns = HOLD_NS,
		.waits = on_hook_waits,
		.lost = on_hook_lost,
		.ctx = job,
	};
	int r = job->may_postcopy ? wh_target_name_missing(job, err) : 0;

	job->record.defined = wh_libvirt_domain(job->daemon->libvirt, job->record.vm) != NULL;
	if (r == 0)
		r = wh_job_record(job, WH_PHASE_BEGUN, err);
	if (r == 0)
		r = wh_disks_place(job, expect, &expected, err);
	if (r == 0 && (expected.disk_count > 0 || job->record.engine == WH_ENGINE_NATIVE))
		r = wh_native_open(job, err);
	if (r < 0)
		return r;
	if (job->record.engine == WH_ENGINE_OFFLOAD)
		job->domain->hook = wh_hook_expect(job->daemon, &hook);
	memcpy(expected.directory, job->record.directory, sizeof(expected.directory));
	wh_peer_send(job->peer, &expected);
	return 0;
}

/* An earlier domain of that name may just be ending. */
static void begin_once_it_can(void *ctx)
{
	struct wh_job *job = ctx;
	struct wh_job_domain *d = job->domain;
	struct wh_error err;
	struct wh_error why;

	if (!wh_domain_is_forgotten(job->daemon, job->record.vm, &why)) {
		if (begin(job, d->expect, &err) < 0)
			fail(job, err.text);
	} else if (d->tries++ < FORGOTTEN_AFTER) {
		wh_domain_again(job, begin_once_it_can);
	} else {
		(void)wh_fail(&err, 0, WH_FORGOTTEN_REMEDY ": %s", why.text);
		fail(job, err.text);
	}
}

int wh_domain_target_new(struct wh_daemon *daemon, struct wh_peer *peer,
                         const struct wh_node_message *expect, struct wh_job **ret,
                         struct wh_error *err)
{
	struct wh_job *job;
	int r = check(daemon, peer, expect, err);

	if (r < 0)
		return wh_context(err, r, "domain '%s' cannot come to node %s", expect->vm,
		                  daemon->config->node);
	job = wh_target_job(daemon, peer, expect, err);
	if (!job)
		return -ENONET;
	job->record.engine = expect->ram_count ? WH_ENGINE_OFFLOAD : WH_ENGINE_NATIVE;
	(void)snprintf(job->record.directory, sizeof(job->record.directory), "%s",
	               daemon->config->libvirt->directory);
	wh_domain_open(job);
	*ret = job;
	job->domain->expect = malloc(sizeof(*expect));
	wh_assert(job->domain->expect);
	*job->domain->expect = *expect;
	begin_once_it_can(job);
	return 0;
}

void wh_domain_proceed(struct wh_job *job, bool running)
{
	const bool native = job->record.engine == WH_ENGINE_NATIVE;
	struct wh_error err;

	job->record.running = running;
	if ((native && wh_domain_find_vmm(job, &err) < 0) ||
	    wh_job_record(job, WH_PHASE_ASKING, &err) < 0) {
		fail(job, err.text);
		return;
	}
	job->domain->proceeded = true;
	wh_job_record_ahead(job, WH_PHASE_DONE); /* while the guest still runs */
	if (native) {
		wh_job_move(job, WH_JOB_PRECOPY);
		wh_domain_watch_vmm(job, on_vmm_gone);
		return;
	}
	wh_ways_release_replies(job);
}

bool wh_domain_is_claimed(const struct wh_job *job)
{
	const struct wh_job_domain *d = job->domain;

	/* While what came is being removed, that goes on, though its QEMU has ended. */
	return d && d->proceeded && (!d->vmm_gone || d->leaving);
}

void wh_domain_give_up(struct wh_job *job, const char *why)
{
	struct wh_node_message msg = { .type = WH_NODE_FAILED };

	if (!wh_domain_is_claimed(job) || job->domain->leaving ||
	    wh_phase_is_committed(job->record.phase))
		return;
	(void)snprintf(job->reason.text, sizeof(job->reason.text), "%s", why);
	if (job->landed_here) { /* memory that is owed may still come, by another mover */
		job->mover_lost = job->postcopy;
		return;
	}
	memcpy(msg.reason, job->reason.text, sizeof(msg.reason));
	if (job->peer)
		wh_peer_send(job->peer, &msg);
	wh_job_drop_worker(job);
	wh_ways_close(job);
}

/* All is as it was; the job may have been over before. */
static void stayed(struct wh_job *job)
{
	if (job->domain)
		job->domain->proceeded = false;
	wh_target_tell(job, WH_NODE_CLOSED);
	if (!wh_job_is_over(job->state))
		fail(job, "the guest stays at the source");
}

static void on_leave(void *ctx)
{
	struct wh_job *job = ctx;

	job->domain->leaving = false;
	wh_domain_stay(job, job->peer);
}

static void on_undefined(void *ctx, const char *text, const char *error)
{
	struct wh_job *job = ctx;

	(void)error; /* libvirt has done it by itself, or had not defined it */
	if (!text && job->domain && !wh_libvirt_connected(job->daemon->libvirt, NULL))
		wh_domain_again(job,
		                on_leave); /* libvirtd is away, or busy: it cannot stay, paused */
	else
		stayed(job);
}

/* What libvirt defined for this migration. */
static void undefine(struct wh_job *job)
{
	/* It may have come again by a later migration. */
	if (job->record.defined || runs(job->daemon, job->record.vm))
		stayed(job);
	else
		wh_libvirt_undefine(job->daemon->libvirt, job->record.vm, on_undefined, job);
}

static void on_destroyed(void *ctx, const char *text, const char *error)
{
	struct wh_job *job = ctx;

	(void)error; /* the same */
	if (!text && job->domain && !wh_process_is_gone(&job->record.vmm))
		wh_domain_again(job,
		                on_leave); /* libvirtd is away, or busy: it cannot stay, paused */
	else if (job->record.defined)
		stayed(job);
	else
		wh_libvirt_undefine(job->daemon->libvirt, job->record.vm, on_undefined, job);
}

void wh_domain_stay(struct wh_job *job, struct wh_peer *peer)
{
	job->peer = peer;
	if (job->state == WH_JOB_CANCELLING)
		job->domain->stays = true;
	if (job->state == WH_JOB_CANCELLING || (job->domain && job->domain->leaving))
		return; /* it hears of it soon */
	if (job->domain)
		job->domain->leaving = true;
	if (!job->daemon->libvirt)
		stayed(job);
	else if (wh_process_is_gone(&job->record.vmm))
		undefine(job);
	else
		wh_libvirt_destroy(job->daemon->libvirt, job->record.vm, on_destroyed, job);
}

/* Undoing: what libvirt has made, libvirt takes away. */

static void end_undo(struct wh_job *job)
{
	/* The files, too; but not those of a domain that it forgets. */
	if (wh_process_is_gone(&job->record.vmm))
		(void)wh_ram_unlink(&job->record.ram);
	wh_job_unrecord(job);
	if (job->domain->stays)
		wh_target_tell(job, WH_NODE_CLOSED);
	if (job->daemon->libvirt)
		wh_libvirt_look(
			job->daemon->libvirt); /* of a QEMU that does not start it says nothing */
	wh_job_end(job, job->outcome == WH_OUTCOME_FAILED ? WH_JOB_FAILED : WH_JOB_CANCELLED);
}

static void on_ended(void *ctx)
{
	struct wh_job *job = ctx;

	wh_job_drop_worker(job);
	wh_domain_target_undo(job);
}

void wh_domain_target_undo(struct wh_job *job)
{
	struct wh_job_domain *d = job->domain;

	if (d->hook && wh_hook_waits(d->hook))
		wh_hook_refuse(d->hook, job->reason.text);
	d->hook = wh_hook_close(d->hook);
	wh_ways_close(job);
	if (job->worker && !job->retiring && wh_worker_stop(job->worker, SIGTERM, on_ended, job)) {
		job->retiring = true;
		return;
	}
	if (d->due == 0)
		end_undo(job);
}
