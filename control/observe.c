/* SPDX-License-Identifier: Apache-2.0 */

#include "observe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator.h"
#include "http.h"
#include "job.h"
#include "node_server.h"
#include "status.h"

#include "wherry/assert.h"
#include "wherry/clock.h"
#include "wherry/log.h"

#define OPEN_AGAIN_NS (5 * WH_NSEC_PER_SEC)

#define OK            200u
#define NOT_AVAILABLE 503u

struct wh_observe {
	struct wh_daemon *daemon;
	struct wh_http *http; /* NULL while it cannot listen */
	struct wh_timer again;
	struct wh_error trouble; /* the last one logged */
};

/* Whether no later migration of the same guest has left this node for good. Newest come first. */
static bool is_last(const struct wh_daemon *d, const struct wh_job *job)
{
	for (const struct wh_job *later = d->jobs; later != job; later = later->next)
		if (later->record.role == WH_ROLE_SOURCE && later->state == WH_JOB_SUCCEEDED &&
		    !strcmp(later->record.vm, job->record.vm))
			return false;
	return true;
}

static void collect_job(const struct wh_daemon *d, const struct wh_job *job, struct wh_metrics *m)
{
	struct wh_metrics_migration migration = {
		.name_space = job->vm ? job->vm->name_space : job->move.name_space,
		.started_ms = wh_job_wall_ms(job, job->times.begun_ns),
		.ended_ms = wh_job_wall_ms(job, job->times.ended_ns),
		.last = is_last(d, job),
	};
	struct wh_view view;

	wh_status_view(job, &view);
	migration.view = &view;
	if (job->record.role == WH_ROLE_SOURCE)
		wh_job_limiter(job, &migration.limiter);
	wh_metrics_add_migration(m, &migration);
}

void wh_observe_collect(const struct wh_daemon *d, struct wh_metrics *m)
{
	wh_metrics_add_totals(m, WH_VERSION, &d->totals);
	for (const struct wh_job *job = d->jobs; job; job = job->next)
		collect_job(d, job, m);
}

/* What only the coordinator knows; of other nodes nobody asks it. */

static void collect_queue(const struct wh_cluster *cluster, struct wh_metrics *m)
{
	static const enum wh_priority priorities[] = {
		WH_PRIORITY_CRITICAL,
		WH_PRIORITY_USER,
		WH_PRIORITY_MAINTENANCE,
	};
	uint64_t waiting[sizeof(priorities) / sizeof(*priorities)] = { 0 };
	struct wh_metrics_phases phases = { 0 };
	const struct wh_move *move;

	for (size_t i = 0; (move = wh_cluster_move_at(cluster, i)); i++) {
		phases.pending += move->phase == WH_MOVE_PENDING;
		phases.scheduling += move->phase == WH_MOVE_GRANTED;
		phases.running += move->phase == WH_MOVE_RUNNING;
		for (size_t p = 0; p < sizeof(priorities) / sizeof(*priorities); p++)
			waiting[p] += move->phase == WH_MOVE_PENDING &&
			              move->priority == priorities[p];
	}
	wh_metrics_add_phases(m, &phases);
	for (size_t p = 0; p < sizeof(priorities) / sizeof(*priorities); p++)
		wh_metrics_add_queue(m, wh_priority_name(priorities[p]), waiting[p]);
}

static void collect_nodes(const struct wh_cluster *cluster, struct wh_metrics *m)
{
	struct wh_cluster_time now = wh_coordinator_now();
	struct wh_cluster_node node;

	for (size_t i = 0; wh_cluster_node_at(cluster, i, &node, now); i++)
		wh_metrics_add_node(m, &(struct wh_metrics_node){
					       .name = node.name,
					       .alive = node.alive,
					       .seen = node.seen,
					       .drained = node.drained,
					       .report_age_ms = now.mono_ms - node.reported_ms,
					       .memory_bytes = node.memory_bytes,
					       .free_bytes = node.free_bytes,
					       .outbound = node.outbound,
				       });
}

/* Pages. */

static unsigned make_metrics(void *ctx, char **body, size_t *len)
{
	wh_cleanup(wh_metrics_freep) struct wh_metrics *m = NULL;
	const struct wh_observe *o = ctx;

	m = wh_metrics_new(o->daemon->config->node);
	wh_observe_collect(o->daemon, m);
	if (o->daemon->coordinator) {
		collect_queue(o->daemon->coordinator->cluster, m);
		collect_nodes(o->daemon->coordinator->cluster, m);
	}
	*body = wh_metrics_text(m, len);
	return OK;
}

static unsigned make_health(void *ctx, char **body, size_t *len)
{
	const struct wh_observe *o = ctx;
	const char *trouble = wh_node_server_trouble(o->daemon->nodes);
	int r;

	if (o->daemon->stopping)
		trouble = "wherryd is being stopped";
	r = *trouble ? asprintf(body, "not ok: %s\n", trouble) : asprintf(body, "ok\n");
	wh_assert(r > 0);
	*len = (size_t)r;
	return *trouble ? NOT_AVAILABLE : OK;
}

static const struct wh_http_page pages[] = {
	{ "/metrics", "text/plain; version=0.0.4; charset=utf-8", make_metrics },
	{ "/healthz", "text/plain; charset=utf-8", make_health },
};

/* Listening. */

static void open_http(void *ctx)
{
	struct wh_observe *o = ctx;
	const struct wh_endpoint *at = &o->daemon->config->metrics;
	const struct wh_http_config cfg = {
		.loop = o->daemon->loop,
		.at = at,
		.pages = pages,
		.count = sizeof(pages) / sizeof(*pages),
		.ctx = o,
	};
	struct wh_error err = { "" };

	if (wh_http_open(&o->http, &cfg, &err) == 0) {
		wh_log(WH_LOG_INFO, "http.listening", WH_STR("address", at->address),
		       WH_U64("port", at->port));
		return;
	}
	if (strcmp(err.text, o->trouble.text) != 0)
		wh_log(WH_LOG_WARNING, "http.unusable", WH_STR("reason", err.text));
	o->trouble = err;
	wh_timer_start(&o->again, o->daemon->loop, OPEN_AGAIN_NS);
}

struct wh_observe *wh_observe_open(struct wh_daemon *daemon)
{
	struct wh_observe *o = calloc(1, sizeof(*o));

	wh_assert(o);
	o->daemon = daemon;
	o->again = (struct wh_timer){ .fired = open_http, .ctx = o };
	if (daemon->config->metrics.port != 0)
		open_http(o);
	return o;
}

struct wh_observe *wh_observe_close(struct wh_observe *o)
{
	if (!o)
		return NULL;
	wh_timer_stop(&o->again);
	o->http = wh_http_close(o->http);
	free(o);
	return NULL;
}
