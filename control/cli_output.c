/* SPDX-License-Identifier: Apache-2.0 */

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "cli_table.h"
#include "files.h"

int wh_cli_fail(const struct wh_error *err)
{
	(void)fprintf(stderr, "wherry: %s\n", err->text);
	return WH_EXIT_FAILED;
}

int wh_cli_print_json(const json_t *json)
{
	wh_cleanup(wh_freep) char *text = json_dumps(json, JSON_INDENT(2) | JSON_ENCODE_ANY);

	(void)printf("%s\n", text ? text : "null");
	return WH_EXIT_DONE;
}

int wh_cli_print_answer(json_t *answer)
{
	(void)json_object_del(answer, "ok");
	return wh_cli_print_json(answer);
}

int wh_cli_show(struct wh_cli *cli, json_t *request, void (*print)(const json_t *answer))
{
	wh_cleanup(wh_json_unrefp) json_t *answer = NULL;
	struct wh_error err;

	if (wh_cli_ask(cli, request, &answer, &err) < 0)
		return wh_cli_fail(&err);
	if (wh_cli_option(cli, "json"))
		return wh_cli_print_answer(answer);
	print(answer);
	return WH_EXIT_DONE;
}

void wh_cli_print_labels(const json_t *labels)
{
	static const char *const titles[] = { "", "", NULL };
	wh_cleanup(wh_table_freep) struct wh_table *table = wh_table_new(titles);
	const char *key;
	json_t *value;

	json_object_foreach((json_t *)labels, key, value) { /* it is only read */
		wh_table_put(table, "%s", key);
		wh_table_put(table, "\"%s\"", json_string_value(value));
	}
	wh_table_print(table, stdout, 2);
}

static void put_from(struct wh_table *table, const json_t *setting)
{
	const char *from = wh_json_text(setting, "from");
	const char *given = json_is_true(json_object_get(setting, "given")) ? "cluster" : "default";

	if (!strcmp(from, "policy"))
		wh_table_put(table, "policy %s", wh_json_text(setting, "policy"));
	else
		wh_table_put(table, "%s", *from ? from : given);
}

void wh_cli_print_settings(const json_t *settings)
{
	static const char *const titles[] = { "KEY", "VALUE", "FROM", "MEANING", NULL };
	wh_cleanup(wh_table_freep) struct wh_table *table = wh_table_new(titles);

	for (size_t i = 0; i < json_array_size(settings); i++) {
		const json_t *s = json_array_get(settings, i);
		wh_cleanup(wh_freep) char *value =
			json_dumps(json_object_get(s, "value"), JSON_ENCODE_ANY);

		wh_table_put(table, "%s", wh_json_text(s, "key"));
		wh_table_put(table, "%s", value ? value : "");
		put_from(table, s);
		wh_table_put(table, "%s", wh_json_text(s, "help"));
	}
	wh_table_print(table, stdout, 0);
}

bool wh_cli_on_terminal(void)
{
	return isatty(STDOUT_FILENO) == 1;
}

void wh_cli_redraw(const char *line)
{
	if (wh_cli_on_terminal())
		(void)printf("\r%s\033[K", line);
	else
		(void)printf("%s\n", line);
	(void)fflush(stdout);
}

void wh_cli_redraw_end(void)
{
	if (wh_cli_on_terminal())
		(void)printf("\r\033[K");
}
