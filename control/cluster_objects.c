/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Objects of the cluster - kept whole in the store, and here as what they mean: one list, sorted
 * by kind, namespace and name, and what follows from it: the settings and the set of policies.
 *
 * Applying is planned first, and everything that can be refused is refused then. What is left is
 * one write of the store, which happens or does not, and pointers.
 */

#include "cluster_state.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wherry/assert.h"

struct wh_kept {
	struct wh_object object;
	uint64_t revision;
};

static_assert(sizeof(struct wh_settings) == 8 + 4 * 4 + 4 + WH_NAME_MAX + 4, "no padding");

static const struct wh_labels no_labels;

/* The list. */

static int compare(const struct wh_object *object, const struct wh_object_key *key)
{
	int order;

	if (object->kind != key->kind)
		return object->kind < key->kind ? -1 : 1;
	order = strcmp(object->name_space, key->name_space);
	return order ? order : strcmp(object->name, key->name);
}

static struct wh_object_key key_of(const struct wh_object *object)
{
	return (struct wh_object_key){
		.kind = object->kind,
		.name_space = object->name_space,
		.name = object->name,
	};
}

/* The index of the first object that is not before @key. */
static size_t lower_bound(const struct wh_cluster *c, const struct wh_object_key *key)
{
	size_t low = 0;
	size_t high = c->kept_count;

	while (low < high) {
		const size_t middle = low + (high - low) / 2;

		if (compare(&c->kept[middle]->object, key) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* That of the first of @kind, if there is any. */
static size_t first_of(const struct wh_cluster *c, enum wh_kind kind)
{
	return lower_bound(c,
	                   &(struct wh_object_key){ .kind = kind, .name_space = "", .name = "" });
}

static struct wh_kept *find(const struct wh_cluster *c, const struct wh_object_key *key)
{
	const size_t at = lower_bound(c, key);

	if (at == c->kept_count || compare(&c->kept[at]->object, key) != 0)
		return NULL;
	return c->kept[at];
}

/* Take @object's contents over, in place of what has its name. */
static void keep(struct wh_cluster *c, struct wh_object *object, uint64_t revision)
{
	const struct wh_object_key key = key_of(object);
	const size_t at = lower_bound(c, &key);
	struct wh_kept *kept = find(c, &key);

	if (kept) {
		wh_object_done(&kept->object);
	} else {
		kept = calloc(1, sizeof(*kept));
		c->kept = reallocarray(c->kept, c->kept_count + 1, sizeof(struct wh_kept *));
		wh_assert(kept && c->kept);
		memmove(&c->kept[at + 1], &c->kept[at],
		        (c->kept_count - at) * sizeof(struct wh_kept *));
		c->kept[at] = kept;
		c->kept_count++;
	}
	kept->object = *object;
	kept->revision = revision;
	memset(object, 0, sizeof(*object));
}

static void drop(struct wh_cluster *c, struct wh_kept *kept)
{
	const struct wh_object_key key = key_of(&kept->object);
	const size_t at = lower_bound(c, &key);

	c->kept_count--;
	memmove(&c->kept[at], &c->kept[at + 1], (c->kept_count - at) * sizeof(struct wh_kept *));
	wh_object_done(&kept->object);
	free(kept);
}

/* What follows from it. */

/* The object that the cluster's settings are in; NULL if there is none. */
static const struct wh_object *settings_object(const struct wh_cluster *c)
{
	const size_t at = first_of(c, WH_KIND_HYPERCONVERGED);

	if (at == c->kept_count || c->kept[at]->object.kind > WH_KIND_KUBEVIRT)
		return NULL;
	return &c->kept[at]->object;
}

bool wh_cluster_policy_at(const struct wh_cluster *c, size_t i, struct wh_named_policy *ret)
{
	const size_t at = first_of(c, WH_KIND_POLICY) + i;

	if (at >= c->kept_count || c->kept[at]->object.kind != WH_KIND_POLICY)
		return false;
	ret->name = c->kept[at]->object.name;
	ret->policy = &c->kept[at]->object.policy;
	return true;
}

static void follow_policies(struct wh_cluster *c)
{
	struct wh_named_policy *policies = calloc(c->kept_count + 1, sizeof(*policies));
	size_t count = 0;

	wh_assert(policies);
	while (wh_cluster_policy_at(c, count, &policies[count]))
		count++;
	wh_assert(wh_policy_set_new(&c->policies, policies, count, c->config.compatibility) == 0);
	free(policies);
}

static void follow_settings(struct wh_cluster *c)
{
	const struct wh_object *object = settings_object(c);
	const struct wh_settings settings = object ? object->settings : wh_settings_defaults();

	/* It has no padding. */
	if (!memcmp(&settings, &c->settings, sizeof(settings)))
		return;
	c->settings = settings;
	c->look = true;
	c->config.actions.settings(c->config.actions.ctx, &c->settings);
}

static const struct wh_labels *labels_of(const struct wh_cluster *c, enum wh_kind kind,
                                         const char *name_space, const char *name)
{
	const struct wh_object_key key = { .kind = kind, .name_space = name_space, .name = name };
	const struct wh_kept *kept = find(c, &key);

	return kept ? &kept->object.labels : NULL;
}

static void find_vm_labels(const struct wh_cluster *c, const char *name_space, const char *vm,
                           struct wh_cluster_effect *ret)
{
	const struct wh_report_vm *domain = wh_members_domain(c, name_space, vm);
	const struct wh_labels *const sources[] = {
		/* The instance is what runs; its template may have been edited since. */
		[WH_LABELS_OF_VMI] = labels_of(c, WH_KIND_VMI, name_space, vm),
		[WH_LABELS_OF_VM] = labels_of(c, WH_KIND_VM, name_space, vm),
		[WH_LABELS_OF_DOMAIN] = domain ? &domain->labels : NULL,
		[WH_LABELS_OF_NOTHING] = &no_labels,
	};
	enum wh_labels_from from = WH_LABELS_OF_VMI;

	/* This ends at the last one. */
	while (!sources[from])
		from++;
	ret->vm_labels = sources[from];
	ret->vm_labels_from = from;
}

void wh_cluster_effect(const struct wh_cluster *c, const char *name_space, const char *vm,
                       struct wh_cluster_effect *ret)
{
	const struct wh_labels *of_namespace;

	if (!*name_space)
		name_space = "default";
	of_namespace = labels_of(c, WH_KIND_NAMESPACE, "", name_space);
	*ret = (struct wh_cluster_effect){
		.settings = c->settings,
		.namespace_labels = of_namespace ? of_namespace : &no_labels,
	};
	find_vm_labels(c, name_space, vm, ret);
	ret->policy = wh_policy_resolve(c->policies, ret->namespace_labels, ret->vm_labels);
	if (ret->policy)
		wh_policy_apply(&ret->settings, ret->policy->policy);
}

/* Loading. */

struct loading {
	struct wh_cluster *cluster;
	struct wh_error *err;
};

static int load_object(void *ctx, const struct wh_stored_object *stored)
{
	const struct loading *loading = ctx;
	struct wh_objects objects;
	int r;

	r = wh_objects_parse(&objects, stored->name, stored->json, strlen(stored->json),
	                     loading->err);
	if (r < 0)
		return r;
	if (objects.count == 1)
		keep(loading->cluster, &objects.items[0], stored->revision);
	else
		r = wh_fail(loading->err, -EINVAL, "%s: this is not one object", stored->name);
	wh_objects_done(&objects);
	return r;
}

int wh_kept_load(struct wh_cluster *c, struct wh_error *err)
{
	struct loading loading = { .cluster = c, .err = err };
	const struct wh_object *object;
	int r;

	r = wh_store_each_object(c->store, load_object, &loading, err);
	if (r < 0)
		return r;
	follow_policies(c);
	object = settings_object(c);
	if (object)
		c->settings = object->settings;
	return 0;
}

void wh_kept_free(struct wh_cluster *c)
{
	c->policies = wh_policy_set_free(c->policies);
	while (c->kept_count > 0)
		drop(c, c->kept[c->kept_count - 1]);
	free(c->kept);
}

/* Applying. */

struct plan {
	struct wh_objects objects;     /* owned */
	enum wh_applied *results;      /* of each */
	struct wh_stored_object *puts; /* for each, in order, that is not unchanged */
	size_t put_count;
	struct wh_move *moves; /* what new ones ask for */
	size_t move_count;
};

static void plan_done(struct plan *plan)
{
	wh_objects_done(&plan->objects);
	free(plan->results);
	free(plan->puts);
	free(plan->moves);
}

static void plan_room(struct plan *plan)
{
	const size_t count = plan->objects.count + 1; /* so that none is no failure */

	plan->results = calloc(count, sizeof(*plan->results));
	plan->puts = calloc(count, sizeof(*plan->puts));
	plan->moves = calloc(count, sizeof(*plan->moves));
	wh_assert(plan->results && plan->puts && plan->moves);
}

/* Put where @object was read before what is wrong with it. */
static int fail_at(const struct wh_object *object, int r, struct wh_error *err)
{
	return wh_context(err, r, "%s", object->place.text);
}

/* There is one object with settings, whichever its kind. */
static int check_settings(const struct wh_cluster *c, const struct wh_object *object,
                          struct wh_error *err)
{
	const struct wh_object *other = settings_object(c);
	const struct wh_object_key key = key_of(object);

	if (object->kind != WH_KIND_HYPERCONVERGED && object->kind != WH_KIND_KUBEVIRT)
		return 0;
	if (!other || compare(other, &key) == 0)
		return 0;
	(void)wh_fail(err, 0, "the settings are in %s '%s' already; delete it first, or edit it",
	              wh_kind_info(other->kind)->kind, other->name);
	return fail_at(object, -EINVAL, err);
}

static bool is_planned(const struct plan *plan, const struct wh_move *move)
{
	for (size_t i = 0; i < plan->move_count; i++)
		if (!strcmp(plan->moves[i].vm, move->vm) &&
		    !strcmp(plan->moves[i].name_space, move->name_space))
			return true;
	return false;
}

static int plan_move(const struct wh_cluster *c, struct plan *plan, const struct wh_object *object,
                     struct wh_error *err)
{
	const struct wh_cluster_request request = {
		.name_space = object->name_space,
		.vm = object->request.vm,
		.to = object->request.to,
		.from = "",
		.priority = object->request.priority,
	};
	struct wh_move *move = &plan->moves[plan->move_count];
	int r;

	r = wh_request_plan(c, &request, move, err);
	if (r == 0 && is_planned(plan, move))
		r = wh_fail(err, -EBUSY, "another object here moves VM '%s' already", move->vm);
	if (r < 0)
		return fail_at(object, r, err);
	(void)snprintf(move->request, sizeof(move->request), "%s", object->name);
	plan->move_count++;
	return 0;
}

static int plan_object(const struct wh_cluster *c, struct plan *plan, size_t i,
                       struct wh_error *err)
{
	const struct wh_object *object = &plan->objects.items[i];
	const struct wh_object_key key = key_of(object);
	const struct wh_kept *kept = find(c, &key);
	int r;

	plan->results[i] = kept ? WH_APPLIED_CONFIGURED : WH_APPLIED_CREATED;
	if (kept && !strcmp(kept->object.json, object->json)) {
		plan->results[i] = WH_APPLIED_UNCHANGED;
		return 0;
	}
	r = check_settings(c, object, err);
	if (r < 0)
		return r;
	if (object->kind == WH_KIND_MIGRATION && kept) {
		(void)wh_fail(err, 0,
		              "'%s' is there already, and cannot be changed; delete it, or "
		              "choose another name",
		              object->name);
		return fail_at(object, -EINVAL, err);
	}
	plan->puts[plan->put_count++] = (struct wh_stored_object){
		.kind = object->kind,
		.name_space = object->name_space,
		.name = object->name,
		.json = object->json,
	};
	return object->kind == WH_KIND_MIGRATION ? plan_move(c, plan, object, err) : 0;
}

static int check_edit(const struct wh_cluster *c, const struct wh_apply *apply,
                      const struct wh_objects *objects, struct wh_error *err)
{
	const struct wh_kept *kept;

	if (apply->revision == 0)
		return 0;
	if (objects->count != 1 || compare(&objects->items[0], &apply->edited) != 0)
		return wh_fail(err, -EINVAL,
		               "this is not %s '%s' alone any more; kind, namespace and name stay, "
		               "use apply for others",
		               wh_kind_info(apply->edited.kind)->kind, apply->edited.name);
	kept = find(c, &apply->edited);
	if (!kept || kept->revision != apply->revision)
		return wh_fail(err, -ESTALE, "somebody else has %s it meanwhile; edit it again",
		               kept ? "changed" : "deleted");
	return 0;
}

static int make_plan(const struct wh_cluster *c, const struct wh_apply *apply, struct plan *plan,
                     struct wh_error *err)
{
	int r;

	r = wh_objects_parse(&plan->objects, apply->name, apply->data, apply->len, err);
	if (r < 0)
		return r;
	r = check_edit(c, apply, &plan->objects, err);
	if (r < 0)
		return r;
	plan_room(plan);
	for (size_t i = 0; i < plan->objects.count; i++) {
		r = plan_object(c, plan, i, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static void tell(const struct plan *plan, const struct wh_apply *apply)
{
	if (apply->ignored)
		*apply->ignored = plan->objects.ignored;
	for (size_t i = 0; apply->each && i < plan->objects.count; i++)
		apply->each(apply->ctx, &plan->objects.items[i], plan->results[i]);
}

static int write_down(struct wh_cluster *c, struct plan *plan, struct wh_error *err)
{
	const struct wh_store_batch batch = {
		.objects = plan->puts,
		.count = plan->put_count,
		.moves = plan->moves,
		.move_count = plan->move_count,
	};

	for (size_t i = 0; i < plan->move_count; i++)
		wh_move_name(c, &plan->moves[i]);
	return wh_store_put_objects(c->store, &batch, err);
}

/* Keep what was written. The names and texts of @plan->puts are not valid any more after it. */
static void carry_out(struct wh_cluster *c, struct plan *plan)
{
	const struct wh_stored_object *put = plan->puts;

	c->policies = wh_policy_set_free(c->policies); /* it refers to what is replaced */
	for (size_t i = 0; i < plan->objects.count; i++)
		if (plan->results[i] != WH_APPLIED_UNCHANGED)
			keep(c, &plan->objects.items[i], put++->revision);
	follow_policies(c);
	follow_settings(c);
	for (size_t i = 0; i < plan->move_count; i++)
		wh_track_take(c, &plan->moves[i]);
}

int wh_cluster_apply(struct wh_cluster *c, const struct wh_apply *apply, struct wh_cluster_time now,
                     struct wh_error *err)
{
	wh_cleanup(plan_done) struct plan plan = { 0 };
	int r;

	c->now = now;
	r = make_plan(c, apply, &plan, err);
	if (r < 0)
		return r;
	if (!apply->dry_run && plan.put_count > 0) {
		r = write_down(c, &plan, err);
		if (r < 0)
			return r;
	}
	tell(&plan, apply);
	if (!apply->dry_run)
		carry_out(c, &plan);
	return 0;
}

/* Deleting. */

static void cancel_requested(struct wh_cluster *c, const struct wh_object *object)
{
	for (size_t i = c->moves.count; i-- > 0;) {
		const struct wh_move *move = &c->moves.items[i]->move;

		if (wh_move_is_over(move) || c->moves.items[i]->source_over ||
		    strcmp(move->request, object->name) != 0 ||
		    strcmp(move->name_space, object->name_space) != 0)
			continue;
		/* What it could refuse was ruled out. */
		wh_assert(wh_cluster_cancel(c, move->id,
		                            "its VirtualMachineInstanceMigration was deleted",
		                            c->now, NULL) == 0);
		return;
	}
}

int wh_cluster_delete(struct wh_cluster *c, const struct wh_object_key *key,
                      struct wh_cluster_time now, struct wh_error *err)
{
	struct wh_kept *kept = find(c, key);
	int r;

	c->now = now;
	if (!kept)
		return wh_fail(err, -ENOENT, "there is no %s '%s'%s%s",
		               wh_kind_info(key->kind)->kind, key->name,
		               *key->name_space ? " in namespace " : "", key->name_space);
	/* First: a coordinator that dies in between leaves an object that can be deleted again. */
	if (key->kind == WH_KIND_MIGRATION)
		cancel_requested(c, &kept->object);
	r = wh_store_delete_object(c->store, key->kind, key->name_space, key->name, err);
	if (r < 0)
		return r;
	c->policies = wh_policy_set_free(c->policies); /* it refers to what is dropped */
	drop(c, kept);
	follow_policies(c);
	follow_settings(c);
	return 0;
}

void wh_cluster_each_object(const struct wh_cluster *c, const struct wh_object_key *key,
                            void (*each)(void *ctx, const struct wh_object *object,
                                         uint64_t revision),
                            void *ctx)
{
	for (size_t i = first_of(c, key->kind); i < c->kept_count; i++) {
		const struct wh_object *object = &c->kept[i]->object;

		if (object->kind != key->kind)
			return;
		if (*key->name_space && strcmp(object->name_space, key->name_space) != 0)
			continue;
		if (!key->name || !strcmp(object->name, key->name))
			each(ctx, object, c->kept[i]->revision);
	}
}
