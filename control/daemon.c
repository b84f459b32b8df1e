/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Daemon - wherryd: one thread, one event loop.
 *
 * At start: configuration, leaves of an earlier wherryd swept away, settings, coordinator if this node
 * is it, journal; then it joins its cluster. On SIGTERM
 * or SIGINT: what can be undone is undone, what cannot is finished or left to the journal.
 */

#include "daemon.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <systemd/sd-daemon.h>

#include "agent.h"
#include "cgroup.h"
#include "clients.h"
#include "coordinator.h"
#include "events.h"
#include "files.h"
#include "job.h"
#include "node_server.h"
#include "observe.h"
#include "settings_json.h"
#include "stale_sockets.h"
#include "turn.h"

#include "wherry/assert.h"
#include "wherry/clock.h"
#include "wherry/fdpass.h"
#include "wherry/log.h"

/* In the state directory. */
#define SETTINGS_FILE "settings.json"

/* Leaves hold a mover each, which SIGKILL ends within moments. */
#define SWEEP_NS (10 * WH_NSEC_PER_SEC)

/* When told to stop: undoing takes moments. Longer ones are in the journal. */
#define STOP_NS (15 * WH_NSEC_PER_SEC)

static char *settings_path(const struct wh_daemon *d)
{
	char *path;

	wh_assert(asprintf(&path, "%s/%s", d->config->state, SETTINGS_FILE) > 0);
	return path;
}

/* So that this node knows its migration network before it has reached the coordinator. */
static void keep_settings(const struct wh_daemon *d)
{
	wh_cleanup(wh_json_unrefp) json_t *json = wh_settings_to_json(&d->settings);
	wh_cleanup(wh_freep) char *text = wh_json_line(json);
	wh_cleanup(wh_freep) char *path = settings_path(d);
	struct wh_error err;

	wh_assert(text);
	if (wh_file_replace(path, text, strlen(text), &err) < 0)
		wh_log(WH_LOG_WARNING, "settings.not-kept", WH_STR("reason", err.text));
}

void wh_daemon_use_settings(struct wh_daemon *d, const struct wh_settings *settings)
{
	bool moved = strcmp(d->settings.network, settings->network) != 0;

	if (wh_settings_equal(&d->settings, settings))
		return;
	d->settings = *settings;
	wh_log(WH_LOG_INFO, "settings.changed", WH_U64("bandwidth_bps", settings->bandwidth_bps),
	       WH_U64("completion_s_per_gib", settings->completion_s_per_gib),
	       WH_U64("progress_s", settings->progress_s), WH_STR("network", settings->network));
	keep_settings(d);
	if (moved && d->nodes)
		wh_node_server_reopen(d->nodes);
}

static void on_stop_late(void *ctx)
{
	struct wh_daemon *d = ctx;

	(void)sd_event_exit(d->loop, 0); /* fails only if it is exiting */
}

static int on_signal(sd_event_source *source, const struct signalfd_siginfo *info, void *ctx)
{
	struct wh_daemon *d = ctx;

	(void)source;
	if (d->stopping)
		return 0;
	d->stopping = true;
	(void)sd_notify(0, "STOPPING=1"); /* nobody may be listening */
	wh_log(WH_LOG_INFO, "daemon.stopping", WH_U64("signal", info->ssi_signo));
	d->stop_timer = (struct wh_timer){ .fired = on_stop_late, .ctx = d };
	wh_timer_start(&d->stop_timer, d->loop, STOP_NS);
	for (struct wh_job *job = d->jobs; job; job = job->next)
		wh_job_fail(job, WH_OUTCOME_CANCELLED, "wherryd is being stopped");
	wh_turn(d);
	return 0;
}

/* Those that the coordinator gave last. A file that is no good is as none: better ones follow. */
static void load_settings(struct wh_daemon *d)
{
	wh_cleanup(wh_freep) char *path = settings_path(d);
	wh_cleanup(wh_json_unrefp) json_t *json = json_load_file(path, 0, NULL);
	struct wh_error err;

	d->settings = wh_settings_defaults();
	if (json && wh_settings_from_json(&d->settings, json, &err) < 0)
		wh_log(WH_LOG_WARNING, "settings.refused", WH_STR("reason", err.text));
}

static int open_coordinator(struct wh_daemon *d, struct wh_error *err)
{
	int r;

	if (strcmp(d->config->node, d->config->coordinator) != 0)
		return 0;
	r = wh_coordinator_open(&d->coordinator, d, err);
	if (r == 0)
		wh_daemon_use_settings(d, wh_cluster_settings(d->coordinator->cluster));
	return r;
}

/* libvirt. */

/* By the name of a domain, which is the one that has just ended; or of any that does not run. */
struct ended {
	const struct wh_daemon *daemon;
	const char *domain; /* NULL for any */
};

static bool is_stale(void *ctx, const struct wh_stale_id *id)
{
	const struct ended *ended = ctx;
	const struct wh_job *job = wh_job_find(ended->daemon, id->migration);
	const struct wh_domain *domain = wh_libvirt_domain(ended->daemon->libvirt, id->vm);

	if (job && !wh_job_is_over(job->state))
		return false;
	return ended->domain ? !strcmp(ended->domain, id->vm) : !domain || !domain->active;
}

static void on_domains_changed(void *ctx)
{
	struct wh_daemon *d = ctx;
	struct ended any = { .daemon = d };

	wh_qmp_domains_changed(&d->domains);
	if (wh_libvirt_connected(d->libvirt, NULL))
		(void)wh_stale_sockets_remove(d->config->libvirt->directory, is_stale, &any);
	wh_turn(d); /* the coordinator shall know */
}

static void on_domain_event(void *ctx, const char *domain, const char *event, const json_t *data)
{
	struct wh_daemon *d = ctx;
	struct ended ended = { .daemon = d, .domain = domain };

	wh_qmp_domains_event(&d->domains, domain, event, data);
	if (!strcmp(event, "CLOSED"))
		(void)wh_stale_sockets_remove(d->config->libvirt->directory, is_stale, &ended);
}

static int open_libvirt(struct wh_daemon *d, struct wh_error *err)
{
	const struct wh_libvirt_handler handler = {
		.changed = on_domains_changed,
		.event = on_domain_event,
		.ctx = d,
	};
	int r;

	if (!d->config->libvirt)
		return 0;
	r = wh_libvirt_open(&d->libvirt, d->loop, d->config->libvirt->uri, &handler, err);
	d->domains = (struct wh_qmp_domains){ .loop = d->loop, .libvirt = d->libvirt };
	return r;
}

static int open_directories(struct wh_daemon *d, struct wh_error *err)
{
	int r;

	d->socket_dir = wh_dir_of(d->config->socket);
	r = wh_dir_make(d->socket_dir, err);
	return r < 0 ? r : wh_dir_make(d->config->state, err);
}

static int open_cgroup(struct wh_daemon *d, struct wh_error *err)
{
	int r = wh_cgroup_open_parent(&d->cgroup_parent_fd, d->config->cgroup, err);

	if (r < 0)
		return r;
	r = wh_cgroup_sweep(d->cgroup_parent_fd, wh_now_ns(&wh_clock_monotonic) + SWEEP_NS, err);
	return r < 0 ? r : 0;
}

static int open_loop(struct wh_daemon *d, struct wh_error *err)
{
	sigset_t signals;
	int r;

	(void)sigemptyset(&signals);
	(void)sigaddset(&signals, SIGTERM);
	(void)sigaddset(&signals, SIGINT);
	wh_assert(pthread_sigmask(SIG_BLOCK, &signals, NULL) == 0);
	r = sd_event_default(&d->loop);
	if (r >= 0)
		r = sd_event_add_signal(d->loop, NULL, SIGTERM, on_signal, d);
	if (r >= 0)
		r = sd_event_add_signal(d->loop, NULL, SIGINT, on_signal, d);
	if (r >= 0)
		r = sd_event_set_watchdog(d->loop, true);
	return r < 0 ? wh_fail(err, r, "cannot make an event loop: %s", strerror(-r)) : 0;
}

static int open_all(struct wh_daemon *d, const char *config, struct wh_error *err)
{
	int r = wh_config_load(&d->config, config, err);

	if (r == 0)
		r = open_directories(d, err);
	if (r == 0)
		r = open_loop(d, err);
	/* Only one wherryd can have the socket; the others go no further than here. */
	if (r == 0)
		r = wh_clients_open(&d->clients, d, err);
	if (r == 0)
		r = open_cgroup(d, err);
	if (r == 0)
		r = open_libvirt(d, err);
	if (r < 0)
		return r;
	load_settings(d);
	r = open_coordinator(d, err);
	if (r == 0)
		r = wh_node_server_open(&d->nodes, d, err);
	if (r == 0)
		r = wh_recover(d, err);
	if (r < 0)
		return r;
	d->agent = wh_agent_open(d);
	d->observe = wh_observe_open(d);
	return 0;
}

static void close_all(struct wh_daemon *d, struct wh_log_config *log)
{
	d->observe = wh_observe_close(d->observe);
	d->agent = wh_agent_close(d->agent);
	d->coordinator = wh_coordinator_close(d->coordinator);
	while (d->jobs) {
		struct wh_job *job = d->jobs;

		d->jobs = job->next;
		wh_job_free(job);
	}
	d->nodes = wh_node_server_close(d->nodes);
	d->libvirt = wh_libvirt_close(d->libvirt);
	d->clients = wh_clients_close(d->clients);
	wh_timer_stop(&d->stop_timer);
	d->turn = sd_event_source_disable_unref(d->turn);
	d->loop = sd_event_unref(d->loop);
	wh_closep(&d->cgroup_parent_fd);
	free(d->socket_dir);
	d->config = wh_config_free(d->config);
	log->tap = NULL;
	wh_log_setup(log);
	d->events = wh_events_free(d->events);
}

static int usage(FILE *out, int code)
{
	(void)fputs("usage: wherryd --config FILE [--log text|json]\n", out);
	return code;
}

/* Return: the exit code, or -1 to go on. */
static int read_options(int argc, char **argv, const char **config, struct wh_log_config *log)
{
	static const struct option options[] = {
		{ "config", required_argument, NULL, 'c' },
		{ "log", required_argument, NULL, 'l' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) { /* NOLINT: one thread */
		if (c == 'h')
			return usage(stdout, 0);
		if (c == 'c')
			*config = optarg;
		else if (c == 'l' && (!strcmp(optarg, "json") || !strcmp(optarg, "text")))
			log->json = !strcmp(optarg, "json");
		else
			return usage(stderr, 2);
	}
	return *config && optind == argc ? -1 : usage(stderr, 2);
}

int main(int argc, char **argv)
{
	struct wh_log_config log = { .level = WH_LOG_INFO };
	struct wh_daemon d = { .cgroup_parent_fd = -1 };
	const char *config = NULL;
	struct wh_error err;
	int code = read_options(argc, argv, &config, &log);

	if (code >= 0)
		return code;
	d.events = wh_events_new();
	log.tap = wh_events_add;
	log.tap_ctx = d.events;
	wh_log_setup(&log);
	if (open_all(&d, config, &err) < 0) {
		wh_log(WH_LOG_ERROR, "daemon.failed", WH_STR("reason", err.text));
		close_all(&d, &log);
		return 1;
	}
	wh_log(WH_LOG_INFO, "daemon.ready", WH_STR("node", d.config->node),
	       WH_STR("socket", d.config->socket));
	(void)sd_notify(0, "READY=1"); /* nobody may be listening */
	code = sd_event_loop(d.loop);
	wh_log(WH_LOG_INFO, "daemon.stopped", WH_I64("code", code));
	close_all(&d, &log);
	return code < 0;
}
