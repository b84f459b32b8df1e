/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Agent - away, connecting, joining (the first line is sent), member. Each failure leads back to
 * the first, and from there to the next attempt a second later.
 *
 * A job that is over is reported until the coordinator has answered such a report, and once more
 * to each coordinator that comes after.
 */

#include "agent.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/sysinfo.h>

#include "api.h"
#include "census.h"
#include "coordinator.h"
#include "job.h"
#include "libvirt.h"
#include "network.h"
#include "node_protocol.h"
#include "report.h"
#include "settings_json.h"
#include "status.h"

#include "wherry/assert.h"
#include "wherry/clock.h"
#include "wherry/fdpass.h"
#include "wherry/log.h"

#define REPORT_NS WH_NSEC_PER_SEC
#define AGAIN_NS  WH_NSEC_PER_SEC

struct wh_agent {
	struct wh_daemon *daemon;
	struct wh_census *census;
	struct wh_connecting connecting;
	struct wh_lines *lines; /* joining */
	struct wh_rpc *rpc;     /* member */
	struct wh_timer again;  /* away: the next attempt */
	struct wh_timer silent; /* joining: it does not answer */
	struct wh_timer due;    /* member: the next report */
	struct wh_error why;    /* away: the reason */
	bool reporting;         /* a report is not yet answered */
	bool stale;             /* something has changed since it was made */
};

static void go_away(struct wh_agent *a, const char *why)
{
	struct wh_rpc *rpc = wh_steal(a->rpc);
	struct wh_error before = a->why;

	wh_connect_stop(&a->connecting);
	wh_timer_stop(&a->silent);
	wh_timer_stop(&a->due);
	a->lines = wh_lines_close(a->lines);
	(void)wh_fail(&a->why, 0, "node %s, which is the coordinator, cannot be reached: %s",
	              a->daemon->config->coordinator, why);
	if (strcmp(before.text, a->why.text) != 0)
		wh_log(WH_LOG_WARNING, "coordinator.lost",
		       WH_STR("coordinator", a->daemon->config->coordinator),
		       WH_STR("reason", why));
	wh_timer_start(&a->again, a->daemon->loop, AGAIN_NS);
	(void)wh_rpc_close(rpc); /* last: who waits for an answer may ask again; returns NULL */
}

/* Reports. */

static uint64_t free_bytes(const struct sysinfo *info)
{
	return ((uint64_t)info->freeram + info->bufferram) * info->mem_unit;
}

static bool is_news(const struct wh_job *job)
{
	return !wh_job_is_over(job->state) || !job->told;
}

static json_t *make_report(struct wh_agent *a)
{
	const struct wh_libvirt *libvirt = a->daemon->libvirt;
	struct wh_domain_list domains = { 0 };
	struct wh_report report = {
		.libvirt = libvirt && wh_libvirt_connected(libvirt, NULL),
	};
	json_t *jobs = json_array();
	struct sysinfo info;

	wh_assert(jobs && sysinfo(&info) == 0);
	if (libvirt)
		domains.items = wh_libvirt_domains(libvirt, &domains.count);
	report.vms = wh_census_look(a->census, &domains, &report.vm_count);
	report.memory_bytes = (uint64_t)info.totalram * info.mem_unit;
	report.free_bytes = free_bytes(&info);
	for (struct wh_job *job = a->daemon->jobs; job; job = job->next) {
		if (!is_news(job))
			continue;
		job->telling = wh_job_is_over(job->state);
		(void)json_array_append_new(jobs, wh_status_job(job));
	}
	return wh_report_format(&report, jobs);
}

/* The settings of the cluster come with the answer, whenever they are others. */
static void take_settings(struct wh_agent *a, const json_t *answer)
{
	const json_t *json = json_object_get(answer, "settings");
	struct wh_settings settings;
	struct wh_error err;

	if (!json)
		return;
	if (wh_settings_from_json(&settings, json, &err) < 0)
		wh_log(WH_LOG_WARNING, "settings.refused", WH_STR("reason", err.text));
	else
		wh_daemon_use_settings(a->daemon, &settings);
}

static void report_now(struct wh_agent *a);

static void on_answer(void *ctx, json_t *answer, const char *why)
{
	struct wh_agent *a = ctx;

	(void)why;
	a->reporting = false;
	if (!answer)
		return; /* the connection is lost, and that is being dealt with */
	for (struct wh_job *job = a->daemon->jobs; job; job = job->next) {
		job->told |= job->telling;
		job->telling = false;
	}
	take_settings(a, answer);
	json_decref(answer);
	if (a->stale)
		report_now(a);
}

static void report_now(struct wh_agent *a)
{
	a->stale = false;
	a->reporting = true;
	wh_timer_start(&a->due, a->daemon->loop, REPORT_NS);
	wh_rpc_call(a->rpc, make_report(a), on_answer, a);
}

static void on_report_due(void *ctx)
{
	struct wh_agent *a = ctx;

	if (a->reporting) /* a coordinator that is busy gets no second one on top */
		wh_timer_start(&a->due, a->daemon->loop, REPORT_NS);
	else
		report_now(a);
}

static void on_turn(struct wh_daemon *daemon)
{
	struct wh_agent *a = daemon->agent;

	if (!a || !a->rpc)
		return;
	a->stale = true;
	if (!a->reporting)
		report_now(a);
}

/* Joining. */

static void on_request(void *ctx, const json_t *request, struct wh_ask *ask)
{
	struct wh_agent *a = ctx;

	wh_api_order(a->daemon, request, ask);
}

static void on_lost(void *ctx, const char *why)
{
	go_away(ctx, why);
}

static void become_member(struct wh_agent *a, struct wh_lines *lines)
{
	const struct wh_rpc_handler handler = { .request = on_request, .lost = on_lost, .ctx = a };

	if (wh_rpc_adopt(&a->rpc, lines, a->daemon->loop, a->daemon->config->coordinator,
	                 &handler) < 0) {
		go_away(a, "out of memory");
		return;
	}
	a->why.text[0] = '\0';
	a->reporting = false;
	for (struct wh_job *job = a->daemon->jobs; job; job = job->next)
		job->told = job->telling = false;
	wh_log(WH_LOG_INFO, "coordinator.joined",
	       WH_STR("coordinator", a->daemon->config->coordinator));
	wh_timer_stop(&a->silent);
	report_now(a);
}

static void on_welcome(void *ctx, const char *text, size_t len)
{
	struct wh_agent *a = ctx;
	struct wh_node_message msg;
	struct wh_error err;

	if (wh_node_parse(&msg, text, len, &err) < 0)
		go_away(a, err.text);
	else if (msg.type == WH_NODE_FAILED)
		go_away(a, msg.reason);
	else if (msg.type != WH_NODE_WELCOME ||
	         strcmp(msg.node, a->daemon->config->coordinator) != 0)
		go_away(a, "another node answers at its address");
	else
		become_member(a, wh_steal(a->lines));
}

static void on_silent(void *ctx)
{
	go_away(ctx, "it does not answer");
}

static void join(struct wh_agent *a, int fd)
{
	struct wh_node_message msg = {
		.type = WH_NODE_JOIN,
		.version_min = WH_NODE_VERSION_MIN,
		.version_max = WH_NODE_VERSION_MAX,
	};
	const struct wh_lines_config cfg = {
		.loop = a->daemon->loop,
		.line_max = WH_NODE_LINE_MAX,
		.line = on_welcome,
		.closed = on_lost,
		.ctx = a,
	};
	char *line;

	if (wh_lines_open(&a->lines, fd, &cfg) < 0) {
		go_away(a, "out of memory");
		return;
	}
	memcpy(msg.node, a->daemon->config->node, WH_NAME_MAX);
	line = wh_node_format(&msg);
	wh_lines_send(a->lines, line);
	free(line);
	wh_timer_start(&a->silent, a->daemon->loop, WH_PEER_SILENCE_NS);
}

static void on_connected(void *ctx, int fd, const char *why)
{
	struct wh_agent *a = ctx;

	if (fd < 0)
		go_away(a, why);
	else
		join(a, fd);
}

/* Within one process: the other end of a socket pair is the coordinator's. */
static void join_here(struct wh_agent *a)
{
	struct wh_lines *lines = NULL;
	const struct wh_lines_config cfg = { .loop = a->daemon->loop, .line_max = WH_API_LINE_MAX };
	int fds[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) < 0) {
		go_away(a, strerror(errno));
		return;
	}
	wh_coordinator_adopt_fd(a->daemon->coordinator, fds[1], a->daemon->config->node);
	if (wh_lines_open(&lines, fds[0], &cfg) < 0)
		go_away(a, "out of memory");
	else
		become_member(a, lines);
}

/*
 * Over the migration network, as all that nodes say to each other. Where the settings name one that
 * this node does not have, it takes any way: else it would never hear of better settings.
 */
static void try_join(void *ctx)
{
	struct wh_agent *a = ctx;
	const struct wh_config *config = a->daemon->config;
	const struct wh_node *node = wh_find_node(config, config->coordinator);
	union wh_worker_address address;
	char interface[IFNAMSIZ];
	int r;

	if (a->daemon->coordinator) {
		join_here(a);
		return;
	}
	if (wh_network_find(interface, config, a->daemon->settings.network, NULL) < 0)
		interface[0] = '\0';
	r = wh_address_parse(&address, node->address, config->port);
	a->connecting = (struct wh_connecting){ .done = on_connected, .ctx = a };
	if (r == 0)
		r = wh_connect_start(&a->connecting, a->daemon->loop, interface, &address);
	if (r < 0)
		go_away(a, strerror(-r));
}

bool wh_agent_connected(const struct wh_agent *a, struct wh_error *why)
{
	if (a->rpc)
		return true;
	if (why)
		*why = a->why;
	if (why && !*why->text)
		(void)wh_fail(why, 0, "the coordinator, node %s, has not been reached yet",
		              a->daemon->config->coordinator);
	return false;
}

void wh_agent_ask(struct wh_agent *a, json_t *request, wh_rpc_answer_fn answer, void *ctx)
{
	struct wh_error why;

	if (wh_agent_connected(a, &why)) {
		wh_rpc_call(a->rpc, request, answer, ctx);
		return;
	}
	json_decref(request);
	answer(ctx, NULL, why.text);
}

struct wh_agent *wh_agent_open(struct wh_daemon *daemon)
{
	struct wh_agent *a = calloc(1, sizeof(*a));

	wh_assert(a);
	a->daemon = daemon;
	a->census = wh_census_open(daemon);
	a->connecting.fd = -1;
	a->again = (struct wh_timer){ .fired = try_join, .ctx = a };
	a->silent = (struct wh_timer){ .fired = on_silent, .ctx = a };
	a->due = (struct wh_timer){ .fired = on_report_due, .ctx = a };
	daemon->turned = on_turn;
	try_join(a);
	return a;
}

struct wh_agent *wh_agent_close(struct wh_agent *a)
{
	struct wh_rpc *rpc;

	if (!a)
		return NULL;
	a->daemon->turned = NULL;
	rpc = wh_steal(a->rpc);
	(void)wh_rpc_close(rpc); /* returns NULL */
	wh_connect_stop(&a->connecting);
	a->lines = wh_lines_close(a->lines);
	wh_timer_stop(&a->again);
	wh_timer_stop(&a->silent);
	wh_timer_stop(&a->due);
	a->census = wh_census_close(a->census);
	free(a);
	return NULL;
}
