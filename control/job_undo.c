/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Undo - leave a source as if there had been no migration.
 *
 *	full speed again -> tell the target -> end the mover -> migrate_cancel -> wait until QEMU has
 *	ended it
 *	-> capabilities off -> cont if we stopped the guest -> forget the record
 *
 * It works from any state in which the guest is certainly not running elsewhere, also for a
 * record found at start, and where QEMU is gone: then there is nothing left to undo in it.
 */

#include <errno.h>
#include <signal.h>
#include <string.h>

#include "job.h"
#include "job_domain.h"

#include "wherry/clock.h"
#include "wherry/log.h"

#define POLL_NS (20 * WH_NSEC_PER_MSEC)

static void finish(struct wh_job *job)
{
	wh_job_unrecord(job);
	wh_job_end(job, job->outcome == WH_OUTCOME_FAILED ? WH_JOB_FAILED : WH_JOB_CANCELLED);
}

static void trouble(struct wh_job *job, const char *what, const char *why)
{
	wh_log(WH_LOG_ERROR, "migration.undo-failed", WH_STR("migration", job->record.id),
	       WH_STR("vm", job->record.vm), WH_STR("what", what), WH_STR("reason", why));
}

static void on_resumed(void *ctx, const json_t *result, const char *error)
{
	if (!result)
		trouble(ctx, "the guest could not be resumed", error);
	finish(ctx);
}

static void on_restored(void *ctx, const json_t *result, const char *error)
{
	struct wh_job *job = ctx;

	if (!result)
		trouble(job, "the capabilities are still on", error);
	if (job->record.running && job->stopped)
		wh_qmp_call(job->qmp, "cont", NULL, on_resumed, job);
	else
		finish(job);
}

static void on_status(void *ctx, const json_t *result, const char *error);

static void on_poll(void *ctx)
{
	struct wh_job *job = ctx;

	wh_qmp_call(job->qmp, "query-migrate", NULL, on_status, job);
}

static void on_status(void *ctx, const json_t *result, const char *error)
{
	const char *status = wh_json_text(result, "status");
	struct wh_job *job = ctx;

	(void)error;
	if (!result || !*status || wh_guest_migration_over(status)) {
		wh_guest_restore(job->qmp, on_restored, job);
		return;
	}
	/* This ends: QEMU gives up a cancelled migration, or does not answer and counts as lost. */
	job->timer = (struct wh_timer){ .fired = on_poll, .ctx = job };
	wh_timer_start(&job->timer, job->daemon->loop, POLL_NS);
}

static void on_cancelled(void *ctx, const json_t *result, const char *error)
{
	(void)result;
	(void)error; /* what matters is what it says next */
	on_poll(ctx);
}

static void on_monitor(void *ctx)
{
	struct wh_job *job = ctx;

	job->qmp_ready = true;
	if (job->migrating)
		wh_qmp_call(job->qmp, "migrate_cancel", NULL, on_cancelled, job);
	else
		wh_guest_restore(job->qmp, on_restored, job);
}

void wh_undo_monitor_lost(struct wh_job *job, const char *why)
{
	trouble(job, "QEMU does not answer", why);
	finish(job);
}

static void tell_target(struct wh_job *job)
{
	struct wh_node_message msg = { .type = WH_NODE_CANCEL };

	if (!job->peer)
		return;
	memcpy(msg.reason, job->reason.text, sizeof(msg.reason));
	wh_peer_send(job->peer, &msg);
}

static void go_on(void *ctx)
{
	struct wh_job *job = ctx;
	struct wh_error err;

	wh_job_drop_worker(job);
	if (job->qmp_ready)
		on_monitor(job);
	else if (job->qmp || job->record.vmm.pid == 0)
		finish(job); /* not one command has changed anything */
	else if (wh_source_monitor(job, on_monitor, &err) < 0)
		wh_undo_monitor_lost(job, err.text);
}

void wh_undo_source(struct wh_job *job)
{
	wh_timer_stop(&job->tick);
	wh_timer_stop(&job->timer);
	wh_timer_stop(&job->patience);
	wh_connect_stop(&job->connecting);
	wh_job_unthrottle(job);
	tell_target(job);
	job->peer = wh_peer_close(job->peer);
	job->tunnel = wh_tunnel_close(job->tunnel);
	if (job->domain) {
		wh_domain_undo(job);
		return;
	}

	/* A guest that stands still waits for us, not for its mover to be gentle. */
	if (job->stopped || job->migrating || !job->worker ||
	    !wh_worker_stop(job->worker, SIGTERM, go_on, job))
		go_on(job);
}
