/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Fake nodes - a cluster of nodes in one thread and in simulated time: they start what they are
 * told to, refuse some of it, fail at it or succeed, are silent, crash and come back, and report.
 * Orders and reports take their time on the way; those to and from one node keep their order.
 *
 * Every fourth VM is a domain of libvirt: only the node that it is on knows it, and it can be on all nodes
 * with libvirt, which are most.
 *
 * They know the truth: what every node really works on, and where every guest is. Each check of
 * limits is against that. A seed decides everything.
 */

#ifndef FAKE_NODES_H
#define FAKE_NODES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cluster.h"

#define NODE_REMEMBERS 32 /* jobs; the oldest that are over are forgotten first */
#define VM_PLACES      5  /* nodes that a VM can be on */
#define NODE_VMS_MAX   256

struct fake_nodes;

struct fake_vm {
	char name[16];
	uint32_t home; /* the node it is on */
	bool domain;
	uint32_t places[VM_PLACES]; /* of a domain they are some of the nodes */
	struct fake_job *job;       /* live, on either side */
};

/* One migration as its two nodes see it. */
struct fake_job {
	char id[WH_NAME_MAX];
	uint32_t vm, source, target;
	bool source_live, target_live;
	bool decided; /* whether the guest has moved; the sides may still have to end */
	bool refused; /* never began */
	bool cancelled;
	uint64_t begun_ms;
	char outcome[16];
};

struct fake_node {
	char name[16];
	bool up;
	uint32_t life; /* what was on its way in an earlier one is lost */
	bool quiet;    /* its wherryd is down, its guests and movers are not */
	bool libvirt;
	uint32_t vms[NODE_VMS_MAX]; /* that may be here */
	size_t vm_count;
	struct fake_job *jobs[NODE_REMEMBERS]; /* that it remembers, the oldest first */
	size_t job_count;
	uint64_t order_ms; /* when the last order so far arrives, and the last report */
	uint64_t report_ms;
	uint32_t outbound;   /* that leave it and are live on either side */
	uint64_t leaving_ms; /* the time that took, all told */
};

struct fake_event {
	uint64_t at_ms;
	uint64_t sequence;
	void (*run)(struct fake_nodes *f, struct fake_event *event);
	uint32_t node, life;
	uint32_t vm, target;
	struct fake_job *job; /* borrowed */
	char id[WH_NAME_MAX];
	void *data; /* owned by the event; freed after it has run */
};

struct fake_nodes {
	uint64_t seed;
	uint64_t now_ms;
	struct fake_event *heap;
	size_t event_count, event_capacity;
	uint64_t last_sequence;

	struct fake_node *nodes;
	uint32_t node_count;
	struct fake_vm *vms;
	uint32_t vm_count;
	struct fake_job **jobs; /* owned, every one there ever was */
	size_t job_count, job_capacity;

	uint32_t working; /* migrations that are live on either side, now */
	uint32_t most;    /* at any time */
	uint32_t most_outbound;
	uint64_t worked_ms; /* by all, all told */
	uint32_t begun, succeeded, failed, refused, crashes;
	uint64_t trouble_ms; /* from one crash or silence of a node to the next, at most */
	uint32_t cluster_limit, outbound_limit; /* asserted at each beginning */
	bool calm;                              /* no more failures: let it come to an end */

	/* To the coordinator; both are lost if there is none just now. */
	void (*report)(void *ctx, const struct wh_report *report);
	void (*refuse)(void *ctx, const char *id, const char *why);
	void *ctx;
};

/* @f is zeroed, but for trouble_ms and the limits. */
void fake_nodes_init(struct fake_nodes *f, uint64_t seed, uint32_t nodes, uint32_t vms);
void fake_nodes_done(struct fake_nodes *f);

uint64_t fake_random(struct fake_nodes *f, uint64_t below);

/* Have @event->run called in @in_ms; the rest of @event is copied along. */
void fake_later(struct fake_nodes *f, uint64_t in_ms, const struct fake_event *event);

/* Let time pass to the next event, and run it. */
void fake_step(struct fake_nodes *f);

/* The coordinator's orders. */
void fake_start(struct fake_nodes *f, const struct wh_move *move);
void fake_cancel(struct fake_nodes *f, const struct wh_move *move);

/* By name: "n0012", "v00345". */
uint32_t fake_index(const char *name);

#endif
