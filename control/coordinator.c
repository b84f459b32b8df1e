/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Coordinator - a member is a node with a connection. A node that connects again takes the place
 * of its earlier connection, which may not have noticed yet that it is dead.
 *
 * The cluster decides within its calls, and its actions go out at once: they are lines into a
 * buffer, and whatever comes back comes with a later turn of the loop.
 */

#include "coordinator.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "files.h"
#include "report.h"
#include "settings_json.h"

#include "wherry/assert.h"
#include "wherry/clock.h"
#include "wherry/log.h"

struct wh_joined {
	struct wh_joined *next;
	struct wh_coordinator *coordinator;
	struct wh_rpc *rpc;
	char node[WH_NAME_MAX];
	bool settled; /* it has been given the settings in force */
};

struct wh_cluster_time wh_coordinator_now(void)
{
	struct timespec wall;

	wh_assert(clock_gettime(CLOCK_REALTIME, &wall) == 0);
	return (struct wh_cluster_time){
		.mono_ms = wh_now_ns(&wh_clock_monotonic) / WH_NSEC_PER_MSEC,
		.wall_ms = (uint64_t)wall.tv_sec * 1000 + (uint64_t)wall.tv_nsec / 1000000,
	};
}

static struct wh_joined *find_member(const struct wh_coordinator *c, const char *node)
{
	for (struct wh_joined *m = c->members; m; m = m->next)
		if (!strcmp(m->node, node))
			return m;
	return NULL;
}

static void drop(struct wh_joined *m)
{
	struct wh_joined **at = &m->coordinator->members;
	struct wh_rpc *rpc = wh_steal(m->rpc);

	while (*at != m)
		at = &(*at)->next;
	*at = m->next;
	(void)wh_rpc_close(rpc); /* returns NULL */
	free(m);
}

/* Turns. */

static void take_turn(void *ctx)
{
	struct wh_coordinator *c = ctx;
	struct wh_cluster_time now = wh_coordinator_now();
	uint64_t next_ms = wh_cluster_turn(c->cluster, now);
	uint64_t wait_ms = next_ms > now.mono_ms ? next_ms - now.mono_ms : 0;

	if (next_ms != UINT64_MAX)
		wh_timer_start(&c->timer, c->daemon->loop, wait_ms * WH_NSEC_PER_MSEC);
}

static int on_turn(sd_event_source *source, void *ctx)
{
	(void)source;
	take_turn(ctx);
	return 0;
}

void wh_coordinator_turn(struct wh_coordinator *c)
{
	if (!c->turn)
		wh_assert(sd_event_add_defer(c->daemon->loop, &c->turn, on_turn, c) >= 0);
	wh_assert(sd_event_source_set_enabled(c->turn, SD_EVENT_ONESHOT) >= 0);
}

/* Actions of the cluster. */

struct started {
	struct wh_coordinator *coordinator;
	char id[WH_NAME_MAX];
};

static void on_started(void *ctx, json_t *answer, const char *why)
{
	struct started *s = ctx;

	(void)why; /* no answer: the node reports, or its lease ends */
	if (answer && !json_is_true(json_object_get(answer, "ok"))) {
		wh_cluster_refused(s->coordinator->cluster, s->id, wh_json_text(answer, "error"),
		                   wh_coordinator_now());
		wh_coordinator_turn(s->coordinator);
	}
	json_decref(answer);
	free(s);
}

static void start(void *ctx, const struct wh_move *move)
{
	struct wh_coordinator *c = ctx;
	struct wh_joined *m = find_member(c, move->source);
	struct started *s;

	if (!m)
		return; /* it is started when the node reports that it does not know it */
	s = calloc(1, sizeof(*s));
	wh_assert(s);
	s->coordinator = c;
	memcpy(s->id, move->id, WH_NAME_MAX);
	wh_rpc_call(m->rpc, wh_order_format(move), on_started, s);
}

static void ignore_answer(void *ctx, json_t *answer, const char *why)
{
	(void)ctx;
	(void)why;
	json_decref(answer);
}

static void cancel(void *ctx, const struct wh_move *move, const char *why)
{
	struct wh_coordinator *c = ctx;
	struct wh_joined *m = find_member(c, move->source);

	if (m)
		wh_rpc_call(m->rpc,
		            json_pack("{s:s, s:s, s:s}", "command", "cancel", "migration", move->id,
		                      "reason", why),
		            ignore_answer, NULL);
}

static const char *phase_name(enum wh_move_phase phase)
{
	switch (phase) {
	case WH_MOVE_PENDING:
		return "pending";
	case WH_MOVE_GRANTED:
		return "granted";
	case WH_MOVE_RUNNING:
		return "running";
	case WH_MOVE_SUCCEEDED:
		return "succeeded";
	case WH_MOVE_FAILED:
		return "failed";
	case WH_MOVE_CANCELLED:
		return "cancelled";
	}
	return "";
}

static void changed(void *ctx, const struct wh_move *move)
{
	(void)ctx;
	wh_log(WH_LOG_INFO, "queue.changed", WH_STR("migration", move->id),
	       WH_STR("namespace", move->name_space), WH_STR("vm", move->vm),
	       WH_STR("source", move->source), WH_STR("target", move->target),
	       WH_STR("phase", phase_name(move->phase)), WH_U64("attempt", move->attempt),
	       WH_STR("policy", move->policy), WH_STR("reason", move->reason));
}

/* Who joins later gets them with the answer to its first report. */
static void settings(void *ctx, const struct wh_settings *now)
{
	struct wh_coordinator *c = ctx;

	for (struct wh_joined *m = c->members; m; m = m->next)
		wh_rpc_call(m->rpc,
		            json_pack("{s:s, s:o}", "command", "use-settings", "settings",
		                      wh_settings_to_json(now)),
		            ignore_answer, NULL);
}

/* Members. */

static void take_report(struct wh_joined *m, const json_t *request, struct wh_ask *ask)
{
	struct wh_coordinator *c = m->coordinator;
	struct wh_report_read read;
	json_t *answer = json_object();
	struct wh_error err;

	if (wh_report_parse(&read, m->node, request, &err) < 0) {
		json_decref(answer);
		wh_ask_refuse(ask, &err);
		return;
	}
	wh_coordinator_note(c, json_object_get(request, "jobs"));
	wh_cluster_report(c->cluster, &read.report, wh_coordinator_now());
	wh_report_read_done(&read);
	wh_coordinator_turn(c);
	if (!m->settled)
		(void)json_object_set_new(answer, "settings",
		                          wh_settings_to_json(wh_cluster_settings(c->cluster)));
	m->settled = true;
	wh_ask_answer(ask, answer);
}

static void on_request(void *ctx, const json_t *request, struct wh_ask *ask)
{
	struct wh_joined *m = ctx;

	if (!strcmp(wh_json_text(request, "command"), "report"))
		take_report(m, request, ask);
	else
		wh_coordinator_request(m->coordinator, request, ask);
}

static void on_lost(void *ctx, const char *why)
{
	struct wh_joined *m = ctx;

	wh_log(WH_LOG_WARNING, "node.disconnected", WH_STR("node", m->node), WH_STR("reason", why));
	drop(m);
}

void wh_coordinator_adopt(struct wh_coordinator *c, struct wh_lines *lines, const char *node)
{
	struct wh_joined *old = find_member(c, node);
	struct wh_joined *m = calloc(1, sizeof(*m));

	wh_assert(m);
	m->coordinator = c;
	(void)snprintf(m->node, sizeof(m->node), "%s", node);
	if (old)
		drop(old);
	if (wh_rpc_adopt(&m->rpc, lines, c->daemon->loop, m->node,
	                 &(struct wh_rpc_handler){
				 .request = on_request, .lost = on_lost, .ctx = m }) < 0) {
		free(m);
		return;
	}
	m->next = c->members;
	c->members = m;
	wh_log(WH_LOG_INFO, "node.connected", WH_STR("node", node));
}

void wh_coordinator_adopt_fd(struct wh_coordinator *c, int fd, const char *node)
{
	const struct wh_lines_config cfg = { .loop = c->daemon->loop, .line_max = WH_API_LINE_MAX };
	struct wh_lines *lines;

	if (wh_lines_open(&lines, fd, &cfg) == 0)
		wh_coordinator_adopt(c, lines, node);
}

static void on_passed(void *ctx, json_t *answer, const char *why)
{
	wh_ask_pass(ctx, answer, why);
}

void wh_coordinator_pass(struct wh_coordinator *c, const char *node, const json_t *request,
                         struct wh_ask *ask)
{
	struct wh_joined *m = find_member(c, node);
	struct wh_error err;

	if (m) {
		wh_rpc_call(m->rpc, json_deep_copy(request), on_passed, ask);
		return;
	}
	(void)wh_fail(&err, 0, "node %s, which works on that, is not connected", node);
	wh_ask_refuse(ask, &err);
}

static void count_object(void *ctx, const struct wh_object *object, uint64_t revision)
{
	(void)object;
	(void)revision;
	++*(size_t *)ctx;
}

static bool has_objects(const struct wh_coordinator *c)
{
	size_t count = 0;

	for (enum wh_kind kind = 0; kind < WH_KINDS; kind++)
		wh_cluster_each_object(c->cluster,
		                       &(struct wh_object_key){ .kind = kind, .name_space = "" },
		                       count_object, &count);
	return count > 0;
}

/* All of a directory as one List, so that all of it is applied or none. */
static json_t *list_of(const struct wh_objects *objects)
{
	json_t *items = json_array();

	for (size_t i = 0; i < objects->count; i++)
		(void)json_array_append_new(items, json_loads(objects->items[i].json, 0, NULL));
	return json_pack("{s:s, s:s, s:o}", "apiVersion", "v1", "kind", "List", "items", items);
}

/* A coordinator that begins with nothing takes what the administrator has laid out for it. */
static int load_manifests(struct wh_coordinator *c, struct wh_error *err)
{
	const char *path = c->daemon->config->manifests;
	wh_cleanup(wh_objects_done) struct wh_objects objects = { 0 };
	wh_cleanup(wh_json_unrefp) json_t *list = NULL;
	wh_cleanup(wh_freep) char *text = NULL;
	struct wh_apply apply = { .name = path };
	int r;

	if (!path || has_objects(c))
		return 0;
	r = wh_objects_load_dir(&objects, path, err);
	if (r < 0 || objects.count == 0)
		return r;
	list = list_of(&objects);
	text = wh_json_line(list);
	wh_assert(text);
	apply.data = text;
	apply.len = strlen(text);
	return wh_cluster_apply(c->cluster, &apply, wh_coordinator_now(), err);
}

int wh_coordinator_open(struct wh_coordinator **ret, struct wh_daemon *daemon, struct wh_error *err)
{
	struct wh_coordinator *c = calloc(1, sizeof(*c));
	const struct wh_config *config = daemon->config;
	struct wh_cluster_config cfg = {
		.state_dir = config->state,
		.node = config->node,
		.compatibility = config->compatibility,
		.actions = { .start = start,
		             .cancel = cancel,
		             .changed = changed,
		             .settings = settings,
		             .ctx = c },
	};
	int r;

	wh_assert(c);
	c->daemon = daemon;
	c->details = json_object();
	c->timer = (struct wh_timer){ .fired = take_turn, .ctx = c };
	wh_assert(c->details);
	r = wh_cluster_open(&c->cluster, &cfg, wh_coordinator_now(), err);
	if (r == 0)
		r = load_manifests(c, err);
	if (r < 0) {
		(void)wh_coordinator_close(c); /* returns NULL */
		return r;
	}
	for (size_t i = 0; i < config->node_count; i++)
		wh_cluster_expect_node(c->cluster, config->nodes[i].name, wh_coordinator_now());
	wh_coordinator_turn(c);
	*ret = c;
	return 0;
}

struct wh_coordinator *wh_coordinator_close(struct wh_coordinator *c)
{
	if (!c)
		return NULL;
	while (c->members)
		drop(c->members);
	wh_timer_stop(&c->timer);
	c->turn = sd_event_source_disable_unref(c->turn);
	c->cluster = wh_cluster_close(c->cluster);
	json_decref(c->details);
	free(c);
	return NULL;
}
