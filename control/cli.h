/* SPDX-License-Identifier: Apache-2.0 */

/*
 * CLI - the parts of the program wherry.
 *
 * cli_commands.c has the table of all commands and options; help, the parser, the manual page and
 * the completion agree with it. A command gets what was given to it, asks wherryd, prints, and
 * returns an exit code.
 */

#ifndef WH_CLI_H
#define WH_CLI_H

#include <stddef.h>

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

#define WH_CLI_OPTIONS_MAX 8u

struct wh_cli;

struct wh_cli_option {
	const char *name;     /* without the dashes */
	const char *argument; /* "NODE"; NULL for a switch */
	char letter;          /* its short form, 0 for none */
	bool required;
	const char *help;
};

struct wh_cli_command {
	const char *name;
	const char *operands; /* "KIND [NAME]" */
	int operands_min;
	int operands_max;
	const char *help;
	int (*run)(struct wh_cli *cli);
	struct wh_cli_option options[WH_CLI_OPTIONS_MAX]; /* ended by one without a name */
};

/* cli_commands.c: ended by one without a name. Each has the option --help besides. */
extern const struct wh_cli_command wh_cli_commands[];

struct wh_cli_given {
	const struct wh_cli_option *option;
	const char *value; /* "" for a switch */
};

struct wh_cli {
	const char *socket;
	const struct wh_cli_command *command;
	char **operands;
	int operand_count;
	struct wh_cli_given *given; /* in the order of the command line */
	size_t given_count;
	int fd; /* connection to wherryd, -1 until the first request */
};

/* cli.c: what the command line says. */

/* The value given last to the option of that name ("" for a switch); NULL if it was not given. */
const char *wh_cli_option(const struct wh_cli *cli, const char *name);

/* NULL if there are not that many. */
const char *wh_cli_operand(const struct wh_cli *cli, int i);

/* Say what is wrong and how the command is used, and return WH_EXIT_USAGE. */
int wh_cli_usage(const struct wh_cli *cli, const char *fmt, ...) wh_printf(2, 3);

/* cli_client.c: wherryd. */

/*
 * Send @request (taken over) and wait for the answer, a new reference. Return: 0; -EREMOTEIO if
 * wherryd refuses, with its words; -EINVAL without a request, which is how json_pack() refuses
 * text that is not UTF-8; or another -errno.
 */
wh_must_check int wh_cli_ask(struct wh_cli *cli, json_t *request, json_t **ret,
                             struct wh_error *err);

/* Fetch one migration. Return: 0 or -errno. */
wh_must_check int wh_cli_view(struct wh_cli *cli, const char *migration, struct wh_view *ret,
                              struct wh_error *err);

/* cli_view.c: read one entry of "migrations". Return: 0 or -EPROTO. */
wh_must_check int wh_view_parse(struct wh_view *ret, const json_t *json, struct wh_error *err);

/* cli_output.c: how things are printed. */

/* Print the error and return WH_EXIT_FAILED. */
int wh_cli_fail(const struct wh_error *err);

/* Print it with indentation, and return WH_EXIT_DONE. */
int wh_cli_print_json(const json_t *json);

/* The same of an answer of wherryd's, without what is only for us. */
int wh_cli_print_answer(json_t *answer);

/*
 * Send @request, which is taken over, and have @print print the answer; or print it as JSON, if that was
 * asked for. Return: an exit status.
 */
int wh_cli_show(struct wh_cli *cli, json_t *request, void (*print)(const json_t *answer));

/* Labels as a table: an object of texts. */
void wh_cli_print_labels(const json_t *labels);

/* Settings as a table; without @from, "from" is whether a manifest has them. */
void wh_cli_print_settings(const json_t *settings);

/*
 * A line that changes while one looks at it: drawn over the last one on a terminal; in a log, it
 * is a line of its own, and the caller should not say it too often.
 */
void wh_cli_redraw(const char *line);
void wh_cli_redraw_end(void);
bool wh_cli_on_terminal(void);

/* Commands. */
int wh_cli_apply(struct wh_cli *cli);
int wh_cli_get(struct wh_cli *cli);
int wh_cli_edit(struct wh_cli *cli);
int wh_cli_delete(struct wh_cli *cli);
int wh_cli_settings(struct wh_cli *cli);
int wh_cli_explain(struct wh_cli *cli);
int wh_cli_check(struct wh_cli *cli);
int wh_cli_label(struct wh_cli *cli);
int wh_cli_migrate(struct wh_cli *cli);
int wh_cli_cancel(struct wh_cli *cli);
int wh_cli_postcopy(struct wh_cli *cli);
int wh_cli_recover(struct wh_cli *cli);
int wh_cli_set_bandwidth(struct wh_cli *cli);
int wh_cli_status(struct wh_cli *cli);
int wh_cli_top(struct wh_cli *cli);
int wh_cli_drain(struct wh_cli *cli);
int wh_cli_undrain(struct wh_cli *cli);
int wh_cli_events(struct wh_cli *cli);

#endif
