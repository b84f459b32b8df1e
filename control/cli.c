/* SPDX-License-Identifier: Apache-2.0 */

/*
 * wherry - the operator's command. The table says what there is; each command is in a file
 * cli_*.c of its own or, if it is only a request, here.
 */

#include "cli.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "files.h"

#include "wherry/fdpass.h"

#define DEFAULT_SOCKET "/run/wherry/wherryd.sock"

/* A manifest on standard input: the same bound as for one in a file, and then some. */
#define MANIFEST_MAX (4u << 20)

static const struct command {
	const char *name;
	const char *arguments;
	const char *help;
	int (*run)(struct wh_cli *cli);
} commands[] = {
	{ "apply", "-f FILE|-", "make a HyperConverged manifest the settings in force",
	  wh_cli_apply },
	{ "get", "hyperconverged [-o yaml|json|table]", "show the settings in force", wh_cli_get },
	{ "migrate", "VM --to NODE [--detach]", "move a VM, and wait for the end", wh_cli_migrate },
	{ "cancel", "MIGRATION|VM", "undo a migration; the guest goes on where it is",
	  wh_cli_cancel },
	{ "postcopy", "MIGRATION|VM", "let the guest run at its target now, and memory follow",
	  wh_cli_postcopy },
	{ "recover", "MIGRATION|VM", "try at once to resume post-copy that broke off",
	  wh_cli_recover },
	{ "set-bandwidth", "MIGRATION|VM RATE", "change the limit of a running migration",
	  wh_cli_set_bandwidth },
	{ "status", "[MIGRATION|VM] [--json] [--watch]", "show migrations", wh_cli_status },
};

#define COMMANDS (sizeof(commands) / sizeof(*commands))

static const struct command *find(const char *name)
{
	for (size_t i = 0; i < COMMANDS; i++)
		if (!strcmp(commands[i].name, name))
			return &commands[i];
	return NULL;
}

static void help(FILE *out)
{
	(void)fputs("usage: wherry [--socket PATH] COMMAND\n\n", out);
	for (size_t i = 0; i < COMMANDS; i++)
		(void)fprintf(out, "  wherry %s %s\n        %s\n", commands[i].name,
		              commands[i].arguments, commands[i].help);
	(void)fputs("\nexit codes: 0 done, 1 failed, 2 usage, 3 cancelled, 4 deadline\n", out);
}

int wh_cli_usage(const struct wh_cli *cli)
{
	const struct command *command = find(cli->argv[0]);

	if (command)
		(void)fprintf(stderr, "usage: wherry %s %s\n", command->name, command->arguments);
	return WH_EXIT_USAGE;
}

static int read_manifest(const char *path, char **ret, size_t *len, struct wh_error *err)
{
	return wh_file_read(strcmp(path, "-") != 0 ? path : "/dev/stdin", MANIFEST_MAX, ret, len,
	                    err);
}

int wh_cli_apply(struct wh_cli *cli)
{
	wh_cleanup(wh_json_unrefp) json_t *answer = NULL;
	wh_cleanup(wh_freep) char *text = NULL;
	const char *path = NULL;
	json_t *request;
	struct wh_error err;
	size_t len;
	int c;

	while ((c = getopt(cli->argc, cli->argv, "f:")) != -1) { /* NOLINT: one thread */
		if (c != 'f')
			return wh_cli_usage(cli);
		path = optarg;
	}
	if (!path || optind != cli->argc)
		return wh_cli_usage(cli);
	if (read_manifest(path, &text, &len, &err) < 0)
		return wh_cli_fail(&err);
	request = json_pack("{s:s, s:s, s:s%}", "command", "apply", "name", path, "manifest", text,
	                    len);
	if (!request) {
		(void)wh_fail(&err, 0, "%s is not UTF-8 text", path);
		return wh_cli_fail(&err);
	}
	if (wh_cli_ask(cli, request, &answer, &err) < 0)
		return wh_cli_fail(&err);
	(void)printf("applied; it holds for migrations that start from now on\n");
	return WH_EXIT_DONE;
}

/* A command that only has a migration, as its name in the API is; then say what happens to it. */
static int ask_about(struct wh_cli *cli, const char *happens)
{
	wh_cleanup(wh_json_unrefp) json_t *answer = NULL;
	struct wh_error err;

	if (cli->argc != 2)
		return wh_cli_usage(cli);
	if (wh_cli_ask(cli,
	               json_pack("{s:s, s:s}", "command", cli->argv[0], "migration", cli->argv[1]),
	               &answer, &err) < 0)
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
	struct wh_error err;

	if (cli->argc != 3)
		return wh_cli_usage(cli);
	if (wh_cli_ask(cli,
	               json_pack("{s:s, s:s, s:s}", "command", "set-bandwidth", "migration",
	                         cli->argv[1], "rate", cli->argv[2]),
	               &answer, &err) < 0)
		return wh_cli_fail(&err);
	(void)printf("limit is now %s\n", cli->argv[2]);
	return WH_EXIT_DONE;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "socket", required_argument, NULL, 's' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	struct wh_cli cli = { .socket = DEFAULT_SOCKET, .fd = -1 };
	const struct command *command;
	int code;
	int c;

	/* '+': options after the command are the command's. */
	while ((c = getopt_long(argc, argv, "+", options, NULL)) != -1) { /* NOLINT: one thread */
		if (c == 's') {
			cli.socket = optarg;
		} else {
			help(c == 'h' ? stdout : stderr);
			return c == 'h' ? WH_EXIT_DONE : WH_EXIT_USAGE;
		}
	}
	command = optind < argc ? find(argv[optind]) : NULL;
	if (!command) {
		help(stderr);
		return WH_EXIT_USAGE;
	}
	cli.argc = argc - optind;
	cli.argv = argv + optind;
	optind = 0; /* for the command, from the start */
	code = command->run(&cli);
	wh_closep(&cli.fd);
	return code;
}
