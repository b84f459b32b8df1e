/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What nodes say of a migration has all its counters; what the queue knows is laid over it. A
 * migration that no node works on looks like one that has counted nothing.
 *
 * The source's word counts more than the target's: it has measured the downtime.
 */

#include <stdlib.h>

#include "coordinator.h"
#include "job.h"
#include "status.h"

#include "wherry/assert.h"
#include "wherry/limits.h"

/* Notes that are kept of migrations that the queue does not know (any more). */
#define STRAY_NOTES_MAX WH_HISTORY_MAX

static bool has_ended(const json_t *note)
{
	const char *key;
	json_t *said;

	json_object_foreach((json_t *)note, key, said)
		if (!json_is_true(json_object_get(said, "over")))
			return false;
	return true;
}

/* The oldest are first. */
static void forget_strays(struct wh_coordinator *c)
{
	size_t strays = 0;
	const char *id;
	json_t *note;
	void *next;

	json_object_foreach(c->details, id, note)
		strays += !wh_cluster_find_move(c->cluster, id) && has_ended(note);
	json_object_foreach_safe(c->details, next, id, note)
	{
		if (strays <= STRAY_NOTES_MAX)
			break;
		if (wh_cluster_find_move(c->cluster, id) || !has_ended(note))
			continue;
		(void)json_object_del(c->details, id);
		strays--;
	}
}

void wh_coordinator_note(struct wh_coordinator *c, const json_t *jobs)
{
	for (size_t i = 0; i < json_array_size(jobs); i++) {
		json_t *said = json_array_get(jobs, i);
		const char *id = wh_json_text(said, "migration");
		json_t *note = json_object_get(c->details, id);

		if (!note) {
			note = json_object();
			(void)json_object_set_new(c->details, id, note);
		}
		(void)json_object_set(note, wh_json_text(said, "role"), said);
	}
	if (json_object_size(c->details) > STRAY_NOTES_MAX)
		forget_strays(c);
}

/* What the nodes say, or what they would say if they had begun. A new reference. */
static json_t *said_of(const struct wh_coordinator *c, const char *id)
{
	const json_t *note = json_object_get(c->details, id);
	const json_t *source = json_object_get(note, "source");
	const json_t *said = source ? source : json_object_get(note, "target");
	struct wh_job *nothing;
	json_t *json;

	if (said)
		return json_copy((json_t *)said);
	nothing = calloc(1, sizeof(*nothing));
	wh_assert(nothing);
	nothing->record.role = WH_ROLE_SOURCE;
	json = wh_status_job(nothing);
	free(nothing);
	return json;
}

static const char *state_name(const struct wh_move *move)
{
	switch (move->phase) {
	case WH_MOVE_PENDING:
	case WH_MOVE_GRANTED:
	case WH_MOVE_RUNNING:
		return "Pending";
	case WH_MOVE_SUCCEEDED:
		return "Succeeded";
	case WH_MOVE_FAILED:
		return "Failed";
	case WH_MOVE_CANCELLED:
		return "Cancelled";
	}
	return "";
}

static void set(json_t *json, const char *key, const char *value)
{
	(void)json_object_set_new(json, key, json_string(value));
}

static void set_number(json_t *json, const char *key, uint64_t value)
{
	(void)json_object_set_new(json, key, wh_json_number(value));
}

/*
 * The queue's word on what has not begun, and on whether it is over: only then may the VM be moved
 * again.
 */
static void lay_state_over(json_t *json, const struct wh_move *move, bool begun)
{
	uint64_t end_ms = move->ended_ms ? move->ended_ms : wh_coordinator_now().wall_ms;

	(void)json_object_set_new(json, "over", json_boolean(wh_move_is_over(move)));
	if (begun && !wh_move_is_over(move))
		return; /* what the node says of the state is newer */
	set(json, "state", state_name(move));
	set(json, "outcome", move->outcome);
	set(json, "reason", move->reason);
	if (begun)
		return;
	set(json, "note", move->note);
	set_number(json, "bandwidth_bps", move->settings.bandwidth_bps);
	set_number(json, "elapsed_ns",
	           end_ms > move->created_ms ? (end_ms - move->created_ms) * 1000000 : 0);
}

static json_t *status_of(const struct wh_coordinator *c, const struct wh_move *move)
{
	bool begun = json_object_get(c->details, move->id) != NULL;
	json_t *json = said_of(c, move->id);

	set(json, "migration", move->id);
	set(json, "vm", move->vm);
	if (!begun)
		set(json, "peer", move->target);
	wh_status_move(json, move);
	set_number(json, "place", move->place);
	lay_state_over(json, move, begun);
	return json;
}

json_t *wh_coordinator_status(const struct wh_coordinator *c, const char *migration)
{
	const struct wh_move *move = wh_cluster_find_move(c->cluster, migration);

	if (move)
		return status_of(c, move);
	return json_object_get(c->details, migration) ? said_of(c, migration) : NULL;
}

json_t *wh_coordinator_status_all(const struct wh_coordinator *c)
{
	json_t *list = json_array();
	const struct wh_move *move;
	const char *id;
	json_t *note;

	wh_assert(list);
	for (size_t i = 0; (move = wh_cluster_move_at(c->cluster, i)); i++)
		(void)json_array_append_new(list, status_of(c, move));
	json_object_foreach(c->details, id, note)
		if (!wh_cluster_find_move(c->cluster, id))
			(void)json_array_append_new(list, said_of(c, id));
	return list;
}
