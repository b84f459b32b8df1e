/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A source whose guest is a domain - from the target's leave to begin until the device state may go.
 *
 *	expected  -> sockets that lead there -> x-ignore-shared on -> XML -> libvirt begins
 *	ready     -> mover, as ever
 *	converged -> journal: asking -> proceed -> QEMU's stream comes, and is held back
 *	          -> the guest stands still and its I/O is drained: FINISH to the mover
 *	landed    -> the stream is let go: job_domain_finish.c
 *
 * libvirt rules: it stops the guest, and resumes it if its migration fails. What is undone here is
 * what was done here.
 */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "domain_xml.h"
#include "files.h"
#include "job_domain.h"

#include "wherry/assert.h"
#include "wherry/clock.h"
#include "wherry/log.h"

static uint64_t now(void)
{
	return wh_now_ns(&wh_clock_monotonic);
}

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
	if (job->domain->moved)
		return; /* as was known */
	if (job->state == WH_JOB_CANCELLING) {
		wh_domain_undo_further(job);
	} else if (job->domain->finishing) {
		wh_domain_ask(job, "the source's QEMU is gone");
	} else {
		job->continued = false;
		fail(job, "the source's QEMU is gone");
	}
}

/* libvirt. */

static void on_migrated(void *ctx, const char *text, const char *error)
{
	struct wh_job *job = ctx;
	struct wh_error err;

	job->domain->migrating = false;
	job->domain->by_libvirt = text != NULL;
	if (!wh_domain_answered(job)) {
		wh_domain_undo_further(job);
		return;
	}
	if (job->domain->ended) {
		job->domain->ended(job);
		return;
	}
	if (text || job->domain->vmm_gone || job->domain->moved)
		return; /* the end of its QEMU leads on */
	(void)wh_quote(&err, 0, *job->reason.text ? job->reason.text : "libvirt", error);
	if (job->domain->finishing) {
		wh_domain_ask(job, err.text);
		return;
	}
	job->continued = false; /* QEMU lives, and libvirt lets the guest go on in it */
	fail(job, err.text);
}

static void migrate(struct wh_job *job)
{
	struct wh_job_domain *d = job->domain;
	char destination[sizeof(d->leads[0].path) + 64];
	char memory[sizeof(d->leads[0].path) + 16];
	char disks[sizeof(d->leads[0].path) + 16];
	struct wh_libvirt_migration m = {
		.domain = job->record.vm,
		.destination = destination,
		.memory_uri = memory,
		.disks_uri = d->disks ? disks : NULL,
		.disks = d->disks,
		.live_xml = d->live_xml,
		.persistent_xml = d->persistent_xml,
		.persistent = d->persistent,
	};
	const bool native = job->record.engine == WH_ENGINE_NATIVE;

	m.postcopy = native && job->may_postcopy;
	(void)snprintf(destination, sizeof(destination), "qemu+unix:///system?socket=%s",
	               d->leads[WH_STREAM_LIBVIRT].path);
	(void)snprintf(memory, sizeof(memory), "unix://%s", d->leads[WH_STREAM_MEMORY].path);
	(void)snprintf(disks, sizeof(disks), "unix://%s", d->leads[WH_STREAM_DISKS].path);
	d->migrating = true;
	d->due++;
	wh_libvirt_migrate(job->daemon->libvirt, &m, on_migrated, job);
	if (native)
		wh_native_begin(job);
}

/* Its XML at the target: as it is, but for our monitor, which is another one each time. */

static int prepare_live_xml(struct wh_job *job, struct wh_error *err)
{
	char path[sizeof(((struct wh_lead *)0)->path)];
	const bool offload = job->record.engine == WH_ENGINE_OFFLOAD;
	wh_cleanup(wh_freep) char *as_it_is = wh_steal(job->domain->live_xml);
	int r = wh_domain_path(job, WH_DOMAIN_MONITOR_PREFIX, "", path, sizeof(path));

	if (r < 0)
		return wh_fail(err, r, "the target's directory has too long a path");
	return wh_domain_xml_monitor(&job->domain->live_xml, as_it_is, offload ? path : NULL, err);
}

static void prepare_xml(struct wh_job *job)
{
	struct wh_error err;

	if (prepare_live_xml(job, &err) < 0)
		fail(job, err.text);
	else
		migrate(job);
}

static void on_ignoring(void *ctx, const json_t *result, const char *error)
{
	struct wh_job *job = ctx;
	struct wh_error err;

	if (job->state != WH_JOB_PREPARING)
		return;
	if (result) {
		prepare_xml(job);
		return;
	}
	(void)wh_fail(&err, 0, "QEMU cannot leave the memory to us: %s", error);
	fail(job, err.text);
}

static int listen_for_qemu(struct wh_job *job, enum wh_stream stream, const char *suffix,
                           struct wh_error *err)
{
	char path[sizeof(((struct wh_lead *)0)->path)];

	if (wh_domain_path(job, WH_DOMAIN_SOCKET_PREFIX, suffix, path, sizeof(path)) < 0)
		return wh_fail(err, -ENAMETOOLONG, "the target's directory has too long a path");
	return wh_ways_listen(job, stream, path, err);
}

static int listen_for_libvirt(struct wh_job *job, struct wh_error *err)
{
	char path[sizeof(((struct wh_lead *)0)->path)];
	int r = wh_domain_libvirt_path(job, path, sizeof(path));

	if (r == 0)
		r = wh_ways_listen(job, WH_STREAM_LIBVIRT, path, err);
	else
		(void)wh_fail(err, r, "the directory of wherryd's socket has too long a path");
	if (r < 0)
		return r;
	r = listen_for_qemu(job, WH_STREAM_MEMORY, ".sock", err);
	if (r == 0 && job->domain->disks)
		r = listen_for_qemu(job, WH_STREAM_DISKS, ".disks", err);
	return r;
}

static void on_expected(struct wh_job *job, const struct wh_node_message *expected)
{
	struct wh_error err;
	int r;

	(void)snprintf(job->record.directory, sizeof(job->record.directory), "%s",
	               expected->directory);
	wh_disks_copy(job, expected);
	r = wh_dir_make(job->record.directory, &err);
	if (r == 0)
		r = wh_job_record(job, WH_PHASE_BEGUN, &err);
	if (r == 0)
		r = listen_for_libvirt(job, &err);
	if (r < 0) {
		fail(job, err.text);
		return;
	}
	if ((job->domain->disks || job->record.engine == WH_ENGINE_NATIVE) &&
	    wh_native_open(job, &err) < 0) {
		fail(job, err.text);
		return;
	}
	if (job->record.engine == WH_ENGINE_NATIVE) {
		prepare_xml(job);
		return;
	}
	job->domain->ignoring = true;
	wh_domain_ignore_shared(job, true, on_ignoring);
}

/* Preparing. */

static enum wh_engine_wish wish_of(const struct wh_job *job)
{
	if (!strcmp(job->move.engine, "auto"))
		return WH_WISH_AUTO;
	if (!strcmp(job->move.engine, "offload"))
		return WH_WISH_OFFLOAD;
	if (!strcmp(job->move.engine, "native"))
		return WH_WISH_NATIVE;
	return job->daemon->config->libvirt->engine;
}

const char *wh_domain_choose(struct wh_job *job, const char *why)
{
	const enum wh_engine_wish wish = wish_of(job);

	if (wish == WH_WISH_OFFLOAD || (wish == WH_WISH_AUTO && !why))
		return why;
	job->record.engine = WH_ENGINE_NATIVE;
	wh_ram_done(&job->guest.ram);
	(void)snprintf(job->engine_note.text, sizeof(job->engine_note.text), "%s",
	               why ? why : "asked for");
	wh_log(WH_LOG_INFO, "migration.native", WH_STR("migration", job->record.id),
	       WH_STR("vm", job->record.vm), WH_STR("reason", job->engine_note.text));
	return NULL;
}

/* Preparing: what the domain is, before the target is asked. */

static void call_target(struct wh_job *job)
{
	struct wh_error err;

	if (wh_source_call(job, &err) < 0)
		fail(job, err.text);
}

static void on_persistent_xml(void *ctx, const char *text, const char *error)
{
	struct wh_job *job = ctx;
	struct wh_error err;

	if (!wh_domain_answered(job)) {
		wh_domain_undo_further(job);
		return;
	}
	if (!text)
		(void)wh_fail(&err, 0, "libvirt does not tell the domain's configuration: %s",
		              error);
	if (!text || wh_domain_xml_monitor(&job->domain->persistent_xml, text, NULL, &err) < 0)
		fail(job, err.text);
	else
		call_target(job);
}

/* "unix:PATH,server=on,..." in its command line, as wh_domain_xml_monitor() has written it. */
static void note_old_monitor(struct wh_job *job, const char *xml)
{
	const char *name = strstr(xml, "/" WH_DOMAIN_MONITOR_PREFIX);
	const char *path = name;

	while (path && path > xml && path[-1] != ':' && path[-1] != '\'' && path[-1] != '"')
		path--;
	if (path && *path == '/' && strcspn(path, ",") < sizeof(job->record.monitor))
		(void)snprintf(job->record.monitor, sizeof(job->record.monitor), "%.*s",
		               (int)strcspn(path, ","), path);
}

static void on_live_xml(void *ctx, const char *text, const char *error)
{
	struct wh_job *job = ctx;
	struct wh_error err;

	if (!wh_domain_answered(job)) {
		wh_domain_undo_further(job);
		return;
	}
	if (!text)
		(void)wh_fail(&err, 0, "libvirt does not tell what the domain is: %s", error);
	if (!text || wh_disks_find(job, text, &err) < 0) {
		fail(job, err.text);
		return;
	}
	job->domain->live_xml = strdup(text);
	wh_assert(job->domain->live_xml);
	note_old_monitor(job, text);
	if (!job->domain->persistent) {
		call_target(job);
		return;
	}
	job->domain->due++;
	wh_libvirt_xml(job->daemon->libvirt, job->record.vm, WH_DOMAIN_XML_PERSISTENT,
	               on_persistent_xml, job);
}

void wh_domain_begin(struct wh_job *job)
{
	job->domain->due++;
	wh_libvirt_xml(job->daemon->libvirt, job->record.vm, WH_DOMAIN_XML_MIGRATABLE, on_live_xml,
	               job);
	wh_domain_watch_vmm(job, on_vmm_gone);
}

static void expect(struct wh_job *job)
{
	struct wh_node_message msg = { .type = WH_NODE_EXPECT };
	struct wh_error err;

	if (!wh_peer_knows_domains(job->peer)) {
		fail(job, "the target's wherryd is too old to take domains of libvirt");
		return;
	}
	job->may_postcopy = job->settings.allow_post_copy;
	msg.postcopy = job->may_postcopy;
	wh_job_describe(job, &msg);
	memcpy(msg.disks, job->domain->files, sizeof(msg.disks));
	msg.disk_count = job->domain->file_count;
	if (wh_job_offer_rdma(job, &msg, &err) < 0)
		fail(job, err.text);
	else
		wh_peer_send(job->peer, &msg);
}

static void on_ready(struct wh_job *job, const struct wh_node_message *msg)
{
	struct wh_error err;

	job->mover_port = msg->port;
	job->times.ready_ns = now();
	wh_job_watch_reads(job);
	if (wh_job_hear_rdma(job, msg, &err) < 0 || wh_source_start_mover(job, false, &err) < 0)
		fail(job, err.text);
}

bool wh_domain_message(struct wh_job *job, const struct wh_node_message *msg)
{
	const bool preparing = job->state == WH_JOB_PREPARING;

	if (msg->type == WH_NODE_RUNNING && job->domain->finishing)
		wh_domain_moved(job); /* what follows from that is not for domains only */
	if (preparing && msg->type == WH_NODE_WELCOME)
		expect(job);
	else if (preparing && msg->type == WH_NODE_EXPECTED && !*job->record.directory)
		on_expected(job, msg);
	else if (preparing && msg->type == WH_NODE_READY && job->domain->migrating && !job->worker)
		on_ready(job, msg);
	else
		return false;
	return true;
}

/* It holds the guest, or nobody does. */
void wh_domain_target_failed(struct wh_job *job, const char *why)
{
	const bool moved = job->domain->moved;

	(void)snprintf(job->reason.text, sizeof(job->reason.text), "%s", why);
	wh_log(WH_LOG_ERROR, "migration.target-failed", WH_STR("migration", job->record.id),
	       WH_STR("vm", job->record.vm), WH_STR("reason", why));
	if (!moved) { /* libvirt has the next word */
		job->domain->finishing = false;
		wh_domain_thaw(job);
		return;
	}
	job->outcome = WH_OUTCOME_FAILED;
	wh_job_move(job, WH_JOB_CANCELLING);
	wh_undo_source(job);
}

/* The hand-over. */

/*
 * libvirt removes the RAM files with their domain. In post-copy they are the guest's memory, and a
 * wherryd that is killed must find them again: by second names.
 */
static int keep_memory(struct wh_job *job, struct wh_error *err)
{
	struct wh_ram *ram = &job->record.ram;

	for (uint32_t i = 0; i < ram->count; i++) {
		int r = wh_ram_link(&ram->files[i], job->record.id, i, err);

		if (r < 0)
			return r;
	}
	return 0;
}

/* libvirt is to go on, and may end the guest here. */
static void proceed(struct wh_job *job)
{
	struct wh_node_message msg = { .type = WH_NODE_PROCEED, .running = job->record.running };
	struct wh_error err;

	if (wh_job_record(job, WH_PHASE_ASKING, &err) < 0) {
		fail(job, err.text);
		return;
	}
	if (job->peer)
		wh_peer_send(job->peer, &msg);
}

/* The disks come before QEMU's stream, and the mover lingers for as long. */
void wh_domain_near(struct wh_job *job)
{
	proceed(job);
}

void wh_domain_leaves(struct wh_job *job)
{
	struct wh_error err;

	if (!wh_disks_linger(job) || job->domain->leaves || !job->worker)
		return;
	job->domain->leaves = true;
	job->disks.value[WH_STAT_LEFT_BYTES] = 0;
	if (wh_worker_switch(job->worker, WH_SWITCH_PAUSE, &err) < 0)
		fail(job, err.text);
}

/* QEMU is about to stop the guest, within milliseconds: send what that has written since the last round. */
void wh_domain_nears_stop(struct wh_job *job)
{
	struct wh_error err;

	if (job->worker && job->state == WH_JOB_HAND_OVER && job->switching == WH_SWITCH_NONE &&
	    wh_worker_again(job->worker, &err) < 0)
		fail(job, err.text);
}

static void finish_pages(struct wh_job *job)
{
	struct wh_error err;

	if (!job->drained || !wh_hand_over_is_on(job))
		return;
	wh_job_ask_reads(job);
	if (job->worker && wh_worker_finish(job->worker, &err) < 0)
		fail(job, err.text);
}

void wh_domain_converged(struct wh_job *job)
{
	struct wh_error err;

	wh_throttle_lift(job);
	if (job->switching == WH_SWITCH_POSTCOPY && keep_memory(job, &err) < 0)
		fail(job, err.text);
	else if (job->domain->leaves)
		finish_pages(job); /* the guest may stand still already */
	else
		proceed(job);
}

static void on_drained(struct wh_job *job)
{
	job->drained = true;
	job->times.drained_ns = now();
	wh_domain_leaves(job); /* this may be seen before the connection */
	finish_pages(job);
}

void wh_domain_event(struct wh_job *job, const char *name, const char *status)
{
	const bool drained = !strcmp(status, "pre-switchover") || !strcmp(status, "device");

	if (job->record.engine == WH_ENGINE_NATIVE && !strcmp(name, "MIGRATION"))
		wh_native_event(job, status);
	if (job->record.phase != WH_PHASE_ASKING) { /* nor can libvirt have stopped it */
		if (!strcmp(name, "STOP"))
			job->record.running = false;
		else if (!strcmp(name, "RESUME"))
			job->record.running = true;
		return;
	}
	if (!strcmp(name, "STOP") && job->times.stopped_ns == 0)
		job->times.stopped_ns = now();
	else if (!strcmp(name, "MIGRATION") && drained && !job->drained)
		on_drained(job);
	else if (!strcmp(name, "MIGRATION") && !strcmp(status, "completed"))
		job->times.completed_ns = now();
}

void wh_domain_landed(struct wh_job *job)
{
	if (!job->landed_here || !job->landed_there || !job->drained)
		return;
	job->times.landed_ns = now();
	job->continued = true;
	wh_ways_release(job);
}
