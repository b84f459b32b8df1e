/* SPDX-License-Identifier: Apache-2.0 */

/*
 * CLI - the parts of the program wherry.
 *
 * A command gets what follows its name, asks wherryd, prints, and returns an exit code.
 */

#ifndef WH_CLI_H
#define WH_CLI_H

#include "json.h"
#include "progress.h"

#include "wherry/cleanup.h"
#include "wherry/error.h"

enum wh_exit {
	WH_EXIT_DONE = 0,
	WH_EXIT_FAILED = 1,
	WH_EXIT_USAGE = 2,
	WH_EXIT_CANCELLED = 3,
	WH_EXIT_DEADLINE = 4,
};

struct wh_cli {
	const char *socket;
	int argc; /* of the command: argv[0] is its name */
	char **argv;
	int fd; /* connection to wherryd, -1 until the first request */
};

/* cli_client.c: send @request (taken over) and wait for its answer, a new reference. */
wh_must_check int wh_cli_ask(struct wh_cli *cli, json_t *request, json_t **ret,
                             struct wh_error *err);

/* Fetch one migration. Return: 0 or -errno. */
wh_must_check int wh_cli_view(struct wh_cli *cli, const char *migration, struct wh_view *ret,
                              struct wh_error *err);

/* Read one entry of "migrations". Return: 0 or -EPROTO. */
wh_must_check int wh_view_parse(struct wh_view *ret, const json_t *json, struct wh_error *err);

/* Print the error and return WH_EXIT_FAILED. */
int wh_cli_fail(const struct wh_error *err);

/* Commands. */
int wh_cli_apply(struct wh_cli *cli);
int wh_cli_get(struct wh_cli *cli);
int wh_cli_migrate(struct wh_cli *cli);
int wh_cli_cancel(struct wh_cli *cli);
int wh_cli_postcopy(struct wh_cli *cli);
int wh_cli_recover(struct wh_cli *cli);
int wh_cli_set_bandwidth(struct wh_cli *cli);
int wh_cli_status(struct wh_cli *cli);

/* cli.c: print how @cli's command is used and return WH_EXIT_USAGE. */
int wh_cli_usage(const struct wh_cli *cli);

#endif
