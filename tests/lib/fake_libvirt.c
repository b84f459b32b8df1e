/* SPDX-License-Identifier: Apache-2.0 */

#include "fake_libvirt.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wherry/assert.h"

#define CALLS_MAX 16

struct call {
	char text[256];
	wh_libvirt_reply_fn reply;
	void *ctx;
};

struct wh_libvirt {
	struct call calls[CALLS_MAX]; /* oldest first */
	size_t due;
	struct wh_error why;
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

size_t fake_libvirt_due(const struct wh_libvirt *l)
{
	return l->due;
}

const char *fake_libvirt_oldest(const struct wh_libvirt *l)
{
	wh_assert(l->due > 0);
	return l->calls[0].text;
}

void fake_libvirt_answer(struct wh_libvirt *l, const char *text, const char *error)
{
	struct call call = l->calls[0];

	wh_assert(l->due > 0);
	l->due--;
	memmove(l->calls, l->calls + 1, l->due * sizeof(*l->calls));
	if (call.reply)
		call.reply(call.ctx, text, error);
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
	struct call *call = &l->calls[l->due++];

	wh_assert(l->due <= CALLS_MAX);
	*call = (struct call){ .reply = reply, .ctx = ctx };
	(void)snprintf(call->text, sizeof(call->text), "%s %s", domain, command);
}

void wh_libvirt_forget(struct wh_libvirt *l, const void *ctx)
{
	for (size_t i = 0; i < l->due; i++)
		if (l->calls[i].ctx == ctx)
			l->calls[i].reply = NULL;
}
