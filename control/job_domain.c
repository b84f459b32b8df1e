/* SPDX-License-Identifier: Apache-2.0 */

#include "job_domain.h"
#include "domain_xml.h"
#include "qmp_domain.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "wherry/assert.h"
#include "wherry/clock.h"
#include "wherry/fdpass.h"
#include "wherry/log.h"

#define AGAIN_NS WH_NSEC_PER_SEC

bool wh_job_is_domain(const struct wh_job *job)
{
	return job->record.engine != WH_ENGINE_QMP;
}

void wh_domain_open(struct wh_job *job)
{
	struct wh_job_domain *d = calloc(1, sizeof(*d));

	wh_assert(d);
	d->vmm_pidfd = -1;
	for (enum wh_stream s = 0; s < WH_STREAMS; s++)
		d->leads[s].fd = -1;
	if (job->record.engine == WH_ENGINE_QMP)
		job->record.engine = WH_ENGINE_OFFLOAD; /* until it is known better */
	job->domain = d;
}

int wh_domain_check(const struct wh_daemon *daemon, const char *name, struct wh_error *err)
{
	const struct wh_domain *domain;
	struct wh_error why;

	if (!daemon->libvirt)
		return wh_fail(err, -ENOENT, "no VM '%s' in the configuration of node %s", name,
		               daemon->config->node);
	if (!wh_libvirt_connected(daemon->libvirt, &why))
		return wh_fail(err, -ENOTCONN, "%s", why.text);
	domain = wh_libvirt_domain(daemon->libvirt, name);
	if (!domain)
		return wh_fail(err, -ENOENT,
		               "no VM '%s' in the configuration of node %s, and no such domain",
		               name, daemon->config->node);
	if (!domain->active)
		return wh_fail(err, -EINVAL, "domain '%s' does not run on node %s", name,
		               daemon->config->node);
	return 0;
}

int wh_domain_find_vmm(struct wh_job *job, struct wh_error *err)
{
	const struct wh_domain *domain = wh_libvirt_domain(job->daemon->libvirt, job->record.vm);
	pid_t pid;
	int r = wh_qmp_domain_pid(&pid, job->daemon->config->libvirt->pids, job->record.vm, err);

	if (r < 0)
		return r;
	job->domain->persistent = domain && domain->persistent;
	r = wh_process_identify(&job->record.vmm, pid);
	return r < 0 ? wh_fail(err, r, "QEMU is gone") : 0;
}

int wh_target_monitor_path(const struct wh_job *job, char *buf, size_t size, struct wh_error *err)
{
	int n;

	if (job->domain && wh_domain_path(job, WH_DOMAIN_MONITOR_PREFIX, "", buf, size) < 0)
		return wh_fail(err, -ENAMETOOLONG, "%s is too long", job->record.directory);
	if (job->domain)
		return 0;
	if (!job->vm)
		return wh_fail(err, -ENOENT, "the VM is not in the configuration any more");
	n = snprintf(buf, size, "%s", job->vm->qmp);
	return n > 0 && (size_t)n < size ? 0 : wh_fail(err, -ENAMETOOLONG, "%s", job->vm->qmp);
}

void wh_target_restore(struct wh_job *job, wh_qmp_reply_fn reply)
{
	if (job->domain)
		wh_domain_ignore_shared(job, false, reply);
	else
		wh_guest_restore(job->qmp, reply, job);
}

int wh_domain_libvirt_path(const struct wh_job *job, char *buf, size_t size)
{
	int n = snprintf(buf, size, "%s/%s.libvirt", job->daemon->socket_dir, job->record.id);

	return n > 0 && (size_t)n < size ? 0 : -ENAMETOOLONG;
}

static void unlink_ours(const struct wh_job *job, const char *prefix, const char *suffix)
{
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)];

	if (wh_domain_path(job, prefix, suffix, path, sizeof(path)) == 0)
		(void)unlink(path); /* QEMU may have removed it, or never made it */
}

/* The next wherryd does, where the guest may be at its place. */
static bool needs_monitor(const struct wh_job *job)
{
	return !wh_process_is_gone(&job->record.vmm) &&
	       (wh_phase_is_committed(job->record.phase) || wh_domain_is_claimed(job));
}

/* What a QEMU that was killed leaves: libvirt knows nothing of it. */
static void remove_sockets(const struct wh_job *job)
{
	const bool target = job->record.role == WH_ROLE_TARGET;
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)];

	if (!target && wh_domain_libvirt_path(job, path, sizeof(path)) == 0)
		(void)unlink(path); /* of a wherryd that was killed */
	if (!*job->record.directory)
		return;
	if (!target && job->domain->moved && *job->record.monitor)
		(void)unlink(job->record.monitor);
	unlink_ours(job, WH_DOMAIN_SOCKET_PREFIX, ".sock");
	unlink_ours(job, WH_DOMAIN_SOCKET_PREFIX, ".disks");
	if (target && !needs_monitor(job))
		unlink_ours(job, WH_DOMAIN_MONITOR_PREFIX, "");
}

void wh_domain_close(struct wh_job *job)
{
	struct wh_job_domain *d = job->domain;

	if (!d)
		return;
	wh_libvirt_forget(job->daemon->libvirt, job);
	wh_timer_stop(&d->again);
	wh_timer_stop(&d->read_due);
	wh_timer_stop(&d->vmm_again);
	wh_watch_stop(&d->vmm_watch);
	wh_closep(&d->vmm_pidfd);
	d->hook = wh_hook_close(d->hook);
	wh_disks_remove(job);
	remove_sockets(job);
	wh_ways_close(job);
	d->streams = wh_streams_close(d->streams);
	free(d->live_xml);
	free(d->persistent_xml);
	free(d->disks);
	free(d->expect);
	free(d);
	job->domain = NULL;
}

/* Only a process that is gone is gone: to be short of something here says nothing of it. */
static void watch(void *ctx)
{
	struct wh_job *job = ctx;
	struct wh_job_domain *d = job->domain;
	wh_cleanup(wh_closep) int fd = wh_process_open(&job->record.vmm);

	if (fd >= 0 && wh_watch_start(&d->vmm_watch, job->daemon->loop, fd, EPOLLIN) == 0) {
		d->vmm_pidfd = wh_steal_fd(&fd);
		return;
	}
	if (fd < 0 && fd != -EMFILE && fd != -ENFILE && fd != -ENOMEM) {
		d->vmm_watch.ready(job, 0);
		return;
	}
	d->vmm_again = (struct wh_timer){ .fired = watch, .ctx = job };
	wh_timer_start(&d->vmm_again, job->daemon->loop, AGAIN_NS);
}

void wh_domain_watch_vmm(struct wh_job *job, void (*gone)(void *ctx, uint32_t events))
{
	job->domain->vmm_watch = (struct wh_watch){ .ready = gone, .ctx = job };
	watch(job);
}

int wh_domain_path(const struct wh_job *job, const char *prefix, const char *suffix, char *buf,
                   size_t size)
{
	int n = snprintf(buf, size, "%s/%s%s%s", job->record.directory, prefix, job->record.id,
	                 suffix);

	return n > 0 && (size_t)n < size ? 0 : -ENAMETOOLONG;
}

void wh_domain_ignore_shared(struct wh_job *job, bool on, wh_qmp_reply_fn reply)
{
	json_t *list = json_pack("[{s:s, s:b}]", "capability", "x-ignore-shared", "state", on);

	wh_assert(list);
	wh_qmp_call(job->qmp, "migrate-set-capabilities", json_pack("{s:o}", "capabilities", list),
	            reply, job);
}

void wh_domain_again(struct wh_job *job, void (*fired)(void *ctx))
{
	struct wh_timer *timer = &job->domain->again;

	wh_timer_stop(timer);
	*timer = (struct wh_timer){ .fired = fired, .ctx = job };
	wh_timer_start(timer, job->daemon->loop, AGAIN_NS);
}

void wh_domain_refuse(struct wh_job *job, const char *why)
{
	wh_log(WH_LOG_ERROR, "migration.not-frozen", WH_STR("migration", job->record.id),
	       WH_STR("reason", why));
	wh_ways_close(job);
}
