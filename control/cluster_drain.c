/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Drain - a move for each guest on a drained node that has none yet. A move that failed is
 * followed by another one, which waits: its number of attempts says for how long.
 */

#include "cluster_state.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "wherry/log.h"

static uint64_t backoff_ms(uint32_t attempts)
{
	uint64_t ms = WH_BACKOFF_MIN_MS;

	while (--attempts > 0 && ms < WH_BACKOFF_MAX_MS)
		ms *= 2;
	return ms < WH_BACKOFF_MAX_MS ? ms : WH_BACKOFF_MAX_MS;
}

/* Whether @track is an attempt of this very drain that came to nothing. */
static bool is_failed_attempt(const struct wh_member *member, const struct wh_track *track)
{
	return track->move.drain && track->source == member &&
	       track->move.phase != WH_MOVE_SUCCEEDED && track->ended_ms > member->drained_ms;
}

static void move_off(struct wh_cluster *c, struct wh_member *member, const struct wh_report_vm *vm)
{
	const struct wh_track *last = wh_track_of_vm(c, vm->name_space, vm->name);
	struct wh_move move = {
		.priority = WH_PRIORITY_CRITICAL,
		.drain = true,
		.attempt = 1,
		.created_ms = c->now.wall_ms,
		.settings = wh_settings_defaults(),
	};
	struct wh_track *track;
	struct wh_error why;

	if (last && !wh_move_is_over(&last->move))
		return;
	/* It ended after the node said so: the guest may have left since. */
	if (last && last->ended_ms >= member->reported_ms && last->source == member) {
		member->look = true;
		return;
	}
	if (last && is_failed_attempt(member, last)) {
		move.attempt = last->move.attempt + 1;
		move.not_before_ms = last->ended_ms + backoff_ms(last->move.attempt);
	}
	(void)snprintf(move.name_space, sizeof(move.name_space), "%s", vm->name_space);
	(void)snprintf(move.vm, sizeof(move.vm), "%s", vm->name);
	(void)snprintf(move.source, sizeof(move.source), "%s", member->name);
	wh_move_name(c, &move);
	if (wh_track_new(c, &move, &track, &why) == 0)
		return;
	wh_log(WH_LOG_ERROR, "store.failed", WH_STR("migration", move.id),
	       WH_STR("reason", why.text));
	member->look = true;
}

static void run_one(struct wh_cluster *c, struct wh_member *member)
{
	member->look = false;
	for (size_t i = 0; i < member->vm_count; i++)
		if (member->vms[i].here)
			move_off(c, member, &member->vms[i]);
}

void wh_drain_run(struct wh_cluster *c)
{
	for (size_t i = 0; i < c->member_count; i++)
		if (c->members[i]->look && wh_member_alive(c, c->members[i]))
			run_one(c, c->members[i]);
}

static void cancel_pending(struct wh_cluster *c, const struct wh_member *member)
{
	size_t i = 0;

	while (i < c->waiting.count) {
		struct wh_track *track = c->waiting.items[i];

		if (track->move.drain && track->source == member)
			wh_track_end(c, track, "cancelled", "its node is not drained any more");
		else
			i++;
	}
}

int wh_cluster_drain(struct wh_cluster *c, const char *node, bool drain, struct wh_cluster_time now,
                     struct wh_error *err)
{
	struct wh_member *member;
	int r;

	c->now = now;
	r = wh_member_ask(c, node, &member, err);
	if (r < 0 || member->drained == drain)
		return r;
	r = wh_store_set_drained(c->store, node, drain, err);
	if (r < 0)
		return r;
	wh_log(WH_LOG_INFO, "node.drain", WH_STR("node", node), WH_U64("drained", drain));
	member->drained = drain;
	member->look = drain;
	member->drained_ms = now.mono_ms;
	if (!drain)
		cancel_pending(c, member);
	c->look = true;
	return 0;
}
