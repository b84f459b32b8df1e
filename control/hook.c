/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Hook - "hook" says whether the hook is to wait, and for how long; "hook-wait" is answered when the
 * wait is over. A hook that is killed in between has never waited.
 */

#include "hook.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "wherry/assert.h"
#include "wherry/clock.h"
#include "wherry/log.h"

struct wh_hook {
	struct wh_hook *next;
	struct wh_daemon *daemon;
	char *domain;
	char *migration;
	uint64_t hold_s;
	void (*waits)(void *ctx);
	void (*lost)(void *ctx);
	void *ctx;
	struct wh_ask *ask; /* while it waits */
	bool met;           /* it waits or has waited: another one is not ours */
};

/* Which hook @request is about; NULL if that is none of ours, or not any more. */
static struct wh_hook *find(const struct wh_daemon *daemon, const json_t *request)
{
	const char *migration = wh_json_text(request, "migration");
	const char *domain = wh_json_text(request, "vm");

	for (struct wh_hook *hook = daemon->hooks; hook; hook = hook->next)
		if (!hook->met && !strcmp(hook->migration, migration) &&
		    !strcmp(hook->domain, domain))
			return hook;
	return NULL;
}

/* Most domains are nobody's but libvirt's: to those it does not matter that there are hooks. */
static void do_hook(struct wh_daemon *daemon, const json_t *request, struct wh_ask *ask)
{
	const struct wh_hook *hook = find(daemon, request);

	wh_ask_answer(ask, json_pack("{s:o}", "hold_s", wh_json_number(hook ? hook->hold_s : 0)));
}

static void on_gone(void *ctx)
{
	struct wh_hook *hook = ctx;

	wh_log(WH_LOG_WARNING, "hook.lost", WH_STR("migration", hook->migration),
	       WH_STR("domain", hook->domain));
	wh_ask_answer(wh_steal(hook->ask), NULL); /* into nothing, but it is owed */
	hook->lost(hook->ctx);
}

static void do_hook_wait(struct wh_daemon *daemon, const json_t *request, struct wh_ask *ask)
{
	struct wh_hook *hook = find(daemon, request);
	struct wh_error err;

	if (!hook) {
		(void)wh_fail(&err, -ENOENT, "the migration of this domain has ended meanwhile");
		wh_ask_refuse(ask, &err);
		return;
	}
	hook->met = true;
	hook->ask = ask;
	ask->gone = on_gone;
	ask->gone_ctx = hook;
	wh_log(WH_LOG_INFO, "hook.waits", WH_STR("migration", hook->migration),
	       WH_STR("domain", hook->domain));
	hook->waits(hook->ctx);
}

static const struct {
	const char *name;
	void (*run)(struct wh_daemon *daemon, const json_t *request, struct wh_ask *ask);
} commands[] = {
	{ "hook", do_hook },
	{ "hook-wait", do_hook_wait },
};

bool wh_hook_request(struct wh_daemon *daemon, const json_t *request, struct wh_ask *ask)
{
	const char *name = wh_json_text(request, "command");

	for (size_t i = 0; i < sizeof(commands) / sizeof(*commands); i++)
		if (!strcmp(name, commands[i].name)) {
			commands[i].run(daemon, request, ask);
			return true;
		}
	return false;
}

struct wh_hook *wh_hook_expect(struct wh_daemon *daemon, const struct wh_hook_config *cfg)
{
	struct wh_hook *hook = calloc(1, sizeof(*hook));

	wh_assert(hook);
	hook->daemon = daemon;
	hook->domain = strdup(cfg->domain);
	hook->migration = strdup(cfg->migration);
	wh_assert(hook->domain && hook->migration);
	/* Not 0, which is for domains that are not ours. */
	hook->hold_s = cfg->hold_ns / WH_NSEC_PER_SEC + 1;
	hook->waits = cfg->waits;
	hook->lost = cfg->lost;
	hook->ctx = cfg->ctx;
	hook->next = daemon->hooks;
	daemon->hooks = hook;
	return hook;
}

bool wh_hook_waits(const struct wh_hook *hook)
{
	return hook->ask;
}

/* Nobody waits for the answer but the hook; what becomes of it after that does not concern us. */
static struct wh_ask *take_ask(struct wh_hook *hook)
{
	wh_assert(hook->ask);
	hook->ask->gone = NULL;
	return wh_steal(hook->ask);
}

void wh_hook_proceed(struct wh_hook *hook)
{
	wh_ask_answer(take_ask(hook), NULL);
}

void wh_hook_refuse(struct wh_hook *hook, const char *why)
{
	struct wh_error err;

	(void)wh_fail(&err, 0, "%s", why);
	wh_ask_refuse(take_ask(hook), &err);
}

struct wh_hook *wh_hook_close(struct wh_hook *hook)
{
	struct wh_hook **at;

	if (!hook)
		return NULL;
	for (at = &hook->daemon->hooks; *at != hook;)
		at = &(*at)->next;
	*at = hook->next;
	if (hook->ask)
		wh_hook_refuse(hook, "the migration of this domain has ended");
	free(hook->domain);
	free(hook->migration);
	free(hook);
	return NULL;
}
