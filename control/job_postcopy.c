/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Post-copy at the source - the guest runs elsewhere, and its memory follows.
 *
 *	PreCopy         SWITCH to the mover -> it says CONVERGED -> HandOver as ever, but both movers
 *	                say LANDED before the memory is there
 *	PostCopy        from the target's word that the guest runs, until our mover says ARRIVED
 *	PostCopyPaused  our mover is gone: at once, then after 1 s, 2 s, ... 30 s:
 *	                call the target -> RESUME -> READY -> a new mover -> LANDED: PostCopy
 *
 * From here on the source has the only copy of some of the guest's memory. So nothing in this file
 * ends the migration but its success: whatever fails leads to PostCopyPaused, and to another try.
 * Neither QEMU nor the control connection is needed for memory to follow. What is needed are the
 * RAM files, and these are held open.
 */

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "job.h"
#include "job_domain.h"
#include "units.h"

#include "wherry/clock.h"
#include "wherry/log.h"

#define RETRY_FIRST_NS WH_NSEC_PER_SEC
#define RETRY_MAX_NS   (30 * WH_NSEC_PER_SEC)

/* From RESUME until the target's faults are served again; connecting has limits of its own. */
#define RESUME_NS (20 * WH_NSEC_PER_SEC)

static uint64_t now(void)
{
	return wh_now_ns(&wh_clock_monotonic);
}

/* The switch. */

void wh_source_note_switch(struct wh_job *job, enum wh_switch_mode mode, const char *why)
{
	job->switching = mode;
	if (mode == WH_SWITCH_POSTCOPY)
		wh_deadline_post_copy(&job->deadline, now());
	else
		wh_deadline_pause(&job->deadline, now());
	wh_log(WH_LOG_INFO, "migration.switch", WH_STR("migration", job->record.id),
	       WH_STR("to", mode == WH_SWITCH_POSTCOPY ? "post-copy" : "pause"),
	       WH_STR("reason", why));
	(void)snprintf(job->note.text, sizeof(job->note.text), "%s", why);
}

int wh_source_switch(struct wh_job *job, enum wh_switch_mode mode, const char *why,
                     struct wh_error *err)
{
	int r = wh_worker_switch(job->worker, mode, err);

	if (r == 0)
		wh_source_note_switch(job, mode, why);
	return r;
}

int wh_postcopy_ask(struct wh_job *job, struct wh_error *err)
{
	const char *id = job->record.id;

	if (job->record.role != WH_ROLE_SOURCE)
		return wh_fail(err, -EINVAL, "migration %s comes in here: ask node %s, its source",
		               id, job->record.peer);
	if (wh_job_in_postcopy(job) || job->switching == WH_SWITCH_POSTCOPY)
		return wh_fail(err, -EALREADY, "migration %s is in post-copy already", id);
	if (job->state != WH_JOB_PRECOPY || job->switching != WH_SWITCH_NONE)
		return wh_fail(err, -EBUSY,
		               "migration %s is '%s': only from PreCopy it can go into post-copy",
		               id, wh_job_state_name(job->state));
	if (wh_disks_linger(job))
		return wh_fail(err, -EBUSY,
		               "migration %s cannot go into post-copy: its disks come first, and "
		               "are not all there",
		               id);
	if (job->unfit)
		return wh_fail(
			err, -EPERM,
			"migration %s cannot use post-copy: the guest's memory at node %s cannot "
			"be filled page by page",
			id, job->record.peer);
	if (!job->may_postcopy)
		return wh_fail(err, -EPERM,
		               job->settings.allow_post_copy
		                       ? "migration %s cannot use post-copy: node %s does not "
		                         "know it"
		                       : "migration %s must not use post-copy: allowPostCopy was "
		                         "not set when it began",
		               id, job->record.peer);
	if (job->record.engine == WH_ENGINE_NATIVE)
		return wh_native_postcopy(job, err);
	return wh_source_switch(job, WH_SWITCH_POSTCOPY, "asked for by the operator", err);
}

/* PostCopyPaused. */

static void send_resume(struct wh_job *job)
{
	struct wh_node_message msg = { .type = WH_NODE_RESUME };

	memcpy(msg.migration, job->record.id, WH_NAME_MAX);
	memcpy(msg.token, job->record.token, WH_TOKEN_BYTES);
	wh_peer_send(job->peer, &msg);
}

static void on_attempt_late(void *ctx)
{
	wh_postcopy_lost(ctx, "it takes too long to resume");
}

static void on_retry(void *ctx)
{
	wh_postcopy_resume(ctx);
}

static void try_again_later(struct wh_job *job, const char *why)
{
	/* What went well for longer than the last pause has earned an attempt at once. */
	if (job->postcopy_ns > 0 && now() - job->postcopy_ns > job->retry_ns)
		job->retry_ns = 0;
	job->postcopy_ns = 0;
	(void)wh_fail(&job->note, 0,
	              "the guest runs at node %s and waits for memory; trying again %s%s (%s)",
	              job->record.peer, job->retry_ns ? "within " : "now",
	              job->retry_ns ? wh_units_time(job->retry_ns).s : "", why);
	job->timer = (struct wh_timer){ .fired = on_retry, .ctx = job };
	wh_timer_start(&job->timer, job->daemon->loop, job->retry_ns);
	if (job->retry_ns == 0)
		job->retry_ns = RETRY_FIRST_NS;
	else
		job->retry_ns = job->retry_ns * 2 > RETRY_MAX_NS ? RETRY_MAX_NS : job->retry_ns * 2;
}

void wh_postcopy_lost(struct wh_job *job, const char *why)
{
	struct wh_error copy;

	if (job->retiring || !wh_job_in_postcopy(job))
		return;
	(void)wh_fail(&copy, 0, "%s", why); /* it may be in what is closed now */
	wh_timer_stop(&job->timer);
	wh_job_drop_worker(job);
	job->resume_sent = false;
	if (job->state == WH_JOB_POSTCOPY)
		wh_job_move(job, WH_JOB_POSTCOPY_PAUSED);
	wh_log(WH_LOG_WARNING, "migration.postcopy-paused", WH_STR("migration", job->record.id),
	       WH_STR("peer", job->record.peer), WH_STR("reason", copy.text));
	try_again_later(job, copy.text);
}

void wh_postcopy_resume(struct wh_job *job)
{
	struct wh_error err;
	int r = 0;

	wh_timer_stop(&job->timer); /* somebody may have asked before the pause was over */
	job->timer = (struct wh_timer){ .fired = on_attempt_late, .ctx = job };
	wh_timer_start(&job->timer, job->daemon->loop, RESUME_NS);
	job->resume_sent = true;
	if (job->peer)
		send_resume(job);
	else
		r = wh_source_call(job, &err); /* and WELCOME goes on */
	if (r < 0)
		wh_postcopy_lost(job, err.text);
}

int wh_postcopy_recover(struct wh_job *job, struct wh_error *err)
{
	if (job->record.role != WH_ROLE_SOURCE)
		return wh_fail(err, -EINVAL, "migration %s comes in here: ask node %s, its source",
		               job->record.id, job->record.peer);
	if (job->state != WH_JOB_POSTCOPY_PAUSED)
		return wh_fail(err, -EINVAL,
		               "migration %s is '%s': there is nothing to recover but from "
		               "PostCopyPaused",
		               job->record.id, wh_job_state_name(job->state));
	if (!job->resume_sent && !job->retiring)
		wh_postcopy_resume(job);
	return 0;
}

static void on_ready(struct wh_job *job, uint16_t port)
{
	struct wh_error err;
	int r = 0;

	if (!job->resume_sent || job->worker)
		return; /* of an attempt that was given up */
	job->mover_port = port;
	if (job->guest.ram.count == 0 && wh_ram_copy(&job->guest.ram, &job->record.ram) < 0)
		r = wh_fail(&err, -ENOMEM, "out of memory");
	if (r == 0)
		r = wh_ram_reopen(&job->guest.ram, &err);
	if (r == 0)
		r = wh_source_start_mover(job, true, &err);
	if (r < 0)
		wh_postcopy_lost(job, err.text);
}

static void on_answer(struct wh_job *job, const struct wh_node_message *msg)
{
	if (msg->committed && !msg->postcopy)
		wh_finish_enter(job); /* it has all, and our mover did not live to hear it */
	else if (job->resume_sent)
		wh_postcopy_lost(job, "the target does not know of this migration");
}

void wh_postcopy_message(struct wh_job *job, const struct wh_node_message *msg)
{
	bool paused = job->state == WH_JOB_POSTCOPY_PAUSED;
	struct wh_error err;

	if (job->retiring || msg->type == WH_NODE_RUNNING)
		return;
	if (paused && msg->type == WH_NODE_WELCOME) {
		send_resume(job);
	} else if (paused && msg->type == WH_NODE_READY) {
		on_ready(job, msg->port);
	} else if (msg->type == WH_NODE_ANSWER) {
		on_answer(job, msg);
	} else if (paused && msg->type == WH_NODE_FAILED) {
		(void)wh_fail(&err, 0, "node %s: %s", job->record.peer, msg->reason);
		wh_postcopy_lost(job, err.text);
	} else {
		wh_log(WH_LOG_WARNING, "peer.unexpected", WH_STR("migration", job->record.id),
		       WH_STR("peer", job->record.peer),
		       WH_STR("message", wh_node_type_name(msg->type)));
	}
}

void wh_postcopy_faults(struct wh_job *job, const struct wh_node_message *msg)
{
	job->theirs_known = true;
	job->theirs_stats.value[WH_STAT_FAULTS] = msg->faults;
	job->theirs_stats.value[WH_STAT_STALL_NS] = msg->stall_ns;
	memcpy(job->theirs_stats.fault_ns_log2, msg->fault_ns_log2, sizeof(msg->fault_ns_log2));
}

/* Movers have connections of their own: they notice themselves if those are lost, too. */
void wh_postcopy_peer_lost(struct wh_job *job, const char *why)
{
	if (job->resume_sent && !job->worker)
		wh_postcopy_lost(job, why);
}

void wh_postcopy_owed(struct wh_job *job)
{
	struct wh_error err;

	if (job->times.running_ns == 0)
		job->times.running_ns = now();
	wh_timer_stop(&job->timer);
	wh_job_drop_worker(job);
	job->postcopy = job->may_postcopy = true;
	job->reason.text[0] = '\0';
	job->retry_ns = RETRY_FIRST_NS;
	if (wh_job_record(job, WH_PHASE_POSTCOPY, &err) < 0)
		wh_log(WH_LOG_WARNING, "journal.failed", WH_STR("migration", job->record.id),
		       WH_STR("reason", err.text));
	wh_job_move(job, WH_JOB_POSTCOPY_PAUSED);
	wh_postcopy_resume(job);
}

/* PostCopy. */

void wh_postcopy_enter(struct wh_job *job)
{
	struct wh_error err;

	wh_timer_stop(&job->timer);
	if (job->arrived) {
		wh_finish_enter(job);
		return;
	}
	/* Without this record the next wherryd asks, and is told. */
	if (job->record.phase != WH_PHASE_POSTCOPY &&
	    wh_job_record(job, WH_PHASE_POSTCOPY, &err) < 0)
		wh_log(WH_LOG_WARNING, "journal.failed", WH_STR("migration", job->record.id),
		       WH_STR("reason", err.text));
	job->resume_sent = false;
	job->postcopy_ns = now();
	wh_job_move(job, WH_JOB_POSTCOPY);
	if (job->mover_lost)
		wh_postcopy_lost(job, job->reason.text);
	job->mover_lost = false;
	job->reason.text[0] = '\0';
}
