/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Metrics - numbers of wherryd as Prometheus reads them: docs/observability.md.
 *
 * What KubeVirt has under the same meaning has KubeVirt's name and labels, so that dashboards and
 * alerts made for OpenShift Virtualization work; what it lacks begins with "wherry_". The table in
 * metrics.c is the source of names, types, units and help.
 *
 * A page of text is made of what is put in by the calls below, in any order, each object once; a
 * metric of which nothing was put in is left out. Pure: no clock, no files, no daemon.
 *
 * Threads: one.
 */

#ifndef WH_METRICS_H
#define WH_METRICS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "progress.h"
#include "rate_bpf.h"
#include "totals.h"

#include "wherry/cleanup.h"

struct wh_metrics;

/* The metrics of @node (copied). Never NULL. */
struct wh_metrics *wh_metrics_new(const char *node);

/* Accepts NULL, returns NULL. */
struct wh_metrics *wh_metrics_free(struct wh_metrics *metrics);

/* The text, from malloc(), never NULL; @len receives its length. The metrics are used up. */
char *wh_metrics_text(struct wh_metrics *metrics, size_t *len);

/* What is true of wherryd as a whole. */
void wh_metrics_add_totals(struct wh_metrics *metrics, const char *version,
                           const struct wh_totals *totals);

/*
 * One side of a migration. The source tells of the guest that leaves, under KubeVirt's names, and
 * the target of the waits in post-copy, so that a sum over nodes has each once.
 */
struct wh_metrics_migration {
	const struct wh_view *view;
	const char *name_space;       /* of the VM */
	uint64_t started_ms;          /* since 1970, 0 until then */
	uint64_t ended_ms;            /* the same */
	struct wh_rate_stats limiter; /* source */
	bool last;                    /* no later migration of this VM from here has succeeded */
};

void wh_metrics_add_migration(struct wh_metrics *metrics, const struct wh_metrics_migration *m);

/* How many migrations are where. Who knows the queue puts this in, and nobody else. */
struct wh_metrics_phases {
	uint64_t pending;    /* wait for their slots */
	uint64_t scheduling; /* hold them; both sides are being made ready */
	uint64_t running;
};

void wh_metrics_add_phases(struct wh_metrics *metrics, const struct wh_metrics_phases *phases);

/* How many wait at this priority, of a name such as "user-triggered". */
void wh_metrics_add_queue(struct wh_metrics *metrics, const char *priority, uint64_t length);

/* A node as the coordinator sees it. */
struct wh_metrics_node {
	const char *name;
	bool alive;   /* its lease has not expired */
	bool seen;    /* it has reported; else what follows, but for drained, is left out */
	bool drained; /* guests are moved off it */
	uint64_t report_age_ms;
	uint64_t memory_bytes;
	uint64_t free_bytes;
	uint32_t outbound; /* slots in use */
};

void wh_metrics_add_node(struct wh_metrics *metrics, const struct wh_metrics_node *node);

WH_DEFINE_CLEANUP(struct wh_metrics, wh_metrics_free)

#endif
