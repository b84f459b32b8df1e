/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Queue - the Pending moves in the order in which they are to start: docs/semantics.md section 4.
 *
 * A run goes through the queue once. Whatever stands in a move's way (its node's slots, a node
 * that is gone, a target with too little memory) concerns that move alone, and the next is looked
 * at; only when the cluster's slots are used up there is nothing more to look for. The same
 * function that finds out what is in the way says so to people.
 *
 * The queue is a sorted array: to put one of 10,000 moves into it shifts some 100 KiB.
 */

#include "cluster_state.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "units.h"

#include "wherry/assert.h"
#include "wherry/clock.h"
#include "wherry/log.h"

/* How soon to look again for a target where none fits, or at a store that fails. */
#define RETRY_MS 1000u

/* Whether @a goes before @b. */
static bool is_before(const struct wh_move *a, const struct wh_move *b)
{
	if (a->priority != b->priority)
		return a->priority > b->priority;
	return a->sequence < b->sequence;
}

/* How many moves of the queue go before @move. */
static size_t rank(const struct wh_cluster *c, const struct wh_move *move)
{
	size_t low = 0;
	size_t high = c->waiting.count;

	while (low < high) {
		const size_t middle = low + (high - low) / 2;

		if (is_before(&c->waiting.items[middle]->move, move))
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

void wh_queue_add(struct wh_cluster *c, struct wh_track *track)
{
	struct wh_tracks *q = &c->waiting;
	const size_t at = rank(c, &track->move);

	if (q->count == q->capacity) {
		q->capacity = q->capacity ? 2 * q->capacity : 16;
		q->items = reallocarray(q->items, q->capacity, sizeof(struct wh_track *));
		wh_assert(q->items);
	}
	memmove(&q->items[at + 1], &q->items[at], (q->count - at) * sizeof(struct wh_track *));
	q->items[at] = track;
	q->count++;
	c->look = true;
}

void wh_queue_remove(struct wh_cluster *c, struct wh_track *track)
{
	struct wh_tracks *q = &c->waiting;
	const size_t at = rank(c, &track->move);

	wh_assert(at < q->count && q->items[at] == track);
	q->count--;
	memmove(&q->items[at], &q->items[at + 1], (q->count - at) * sizeof(struct wh_track *));
}

/* Where to. */

static uint64_t memory_of(const struct wh_track *track)
{
	const struct wh_move *move = &track->move;
	const struct wh_report_vm *vm = wh_member_vm(track->source, move->name_space, move->vm);

	return vm ? vm->memory_bytes : 0;
}

/* What is free on a node after all that is on its way there. */
static uint64_t room_on(const struct wh_member *member)
{
	if (member->coming_bytes > member->free_bytes)
		return 0;
	return member->free_bytes - member->coming_bytes;
}

static void count_coming(struct wh_cluster *c)
{
	for (size_t i = 0; i < c->member_count; i++)
		c->members[i]->coming_bytes = 0;
	for (size_t i = 0; i < c->held.count; i++)
		if (c->held.items[i]->target)
			c->held.items[i]->target->coming_bytes += memory_of(c->held.items[i]);
}

/* Why nodes are no target: how many there are of each kind. */
struct unfit {
	unsigned gone;
	unsigned drained;
	unsigned unable; /* do not have the VM in their configuration, or no libvirt for it */
	unsigned small;
	uint64_t largest_bytes; /* of those */
};

static bool is_fit(const struct wh_cluster *c, const struct wh_member *member,
                   const struct wh_track *track, uint64_t memory_bytes, struct unfit *unfit)
{
	if (!wh_member_alive(c, member)) {
		unfit->gone++;
		return false;
	}
	if (!wh_member_takes(member, track->source, &track->move)) {
		unfit->unable++;
		return false;
	}
	if (member->drained) {
		unfit->drained++;
		return false;
	}
	if (room_on(member) < memory_bytes) {
		if (room_on(member) > unfit->largest_bytes)
			unfit->largest_bytes = room_on(member);
		unfit->small++;
		return false;
	}
	return true;
}

static void explain_unfit(const struct unfit *unfit, const struct wh_track *track,
                          struct wh_error *why)
{
	const struct wh_move *move = &track->move;
	const struct wh_report_vm *vm = wh_member_vm(track->source, move->name_space, move->vm);
	const char *unable = vm && vm->libvirt ? "have no libvirt or another VM of that name"
	                                       : "do not have it in their configuration";
	size_t used;

	if (!why)
		return;
	(void)wh_fail(why, 0, "waits for a node that can take it:");
	used = strlen(why->text);
	(void)snprintf(why->text + used, sizeof(why->text) - used,
	               " %u of the others %s, %u are drained, %u are gone", unfit->unable, unable,
	               unfit->drained, unfit->gone);
	used = strlen(why->text);
	if (unfit->small)
		(void)snprintf(why->text + used, sizeof(why->text) - used,
		               ", %u have too little free memory (%s at most, of %s)", unfit->small,
		               wh_units_bytes(unfit->largest_bytes).s,
		               wh_units_bytes(memory_of(track)).s);
}

/* The node with the most room for it; NULL if none fits. */
static struct wh_member *choose_target(const struct wh_cluster *c, const struct wh_track *track,
                                       struct wh_error *why)
{
	const uint64_t memory_bytes = memory_of(track);
	struct wh_member *best = NULL;
	struct unfit unfit = { 0 };

	for (size_t i = 0; i < c->member_count; i++) {
		struct wh_member *member = c->members[i];

		if (member == track->source || !is_fit(c, member, track, memory_bytes, &unfit))
			continue;
		if (!best || room_on(member) > room_on(best))
			best = member;
	}
	if (!best)
		explain_unfit(&unfit, track, why);
	return best;
}

static struct wh_member *named_target(const struct wh_cluster *c, const struct wh_track *track,
                                      struct wh_error *why)
{
	struct wh_member *target = track->target;

	if (wh_member_lost(c, target))
		(void)wh_fail(why, 0, "waits for node %s, which is gone", target->name);
	else if (target->drained)
		(void)wh_fail(why, 0, "waits for node %s, which is drained", target->name);
	else
		return target;
	return NULL;
}

/* What is in the way. */

/* Say which limit is reached, if it is. */
static bool is_full(const char *limit, const char *of, size_t used, uint32_t slots,
                    struct wh_error *why)
{
	if (used < slots)
		return false;
	if (slots == 0)
		(void)wh_fail(why, 0, "%s is 0, which holds all%s", limit, of);
	else
		(void)wh_fail(why, 0, "waits for %s%s (%zu of %u in use)", limit, of, used, slots);
	return true;
}

static bool is_cluster_full(const struct wh_cluster *c, struct wh_error *why)
{
	return is_full("parallelMigrationsPerCluster", "", wh_slots_of_cluster(c),
	               c->settings.parallel_per_cluster, why);
}

static bool is_source_full(const struct wh_cluster *c, const struct wh_member *source,
                           struct wh_error *why)
{
	char of[sizeof(source->name) + 16];

	(void)snprintf(of, sizeof(of), " of node %s", source->name);
	return is_full("parallelOutboundMigrationsPerNode", of, wh_slots_of_member(source),
	               c->settings.parallel_outbound_per_node, why);
}

/*
 * Whether something is in the way of @track, but for the cluster's slots; else it has a target.
 * @why may be NULL.
 */
static bool is_blocked(const struct wh_cluster *c, const struct wh_track *track,
                       struct wh_member **target, struct wh_error *why)
{
	const struct wh_move *move = &track->move;

	if (move->not_before_ms > c->now.mono_ms) {
		const uint64_t left_ms = move->not_before_ms - c->now.mono_ms;

		(void)wh_fail(why, 0, "waits %s before attempt %u",
		              wh_units_time(left_ms * WH_NSEC_PER_MSEC).s, move->attempt);
		return true;
	}
	if (!wh_member_alive(c, track->source)) {
		(void)wh_fail(why, 0, "waits for node %s, which is gone", move->source);
		return true;
	}
	if (is_source_full(c, track->source, why))
		return true;
	*target = move->target_named ? named_target(c, track, why) : choose_target(c, track, why);
	return !*target;
}

void wh_queue_explain(const struct wh_cluster *c, struct wh_track *track)
{
	struct wh_move *move = &track->move;
	struct wh_member *target;
	struct wh_error why;

	if (move->not_before_ms > c->now.mono_ms || !is_cluster_full(c, &why))
		if (!is_blocked(c, track, &target, &why))
			(void)wh_fail(&why, 0, "is about to start");
	move->place = (uint32_t)rank(c, move) + 1;
	(void)snprintf(move->note, sizeof(move->note), "place %u in the queue: %.200s", move->place,
	               why.text);
}

/* Starting. */

static void look_again(struct wh_cluster *c, uint64_t at_ms)
{
	if (at_ms < c->look_ms)
		c->look_ms = at_ms;
}

/* The node that has the VM now, if it is not the one that the move is to leave; else NULL. */
static const struct wh_member *moved_to(const struct wh_cluster *c, const struct wh_track *track)
{
	const struct wh_move *move = &track->move;

	if (wh_member_has(track->source, move->name_space, move->vm))
		return NULL;
	for (size_t i = 0; i < c->member_count; i++)
		if (wh_member_alive(c, c->members[i]) &&
		    wh_member_has(c->members[i], move->name_space, move->vm))
			return c->members[i];
	return NULL;
}

/* Return: 0 or -errno of the store. */
static int grant(struct wh_cluster *c, struct wh_track *track, struct wh_member *target,
                 struct wh_error *err)
{
	const struct wh_cluster_actions *actions = &c->config.actions;
	struct wh_move move = track->move;
	struct wh_cluster_effect effect;
	int r;

	wh_cluster_effect(c, move.name_space, move.vm, &effect);
	move.settings = effect.settings;
	if (effect.policy)
		(void)snprintf(move.policy, sizeof(move.policy), "%s", effect.policy->name);
	(void)snprintf(move.target, sizeof(move.target), "%s", target->name);
	move.phase = WH_MOVE_GRANTED;
	move.started_ms = c->now.wall_ms;
	move.not_before_ms = 0;
	move.place = 0;
	move.note[0] = '\0';
	r = wh_track_grant(c, track, target, &move, err);
	if (r < 0)
		return r;
	target->coming_bytes += memory_of(track);
	actions->start(actions->ctx, &track->move);
	return 0;
}

/* Return: whether it has left the queue. */
static bool try(struct wh_cluster *c, struct wh_track *track)
{
	const struct wh_member *elsewhere;
	struct wh_member *target = NULL;
	struct wh_error why;

	if (is_blocked(c, track, &target, NULL)) {
		const uint64_t not_before_ms = track->move.not_before_ms;

		look_again(c, not_before_ms > c->now.mono_ms ? not_before_ms
		                                             : c->now.mono_ms + RETRY_MS);
		return false;
	}
	elsewhere = moved_to(c, track);
	if (elsewhere) {
		(void)wh_fail(&why, 0, "VM '%s' is on node %s now, not on %s", track->move.vm,
		              elsewhere->name, track->move.source);
		wh_track_end(c, track, "failed", why.text);
		return true;
	}
	if (grant(c, track, target, &why) == 0)
		return true;
	wh_log(WH_LOG_ERROR, "store.failed", WH_STR("migration", track->move.id),
	       WH_STR("reason", why.text));
	look_again(c, c->now.mono_ms + RETRY_MS);
	return false;
}

void wh_queue_run(struct wh_cluster *c)
{
	size_t at = 0;

	if (!c->look && c->now.mono_ms < c->look_ms)
		return;
	c->look = false;
	c->look_ms = UINT64_MAX;
	count_coming(c);
	while (at < c->waiting.count && !is_cluster_full(c, NULL))
		if (!try(c, c->waiting.items[at]))
			at++;
}
