/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Each document is an object, or a List of them. Its apiVersion and kind find a row of the table
 * below, which tells where in it the part is that means something here; who reads that part is in
 * read_section(). All of the object is kept as JSON.
 */

#include "object.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "name.h"
#include "value.h"
#include "yaml_json.h"

#include "wherry/assert.h"
#include "wherry/limits.h"

struct form {
	enum wh_kind kind;
	const char *group; /* with the final '/'; "" is the core group */
	const char *version;
	const char *path[5]; /* to the part that is read; ends with NULL */
};

static const struct form forms[] = {
	{ WH_KIND_HYPERCONVERGED,
	  "hco.kubevirt.io/",
	  "v1beta1",
	  { "spec", "liveMigrationConfig" } },
	{ WH_KIND_HYPERCONVERGED,
	  "hco.kubevirt.io/",
	  "v1",
	  { "spec", "virtualization", "liveMigrationConfig" } },
	{ WH_KIND_KUBEVIRT, "kubevirt.io/", "v1", { "spec", "configuration", "migrations" } },
	{ WH_KIND_POLICY, "migrations.kubevirt.io/", "v1alpha1", { "spec" } },
	{ WH_KIND_NAMESPACE, "", "v1", { "metadata", "labels" } },
	{ WH_KIND_VM, "kubevirt.io/", "v1", { "spec", "template", "metadata", "labels" } },
	{ WH_KIND_VMI, "kubevirt.io/", "v1", { "metadata", "labels" } },
	{ WH_KIND_MIGRATION, "kubevirt.io/", "v1", { "spec" } },
};

static bool same_group(const char *api_version, const struct form *form)
{
	const size_t len = strlen(form->group);

	return len ? !strncmp(api_version, form->group, len) : !strchr(api_version, '/');
}

/* Return: 1 with the form of @object, 0 if it means nothing here, -EINVAL. */
static int find_form(const struct wh_yaml_node *object, const char *api_version, const char *kind,
                     const struct form **ret, struct wh_error *err)
{
	const struct form *other = NULL;

	for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
		const struct form *form = &forms[i];

		if (strcmp(kind, wh_kind_info(form->kind)->kind) != 0 ||
		    !same_group(api_version, form))
			continue;
		if (!strcmp(api_version + strlen(form->group), form->version)) {
			*ret = form;
			return 1;
		}
		other = form;
	}
	/* To ignore it would drop what it says without a word. */
	if (other)
		return wh_yaml_fail(err, wh_yaml_get(object, "apiVersion"),
		                    "%s is not known in version '%.40s'; write %s%s", kind,
		                    api_version, other->group, other->version);
	return 0;
}

static int no_mapping(const struct wh_yaml_node *node, const char *key, struct wh_error *err)
{
	return wh_yaml_fail(err, node, "'%s' must be a mapping; write 'key: value' below it", key);
}

/* Follow the path of @form. *@ret stays NULL if the part is not there. Return: 0 or -EINVAL. */
static int find_section(const struct wh_yaml_node *object, const struct form *form,
                        const struct wh_yaml_node **ret, struct wh_error *err)
{
	const struct wh_yaml_node *node = object;

	for (size_t i = 0; form->path[i]; i++) {
		node = wh_yaml_get(node, form->path[i]);
		if (!node || wh_value_is_null(node))
			return 0;
		if (node->type != WH_YAML_MAPPING)
			return no_mapping(node, form->path[i], err);
	}
	*ret = node;
	return 0;
}

static int read_section(struct wh_object *object, const struct wh_yaml_node *node,
                        const struct wh_yaml_node *section, struct wh_error *err)
{
	switch (object->kind) {
	case WH_KIND_HYPERCONVERGED:
	case WH_KIND_KUBEVIRT:
		return wh_settings_parse(&object->settings, section, err);
	case WH_KIND_POLICY:
		return wh_policy_parse(&object->policy, section, err);
	case WH_KIND_NAMESPACE:
	case WH_KIND_VM:
	case WH_KIND_VMI:
		return wh_labels_parse(&object->labels, section, err);
	case WH_KIND_MIGRATION:
		if (!section)
			return wh_yaml_fail(err, node,
			                    "'spec' is missing; write 'spec: {vmiName: VM}'");
		return wh_request_parse(&object->request, section, err);
	case WH_KINDS:
		break;
	}
	return 0;
}

/* Nodes are told VMs and namespaces by name; these fit where names do. */
static bool has_short_name(enum wh_kind kind)
{
	return kind == WH_KIND_NAMESPACE || kind == WH_KIND_VM || kind == WH_KIND_VMI;
}

static int read_name(struct wh_object *object, const struct wh_yaml_node *metadata,
                     struct wh_error *err)
{
	const struct wh_yaml_node *name = wh_yaml_get(metadata, "name");
	const char *text = "";
	int r;

	if (!name || wh_value_is_null(name))
		return wh_yaml_fail(err, name ? name : metadata,
		                    "'name' is missing; write 'name: NAME' below 'metadata'");
	r = wh_value_string(&text, name, err);
	if (r < 0)
		return r;
	if (has_short_name(object->kind) ? !wh_name_valid(text) : !wh_subdomain_valid(text))
		return wh_yaml_fail(err, name,
		                    "'%.63s' is not a name; write 1 to %u of a-z, 0-9%s and '-', "
		                    "with a letter or digit at either end",
		                    text, has_short_name(object->kind) ? 63u : 253u,
		                    has_short_name(object->kind) ? "" : ", '.'");
	object->name = strdup(text);
	return object->name ? 0 : wh_fail(err, -ENOMEM, "out of memory");
}

static int read_namespace(struct wh_object *object, const struct wh_yaml_node *metadata,
                          struct wh_error *err)
{
	const struct wh_yaml_node *node = wh_yaml_get(metadata, "namespace");
	const struct wh_kind_info *info = wh_kind_info(object->kind);
	char name[WH_NAME_MAX] = "default";
	int r;

	if (node && !wh_value_is_null(node)) {
		if (!info->namespaced)
			return wh_yaml_fail(err, node,
			                    "a %s belongs to no namespace; remove the key",
			                    info->kind);
		r = wh_value_name(name, node, err);
		if (r < 0)
			return r;
	}
	object->name_space = strdup(info->namespaced ? name : "");
	return object->name_space ? 0 : wh_fail(err, -ENOMEM, "out of memory");
}

static int read_metadata(struct wh_object *object, const struct wh_yaml_node *node,
                         struct wh_error *err)
{
	const struct wh_yaml_node *metadata = wh_yaml_get(node, "metadata");
	int r;

	if (!metadata || wh_value_is_null(metadata))
		return wh_yaml_fail(err, metadata ? metadata : node,
		                    "'metadata' is missing; write 'metadata: {name: NAME}'");
	if (metadata->type != WH_YAML_MAPPING)
		return no_mapping(metadata, "metadata", err);
	r = read_name(object, metadata, err);
	return r < 0 ? r : read_namespace(object, metadata, err);
}

static int read_object(struct wh_object *ret, const struct form *form,
                       const struct wh_yaml_node *node, struct wh_error *err)
{
	wh_cleanup(wh_object_done) struct wh_object object = { .kind = form->kind };
	const struct wh_yaml_node *section = NULL;
	int r;

	(void)wh_fail(&object.place, 0, "%s:%u:%u", node->file, node->line, node->column);
	r = read_metadata(&object, node, err);
	if (r == 0)
		r = find_section(node, form, &section, err);
	if (r == 0)
		r = read_section(&object, node, section, err);
	if (r == 0)
		r = wh_yaml_json(&object.json, node, err);
	if (r < 0)
		return r;

	*ret = object;
	object = (struct wh_object){ 0 };
	return 0;
}

static int make_room(struct wh_objects *objects, struct wh_error *err)
{
	const size_t capacity = objects->capacity ? 2 * objects->capacity : 4;
	struct wh_object *items;

	if (objects->count < objects->capacity)
		return 0;
	items = reallocarray(objects->items, capacity, sizeof(*items));
	if (!items)
		return wh_fail(err, -ENOMEM, "out of memory");
	objects->items = items;
	objects->capacity = capacity;
	return 0;
}

/* apiVersion or kind: without them nobody knows what an object is. */
static int read_identity(const struct wh_yaml_node *node, const char *key, const char **ret,
                         struct wh_error *err)
{
	const struct wh_yaml_node *value = wh_yaml_get(node, key);

	if (!value)
		return wh_yaml_fail(err, node, "'%s' is missing; write '%s: VALUE'", key, key);
	return wh_value_string(ret, value, err);
}

static int append_node(struct wh_objects *objects, const struct wh_yaml_node *node,
                       struct wh_error *err);

static int append_list(struct wh_objects *objects, const struct wh_yaml_node *list,
                       struct wh_error *err)
{
	const struct wh_yaml_node *items = wh_yaml_get(list, "items");
	int r = 0;

	if (!items || wh_value_is_null(items))
		return 0;
	if (items->type != WH_YAML_SEQUENCE)
		return wh_yaml_fail(err, items, "'items' must be a list; begin each with '-'");
	for (size_t i = 0; i < items->count && r == 0; i++)
		r = append_node(objects, items->items[i], err);
	return r;
}

static int append_node(struct wh_objects *objects, const struct wh_yaml_node *node,
                       struct wh_error *err)
{
	const struct form *form = NULL;
	const char *api_version = "";
	const char *kind = "";
	int r;

	if (node->type != WH_YAML_MAPPING)
		return wh_yaml_fail(err, node,
		                    "this is no object; write its 'apiVersion' and 'kind'");
	r = read_identity(node, "apiVersion", &api_version, err);
	if (r == 0)
		r = read_identity(node, "kind", &kind, err);
	if (r < 0)
		return r;
	if (!strcmp(api_version, "v1") && !strcmp(kind, "List"))
		return append_list(objects, node, err); /* ends: reading has bounded the depth */

	r = find_form(node, api_version, kind, &form, err);
	if (r < 0)
		return r;
	if (!form) {
		objects->ignored++;
		return 0;
	}
	r = make_room(objects, err);
	if (r < 0)
		return r;
	wh_assert(objects->items);
	r = read_object(&objects->items[objects->count], form, node, err);
	if (r == 0)
		objects->count++;
	return r;
}

int wh_objects_append(struct wh_objects *objects, const struct wh_yaml *tree, struct wh_error *err)
{
	for (size_t i = 0; i < tree->documents->count; i++) {
		const struct wh_yaml_node *document = tree->documents->items[i];
		int r;

		if (wh_value_is_null(document)) /* an empty one, as between two "---" */
			continue;
		r = append_node(objects, document, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static bool has_settings(const struct wh_object *object)
{
	return object->kind == WH_KIND_HYPERCONVERGED || object->kind == WH_KIND_KUBEVIRT;
}

const struct wh_settings *wh_objects_settings(const struct wh_objects *objects)
{
	for (size_t i = 0; i < objects->count; i++) {
		if (has_settings(&objects->items[i]))
			return &objects->items[i].settings;
	}
	return NULL;
}

/* By what must be different for each; then as they were read. */
static int by_identity(const void *a, const void *b)
{
	const struct wh_object *left = *(const struct wh_object *const *)a;
	const struct wh_object *right = *(const struct wh_object *const *)b;
	int order = (left->kind > right->kind) - (left->kind < right->kind);

	if (order == 0)
		order = strcmp(left->name_space, right->name_space);
	if (order == 0)
		order = strcmp(left->name, right->name);
	return order ? order : (left > right) - (left < right);
}

static bool same_identity(const struct wh_object *a, const struct wh_object *b)
{
	return a->kind == b->kind && !strcmp(a->name_space, b->name_space) &&
	       !strcmp(a->name, b->name);
}

/* Places are reduced to printable ASCII, and so is what Kubernetes allows in names. */
static int fail_twin(const struct wh_object *object, const struct wh_object *first,
                     struct wh_error *err)
{
	if (has_settings(object))
		return wh_fail(err, -EINVAL,
		               "%.100s: a second object with migration settings; the first is "
		               "%.100s; keep one of them",
		               object->place.text, first->place.text);
	return wh_fail(err, -EINVAL, "%.80s: a second %s '%.40s'; the first is %.80s; remove one",
	               object->place.text, wh_kind_info(object->kind)->kind, object->name,
	               first->place.text);
}

/* Of all that are there twice, the second one that was read first; NULL if there is none. */
static const struct wh_object *find_twin(const struct wh_object **sorted, size_t count,
                                         const struct wh_object **ret_first)
{
	const struct wh_object *twin = NULL;

	for (size_t i = 1; i < count; i++) {
		if (!same_identity(sorted[i - 1], sorted[i]) || (twin && twin < sorted[i]))
			continue;
		twin = sorted[i];
		*ret_first = sorted[i - 1];
	}
	return twin;
}

static void free_sorted(const struct wh_object ***sorted)
{
	free(*sorted);
}

static int check_identities(const struct wh_objects *objects, struct wh_error *err)
{
	wh_cleanup(free_sorted) const struct wh_object **sorted =
		calloc(objects->count + 1, sizeof(const struct wh_object *));
	const struct wh_object *first = NULL;
	const struct wh_object *twin;

	if (!sorted)
		return wh_fail(err, -ENOMEM, "out of memory");
	for (size_t i = 0; i < objects->count; i++)
		sorted[i] = &objects->items[i];
	qsort(sorted, objects->count, sizeof(const struct wh_object *), by_identity);
	twin = find_twin(sorted, objects->count, &first);
	return twin ? fail_twin(twin, first, err) : 0;
}

int wh_objects_check(const struct wh_objects *objects, struct wh_error *err)
{
	const struct wh_object *first = NULL;

	for (size_t i = 0; i < objects->count; i++) {
		const struct wh_object *object = &objects->items[i];

		if (!has_settings(object))
			continue;
		if (first)
			return fail_twin(object, first, err);
		first = object;
	}
	return check_identities(objects, err);
}

int wh_objects_parse(struct wh_objects *ret, const char *name, const void *data, size_t len,
                     struct wh_error *err)
{
	wh_cleanup(wh_objects_done) struct wh_objects objects = { 0 };
	wh_cleanup(wh_yaml_freep) struct wh_yaml *tree = NULL;
	int r;

	r = wh_yaml_parse(&tree, name, data, len, err);
	if (r == 0)
		r = wh_objects_append(&objects, tree, err);
	if (r == 0)
		r = wh_objects_check(&objects, err);
	if (r < 0)
		return r;

	*ret = objects;
	objects = (struct wh_objects){ 0 };
	return 0;
}

void wh_object_done(struct wh_object *object)
{
	free(object->name_space);
	free(object->name);
	wh_labels_done(&object->labels);
	wh_policy_done(&object->policy);
	free(object->json);
	*object = (struct wh_object){ 0 };
}

void wh_objects_done(struct wh_objects *objects)
{
	for (size_t i = 0; i < objects->count; i++)
		wh_object_done(&objects->items[i]);
	free(objects->items);
	*objects = (struct wh_objects){ 0 };
}

char *wh_object_yaml(const char *json)
{
	wh_cleanup(wh_yaml_freep) struct wh_yaml *tree = NULL;
	char *text = NULL;

	if (wh_yaml_parse(&tree, "object", json, strlen(json), NULL) < 0 ||
	    tree->documents->count != 1)
		return NULL;
	return wh_yaml_format(&text, tree->documents->items[0]) < 0 ? NULL : text;
}
