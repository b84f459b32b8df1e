/* SPDX-License-Identifier: Apache-2.0 */

/*
 * wherry apply - wherryd takes all of a manifest or nothing. Of several, each is checked first, so
 * that a mistake in the last one is found before anything changes.
 */

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cli.h"
#include "files.h"

#include "wherry/assert.h"
#include "wherry/limits.h"

struct manifest {
	char *path; /* as it was given, or below the directory that was */
	char *text;
	size_t len;
};

struct manifests {
	struct manifest *items;
	size_t count;
};

static void manifests_done(struct manifests *manifests)
{
	for (size_t i = 0; i < manifests->count; i++) {
		free(manifests->items[i].path);
		free(manifests->items[i].text);
	}
	free(manifests->items);
}

/* @path is taken over. */
static int add_file(struct manifests *manifests, char *path, struct wh_error *err)
{
	struct manifest *m;

	manifests->items =
		reallocarray(manifests->items, manifests->count + 1, sizeof(*manifests->items));
	wh_assert(manifests->items && path);
	m = &manifests->items[manifests->count++];
	*m = (struct manifest){ .path = path };
	return wh_file_read(strcmp(path, "-") != 0 ? path : "/dev/stdin", WH_YAML_BYTES_MAX,
	                    &m->text, &m->len, err);
}

/* What the directory of manifests in wherryd's configuration takes, too. */
static int is_manifest(const struct dirent *entry)
{
	const char *dot = strrchr(entry->d_name, '.');

	return entry->d_name[0] != '.' && dot &&
	       (!strcmp(dot, ".yaml") || !strcmp(dot, ".yml") || !strcmp(dot, ".json"));
}

static int add_directory(struct manifests *manifests, const char *path, struct wh_error *err)
{
	struct dirent **entries;
	int count = scandir(path, &entries, is_manifest, alphasort);
	int r = 0;

	if (count < 0)
		return wh_fail(err, -errno, "cannot read %s: %s", path, strerror(errno));
	if (count == 0)
		r = wh_fail(err, -ENOENT, "%s has no *.yaml, *.yml or *.json", path);
	if (count > (int)WH_MANIFEST_FILES_MAX)
		r = wh_fail(err, -E2BIG, "%s: %d manifests; at most %u in one directory", path,
		            count, WH_MANIFEST_FILES_MAX);
	for (int i = 0; i < count; i++) {
		char *file = NULL;

		wh_assert(asprintf(&file, "%s/%s", path, entries[i]->d_name) > 0);
		free(entries[i]);
		if (r == 0)
			r = add_file(manifests, file, err);
		else
			free(file);
	}
	free(entries);
	return r;
}

static int read_all(const struct wh_cli *cli, struct manifests *manifests, struct wh_error *err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < cli->given_count; i++) {
		const char *path = cli->given[i].value;
		struct stat st;

		if (strcmp(cli->given[i].option->name, "filename") != 0)
			continue;
		if (strcmp(path, "-") != 0 && stat(path, &st) == 0 && S_ISDIR(st.st_mode))
			r = add_directory(manifests, path, err);
		else
			r = add_file(manifests, strdup(path), err);
	}
	return r;
}

static int ask(struct wh_cli *cli, const struct manifest *m, bool dry_run, json_t **ret,
               struct wh_error *err)
{
	json_t *request = json_pack("{s:s, s:s, s:s%, s:b}", "command", "apply", "name", m->path,
	                            "manifest", m->text, m->len, "dry_run", dry_run);

	if (!request)
		return wh_fail(err, -EINVAL, "%s is not UTF-8 text", m->path);
	return wh_cli_ask(cli, request, ret, err);
}

static void report(const json_t *answer, bool dry_run)
{
	const json_t *objects = json_object_get(answer, "objects");
	long long ignored = json_integer_value(json_object_get(answer, "ignored"));

	for (size_t i = 0; i < json_array_size(objects); i++) {
		const json_t *o = json_array_get(objects, i);
		const char *name_space = wh_json_text(o, "namespace");

		(void)printf("%s %s%s%s %s%s\n", wh_json_text(o, "kind"), name_space,
		             *name_space ? "/" : "", wh_json_text(o, "name"),
		             wh_json_text(o, "result"), dry_run ? " (dry run)" : "");
	}
	if (ignored > 0)
		(void)printf("%lld object%s of other kinds left alone\n", ignored,
		             ignored == 1 ? "" : "s");
}

int wh_cli_apply(struct wh_cli *cli)
{
	wh_cleanup(manifests_done) struct manifests manifests = { 0 };
	const bool dry_run = wh_cli_option(cli, "dry-run");
	struct wh_error err;

	if (read_all(cli, &manifests, &err) < 0)
		return wh_cli_fail(&err);
	for (size_t i = 0; manifests.count > 1 && !dry_run && i < manifests.count; i++) {
		wh_cleanup(wh_json_unrefp) json_t *answer = NULL;

		if (ask(cli, &manifests.items[i], true, &answer, &err) < 0)
			return wh_cli_fail(&err);
	}
	for (size_t i = 0; i < manifests.count; i++) {
		wh_cleanup(wh_json_unrefp) json_t *answer = NULL;

		if (ask(cli, &manifests.items[i], dry_run, &answer, &err) < 0)
			return wh_cli_fail(&err);
		report(answer, dry_run);
	}
	return WH_EXIT_DONE;
}
