/* SPDX-License-Identifier: Apache-2.0 */

/* Where objects are read from files, one or a whole directory of them. */

#include "object.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "wherry/limits.h"

static int append_file(struct wh_objects *objects, const char *path, struct wh_error *err)
{
	wh_cleanup(wh_yaml_freep) struct wh_yaml *tree = NULL;
	int r;

	r = wh_yaml_load(&tree, path, err);
	return r < 0 ? r : wh_objects_append(objects, tree, err);
}

/* Hand @objects over if they are right. */
static int check(struct wh_objects *ret, struct wh_objects *objects, struct wh_error *err)
{
	int r;

	r = wh_objects_check(objects, err);
	if (r < 0)
		return r;
	*ret = *objects;
	*objects = (struct wh_objects){ 0 };
	return 0;
}

int wh_objects_load(struct wh_objects *ret, const char *path, struct wh_error *err)
{
	wh_cleanup(wh_objects_done) struct wh_objects objects = { 0 };
	int r;

	r = append_file(&objects, path, err);
	return r < 0 ? r : check(ret, &objects, err);
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

static int append_listing(struct wh_objects *objects, const struct listing *listing,
                          const char *dir, struct wh_error *err)
{
	for (int i = 0; i < listing->count; i++) {
		wh_cleanup(free_path) char *path = NULL;
		int r;

		if (asprintf(&path, "%s/%s", dir, listing->entries[i]->d_name) < 0) {
			path = NULL; /* what asprintf() left there is undefined */
			return wh_fail(err, -ENOMEM, "out of memory");
		}
		r = append_file(objects, path, err);
		if (r < 0)
			return r;
	}
	return 0;
}

int wh_objects_load_dir(struct wh_objects *ret, const char *path, struct wh_error *err)
{
	wh_cleanup(wh_objects_done) struct wh_objects objects = { 0 };
	wh_cleanup(listing_done) struct listing listing = { 0 };
	int r;

	r = scandir(path, &listing.entries, is_manifest, by_name);
	if (r < 0)
		return wh_fail(err, -errno, "%s: %s", path, strerror(errno));
	listing.count = r;
	if (r > (int)WH_MANIFEST_FILES_MAX)
		return wh_fail(err, -E2BIG, "%s: %d manifests; keep at most %u in one directory",
		               path, r, WH_MANIFEST_FILES_MAX);

	r = append_listing(&objects, &listing, path, err);
	return r < 0 ? r : check(ret, &objects, err);
}
