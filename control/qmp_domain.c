/* SPDX-License-Identifier: Apache-2.0 */

/*
 * QMP domain - the link is libvirt's call for commands, and its events.
 *
 * The calls of one domain keep their order in libvirt.c, so the oldest call waiting is the one being
 * answered here, too.
 */

#include "qmp_domain.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "files.h"
#include "qmp_link.h"

#include "wherry/assert.h"
#include "wherry/limits.h"

/* A pid, and the arguments of a QEMU: libvirt's are some KiB, and those of hundreds of disks 100. */
#define PID_BYTES_MAX     32u
#define CMDLINE_BYTES_MAX (1u << 20)

struct wh_qmp_domain {
	struct wh_qmp_domain *next;
	struct wh_qmp_domains *domains;
	struct wh_qmp *qmp;
	struct wh_timer ready;
	char name[WH_NAME_MAX];
	uint64_t told; /* the last event that it knows */
};

static void on_answer(void *ctx, const char *text, const char *error)
{
	struct wh_qmp_domain *d = ctx;

	if (text)
		wh_qmp_hear(d->qmp, text, strlen(text));
	else
		wh_qmp_refused(d->qmp, error);
}

static void send_line(void *link, const char *line)
{
	struct wh_qmp_domain *d = link;

	wh_libvirt_monitor(d->domains->libvirt, d->name, line, on_answer, d);
}

static void close_domain(void *link)
{
	struct wh_qmp_domain *d = link;
	struct wh_qmp_domain **at = &d->domains->first;

	wh_libvirt_forget(d->domains->libvirt, d);
	wh_timer_stop(&d->ready);
	while (*at != d)
		at = &(*at)->next;
	*at = d->next;
	free(d);
}

static void on_ready(void *ctx)
{
	struct wh_qmp_domain *d = ctx;

	wh_qmp_ready(d->qmp);
}

/*
 * Those of @name, or all if it is NULL, one with each call until none is left: being told may close any
 * of them, and open others, which are not told.
 */
static struct wh_qmp_domain *next_to_tell(struct wh_qmp_domains *domains, const char *name)
{
	for (struct wh_qmp_domain *d = domains->first; d; d = d->next)
		if (d->told < domains->told && (!name || !strcmp(d->name, name))) {
			d->told = domains->told;
			return d;
		}
	return NULL;
}

void wh_qmp_domains_event(struct wh_qmp_domains *domains, const char *domain, const char *event,
                          const json_t *data)
{
	const bool closed = !strcmp(event, "CLOSED");
	struct wh_qmp_domain *d;

	domains->told++;
	while ((d = next_to_tell(domains, domain))) {
		if (closed)
			wh_qmp_lost(d->qmp, "the domain has stopped");
		else
			wh_qmp_event(d->qmp, event, data);
	}
}

void wh_qmp_domains_changed(struct wh_qmp_domains *domains)
{
	struct wh_qmp_domain *d;
	struct wh_error why;

	if (wh_libvirt_connected(domains->libvirt, &why))
		return;
	domains->told++;
	while ((d = next_to_tell(domains, NULL)))
		wh_qmp_lost(d->qmp, why.text);
}

int wh_qmp_open_domain(struct wh_qmp **ret, struct wh_qmp_domains *domains,
                       const struct wh_qmp_guest *guest, const struct wh_qmp_handler *handler,
                       struct wh_error *err)
{
	wh_cleanup(wh_qmp_closep) struct wh_qmp *q = NULL;
	struct wh_qmp_domain *d;

	if (!wh_libvirt_connected(domains->libvirt, err))
		return -ENOTCONN;
	q = wh_qmp_new(domains->loop, handler);
	d = calloc(1, sizeof(*d));
	wh_assert(q && d); /* a few bytes, as for each call */
	*d = (struct wh_qmp_domain){ .next = domains->first,
		                     .domains = domains,
		                     .qmp = q,
		                     .ready = { .fired = on_ready, .ctx = d },
		                     .told = domains->told };
	(void)snprintf(d->name, sizeof(d->name), "%s", guest->domain);
	domains->first = d;

	wh_qmp_attach(q, &(struct wh_qmp_link){ .send = send_line,
	                                        .close = close_domain,
	                                        .reply_ns = WH_DOMAIN_REPLY_NS,
	                                        .pid = guest->pid,
	                                        .link = d });
	wh_timer_start(&d->ready, domains->loop, 0);
	*ret = wh_steal(q);
	return 0;
}

/* Whether the arguments, each with a NUL after it, have "-name" "guest=NAME" or "guest=NAME,...". */
static bool is_of(const char *arguments, size_t len, const char *domain)
{
	const size_t name_len = strlen(domain);
	bool next = false; /* the argument before this one was "-name" */

	for (const char *a = arguments; a < arguments + len; a += strlen(a) + 1) {
		if (next && !strncmp(a, "guest=", 6) && !strncmp(a + 6, domain, name_len) &&
		    (a[6 + name_len] == ',' || a[6 + name_len] == '\0'))
			return true;
		next = !strcmp(a, "-name");
	}
	return false;
}

static int read_pid(pid_t *ret, const char *path, struct wh_error *err)
{
	wh_cleanup(wh_freep) char *text = NULL;
	size_t len;
	char *end;
	long pid;
	int r = wh_file_read(path, PID_BYTES_MAX, &text, &len, err);

	if (r < 0)
		return r == -ENOENT ? -ESRCH : r;
	pid = strtol(text, &end, 10);
	if (end == text || (*end && *end != '\n') || pid <= 0 || pid > INT32_MAX)
		return wh_fail(err, -EPROTO, "%s has no process id in it", path);
	*ret = (pid_t)pid;
	return 0;
}

int wh_qmp_domain_pid(pid_t *ret, const char *directory, const char *domain, struct wh_error *err)
{
	wh_cleanup(wh_freep) char *arguments = NULL;
	char path[4096];
	size_t len;
	pid_t pid = 0;
	int r;

	if (snprintf(path, sizeof(path), "%s/%s.pid", directory, domain) >= (int)sizeof(path))
		return wh_fail(err, -ENAMETOOLONG, "the directory of pid files is too long a path");
	r = read_pid(&pid, path, err);
	if (r < 0)
		return wh_context(err, r, "no QEMU of domain '%s'", domain);
	(void)snprintf(path, sizeof(path), "/proc/%d/cmdline", (int)pid);
	r = wh_file_read(path, CMDLINE_BYTES_MAX, &arguments, &len, err);
	if (r == 0 && is_of(arguments, len, domain)) {
		*ret = pid;
		return 0;
	}
	return wh_fail(err, r < 0 && r != -ENOENT ? r : -ESRCH,
	               "process %d is not the QEMU of domain '%s'", (int)pid, domain);
}
