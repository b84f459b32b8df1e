/* SPDX-License-Identifier: Apache-2.0 */

#include "fake_libvirt.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wherry/assert.h"

#define CALLS_MAX 16

typedef void (*job_fn)(void *ctx, const struct wh_libvirt_job *job, const char *error);

struct call {
	char text[256];
	wh_libvirt_reply_fn reply;
	job_fn job;
	void *ctx;
};

struct wh_libvirt {
	struct call calls[CALLS_MAX]; /* oldest first */
	size_t due;
	struct wh_error why;
	const struct wh_domain *known; /* borrowed; NULL for none */
};

struct wh_libvirt *fake_libvirt_new(void)
{
	struct wh_libvirt *l = calloc(1, sizeof(*l));

	wh_assert(l);
	return l;
}

void fake_libvirt_free(struct wh_libvirt *l)
{
	free(l);
}

void fake_libvirt_connection(struct wh_libvirt *l, const char *why_not)
{
	(void)snprintf(l->why.text, sizeof(l->why.text), "%s", why_not);
}

void fake_libvirt_know(struct wh_libvirt *l, const struct wh_domain *domain)
{
	l->known = domain;
}

size_t fake_libvirt_due(const struct wh_libvirt *l)
{
	return l->due;
}

const char *fake_libvirt_oldest(const struct wh_libvirt *l)
{
	wh_assert(l->due > 0);
	return l->calls[0].text;
}

static struct call take(struct wh_libvirt *l)
{
	struct call call = l->calls[0];

	wh_assert(l->due > 0);
	l->due--;
	memmove(l->calls, l->calls + 1, l->due * sizeof(*l->calls));
	return call;
}

void fake_libvirt_answer(struct wh_libvirt *l, const char *text, const char *error)
{
	struct call call = take(l);

	if (call.reply)
		call.reply(call.ctx, text, error);
}

void fake_libvirt_answer_job(struct wh_libvirt *l, const struct wh_libvirt_job *job,
                             const char *error)
{
	struct call call = take(l);

	if (call.job)
		call.job(call.ctx, job, error);
}

static struct call *add(struct wh_libvirt *l, const char *domain, const char *what, void *ctx)
{
	struct call *call = &l->calls[l->due++];

	wh_assert(l->due <= CALLS_MAX);
	*call = (struct call){ .ctx = ctx };
	(void)snprintf(call->text, sizeof(call->text), "%s %s", domain, what);
	return call;
}

bool wh_libvirt_connected(const struct wh_libvirt *l, struct wh_error *why)
{
	if (why)
		*why = l->why;
	return !*l->why.text;
}

void wh_libvirt_monitor(struct wh_libvirt *l, const char *domain, const char *command,
                        wh_libvirt_reply_fn reply, void *ctx)
{
	add(l, domain, command, ctx)->reply = reply;
}

void wh_libvirt_xml(struct wh_libvirt *l, const char *domain, enum wh_domain_xml which,
                    wh_libvirt_reply_fn reply, void *ctx)
{
	(void)which;
	add(l, domain, "xml", ctx)->reply = reply;
}

void wh_libvirt_migrate(struct wh_libvirt *l, const struct wh_libvirt_migration *migration,
                        wh_libvirt_reply_fn reply, void *ctx)
{
	add(l, migration->domain, "migrate", ctx)->reply = reply;
}

/* What needs no more than the domain's name. */
#define CALL(name)                                                       \
	void wh_libvirt_##name(struct wh_libvirt *l, const char *domain, \
	                       wh_libvirt_reply_fn reply, void *ctx)     \
	{                                                                \
		add(l, domain, #name, ctx)->reply = reply;               \
	}

CALL(abort)
CALL(postcopy)
CALL(suspend)
CALL(resume)
CALL(destroy)
CALL(undefine)

void wh_libvirt_job(struct wh_libvirt *l, const char *domain, job_fn reply, void *ctx)
{
	add(l, domain, "job", ctx)->job = reply;
}

const struct wh_domain *wh_libvirt_domain(const struct wh_libvirt *l, const char *name)
{
	return l->known && !strcmp(l->known->name, name) ? l->known : NULL;
}

void wh_libvirt_look(struct wh_libvirt *l)
{
	(void)l; /* the test says what there is */
}

void wh_libvirt_forget(struct wh_libvirt *l, const void *ctx)
{
	for (size_t i = 0; i < l->due; i++)
		if (l->calls[i].ctx == ctx)
			l->calls[i] = (struct call){ 0 };
}
