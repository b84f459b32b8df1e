/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Hand-over - the part of a migration in which the guest stands still, on the source.
 *
 *	journal: asking -> tunnel -> migrate -> AGAIN to the mover: it sends what the guest wrote
 *	meanwhile -> stop -> pre-switchover -> FINISH to the mover -> landed on both sides (and QEMU
 *	has said that no read took too long, where disks have O_DIRECT)
 *	-> migrate-continue -> the target says that the guest runs
 *	-> journal: done -> quit QEMU, remove its files -> tell the target
 *
 * The guest is stopped by us. QEMU would stop it by itself, but then would also resume it by itself
 * when its stream breaks, and cannot know whether the target got the end of it: both sides would
 * run. A guest that we stopped stays so until we say otherwise, even if wherryd is killed at that
 * very moment (docs/decisions/0002-the-source-stops-its-guest.md). A QEMU that cannot be told to
 * leave it to us is told to migrate only once the guest was told to stop.
 *
 * After migrate-continue the target may commit at any moment. From there on, whatever fails leads
 * to Asking, and only an answer leads out of it.
 */

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "files.h"
#include "job.h"
#include "job_domain.h"
#include "turn.h"

#include "wherry/assert.h"
#include "wherry/clock.h"
#include "wherry/fdpass.h"
#include "wherry/log.h"

#define RETRY_FIRST_NS WH_NSEC_PER_SEC
#define RETRY_MAX_NS   (30 * WH_NSEC_PER_SEC)

static void fail(struct wh_job *job, const char *why)
{
	wh_job_fail(job, WH_OUTCOME_FAILED, why);
}

static uint64_t now(void)
{
	return wh_now_ns(&wh_clock_monotonic);
}

static void on_too_late(void *ctx)
{
	struct wh_job *job = ctx;

	if (job->domain && job->continued)
		return; /* libvirt has its own patience */
	if (job->continued)
		wh_asking_enter(job, "the target does not say that the guest runs");
	else
		fail(job, "the hand-over takes too long");
}

/* QEMU connects to us, to send the device state. */
static void on_accept(void *ctx, uint32_t events)
{
	struct wh_job *job = ctx;
	struct wh_tunnel_config cfg = { .loop = job->daemon->loop, .b = job->tunnel_fd };

	(void)events;
	cfg.a = accept4(job->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (cfg.a < 0)
		return;
	wh_watch_stop(&job->accept);
	job->tunnel_fd = -1;
	if (wh_tunnel_open(&job->tunnel, &cfg) < 0)
		fail(job, "no memory for the tunnel");
}

static int listen_for_qemu(struct wh_job *job, struct wh_error *err)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int r = wh_job_socket_path(job, addr.sun_path, sizeof(addr.sun_path));

	if (r < 0)
		return wh_fail(err, r, "the directory of wherryd's socket has too long a path");
	job->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (job->listen_fd < 0)
		return wh_fail(err, -errno, "cannot make a socket: %s", strerror(errno));
	(void)unlink(addr.sun_path); /* left by a daemon that was killed */
	if (bind(job->listen_fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 ||
	    listen(job->listen_fd, 1) < 0)
		return wh_fail(err, -errno, "cannot listen at %s: %s", addr.sun_path,
		               strerror(errno));
	job->accept = (struct wh_watch){ .ready = on_accept, .ctx = job };
	return wh_watch_start(&job->accept, job->daemon->loop, job->listen_fd, EPOLLIN);
}

static void on_started(void *ctx, const json_t *result, const char *error)
{
	struct wh_job *job = ctx;
	struct wh_error err;

	if (result || !wh_hand_over_is_on(job))
		return;
	(void)wh_fail(&err, 0, "QEMU does not start to migrate: %s", error);
	fail(job, err.text);
}

static void start_qemu(struct wh_job *job)
{
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)];

	wh_assert(wh_job_socket_path(job, path, sizeof(path)) == 0); /* it was bound */
	job->migrating = true;
	wh_guest_migrate(job->qmp, "migrate", path, on_started, job);
}

/* Once no vCPU runs, which QEMU may say after pre-switchover, and block I/O is drained. */
static void finish_pages(struct wh_job *job)
{
	struct wh_error err;

	if (!wh_hand_over_is_on(job) || !job->drained ||
	    (job->record.running && !job->stands_still))
		return;
	job->times.drained_ns = now();
	wh_job_ask_reads(job);
	if (wh_worker_finish(job->worker, &err) < 0)
		fail(job, err.text);
}

static void on_stopped(void *ctx, const json_t *result, const char *error)
{
	struct wh_job *job = ctx;

	job->stands_still = result != NULL;
	on_started(ctx, result, error);
	finish_pages(job);
}

static void stop_guest(struct wh_job *job)
{
	wh_throttle_lift(job); /* a vCPU that has used up its quota would stop late */
	if (job->record.running) {
		job->stopped = true;
		wh_qmp_call(job->qmp, "stop", NULL, on_stopped, job);
	}
	if (job->tunnel)
		wh_tunnel_hold(job->tunnel, false);
	if (!job->migrating)
		start_qemu(job);
}

/* All is ready to stop the guest, which runs. A mover that was told to end its rounds makes no more. */
static void end_precopy(struct wh_job *job)
{
	struct wh_error err;

	if (job->tunnel)
		wh_tunnel_hold(job->tunnel, true);
	if (job->switching != WH_SWITCH_NONE)
		stop_guest(job);
	else if (wh_worker_again(job->worker, &err) < 0)
		fail(job, err.text);
}

void wh_hand_over_converged(struct wh_job *job)
{
	if (!job->stopped && !job->domain)
		stop_guest(job);
}

static bool send_first_line(const struct wh_job *job)
{
	wh_cleanup(wh_freep) char *line = wh_job_tunnel_line(job, WH_STREAM_STATE);
	size_t len = strlen(line);
	ssize_t n;

	line[len] = '\n'; /* in place of the NUL: send() counts */
	n = send(job->tunnel_fd, line, len + 1, MSG_NOSIGNAL);
	return n == (ssize_t)len + 1; /* a new connection has room for it */
}

static void on_connected(void *ctx, int fd, const char *why)
{
	struct wh_job *job = ctx;
	struct wh_error err;

	if (fd < 0) {
		(void)wh_fail(&err, 0, "no tunnel to node %s: %s", job->record.peer, why);
		fail(job, err.text);
		return;
	}
	job->tunnel_fd = fd;
	if (!send_first_line(job))
		fail(job, "the tunnel takes no data");
	else if ((job->holds && !job->asleep) || !job->record.running)
		start_qemu(job);
	else
		end_precopy(job);
}

static int enter(struct wh_job *job, struct wh_error *err)
{
	union wh_worker_address to;
	int r = wh_job_record(job, WH_PHASE_ASKING, err);

	if (r == 0)
		r = listen_for_qemu(job, err);
	if (r < 0)
		return r;
	job->connecting = (struct wh_connecting){ .done = on_connected, .ctx = job };
	r = wh_address_parse(&to, job->node->address, job->daemon->config->port);
	if (r == 0)
		r = wh_connect_start(&job->connecting, job->daemon->loop, job->interface, &to);
	return r < 0 ? wh_fail(err, r, "no tunnel to node %s", job->record.peer) : 0;
}

bool wh_hand_over_is_on(const struct wh_job *job)
{
	return job->state == WH_JOB_PAUSED || job->state == WH_JOB_HAND_OVER;
}

static void hand_over(struct wh_job *job)
{
	wh_timer_stop(&job->tick);
	wh_job_move(job, WH_JOB_HAND_OVER);
	job->timer = (struct wh_timer){ .fired = on_too_late, .ctx = job };
	wh_timer_start(&job->timer, job->daemon->loop, WH_HAND_OVER_NS);
}

/* The guest stands still for as long as the last pass takes, and the deadline allows. */
static void pause_first(struct wh_job *job)
{
	wh_job_move(job, WH_JOB_PAUSED);
	wh_deadline_pause(&job->deadline, now());
	wh_timer_stop(&job->tick);
	wh_source_watch_time(job);
}

void wh_hand_over_enter(struct wh_job *job)
{
	struct wh_error err;

	if (job->switching == WH_SWITCH_PAUSE)
		pause_first(job);
	else
		hand_over(job);
	if (job->domain)
		wh_domain_converged(job);
	else if (enter(job, &err) < 0)
		fail(job, err.text);
}

static void on_continued(void *ctx, const json_t *result, const char *error)
{
	struct wh_job *job = ctx;
	struct wh_error err;

	if (result || job->state != WH_JOB_HAND_OVER)
		return;
	job->continued = false; /* QEMU refused: nothing has left it */
	(void)wh_fail(&err, 0, "QEMU does not continue to migrate: %s", error);
	fail(job, err.text);
}

void wh_hand_over_landed(struct wh_job *job)
{
	/* The target's wherryd must be alive: if it is silent, we would stand still until it is not. */
	if (!wh_hand_over_is_on(job) || !job->landed_here || !job->landed_there ||
	    job->reads_due > 0)
		return;
	if (job->state == WH_JOB_PAUSED)
		hand_over(job);
	if (job->domain) {
		wh_domain_landed(job);
		return;
	}
	job->times.landed_ns = now();
	job->continued = true;
	wh_qmp_call(job->qmp, "migrate-continue", json_pack("{s:s}", "state", "pre-switchover"),
	            on_continued, job);
}

/* Asking. */

static void send_ask(struct wh_job *job)
{
	const enum wh_node_type end = job->staying ? WH_NODE_STAY : WH_NODE_FINISHED;
	struct wh_node_message msg = { .type = job->closing ? end : WH_NODE_ASK };

	memcpy(msg.migration, job->record.id, WH_NAME_MAX);
	memcpy(msg.token, job->record.token, WH_TOKEN_BYTES);
	wh_peer_send(job->peer, &msg);
}

static void on_retry(void *ctx)
{
	struct wh_job *job = ctx;
	struct wh_error err;

	if (wh_source_call(job, &err) < 0)
		wh_asking_lost(job, err.text);
}

void wh_asking_lost(struct wh_job *job, const char *why)
{
	if (job->retry_ns == 0)
		job->retry_ns = RETRY_FIRST_NS;
	if (!job->closing && !wh_phase_is_committed(job->record.phase))
		(void)wh_fail(
			&job->note, 0,
			"the guest stays paused until node %s says whether it runs there, or "
			"you that it is off (cancel --target-is-off); asking again in %u s (%s)",
			job->record.peer, (unsigned)(job->retry_ns / WH_NSEC_PER_SEC), why);
	wh_log(WH_LOG_WARNING, "migration.asking", WH_STR("migration", job->record.id),
	       WH_STR("peer", job->record.peer), WH_STR("reason", why));
	job->timer = (struct wh_timer){ .fired = on_retry, .ctx = job };
	wh_timer_start(&job->timer, job->daemon->loop, job->retry_ns);
	job->retry_ns = job->retry_ns * 2 > RETRY_MAX_NS ? RETRY_MAX_NS : job->retry_ns * 2;
}

void wh_asking_enter(struct wh_job *job, const char *why)
{
	if (job->retiring)
		return;
	if (job->state == WH_JOB_ASKING) {
		/* After a restart QEMU is asked first; it may be gone before it answers. */
		if (!job->peer && !job->timer.source)
			wh_asking_lost(job, why);
		return;
	}
	(void)snprintf(job->reason.text, sizeof(job->reason.text), "%s", why);
	wh_job_move(job, WH_JOB_ASKING);
	wh_timer_stop(&job->timer);
	wh_job_drop_worker(job);
	job->tunnel = wh_tunnel_close(job->tunnel);
	if (job->peer)
		send_ask(job);
	else
		wh_asking_lost(job, why);
}

void wh_asking_welcome(struct wh_job *job)
{
	job->retry_ns = 0;
	send_ask(job);
}

void wh_asking_answer(struct wh_job *job, bool committed, bool owed)
{
	if (job->domain)
		wh_domain_told(job, committed, owed);
	if (committed && owed && !job->arrived) {
		wh_postcopy_owed(job);
		return;
	}
	if (committed) {
		wh_finish_enter(job);
		return;
	}
	job->outcome = WH_OUTCOME_FAILED;
	wh_timer_stop(&job->timer);
	wh_job_move(job, WH_JOB_CANCELLING);
	wh_undo_source(job);
}

void wh_asking_abandon(struct wh_job *job)
{
	(void)wh_fail(&job->reason, 0, "node %s is off, says the operator", job->record.peer);
	wh_log(WH_LOG_WARNING, "migration.abandoned", WH_STR("migration", job->record.id),
	       WH_STR("vm", job->record.vm), WH_STR("peer", job->record.peer));
	wh_asking_answer(job, false, false);
}

/* The guest has moved. */

void wh_hand_over_running(struct wh_job *job)
{
	job->times.running_ns = now();
	if (job->postcopy)
		wh_postcopy_enter(job);
	else
		wh_finish_enter(job);
}

static void log_end(const struct wh_job *job)
{
	const struct wh_job_times *t = &job->times;

	wh_log(WH_LOG_INFO, "migration.done", WH_STR("migration", job->record.id),
	       WH_STR("vm", job->record.vm), WH_STR("peer", job->record.peer),
	       WH_U64("total_ns", t->ended_ns - t->created_ns),
	       WH_U64("downtime_ns", t->stopped_ns ? t->running_ns - t->stopped_ns : 0),
	       WH_U64("rounds", wh_job_stat(job, WH_STAT_ROUND)),
	       WH_U64("wire_bytes", wh_job_stat(job, WH_STAT_WIRE_BYTES)));
}

static void on_all_gone(void *ctx)
{
	struct wh_job *job = ctx;

	job->closing = true;
	wh_job_end(job, WH_JOB_SUCCEEDED);
	log_end(job);
	if (job->peer)
		send_ask(job);
	else
		wh_asking_lost(job, "to say that the source is done");
}

/* The mover goes last: without a hypervisor there are no page tables to stop tracking in. */
static void on_retired(void *ctx)
{
	struct wh_job *job = ctx;

	if (wh_domain_is_ending(job, on_retired))
		return;
	if (!job->worker || !wh_worker_stop(job->worker, SIGKILL, on_all_gone, job))
		on_all_gone(job);
}

static void retire(struct wh_job *job)
{
	const bool completed = job->times.completed_ns > 0;

	wh_timer_stop(&job->timer);
	job->retire = (struct wh_retire){
		.vmm = job->record.vmm,
		.qmp = completed && job->qmp_ready ? job->qmp : NULL,
		.qmp_path = job->vm ? job->vm->qmp : "",
		.kill = !completed,
		.leave = job->domain != NULL, /* libvirt ends its own */
		.ram = &job->record.ram,
		.done = on_retired,
		.ctx = job,
	};
	wh_retire_start(&job->retire, job->daemon->loop);
}

static void on_not_completed(void *ctx)
{
	retire(ctx);
}

/*
 * The guest may run at the target a moment before QEMU here has completed its migration. One that is told
 * to end then cancels it instead, and takes back the disks that the guest uses there.
 */
void wh_finish_enter(struct wh_job *job)
{
	struct wh_error err;

	if (job->times.running_ns == 0)
		job->times.running_ns = now();
	wh_timer_stop(&job->timer);
	/* Without this record the next wherryd asks again; nothing is lost. */
	if (wh_job_record(job, WH_PHASE_DONE, &err) < 0)
		wh_log(WH_LOG_WARNING, "journal.failed", WH_STR("migration", job->record.id),
		       WH_STR("reason", err.text));
	job->retiring = true;
	if (job->times.completed_ns > 0 || !job->qmp_ready || job->domain) {
		retire(job);
		return;
	}
	job->timer = (struct wh_timer){ .fired = on_not_completed, .ctx = job };
	wh_timer_start(&job->timer, job->daemon->loop, WH_COMPLETE_NS);
}

void wh_finish_closed(struct wh_job *job)
{
	wh_job_unrecord(job);
	job->closing = false;
	job->peer = wh_peer_close(job->peer);
	wh_turn(job->daemon);
}

/* What QEMU tells. */

static void on_pre_switchover(struct wh_job *job)
{
	job->drained = true;
	finish_pages(job);
}

static void on_migration_status(struct wh_job *job, const char *status)
{
	struct wh_error err;

	if (!strcmp(status, "active")) {
		if (job->record.running && !job->stopped)
			end_precopy(job);
	} else if (!strcmp(status, "pre-switchover")) {
		on_pre_switchover(job);
	} else if (!strcmp(status, "failed") || !strcmp(status, "cancelled")) {
		(void)wh_fail(&err, 0, "the source's QEMU says that its migration %s",
		              *status == 'f' ? "failed" : "was cancelled");
		if (job->continued)
			wh_asking_enter(job, err.text);
		else
			fail(job, err.text);
	}
}

/* Of a guest that sleeps QEMU does not wait to be told to stop it, and would wake it again. */
static void on_sleep(struct wh_job *job, bool asleep)
{
	job->asleep = asleep;
	if (asleep && wh_hand_over_is_on(job) && job->migrating && !job->stands_still)
		fail(job, "the guest fell asleep in the hand-over");
}

static void on_completed(struct wh_job *job)
{
	job->times.completed_ns = now();
	if (job->retiring)
		retire(job);
}

void wh_hand_over_event(struct wh_job *job, const char *name, const char *status)
{
	bool copying = job->state == WH_JOB_PREPARING || job->state == WH_JOB_PRECOPY;

	if (!strcmp(name, "SUSPEND") || !strcmp(name, "WAKEUP"))
		on_sleep(job, *name == 'S');
	else if (!strcmp(name, "STOP") && job->stopped && job->times.stopped_ns == 0)
		job->times.stopped_ns = now();
	else if (!strcmp(name, "STOP") && !job->stopped && job->record.running &&
	         wh_hand_over_is_on(job))
		/* If that was QEMU, it would resume the guest by itself, too. */
		fail(job, "the guest was stopped, and not by wherryd");
	else if (copying && !strcmp(name, "STOP"))
		job->record.running = false; /* by somebody else: it stays so at the target */
	else if (copying && !strcmp(name, "RESUME"))
		job->record.running = true;
	else if (!strcmp(name, "MIGRATION") && !strcmp(status, "completed"))
		on_completed(job);
	else if (!strcmp(name, "MIGRATION") && wh_hand_over_is_on(job) && !job->retiring)
		on_migration_status(job, status);
}
