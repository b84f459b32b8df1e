/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Target - a guest comes in.
 *
 *	Preparing  journal -> start "incoming" -> its monitor -> compare RAM -> capabilities,
 *	           migrate-incoming -> mover -> tell the source where the mover listens
 *	PreCopy    the mover receives
 *	HandOver   landed; the device state comes through the tunnel; QEMU: completed
 *	           -> journal: done or postcopy (the commit) -> cont -> tell the source
 *
 * Until the commit is on disk the guest never runs here, and any failure tears everything down.
 * Afterwards it is never torn down; the only way back is a QEMU that refuses "cont": then the
 * commit is taken back on disk before the source is told.
 */

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "files.h"
#include "job.h"
#include "job_domain.h"

#include "wherry/assert.h"
#include "wherry/clock.h"
#include "wherry/fdpass.h"
#include "wherry/log.h"

#define RETRY_NS (100 * WH_NSEC_PER_MSEC)

static uint64_t now(void)
{
	return wh_now_ns(&wh_clock_monotonic);
}

static void fail(struct wh_job *job, const char *why)
{
	wh_job_fail(job, WH_OUTCOME_FAILED, why);
}

void wh_target_tell(const struct wh_job *job, enum wh_node_type type)
{
	const struct wh_node_message msg = { .type = type };

	if (job->peer)
		wh_peer_send(job->peer, &msg);
}

bool wh_target_is_owed(const struct wh_job *job)
{
	return job->record.phase == WH_PHASE_POSTCOPY && !job->arrived;
}

static void answer(const struct wh_job *job, struct wh_peer *peer)
{
	const struct wh_node_message msg = {
		.type = WH_NODE_ANSWER,
		.committed = wh_phase_is_committed(job->record.phase),
		.postcopy = wh_target_is_owed(job),
	};

	wh_peer_send(peer, &msg);
}

void wh_target_answer(const struct wh_job *job)
{
	if (job->peer)
		answer(job, job->peer);
}

/* Commit. */

static void on_all_done(void *ctx, const json_t *result, const char *error)
{
	struct wh_job *job = ctx;

	if (!result)
		wh_log(WH_LOG_ERROR, "migration.undo-failed", WH_STR("migration", job->record.id),
		       WH_STR("vm", job->record.vm),
		       WH_STR("what", "the capabilities are still on"), WH_STR("reason", error));
	wh_job_end(job, WH_JOB_SUCCEEDED);
}

static void on_new_monitor(void *ctx)
{
	struct wh_job *job = ctx;

	job->qmp_ready = true;
	wh_target_restore(job, on_all_done);
}

static void on_new_monitor_closed(void *ctx, const char *why)
{
	on_all_done(ctx, NULL, why);
}

/* The one it was prepared by was lost: QEMU waited for memory, or wherryd was killed. */
static void restore_by_a_new_monitor(struct wh_job *job)
{
	const struct wh_qmp_handler handler = {
		.ready = on_new_monitor,
		.closed = on_new_monitor_closed,
		.ctx = job,
	};
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
	struct wh_error err;
	int r = wh_target_monitor_path(job, path, sizeof(path), &err);

	job->qmp = wh_qmp_close(job->qmp);
	if (r == 0)
		r = wh_qmp_open(&job->qmp, job->daemon->loop, path, &handler, &err);
	if (r < 0)
		on_all_done(job, NULL, err.text);
}

static void finish(void *ctx)
{
	struct wh_job *job = ctx;

	if (wh_domain_target_is_ending(job, finish))
		return;
	if (job->record.engine == WH_ENGINE_NATIVE)
		wh_job_end(job, WH_JOB_SUCCEEDED); /* libvirt had the capabilities */
	else if (job->qmp_ready)
		wh_target_restore(job, on_all_done);
	else
		restore_by_a_new_monitor(job);
}

void wh_target_finish(struct wh_job *job)
{
	struct wh_error err;

	if (wh_job_record(job, WH_PHASE_DONE, &err) < 0)
		wh_log(WH_LOG_WARNING, "journal.failed", WH_STR("migration", job->record.id),
		       WH_STR("reason", err.text));
	finish(job);
}

/* The guest is here for good. */
void wh_target_settle(struct wh_job *job)
{
	job->resuming = false;
	job->times.running_ns = now();
	wh_target_tell(job, WH_NODE_RUNNING);
	if (job->asked)
		wh_target_answer(job);
	wh_log(WH_LOG_INFO, "migration.arrived", WH_STR("migration", job->record.id),
	       WH_STR("vm", job->record.vm), WH_STR("peer", job->record.peer));
	/* A later wherryd must not resume a guest that somebody has paused since. */
	job->record.running = false;
	if (job->postcopy && !job->arrived)
		wh_owed_enter(job);
	else
		wh_target_finish(job);
}

static void on_resumed(void *ctx, const json_t *result, const char *error)
{
	struct wh_job *job = ctx;
	struct wh_error err;

	if (result) {
		wh_target_settle(job);
		return;
	}
	job->resuming = false;
	if (job->asked || wh_job_record(job, WH_PHASE_BEGUN, &err) < 0) {
		/* It stays committed, and the source must not run it again. */
		wh_log(WH_LOG_ERROR, "migration.resume-failed", WH_STR("migration", job->record.id),
		       WH_STR("vm", job->record.vm), WH_STR("reason", error));
		wh_target_settle(job);
		return;
	}
	(void)wh_fail(&err, 0, "QEMU does not resume the guest: %s", error);
	fail(job, err.text);
}

static void commit(struct wh_job *job)
{
	struct wh_error err;
	bool owed;

	if (job->domain || !job->landed_here || !job->loaded || job->state != WH_JOB_HAND_OVER)
		return; /* of a domain: job_domain_commit.c */
	owed = job->postcopy && !job->arrived;
	if (wh_job_record(job, owed ? WH_PHASE_POSTCOPY : WH_PHASE_DONE, &err) < 0) {
		fail(job, err.text);
		return;
	}
	wh_timer_stop(&job->timer);
	job->resuming = true;
	if (job->record.running)
		wh_qmp_call(job->qmp, "cont", NULL, on_resumed, job);
	else
		wh_target_settle(job);
}

/* The mover. */

static void on_listening(void *ctx, uint16_t port)
{
	struct wh_node_message msg = { .type = WH_NODE_READY, .port = port };
	struct wh_job *job = ctx;
	bool wanted = job->state == WH_JOB_PREPARING || job->state == WH_JOB_POSTCOPY_PAUSED;

	(void)snprintf(msg.no_rdma, sizeof(msg.no_rdma), "%s", job->no_rdma.text);
	if (port > 0 && job->peer && wanted)
		wh_peer_send(job->peer, &msg);
	else if (wh_job_in_postcopy(job))
		wh_owed_lost(job, "the source is lost");
	else
		fail(job, "the mover listens where it should not");
}

static void on_open(void *ctx)
{
	struct wh_job *job = ctx;

	if (job->state == WH_JOB_PREPARING)
		wh_job_move(job, WH_JOB_PRECOPY);
}

static void on_no_postcopy(void *ctx)
{
	fail(ctx, "the target's mover spoke of post-copy as a source does");
}

static void on_converged(void *ctx)
{
	fail(ctx, "the target's mover said that it converged");
}

static void on_landed(void *ctx, const struct wh_worker_landed *landed)
{
	struct wh_job *job = ctx;

	if (job->state == WH_JOB_POSTCOPY_PAUSED)
		wh_owed_landed(job, landed->vmm_uffd);
	if (job->state != WH_JOB_PRECOPY)
		return;
	job->landed_here = true;
	job->postcopy = landed->postcopy;
	job->record.vmm_uffd = landed->vmm_uffd;
	job->times.landed_ns = now();
	wh_job_move(job, WH_JOB_HAND_OVER);
	wh_target_tell(job, WH_NODE_LANDED);
	commit(job);
}

static void on_arrived(void *ctx)
{
	wh_owed_arrived(ctx);
}

static void on_mover_failed(void *ctx, int code, const char *why)
{
	struct wh_job *job = ctx;

	(void)code;
	if (wh_phase_is_committed(job->record.phase))
		wh_owed_lost(job, why);
	else
		fail(job, why);
}

int wh_target_start_mover(struct wh_job *job, bool resume, struct wh_error *err)
{
	const struct wh_worker_handler handler = {
		.listening = on_listening,
		.transport = wh_job_carries,
		.open = on_open,
		.no_postcopy = on_no_postcopy,
		.converged = on_converged,
		.landed = on_landed,
		.arrived = on_arrived,
		.failed = on_mover_failed,
		.ctx = job,
	};
	struct wh_worker_start start = { .resume = resume };
	int r = wh_job_open_worker(job, &handler, err);

	if (r < 0)
		return r;
	if (!job->peer || wh_peer_local_address(job->peer, &start.local) < 0)
		return wh_fail(err, -ENOTCONN, "the source is lost");
	wh_address_set_port(&start.local, 0);
	return wh_job_begin_worker(job, &start, err);
}

/* The hypervisor. */

static void on_incoming(void *ctx, const json_t *result, const char *error)
{
	struct wh_job *job = ctx;
	struct wh_error err;

	if (job->state != WH_JOB_PREPARING)
		return;
	if (!result)
		(void)wh_fail(&err, 0, "QEMU does not accept an incoming migration: %s", error);
	if (!result || wh_target_start_mover(job, false, &err) < 0)
		fail(job, err.text);
}

static void on_prepared(void *ctx, const json_t *result, const char *error)
{
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
	struct wh_job *job = ctx;
	struct wh_error err;

	if (job->state != WH_JOB_PREPARING)
		return;
	if (!result) {
		(void)wh_fail(&err, 0, "QEMU refuses the migration capabilities: %s", error);
		fail(job, err.text);
	} else if (wh_job_socket_path(job, path, sizeof(path)) < 0) {
		fail(job, "the directory of wherryd's socket has too long a path");
	} else {
		wh_guest_migrate(job->qmp, "migrate-incoming", path, on_incoming, job);
	}
}

static int check_guest(struct wh_job *job, struct wh_error *err)
{
	const struct wh_ram *ram = &job->guest.ram;
	int r;

	if (strcmp(job->guest.run_state, "inmigrate") != 0)
		return wh_fail(err, -EINVAL,
		               "the incoming QEMU is '%s': it must be started with -incoming defer",
		               job->guest.run_state);
	/* First the files, so that the teardown knows them whatever comes next. */
	r = wh_ram_open(&job->guest.ram, job->record.vmm.pid, err);
	if (r == 0 && wh_ram_copy(&job->record.ram, ram) < 0)
		return wh_fail(err, -ENOMEM, "out of memory");
	if (r == 0)
		r = wh_job_record(job, WH_PHASE_BEGUN, err);
	if (r == 0)
		r = wh_ram_compare(ram, job->theirs, job->their_count, err);
	return r;
}

static void on_described(void *ctx, const char *why)
{
	struct wh_job *job = ctx;
	struct wh_error err;

	if (job->state != WH_JOB_PREPARING)
		return;
	if (check_guest(job, &err) < 0)
		why = why ? why : err.text;
	if (why)
		fail(job, why);
	else if (job->domain)
		wh_domain_target_described(job);
	else
		wh_guest_prepare(job->qmp, WH_ROLE_TARGET, on_prepared, job);
}

static void on_qmp_ready(void *ctx)
{
	struct wh_job *job = ctx;

	job->qmp_ready = true;
	wh_timer_stop(&job->timer);
	job->guest.done = on_described;
	job->guest.ctx = job;
	wh_guest_describe(&job->guest, job->qmp);
}

static void on_qmp_event(void *ctx, const char *name, const json_t *data)
{
	const char *status = wh_json_text(data, "status");
	struct wh_job *job = ctx;

	if (job->domain && !strcmp(name, "RESUME"))
		wh_domain_resumed(job); /* it says so before it does */
	if (strcmp(name, "MIGRATION") != 0 || job->retiring)
		return;
	if (!strcmp(status, "completed")) {
		job->loaded = true;
		job->times.completed_ns = now();
		commit(job);
	} else if (!strcmp(status, "failed")) {
		fail(job, "QEMU cannot load the device state");
	}
}

static void on_qmp_closed(void *ctx, const char *why)
{
	struct wh_job *job = ctx;
	struct wh_error err;

	job->qmp = wh_qmp_close(job->qmp);
	job->qmp_ready = false;
	job->retire.qmp = NULL;
	if (job->retiring)
		return;
	(void)wh_fail(&err, 0, "the incoming QEMU is lost: %s", why);
	if (job->domain && job->resuming) {
		if (job->domain->vmm_gone)
			wh_domain_target_gone(job);
		return;
	}
	if (job->record.phase == WH_PHASE_POSTCOPY) {
		wh_owed_monitor_lost(job, err.text);
		return;
	}
	if (job->record.phase != WH_PHASE_DONE) {
		fail(job, err.text);
		return;
	}
	/* Committed, so whatever became of the guest, it became of it here. */
	wh_log(WH_LOG_ERROR, "migration.resume-failed", WH_STR("migration", job->record.id),
	       WH_STR("vm", job->record.vm), WH_STR("reason", err.text));
	if (job->resuming)
		wh_target_tell(job, WH_NODE_RUNNING);
	wh_job_end(job, WH_JOB_SUCCEEDED);
}

static void try_monitor(void *ctx)
{
	const struct wh_qmp_handler handler = {
		.ready = on_qmp_ready, .event = on_qmp_event, .closed = on_qmp_closed, .ctx = ctx
	};
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
	struct wh_job *job = ctx;
	struct wh_error err;
	int r = wh_target_monitor_path(job, path, sizeof(path), &err);

	if (r == 0)
		r = wh_qmp_open(&job->qmp, job->daemon->loop, path, &handler, &err);
	if (r == 0)
		r = wh_process_identify(&job->record.vmm, wh_qmp_pid(job->qmp));
	if (r == 0)
		return;
	if (now() - job->times.begun_ns > WH_INCOMING_NS) {
		(void)wh_context(&err, r,
		                 job->domain ? "the QEMU of '%s' does not answer"
		                             : "the 'incoming' command of VM '%s' did not "
		                               "come up",
		                 job->record.vm);
		fail(job, err.text);
		return;
	}
	job->timer = (struct wh_timer){ .fired = try_monitor, .ctx = job };
	wh_timer_start(&job->timer, job->daemon->loop, RETRY_NS);
}

void wh_target_monitor(struct wh_job *job)
{
	job->times.begun_ns = now();
	try_monitor(job);
}

static void on_child_ended(void *ctx, const char *how)
{
	struct wh_job *job = ctx;
	struct wh_error err;

	job->child = NULL;
	job->record.launcher = (struct wh_process){ 0 };
	/* One that daemonizes its QEMU ends well; one that is the QEMU is seen by its monitor. */
	if (job->qmp || !strcmp(how, "ended with status 0"))
		return;
	(void)wh_fail(&err, 0, "the 'incoming' command of VM '%s' %s", job->record.vm, how);
	fail(job, err.text);
}

/* Beside the socket; the record has it before it is made. */
int wh_target_name_missing(struct wh_job *job, struct wh_error *err)
{
	int n = snprintf(job->record.missing, sizeof(job->record.missing), "%s/%s.missing",
	                 job->daemon->socket_dir, job->record.id);

	if (n > 0 && (size_t)n < sizeof(job->record.missing))
		return 0;
	job->record.missing[0] = '\0';
	return wh_fail(err, -ENAMETOOLONG, "the directory of wherryd's socket has too long a path");
}

static int launch(struct wh_job *job, struct wh_error *err)
{
	int r = job->may_postcopy ? wh_target_name_missing(job, err) : 0;

	if (r == 0)
		r = wh_job_record(job, WH_PHASE_BEGUN, err);

	if (r == 0)
		r = wh_child_start(&job->child,
		                   &(struct wh_child_config){
					   .loop = job->daemon->loop,
					   .argv = job->vm->incoming,
					   .ended = on_child_ended,
					   .ctx = job,
				   },
		                   err);
	if (r < 0)
		return r;
	job->record.launcher = *wh_child_process(job->child);
	return wh_job_record(job, WH_PHASE_BEGUN, err);
}

/* Whether the guest can come to this node at all. */
static int check_request(struct wh_daemon *daemon, const struct wh_node_message *prepare,
                         struct wh_error *err)
{
	const struct wh_vm *vm = wh_find_vm(daemon->config, prepare->vm);
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	wh_cleanup(wh_closep) int fd = -1;

	if (!vm || !vm->incoming)
		return wh_fail(err, -ENOENT, "no VM '%s' with an 'incoming' command is configured",
		               prepare->vm);
	if (wh_job_find(daemon, prepare->migration) || wh_job_find(daemon, prepare->vm))
		return wh_fail(err, -EBUSY, "VM '%s' is in a migration here already", prepare->vm);
	if (daemon->stopping)
		return wh_fail(err, -ESHUTDOWN, "wherryd is about to stop");
	if (strlen(vm->qmp) >= sizeof(addr.sun_path))
		return wh_fail(err, -ENAMETOOLONG, "%s is longer than a socket's path may be",
		               vm->qmp);
	memcpy(addr.sun_path, vm->qmp, strlen(vm->qmp));
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0)
		return wh_fail(err, -EEXIST, "a QEMU of VM '%s' runs here already, at %s",
		               prepare->vm, vm->qmp);
	return 0;
}

struct wh_job *wh_target_job(struct wh_daemon *daemon, struct wh_peer *peer,
                             const struct wh_node_message *prepare, struct wh_error *err)
{
	char interface[IFNAMSIZ] = "";
	struct wh_job *job;

	if (wh_network_find(interface, daemon->config, daemon->settings.network, err) < 0)
		return NULL;

	job = wh_job_new(daemon, WH_ROLE_TARGET, WH_JOB_PREPARING);
	memcpy(job->record.id, prepare->migration, WH_NAME_MAX);
	memcpy(job->record.vm, prepare->vm, WH_NAME_MAX);
	memcpy(job->record.peer, prepare->node, WH_NAME_MAX);
	memcpy(job->record.token, prepare->token, WH_TOKEN_BYTES);
	memcpy(job->interface, interface, sizeof(interface));
	memcpy(job->theirs, prepare->ram, sizeof(job->theirs));
	job->their_count = prepare->ram_count;
	job->may_postcopy = prepare->postcopy;
	job->vm = wh_find_vm(daemon->config, prepare->vm);
	job->settings = daemon->settings;
	job->times.begun_ns = job->times.created_ns;
	job->peer = peer;
	wh_job_accept_rdma(job, prepare);
	wh_log(WH_LOG_INFO, "migration.incoming", WH_STR("migration", job->record.id),
	       WH_STR("vm", job->record.vm), WH_STR("peer", job->record.peer));
	return job;
}

int wh_target_new(struct wh_daemon *daemon, struct wh_peer *peer,
                  const struct wh_node_message *prepare, struct wh_job **ret, struct wh_error *err)
{
	struct wh_job *job;
	int r = check_request(daemon, prepare, err);

	if (r < 0)
		return r;
	job = wh_target_job(daemon, peer, prepare, err);
	if (!job)
		return -ENONET;
	*ret = job;
	if (launch(job, err) < 0)
		fail(job, err->text);
	else
		try_monitor(job);
	return 0;
}

static int connect_qemu(const struct wh_job *job)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	wh_cleanup(wh_closep) int fd =
		socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0 || wh_job_socket_path(job, addr.sun_path, sizeof(addr.sun_path)) < 0 ||
	    connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
		return -1;
	return wh_steal_fd(&fd);
}

void wh_target_tunnel(struct wh_job *job, const struct wh_target_tunnel *t)
{
	struct wh_tunnel_config cfg = {
		.loop = job->daemon->loop, .a = t->fd, .early = t->early, .early_len = t->early_len
	};

	if (job->domain) {
		wh_ways_arrive(job, t);
		return;
	}
	if (job->state != WH_JOB_PRECOPY || job->tunnel) {
		wh_closep(&cfg.a);
		return;
	}
	job->record.running = t->running;
	cfg.b = connect_qemu(job);
	if (cfg.b < 0) {
		wh_closep(&cfg.a);
		fail(job, "the incoming QEMU takes no device state");
		return;
	}
	if (wh_tunnel_open(&job->tunnel, &cfg) < 0)
		fail(job, "no memory for the tunnel");
	else
		wh_job_record_ahead(job, WH_PHASE_DONE); /* while the guest still runs */
}

void wh_target_ask(struct wh_job *job, struct wh_peer *peer)
{
	/* Of a domain whose QEMU has ended libvirt may still have to say whether the guest had run. */
	if (job->domain && (job->resuming || wh_domain_is_claimed(job))) {
		wh_domain_target_ask(job, peer);
		return;
	}
	if (job->resuming) {
		job->peer = peer;
		job->asked = true;
		/* Else answered when QEMU has, which may wait for the memory that is owed. */
		if (job->record.phase == WH_PHASE_POSTCOPY)
			wh_target_answer(job);
		return;
	}
	/* A source that asks has lost the stream: here it ends, too. */
	fail(job, "the source lost the connection and asks");
	answer(job, peer);
}

void wh_target_lost(struct wh_job *job, const char *why)
{
	struct wh_error err;

	job->peer = NULL;
	(void)wh_fail(&err, 0, "the connection to node %s is lost: %s", job->record.peer, why);
	if (job->domain && job->domain->ended)
		wh_domain_target_rpc_ended(job);
	else if (!wh_domain_is_claimed(
			 job)) /* else the source has the next word, and calls again */
		fail(job, err.text);
}

static void on_retired(void *ctx)
{
	struct wh_job *job = ctx;

	job->retiring = false;
	wh_job_unrecord(job);
	wh_job_end(job, job->outcome == WH_OUTCOME_FAILED ? WH_JOB_FAILED : WH_JOB_CANCELLED);
}

static void retire(void *ctx)
{
	struct wh_job *job = ctx;

	wh_job_drop_worker(job);
	job->retire = (struct wh_retire){
		.vmm = job->record.vmm,
		.launcher = job->record.launcher,
		.qmp = job->qmp_ready ? job->qmp : NULL,
		.qmp_path = job->vm ? job->vm->qmp : "",
		.ram = &job->record.ram,
		.done = on_retired,
		.ctx = job,
	};
	wh_retire_start(&job->retire, job->daemon->loop);
}

void wh_target_undo(struct wh_job *job)
{
	struct wh_node_message msg = { .type = WH_NODE_FAILED };

	memcpy(msg.reason, job->reason.text, sizeof(msg.reason));
	if (job->peer)
		wh_peer_send(job->peer, &msg);
	wh_timer_stop(&job->timer);
	job->tunnel = wh_tunnel_close(job->tunnel);
	if (job->domain) {
		wh_domain_target_undo(job);
		return;
	}
	job->retiring = true;
	if (!job->worker || !wh_worker_stop(job->worker, SIGTERM, retire, job))
		retire(job);
}
