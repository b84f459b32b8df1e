/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Moves of the cluster - every move is in one list by age, and while it is not over in one of two
 * others: it waits, or it holds slots. Two trees find it by its id and by its VM's name.
 */

#include "cluster_state.h"

#include <assert.h>
#include <errno.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "wherry/assert.h"
#include "wherry/log.h"

/* Moves of VMs of one name, whatever their namespaces. */
struct vm_moves {
	char vm[WH_NAME_MAX];
	struct wh_track *newest;
};

/* So that a text is a key of both trees. */
static_assert(offsetof(struct wh_track, move.id) == 0, "an id is where its track is");
static_assert(offsetof(struct vm_moves, vm) == 0, "and a VM's name where its moves are");

/* A bit for each phase that may follow. */
#define TO(phase) (1u << (phase))

static const unsigned legal[] = {
	[WH_MOVE_PENDING] = TO(WH_MOVE_GRANTED) | TO(WH_MOVE_FAILED) | TO(WH_MOVE_CANCELLED),
	[WH_MOVE_GRANTED] = TO(WH_MOVE_RUNNING) | TO(WH_MOVE_SUCCEEDED) | TO(WH_MOVE_FAILED) |
	                    TO(WH_MOVE_CANCELLED),
	[WH_MOVE_RUNNING] = TO(WH_MOVE_SUCCEEDED) | TO(WH_MOVE_FAILED) | TO(WH_MOVE_CANCELLED),
	[WH_MOVE_SUCCEEDED] = 0,
	[WH_MOVE_FAILED] = 0,
	[WH_MOVE_CANCELLED] = 0,
};

static int compare_text(const void *a, const void *b)
{
	return strcmp(a, b);
}

static void append(struct wh_tracks *tracks, struct wh_track *track)
{
	if (tracks->count == tracks->capacity) {
		tracks->capacity = tracks->capacity ? 2 * tracks->capacity : 16;
		tracks->items =
			reallocarray(tracks->items, tracks->capacity, sizeof(struct wh_track *));
		wh_assert(tracks->items);
	}
	tracks->items[tracks->count++] = track;
}

/* From a list without order: the last one takes its place. */
static void take_out(struct wh_tracks *tracks, const struct wh_track *track)
{
	for (size_t i = 0; i < tracks->count; i++) {
		if (tracks->items[i] != track)
			continue;
		tracks->items[i] = tracks->items[--tracks->count];
		return;
	}
	wh_assert(false);
}

static uint32_t random_u32(const struct wh_cluster *c)
{
	uint32_t random;

	if (c->config.random)
		return c->config.random(c->config.random_ctx);
	wh_assert(getrandom(&random, sizeof(random), 0) == sizeof(random));
	return random;
}

void wh_move_name(struct wh_cluster *c, struct wh_move *move)
{
	/* This ends: of 2^32 ids for each VM's name, some thousand are taken at most. */
	do {
		(void)snprintf(move->id, sizeof(move->id), "%.16s-%08x", move->vm, random_u32(c));
	} while (wh_track_by_id(c, move->id));
	move->sequence = ++c->last_sequence;
}

/* Finding. */

struct wh_track *wh_track_by_id(const struct wh_cluster *c, const char *id)
{
	void *const *found = tfind(id, &c->by_id, compare_text);

	return found ? *found : NULL;
}

static struct vm_moves *moves_of_vm(const struct wh_cluster *c, const char *vm)
{
	void *const *found = tfind(vm, &c->by_vm, compare_text);

	return found ? *found : NULL;
}

struct wh_track *wh_track_of_vm(const struct wh_cluster *c, const char *name_space, const char *vm)
{
	const struct vm_moves *moves = moves_of_vm(c, vm);
	struct wh_track *track = moves ? moves->newest : NULL;

	while (track && *name_space && strcmp(track->move.name_space, name_space) != 0)
		track = track->older;
	return track;
}

static void index_track(struct wh_cluster *c, struct wh_track *track)
{
	struct vm_moves *moves = moves_of_vm(c, track->move.vm);

	wh_assert(tsearch(track, &c->by_id, compare_text));
	if (!moves) {
		moves = calloc(1, sizeof(*moves));
		wh_assert(moves);
		memcpy(moves->vm, track->move.vm, sizeof(moves->vm));
		wh_assert(tsearch(moves, &c->by_vm, compare_text));
	}
	track->older = moves->newest;
	moves->newest = track;
}

static void unindex_track(struct wh_cluster *c, struct wh_track *track)
{
	struct vm_moves *moves = moves_of_vm(c, track->move.vm);
	struct wh_track **at = &moves->newest;

	while (*at != track)
		at = &(*at)->older;
	*at = track->older;
	if (!moves->newest) {
		(void)tdelete(moves, &c->by_vm, compare_text);
		free(moves);
	}
	(void)tdelete(track, &c->by_id, compare_text);
}

/* Keeping. */

static void hold(struct wh_cluster *c, struct wh_track *track)
{
	append(&c->held, track);
	track->source->outbound++;
}

static void let_go(struct wh_cluster *c, struct wh_track *track)
{
	take_out(&c->held, track);
	track->source->outbound--;
	c->look = true;
}

struct wh_track *wh_track_adopt(struct wh_cluster *c, const struct wh_move *move)
{
	struct wh_track *track = calloc(1, sizeof(*track));

	wh_assert(track);
	track->move = *move;
	track->source = wh_member_get(c, move->source);
	track->target = *move->target ? wh_member_get(c, move->target) : NULL;
	append(&c->moves, track);
	index_track(c, track);
	if (move->sequence > c->last_sequence)
		c->last_sequence = move->sequence;
	if (move->phase == WH_MOVE_PENDING)
		wh_queue_add(c, track);
	else if (wh_move_holds_slots(move))
		hold(c, track);
	else
		c->over++;
	track->ended_ms = wh_move_is_over(move);
	return track;
}

static void tell(const struct wh_cluster *c, const struct wh_track *track)
{
	c->config.actions.changed(c->config.actions.ctx, &track->move);
}

struct wh_track *wh_track_take(struct wh_cluster *c, const struct wh_move *move)
{
	struct wh_track *track = wh_track_adopt(c, move);

	tell(c, track);
	return track;
}

int wh_track_new(struct wh_cluster *c, const struct wh_move *move, struct wh_track **ret,
                 struct wh_error *err)
{
	const int r = wh_store_put_move(c->store, move, err);

	if (r < 0)
		return r;
	*ret = wh_track_take(c, move);
	return 0;
}

static void set_unsaved(struct wh_cluster *c, struct wh_track *track, bool unsaved)
{
	c->unsaved += (size_t)unsaved - (size_t)track->unsaved;
	track->unsaved = unsaved;
}

static bool try_to_save(struct wh_cluster *c, struct wh_track *track)
{
	struct wh_error why;
	const int r = wh_store_put_move(c->store, &track->move, &why);

	if (r < 0)
		wh_log(WH_LOG_ERROR, "store.failed", WH_STR("migration", track->move.id),
		       WH_STR("reason", why.text));
	set_unsaved(c, track, r < 0);
	return r == 0;
}

void wh_track_save(struct wh_cluster *c, struct wh_track *track)
{
	(void)try_to_save(c, track); /* said so, and is to be tried again */
}

void wh_tracks_save(struct wh_cluster *c)
{
	for (size_t i = 0; c->unsaved > 0 && i < c->moves.count; i++)
		if (c->moves.items[i]->unsaved && !try_to_save(c, c->moves.items[i]))
			return;
}

/* Phases. */

int wh_track_grant(struct wh_cluster *c, struct wh_track *track, struct wh_member *target,
                   const struct wh_move *move, struct wh_error *err)
{
	int r;

	wh_assert(legal[track->move.phase] & TO(move->phase));
	r = wh_store_put_move(c->store, move, err);
	if (r < 0)
		return r;
	wh_queue_remove(c, track);
	track->move = *move;
	track->target = target;
	hold(c, track);
	tell(c, track);
	return 0;
}

void wh_track_enter(struct wh_cluster *c, struct wh_track *track, enum wh_move_phase to)
{
	struct wh_move *move = &track->move;

	wh_assert(legal[move->phase] & TO(to));
	if (to >= WH_MOVE_SUCCEEDED) {
		if (move->phase == WH_MOVE_PENDING)
			wh_queue_remove(c, track);
		else
			let_go(c, track);
		move->ended_ms = c->now.wall_ms;
		track->ended_ms = c->now.mono_ms;
		c->over++;
	}
	move->phase = to;
	wh_track_save(c, track);
	tell(c, track);
}

void wh_track_end(struct wh_cluster *c, struct wh_track *track, const char *outcome,
                  const char *reason)
{
	struct wh_move *move = &track->move;
	enum wh_move_phase to = WH_MOVE_FAILED;

	if (!*outcome)
		to = WH_MOVE_SUCCEEDED;
	else if (!strcmp(outcome, "cancelled"))
		to = WH_MOVE_CANCELLED;
	/* They may be the move's own. */
	if (outcome != move->outcome)
		(void)snprintf(move->outcome, sizeof(move->outcome), "%s", outcome);
	if (reason != move->reason)
		(void)snprintf(move->reason, sizeof(move->reason), "%s", reason);
	wh_track_enter(c, track, to);
}

/* Forgetting. */

static void forget(struct wh_cluster *c, struct wh_track *track)
{
	unindex_track(c, track);
	free(track);
	c->over--;
}

/* Now and then, not each time: both the store and the list are gone through for it. */
void wh_tracks_prune(struct wh_cluster *c)
{
	const size_t keep = WH_CLUSTER_HISTORY_MAX;
	struct wh_error why;
	size_t kept = 0;

	if (c->over <= keep + keep / 4 || c->unsaved > 0)
		return;
	if (wh_store_prune_moves(c->store, keep, &why) < 0) {
		wh_log(WH_LOG_ERROR, "store.failed", WH_STR("reason", why.text));
		return;
	}
	for (size_t i = 0; i < c->moves.count; i++) {
		struct wh_track *track = c->moves.items[i];

		if (c->over > keep && wh_move_is_over(&track->move))
			forget(c, track);
		else
			c->moves.items[kept++] = track;
	}
	c->moves.count = kept;
}

static void free_nothing(void *item)
{
	(void)item;
}

void wh_tracks_free(struct wh_cluster *c)
{
	tdestroy(c->by_id, free_nothing);
	tdestroy(c->by_vm, free);
	for (size_t i = 0; i < c->moves.count; i++)
		free(c->moves.items[i]);
	free(c->moves.items);
	free(c->waiting.items);
	free(c->held.items);
}
