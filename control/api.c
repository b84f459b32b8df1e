/* SPDX-License-Identifier: Apache-2.0 */

/*
 * API - a table of commands. Each reads its arguments from the request and fills in the answer,
 * or fails with words, which become the answer.
 */

#include "api.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "events.h"
#include "files.h"
#include "job.h"
#include "json.h"
#include "lines.h"
#include "manifest.h"
#include "quantity.h"
#include "status.h"

#include "wherry/assert.h"
#include "wherry/fdpass.h"
#include "wherry/limits.h"
#include "wherry/log.h"

struct client {
	struct client *next;
	struct wh_api *api;
	struct wh_lines *lines;
};

struct wh_api {
	struct wh_daemon *daemon;
	struct wh_watch watch;
	int fd;
	struct client *clients;
	unsigned count;
};

/* Commands: read @request, fill in @answer. Return: 0 or -errno with words. */

static int do_apply(struct wh_daemon *d, const json_t *request, json_t *answer,
                    struct wh_error *err)
{
	const json_t *text = json_object_get(request, "manifest");
	wh_cleanup(wh_freep) char *path = NULL;
	const char *name = wh_json_text(request, "name");
	struct wh_settings settings;
	int r;

	if (!json_is_string(text))
		return wh_fail(err, -EINVAL, "'manifest' must be a string");
	r = wh_manifest_parse(&settings, *name ? name : "manifest", json_string_value(text),
	                      json_string_length(text), err);
	if (r < 0) {
		d->totals.manifest_errors++;
		return r;
	}
	if (r == 0)
		return wh_fail(err, -EINVAL,
		               "%s: no HyperConverged or KubeVirt object is in it; nothing changed",
		               *name ? name : "manifest");
	wh_assert(asprintf(&path, "%s/%s", d->config->state, WH_APPLIED_FILE) > 0);
	r = wh_file_replace(path, json_string_value(text), json_string_length(text), err);
	if (r < 0)
		return r;
	wh_daemon_use_settings(d, &settings);
	(void)json_object_set_new(answer, "settings", wh_status_settings(&d->settings));
	return 0;
}

static int do_get(struct wh_daemon *d, const json_t *request, json_t *answer, struct wh_error *err)
{
	(void)request;
	(void)err;
	(void)json_object_set_new(answer, "settings", wh_status_settings(&d->settings));
	return 0;
}

static int do_migrate(struct wh_daemon *d, const json_t *request, json_t *answer,
                      struct wh_error *err)
{
	char vm[WH_NAME_MAX];
	char to[WH_NAME_MAX];
	struct wh_job *job = NULL;
	int r = wh_json_string(request, "vm", vm, sizeof(vm), err);

	if (r == 0)
		r = wh_json_string(request, "to", to, sizeof(to), err);
	if (r == 0)
		r = wh_source_new(d, vm, to, &job, err);
	if (r < 0)
		return r;
	(void)json_object_set_new(answer, "migration", json_string(job->record.id));
	return 0;
}

static int find_job(struct wh_daemon *d, const json_t *request, struct wh_job **ret,
                    struct wh_error *err)
{
	char name[WH_NAME_MAX];
	int r = wh_json_string(request, "migration", name, sizeof(name), err);

	if (r < 0)
		return r;
	*ret = wh_job_find(d, name);
	if (!*ret)
		return wh_fail(err, -ENOENT,
		               "no migration '%s', and no VM of that name is being migrated", name);
	return 0;
}

/* Have a migration do something that it may refuse; the answer is its id. */
static int have_job(struct wh_daemon *d, const json_t *request, json_t *answer,
                    int (*act)(struct wh_job *job, struct wh_error *err), struct wh_error *err)
{
	struct wh_job *job;
	int r = find_job(d, request, &job, err);

	if (r == 0)
		r = act(job, err);
	if (r == 0)
		(void)json_object_set_new(answer, "migration", json_string(job->record.id));
	return r;
}

static int cancel(struct wh_job *job, struct wh_error *err)
{
	bool source = job->record.role == WH_ROLE_SOURCE;

	if (wh_job_in_postcopy(job))
		return wh_fail(err, -EBUSY,
		               "migration %s cannot be cancelled: the guest already runs %s%s, and "
		               "only the rest of its memory is still to follow",
		               job->record.id, source ? "at node " : "here",
		               source ? job->record.peer : "");
	if (!wh_job_can_undo(job))
		return wh_fail(err, -EBUSY, "migration %s is '%s', which cannot be cancelled",
		               job->record.id, wh_job_state_name(job->state));
	wh_job_fail(job, WH_OUTCOME_CANCELLED, "cancelled by the operator");
	return 0;
}

static int do_cancel(struct wh_daemon *d, const json_t *request, json_t *answer,
                     struct wh_error *err)
{
	return have_job(d, request, answer, cancel, err);
}

static int do_postcopy(struct wh_daemon *d, const json_t *request, json_t *answer,
                       struct wh_error *err)
{
	return have_job(d, request, answer, wh_postcopy_ask, err);
}

static int do_recover(struct wh_daemon *d, const json_t *request, json_t *answer,
                      struct wh_error *err)
{
	return have_job(d, request, answer, wh_postcopy_recover, err);
}

static int do_set_bandwidth(struct wh_daemon *d, const json_t *request, json_t *answer,
                            struct wh_error *err)
{
	char text[WH_NAME_MAX];
	struct wh_job *job;
	uint64_t bps = 0;
	int r = find_job(d, request, &job, err);

	if (r == 0)
		r = wh_json_string(request, "rate", text, sizeof(text), err);
	if (r == 0)
		r = wh_quantity_parse(&bps, text, err);
	if (r < 0)
		return r;
	if (job->record.role != WH_ROLE_SOURCE || !job->rate)
		return wh_fail(err, -EINVAL,
		               "migration %s does not send from this node now (it is '%s')",
		               job->record.id, wh_job_state_name(job->state));
	r = wh_rate_bpf_set(job->rate, bps, err);
	if (r < 0)
		return r;
	job->settings.bandwidth_bps = bps;
	wh_log(WH_LOG_INFO, "migration.bandwidth", WH_STR("migration", job->record.id),
	       WH_U64("limit_bps", bps));
	(void)json_object_set_new(answer, "bandwidth_bps", wh_json_number(bps));
	return 0;
}

static int do_status(struct wh_daemon *d, const json_t *request, json_t *answer,
                     struct wh_error *err)
{
	json_t *list;
	struct wh_job *job;

	if (json_object_get(request, "migration")) {
		int r = find_job(d, request, &job, err);

		if (r < 0)
			return r;
		(void)json_object_set_new(answer, "migrations",
		                          json_pack("[o]", wh_status_job(job)));
		return 0;
	}
	list = json_array();
	for (job = d->jobs; job; job = job->next)
		(void)json_array_append_new(list, wh_status_job(job));
	(void)json_object_set_new(answer, "migrations", list);
	return 0;
}

static int do_events(struct wh_daemon *d, const json_t *request, json_t *answer,
                     struct wh_error *err)
{
	uint64_t after = 0;
	int r = 0;

	if (json_object_get(request, "after"))
		r = wh_json_u64(request, "after", INT64_MAX, &after, err);
	if (r == 0)
		wh_events_after(d->events, after, d->config->node, answer);
	return r;
}

static const struct {
	const char *name;
	int (*run)(struct wh_daemon *d, const json_t *request, json_t *answer,
	           struct wh_error *err);
} commands[] = {
	{ "apply", do_apply },
	{ "get", do_get },
	{ "migrate", do_migrate },
	{ "cancel", do_cancel },
	{ "postcopy", do_postcopy },
	{ "recover", do_recover },
	{ "set-bandwidth", do_set_bandwidth },
	{ "status", do_status },
	{ "events", do_events },
};

static int run(struct wh_daemon *d, const json_t *request, json_t *answer, struct wh_error *err)
{
	const char *name = wh_json_text(request, "command");

	for (size_t i = 0; i < sizeof(commands) / sizeof(*commands); i++)
		if (!strcmp(name, commands[i].name))
			return commands[i].run(d, request, answer, err);
	return wh_fail(err, -EINVAL, "unknown command");
}

static void on_line(void *ctx, const char *text, size_t len)
{
	wh_cleanup(wh_json_unrefp) json_t *answer = json_object();
	wh_cleanup(wh_json_unrefp) json_t *request = NULL;
	wh_cleanup(wh_freep) char *line = NULL;
	struct client *c = ctx;
	struct wh_error err;
	int r = wh_json_parse(&request, text, len, &err);

	if (r == 0)
		r = run(c->api->daemon, request, answer, &err);
	(void)json_object_set_new(answer, "ok", json_boolean(r == 0));
	if (r < 0)
		(void)json_object_set_new(answer, "error", json_string(err.text));
	line = wh_json_line(answer);
	wh_assert(line);
	wh_lines_send(c->lines, line);
}

/* Connections. */

static void drop(struct client *c)
{
	struct client **at = &c->api->clients;

	while (*at != c)
		at = &(*at)->next;
	*at = c->next;
	c->api->count--;
	c->lines = wh_lines_close(c->lines);
	free(c);
}

static void on_closed(void *ctx, const char *why)
{
	(void)why;
	drop(ctx);
}

static void on_accept(void *ctx, uint32_t events)
{
	struct wh_api *api = ctx;
	int fd = accept4(api->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct client *c;

	(void)events;
	if (fd < 0)
		return;
	c = api->count < WH_CLIENTS_MAX ? calloc(1, sizeof(*c)) : NULL;
	if (!c) {
		wh_closep(&fd);
		return;
	}
	c->api = api;
	if (wh_lines_open(&c->lines, fd,
	                  &(struct wh_lines_config){
				  .loop = api->daemon->loop,
				  .line_max = WH_API_LINE_MAX,
				  .line = on_line,
				  .closed = on_closed,
				  .ctx = c,
			  }) < 0) {
		free(c);
		return;
	}
	c->next = api->clients;
	api->clients = c;
	api->count++;
}

/* A socket file of a wherryd that was killed is in the way; one of a living wherryd stays. */
static int bind_socket(int fd, const struct sockaddr_un *addr)
{
	mode_t before;
	int r;

	if (connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) == 0)
		return -EADDRINUSE;
	if (errno == ECONNREFUSED)
		(void)unlink(addr->sun_path);
	before = umask(0177);
	r = bind(fd, (const struct sockaddr *)addr, sizeof(*addr)) < 0 ? -errno : 0;
	(void)umask(before);
	if (r == 0 && listen(fd, (int)WH_CLIENTS_MAX) < 0)
		r = -errno;
	return r;
}

int wh_api_open(struct wh_api **ret, struct wh_daemon *daemon, struct wh_error *err)
{
	const char *path = daemon->config->socket;
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	struct wh_api *api = calloc(1, sizeof(*api));
	int r;

	if (!api)
		return wh_fail(err, -ENOMEM, "out of memory");
	api->daemon = daemon;
	api->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	r = api->fd < 0 ? -errno : 0;
	if (strlen(path) >= sizeof(addr.sun_path))
		r = -ENAMETOOLONG;
	else
		memcpy(addr.sun_path, path, strlen(path));
	if (r == 0)
		r = bind_socket(api->fd, &addr);
	api->watch = (struct wh_watch){ .ready = on_accept, .ctx = api };
	if (r == 0)
		r = wh_watch_start(&api->watch, daemon->loop, api->fd, EPOLLIN);
	if (r < 0) {
		wh_closep(&api->fd);
		free(api);
		return wh_fail(err, r, "cannot listen at %s: %s", path,
		               r == -EADDRINUSE ? "another wherryd does" : strerror(-r));
	}
	*ret = api;
	return 0;
}

struct wh_api *wh_api_close(struct wh_api *api)
{
	if (!api)
		return NULL;
	while (api->clients)
		drop(api->clients);
	wh_watch_stop(&api->watch);
	wh_closep(&api->fd);
	(void)unlink(api->daemon->config->socket); /* the next one would find it stale */
	free(api);
	return NULL;
}
