/* SPDX-License-Identifier: Apache-2.0 */

/*
 * wherry migrate - ask for it, then look at it until it is over.
 *
 * Ending wherry (Ctrl-C) does not end the migration: that is what "wherry cancel" is for.
 */

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "cli.h"

#include "wherry/clock.h"

/* So soon the end is noticed. */
#define LOOK_NS ((long)(20 * WH_NSEC_PER_MSEC))

/* On a terminal the line is redrawn often enough to look alive; in a log there is one a second. */
#define LOOKS_PER_DRAWING 10u
#define LOOKS_PER_LINE    50u

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

	if (look % (wh_cli_on_terminal() ? LOOKS_PER_DRAWING : LOOKS_PER_LINE))
		return;
	wh_progress_line(line, v);
	wh_cli_redraw(line);
}

/* wherry ends here, the migration does not. */
static int lost_sight(const char *migration, const struct wh_error *err)
{
	wh_cli_redraw_end();
	(void)wh_cli_fail(err);
	(void)fprintf(stderr,
	              "wherry: nobody looks on any more, but the migration goes on; "
	              "'wherry status %s' tells how\n",
	              migration);
	return WH_EXIT_FAILED;
}

static int follow(struct wh_cli *cli, const char *migration)
{
	const struct timespec pause = { .tv_nsec = LOOK_NS };
	struct wh_error err;
	struct wh_view v;

	/* This ends: wherryd ends every migration, or is gone. */
	for (unsigned look = 0;; look++) {
		if (wh_cli_view(cli, migration, &v, &err) < 0)
			return lost_sight(migration, &err);
		if (v.over)
			break;
		show(&v, look);
		(void)nanosleep(&pause, NULL); /* shorter is as good */
	}
	wh_cli_redraw_end();
	if (!strcmp(v.state, "Succeeded"))
		wh_progress_summary(stdout, &v);
	else
		(void)fprintf(stderr, "wherry: migration %s of VM %s: %s: %s\n", v.migration, v.vm,
		              v.state, v.reason);
	return exit_code(&v);
}

int wh_cli_migrate(struct wh_cli *cli)
{
	wh_cleanup(wh_json_unrefp) json_t *answer = NULL;
	const bool detach = wh_cli_option(cli, "detach");
	struct wh_error err;

	if (detach && wh_cli_option(cli, "wait"))
		return wh_cli_usage(cli, "either --wait or --detach");
	if (wh_cli_ask(cli,
	               json_pack("{s:s, s:s, s:s*, s:s*, s:s*, s:s*, s:s*}", "command", "migrate",
	                         "vm", wh_cli_operand(cli, 0), "namespace",
	                         wh_cli_option(cli, "namespace"), "to", wh_cli_option(cli, "to"),
	                         "priority", wh_cli_option(cli, "priority"), "engine",
	                         wh_cli_option(cli, "engine"), "transport",
	                         wh_cli_option(cli, "transport")),
	               &answer, &err) < 0)
		return wh_cli_fail(&err);
	if (!detach)
		return follow(cli, wh_json_text(answer, "migration"));
	(void)printf("%s\n", wh_json_text(answer, "migration"));
	return WH_EXIT_DONE;
}
