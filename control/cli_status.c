/* SPDX-License-Identifier: Apache-2.0 */

/* wherry status - one line for each migration, once or each second. */

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "cli.h"

/* "a -> b"; a node that no coordinator has told of is known from this end only. */
static void put_way(const struct wh_view *v)
{
	char way[2 * WH_NAME_MAX + 8];

	if (*v->source)
		(void)snprintf(way, sizeof(way), "%s -> %s", v->source,
		               *v->target ? v->target : "?");
	else
		(void)snprintf(way, sizeof(way), "%s %s",
		               strcmp(v->role, "source") ? "from" : "to  ", v->peer);
	(void)printf("%-26s %-17s ", v->migration, way);
}

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
		put_way(&v);
		(void)printf("%s%s%s\n", line, *v.reason ? ": " : "", v.reason);
	}
	return WH_EXIT_DONE;
}

static int show(struct wh_cli *cli)
{
	wh_cleanup(wh_json_unrefp) json_t *answer = NULL;
	struct wh_error err;

	if (wh_cli_ask(cli,
	               json_pack("{s:s, s:s*}", "command", "status", "migration",
	                         wh_cli_operand(cli, 0)),
	               &answer, &err) < 0)
		return wh_cli_fail(&err);
	if (*wh_json_text(answer, "warning"))
		(void)fprintf(stderr, "wherry: warning: %s\n", wh_json_text(answer, "warning"));
	return wh_cli_option(cli, "json") ? wh_cli_print_json(json_object_get(answer, "migrations"))
	                                  : print_migrations(json_object_get(answer, "migrations"));
}

int wh_cli_status(struct wh_cli *cli)
{
	const bool clear = wh_cli_on_terminal() && !wh_cli_option(cli, "json");
	const struct timespec second = { .tv_sec = 1 };
	int code = show(cli);

	/* Watching ends with Ctrl-C, or with wherryd. */
	while (wh_cli_option(cli, "watch") && code == WH_EXIT_DONE) {
		(void)fflush(stdout);
		(void)nanosleep(&second, NULL); /* shorter is as good */
		if (clear)
			(void)printf("\033[H\033[J");
		code = show(cli);
	}
	return code;
}
