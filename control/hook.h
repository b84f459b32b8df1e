/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Hook - libvirt's hook of this host, held while the memory of an incoming domain is copied.
 *
 * When libvirtd has made the QEMU of a domain that comes in, it runs wherry-libvirt-hook and waits for it.
 * That asks here, over the socket of clients.h, whether it is to wait:
 *
 *	expected    a job counts on a domain; its hook has not come
 *	waiting     it has: the hook runs, and libvirtd does nothing with the domain
 *	over        it was told to end, or is lost; nothing can be told to it any more
 *
 * Threads: the loop's own.
 */

#ifndef WH_HOOK_H
#define WH_HOOK_H

#include <stdbool.h>
#include <stdint.h>

#include "ask.h"
#include "daemon.h"
#include "json.h"

#include "wherry/cleanup.h"

struct wh_hook;

struct wh_hook_config {
	const char *domain; /* copied, as is */
	const char *
		migration; /* the hook must name it, too: the domain's monitor is called after it */
	uint64_t hold_ns;  /* for as long the hook waits, then it ends by itself, in failure */
	/* It waits. Called once at most. */
	void (*waits)(void *ctx);
	/* It waited and was killed, or has lost its patience: libvirtd does not wait any more. */
	void (*lost)(void *ctx);
	void *ctx;
};

/* Count on the hook of a domain that is about to come in. Never NULL. */
struct wh_hook *wh_hook_expect(struct wh_daemon *daemon, const struct wh_hook_config *cfg);

bool wh_hook_waits(const struct wh_hook *hook);

/* Let libvirtd go on with the domain. Only while it waits. */
void wh_hook_proceed(struct wh_hook *hook);

/* Let libvirtd undo it, and say why. Only while it waits. */
void wh_hook_refuse(struct wh_hook *hook, const char *why);

/* Count on it no more: refused, if it waits. Accepts NULL, returns NULL. Callbacks may call it. */
struct wh_hook *wh_hook_close(struct wh_hook *hook);

WH_DEFINE_CLEANUP(struct wh_hook, wh_hook_close)

/* Answer @request if it is a hook's: docs/api.md. Return: whether it is, and then @ask is taken. */
bool wh_hook_request(struct wh_daemon *daemon, const json_t *request, struct wh_ask *ask);

#endif
