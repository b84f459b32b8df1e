/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Recover - what an earlier wherryd, which was killed, left in the journal.
 *
 * Its movers are dead already: the kernel kills them with their daemon. What is left are
 * hypervisors, whose guests may be slowed, and each record says in which phase. The table is in
 * journal.h.
 */

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "job.h"
#include "job_domain.h"

#include "wherry/assert.h"
#include "wherry/clock.h"
#include "wherry/log.h"

static const char restarted[] = "wherryd was stopped during the migration";

static void copy_record(struct wh_record *to, const struct wh_record *from)
{
	*to = *from;
	to->ram = (struct wh_ram){ 0 };
	wh_assert(wh_ram_copy(&to->ram, &from->ram) == 0);
}

static struct wh_job *new_job(struct wh_daemon *daemon, const struct wh_record *record,
                              enum wh_job_state state)
{
	struct wh_job *job = wh_job_new(daemon, record->role, state);

	copy_record(&job->record, record);
	job->journaled = true;
	job->vm = wh_find_vm(daemon->config, record->vm);
	job->node = wh_find_node(daemon->config, record->peer);
	job->settings = daemon->settings;
	if (record->engine != WH_ENGINE_QMP)
		wh_domain_open(job);
	(void)snprintf(job->reason.text, sizeof(job->reason.text), "%s", restarted);
	return job;
}

/* Source in phase asking. What its QEMU says may already be enough to know. */

static void on_status(void *ctx, const json_t *result, const char *error)
{
	struct wh_job *job = ctx;

	(void)error;
	if (result && wh_guest_never_left(wh_json_text(result, "status")))
		wh_asking_answer(job, false, false);
	else
		wh_asking_lost(job, restarted);
}

static void on_monitor(void *ctx)
{
	struct wh_job *job = ctx;

	job->qmp_ready = true;
	wh_qmp_call(job->qmp, "query-migrate", NULL, on_status, job);
}

static void recover_asking(struct wh_job *job)
{
	struct wh_error err;

	job->continued = job->migrating = job->stopped = true; /* as far as we know */
	if (wh_source_monitor(job, on_monitor, &err) < 0)
		wh_asking_lost(job, err.text);
}

/* Source in phase postcopy: neither QEMU nor what it says matters, only its memory. */
static void recover_postcopy(struct wh_job *job)
{
	job->continued = job->migrating = job->stopped = true;
	job->postcopy = job->may_postcopy = true;
	job->reason.text[0] = '\0';
	wh_postcopy_resume(job);
}

static void recover_source(struct wh_daemon *daemon, const struct wh_record *record)
{
	struct wh_job *job;

	wh_throttle_recover(record->id, record->vm);
	switch (record->phase) {
	case WH_PHASE_BEGUN:
		job = new_job(daemon, record, WH_JOB_CANCELLING);
		job->outcome = WH_OUTCOME_FAILED;
		if (job->domain)
			wh_domain_recover_begun(job);
		else
			wh_undo_source(job);
		return;
	case WH_PHASE_ASKING:
		job = new_job(daemon, record, WH_JOB_ASKING);
		if (job->domain)
			wh_domain_recover_source(job);
		else
			recover_asking(job);
		return;
	case WH_PHASE_POSTCOPY:
		job = new_job(daemon, record, WH_JOB_POSTCOPY_PAUSED);
		if (job->domain)
			wh_domain_recover_moved(job);
		recover_postcopy(job);
		return;
	case WH_PHASE_DONE:
		job = new_job(daemon, record, WH_JOB_ASKING);
		if (job->domain)
			wh_domain_recover_moved(job);
		wh_finish_enter(job);
		return;
	case WH_PHASES:
		break;
	}
	wh_assert(false);
}

/* Target in phase done: the guest is here, and may not yet have been told to run. */

static void on_restored(void *ctx, const json_t *result, const char *error)
{
	(void)result;
	(void)error;
	wh_job_end(ctx, WH_JOB_SUCCEEDED);
}

static void on_resumed(void *ctx, const json_t *result, const char *error)
{
	struct wh_job *job = ctx;
	struct wh_error err;

	job->record.running = false;
	if (!result || wh_job_record(job, WH_PHASE_DONE, &err) < 0)
		wh_log(WH_LOG_ERROR, "migration.resume-failed", WH_STR("migration", job->record.id),
		       WH_STR("vm", job->record.vm), WH_STR("reason", error ? error : err.text));
	wh_guest_restore(job->qmp, on_restored, job);
}

static void on_committed_monitor(void *ctx)
{
	struct wh_job *job = ctx;

	job->qmp_ready = true;
	wh_qmp_call(job->qmp, "cont", NULL, on_resumed, job);
}

static void on_committed_closed(void *ctx, const char *why)
{
	struct wh_job *job = ctx;

	wh_log(WH_LOG_ERROR, "migration.resume-failed", WH_STR("migration", job->record.id),
	       WH_STR("vm", job->record.vm), WH_STR("reason", why));
	wh_job_end(job, WH_JOB_SUCCEEDED);
}

static void recover_committed(struct wh_job *job)
{
	const struct wh_qmp_handler handler = {
		.ready = on_committed_monitor,
		.closed = on_committed_closed,
		.ctx = job,
	};
	struct wh_error err;

	if (!job->record.running || !job->vm)
		wh_job_end(job, WH_JOB_SUCCEEDED); /* it was told; only the record is still here */
	else if (wh_qmp_open(&job->qmp, job->daemon->loop, job->vm->qmp, &handler, &err) < 0)
		on_committed_closed(job, err.text);
}

/* Of a domain it may not be known whether libvirt has let it run. */
static bool may_not_run(const struct wh_record *record)
{
	return record->phase == WH_PHASE_ASKING ||
	       (record->engine != WH_ENGINE_QMP && record->phase != WH_PHASE_BEGUN &&
	        record->running);
}

static void recover_target(struct wh_daemon *daemon, const struct wh_record *record)
{
	struct wh_job *job;

	if (may_not_run(record)) {
		wh_domain_recover_target(new_job(daemon, record, WH_JOB_HAND_OVER));
	} else if (record->phase == WH_PHASE_POSTCOPY) {
		wh_owed_recover(new_job(daemon, record, WH_JOB_POSTCOPY_PAUSED));
	} else if (record->phase == WH_PHASE_DONE) {
		job = new_job(daemon, record, WH_JOB_HAND_OVER);
		if (job->domain)
			wh_target_finish(job);
		else
			recover_committed(job);
	} else {
		job = new_job(daemon, record, WH_JOB_CANCELLING);
		job->outcome = WH_OUTCOME_FAILED;
		wh_target_undo(job);
	}
}

static void on_record(void *ctx, const struct wh_record *record)
{
	wh_log(WH_LOG_WARNING, "migration.recovered", WH_STR("migration", record->id),
	       WH_STR("vm", record->vm), WH_STR("peer", record->peer));
	if (record->role == WH_ROLE_SOURCE)
		recover_source(ctx, record);
	else
		recover_target(ctx, record);
}

static void on_bad(void *ctx, const char *id, const char *why)
{
	(void)ctx;
	wh_throttle_recover(id, ""); /* it takes no more than the name */
	wh_log(WH_LOG_ERROR, "journal.failed", WH_STR("migration", id), WH_STR("reason", why));
}

int wh_recover(struct wh_daemon *daemon, struct wh_error *err)
{
	const struct wh_journal_visitor visitor = { .each = on_record,
		                                    .bad = on_bad,
		                                    .ctx = daemon };

	return wh_journal_walk(daemon->config->state, &visitor, err);
}
