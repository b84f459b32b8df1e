/* SPDX-License-Identifier: Apache-2.0 */

/*
 * wherry - the operator's command. From the table of commands: help, and what a command line says.
 * Each command is in a file cli_*.c.
 */

#include "cli.h"

#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wherry/assert.h"
#include "wherry/fdpass.h"

#define DEFAULT_SOCKET "/run/wherry/wherryd.sock"

/* What getopt_long() returns for option i of the table; above all letters. */
#define OPTION_BASE 256

#define HELP_WIDTH 30

/* A synopsis is broken so that its lines, "usage: " included, fit 100 columns. */
#define SYNOPSIS_WIDTH  92
#define SYNOPSIS_INDENT 13

static const struct wh_cli_command *find(const char *name)
{
	for (const struct wh_cli_command *c = wh_cli_commands; c->name; c++)
		if (!strcmp(c->name, name))
			return c;
	return NULL;
}

/* Behind "usage: ". */
static void synopsis(FILE *out, const struct wh_cli_command *command)
{
	int column = fprintf(out, "wherry %s%s%s", command->name, *command->operands ? " " : "",
	                     command->operands);

	for (const struct wh_cli_option *o = command->options; o->name; o++) {
		char name[HELP_WIDTH];
		char text[2 * HELP_WIDTH];

		if (o->letter)
			(void)snprintf(name, sizeof(name), "-%c", o->letter);
		else
			(void)snprintf(name, sizeof(name), "--%s", o->name);
		(void)snprintf(text, sizeof(text), "%s%s%s%s%s", o->required ? "" : "[", name,
		               o->argument ? " " : "", o->argument ? o->argument : "",
		               o->required ? "" : "]");
		if (column + (int)strlen(text) > SYNOPSIS_WIDTH)
			column = fprintf(out, "\n%*s", SYNOPSIS_INDENT, "") - 1;
		column += fprintf(out, " %s", text);
	}
	(void)fputc('\n', out);
}

static void help_option(const struct wh_cli_option *o)
{
	char text[80];

	(void)snprintf(text, sizeof(text), "%c%c%s--%s%s%s", o->letter ? '-' : ' ',
	               o->letter ? o->letter : ' ', o->letter ? ", " : "  ", o->name,
	               o->argument ? " " : "", o->argument ? o->argument : "");
	(void)printf("  %-*s  %s\n", HELP_WIDTH, text, o->help);
}

static const struct wh_cli_option help_of_command = { "help", NULL, 'h', false, "show this" };

static int help_command(const struct wh_cli_command *command)
{
	(void)printf("usage: ");
	synopsis(stdout, command);
	(void)printf("\n%s\n\n", command->help);
	for (const struct wh_cli_option *o = command->options; o->name; o++)
		help_option(o);
	help_option(&help_of_command);
	return WH_EXIT_DONE;
}

static void help(FILE *out)
{
	(void)fputs("usage: wherry [--socket PATH] COMMAND ...\n\n", out);
	for (const struct wh_cli_command *c = wh_cli_commands; c->name; c++)
		(void)fprintf(out, "  %-14s %s\n", c->name, c->help);
	(void)fputs("\n  --socket PATH  wherryd's socket [" DEFAULT_SOCKET "]\n"
	            "\n'wherry COMMAND --help' and the manual page wherry(1) have the rest.\n"
	            "exit codes: 0 done, 1 failed, 2 usage, 3 cancelled, 4 deadline\n",
	            out);
}

int wh_cli_usage(const struct wh_cli *cli, const char *fmt, ...)
{
	va_list args;

	(void)fprintf(stderr, "wherry %s: ", cli->command->name);
	va_start(args, fmt);
	(void)vfprintf(stderr, fmt, args);
	va_end(args);
	(void)fputs("\nusage: ", stderr);
	synopsis(stderr, cli->command);
	return WH_EXIT_USAGE;
}

const char *wh_cli_option(const struct wh_cli *cli, const char *name)
{
	for (size_t i = cli->given_count; i > 0; i--)
		if (!strcmp(cli->given[i - 1].option->name, name))
			return cli->given[i - 1].value;
	return NULL;
}

const char *wh_cli_operand(const struct wh_cli *cli, int i)
{
	return i < cli->operand_count ? cli->operands[i] : NULL;
}

/* The table's options, for getopt_long(). Letters lead to the same values. */
struct options {
	struct option longs[WH_CLI_OPTIONS_MAX + 2];
	char letters[2 * WH_CLI_OPTIONS_MAX + 4];
};

static void make_options(struct options *ret, const struct wh_cli_command *command)
{
	char *letter = ret->letters;
	size_t i = 0;

	*letter++ = ':'; /* a missing argument is told apart */
	*letter++ = 'h';
	for (; command->options[i].name; i++) {
		const struct wh_cli_option *o = &command->options[i];

		wh_assert(i + 1 < WH_CLI_OPTIONS_MAX);
		ret->longs[i] = (struct option){
			.name = o->name,
			.has_arg = o->argument ? required_argument : no_argument,
			.val = OPTION_BASE + (int)i,
		};
		if (o->letter)
			*letter++ = o->letter;
		if (o->letter && o->argument)
			*letter++ = ':';
	}
	*letter = '\0';
	ret->longs[i] = (struct option){ .name = "help", .val = 'h' };
	ret->longs[i + 1] = (struct option){ 0 };
}

static const struct wh_cli_option *option_of(const struct wh_cli_command *command, int value)
{
	for (size_t i = 0; command->options[i].name; i++)
		if (value == OPTION_BASE + (int)i || value == command->options[i].letter)
			return &command->options[i];
	return NULL;
}

/* getopt_long() has refused something. */
static int refuse(const struct wh_cli *cli, int answer, char **argv)
{
	const struct wh_cli_option *option = option_of(cli->command, optopt);

	if (answer == ':')
		return wh_cli_usage(cli, "%s needs %s", argv[optind - 1],
		                    option ? option->argument : "a value");
	if (optopt >= OPTION_BASE && option)
		return wh_cli_usage(cli, "--%s takes no value", option->name);
	if (optopt != 0 && optopt < OPTION_BASE)
		return wh_cli_usage(cli, "there is no option -%c", optopt);
	return wh_cli_usage(cli, "there is no option %s", argv[optind - 1]);
}

/* What must be there besides options that are known. Return: WH_EXIT_DONE or WH_EXIT_USAGE. */
static int check(const struct wh_cli *cli)
{
	const struct wh_cli_command *command = cli->command;

	for (const struct wh_cli_option *o = command->options; o->name; o++)
		if (o->required && !wh_cli_option(cli, o->name))
			return wh_cli_usage(cli, "-%c %s is missing", o->letter, o->argument);
	if (cli->operand_count < command->operands_min)
		return wh_cli_usage(cli, "it needs %s", command->operands);
	if (cli->operand_count > command->operands_max)
		return wh_cli_usage(cli, "'%s' is too much", cli->operands[command->operands_max]);
	return WH_EXIT_DONE;
}

/* Read the rest of the command line into @cli, and run the command. */
static int run(struct wh_cli *cli, int argc, char **argv)
{
	const struct wh_cli_option *option;
	struct options options;
	int code;
	int c;

	make_options(&options, cli->command);
	opterr = 0;
	optind = 0; /* getopt_long() begins again */
	/* NOLINTNEXTLINE(concurrency-mt-unsafe): one thread */
	while ((c = getopt_long(argc, argv, options.letters, options.longs, NULL)) != -1) {
		if (c == 'h')
			return help_command(cli->command);
		if (c == '?' || c == ':')
			return refuse(cli, c, argv);
		option = option_of(cli->command, c);
		wh_assert(option);
		cli->given[cli->given_count++] = (struct wh_cli_given){
			.option = option,
			.value = optarg ? optarg : "",
		};
	}
	cli->operands = argv + optind;
	cli->operand_count = argc - optind;
	code = check(cli);
	return code != WH_EXIT_DONE ? code : cli->command->run(cli);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "socket", required_argument, NULL, 's' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	struct wh_cli cli = { .socket = DEFAULT_SOCKET, .fd = -1 };
	int code;
	int c;

	/* '+': options after the command are the command's. */
	while ((c = getopt_long(argc, argv, "+h", options, NULL)) != -1) { /* NOLINT: one thread */
		if (c == 's') {
			cli.socket = optarg;
		} else {
			help(c == 'h' ? stdout : stderr);
			return c == 'h' ? WH_EXIT_DONE : WH_EXIT_USAGE;
		}
	}
	cli.command = optind < argc ? find(argv[optind]) : NULL;
	if (!cli.command) {
		if (optind < argc)
			(void)fprintf(stderr,
			              "wherry: there is no command '%s'; 'wherry --help' lists "
			              "all\n",
			              argv[optind]);
		else
			help(stderr);
		return WH_EXIT_USAGE;
	}
	/* No switch has a letter, so several cannot share a word: there are fewer than words. */
	cli.given = calloc((size_t)argc + 1, sizeof(*cli.given));
	wh_assert(cli.given);
	code = run(&cli, argc - optind, argv + optind);
	wh_closep(&cli.fd);
	free(cli.given);
	return code;
}
