/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Census - an entry is known by the inode of its socket: another hypervisor has another one.
 *
 *	no socket, or nobody listens   not here; looked at again each time
 *	somebody listens               here; its pidfd is kept, and its memory asked for
 *	the pidfd is readable          it has ended: back to the first
 */

#include "census.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "job.h"
#include "process.h"
#include "qmp.h"

#include "wherry/assert.h"
#include "wherry/clock.h"
#include "wherry/fdpass.h"

/* A monitor that another program uses does not answer; it shall not wait for us for long. */
#define PATIENCE_NS (2 * WH_NSEC_PER_SEC)

struct entry {
	struct wh_census *census;
	const struct wh_vm *vm; /* borrowed from the configuration */
	int pidfd;              /* of the hypervisor; -1 if there is none */
	struct stat socket;     /* that it listened at */
	uint64_t memory_bytes;
	struct wh_qmp *qmp; /* while it is being asked */
	struct wh_timer patience;
};

struct wh_census {
	struct wh_daemon *daemon;
	struct entry *entries;
	size_t count; /* of them: guests of the configuration */
	struct wh_census_domains *domains;
	struct wh_report_vm *vms; /* of both */
};

static void stop_asking(struct entry *e)
{
	wh_timer_stop(&e->patience);
	e->qmp = wh_qmp_close(e->qmp);
}

static void forget(struct entry *e)
{
	stop_asking(e);
	wh_closep(&e->pidfd);
	e->memory_bytes = 0;
}

static void on_memory(void *ctx, const json_t *result, const char *error)
{
	struct entry *e = ctx;

	(void)error; /* it stays unknown */
	e->memory_bytes = (uint64_t)json_integer_value(json_object_get(result, "base-memory"));
	stop_asking(e);
}

static void on_ready(void *ctx)
{
	struct entry *e = ctx;

	wh_qmp_call(e->qmp, "query-memory-size-summary", NULL, on_memory, e);
}

static void on_closed(void *ctx, const char *why)
{
	(void)why;
	stop_asking(ctx);
}

static void on_patience_over(void *ctx)
{
	stop_asking(ctx);
}

/* Somebody may listen there: find out who. */
static void meet(struct entry *e)
{
	const struct wh_qmp_handler handler = { .ready = on_ready, .closed = on_closed, .ctx = e };
	struct wh_process process;

	if (stat(e->vm->qmp, &e->socket) < 0)
		return;
	if (wh_qmp_open(&e->qmp, e->census->daemon->loop, e->vm->qmp, &handler, NULL) < 0)
		return;
	if (wh_process_identify(&process, wh_qmp_pid(e->qmp)) == 0)
		e->pidfd = wh_process_open(&process);
	if (e->pidfd < 0) {
		e->pidfd = -1;
		stop_asking(e);
		return;
	}
	e->patience = (struct wh_timer){ .fired = on_patience_over, .ctx = e };
	wh_timer_start(&e->patience, e->census->daemon->loop, PATIENCE_NS);
}

static bool has_ended(const struct entry *e)
{
	struct pollfd p = { .fd = e->pidfd, .events = POLLIN };
	struct stat now;

	return poll(&p, 1, 0) > 0 || stat(e->vm->qmp, &now) < 0 || now.st_ino != e->socket.st_ino ||
	       now.st_dev != e->socket.st_dev;
}

/* @vm is NULL for a domain. */
static const struct wh_job *job_of(const struct wh_census *c, const struct wh_vm *vm,
                                   const char *name)
{
	for (const struct wh_job *job = c->daemon->jobs; job; job = job->next)
		if (job->vm == vm && !strcmp(job->record.vm, name) && !wh_job_is_over(job->state))
			return job;
	return NULL;
}

/* The journal decides: until the commit the guest is the source's. */
static bool is_here(const struct wh_job *job)
{
	bool committed = wh_phase_is_committed(job->record.phase);

	return job->record.role == WH_ROLE_SOURCE ? !committed : committed;
}

static bool look_at(struct entry *e)
{
	const struct wh_job *job = job_of(e->census, e->vm, e->vm->name);

	if (job) {
		forget(e); /* the job needs the monitor, and the process is about to change */
		return is_here(job);
	}
	if (e->pidfd >= 0 && has_ended(e))
		forget(e);
	if (e->pidfd < 0)
		meet(e);
	return e->pidfd >= 0;
}

/* libvirt shows one that comes in as active, and paused, long before it is. */
static void add_domain(struct wh_census *c, struct wh_report_vm *vm,
                       const struct wh_domain_seen *seen)
{
	const struct wh_job *job = job_of(c, NULL, seen->domain->name);

	*vm = (struct wh_report_vm){
		.here = job ? is_here(job) : seen->domain->active,
		.libvirt = true,
		.memory_bytes = seen->domain->memory_bytes,
		.labels = seen->note->labels,
	};
	memcpy(vm->name, seen->domain->name, WH_NAME_MAX);
	(void)snprintf(vm->name_space, WH_NAME_MAX, "%s",
	               *seen->note->name_space ? seen->note->name_space : "default");
}

static size_t add_domains(struct wh_census *c, const struct wh_domain_list *domains)
{
	const size_t count = wh_census_domains_look(c->domains, domains);

	c->vms = reallocarray(c->vms, c->count + count + 1, sizeof(*c->vms));
	wh_assert(c->vms);
	for (size_t i = 0; i < count; i++) {
		const struct wh_domain_seen seen = wh_census_domains_at(c->domains, i);

		add_domain(c, &c->vms[c->count + i], &seen);
	}
	return count;
}

const struct wh_report_vm *wh_census_look(struct wh_census *c, const struct wh_domain_list *domains,
                                          size_t *count)
{
	*count = c->count + add_domains(c, domains);
	for (size_t i = 0; i < c->count; i++) {
		struct wh_report_vm *vm = &c->vms[i];
		uint64_t known = vm->memory_bytes;

		vm->here = look_at(&c->entries[i]);
		/* While it is moved nobody asks, and it has not become another size. */
		vm->memory_bytes = c->entries[i].memory_bytes ? c->entries[i].memory_bytes : known;
	}
	return c->vms;
}

struct wh_census *wh_census_open(struct wh_daemon *daemon)
{
	struct wh_census *c = calloc(1, sizeof(*c));
	size_t count = daemon->config->vm_count;

	wh_assert(c);
	c->daemon = daemon;
	c->count = count;
	c->domains = wh_census_domains_new(daemon->config);
	c->entries = calloc(count + 1, sizeof(*c->entries));
	c->vms = calloc(count + 1, sizeof(*c->vms));
	wh_assert(c->entries && c->vms);
	for (size_t i = 0; i < count; i++) {
		const struct wh_vm *vm = &daemon->config->vms[i];

		c->entries[i] = (struct entry){ .census = c, .vm = vm, .pidfd = -1 };
		memcpy(c->vms[i].name, vm->name, WH_NAME_MAX);
		memcpy(c->vms[i].name_space, vm->name_space, WH_NAME_MAX);
	}
	return c;
}

struct wh_census *wh_census_close(struct wh_census *c)
{
	if (!c)
		return NULL;
	for (size_t i = 0; i < c->count; i++)
		forget(&c->entries[i]);
	free(c->entries);
	free(c->vms);
	c->domains = wh_census_domains_free(c->domains);
	free(c);
	return NULL;
}
