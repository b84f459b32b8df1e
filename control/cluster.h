/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Cluster - what the coordinator knows and decides: objects, nodes, moves, and which move may
 * start now. docs/semantics.md sections 2 and 4.
 *
 * Pure but for its store: what time it is comes in with each call, and what is to be done on a
 * node goes out through struct wh_cluster_actions. All that matters is in the store before an
 * action goes out; so a coordinator that is killed and opened again goes on where it was, and
 * an action is repeated rather than lost. Nodes take one that they know already as done.
 *
 * Leases: a node that reports holds a lease for WH_LEASE_MS. When it expires, the moves that it
 * works on as their source are over ("node a is gone"), and so their slots are free; those that
 * wait go on waiting, for it to come back. A coordinator that has just been opened gives every node
 * a whole lease, so no slot is given away while its holder may only not have reported yet. A node
 * that comes back still at work on a move that was given up fills slots with it, as is true.
 *
 * A node may hear an order twice, or one for what it finished long ago. So it takes one that it
 * knows already as done, and refuses again what it refused.
 *
 * Threads: one.
 */

#ifndef WH_CLUSTER_H
#define WH_CLUSTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "move.h"
#include "object.h"
#include "policy.h"
#include "store.h"

#include "wherry/cleanup.h"
#include "wherry/error.h"

/* Nodes report each second; this many ms of silence and a node is gone. */
#define WH_LEASE_MS 30000u

/* Moves of a drain that failed are tried again after this, doubled each time up to the other. */
#define WH_BACKOFF_MIN_MS 20000u
#define WH_BACKOFF_MAX_MS 320000u

struct wh_cluster;

/* The time: @mono_ms for everything that is decided, @wall_ms for what people read. */
struct wh_cluster_time {
	uint64_t mono_ms;
	uint64_t wall_ms;
};

/* None of these may call back into the cluster. */
struct wh_cluster_actions {
	/* Have move->source begin. An answer comes as a report, or as wh_cluster_refused(). */
	void (*start)(void *ctx, const struct wh_move *move);
	/* Have move->source cancel it. */
	void (*cancel)(void *ctx, const struct wh_move *move, const char *why);
	/* For the log and for events: @move is new, or has changed its phase. */
	void (*changed)(void *ctx, const struct wh_move *move);
	/* The settings of the cluster are others now. */
	void (*settings)(void *ctx, const struct wh_settings *settings);
	void *ctx;
};

struct wh_cluster_config {
	const char *state_dir;
	const char *node; /* that the coordinator runs on */
	enum wh_compatibility compatibility;
	struct wh_cluster_actions actions;
	uint32_t (*random)(void *ctx); /* for ids; NULL for the kernel's */
	void *random_ctx;
};

/* Return: 0, or -errno: as wh_store_open(), or -EINVAL for an object that cannot be read. */
wh_must_check int wh_cluster_open(struct wh_cluster **ret, const struct wh_cluster_config *cfg,
                                  struct wh_cluster_time now, struct wh_error *err);
struct wh_cluster *wh_cluster_close(struct wh_cluster *cluster);

WH_DEFINE_CLEANUP(struct wh_cluster, wh_cluster_close)

/* Nodes. */

/* A node of the configuration: it may be named, even before it has reported. */
void wh_cluster_expect_node(struct wh_cluster *cluster, const char *node,
                            struct wh_cluster_time now);

struct wh_report_vm {
	char name_space[WH_NAME_MAX];
	char name[WH_NAME_MAX];
	bool here;               /* it runs (or is paused) on this node; else it could come in */
	bool libvirt;            /* a domain: it needs no entry where it is to go, but libvirt */
	uint64_t memory_bytes;   /* 0 if not known */
	struct wh_labels labels; /* of a domain's metadata */
};

struct wh_report_job {
	char id[WH_NAME_MAX];
	bool source;
	bool over;
	char outcome[WH_NAME_MAX]; /* over: "" if it succeeded */
	char reason[WH_ERROR_TEXT_MAX];
};

/* What a node says of itself, each second and whenever something changes. All is borrowed. */
struct wh_report {
	const char *node;
	uint64_t memory_bytes; /* of the host */
	uint64_t free_bytes;
	bool libvirt;                   /* domains can come in */
	const struct wh_report_vm *vms; /* names are there once */
	size_t vm_count;
	const struct wh_report_job *jobs; /* live ones, and those over that it remembers */
	size_t job_count;
};

/*
 * Renew the node's lease, and take note of what it says. A move ends when its source has said that
 * its job is over and its target says so, too, or has not mentioned it 2 s later, or is gone. A
 * move that the source does not know (any more) fails if it was RUNNING, and is started again if
 * it is GRANTED. One that was cancelled is cancelled again for as long as the source works on it.
 */
void wh_cluster_report(struct wh_cluster *cluster, const struct wh_report *report,
                       struct wh_cluster_time now);

/* The source node would not begin @id: it fails, for this reason, as if its job had ended so. */
void wh_cluster_refused(struct wh_cluster *cluster, const char *id, const char *why,
                        struct wh_cluster_time now);

/*
 * Leases, back-off, drains, the queue. Call it after anything else that was called, too. Return:
 * mono_ms when it wants to be called again; UINT64_MAX for not before something happens.
 */
uint64_t wh_cluster_turn(struct wh_cluster *cluster, struct wh_cluster_time now);

struct wh_cluster_node {
	const char *name;
	bool alive; /* its lease has not expired */
	bool seen;  /* it has reported, ever */
	bool drained;
	bool libvirt;
	uint64_t reported_ms; /* mono_ms of its last report */
	uint64_t memory_bytes;
	uint64_t free_bytes;
	const struct wh_report_vm *vms; /* borrowed until its next report */
	size_t vm_count;
	uint32_t outbound; /* slots in use */
};

/* The node of index @i, in the order of names; false past the last one. */
bool wh_cluster_node_at(const struct wh_cluster *cluster, size_t i, struct wh_cluster_node *ret,
                        struct wh_cluster_time now);

/* Moves. */

struct wh_cluster_request {
	const char *name_space; /* "" for whichever the VM has */
	const char *vm;
	const char *to;        /* "" for any node */
	const char *from;      /* "" for where it is; else where the asking node has it */
	const char *engine;    /* as in struct wh_move; NULL for "" */
	const char *transport; /* the same */
	enum wh_priority priority;
};

/*
 * Put a move into the queue. Return: 0; -ENOENT for a VM or node that is not known; -EBUSY if the
 * VM is being moved already; -EINVAL if it is there, or the node is being drained; -EAGAIN if one
 * of the nodes is gone; or -errno of the store.
 */
wh_must_check int wh_cluster_migrate(struct wh_cluster *cluster,
                                     const struct wh_cluster_request *request,
                                     const struct wh_move **ret, struct wh_cluster_time now,
                                     struct wh_error *err);

/*
 * Cancel @id, as wh_cluster_find_move() finds it. A Pending move is over at once; one that holds
 * slots is cancelled on its node, by an action. Return: 0, or -ENOENT; -EALREADY if it is over.
 */
wh_must_check int wh_cluster_cancel(struct wh_cluster *cluster, const char *id, const char *why,
                                    struct wh_cluster_time now, struct wh_error *err);

/* By id, or the newest of the VM of that name; NULL if there is none. Borrowed until a call that
 * changes something. */
const struct wh_move *wh_cluster_find_move(const struct wh_cluster *cluster, const char *name);

/* The move of index @i, the newest first; NULL past the last one. */
const struct wh_move *wh_cluster_move_at(const struct wh_cluster *cluster, size_t i);

/*
 * Move all guests off @node, and let none come, until it is undrained: that cancels those of its
 * drain's moves that are Pending. Return: 0; -ENOENT; or -errno of the store.
 */
wh_must_check int wh_cluster_drain(struct wh_cluster *cluster, const char *node, bool drain,
                                   struct wh_cluster_time now, struct wh_error *err);

/* Objects. */

/* Names one object; or some, where that is said. */
struct wh_object_key {
	enum wh_kind kind;
	const char *name_space; /* "" if the kind is cluster-scoped */
	const char *name;
};

enum wh_applied {
	WH_APPLIED_CREATED,
	WH_APPLIED_CONFIGURED,
	WH_APPLIED_UNCHANGED,
};

struct wh_apply {
	const char *name; /* stands for the file in errors */
	const void *data;
	size_t len;
	bool dry_run;
	/*
	 * Not 0: the file is one object that was edited, and this was its revision: it is refused
	 * if it has changed meanwhile (-ESTALE), or if it is another object now (-EINVAL).
	 */
	uint64_t revision;
	struct wh_object_key edited; /* with revision: the object that was */
	/* Called for each object, in file order, once all are known to be right. */
	void (*each)(void *ctx, const struct wh_object *object, enum wh_applied result);
	void *ctx;
	size_t *ignored; /* receives the number of objects of other kinds; may be NULL */
};

/*
 * All of it or none. There is one HyperConverged or KubeVirt in a cluster: a second one of another
 * name or kind is refused. A VirtualMachineInstanceMigration that is new becomes a move, or is
 * refused as wh_cluster_migrate() would refuse it; one that is there cannot be changed.
 */
wh_must_check int wh_cluster_apply(struct wh_cluster *cluster, const struct wh_apply *apply,
                                   struct wh_cluster_time now, struct wh_error *err);

/* A VirtualMachineInstanceMigration takes its move along: it is cancelled. Return: 0; -ENOENT; or
 * -errno of the store. */
wh_must_check int wh_cluster_delete(struct wh_cluster *cluster, const struct wh_object_key *key,
                                    struct wh_cluster_time now, struct wh_error *err);

/* Call @each for the objects of a kind, by namespace and name. The key's namespace may be "", and
 * its name NULL: for all. */
void wh_cluster_each_object(const struct wh_cluster *cluster, const struct wh_object_key *key,
                            void (*each)(void *ctx, const struct wh_object *object,
                                         uint64_t revision),
                            void *ctx);

/* Settings of the cluster, without any policy. Borrowed. */
const struct wh_settings *wh_cluster_settings(const struct wh_cluster *cluster);

/* Which of the sources has told the labels of a VM: the first of these that there is. */
enum wh_labels_from {
	WH_LABELS_OF_VMI,
	WH_LABELS_OF_VM,
	WH_LABELS_OF_DOMAIN, /* its metadata */
	WH_LABELS_OF_NOTHING,
};

/* How a VM would be migrated now, and why. All is borrowed until something changes. */
struct wh_cluster_effect {
	struct wh_settings settings;
	const struct wh_named_policy *policy; /* NULL if none matches */
	const struct wh_labels *namespace_labels;
	const struct wh_labels *vm_labels;
	enum wh_labels_from vm_labels_from;
};

/* Never fails: a VM that neither an object nor a domain's metadata describes has no labels. */
void wh_cluster_effect(const struct wh_cluster *cluster, const char *name_space, const char *vm,
                       struct wh_cluster_effect *ret);

/* All policies, in the order of their names, for explanations; false past the last one. */
bool wh_cluster_policy_at(const struct wh_cluster *cluster, size_t i, struct wh_named_policy *ret);

#endif
