/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Nodes of the cluster - what each said last, and what follows from it for the moves that hold
 * slots. There are few of those, so each report goes through all.
 */

#include "cluster_state.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "name.h"

#include "wherry/assert.h"
#include "wherry/log.h"

/* What a node says is less than this old as it arrives. */
#define SETTLE_MS 2000u

/* So that a name can be searched for. */
static_assert(offsetof(struct wh_member, name) == 0, "a name is where its member is");

/* The index of the first member whose name is not less. */
static size_t lower_bound(const struct wh_cluster *c, const char *name)
{
	size_t low = 0;
	size_t high = c->member_count;

	while (low < high) {
		const size_t middle = low + (high - low) / 2;

		if (strcmp(c->members[middle]->name, name) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

struct wh_member *wh_member_find(const struct wh_cluster *c, const char *name)
{
	const size_t at = lower_bound(c, name);

	if (at == c->member_count || strcmp(c->members[at]->name, name) != 0)
		return NULL;
	return c->members[at];
}

struct wh_member *wh_member_get(struct wh_cluster *c, const char *name)
{
	const size_t at = lower_bound(c, name);
	struct wh_member *member = wh_member_find(c, name);

	if (member)
		return member;
	member = calloc(1, sizeof(*member));
	c->members = reallocarray(c->members, c->member_count + 1, sizeof(struct wh_member *));
	wh_assert(member && c->members);
	(void)snprintf(member->name, sizeof(member->name), "%s", name);
	member->lease_ms = c->now.mono_ms + WH_LEASE_MS;
	/* A store that cannot be read: to wait for a word in vain harms less than not to wait. */
	member->seen = wh_store_knows_node(c->store, name, NULL) != 0;
	memmove(&c->members[at + 1], &c->members[at],
	        (c->member_count - at) * sizeof(struct wh_member *));
	c->members[at] = member;
	c->member_count++;
	return member;
}

int wh_member_ask(const struct wh_cluster *c, const char *name, struct wh_member **ret,
                  struct wh_error *err)
{
	struct wh_nearest nearest = { .wrong = name };
	struct wh_member *member = wh_member_find(c, name);

	if (member) {
		*ret = member;
		return 0;
	}
	for (size_t i = 0; i < c->member_count; i++)
		wh_nearest_offer(&nearest, c->members[i]->name);
	if (!nearest.best)
		return wh_fail(err, -ENOENT, "there is no node '%s'", name);
	return wh_fail(err, -ENOENT, "there is no node '%s'; did you mean '%s'?", name,
	               nearest.best);
}

void wh_cluster_expect_node(struct wh_cluster *c, const char *node, struct wh_cluster_time now)
{
	c->now = now;
	(void)wh_member_get(c, node);
}

bool wh_cluster_node_at(const struct wh_cluster *c, size_t i, struct wh_cluster_node *ret,
                        struct wh_cluster_time now)
{
	const struct wh_member *member;

	if (i >= c->member_count)
		return false;
	member = c->members[i];
	*ret = (struct wh_cluster_node){
		.name = member->name,
		.alive = now.mono_ms < member->lease_ms,
		.seen = member->seen,
		.drained = member->drained,
		.libvirt = member->libvirt,
		.reported_ms = member->reported_ms,
		.memory_bytes = member->memory_bytes,
		.free_bytes = member->free_bytes,
		.vms = member->vms,
		.vm_count = member->vm_count,
		.outbound = wh_slots_of_member(member),
	};
	return true;
}

/* VMs. */

static int compare_vms(const void *a, const void *b)
{
	const struct wh_report_vm *x = a;
	const struct wh_report_vm *y = b;
	const int by_name = strcmp(x->name, y->name);

	return by_name ? by_name : strcmp(x->name_space, y->name_space);
}

/* They come in the same order each second. */
static bool is_sorted(const struct wh_member *member)
{
	for (size_t i = 1; i < member->vm_count; i++)
		if (compare_vms(&member->vms[i - 1], &member->vms[i]) > 0)
			return false;
	return true;
}

/* Labels of its own for @vm: those that @member has of it, if they are the same, or a copy. */
static void own_labels(struct wh_member *member, struct wh_report_vm *vm)
{
	const struct wh_labels theirs = vm->labels;
	struct wh_report_vm *before;

	vm->labels = (struct wh_labels){ 0 };
	if (theirs.count == 0)
		return;
	before = (struct wh_report_vm *)wh_member_vm(member, vm->name_space, vm->name);
	if (before && wh_labels_equal(&before->labels, &theirs)) {
		vm->labels = before->labels;
		before->labels = (struct wh_labels){ 0 };
		return;
	}
	wh_assert(wh_labels_copy(&vm->labels, &theirs) == 0);
}

static void free_vms(struct wh_report_vm *vms, size_t count)
{
	for (size_t i = 0; i < count; i++)
		wh_labels_done(&vms[i].labels);
	free(vms);
}

static void take_vms(struct wh_member *member, const struct wh_report *report)
{
	/* One more, so that no VMs are no failure. */
	struct wh_report_vm *vms = calloc(report->vm_count + 1, sizeof(*vms));

	wh_assert(vms);
	for (size_t i = 0; i < report->vm_count; i++) {
		vms[i] = report->vms[i];
		own_labels(member, &vms[i]);
	}
	free_vms(member->vms, member->vm_count);
	member->vms = vms;
	member->vm_count = report->vm_count;
	if (!is_sorted(member))
		qsort(member->vms, member->vm_count, sizeof(*member->vms), compare_vms);
}

const struct wh_report_vm *wh_member_vm(const struct wh_member *member, const char *name_space,
                                        const char *vm)
{
	size_t low = 0;
	size_t high = member->vm_count;

	while (low < high) {
		const size_t middle = low + (high - low) / 2;
		const struct wh_report_vm *at = &member->vms[middle];
		int order = strcmp(at->name, vm);

		if (order == 0)
			order = strcmp(at->name_space, name_space);
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	/* No namespace is before all others, so this is the first of that name. */
	if (low == member->vm_count || strcmp(member->vms[low].name, vm) != 0 ||
	    (*name_space && strcmp(member->vms[low].name_space, name_space) != 0))
		return NULL;
	return &member->vms[low];
}

bool wh_member_has(const struct wh_member *member, const char *name_space, const char *vm)
{
	const struct wh_report_vm *found = wh_member_vm(member, name_space, vm);

	return found && found->here;
}

bool wh_member_takes(const struct wh_member *member, const struct wh_member *source,
                     const struct wh_move *move)
{
	const struct wh_report_vm *left = wh_member_vm(source, move->name_space, move->vm);
	const struct wh_report_vm *there;

	if (!left || !left->libvirt) {
		there = wh_member_vm(member, move->name_space, move->vm);
		return there && !there->libvirt && !there->here;
	}
	/* An entry of that name, in whatever namespace, counts more than libvirt. */
	there = wh_member_vm(member, "", move->vm);
	return member->libvirt && (!there || (there->libvirt && !there->here));
}

const struct wh_report_vm *wh_members_domain(const struct wh_cluster *c, const char *name_space,
                                             const char *vm)
{
	const struct wh_report_vm *best = NULL;

	for (size_t i = 0; i < c->member_count; i++) {
		const struct wh_report_vm *found = wh_member_vm(c->members[i], name_space, vm);

		if (found && found->libvirt && (!best || (found->here && !best->here)))
			best = found;
	}
	return best;
}

/* Jobs. */

/* One that is not over, if there is any: a move may have been started twice, with a crash between. */
static const struct wh_report_job *find_job(const struct wh_report *report, const char *id,
                                            bool source)
{
	const struct wh_report_job *over = NULL;

	for (size_t i = 0; i < report->job_count; i++) {
		const struct wh_report_job *job = &report->jobs[i];

		if (job->source != source || strcmp(job->id, id) != 0)
			continue;
		if (!job->over)
			return job;
		over = job;
	}
	return over;
}

/*
 * Whether the target may still have a word to say of a move. One that has never reported has not:
 * it has a coordinator of its own, and is only a target here.
 */
static bool may_speak(const struct wh_cluster *c, const struct wh_track *track)
{
	const struct wh_member *target = track->target;

	return !track->target_over && target && target->seen && wh_member_alive(c, target);
}

/* The source has ended it. The move is over once the target has, too. */
static void end_at_source(struct wh_cluster *c, struct wh_track *track, const char *outcome,
                          const char *reason)
{
	struct wh_move *move = &track->move;

	track->source_over = true;
	track->source_over_ms = c->now.mono_ms;
	/* Our own reason to cancel stays where the node has none. */
	if (*reason || strcmp(outcome, move->outcome) != 0)
		(void)snprintf(move->reason, sizeof(move->reason), "%s", reason);
	(void)snprintf(move->outcome, sizeof(move->outcome), "%s", outcome);
	if (!may_speak(c, track))
		wh_track_end(c, track, move->outcome, move->reason);
}

static void lose_at_source(struct wh_cluster *c, struct wh_track *track)
{
	char reason[WH_ERROR_TEXT_MAX];

	(void)snprintf(reason, sizeof(reason), "node %s does not know it any more",
	               track->move.source);
	end_at_source(c, track, "failed", reason);
}

void wh_cluster_refused(struct wh_cluster *c, const char *id, const char *why,
                        struct wh_cluster_time now)
{
	struct wh_track *track = wh_track_by_id(c, id);

	c->now = now;
	/* One that runs was begun: what was refused is then the same order, given again. */
	if (track && track->move.phase == WH_MOVE_GRANTED && !track->source_over)
		end_at_source(c, track, *track->move.outcome ? track->move.outcome : "failed", why);
}

static void hear_source(struct wh_cluster *c, struct wh_track *track,
                        const struct wh_report_job *job)
{
	const struct wh_cluster_actions *actions = &c->config.actions;
	const struct wh_move *move = &track->move;

	if (track->source_over)
		return;
	if (job && job->over) {
		end_at_source(c, track, job->outcome, job->reason);
		return;
	}
	if (!job && move->phase == WH_MOVE_RUNNING) {
		lose_at_source(c, track);
		return;
	}
	if (!job)
		actions->start(actions->ctx, move);
	else if (move->phase == WH_MOVE_GRANTED)
		wh_track_enter(c, track, WH_MOVE_RUNNING);
	if (*move->outcome)
		actions->cancel(actions->ctx, move, move->reason);
}

/*
 * A target says once that it has ended, and that may be before the source does. One that does not
 * mention it has never begun, or has spoken to another coordinator.
 */
static void hear_target(struct wh_cluster *c, struct wh_track *track,
                        const struct wh_report_job *job)
{
	const uint64_t settled_ms = track->source_over_ms + SETTLE_MS;

	if (job)
		track->target_over = job->over;
	if (track->source_over && (track->target_over || (!job && c->now.mono_ms >= settled_ms)))
		wh_track_end(c, track, track->move.outcome, track->move.reason);
}

static void take_jobs(struct wh_cluster *c, struct wh_member *member,
                      const struct wh_report *report)
{
	/* From the end, since a move that is over is replaced by one that was looked at. */
	for (size_t i = c->held.count; i-- > 0;) {
		struct wh_track *track = c->held.items[i];

		if (track->source == member)
			hear_source(c, track, find_job(report, track->move.id, true));
		else if (track->target == member)
			hear_target(c, track, find_job(report, track->move.id, false));
	}
}

static void set_strays(struct wh_cluster *c, struct wh_member *member, uint32_t strays)
{
	if (strays < member->strays)
		c->look = true;
	c->strays = c->strays - member->strays + strays;
	member->strays = strays;
}

static void count_strays(struct wh_cluster *c, struct wh_member *member,
                         const struct wh_report *report)
{
	uint32_t strays = 0;

	for (size_t i = 0; i < report->job_count; i++) {
		const struct wh_report_job *job = &report->jobs[i];
		const struct wh_track *track;

		if (!job->source || job->over)
			continue;
		track = wh_track_by_id(c, job->id);
		strays += !track || !wh_move_holds_slots(&track->move) || track->source != member;
	}
	set_strays(c, member, strays);
}

static void note_first(struct wh_cluster *c, const struct wh_member *member)
{
	struct wh_error why;

	if (wh_store_note_node(c->store, member->name, &why) < 0)
		wh_log(WH_LOG_ERROR, "store.failed", WH_STR("node", member->name),
		       WH_STR("reason", why.text));
}

void wh_cluster_report(struct wh_cluster *c, const struct wh_report *report,
                       struct wh_cluster_time now)
{
	struct wh_member *member;

	c->now = now;
	member = wh_member_get(c, report->node);
	if (!member->seen)
		note_first(c, member);
	if (member->gone || member->reported_ms == 0) {
		wh_log(WH_LOG_INFO, "node.alive", WH_STR("node", member->name));
		c->look = true;
	}
	member->seen = true;
	member->gone = false;
	member->look = member->drained;
	member->reported_ms = now.mono_ms;
	member->lease_ms = now.mono_ms + WH_LEASE_MS;
	member->memory_bytes = report->memory_bytes;
	member->free_bytes = report->free_bytes;
	member->libvirt = report->libvirt;
	take_vms(member, report);
	take_jobs(c, member, report);
	count_strays(c, member, report);
}

/* Leases. */

static void give_up(struct wh_cluster *c, struct wh_member *member)
{
	char why[WH_ERROR_TEXT_MAX];

	(void)snprintf(why, sizeof(why), "node %s is gone: it has not reported for %u s",
	               member->name, WH_LEASE_MS / 1000);
	wh_log(WH_LOG_WARNING, "node.gone", WH_STR("node", member->name));
	member->gone = true;
	set_strays(c, member, 0);
	for (size_t i = c->held.count; i-- > 0;) {
		struct wh_track *track = c->held.items[i];

		if (track->source_over && track->target == member)
			wh_track_end(c, track, track->move.outcome, track->move.reason);
		else if (!track->source_over && track->source == member)
			wh_track_end(c, track, "failed", why);
	}
}

void wh_members_expire(struct wh_cluster *c)
{
	for (size_t i = 0; i < c->member_count; i++)
		if (!c->members[i]->gone && !wh_member_alive(c, c->members[i]))
			give_up(c, c->members[i]);
}

void wh_members_free(struct wh_cluster *c)
{
	for (size_t i = 0; i < c->member_count; i++) {
		free_vms(c->members[i]->vms, c->members[i]->vm_count);
		free(c->members[i]);
	}
	free(c->members);
}
