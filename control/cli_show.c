/* SPDX-License-Identifier: Apache-2.0 */

/* wherry get, wherry status: what wherryd knows, for people and for programs. */

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli.h"
#include "files.h"

static int print_json(const json_t *json)
{
	wh_cleanup(wh_freep) char *text = json_dumps(json, JSON_INDENT(2));

	(void)printf("%s\n", text ? text : "null");
	return WH_EXIT_DONE;
}

/* Settings. */

static void print_value(const json_t *value)
{
	if (json_is_boolean(value))
		(void)printf("%s", json_is_true(value) ? "true" : "false");
	else if (json_is_integer(value))
		(void)printf("%lld", (long long)json_integer_value(value));
	else if (*json_string_value(value))
		(void)printf("%s", json_string_value(value));
	else
		(void)printf("\"\"");
}

static void print_yaml(const json_t *settings)
{
	(void)printf("apiVersion: hco.kubevirt.io/v1beta1\nkind: HyperConverged\n"
	             "metadata:\n  name: kubevirt-hyperconverged\nspec:\n"
	             "  liveMigrationConfig:\n");
	for (size_t i = 0; i < json_array_size(settings); i++) {
		const json_t *s = json_array_get(settings, i);
		const json_t *value = json_object_get(s, "value");

		if (json_is_string(value) && !*json_string_value(value))
			continue; /* no name is no key */
		(void)printf("    %s: ", wh_json_text(s, "key"));
		print_value(value);
		(void)printf("%s\n",
		             json_is_true(json_object_get(s, "given")) ? "" : "  # default");
	}
}

static void print_table(const json_t *settings)
{
	(void)printf("%-34s %-12s %-8s %s\n", "KEY", "VALUE", "FROM", "MEANING");
	for (size_t i = 0; i < json_array_size(settings); i++) {
		const json_t *s = json_array_get(settings, i);
		wh_cleanup(wh_freep) char *value =
			json_dumps(json_object_get(s, "value"), JSON_ENCODE_ANY);

		(void)printf("%-34s %-12s %-8s %s\n", wh_json_text(s, "key"), value ? value : "",
		             json_is_true(json_object_get(s, "given")) ? "manifest" : "default",
		             wh_json_text(s, "help"));
	}
}

int wh_cli_get(struct wh_cli *cli)
{
	wh_cleanup(wh_json_unrefp) json_t *answer = NULL;
	const char *format = "yaml";
	const json_t *settings;
	struct wh_error err;
	int c;

	while ((c = getopt(cli->argc, cli->argv, "o:")) != -1) { /* NOLINT: one thread */
		if (c != 'o')
			return wh_cli_usage(cli);
		format = optarg;
	}
	if (optind + 1 != cli->argc || strcmp(cli->argv[optind], "hyperconverged") != 0)
		return wh_cli_usage(cli);
	if (strcmp(format, "yaml") != 0 && strcmp(format, "json") != 0 &&
	    strcmp(format, "table") != 0)
		return wh_cli_usage(cli);
	if (wh_cli_ask(cli, json_pack("{s:s}", "command", "get"), &answer, &err) < 0)
		return wh_cli_fail(&err);
	settings = json_object_get(answer, "settings");
	if (!strcmp(format, "json"))
		return print_json(settings);
	if (!strcmp(format, "table"))
		print_table(settings);
	else
		print_yaml(settings);
	return WH_EXIT_DONE;
}

/* Migrations. */

static int print_migrations(const json_t *list)
{
	char line[WH_PROGRESS_MAX];
	struct wh_error err;
	struct wh_view v;

	if (json_array_size(list) == 0)
		(void)printf("no migrations\n");
	for (size_t i = 0; i < json_array_size(list); i++) {
		if (wh_view_parse(&v, json_array_get(list, i), &err) < 0)
			return wh_cli_fail(&err);
		wh_progress_line(line, &v);
		(void)printf("%-26s %s %-12s %s%s%s\n", v.migration,
		             strcmp(v.role, "source") ? "from" : "to  ", v.peer, line,
		             *v.reason ? ": " : "", v.reason);
	}
	return WH_EXIT_DONE;
}

static int show(struct wh_cli *cli, const char *migration, bool as_json)
{
	wh_cleanup(wh_json_unrefp) json_t *answer = NULL;
	json_t *request = json_pack("{s:s}", "command", "status");
	struct wh_error err;

	if (migration)
		(void)json_object_set_new(request, "migration", json_string(migration));
	if (wh_cli_ask(cli, request, &answer, &err) < 0)
		return wh_cli_fail(&err);
	return as_json ? print_json(json_object_get(answer, "migrations"))
	               : print_migrations(json_object_get(answer, "migrations"));
}

int wh_cli_status(struct wh_cli *cli)
{
	static const struct option options[] = {
		{ "json", no_argument, NULL, 'j' },
		{ "watch", no_argument, NULL, 'w' },
		{ NULL, 0, NULL, 0 },
	};
	const struct timespec second = { .tv_sec = 1 };
	const char *migration = NULL;
	bool as_json = false;
	bool watch = false;
	int code;
	int c;

	while ((c = getopt_long(cli->argc, cli->argv, "", options, NULL)) != -1) { /* NOLINT */
		if (c == '?')
			return wh_cli_usage(cli);
		as_json = as_json || c == 'j';
		watch = watch || c == 'w';
	}
	if (optind < cli->argc)
		migration = cli->argv[optind++];
	if (optind != cli->argc)
		return wh_cli_usage(cli);

	/* Watching ends with Ctrl-C, or with wherryd. */
	code = show(cli, migration, as_json);
	while (watch && code == WH_EXIT_DONE) {
		(void)fflush(stdout);
		(void)nanosleep(&second, NULL); /* shorter is as good */
		if (isatty(STDOUT_FILENO) == 1 && !as_json)
			(void)printf("\033[H\033[J");
		code = show(cli, migration, as_json);
	}
	return code;
}
