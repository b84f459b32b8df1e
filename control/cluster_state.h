/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What the parts of cluster.h share among themselves, and nobody else includes.
 *
 *	cluster.c           opening, requests, questions, the turn
 *	cluster_moves.c     moves: where they are kept, how they are found, their phases
 *	cluster_nodes.c     nodes: reports and leases
 *	cluster_queue.c     which move starts next, where to, and what the others wait for
 *	cluster_drain.c     moves off drained nodes
 *	cluster_objects.c   objects, and the settings that follow from them
 *
 * Memory is asserted: what is allocated here is small and bounded by what was accepted before.
 */

#ifndef WH_CLUSTER_STATE_H
#define WH_CLUSTER_STATE_H

#include "cluster.h"

struct wh_member {
	char name[WH_NAME_MAX]; /* first: nodes are searched by it */
	bool seen;              /* ever, also by a coordinator before this one */
	bool drained;
	bool libvirt;        /* domains can come in */
	bool gone;           /* its lease has expired, and that was acted upon */
	bool look;           /* it is drained, and its guests may have changed */
	uint64_t drained_ms; /* when draining began; 0 before this coordinator's time */
	uint64_t reported_ms;
	uint64_t lease_ms; /* alive before this */
	uint64_t memory_bytes;
	uint64_t free_bytes;
	uint64_t coming_bytes;    /* guests on their way here, as of the queue's last run */
	struct wh_report_vm *vms; /* owned with their labels, sorted by name, then namespace */
	size_t vm_count;
	uint32_t outbound; /* slots held by moves */
	uint32_t strays;   /* jobs that leave it and belong to no move that holds slots */
};

struct wh_track {
	struct wh_move move;      /* first: its id is what tracks are searched by */
	struct wh_track *older;   /* the one before it of a VM of this name; borrowed */
	struct wh_member *source; /* borrowed, as is */
	struct wh_member *target; /* NULL until one is chosen */
	bool unsaved;             /* the store has an older phase of it */
	bool source_over; /* ended there, as outcome and reason say; the target has the last word */
	bool target_over; /* ended there, too */
	uint64_t source_over_ms; /* mono: when that was heard */
	uint64_t ended_ms;       /* mono; 1 if that was before this coordinator's time */
};

/* Growing arrays of pointers. */
struct wh_tracks {
	struct wh_track **items;
	size_t count;
	size_t capacity;
};

struct wh_kept; /* cluster_objects.c */

struct wh_cluster {
	struct wh_store *store;
	struct wh_cluster_config config; /* strings are borrowed no longer than opening takes */
	struct wh_cluster_time now;      /* of the last call */

	struct wh_member **members; /* owned, sorted by name */
	size_t member_count;
	size_t strays; /* of all members */

	struct wh_tracks moves;   /* owned; all of them, the oldest first */
	struct wh_tracks waiting; /* borrowed; PENDING, in the order of the queue */
	struct wh_tracks held;    /* borrowed; those that hold slots, in no order */
	void *by_id;              /* tree of struct wh_track */
	void *by_vm;              /* tree of struct vm_moves, cluster_moves.c */
	uint64_t last_sequence;
	size_t over; /* moves that are */
	size_t unsaved;
	bool look;        /* something has changed that may let a move start */
	uint64_t look_ms; /* or time alone will, then */

	struct wh_kept **kept; /* owned; objects, sorted by kind, namespace and name */
	size_t kept_count;
	struct wh_settings settings;
	struct wh_policy_set *policies;
};

static inline bool wh_member_alive(const struct wh_cluster *c, const struct wh_member *member)
{
	return c->now.mono_ms < member->lease_ms;
}

/*
 * Whether it was there and is not any more. A node of the configuration that has never reported is
 * not lost: it may have a coordinator of its own, and only be a target here.
 */
static inline bool wh_member_lost(const struct wh_cluster *c, const struct wh_member *member)
{
	return member->seen && !wh_member_alive(c, member);
}

/* Slots in use: of the cluster, and of those that leave a node. */
static inline size_t wh_slots_of_cluster(const struct wh_cluster *c)
{
	return c->held.count + c->strays;
}

static inline uint32_t wh_slots_of_member(const struct wh_member *member)
{
	return member->outbound + member->strays;
}

/* cluster_moves.c */

/* Give @move an id and an age; nothing is kept yet. */
void wh_move_name(struct wh_cluster *c, struct wh_move *move);
/* Take in a move that the store has. */
struct wh_track *wh_track_adopt(struct wh_cluster *c, const struct wh_move *move);
/* The same for a new one, which it has just got. */
struct wh_track *wh_track_take(struct wh_cluster *c, const struct wh_move *move);
/* Keep a new move in the store and in the queue. Return: 0 or -errno of the store. */
wh_must_check int wh_track_new(struct wh_cluster *c, const struct wh_move *move,
                               struct wh_track **ret, struct wh_error *err);
struct wh_track *wh_track_by_id(const struct wh_cluster *c, const char *id);
/* The newest of the VM of this name; with a namespace, of that one only. */
struct wh_track *wh_track_of_vm(const struct wh_cluster *c, const char *name_space, const char *vm);
/*
 * Let it hold slots, going to @target with @move's settings. Return: 0, or -errno of the store,
 * and then nothing has changed.
 */
wh_must_check int wh_track_grant(struct wh_cluster *c, struct wh_track *track,
                                 struct wh_member *target, const struct wh_move *move,
                                 struct wh_error *err);
/* Change the phase, but to GRANTED. A store that fails is tried again with the next turns. */
void wh_track_enter(struct wh_cluster *c, struct wh_track *track, enum wh_move_phase to);
/* The same, to what @outcome means. */
void wh_track_end(struct wh_cluster *c, struct wh_track *track, const char *outcome,
                  const char *reason);
/* Write it again, now or with the next turns. */
void wh_track_save(struct wh_cluster *c, struct wh_track *track);
void wh_tracks_save(struct wh_cluster *c); /* those that could not be so far */
void wh_tracks_prune(struct wh_cluster *c);
void wh_tracks_free(struct wh_cluster *c);

/* cluster_nodes.c */

/* By name; the first makes it if it is not there. */
struct wh_member *wh_member_get(struct wh_cluster *c, const char *name);
struct wh_member *wh_member_find(const struct wh_cluster *c, const char *name);
/* The same. Return: 0 or -ENOENT with the nearest name. */
wh_must_check int wh_member_ask(const struct wh_cluster *c, const char *name,
                                struct wh_member **ret, struct wh_error *err);
/* What it says of a VM; of any namespace if that is "". NULL if it does not know it. */
const struct wh_report_vm *wh_member_vm(const struct wh_member *member, const char *name_space,
                                        const char *vm);
/* Whether it says that the VM is there. */
bool wh_member_has(const struct wh_member *member, const char *name_space, const char *vm);
/*
 * Whether a VM that is on @source could come in on @member, by what both have said. One that is in no report
 * yet counts as one of a configuration.
 */
bool wh_member_takes(const struct wh_member *member, const struct wh_member *source,
                     const struct wh_move *move);
/* The domain of this name: that of the node that has it, or else of one that knows it. Or NULL. */
const struct wh_report_vm *wh_members_domain(const struct wh_cluster *c, const char *name_space,
                                             const char *vm);
void wh_members_expire(struct wh_cluster *c);
void wh_members_free(struct wh_cluster *c);

/* cluster_queue.c */
void wh_queue_add(struct wh_cluster *c, struct wh_track *track);
void wh_queue_remove(struct wh_cluster *c, struct wh_track *track);
void wh_queue_run(struct wh_cluster *c);
/* Fill in place and note of a Pending move. */
void wh_queue_explain(const struct wh_cluster *c, struct wh_track *track);

/* cluster_drain.c */
void wh_drain_run(struct wh_cluster *c);

/* cluster.c: what @request asks for, checked, without an id. Return: as wh_cluster_migrate(). */
wh_must_check int wh_request_plan(const struct wh_cluster *c,
                                  const struct wh_cluster_request *request, struct wh_move *ret,
                                  struct wh_error *err);

/* cluster_objects.c */
wh_must_check int wh_kept_load(struct wh_cluster *c, struct wh_error *err);
void wh_kept_free(struct wh_cluster *c);

#endif
