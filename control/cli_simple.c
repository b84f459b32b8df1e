/* SPDX-License-Identifier: Apache-2.0 */

/* Commands that are one request and one line about it. */

#include <stdio.h>

#include "cli.h"

/* A command that only has a migration, as its name in the API is; then say what happens to it. */
static int ask_about(struct wh_cli *cli, const char *happens)
{
	json_t *request = json_pack("{s:s, s:s}", "command", cli->command->name, "migration",
	                            wh_cli_operand(cli, 0));
	wh_cleanup(wh_json_unrefp) json_t *answer = NULL;
	struct wh_error err;

	if (wh_cli_option(cli, "target-is-off"))
		(void)json_object_set_new(request, "target_is_off", json_true());
	if (wh_cli_ask(cli, request, &answer, &err) < 0)
		return wh_cli_fail(&err);
	(void)printf("migration %s %s\n", wh_json_text(answer, "migration"), happens);
	return WH_EXIT_DONE;
}

int wh_cli_cancel(struct wh_cli *cli)
{
	return ask_about(cli, "is being undone");
}

int wh_cli_postcopy(struct wh_cli *cli)
{
	return ask_about(cli, "goes into post-copy");
}

int wh_cli_recover(struct wh_cli *cli)
{
	return ask_about(cli, "is being resumed");
}

int wh_cli_set_bandwidth(struct wh_cli *cli)
{
	wh_cleanup(wh_json_unrefp) json_t *answer = NULL;
	const char *rate = wh_cli_operand(cli, 1);
	struct wh_error err;

	if (wh_cli_ask(cli,
	               json_pack("{s:s, s:s, s:s}", "command", "set-bandwidth", "migration",
	                         wh_cli_operand(cli, 0), "rate", rate),
	               &answer, &err) < 0)
		return wh_cli_fail(&err);
	(void)printf("limit is now %s\n", rate);
	return WH_EXIT_DONE;
}

int wh_cli_delete(struct wh_cli *cli)
{
	wh_cleanup(wh_json_unrefp) json_t *answer = NULL;
	const char *kind = wh_cli_operand(cli, 0);
	const char *name = wh_cli_operand(cli, 1);
	struct wh_error err;

	if (wh_cli_ask(cli,
	               json_pack("{s:s, s:s, s:s*, s:s}", "command", "delete", "kind", kind,
	                         "namespace", wh_cli_option(cli, "namespace"), "name", name),
	               &answer, &err) < 0)
		return wh_cli_fail(&err);
	(void)printf("%s %s deleted\n", kind, name);
	return WH_EXIT_DONE;
}

int wh_cli_undrain(struct wh_cli *cli)
{
	wh_cleanup(wh_json_unrefp) json_t *answer = NULL;
	const char *node = wh_cli_operand(cli, 0);
	struct wh_error err;

	if (wh_cli_ask(cli, json_pack("{s:s, s:s}", "command", "undrain", "node", node), &answer,
	               &err) < 0)
		return wh_cli_fail(&err);
	(void)printf("guests may come to node %s again\n", node);
	return WH_EXIT_DONE;
}
