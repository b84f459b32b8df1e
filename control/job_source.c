/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Source - from the request until the rest fits into the downtime target.
 *
 *	Pending    for a slot
 *	Preparing  monitor -> description -> RAM files -> journal -> target -> capabilities
 *	           -> cgroup, limit, mover; each step begins when the one before was answered
 *	PreCopy    the mover copies; ten times a second its counters are judged, and the verdict is
 *	           to go on, to switch to post-copy or to a pause, or to cancel
 *
 * Nothing here changes the guest, but for capabilities that job_undo.c takes back.
 */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "job.h"
#include "job_domain.h"
#include "qmp_domain.h"

#include "wherry/assert.h"
#include "wherry/clock.h"
#include "wherry/log.h"

#define TICK_NS (100 * WH_NSEC_PER_MSEC)

const struct wh_vm *wh_find_vm(const struct wh_config *config, const char *name)
{
	for (size_t i = 0; i < config->vm_count; i++)
		if (!strcmp(config->vms[i].name, name))
			return &config->vms[i];
	return NULL;
}

const struct wh_node *wh_find_node(const struct wh_config *config, const char *name)
{
	for (size_t i = 0; i < config->node_count; i++)
		if (!strcmp(config->nodes[i].name, name))
			return &config->nodes[i];
	return NULL;
}

static void fail(struct wh_job *job, const struct wh_error *err)
{
	wh_job_fail(job, WH_OUTCOME_FAILED, err->text);
}

/* The mover. */

static void on_worker_listening(void *ctx, uint16_t port)
{
	(void)port;
	wh_job_fail(ctx, WH_OUTCOME_FAILED, "the source's mover said that it listens");
}

/* Return: 0 if the migration goes on. */
static int follow(struct wh_job *job, enum wh_verdict verdict, struct wh_error *err)
{
	struct wh_error why;

	if (verdict == WH_IN_TIME)
		return 0;
	wh_deadline_explain(&why, verdict, &job->deadline, &job->settings);
	if (verdict == WH_GO_POST_COPY)
		return wh_source_switch(job, WH_SWITCH_POSTCOPY, why.text, err);
	if (verdict == WH_GO_PAUSE)
		return wh_source_switch(job, WH_SWITCH_PAUSE, why.text, err);
	return wh_fail(err, -ETIME, "%s", why.text);
}

static void on_tick(void *ctx)
{
	struct wh_job *job = ctx;
	struct wh_settings settings = job->settings;
	const struct wh_left left = {
		.round_bytes = wh_job_stat(job, WH_STAT_ROUND_BYTES),
		.left_bytes = wh_job_stat(job, WH_STAT_LEFT_BYTES),
	};
	enum wh_verdict verdict;
	struct wh_error err;
	int r;

	/* With disks on their way neither would help. */
	settings.allow_post_copy = job->may_postcopy && !wh_disks_linger(job);
	if (wh_disks_linger(job))
		settings.allow_workload_disruption = false;
	verdict =
		wh_deadline_check(&job->deadline, &settings, left, wh_now_ns(&wh_clock_monotonic));
	r = follow(job, verdict, &err);
	if (r < 0) {
		wh_job_fail(job, r == -ETIME ? WH_OUTCOME_DEADLINE : WH_OUTCOME_FAILED, err.text);
		return;
	}
	wh_disks_tick(job);
	wh_throttle_tick(job);
	wh_job_tick_reads(job);
	wh_timer_start(&job->tick, job->daemon->loop, TICK_NS);
}

void wh_source_watch_time(struct wh_job *job)
{
	job->tick = (struct wh_timer){ .fired = on_tick, .ctx = job };
	wh_timer_start(&job->tick, job->daemon->loop, TICK_NS);
}

static void on_worker_open(void *ctx)
{
	struct wh_job *job = ctx;

	if (job->state != WH_JOB_PREPARING)
		return;
	wh_job_move(job, WH_JOB_PRECOPY);
	wh_deadline_start(&job->deadline,
	                  wh_ram_bytes(&job->guest.ram) + job->disks.value[WH_STAT_RAM_BYTES],
	                  wh_now_ns(&wh_clock_monotonic));
	wh_source_watch_time(job);
}

/* From now on as if it were not allowed. What was decided before had no effect. */
static void on_worker_no_postcopy(void *ctx)
{
	struct wh_job *job = ctx;

	job->may_postcopy = false;
	job->unfit = true;
	if (job->switching == WH_SWITCH_POSTCOPY) {
		job->switching = WH_SWITCH_NONE;
		job->deadline.post_copy = false;
		job->note.text[0] = '\0';
	}
	wh_log(WH_LOG_WARNING, "migration.no-postcopy", WH_STR("migration", job->record.id),
	       WH_STR("peer", job->record.peer));
}

static void on_worker_near(void *ctx)
{
	struct wh_job *job = ctx;

	if (job->state == WH_JOB_PRECOPY && job->domain)
		wh_domain_near(job);
}

static void on_worker_converged(void *ctx)
{
	struct wh_job *job = ctx;

	wh_timer_stop(&job->tick);
	if (job->state == WH_JOB_PRECOPY)
		wh_hand_over_enter(job);
	else if (job->state == WH_JOB_HAND_OVER)
		wh_hand_over_converged(job);
}

static void on_worker_landed(void *ctx, const struct wh_worker_landed *landed)
{
	struct wh_job *job = ctx;

	if (job->state == WH_JOB_POSTCOPY_PAUSED) {
		wh_postcopy_enter(job); /* again */
		return;
	}
	job->landed_here = true;
	job->postcopy = landed->postcopy;
	wh_hand_over_landed(job);
}

static void on_worker_arrived(void *ctx)
{
	struct wh_job *job = ctx;

	job->arrived = true;
	if (wh_job_in_postcopy(job))
		wh_finish_enter(job);
}

static bool is_lost_link(int code)
{
	return code == -ECONNRESET || code == -EPIPE || code == -ECONNABORTED ||
	       code == -ENOTCONN || code == -ETIMEDOUT;
}

static void on_patience_over(void *ctx)
{
	struct wh_job *job = ctx;

	wh_job_fail(job, WH_OUTCOME_FAILED, job->reason.text);
}

static void on_worker_failed(void *ctx, int code, const char *why)
{
	struct wh_job *job = ctx;

	if (wh_job_in_postcopy(job)) {
		wh_postcopy_lost(job, why);
		return;
	}
	/* The target may have committed: then it is resumed, as soon as that is known. */
	job->mover_lost = job->postcopy && job->continued;
	if (!is_lost_link(code) && !job->mover_lost) {
		wh_job_fail(job, WH_OUTCOME_FAILED, why);
		return;
	}
	/* The target may know why the link was lost: its memory was full, its mover was killed. */
	(void)snprintf(job->reason.text, sizeof(job->reason.text), "%s", why);
	if (job->mover_lost)
		return;
	job->patience = (struct wh_timer){ .fired = on_patience_over, .ctx = job };
	wh_timer_start(&job->patience, job->daemon->loop, WH_REASON_NS);
}

int wh_source_start_mover(struct wh_job *job, bool resume, struct wh_error *err)
{
	const struct wh_worker_handler handler = {
		.listening = on_worker_listening,
		.transport = wh_job_carries,
		.open = on_worker_open,
		.no_postcopy = on_worker_no_postcopy,
		.near = on_worker_near,
		.converged = on_worker_converged,
		.landed = on_worker_landed,
		.arrived = on_worker_arrived,
		.failed = on_worker_failed,
		.ctx = job,
	};
	struct wh_worker_start start = { .resume = resume };
	int r = wh_job_open_worker(job, &handler, err);

	if (r < 0)
		return r;
	if (!job->node || !job->peer)
		return wh_fail(err, -ENOTCONN, "the control connection is lost");
	r = wh_address_parse(&start.peer, job->node->address, job->mover_port);
	if (r == 0)
		r = wh_peer_local_address(job->peer, &start.local);
	if (r < 0)
		return wh_fail(err, r, "the control connection is lost");
	wh_address_set_port(&start.local, 0);
	return wh_job_begin_worker(job, &start, err);
}

/* The target. */

static void on_prepared(void *ctx, const json_t *result, const char *error)
{
	struct wh_job *job = ctx;
	struct wh_error err;

	if (job->state != WH_JOB_PREPARING)
		return;
	if (!result)
		(void)wh_fail(&err, 0, "QEMU refuses the migration capabilities: %s", error);
	if (!result || wh_source_start_mover(job, false, &err) < 0)
		fail(job, &err);
}

static void on_hold(void *ctx, const json_t *result, const char *error)
{
	struct wh_job *job = ctx;

	(void)error; /* this QEMU does not know how: its guest is stopped first */
	job->holds = result != NULL;
}

static void send_prepare(struct wh_job *job)
{
	struct wh_node_message msg = { .type = WH_NODE_PREPARE };
	struct wh_error err;

	job->may_postcopy = job->settings.allow_post_copy && wh_peer_knows_post_copy(job->peer);
	msg.postcopy = job->may_postcopy;
	wh_job_describe(job, &msg);
	if (wh_job_offer_rdma(job, &msg, &err) < 0)
		fail(job, &err);
	else
		wh_peer_send(job->peer, &msg);
}

static void on_ready(struct wh_job *job, const struct wh_node_message *msg)
{
	struct wh_error err;

	if (wh_job_hear_rdma(job, msg, &err) < 0) {
		fail(job, &err);
		return;
	}
	job->mover_port = msg->port;
	job->times.ready_ns = wh_now_ns(&wh_clock_monotonic);
	wh_job_watch_reads(job);
	wh_guest_prepare(job->qmp, WH_ROLE_SOURCE, on_prepared, job);
	wh_guest_hold(job->qmp, on_hold, job);
}

static void on_target_failed(struct wh_job *job, const char *reason)
{
	struct wh_error err;

	(void)wh_fail(&err, 0, "node %s: %s", job->record.peer, reason);
	if (job->domain && job->continued) {
		wh_domain_target_failed(job, err.text);
		return;
	}
	/* It says so only once it will never run the guest, so this is an answer, too. */
	job->continued = false;
	fail(job, &err);
}

static void on_message(void *ctx, const struct wh_node_message *msg)
{
	struct wh_job *job = ctx;

	if (job->domain && wh_domain_message(job, msg))
		return;
	if (msg->type == WH_NODE_FAULTS) {
		wh_postcopy_faults(job, msg);
	} else if (wh_job_in_postcopy(job)) {
		wh_postcopy_message(job, msg);
	} else if (job->state == WH_JOB_PREPARING && msg->type == WH_NODE_WELCOME) {
		send_prepare(job);
	} else if (job->state == WH_JOB_PREPARING && msg->type == WH_NODE_READY && !job->worker) {
		on_ready(job, msg);
	} else if (wh_hand_over_is_on(job) && msg->type == WH_NODE_LANDED) {
		job->landed_there = true;
		wh_hand_over_landed(job);
	} else if (job->state == WH_JOB_HAND_OVER && msg->type == WH_NODE_RUNNING &&
	           job->continued) {
		wh_hand_over_running(job);
	} else if (job->state < WH_JOB_ASKING && msg->type == WH_NODE_FAILED) {
		on_target_failed(job, msg->reason);
	} else if (msg->type == WH_NODE_WELCOME) {
		wh_asking_welcome(job);
	} else if (job->state == WH_JOB_ASKING && msg->type == WH_NODE_ANSWER) {
		wh_asking_answer(job, msg->committed, msg->postcopy);
	} else if (job->state == WH_JOB_ASKING && msg->type == WH_NODE_RUNNING) {
		return; /* the answer follows, and says whether memory has to */
	} else if (job->state == WH_JOB_ASKING && msg->type == WH_NODE_FAILED) {
		wh_asking_answer(job, false, false);
	} else if (job->closing && msg->type == WH_NODE_CLOSED) {
		wh_finish_closed(job);
	} else {
		wh_log(WH_LOG_WARNING, "peer.unexpected", WH_STR("migration", job->record.id),
		       WH_STR("peer", job->record.peer),
		       WH_STR("message", wh_node_type_name(msg->type)));
	}
}

static void on_lost(void *ctx, const char *why)
{
	struct wh_job *job = ctx;
	struct wh_error err;

	job->peer = wh_peer_close(job->peer);
	(void)wh_fail(&err, 0, "the connection to node %s is lost: %s", job->record.peer, why);
	if (wh_job_in_postcopy(job))
		wh_postcopy_peer_lost(job, err.text);
	else if (job->domain && job->continued && !job->domain->moved && !job->domain->finishing)
		wh_log(WH_LOG_WARNING, "peer.lost", WH_STR("migration", job->record.id),
		       WH_STR("reason", err.text)); /* libvirt has the next word */
	else if (job->state == WH_JOB_ASKING || job->closing)
		wh_asking_lost(job, err.text);
	else if (job->continued && !job->retiring)
		wh_asking_enter(job, err.text);
	else
		fail(job, &err); /* does nothing while the rest is being removed */
}

int wh_source_call(struct wh_job *job, struct wh_error *err)
{
	struct wh_peer_config cfg = {
		.loop = job->daemon->loop,
		.node = job->daemon->config->node,
		.peer = job->record.peer,
		.interface = job->interface,
		.handler = { .message = on_message, .lost = on_lost, .ctx = job },
	};
	int r;

	if (!job->node)
		return wh_fail(err, -ENOENT, "node %s is not in the configuration any more",
		               job->record.peer);
	r = wh_network_find(job->interface, job->daemon->config, job->daemon->settings.network,
	                    err);
	if (r < 0)
		return r;
	if (wh_address_parse(&cfg.address, job->node->address, job->daemon->config->port) < 0)
		return wh_fail(err, -EINVAL, "'%s' is no address", job->node->address);
	r = wh_peer_call(&job->peer, &cfg, err);
	return r < 0 ? wh_context(err, r, "node %s", job->record.peer) : 0;
}

/* The guest. */

static int check_state(struct wh_job *job, struct wh_error *err)
{
	const char *state = job->guest.run_state;

	job->record.running = !strcmp(state, "running");
	if (!job->record.running && strcmp(state, "paused") != 0 && strcmp(state, "prelaunch") != 0)
		return wh_fail(err, -EINVAL,
		               "the guest is '%s'; it must be running or paused to be moved",
		               state);
	if (!wh_guest_migration_over(job->guest.migration))
		return wh_fail(err, -EBUSY, "QEMU has a migration in progress ('%s')",
		               job->guest.migration);
	return 0;
}

static int begin(struct wh_job *job, struct wh_error *err)
{
	const bool native = job->record.engine == WH_ENGINE_NATIVE;
	int r = check_state(job, err);

	if (r == 0 && !native)
		r = wh_ram_open(&job->guest.ram, job->record.vmm.pid, err);
	if (r == 0 && !native && wh_ram_copy(&job->record.ram, &job->guest.ram) < 0)
		r = wh_fail(err, -ENOMEM, "out of memory");
	if (r == 0)
		r = wh_job_record(job, WH_PHASE_BEGUN, err);
	if (r == 0 && job->domain)
		wh_domain_begin(job);
	else if (r == 0)
		r = wh_source_call(job, err);
	return r;
}

static void on_described(void *ctx, const char *why)
{
	struct wh_job *job = ctx;
	struct wh_error err;

	if (job->state != WH_JOB_PREPARING)
		return;
	if (job->domain)
		why = wh_domain_choose(job, why);
	if (why)
		wh_job_fail(job, WH_OUTCOME_FAILED, why);
	else if (begin(job, &err) < 0)
		fail(job, &err);
}

static void on_qmp_ready(void *ctx)
{
	struct wh_job *job = ctx;

	job->qmp_ready = true;
	job->guest.done = on_described;
	job->guest.ctx = job;
	wh_guest_describe(&job->guest, job->qmp);
}

static void on_qmp_event(void *ctx, const char *name, const json_t *data)
{
	struct wh_job *job = ctx;

	wh_job_reads_event(job, name, data);
	if (job->domain)
		wh_domain_event(job, name, wh_json_text(data, "status"));
	else
		wh_hand_over_event(job, name, wh_json_text(data, "status"));
}

static void on_qmp_closed(void *ctx, const char *why)
{
	struct wh_job *job = ctx;
	struct wh_error err;

	job->qmp = wh_qmp_close(job->qmp);
	job->qmp_ready = false;
	job->retire.qmp = NULL;
	if (job->retiring || wh_job_in_postcopy(job))
		return; /* that is what was asked for, or its memory is all that is needed */
	(void)wh_fail(&err, 0, "the source's QEMU is lost: %s", why);
	if (job->domain)
		wh_domain_monitor_lost(job, err.text);
	else if (job->state == WH_JOB_CANCELLING)
		wh_undo_monitor_lost(job, err.text);
	else if (job->continued)
		wh_asking_enter(job, err.text);
	else
		fail(job, &err);
}

int wh_source_monitor(struct wh_job *job, void (*ready)(void *ctx), struct wh_error *err)
{
	const struct wh_qmp_handler handler = {
		.ready = ready, .event = on_qmp_event, .closed = on_qmp_closed, .ctx = job
	};

	if (job->domain)
		return wh_qmp_open_domain(
			&job->qmp, &job->daemon->domains,
			&(struct wh_qmp_guest){ job->record.vm, job->record.vmm.pid }, &handler,
			err);
	if (!job->vm)
		return wh_fail(err, -ENOENT, "VM '%s' is not in the configuration any more",
		               job->record.vm);
	return wh_qmp_open(&job->qmp, job->daemon->loop, job->vm->qmp, &handler, err);
}

static int open_guest(struct wh_job *job, struct wh_error *err)
{
	int r = wh_network_find(job->interface, job->daemon->config, job->settings.network, err);

	if (r == 0 && job->domain)
		r = wh_domain_find_vmm(job, err);
	if (r < 0)
		return r;
	r = wh_source_monitor(job, on_qmp_ready, err);
	if (r < 0)
		return wh_context(err, r, "VM '%s' does not run here", job->record.vm);
	r = wh_process_identify(&job->record.vmm, wh_qmp_pid(job->qmp));
	return r < 0 ? wh_fail(err, r, "QEMU is gone") : 0;
}

static struct wh_job *new_job(struct wh_daemon *daemon, const struct wh_move *move)
{
	struct wh_job *job = wh_job_new(daemon, WH_ROLE_SOURCE, WH_JOB_PENDING);

	wh_job_name(job, move);
	job->move = *move;
	job->settings = move->settings;
	job->vm = wh_find_vm(daemon->config, move->vm);
	job->node = wh_find_node(daemon->config, move->target);
	if (!job->vm)
		wh_domain_open(job);
	wh_log(WH_LOG_INFO, "migration.requested", WH_STR("migration", move->id),
	       WH_STR("vm", move->vm), WH_STR("peer", move->target),
	       WH_STR("policy", move->policy));
	return job;
}

/* Whether this is possible at all. Return: 0 or -errno. */
static int check_order(struct wh_daemon *daemon, const struct wh_move *move, struct wh_error *err)
{
	const struct wh_job *job = wh_job_find(daemon, move->vm);
	int r = wh_find_vm(daemon->config, move->vm) ? 0 : wh_domain_check(daemon, move->vm, err);

	if (r < 0)
		return r;
	if (!wh_find_node(daemon->config, move->target))
		return wh_fail(err, -ENOENT, "no node '%s' in the configuration of node %s",
		               move->target, daemon->config->node);
	if (job)
		return wh_fail(err, -EBUSY, "VM '%s' is in migration %s already (%s)", move->vm,
		               job->record.id, wh_job_state_name(job->state));
	if (daemon->stopping)
		return wh_fail(err, -ESHUTDOWN, "wherryd of node %s is about to stop",
		               daemon->config->node);
	return 0;
}

int wh_source_start(struct wh_daemon *daemon, const struct wh_move *move, struct wh_error *err)
{
	struct wh_job *job = wh_job_find(daemon, move->id);
	int r;

	if (job && !strcmp(job->record.id, move->id))
		return 0;
	r = check_order(daemon, move, err);
	if (r < 0)
		return r;
	job = new_job(daemon, move);
	job->times.begun_ns = wh_now_ns(&wh_clock_monotonic);
	wh_job_move(job, WH_JOB_PREPARING);
	if (open_guest(job, err) < 0)
		fail(job, err);
	return 0;
}
