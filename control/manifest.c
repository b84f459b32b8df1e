/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A search goes through documents, files or a whole directory and collects into a struct found.
 * It ends at the first mistake; only a search without one hands its settings over.
 */

#include "manifest.h"

#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "value.h"
#include "wherry/limits.h"
#include "yaml.h"

struct kind {
	const char *kind;
	const char *group; /* with the final '/' */
	const char *version;
	const char *path[4]; /* to the section; ends with NULL */
};

static const struct kind kinds[] = {
	{ "HyperConverged", "hco.kubevirt.io/", "v1beta1", { "spec", "liveMigrationConfig" } },
	{ "HyperConverged",
	  "hco.kubevirt.io/",
	  "v1",
	  { "spec", "virtualization", "liveMigrationConfig" } },
	{ "KubeVirt", "kubevirt.io/", "v1", { "spec", "configuration", "migrations" } },
};

struct found {
	bool any;
	struct wh_settings settings;
	struct wh_error place; /* of the object: "FILE:LINE:COLUMN" */
};

static const char *text_of(const struct wh_yaml_node *object, const char *key)
{
	const struct wh_yaml_node *value = wh_yaml_get(object, key);

	return value && value->type == WH_YAML_SCALAR ? value->text : "";
}

/* Return: 1 with the kind of @object, 0 if it carries no settings, -EINVAL. */
static int find_kind(const struct wh_yaml_node *object, const struct kind **ret,
                     struct wh_error *err)
{
	const char *version = text_of(object, "apiVersion");
	const char *kind = text_of(object, "kind");
	const struct kind *other = NULL;

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		const size_t len = strlen(kinds[i].group);

		if (strcmp(kind, kinds[i].kind) != 0 || strncmp(version, kinds[i].group, len) != 0)
			continue;
		if (!strcmp(version + len, kinds[i].version)) {
			*ret = &kinds[i];
			return 1;
		}
		other = &kinds[i];
	}
	/* To ignore it would silently leave its settings out. */
	if (other)
		return wh_yaml_fail(err, wh_yaml_get(object, "apiVersion"),
		                    "%s is not known in version '%.40s'; write %s%s", kind, version,
		                    other->group, other->version);
	return 0;
}

/* Follow the path of @kind. *@ret stays NULL if the section is not there. Return: 0 or -EINVAL. */
static int find_section(const struct wh_yaml_node *object, const struct kind *kind,
                        const struct wh_yaml_node **ret, struct wh_error *err)
{
	const struct wh_yaml_node *node = object;

	for (size_t i = 0; kind->path[i]; i++) {
		node = wh_yaml_get(node, kind->path[i]);
		if (!node || wh_value_is_null(node))
			return 0;
		if (node->type != WH_YAML_MAPPING)
			return wh_yaml_fail(err, node,
			                    "'%s' must be a mapping; write 'key: value' below it",
			                    kind->path[i]);
	}
	*ret = node;
	return 0;
}

static int search_object(struct found *found, const struct wh_yaml_node *object,
                         struct wh_error *err)
{
	const struct kind *kind = NULL;
	const struct wh_yaml_node *section = NULL;
	int r;

	r = find_kind(object, &kind, err);
	if (r <= 0)
		return r;
	if (found->any)
		return wh_yaml_fail(err, object,
		                    "a second object with migration settings; the first is %s; "
		                    "keep one of them",
		                    found->place.text);

	r = find_section(object, kind, &section, err);
	if (r < 0)
		return r;
	r = wh_settings_parse(&found->settings, section, err);
	if (r < 0)
		return r;

	found->any = true;
	(void)wh_fail(&found->place, 0, "%s:%u:%u", object->file, object->line, object->column);
	return 0;
}

static int search_tree(struct found *found, const struct wh_yaml *tree, struct wh_error *err)
{
	for (size_t i = 0; i < tree->documents->count; i++) {
		int r = search_object(found, tree->documents->items[i], err);

		if (r < 0)
			return r;
	}
	return 0;
}

static int search_file(struct found *found, const char *path, struct wh_error *err)
{
	wh_cleanup(wh_yaml_freep) struct wh_yaml *tree = NULL;
	int r;

	r = wh_yaml_load(&tree, path, err);
	if (r < 0)
		return r;
	return search_tree(found, tree, err);
}

static int hand_over(const struct found *found, struct wh_settings *ret)
{
	if (found->any)
		*ret = found->settings;
	return found->any;
}

int wh_manifest_parse(struct wh_settings *ret, const char *name, const void *data, size_t len,
                      struct wh_error *err)
{
	wh_cleanup(wh_yaml_freep) struct wh_yaml *tree = NULL;
	struct found found = { 0 };
	int r;

	r = wh_yaml_parse(&tree, name, data, len, err);
	if (r < 0)
		return r;
	r = search_tree(&found, tree, err);
	if (r < 0)
		return r;
	return hand_over(&found, ret);
}

int wh_manifest_load(struct wh_settings *ret, const char *path, struct wh_error *err)
{
	struct found found = { 0 };
	int r;

	r = search_file(&found, path, err);
	if (r < 0)
		return r;
	return hand_over(&found, ret);
}

/* Hidden files are left out: editors and ConfigMap mounts keep their own things there. */
static int is_manifest(const struct dirent *entry)
{
	const char *dot = strrchr(entry->d_name, '.');

	return entry->d_name[0] != '.' && dot &&
	       (!strcmp(dot, ".yaml") || !strcmp(dot, ".yml") || !strcmp(dot, ".json"));
}

/* Bytewise, so that the order does not depend on the locale. */
static int by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

struct listing {
	struct dirent **entries;
	int count;
};

static void listing_done(struct listing *listing)
{
	for (int i = 0; i < listing->count; i++)
		free(listing->entries[i]);
	free(listing->entries);
}

static void free_path(char **path)
{
	free(*path);
}

static int search_listing(struct found *found, const struct listing *listing, const char *dir,
                          struct wh_error *err)
{
	for (int i = 0; i < listing->count; i++) {
		wh_cleanup(free_path) char *path = NULL;
		int r;

		if (asprintf(&path, "%s/%s", dir, listing->entries[i]->d_name) < 0) {
			path = NULL; /* what asprintf() left there is undefined */
			return wh_fail(err, -ENOMEM, "out of memory");
		}
		r = search_file(found, path, err);
		if (r < 0)
			return r;
	}
	return 0;
}

int wh_manifest_load_dir(struct wh_settings *ret, const char *path, struct wh_error *err)
{
	wh_cleanup(listing_done) struct listing listing = { 0 };
	struct found found = { 0 };
	int r;

	r = scandir(path, &listing.entries, is_manifest, by_name);
	if (r < 0)
		return wh_fail(err, -errno, "%s: %s", path, strerror(errno));
	listing.count = r;
	if (r > (int)WH_MANIFEST_FILES_MAX)
		return wh_fail(err, -E2BIG, "%s: %d manifests; keep at most %u in one directory",
		               path, r, WH_MANIFEST_FILES_MAX);

	r = search_listing(&found, &listing, path, err);
	if (r < 0)
		return r;
	return hand_over(&found, ret);
}
