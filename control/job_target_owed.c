/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Owed - a target whose guest runs here, and whose source owes it memory.
 *
 *	PostCopy        the mover serves the guest's faults, until it says ARRIVED
 *	PostCopyPaused  no mover does: the source is to say RESUME
 *
 * The guest is committed: it is never torn down any more, whatever fails. vCPUs that touch a page
 * which is owed wait in the kernel, by a userfaultfd that QEMU itself holds open, and go on when
 * the next mover serves it. QEMU's own thread may wait there, too, so its monitor may fall
 * silent: that says nothing about the guest, and is no reason to give it up.
 */

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "job.h"
#include "job_domain.h"

#include "wherry/clock.h"
#include "wherry/log.h"

#define BEAT_NS    WH_NSEC_PER_SEC
#define MONITOR_NS WH_NSEC_PER_SEC

static void send_faults(const struct wh_job *job)
{
	struct wh_node_message msg = {
		.type = WH_NODE_FAULTS,
		.faults = wh_job_stat(job, WH_STAT_FAULTS),
		.stall_ns = wh_job_stat(job, WH_STAT_STALL_NS),
	};

	if (!job->peer)
		return;
	for (uint32_t i = 0; i < WH_FAULT_BUCKETS; i++)
		msg.fault_ns_log2[i] = wh_job_fault_bucket(job, i);
	wh_peer_send(job->peer, &msg);
}

static void on_beat(void *ctx)
{
	struct wh_job *job = ctx;

	send_faults(job);
	wh_timer_start(&job->beat, job->daemon->loop, BEAT_NS);
}

/* A mover serves the guest. */
static void serve(struct wh_job *job)
{
	wh_job_move(job, WH_JOB_POSTCOPY);
	job->beat = (struct wh_timer){ .fired = on_beat, .ctx = job };
	wh_timer_start(&job->beat, job->daemon->loop, BEAT_NS);
}

static void pause_for(struct wh_job *job, const char *why)
{
	wh_timer_stop(&job->beat);
	if (job->state != WH_JOB_POSTCOPY_PAUSED)
		wh_job_move(job, WH_JOB_POSTCOPY_PAUSED);
	(void)wh_fail(&job->note, 0,
	              "the guest runs here and waits for memory, until node %s resumes (%s)",
	              job->record.peer, why);
	wh_log(WH_LOG_WARNING, "migration.postcopy-paused", WH_STR("migration", job->record.id),
	       WH_STR("peer", job->record.peer), WH_STR("reason", why));
}

static void record(struct wh_job *job)
{
	struct wh_error err;

	if (wh_job_record(job, WH_PHASE_POSTCOPY, &err) < 0)
		wh_log(WH_LOG_WARNING, "journal.failed", WH_STR("migration", job->record.id),
		       WH_STR("reason", err.text));
}

void wh_owed_enter(struct wh_job *job)
{
	record(job);
	if (job->state != WH_JOB_HAND_OVER)
		return; /* it was known here before QEMU had answered */
	if (job->mover_lost)
		pause_for(job, job->reason.text);
	else
		serve(job);
	job->reason.text[0] = '\0';
}

void wh_owed_landed(struct wh_job *job, int32_t vmm_uffd)
{
	if (vmm_uffd != job->record.vmm_uffd) {
		job->record.vmm_uffd = vmm_uffd;
		record(job);
	}
	serve(job);
}

void wh_owed_arrived(struct wh_job *job)
{
	bool told = job->arrived;

	job->arrived = true;
	/* Before the commit, and while QEMU is resuming, what comes next looks at that. */
	if (told || !wh_job_in_postcopy(job) || job->resuming)
		return;
	send_faults(job);
	wh_timer_stop(&job->beat);
	wh_target_finish(job);
}

/* The hypervisor is gone, and the guest with it: there is nobody to serve. */
static void guest_gone(struct wh_job *job, const char *why)
{
	struct wh_error err;

	wh_log(WH_LOG_ERROR, "migration.resume-failed", WH_STR("migration", job->record.id),
	       WH_STR("vm", job->record.vm), WH_STR("reason", why));
	job->record.running = false;
	if (wh_job_record(job, WH_PHASE_DONE, &err) < 0)
		wh_log(WH_LOG_WARNING, "journal.failed", WH_STR("migration", job->record.id),
		       WH_STR("reason", err.text));
	if (job->state == WH_JOB_HAND_OVER)
		wh_target_tell(job, WH_NODE_RUNNING);
	else
		wh_target_answer(job);
	wh_job_end(job, WH_JOB_SUCCEEDED);
}

void wh_owed_lost(struct wh_job *job, const char *why)
{
	struct wh_node_message msg = { .type = WH_NODE_FAILED };

	(void)snprintf(msg.reason, sizeof(msg.reason), "%s", why);
	wh_job_drop_worker(job);
	if (wh_process_is_gone(&job->record.vmm) &&
	    !(job->domain && job->resuming)) { /* libvirt may have refused to let it run */
		guest_gone(job, msg.reason);
		return;
	}
	if (job->state == WH_JOB_HAND_OVER) {
		job->mover_lost = true;
		memcpy(job->reason.text, msg.reason, sizeof(msg.reason));
		return;
	}
	/* The source may wait for this mover to listen. */
	if (job->state == WH_JOB_POSTCOPY_PAUSED && job->peer)
		wh_peer_send(job->peer, &msg);
	pause_for(job, msg.reason);
}

void wh_owed_resume(struct wh_job *job, struct wh_peer *peer)
{
	struct wh_error err;
	int r;

	job->peer = peer;
	wh_job_drop_worker(job); /* the source has lost it */
	pause_for(job, "the source resumes");
	r = wh_network_find(job->interface, job->daemon->config, job->daemon->settings.network,
	                    &err);
	if (r == 0 && job->guest.ram.count == 0 &&
	    wh_ram_copy(&job->guest.ram, &job->record.ram) < 0)
		r = wh_fail(&err, -ENOMEM, "out of memory");
	if (r == 0)
		r = wh_ram_reopen(&job->guest.ram, &err);
	if (r == 0)
		r = wh_target_start_mover(job, true, &err);
	if (r < 0)
		wh_owed_lost(job, err.text);
}

/* QEMU is committed to run the guest, and may not have done so. */

static void ask_monitor_again(struct wh_job *job);

static void on_resumed(void *ctx, const json_t *result, const char *error)
{
	struct wh_job *job = ctx;

	if (result) {
		wh_target_settle(job);
		return;
	}
	wh_log(WH_LOG_ERROR, "migration.resume-failed", WH_STR("migration", job->record.id),
	       WH_STR("vm", job->record.vm), WH_STR("reason", error));
	ask_monitor_again(job);
}

static void on_monitor(void *ctx)
{
	struct wh_job *job = ctx;

	job->qmp_ready = true;
	wh_qmp_call(job->qmp, "cont", NULL, on_resumed, job);
}

static void on_closed(void *ctx, const char *why)
{
	struct wh_job *job = ctx;

	job->qmp = wh_qmp_close(job->qmp);
	job->qmp_ready = false;
	wh_owed_monitor_lost(job, why);
}

static void on_monitor_due(void *ctx)
{
	const struct wh_qmp_handler handler = { .ready = on_monitor,
		                                .closed = on_closed,
		                                .ctx = ctx };
	struct wh_job *job = ctx;
	struct wh_error err;

	if (job->qmp_ready)
		on_monitor(job);
	else if (job->vm &&
	         wh_qmp_open(&job->qmp, job->daemon->loop, job->vm->qmp, &handler, &err) < 0)
		wh_owed_monitor_lost(job, err.text);
}

static void ask_monitor_again(struct wh_job *job)
{
	wh_timer_stop(&job->timer);
	job->timer = (struct wh_timer){ .fired = on_monitor_due, .ctx = job };
	wh_timer_start(&job->timer, job->daemon->loop, MONITOR_NS);
}

void wh_owed_monitor_lost(struct wh_job *job, const char *why)
{
	if (wh_process_is_gone(&job->record.vmm))
		guest_gone(job, why);
	else if (job->resuming && !job->domain) /* else libvirt is asked */
		ask_monitor_again(job);
}

void wh_owed_recover(struct wh_job *job)
{
	job->postcopy = job->may_postcopy = true;
	job->resuming = job->record.running;
	if (wh_process_is_gone(&job->record.vmm)) {
		guest_gone(job, "the hypervisor ended while no wherryd ran");
		return;
	}
	pause_for(job, job->reason.text);
	job->reason.text[0] = '\0';
	if (job->domain)
		wh_domain_recover_owed(job);
	else if (job->resuming)
		on_monitor_due(job);
}
