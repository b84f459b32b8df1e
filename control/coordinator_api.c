/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A table of commands. Each answers or refuses at once, but for what concerns a migration that a
 * node works on, or a VM that it has: that is passed on to it.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator.h"
#include "explain.h"
#include "job.h"
#include "labels_json.h"
#include "status.h"

#include "wherry/assert.h"

/* What a command is given. @answer is filled in; if it fails, it is dropped. */
struct query {
	struct wh_coordinator *c;
	const json_t *request;
	json_t *answer;
	const char *from; /* the node that asks */
	struct wh_error *err;
};

/* The string @key of the request, "" if it is not there. Too long a one is an error. */
static int name_in(const struct query *q, const char *key, char *ret, size_t size)
{
	*ret = '\0';
	if (!json_object_get(q->request, key))
		return 0;
	return wh_json_string(q->request, key, ret, size, q->err);
}

/* Objects. */

static void add_result(void *ctx, const struct wh_object *object, enum wh_applied result)
{
	static const char *const names[] = {
		[WH_APPLIED_CREATED] = "created",
		[WH_APPLIED_CONFIGURED] = "configured",
		[WH_APPLIED_UNCHANGED] = "unchanged",
	};

	(void)json_array_append_new(ctx, json_pack("{s:s, s:s, s:s, s:s}", "kind",
	                                           wh_kind_info(object->kind)->kind, "namespace",
	                                           object->name_space, "name", object->name,
	                                           "result", names[result]));
}

/* The object that was edited, if it is an edit. */
static int edit_in(const struct query *q, struct wh_apply *apply)
{
	const json_t *edit = json_object_get(q->request, "edit");
	int r;

	if (!edit)
		return 0;
	r = wh_json_u64(edit, "revision", INT64_MAX, &apply->revision, q->err);
	if (r == 0 && apply->revision == 0)
		r = wh_fail(q->err, -EINVAL, "'revision' must be that of the object edited");
	if (r == 0)
		r = wh_kind_parse(&apply->edited.kind, wh_json_text(edit, "kind"), q->err);
	apply->edited.name_space = wh_json_text(edit, "namespace");
	apply->edited.name = wh_json_text(edit, "name");
	return r;
}

static int do_apply(struct query *q)
{
	const json_t *text = json_object_get(q->request, "manifest");
	const char *name = wh_json_text(q->request, "name");
	json_t *objects = json_array();
	size_t ignored = 0;
	struct wh_apply apply = {
		.name = *name ? name : "manifest",
		.data = json_string_value(text),
		.len = json_string_length(text),
		.dry_run = json_is_true(json_object_get(q->request, "dry_run")),
		.each = add_result,
		.ctx = objects,
		.ignored = &ignored,
	};
	int r = edit_in(q, &apply);

	(void)json_object_set_new(q->answer, "objects", objects);
	if (r < 0)
		return r;
	if (!json_is_string(text))
		return wh_fail(q->err, -EINVAL, "'manifest' must be a string");
	r = wh_cluster_apply(q->c->cluster, &apply, wh_coordinator_now(), q->err);
	q->c->daemon->totals.manifest_errors += r < 0 && !apply.dry_run;
	if (r < 0)
		return r;
	if (json_array_size(objects) == 0)
		return wh_fail(q->err, -EINVAL,
		               "%s: no object that Wherry knows is in it; nothing changed",
		               apply.name);
	(void)json_object_set_new(q->answer, "ignored", wh_json_number(ignored));
	return 0;
}

static void add_object(void *ctx, const struct wh_object *object, uint64_t revision)
{
	char *yaml = wh_object_yaml(object->json);
	json_t *json = json_loads(object->json, 0, NULL);

	wh_assert(yaml && json); /* it was written by us */
	(void)json_array_append_new(ctx, json_pack("{s:s, s:s, s:s, s:o, s:o, s:s}", "kind",
	                                           wh_kind_info(object->kind)->kind, "namespace",
	                                           object->name_space, "name", object->name,
	                                           "revision", wh_json_number(revision), "object",
	                                           json, "yaml", yaml));
	free(yaml);
}

static json_t *vms_of(const struct wh_cluster_node *node)
{
	json_t *list = json_array();

	for (size_t i = 0; i < node->vm_count; i++) {
		const struct wh_report_vm *vm = &node->vms[i];

		(void)json_array_append_new(
			list,
			json_pack("{s:s, s:s, s:b, s:b, s:o, s:o}", "namespace", vm->name_space,
		                  "name", vm->name, "here", vm->here, "libvirt", vm->libvirt,
		                  "memory_bytes", wh_json_number(vm->memory_bytes), "labels",
		                  wh_labels_to_json(&vm->labels)));
	}
	return list;
}

static json_t *node_json(const struct wh_coordinator *c, const struct wh_cluster_node *node,
                         struct wh_cluster_time now)
{
	uint64_t ago_ms = node->seen ? now.mono_ms - node->reported_ms : 0;

	return json_pack("{s:s, s:b, s:b, s:b, s:b, s:b, s:o, s:o, s:o, s:i, s:o}", "name",
	                 node->name, "alive", node->alive, "seen", node->seen, "drained",
	                 node->drained, "libvirt", node->libvirt, "coordinator",
	                 !strcmp(node->name, c->daemon->config->node), "reported_ms",
	                 wh_json_number(ago_ms), "memory_bytes", wh_json_number(node->memory_bytes),
	                 "free_bytes", wh_json_number(node->free_bytes), "outbound",
	                 (int)node->outbound, "vms", vms_of(node));
}

static int get_nodes(struct query *q, const char *name)
{
	struct wh_cluster_time now = wh_coordinator_now();
	struct wh_cluster_node node;
	json_t *list = json_array();

	(void)json_object_set_new(q->answer, "nodes", list);
	for (size_t i = 0; wh_cluster_node_at(q->c->cluster, i, &node, now); i++)
		if (!*name || !strcmp(name, node.name))
			(void)json_array_append_new(list, node_json(q->c, &node, now));
	if (*name && json_array_size(list) == 0)
		return wh_fail(q->err, -ENOENT, "no node '%s'", name);
	return 0;
}

static bool is_nodes(const char *kind)
{
	return !strcasecmp(kind, "nodes") || !strcasecmp(kind, "node") || !strcasecmp(kind, "no");
}

/* The objects that a request is about. The buffers are the caller's; @name may be "". */
static int key_in(const struct query *q, struct wh_object_key *ret,
                  char name_space[WH_OBJECT_NAME_MAX], char name[WH_OBJECT_NAME_MAX])
{
	int r = wh_kind_parse(&ret->kind, wh_json_text(q->request, "kind"), q->err);

	if (r == 0)
		r = name_in(q, "namespace", name_space, WH_OBJECT_NAME_MAX);
	if (r == 0)
		r = name_in(q, "name", name, WH_OBJECT_NAME_MAX);
	ret->name_space = name_space;
	ret->name = *name ? name : NULL;
	return r;
}

static int get_objects(struct query *q)
{
	char name_space[WH_OBJECT_NAME_MAX] = "";
	char name[WH_OBJECT_NAME_MAX] = "";
	struct wh_object_key key;
	json_t *list = json_array();
	int r = key_in(q, &key, name_space, name);

	(void)json_object_set_new(q->answer, "objects", list);
	if (r < 0)
		return r;
	wh_cluster_each_object(q->c->cluster, &key, add_object, list);
	if (*name && json_array_size(list) == 0)
		return wh_fail(q->err, -ENOENT, "no %s '%s'%s%s", wh_kind_info(key.kind)->kind,
		               name, *name_space ? " in namespace " : "", name_space);
	return 0;
}

static int do_get(struct query *q)
{
	char name[WH_OBJECT_NAME_MAX];
	int r;

	if (!is_nodes(wh_json_text(q->request, "kind")))
		return get_objects(q);
	r = name_in(q, "name", name, sizeof(name));
	return r < 0 ? r : get_nodes(q, name);
}

static int do_delete(struct query *q)
{
	char name_space[WH_OBJECT_NAME_MAX] = "";
	char name[WH_OBJECT_NAME_MAX] = "";
	struct wh_object_key key;
	int r = key_in(q, &key, name_space, name);

	if (r < 0)
		return r;
	if (!key.name)
		return wh_fail(q->err, -EINVAL, "'name' must be that of the %s to delete",
		               wh_kind_info(key.kind)->kind);
	if (!wh_kind_info(key.kind)->namespaced)
		key.name_space = "";
	else if (!*name_space)
		key.name_space = "default";
	return wh_cluster_delete(q->c->cluster, &key, wh_coordinator_now(), q->err);
}

static int do_settings(struct query *q)
{
	(void)json_object_set_new(q->answer, "settings",
	                          wh_status_settings(wh_cluster_settings(q->c->cluster)));
	return 0;
}

static int do_explain(struct query *q)
{
	char name_space[WH_NAME_MAX] = "";
	char vm[WH_NAME_MAX] = "";
	int r = name_in(q, "namespace", name_space, sizeof(name_space));

	if (r == 0)
		r = wh_json_string(q->request, "vm", vm, sizeof(vm), q->err);
	return r < 0 ? r : wh_explain(q->c->cluster, name_space, vm, q->answer, q->err);
}

/* Moves. */

/* The node that has reported this VM; NULL if none has. */
static const char *node_of(const struct wh_cluster *cluster, const char *name_space, const char *vm)
{
	struct wh_cluster_node node = { 0 };

	for (size_t i = 0; wh_cluster_node_at(cluster, i, &node, wh_coordinator_now()); i++)
		for (size_t j = 0; j < node.vm_count; j++)
			if (node.vms[j].here && !strcmp(node.vms[j].name, vm) &&
			    (!*name_space || !strcmp(node.vms[j].name_space, name_space)))
				return node.name;
	return NULL;
}

/* What may be chosen for one migration; "" is the node's own. */
struct choice {
	const char *key;
	const char *names[4];
	const char *words;
};

static const struct choice engines = { "engine",
	                               { "", "auto", "offload", "native" },
	                               "auto, offload or native" };
static const struct choice transports = { "transport",
	                                  { "", "auto", "tcp", "rdma" },
	                                  "auto, tcp or rdma" };

static int choose(struct query *q, const struct choice *choice, char name[WH_NAME_MAX])
{
	int r = name_in(q, choice->key, name, WH_NAME_MAX);

	if (r < 0)
		return r;
	for (size_t i = 0; i < sizeof(choice->names) / sizeof(choice->names[0]); i++)
		if (!strcmp(name, choice->names[i]))
			return 0;
	return wh_fail(q->err, -EINVAL, "unknown %s '%s': it is %s", choice->key, name,
	               choice->words);
}

/*
 * A guest that was started a moment ago is in no report yet: then the node that asks is believed
 * to have it, and will say so if it has not.
 */
static int do_migrate(struct query *q)
{
	char name_space[WH_NAME_MAX] = "";
	char priority[WH_NAME_MAX] = "";
	char engine[WH_NAME_MAX] = "";
	char transport[WH_NAME_MAX] = "";
	char vm[WH_NAME_MAX] = "";
	char to[WH_NAME_MAX] = "";
	struct wh_cluster_request request = {
		.name_space = name_space,
		.vm = vm,
		.to = to,
		.engine = engine,
		.transport = transport,
		.priority = WH_PRIORITY_USER,
	};
	const struct wh_move *move = NULL;
	int r = wh_json_string(q->request, "vm", vm, sizeof(vm), q->err);

	if (r == 0)
		r = name_in(q, "namespace", name_space, sizeof(name_space));
	if (r == 0)
		r = name_in(q, "to", to, sizeof(to));
	if (r == 0)
		r = choose(q, &engines, engine);
	if (r == 0)
		r = choose(q, &transports, transport);
	if (r == 0)
		r = name_in(q, "priority", priority, sizeof(priority));
	if (r == 0 && *priority)
		r = wh_priority_parse(&request.priority, priority, q->err);
	if (r < 0)
		return r;
	request.from = node_of(q->c->cluster, name_space, vm) ? "" : q->from;
	r = wh_cluster_migrate(q->c->cluster, &request, &move, wh_coordinator_now(), q->err);
	if (r == 0)
		(void)json_object_set_new(q->answer, "migration", json_string(move->id));
	return r;
}

static int drain(struct query *q, bool drained)
{
	char node[WH_NAME_MAX];
	int r = wh_json_string(q->request, "node", node, sizeof(node), q->err);

	if (r == 0)
		r = wh_cluster_drain(q->c->cluster, node, drained, wh_coordinator_now(), q->err);
	return r;
}

static int do_drain(struct query *q)
{
	return drain(q, true);
}

static int do_undrain(struct query *q)
{
	return drain(q, false);
}

static int do_status(struct query *q)
{
	char name[WH_NAME_MAX];
	json_t *said;
	int r = name_in(q, "migration", name, sizeof(name));

	if (r < 0)
		return r;
	if (!*name) {
		(void)json_object_set_new(q->answer, "migrations", wh_coordinator_status_all(q->c));
		return 0;
	}
	said = wh_coordinator_status(q->c, name);
	if (!said)
		return wh_fail(q->err, -ENOENT,
		               "no migration '%s', and no VM of that name is being migrated", name);
	(void)json_object_set_new(q->answer, "migrations", json_pack("[o]", said));
	return 0;
}

static const struct {
	const char *name;
	int (*run)(struct query *q);
} commands[] = {
	{ "apply", do_apply },       { "get", do_get },         { "delete", do_delete },
	{ "settings", do_settings }, { "explain", do_explain }, { "migrate", do_migrate },
	{ "drain", do_drain },       { "undrain", do_undrain }, { "status", do_status },
};

static void run(struct wh_coordinator *c, int (*command)(struct query *q), const json_t *request,
                struct wh_ask *ask)
{
	struct wh_error err;
	struct query q = {
		.c = c, .request = request, .answer = json_object(), .from = ask->from, .err = &err
	};

	wh_assert(q.answer);
	if (command(&q) < 0) {
		json_decref(q.answer);
		wh_ask_refuse(ask, &err);
	} else {
		wh_ask_answer(ask, q.answer);
	}
	wh_coordinator_turn(c);
}

/* Migrations: a Pending one is here and nowhere else, the others are with their source. */

static int cancel_pending(struct query *q)
{
	const struct wh_move *move =
		wh_cluster_find_move(q->c->cluster, wh_json_text(q->request, "migration"));

	(void)json_object_set_new(q->answer, "migration", json_string(move->id));
	return wh_cluster_cancel(q->c->cluster, move->id, "cancelled by the operator",
	                         wh_coordinator_now(), q->err);
}

static void to_node(struct wh_coordinator *c, const char *command, const json_t *request,
                    struct wh_ask *ask)
{
	const char *name = wh_json_text(request, "migration");
	const struct wh_move *move = wh_cluster_find_move(c->cluster, name);
	struct wh_error err;

	if (move && wh_move_holds_slots(move)) {
		wh_coordinator_pass(c, move->source, request, ask);
		return;
	}
	if (move && move->phase == WH_MOVE_PENDING && !strcmp(command, "cancel")) {
		run(c, cancel_pending, request, ask);
		return;
	}
	if (move)
		(void)wh_fail(&err, 0, "migration %s is '%s': there is nothing to %s", move->id,
		              wh_move_is_over(move) ? "over" : "Pending", command);
	else
		(void)wh_fail(&err, 0,
		              "no migration '%s', and no VM of that name is being migrated", name);
	wh_ask_refuse(ask, &err);
}

/* What only the node knows that has the VM, or that it may go to. */

static void do_vm(struct wh_coordinator *c, const json_t *request, struct wh_ask *ask)
{
	const char *vm = wh_json_text(request, "vm");
	const char *node = node_of(c->cluster, wh_json_text(request, "namespace"), vm);
	struct wh_error err;

	if (node) {
		wh_coordinator_pass(c, node, request, ask);
		return;
	}
	(void)wh_fail(&err, 0,
	              "no node has reported VM '%.60s'; one that does not run is known only to the "
	              "node where it is defined",
	              vm);
	wh_ask_refuse(ask, &err);
}

static void pass_to_target(struct wh_coordinator *c, const json_t *request, struct wh_ask *ask)
{
	wh_coordinator_pass(c, wh_json_text(request, "to"), request, ask);
}

static const struct {
	const char *name;
	void (*pass)(struct wh_coordinator *c, const json_t *request, struct wh_ask *ask);
} passed[] = {
	{ "check", do_vm },
	{ "label", do_vm },
	{ "check-target", pass_to_target },
};

static bool is_of_migration(const char *command)
{
	static const char *const names[] = { "cancel", "postcopy", "recover", "set-bandwidth" };

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		if (!strcmp(command, names[i]))
			return true;
	return false;
}

void wh_coordinator_request(struct wh_coordinator *c, const json_t *request, struct wh_ask *ask)
{
	const char *name = wh_json_text(request, "command");
	struct wh_error err;

	if (is_of_migration(name)) {
		to_node(c, name, request, ask);
		return;
	}
	for (size_t i = 0; i < sizeof(passed) / sizeof(*passed); i++) {
		if (!strcmp(name, passed[i].name)) {
			passed[i].pass(c, request, ask);
			return;
		}
	}
	for (size_t i = 0; i < sizeof(commands) / sizeof(*commands); i++) {
		if (!strcmp(name, commands[i].name)) {
			run(c, commands[i].run, request, ask);
			return;
		}
	}
	(void)wh_fail(&err, -EINVAL, "unknown command '%.40s'", name);
	wh_ask_refuse(ask, &err);
}
