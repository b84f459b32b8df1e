/* SPDX-License-Identifier: Apache-2.0 */

/* wherry label - all that is to change is one request, which is done as a whole or refused. */

#include <stdio.h>
#include <string.h>

#include "cli.h"

#include "wherry/assert.h"

/* "key=value" or "key-". Return: WH_EXIT_DONE or WH_EXIT_USAGE. */
static int read_change(const struct wh_cli *cli, const char *text, json_t *set, json_t *remove)
{
	const char *equals = strchr(text, '=');
	size_t len = strlen(text);
	char key[WH_ERROR_TEXT_MAX + WH_OBJECT_NAME_MAX];
	size_t key_len = equals ? (size_t)(equals - text) : len - 1;

	if (!equals && (len < 2 || text[len - 1] != '-'))
		return wh_cli_usage(cli, "'%s' is neither key=value nor key-", text);
	if (key_len >= sizeof(key))
		return wh_cli_usage(cli, "'%.40s...' is too long for a key", text);
	memcpy(key, text, key_len);
	key[key_len] = '\0';
	if (equals && json_object_get(set, key))
		return wh_cli_usage(cli, "'%s' is given twice", key);
	/* What is not UTF-8 is left out here, and the request then refused as a whole. */
	if (equals)
		(void)json_object_set_new(set, key, json_string(equals + 1));
	else
		(void)json_array_append_new(remove, json_string(key));
	return WH_EXIT_DONE;
}

static bool is_text(const struct wh_cli *cli)
{
	for (int i = 1; wh_cli_operand(cli, i); i++) {
		json_t *json = json_string(wh_cli_operand(cli, i));

		if (!json)
			return false;
		json_decref(json);
	}
	return true;
}

static void print(const json_t *answer)
{
	const json_t *labels = json_object_get(answer, "labels");

	(void)printf("namespace %s%s\n", wh_json_text(answer, "namespace"),
	             json_object_size(labels) == 0 ? ", no labels" : "");
	wh_cli_print_labels(labels);
}

int wh_cli_label(struct wh_cli *cli)
{
	wh_cleanup(wh_json_unrefp) json_t *remove = json_array();
	wh_cleanup(wh_json_unrefp) json_t *set = json_object();
	struct wh_error err;

	wh_assert(remove && set);
	if (!is_text(cli)) {
		(void)wh_fail(&err, 0, "what was given is not UTF-8 text");
		return wh_cli_fail(&err);
	}
	for (int i = 1; wh_cli_operand(cli, i); i++) {
		int code = read_change(cli, wh_cli_operand(cli, i), set, remove);

		if (code != WH_EXIT_DONE)
			return code;
	}
	return wh_cli_show(cli,
	                   json_pack("{s:s, s:s, s:s*, s:O, s:O, s:s*}", "command", "label", "vm",
	                             wh_cli_operand(cli, 0), "namespace",
	                             wh_cli_option(cli, "namespace"), "set", set, "remove", remove,
	                             "name_space", wh_cli_option(cli, "namespace-name")),
	                   print);
}
