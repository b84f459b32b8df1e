/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Cluster - the parts that cluster_state.h lists, put together; and requests.
 */

#include "cluster_state.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "name.h"

#include "wherry/assert.h"

/* Opening. */

static int load_move(void *ctx, const struct wh_move *move)
{
	(void)wh_track_adopt(ctx, move);
	return 0;
}

static int load_drained(void *ctx, const char *node)
{
	struct wh_member *member = wh_member_get(ctx, node);

	member->drained = true;
	return 0;
}

int wh_cluster_open(struct wh_cluster **ret, const struct wh_cluster_config *cfg,
                    struct wh_cluster_time now, struct wh_error *err)
{
	wh_cleanup(wh_cluster_closep) struct wh_cluster *c = calloc(1, sizeof(*c));
	int r;

	if (!c)
		return wh_fail(err, -ENOMEM, "no memory for the cluster");
	c->config = *cfg;
	c->config.state_dir = NULL;
	c->config.node = NULL;
	c->now = now;
	c->settings = wh_settings_defaults();
	c->look = true;
	c->look_ms = UINT64_MAX;
	r = wh_store_open(&c->store, cfg->state_dir, err);
	if (r < 0)
		return r;
	(void)wh_member_get(c, cfg->node);
	r = wh_kept_load(c, err);
	if (r == 0)
		r = wh_store_each_drained(c->store, load_drained, c, err);
	if (r == 0)
		r = wh_store_each_move(c->store, load_move, c, err);
	if (r < 0)
		return wh_context(err, r, "cannot read the store in %s", cfg->state_dir);
	*ret = wh_steal(c);
	return 0;
}

struct wh_cluster *wh_cluster_close(struct wh_cluster *c)
{
	if (!c)
		return NULL;
	wh_tracks_free(c);
	wh_members_free(c);
	wh_kept_free(c);
	c->store = wh_store_close(c->store);
	free(c);
	return NULL;
}

/* The turn. */

static uint64_t sooner(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static uint64_t next_turn_ms(const struct wh_cluster *c)
{
	uint64_t at_ms = c->look ? c->now.mono_ms : c->look_ms;

	for (size_t i = 0; i < c->member_count; i++)
		if (!c->members[i]->gone)
			at_ms = sooner(at_ms, c->members[i]->lease_ms);
	/* What could not be written is tried again each second. */
	return c->unsaved > 0 ? sooner(at_ms, c->now.mono_ms + 1000) : at_ms;
}

uint64_t wh_cluster_turn(struct wh_cluster *c, struct wh_cluster_time now)
{
	c->now = now;
	wh_tracks_save(c);
	wh_members_expire(c);
	wh_drain_run(c);
	wh_queue_run(c);
	wh_tracks_prune(c);
	return next_turn_ms(c);
}

/* Where a VM is. */

/* The nearest name of all VMs; "" if there are none. */
static const char *nearest_vm(const struct wh_cluster *c, const char *vm)
{
	struct wh_nearest nearest = { .wrong = vm };

	for (size_t i = 0; i < c->member_count; i++)
		for (size_t j = 0; j < c->members[i]->vm_count; j++)
			wh_nearest_offer(&nearest, c->members[i]->vms[j].name);
	return nearest.best ? nearest.best : "";
}

static const struct wh_report_vm *find_anywhere(const struct wh_cluster *c,
                                                const struct wh_cluster_request *request)
{
	const struct wh_report_vm *vm = NULL;

	for (size_t i = 0; !vm && i < c->member_count; i++)
		vm = wh_member_vm(c->members[i], request->name_space, request->vm);
	return vm;
}

static int fail_unknown(const struct wh_cluster *c, const struct wh_cluster_request *request,
                        struct wh_error *err)
{
	const struct wh_report_vm *known = find_anywhere(c, request);
	const char *nearest;

	/* Looking for a name like it takes some 10 ms in a large cluster. */
	if (known && known->libvirt)
		return wh_fail(
			err, -ENOENT,
			"VM '%s' is a domain of libvirt that is not active on any node; start "
			"it, for only a running one can be moved",
			request->vm);
	if (known)
		return wh_fail(err, -ENOENT, "VM '%s' runs on no node", request->vm);
	nearest = nearest_vm(c, request->vm);
	if (*nearest && strcmp(nearest, request->vm) != 0)
		return wh_fail(err, -ENOENT, "no node knows a VM '%s'; did you mean '%s'?",
		               request->vm, nearest);
	return wh_fail(err, -ENOENT, "no node knows a VM '%s'", request->vm);
}

/* Of two nodes that both say they have it, the one that said so last while it was alive is right. */
static bool knows_better(const struct wh_cluster *c, const struct wh_member *a,
                         const struct wh_member *b)
{
	const bool alive = wh_member_alive(c, a);

	if (alive != wh_member_alive(c, b))
		return alive;
	return a->reported_ms > b->reported_ms;
}

/* A VM, and the node that says so. */
struct place {
	struct wh_member *member;
	const struct wh_report_vm *vm;
};

/* Look at what @member says; VMs of one name are side by side. */
static int look_on(const struct wh_cluster *c, struct wh_member *member,
                   const struct wh_cluster_request *request, struct place *best,
                   struct wh_error *err)
{
	const struct wh_report_vm *vm = wh_member_vm(member, request->name_space, request->vm);

	for (; vm && vm < member->vms + member->vm_count && !strcmp(vm->name, request->vm); vm++) {
		if (!vm->here ||
		    (*request->name_space && strcmp(vm->name_space, request->name_space) != 0))
			continue;
		if (best->vm && strcmp(best->vm->name_space, vm->name_space) != 0)
			return wh_fail(
				err, -EINVAL,
				"there is a VM '%s' in namespace %s and one in %s; say which",
				vm->name, best->vm->name_space, vm->name_space);
		if (!best->vm || knows_better(c, member, best->member))
			*best = (struct place){ .member = member, .vm = vm };
	}
	return 0;
}

static int locate(const struct wh_cluster *c, const struct wh_cluster_request *request,
                  struct place *ret, struct wh_error *err)
{
	struct place best = { 0 };
	int r;

	for (size_t i = 0; i < c->member_count; i++) {
		r = look_on(c, c->members[i], request, &best, err);
		if (r < 0)
			return r;
	}
	if (!best.vm)
		return fail_unknown(c, request, err);
	*ret = best;
	return 0;
}

/* The node that asks has it, whether it has reported that or not yet. */
static int locate_at(const struct wh_cluster *c, const struct wh_cluster_request *request,
                     struct place *ret, struct wh_error *err)
{
	struct place place = { 0 };
	int r;

	r = wh_member_ask(c, request->from, &place.member, err);
	if (r < 0)
		return r;
	if (!*request->vm || strlen(request->vm) >= WH_NAME_MAX)
		return wh_fail(err, -ENOENT, "a VM cannot have such a name");
	r = look_on(c, place.member, request, &place, err);
	if (r < 0)
		return r;
	*ret = place;
	return 0;
}

/* Requests. */

/* Why @target, which has reported, cannot take the VM. */
static int fail_target(const struct wh_member *target, const struct place *place,
                       const struct wh_move *move, struct wh_error *err)
{
	if (!place->vm || !place->vm->libvirt)
		return wh_fail(err, -ENOENT, "node %s has no VM '%s' in its configuration",
		               target->name, move->vm);
	if (!target->libvirt)
		return wh_fail(err, -ENOENT,
		               "VM '%s' is a domain of libvirt, and node %s is not connected to a "
		               "libvirt",
		               move->vm, target->name);
	return wh_fail(err, -EINVAL,
	               "VM '%s' is a domain of libvirt, and node %s has another one of that name",
	               move->vm, target->name);
}

static int check_target(const struct wh_cluster *c, const struct place *place,
                        const struct wh_move *move, struct wh_error *err)
{
	struct wh_member *target;
	const struct wh_report_vm *vm;
	int r;

	r = wh_member_ask(c, move->target, &target, err);
	if (r < 0)
		return r;
	vm = wh_member_vm(target, move->name_space, move->vm);
	if (!strcmp(move->target, move->source) || (vm && vm->here))
		return wh_fail(err, -EINVAL, "VM '%s' is on node %s already", move->vm,
		               target->name);
	if (wh_member_lost(c, target))
		return wh_fail(err, -EAGAIN, "node %s is gone: it does not report", target->name);
	if (target->drained)
		return wh_fail(err, -EINVAL, "node %s is drained: undrain it, or name another one",
		               target->name);
	/* One that is in no report yet may be a domain. */
	if (!place->vm && !vm && target->libvirt)
		return 0;
	if (target->reported_ms > 0 && !wh_member_takes(target, place->member, move))
		return fail_target(target, place, move, err);
	return 0;
}

static void fill_in(const struct wh_cluster *c, const struct wh_cluster_request *request,
                    const struct place *place, struct wh_move *ret)
{
	const char *name_space = *request->name_space ? request->name_space : "default";

	*ret = (struct wh_move){
		.target_named = *request->to,
		.priority = request->priority,
		.attempt = 1,
		.created_ms = c->now.wall_ms,
		.settings = wh_settings_defaults(),
	};
	if (place->vm)
		name_space = place->vm->name_space;
	(void)snprintf(ret->name_space, sizeof(ret->name_space), "%s", name_space);
	(void)snprintf(ret->vm, sizeof(ret->vm), "%s", request->vm);
	(void)snprintf(ret->source, sizeof(ret->source), "%s", place->member->name);
	(void)snprintf(ret->target, sizeof(ret->target), "%s", request->to);
	(void)snprintf(ret->engine, sizeof(ret->engine), "%s",
	               request->engine ? request->engine : "");
	(void)snprintf(ret->transport, sizeof(ret->transport), "%s",
	               request->transport ? request->transport : "");
}

int wh_request_plan(const struct wh_cluster *c, const struct wh_cluster_request *request,
                    struct wh_move *ret, struct wh_error *err)
{
	const struct wh_track *last;
	struct place place = { 0 };
	int r;

	r = *request->from ? locate_at(c, request, &place, err) : locate(c, request, &place, err);
	if (r < 0)
		return r;
	wh_assert(place.member);
	fill_in(c, request, &place, ret);
	if (!wh_member_alive(c, place.member))
		return wh_fail(err, -EAGAIN,
		               "node %s, which has VM '%s', is gone: it does not report",
		               ret->source, ret->vm);
	last = wh_track_of_vm(c, ret->name_space, ret->vm);
	if (last && !wh_move_is_over(&last->move))
		return wh_fail(err, -EBUSY, "VM '%s' is being moved already (migration %s)",
		               ret->vm, last->move.id);
	return ret->target_named ? check_target(c, &place, ret, err) : 0;
}

int wh_cluster_migrate(struct wh_cluster *c, const struct wh_cluster_request *request,
                       const struct wh_move **ret, struct wh_cluster_time now, struct wh_error *err)
{
	struct wh_track *track;
	struct wh_move move;
	int r;

	c->now = now;
	r = wh_request_plan(c, request, &move, err);
	if (r < 0)
		return r;
	wh_move_name(c, &move);
	r = wh_track_new(c, &move, &track, err);
	if (r < 0)
		return r;
	*ret = &track->move;
	return 0;
}

static struct wh_track *find_track(const struct wh_cluster *c, const char *name)
{
	struct wh_track *track = wh_track_by_id(c, name);

	return track ? track : wh_track_of_vm(c, "", name);
}

int wh_cluster_cancel(struct wh_cluster *c, const char *id, const char *why,
                      struct wh_cluster_time now, struct wh_error *err)
{
	struct wh_track *track = find_track(c, id);
	struct wh_move *move;

	c->now = now;
	if (!track)
		return wh_fail(err, -ENOENT, "there is no migration '%s'", id);
	move = &track->move;
	if (wh_move_is_over(move) || track->source_over)
		return wh_fail(err, -EALREADY, "migration %s is over", move->id);
	if (move->phase == WH_MOVE_PENDING) {
		wh_track_end(c, track, "cancelled", why);
		return 0;
	}
	(void)snprintf(move->outcome, sizeof(move->outcome), "cancelled");
	(void)snprintf(move->reason, sizeof(move->reason), "%s", why);
	wh_track_save(c, track);
	c->config.actions.cancel(c->config.actions.ctx, move, move->reason);
	return 0;
}

/* Questions. */

static const struct wh_move *show(const struct wh_cluster *c, struct wh_track *track)
{
	if (track->move.phase == WH_MOVE_PENDING)
		wh_queue_explain(c, track);
	return &track->move;
}

const struct wh_move *wh_cluster_find_move(const struct wh_cluster *c, const char *name)
{
	struct wh_track *track = find_track(c, name);

	return track ? show(c, track) : NULL;
}

const struct wh_move *wh_cluster_move_at(const struct wh_cluster *c, size_t i)
{
	if (i >= c->moves.count)
		return NULL;
	return show(c, c->moves.items[c->moves.count - 1 - i]);
}

const struct wh_settings *wh_cluster_settings(const struct wh_cluster *c)
{
	return &c->settings;
}
