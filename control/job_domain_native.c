/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A source whose memory QEMU moves itself - through wherry-tunnel, in the migration's cgroup and so
 * under its limit, and under the same clocks as any other migration. What is counted, libvirt counts.
 */

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "job_domain.h"

#include "wherry/clock.h"
#include "wherry/fdpass.h"
#include "wherry/log.h"

#define TICK_NS (200 * WH_NSEC_PER_MSEC)

static uint64_t now(void)
{
	return wh_now_ns(&wh_clock_monotonic);
}

static void fail(struct wh_job *job, const char *why)
{
	wh_job_fail(job, WH_OUTCOME_FAILED, why);
}

static void on_streams_failed(void *ctx, const char *why)
{
	fail(ctx, why);
}

int wh_native_open(struct wh_job *job, struct wh_error *err)
{
	struct wh_streams_config cfg = {
		.loop = job->daemon->loop,
		.program = job->daemon->config->libvirt->tunnel,
		.failed = on_streams_failed,
		.ctx = job,
	};
	wh_cleanup(wh_closep) int procs = wh_job_open_leaf(job, err);
	int links[WH_RATE_LINKS];

	if (procs < 0)
		return procs;
	cfg.procs_fd = procs;
	cfg.hold_fds = links;
	cfg.hold_count = job->rate ? wh_rate_bpf_links(job->rate, links) : 0;
	return wh_streams_open(&job->domain->streams, &cfg, err);
}

static void on_switched(void *ctx, const char *text, const char *error)
{
	struct wh_job *job = ctx;

	if (!text)
		wh_log(WH_LOG_ERROR, "migration.switch-failed", WH_STR("migration", job->record.id),
		       WH_STR("reason", error));
}

static void switch_to(struct wh_job *job, enum wh_switch_mode mode, const char *why)
{
	struct wh_libvirt *libvirt = job->daemon->libvirt;

	wh_source_note_switch(job, mode, why);
	if (mode == WH_SWITCH_POSTCOPY)
		wh_libvirt_postcopy(libvirt, job->record.vm, on_switched, job);
	else
		wh_libvirt_suspend(libvirt, job->record.vm, on_switched, job);
}

int wh_native_postcopy(struct wh_job *job, struct wh_error *err)
{
	if (job->state != WH_JOB_PRECOPY || job->switching != WH_SWITCH_NONE)
		return wh_fail(err, -EBUSY,
		               "migration %s is '%s': only from PreCopy it can go into post-copy",
		               job->record.id, wh_job_state_name(job->state));
	switch_to(job, WH_SWITCH_POSTCOPY, "asked for by the operator");
	return 0;
}

/* The clocks. */

static void judge(struct wh_job *job, const struct wh_left *left)
{
	struct wh_settings settings = job->settings;
	enum wh_verdict verdict;
	struct wh_error why;

	settings.allow_post_copy = job->may_postcopy;
	verdict = wh_deadline_check(&job->deadline, &settings, *left, now());
	if (verdict == WH_IN_TIME)
		return;
	wh_deadline_explain(&why, verdict, &job->deadline, &job->settings);
	if (verdict == WH_GO_POST_COPY)
		switch_to(job, WH_SWITCH_POSTCOPY, why.text);
	else if (verdict == WH_GO_PAUSE)
		switch_to(job, WH_SWITCH_PAUSE, why.text);
	else
		wh_job_fail(job, WH_OUTCOME_DEADLINE, why.text);
}

static void count(struct wh_job *job, const struct wh_libvirt_job *libvirt)
{
	uint64_t *value = job->stats.value;
	uint64_t received;

	value[WH_STAT_RAM_BYTES] = libvirt->memory_total_bytes + libvirt->disk_total_bytes;
	value[WH_STAT_LEFT_BYTES] = libvirt->memory_left_bytes + libvirt->disk_left_bytes;
	value[WH_STAT_ROUND_BYTES] = value[WH_STAT_RAM_BYTES];
	value[WH_STAT_PAGE_BYTES] = libvirt->memory_done_bytes + libvirt->disk_done_bytes;
	value[WH_STAT_ROUND] = libvirt->rounds;
	wh_streams_bytes(job->domain->streams, &value[WH_STAT_WIRE_BYTES], &received);
}

static void on_job(void *ctx, const struct wh_libvirt_job *libvirt, const char *error)
{
	struct wh_job *job = ctx;
	struct wh_left left;

	(void)error; /* that is heard of from the migration itself */
	if (!libvirt || !libvirt->active || !job->domain->streams)
		return;
	count(job, libvirt);
	if (job->state != WH_JOB_PRECOPY && job->state != WH_JOB_PAUSED)
		return;
	if (job->deadline.started_ns == 0 && libvirt->memory_total_bytes > 0)
		wh_deadline_start(&job->deadline,
		                  libvirt->memory_total_bytes + libvirt->disk_total_bytes, now());
	left = (struct wh_left){
		.round_bytes = job->stats.value[WH_STAT_ROUND_BYTES],
		.left_bytes = job->stats.value[WH_STAT_LEFT_BYTES],
	};
	if (job->deadline.started_ns != 0)
		judge(job, &left);
}

static void on_tick(void *ctx)
{
	struct wh_job *job = ctx;

	if (!job->domain->migrating || job->domain->frozen)
		return; /* what libvirt asks of a QEMU that is frozen is not answered */
	wh_libvirt_job(job->daemon->libvirt, job->record.vm, on_job, job);
	wh_timer_start(&job->tick, job->daemon->loop, TICK_NS);
}

void wh_native_begin(struct wh_job *job)
{
	wh_job_move(job, WH_JOB_PRECOPY);
	job->tick = (struct wh_timer){ .fired = on_tick, .ctx = job };
	wh_timer_start(&job->tick, job->daemon->loop, TICK_NS);
}

void wh_native_leaves(struct wh_job *job)
{
	struct wh_node_message msg = { .type = WH_NODE_PROCEED, .running = job->record.running };
	struct wh_error err;

	if (wh_job_record(job, WH_PHASE_ASKING, &err) < 0)
		fail(job, err.text);
	else if (job->peer)
		wh_peer_send(job->peer, &msg);
}

/* From here on the end of QEMU is that of the guest here. */
void wh_native_event(struct wh_job *job, const char *status)
{
	const bool leaves = !strcmp(status, "pre-switchover") || !strcmp(status, "device") ||
	                    !strcmp(status, "postcopy-active");

	if (!leaves || job->continued || job->state != WH_JOB_PRECOPY)
		return;
	job->continued = true;
	wh_job_move(job, WH_JOB_HAND_OVER);
}
