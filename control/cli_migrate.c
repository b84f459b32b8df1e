/* SPDX-License-Identifier: Apache-2.0 */

/*
 * wherry migrate - ask for it, then look at it until it is over.
 *
 * Ending wherry (Ctrl-C) does not end the migration: that is what "wherry cancel" is for.
 */

#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli.h"

#include "wherry/clock.h"

/* On a terminal the line is redrawn often enough to look alive. */
#define LOOK_NS ((long)(200 * WH_NSEC_PER_MSEC))

/* In a log, once a second. */
#define LOOKS_PER_LINE 5u

static int exit_code(const struct wh_view *v)
{
	if (!strcmp(v->outcome, "cancelled"))
		return WH_EXIT_CANCELLED;
	if (!strcmp(v->outcome, "deadline"))
		return WH_EXIT_DEADLINE;
	return !strcmp(v->state, "Succeeded") ? WH_EXIT_DONE : WH_EXIT_FAILED;
}

static void show(const struct wh_view *v, unsigned look)
{
	char line[WH_PROGRESS_MAX];

	wh_progress_line(line, v);
	if (isatty(STDOUT_FILENO) == 1)
		(void)printf("\r%s\033[K", line);
	else if (look % LOOKS_PER_LINE == 0)
		(void)printf("%s\n", line);
	(void)fflush(stdout);
}

static int follow(struct wh_cli *cli, const char *migration)
{
	const struct timespec pause = { .tv_nsec = LOOK_NS };
	struct wh_error err;
	struct wh_view v;

	/* This ends: wherryd ends every migration, or is gone. */
	for (unsigned look = 0;; look++) {
		if (wh_cli_view(cli, migration, &v, &err) < 0)
			return wh_cli_fail(&err);
		if (v.over)
			break;
		show(&v, look);
		(void)nanosleep(&pause, NULL); /* shorter is as good */
	}
	if (isatty(STDOUT_FILENO) == 1)
		(void)printf("\r\033[K");
	if (!strcmp(v.state, "Succeeded"))
		wh_progress_summary(stdout, &v);
	else
		(void)fprintf(stderr, "wherry: migration %s of VM %s: %s: %s\n", v.migration, v.vm,
		              v.state, v.reason);
	return exit_code(&v);
}

int wh_cli_migrate(struct wh_cli *cli)
{
	static const struct option options[] = {
		{ "to", required_argument, NULL, 't' },
		{ "wait", no_argument, NULL, 'w' },
		{ "detach", no_argument, NULL, 'd' },
		{ NULL, 0, NULL, 0 },
	};
	wh_cleanup(wh_json_unrefp) json_t *answer = NULL;
	const char *to = NULL;
	bool detach = false;
	struct wh_error err;
	int c;

	while ((c = getopt_long(cli->argc, cli->argv, "", options, NULL)) != -1) { /* NOLINT */
		if (c == 't')
			to = optarg;
		else if (c == 'd' || c == 'w')
			detach = c == 'd';
		else
			return wh_cli_usage(cli);
	}
	if (!to || optind + 1 != cli->argc)
		return wh_cli_usage(cli);
	if (wh_cli_ask(cli,
	               json_pack("{s:s, s:s, s:s}", "command", "migrate", "vm", cli->argv[optind],
	                         "to", to),
	               &answer, &err) < 0)
		return wh_cli_fail(&err);
	if (!detach)
		return follow(cli, wh_json_text(answer, "migration"));
	(void)printf("%s\n", wh_json_text(answer, "migration"));
	return WH_EXIT_DONE;
}
