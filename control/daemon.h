/* SPDX-License-Identifier: Apache-2.0 */

/* Daemon - what the parts of one wherryd share. Everything here outlives every job. */

#ifndef WH_DAEMON_H
#define WH_DAEMON_H

#include <stdbool.h>

#include "config.h"
#include "libvirt.h"
#include "loop.h"
#include "qmp_domain.h"
#include "settings.h"
#include "totals.h"

#include "wherry/cleanup.h"
#include "wherry/error.h"

struct wh_agent;
struct wh_clients;
struct wh_coordinator;
struct wh_events;
struct wh_hook;
struct wh_job;
struct wh_node_server;
struct wh_observe;

struct wh_daemon {
	sd_event *loop;
	struct wh_events *events; /* what it has logged */
	struct wh_config *config;
	struct wh_settings settings; /* of the cluster; a migration's own come with its order */
	int cgroup_parent_fd;
	struct wh_job *jobs;   /* newest first */
	struct wh_hook *hooks; /* of libvirt, that jobs count on */
	struct wh_totals totals;
	struct wh_libvirt *libvirt; /* NULL if the configuration has none */
	struct wh_qmp_domains domains;
	struct wh_node_server *nodes;
	struct wh_clients *clients;
	struct wh_coordinator *coordinator; /* NULL if another node is it */
	struct wh_agent *agent;
	struct wh_observe *observe;
	char *socket_dir;      /* where the sockets of migrations are made */
	sd_event_source *turn; /* turn.c */
	void (*turned)(
		struct wh_daemon *daemon); /* with each turn: a job has changed; may be NULL */
	struct wh_timer stop_timer;
	bool stopping; /* no migration starts any more; exit when the last has ended */
};

/* The cluster's settings are these now. They are kept, for a start without coordinator. */
void wh_daemon_use_settings(struct wh_daemon *daemon, const struct wh_settings *settings);

#endif
