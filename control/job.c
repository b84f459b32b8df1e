/* SPDX-License-Identifier: Apache-2.0 */

#include "job.h"
#include "job_domain.h"
#include "missing.h"
#include "turn.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/un.h>
#include <unistd.h>

#include "wherry/assert.h"
#include "wherry/clock.h"
#include "wherry/fdpass.h"
#include "wherry/log.h"

#define TO(state) (1u << WH_JOB_##state)

/* A killed mover takes its memory mappings down with it; that is the longest part. */
#define LEAF_NS (5 * WH_NSEC_PER_SEC)

static const struct {
	const char *name;
	unsigned next; /* set of TO() */
} states[WH_JOB_STATES] = {
	[WH_JOB_PENDING] = { "Pending", TO(PREPARING) | TO(CANCELLING) },
	[WH_JOB_PREPARING] = { "Preparing", TO(PRECOPY) | TO(CANCELLING) },
	[WH_JOB_PRECOPY] = { "PreCopy", TO(PAUSED) | TO(HAND_OVER) | TO(CANCELLING) },
	[WH_JOB_PAUSED] = { "Paused", TO(HAND_OVER) | TO(CANCELLING) },
	[WH_JOB_HAND_OVER] = { "HandOver", TO(ASKING) | TO(POSTCOPY) | TO(POSTCOPY_PAUSED) |
	                                           TO(SUCCEEDED) | TO(CANCELLING) },
	[WH_JOB_ASKING] = { "Asking", TO(POSTCOPY_PAUSED) | TO(SUCCEEDED) | TO(CANCELLING) },
	[WH_JOB_POSTCOPY] = { "PostCopy", TO(POSTCOPY_PAUSED) | TO(SUCCEEDED) },
	[WH_JOB_POSTCOPY_PAUSED] = { "PostCopyPaused", TO(POSTCOPY) | TO(SUCCEEDED) },
	[WH_JOB_CANCELLING] = { "Cancelling", TO(CANCELLED) | TO(FAILED) },
	[WH_JOB_SUCCEEDED] = { "Succeeded", 0 },
	[WH_JOB_CANCELLED] = { "Cancelled", 0 },
	[WH_JOB_FAILED] = { "Failed", 0 },
};

const char *wh_job_state_name(enum wh_job_state state)
{
	wh_assert(state < WH_JOB_STATES);
	return states[state].name;
}

bool wh_job_may_move(enum wh_job_state from, enum wh_job_state to)
{
	wh_assert(from < WH_JOB_STATES && to < WH_JOB_STATES);
	return (states[from].next & (1u << to)) != 0;
}

bool wh_job_is_over(enum wh_job_state state)
{
	wh_assert(state < WH_JOB_STATES);
	return states[state].next == 0;
}

const char *wh_outcome_name(enum wh_outcome outcome)
{
	switch (outcome) {
	case WH_OUTCOME_NONE:
		return "";
	case WH_OUTCOME_CANCELLED:
		return "cancelled";
	case WH_OUTCOME_DEADLINE:
		return "deadline";
	case WH_OUTCOME_FAILED:
		return "failed";
	}
	return "";
}

struct wh_job *wh_job_new(struct wh_daemon *daemon, enum wh_worker_role role,
                          enum wh_job_state state)
{
	struct wh_job *job = calloc(1, sizeof(*job));
	struct timespec now;

	wh_assert(job); /* some KiB, a few times a day */
	job->daemon = daemon;
	job->state = state;
	job->record.role = role;
	job->record.vmm_uffd = -1;
	job->tunnel_fd = job->listen_fd = -1;
	job->times.created_ns = wh_now_ns(&wh_clock_monotonic);
	wh_assert(clock_gettime(CLOCK_REALTIME, &now) == 0);
	job->times.created_ms =
		(uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / WH_NSEC_PER_MSEC;
	job->next = daemon->jobs;
	daemon->jobs = job;
	return job;
}

void wh_job_name(struct wh_job *job, const struct wh_move *move)
{
	wh_assert(getrandom(job->record.token, WH_TOKEN_BYTES, 0) == WH_TOKEN_BYTES);
	memcpy(job->record.vm, move->vm, WH_NAME_MAX);
	memcpy(job->record.id, move->id, WH_NAME_MAX);
	memcpy(job->record.peer, move->target, WH_NAME_MAX);
}

void wh_job_move(struct wh_job *job, enum wh_job_state to)
{
	wh_assert(wh_job_may_move(job->state, to));
	wh_log(WH_LOG_INFO, "migration.state", WH_STR("migration", job->record.id),
	       WH_STR("vm", job->record.vm),
	       WH_STR("role", job->record.role == WH_ROLE_SOURCE ? "source" : "target"),
	       WH_STR("peer", job->record.peer), WH_STR("from", wh_job_state_name(job->state)),
	       WH_STR("to", wh_job_state_name(to)),
	       WH_STR("reason", to >= WH_JOB_CANCELLING ? job->reason.text : ""));
	job->state = to;
	job->note.text[0] = '\0';
	wh_turn(job->daemon);
}

struct wh_job *wh_job_find(const struct wh_daemon *daemon, const char *name)
{
	for (struct wh_job *job = daemon->jobs; job; job = job->next)
		if (!strcmp(job->record.id, name))
			return job;
	for (struct wh_job *job = daemon->jobs; job; job = job->next)
		if (!strcmp(job->record.vm, name) && !wh_job_is_over(job->state))
			return job;
	return NULL;
}

int wh_job_record(struct wh_job *job, enum wh_phase phase, struct wh_error *err)
{
	const char *state_dir = job->daemon->config->state;
	enum wh_phase before = job->record.phase;
	bool staged = job->staged && job->staged_phase == phase;
	int r;

	job->record.phase = phase;
	job->staged = false;
	r = staged ? wh_journal_commit(state_dir, job->record.id, err)
	           : wh_journal_write(state_dir, &job->record, err);
	if (r < 0)
		job->record.phase = before;
	else
		job->journaled = true;
	return r;
}

void wh_job_record_ahead(struct wh_job *job, enum wh_phase phase)
{
	struct wh_record copy = job->record; /* borrows what the job's has */
	struct wh_error err;

	copy.phase = phase;
	job->staged_phase = phase;
	job->staged = wh_journal_stage(job->daemon->config->state, &copy, &err) == 0;
}

void wh_job_describe(const struct wh_job *job, struct wh_node_message *msg)
{
	const struct wh_ram *ram = &job->guest.ram;

	memcpy(msg->migration, job->record.id, WH_NAME_MAX);
	memcpy(msg->vm, job->record.vm, WH_NAME_MAX);
	memcpy(msg->token, job->record.token, WH_TOKEN_BYTES);
	msg->ram_count = ram->count;
	for (uint32_t i = 0; i < ram->count; i++) {
		memcpy(msg->ram[i].name, ram->files[i].name, WH_NAME_MAX);
		msg->ram[i].bytes = ram->files[i].bytes;
	}
}

char *wh_job_tunnel_line(const struct wh_job *job, enum wh_stream stream)
{
	struct wh_node_message msg = {
		.type = WH_NODE_TUNNEL,
		.version_max = WH_NODE_VERSION_MAX,
		.stream = stream,
		.running = job->record.running,
	};

	memcpy(msg.migration, job->record.id, WH_NAME_MAX);
	memcpy(msg.token, job->record.token, WH_TOKEN_BYTES);
	return wh_node_format(&msg);
}

int wh_job_socket_path(const struct wh_job *job, char *buf, size_t size)
{
	int n = snprintf(buf, size, "%s/%s.%s", job->daemon->socket_dir, job->record.id,
	                 job->record.role == WH_ROLE_SOURCE ? "out" : "in");

	if (n < 0 || (size_t)n >= size || (size_t)n >= sizeof(((struct sockaddr_un *)0)->sun_path))
		return -ENAMETOOLONG;
	return 0;
}

static void remove_socket(const struct wh_job *job)
{
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)];

	if (wh_job_socket_path(job, path, sizeof(path)) == 0)
		(void)unlink(path); /* QEMU may have removed it, or never made it */
}

void wh_job_unrecord(struct wh_job *job)
{
	struct wh_error err;

	if (!job->journaled)
		return;
	/* The record goes last: a wherryd that is killed here finds it again. */
	remove_socket(job);
	if (job->domain)
		wh_disks_remove(job);
	if (wh_journal_remove(job->daemon->config->state, job->record.id, &err) < 0)
		wh_log(WH_LOG_WARNING, "journal.failed", WH_STR("migration", job->record.id),
		       WH_STR("reason", err.text));
	else
		job->journaled = false;
}

static int open_leaf(struct wh_job *job, struct wh_error *err)
{
	int r = wh_cgroup_create(&job->leaf, job->daemon->cgroup_parent_fd, job->record.id, err);

	if (r < 0 || job->record.role == WH_ROLE_TARGET)
		return r; /* what a target sends is a trickle */
	wh_assert(job->leaf);
	r = wh_rate_bpf_open(&job->rate, job->leaf->dir_fd, job->settings.bandwidth_bps, err);
	return r < 0 ? wh_context(err, r, "cannot limit the bandwidth") : 0;
}

int wh_job_open_leaf(struct wh_job *job, struct wh_error *err)
{
	int r = job->leaf ? 0 : open_leaf(job, err);

	return r < 0 ? r : wh_cgroup_procs(job->leaf, err);
}

int wh_job_open_worker(struct wh_job *job, const struct wh_worker_handler *handler,
                       struct wh_error *err)
{
	wh_cleanup(wh_closep) int procs = wh_job_open_leaf(job, err);

	if (procs < 0)
		return procs;
	return wh_worker_open(&job->worker,
	                      &(struct wh_worker_config){
				      .loop = job->daemon->loop,
				      .mover = job->daemon->config->mover,
				      .procs_fd = procs,
				      .handler = *handler,
			      },
	                      err);
}

/* The target's, for a mover that begins with nothing, or for one that goes on. */
static int open_missing(const struct wh_job *job, bool resume, int *ret, struct wh_error *err)
{
	uint64_t bytes = wh_ram_bytes(&job->guest.ram);
	int fd;

	if (job->record.role == WH_ROLE_SOURCE || !job->may_postcopy)
		return 0;
	fd = resume ? wh_missing_open(job->record.missing, bytes, err)
	            : wh_missing_make(job->record.missing, bytes, err);
	if (fd < 0)
		return fd;
	*ret = fd;
	return 0;
}

int wh_job_begin_worker(struct wh_job *job, struct wh_worker_start *start, struct wh_error *err)
{
	struct wh_worker_fds fds = { 0 };
	const struct wh_ram *ram = &job->guest.ram;
	wh_cleanup(wh_closep) int missing = -1;
	int r = open_missing(job, start->resume, &missing, err);
	int bucket = -1;

	if (r == 0)
		r = wh_job_put_rdma(job, start, &bucket, err);
	if (r < 0)
		return r;
	start->postcopy = job->may_postcopy;
	start->vmm_pid = (int32_t)job->record.vmm.pid;
	start->vmm_uffd = start->resume ? job->record.vmm_uffd : -1;
	start->lingers = job->record.role == WH_ROLE_SOURCE && wh_disks_linger(job);
	start->type = WH_WORKER_START;
	start->role = job->record.role;
	start->region_count = ram->count;
	start->connections = job->daemon->config->connections;
	start->compression = job->daemon->config->compression;
	start->downtime_target_ns = job->daemon->config->downtime_ns;
	if (start->role == WH_ROLE_SOURCE && job->guest.direct_io)
		start->echo_ns = job->daemon->config->direct_io_ns;
	memcpy(start->congestion, job->daemon->config->congestion, sizeof(start->congestion));
	memcpy(start->token, job->record.token, WH_TOKEN_BYTES);
	memcpy(start->interface, job->interface, sizeof(start->interface));
	for (uint32_t i = 0; i < ram->count; i++) {
		memcpy(start->regions[i].name, ram->files[i].name, WH_NAME_MAX);
		start->regions[i].bytes = ram->files[i].bytes;
		fds.fds[fds.count++] = ram->files[i].fd;
	}
	if (missing >= 0)
		fds.fds[fds.count++] = missing;
	if (bucket >= 0)
		fds.fds[fds.count++] = bucket;
	if (job->rate)
		start->hold_count = (uint32_t)wh_rate_bpf_links(job->rate, &fds.fds[fds.count]);
	fds.count += start->hold_count;
	return wh_worker_begin(job->worker, start, &fds, err);
}

/*
 * Each mover counts on a page of its own, and post-copy that was resumed has had several. What is
 * neither a sum nor known from the first one on is the last one's.
 */
static const enum {
	LAST,
	SUM,
	FIRST,
} kinds[WH_STAT_COUNT] = {
	[WH_STAT_ROUND] = SUM,
	[WH_STAT_ZERO_BYTES] = SUM,
	[WH_STAT_PAGE_BYTES] = SUM,
	[WH_STAT_WIRE_BYTES] = SUM,
	[WH_STAT_RDMA_BYTES] = SUM,
	[WH_STAT_COMPRESSED_RAW_BYTES] = SUM,
	[WH_STAT_COMPRESSED_BYTES] = SUM,
	[WH_STAT_FAULTS] = SUM,
	[WH_STAT_FAULT_BYTES] = SUM,
	[WH_STAT_PUSH_BYTES] = SUM,
	[WH_STAT_STALL_NS] = SUM,
	[WH_STAT_RAM_BYTES] = FIRST,
	[WH_STAT_UNTOUCHED_BYTES] = FIRST,
	[WH_STAT_STARTED_NS] = FIRST,
	[WH_STAT_CONVERGED_NS] = FIRST,
	[WH_STAT_STOPPED_NS] = FIRST,
	[WH_STAT_SCANNED_NS] = FIRST,
	[WH_STAT_POSTCOPY_NS] = FIRST,
};

static uint64_t count_of(const struct wh_job *job, enum wh_stat which)
{
	uint64_t gone = job->stats.value[which];
	uint64_t live;

	if (!job->worker)
		return gone;
	live = wh_stat_get(wh_worker_stats(job->worker), which);
	if (kinds[which] == SUM)
		return gone + live;
	return kinds[which] == FIRST && gone ? gone : live;
}

static uint64_t bucket_of(const struct wh_job *job, uint32_t bucket)
{
	uint64_t gone = job->stats.fault_ns_log2[bucket];

	return job->worker ? gone + wh_stat_fault_bucket(wh_worker_stats(job->worker), bucket)
	                   : gone;
}

uint64_t wh_job_stat(const struct wh_job *job, enum wh_stat which)
{
	if (job->theirs_known && (which == WH_STAT_FAULTS || which == WH_STAT_STALL_NS))
		return job->theirs_stats.value[which];
	return count_of(job, which) + job->disks.value[which];
}

uint64_t wh_job_fault_bucket(const struct wh_job *job, uint32_t bucket)
{
	wh_assert(bucket < WH_FAULT_BUCKETS);
	return job->theirs_known ? job->theirs_stats.fault_ns_log2[bucket] : bucket_of(job, bucket);
}

uint64_t wh_job_wall_ms(const struct wh_job *job, uint64_t ns)
{
	if (ns == 0)
		return 0;
	return job->times.created_ms + (ns - job->times.created_ns) / WH_NSEC_PER_MSEC;
}

void wh_job_limiter(const struct wh_job *job, struct wh_rate_stats *ret)
{
	if (job->rate)
		wh_rate_bpf_stats(job->rate, ret);
	else
		*ret = job->limiter;
}

void wh_job_drop_worker(struct wh_job *job)
{
	uint64_t deadline_ns = wh_now_ns(&wh_clock_monotonic) + LEAF_NS;
	struct wh_error err;

	for (enum wh_stat s = 0; job->worker && s < WH_STAT_COUNT; s++)
		job->stats.value[s] = count_of(job, s);
	for (uint32_t i = 0; job->worker && i < WH_FAULT_BUCKETS; i++)
		job->stats.fault_ns_log2[i] = bucket_of(job, i);
	job->worker = wh_worker_close(job->worker);
	wh_job_limiter(job, &job->limiter);
	job->rate = wh_rate_bpf_close(job->rate);
	if (job->leaf && (wh_cgroup_kill(job->leaf, deadline_ns, &err) < 0 ||
	                  wh_cgroup_remove(job->leaf, &err) < 0))
		wh_log(WH_LOG_WARNING, "cgroup.left", WH_STR("migration", job->record.id),
		       WH_STR("reason", err.text));
	job->leaf = wh_cgroup_close(job->leaf);
}

/* Everything that a job uses while it works, in the order that disturbs least. */
static void release(struct wh_job *job)
{
	wh_timer_stop(&job->tick);
	wh_timer_stop(&job->timer);
	wh_timer_stop(&job->patience);
	wh_timer_stop(&job->beat);
	wh_connect_stop(&job->connecting);
	wh_watch_stop(&job->accept);
	wh_closep(&job->tunnel_fd);
	wh_closep(&job->listen_fd);
	job->tunnel = wh_tunnel_close(job->tunnel);
	wh_job_unthrottle(job);
	wh_job_drop_worker(job);
	job->qmp = wh_qmp_close(job->qmp);
	job->qmp_ready = false;
	wh_retire_stop(&job->retire);
	job->retiring = false;
	if (job->child)
		wh_child_forget(job->child);
	job->child = NULL;
	remove_socket(job);
	wh_domain_close(job);
	wh_guest_done(&job->guest);
}

/* For metrics, where it is to be remembered for longer than the job itself. */
static void count_end(const struct wh_job *job, enum wh_job_state state)
{
	struct wh_totals *totals = &job->daemon->totals;
	const struct wh_job_times *t = &job->times;
	enum wh_outcome outcome = job->outcome;

	if (state == WH_JOB_SUCCEEDED)
		outcome = WH_OUTCOME_NONE;
	else if (outcome == WH_OUTCOME_NONE)
		outcome = WH_OUTCOME_FAILED;
	if (job->record.role == WH_ROLE_TARGET) {
		totals->targets[outcome]++;
		return;
	}
	totals->sources[outcome]++;
	if (outcome == WH_OUTCOME_NONE && t->stopped_ns != 0 && t->running_ns > t->stopped_ns)
		wh_totals_downtime(totals, t->running_ns - t->stopped_ns);
}

void wh_job_end(struct wh_job *job, enum wh_job_state state)
{
	release(job);
	if (*job->record.missing)
		(void)unlink(job->record.missing); /* it may never have been made */
	job->times.ended_ns = wh_now_ns(&wh_clock_monotonic);
	if (!job->closing && job->record.role == WH_ROLE_SOURCE)
		job->peer = wh_peer_close(job->peer);
	if (job->closing && job->record.role == WH_ROLE_TARGET) {
		wh_job_unrecord(job); /* the source has finished, and did not wait for us */
		job->closing = false;
	}
	if (state == WH_JOB_SUCCEEDED)
		job->reason.text[0] = '\0'; /* it had to ask, and all was well */
	count_end(job, state);
	wh_job_move(job, state);
}

void wh_job_free(struct wh_job *job)
{
	release(job);
	if (job->daemon->libvirt)
		wh_libvirt_forget(job->daemon->libvirt, job);
	if (job->record.role == WH_ROLE_SOURCE)
		job->peer = wh_peer_close(job->peer);
	wh_record_done(&job->record);
	free(job);
}

bool wh_job_can_undo(const struct wh_job *job)
{
	if (job->record.role == WH_ROLE_TARGET)
		return job->state < WH_JOB_CANCELLING &&
		       !wh_phase_is_committed(job->record.phase) && !wh_domain_is_claimed(job);
	return job->state < WH_JOB_ASKING && !job->continued;
}

bool wh_job_in_postcopy(const struct wh_job *job)
{
	return job->state == WH_JOB_POSTCOPY || job->state == WH_JOB_POSTCOPY_PAUSED;
}

void wh_job_fail(struct wh_job *job, enum wh_outcome outcome, const char *reason)
{
	if (!wh_job_can_undo(job)) {
		wh_domain_give_up(job, reason);
		return;
	}
	job->outcome = outcome;
	if (reason != job->reason.text)
		(void)snprintf(job->reason.text, sizeof(job->reason.text), "%s", reason);
	wh_job_move(job, WH_JOB_CANCELLING);
	if (job->record.role == WH_ROLE_SOURCE)
		wh_undo_source(job);
	else
		wh_target_undo(job);
}
