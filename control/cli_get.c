/* SPDX-License-Identifier: Apache-2.0 */

/*
 * wherry get, wherry settings - objects as they were applied, the settings that follow from them,
 * and nodes. As a table each kind has the columns that its row below names.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "cli_table.h"
#include "files.h"
#include "object.h"
#include "units.h"

#include "wherry/assert.h"

#define COLUMNS_MAX 4u

struct column {
	const char *title;
	const char *path; /* of its value in the object */
};

/* The columns of each kind, besides namespace and name. */
static const struct column columns_of[WH_KINDS][COLUMNS_MAX] = {
	[WH_KIND_POLICY] = { { "NAMESPACE LABELS", "spec.selectors.namespaceSelector" },
	                     { "VM LABELS", "spec.selectors.virtualMachineInstanceSelector" },
	                     { "SETS", "spec" } },
	[WH_KIND_NAMESPACE] = { { "LABELS", "metadata.labels" } },
	[WH_KIND_VM] = { { "LABELS", "spec.template.metadata.labels" } },
	[WH_KIND_VMI] = { { "LABELS", "metadata.labels" } },
	[WH_KIND_MIGRATION] = { { "VM", "spec.vmiName" },
	                        { "TO", "spec.addedNodeSelector" },
	                        { "PRIORITY", "spec.priority" } },
};

/* Kinds that are shown as the settings they give, and so also while there is no such object. */
static bool has_settings(const char *name)
{
	struct wh_error err;
	enum wh_kind kind;

	return wh_kind_parse(&kind, name, &err) == 0 &&
	       (kind == WH_KIND_HYPERCONVERGED || kind == WH_KIND_KUBEVIRT);
}

/* The columns of the kind of that name; of one that this program does not know, none. */
static const struct column *find_columns(const char *name)
{
	static const struct column none[COLUMNS_MAX];
	struct wh_error err;
	enum wh_kind kind;

	return wh_kind_parse(&kind, name, &err) == 0 ? columns_of[kind] : none;
}

/* The value at "spec.selectors", borrowed; NULL if there is none. */
static const json_t *at_path(const json_t *json, const char *path)
{
	while (json && *path) {
		size_t len = strcspn(path, ".");
		wh_cleanup(wh_freep) char *key = strndup(path, len);

		wh_assert(key);
		json = json_object_get(json, key);
		path += len + (path[len] == '.');
	}
	return json;
}

/* A value that is no object and no list. */
static void put_scalar(FILE *out, const json_t *value)
{
	wh_cleanup(wh_freep) char *text = NULL;

	if (json_is_string(value) && *json_string_value(value)) {
		(void)fputs(json_string_value(value), out);
		return;
	}
	text = json_dumps(value, JSON_ENCODE_ANY);
	(void)fputs(text ? text : "", out);
}

/* The members of an object that are scalars: "a=b,c=d". */
static void put_members(FILE *out, const json_t *object)
{
	const char *comma = "";
	const char *key;
	json_t *value;

	json_object_foreach((json_t *)object, key, value) { /* it is only read */
		if (json_is_object(value) || json_is_array(value))
			continue;
		(void)fprintf(out, "%s%s=", comma, key);
		put_scalar(out, value);
		comma = ",";
	}
	if (!*comma)
		(void)fputc('-', out);
}

static void put_value(struct wh_table *table, const json_t *value)
{
	wh_cleanup(wh_freep) char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	wh_assert(out);
	if (json_is_object(value))
		put_members(out, value);
	else if (value)
		put_scalar(out, value);
	else
		(void)fputc('-', out);
	(void)fclose(out);
	wh_table_put(table, "%s", text);
}

static bool any_has_namespace(const json_t *objects)
{
	for (size_t i = 0; i < json_array_size(objects); i++)
		if (*wh_json_text(json_array_get(objects, i), "namespace"))
			return true;
	return false;
}

static void print_objects(const json_t *objects, const char *kind)
{
	const bool namespaced = any_has_namespace(objects);
	const char *titles[COLUMNS_MAX + 3] = { "NAMESPACE", "NAME" };
	wh_cleanup(wh_table_freep) struct wh_table *table = NULL;
	const struct column *columns = find_columns(kind);
	size_t count = 0;

	for (; count < COLUMNS_MAX && columns[count].title; count++)
		titles[count + 2] = columns[count].title;
	table = wh_table_new(namespaced ? titles : titles + 1);
	for (size_t i = 0; i < json_array_size(objects); i++) {
		const json_t *o = json_array_get(objects, i);

		if (namespaced)
			wh_table_put(table, "%s", wh_json_text(o, "namespace"));
		wh_table_put(table, "%s", wh_json_text(o, "name"));
		for (size_t c = 0; c < count; c++)
			put_value(table, at_path(json_object_get(o, "object"), columns[c].path));
	}
	wh_table_print(table, stdout, 0);
}

static void put_state(struct wh_table *table, const json_t *node)
{
	const bool drained = json_is_true(json_object_get(node, "drained"));

	if (!json_is_true(json_object_get(node, "seen")))
		wh_table_put(table, "never seen%s", drained ? ", drained" : "");
	else if (!json_is_true(json_object_get(node, "alive")))
		wh_table_put(table, "gone%s", drained ? ", drained" : "");
	else
		wh_table_put(table, "%s", drained ? "drained" : "ready");
}

static void put_bytes(struct wh_table *table, const json_t *node, const char *key)
{
	json_int_t bytes = json_integer_value(json_object_get(node, key));

	wh_table_put(table, "%s", wh_units_bytes(bytes > 0 ? (uint64_t)bytes : 0).s);
}

static void print_nodes(const json_t *nodes)
{
	static const char *const titles[] = { "NAME",   "STATE", "GUESTS",      "LEAVING",
		                              "MEMORY", "FREE",  "COORDINATOR", NULL };
	wh_cleanup(wh_table_freep) struct wh_table *table = wh_table_new(titles);

	for (size_t i = 0; i < json_array_size(nodes); i++) {
		const json_t *n = json_array_get(nodes, i);
		const json_t *vms = json_object_get(n, "vms");
		size_t here = 0;

		for (size_t v = 0; v < json_array_size(vms); v++)
			here += json_is_true(json_object_get(json_array_get(vms, v), "here"));
		wh_table_put(table, "%s", wh_json_text(n, "name"));
		put_state(table, n);
		wh_table_put(table, "%zu", here);
		wh_table_put(table, "%lld",
		             (long long)json_integer_value(json_object_get(n, "outbound")));
		put_bytes(table, n, "memory_bytes");
		put_bytes(table, n, "free_bytes");
		wh_table_put(table, "%s",
		             json_is_true(json_object_get(n, "coordinator")) ? "yes" : "-");
	}
	wh_table_print(table, stdout, 0);
}

static void print_nodes_yaml(json_t *nodes)
{
	wh_cleanup(wh_json_unrefp) json_t *whole = json_pack("{s:O}", "nodes", nodes);
	wh_cleanup(wh_freep) char *line = wh_json_line(whole);
	wh_cleanup(wh_freep) char *yaml = line ? wh_object_yaml(line) : NULL;

	wh_assert(yaml);
	(void)fputs(yaml, stdout);
}

/* All as documents of one stream, which "apply" takes again. */
static void print_yaml(const json_t *objects)
{
	for (size_t i = 0; i < json_array_size(objects); i++) {
		const char *yaml = wh_json_text(json_array_get(objects, i), "yaml");
		size_t len = strlen(yaml);

		(void)printf("%s%s%s", i > 0 ? "---\n" : "", yaml,
		             len > 0 && yaml[len - 1] == '\n' ? "" : "\n");
	}
}

/* One that was asked for by its name is itself, all others are a List. */
static int print_objects_json(const json_t *objects, bool named)
{
	wh_cleanup(wh_json_unrefp) json_t *list = NULL;
	json_t *items = json_array();

	if (named && json_array_size(objects) == 1) {
		json_decref(items);
		return wh_cli_print_json(json_object_get(json_array_get(objects, 0), "object"));
	}
	for (size_t i = 0; i < json_array_size(objects); i++)
		(void)json_array_append(items,
		                        json_object_get(json_array_get(objects, i), "object"));
	list = json_pack("{s:s, s:s, s:o}", "apiVersion", "v1", "kind", "List", "items", items);
	return wh_cli_print_json(list);
}

static int show_settings(struct wh_cli *cli, bool as_json)
{
	wh_cleanup(wh_json_unrefp) json_t *answer = NULL;
	struct wh_error err;

	if (wh_cli_ask(cli, json_pack("{s:s}", "command", "settings"), &answer, &err) < 0)
		return wh_cli_fail(&err);
	if (as_json)
		return wh_cli_print_json(json_object_get(answer, "settings"));
	wh_cli_print_settings(json_object_get(answer, "settings"));
	return WH_EXIT_DONE;
}

int wh_cli_settings(struct wh_cli *cli)
{
	return show_settings(cli, wh_cli_option(cli, "json"));
}

static int show(const char *kind, const char *name, const char *format, const json_t *answer)
{
	const json_t *nodes = json_object_get(answer, "nodes");
	const json_t *objects = json_object_get(answer, "objects");

	if (json_array_size(nodes ? nodes : objects) == 0 && name) {
		(void)fprintf(stderr, "wherry: there is no %s '%s'\n", kind, name);
		return WH_EXIT_FAILED;
	}
	if (nodes && !strcmp(format, "json"))
		return wh_cli_print_json(nodes);
	if (nodes && !strcmp(format, "yaml"))
		print_nodes_yaml((json_t *)nodes); /* it is only read */
	else if (nodes)
		print_nodes(nodes);
	else if (!strcmp(format, "json"))
		return print_objects_json(objects, name);
	else if (!strcmp(format, "yaml"))
		print_yaml(objects);
	else if (json_array_size(objects) > 0)
		print_objects(objects, wh_json_text(json_array_get(objects, 0), "kind"));
	else
		(void)fprintf(stderr, "there are no %s\n", kind);
	return WH_EXIT_DONE;
}

int wh_cli_get(struct wh_cli *cli)
{
	wh_cleanup(wh_json_unrefp) json_t *answer = NULL;
	const char *kind = wh_cli_operand(cli, 0);
	const char *name = wh_cli_operand(cli, 1);
	const char *format = wh_cli_option(cli, "output");
	struct wh_error err;

	if (wh_cli_option(cli, "json"))
		format = "json";
	format = format ? format : "table";
	if (strcmp(format, "yaml") != 0 && strcmp(format, "json") != 0 &&
	    strcmp(format, "table") != 0)
		return wh_cli_usage(cli, "'%s' is none of yaml, json and table", format);
	if (!strcmp(format, "table") && has_settings(kind))
		return show_settings(cli, false);
	if (wh_cli_ask(cli,
	               json_pack("{s:s, s:s, s:s*, s:s*}", "command", "get", "kind", kind,
	                         "namespace", wh_cli_option(cli, "namespace"), "name", name),
	               &answer, &err) < 0)
		return wh_cli_fail(&err);
	return show(kind, name, format, answer);
}
