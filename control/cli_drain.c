/* SPDX-License-Identifier: Apache-2.0 */

/*
 * wherry drain - ask for it and, with --wait, look on until nothing of the node is needed: no guest
 * runs there, and no migration has an end there. In post-copy a guest has left while its memory has
 * not.
 *
 * Ending wherry (Ctrl-C) does not end the drain: that is what "wherry undrain" is for.
 */

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "cli.h"

struct left {
	size_t guests;
	size_t moving;
	bool drained;
	bool alive;
};

static int look_at_node(struct wh_cli *cli, const char *node, struct left *left,
                        struct wh_error *err)
{
	wh_cleanup(wh_json_unrefp) json_t *answer = NULL;
	const json_t *vms;
	const json_t *it;
	int r = wh_cli_ask(
		cli, json_pack("{s:s, s:s, s:s}", "command", "get", "kind", "nodes", "name", node),
		&answer, err);

	if (r < 0)
		return r;
	it = json_array_get(json_object_get(answer, "nodes"), 0);
	if (!it)
		return wh_fail(err, -ENOENT, "there is no node '%s'", node);
	left->drained = json_is_true(json_object_get(it, "drained"));
	left->alive = json_is_true(json_object_get(it, "alive"));
	vms = json_object_get(it, "vms");
	for (size_t i = 0; i < json_array_size(vms); i++)
		left->guests += json_is_true(json_object_get(json_array_get(vms, i), "here"));
	return 0;
}

static int look_at_migrations(struct wh_cli *cli, const char *node, struct left *left,
                              struct wh_error *err)
{
	wh_cleanup(wh_json_unrefp) json_t *answer = NULL;
	const json_t *list;
	int r = wh_cli_ask(cli, json_pack("{s:s}", "command", "status"), &answer, err);

	list = json_object_get(answer, "migrations");
	for (size_t i = 0; r == 0 && i < json_array_size(list); i++) {
		const json_t *m = json_array_get(list, i);

		if (!json_is_true(json_object_get(m, "over")) &&
		    (!strcmp(wh_json_text(m, "source"), node) ||
		     !strcmp(wh_json_text(m, "target"), node)))
			left->moving++;
	}
	return r;
}

static int look(struct wh_cli *cli, const char *node, struct left *ret, struct wh_error *err)
{
	struct left left = { 0 };
	int r = look_at_node(cli, node, &left, err);

	if (r == 0)
		r = look_at_migrations(cli, node, &left, err);
	if (r == 0)
		*ret = left;
	return r;
}

static void show(const char *node, const struct left *left, char shown[WH_PROGRESS_MAX])
{
	char line[WH_PROGRESS_MAX];

	(void)snprintf(line, sizeof(line), "node %s: %zu guest%s there, %zu migration%s to end%s",
	               node, left->guests, left->guests == 1 ? "" : "s", left->moving,
	               left->moving == 1 ? "" : "s", left->alive ? "" : "; the node is gone");
	if (strcmp(line, shown) != 0)
		wh_cli_redraw(line);
	memcpy(shown, line, sizeof(line));
}

static int wait_for(struct wh_cli *cli, const char *node)
{
	const struct timespec second = { .tv_sec = 1 };
	char shown[WH_PROGRESS_MAX] = "";
	struct left left = { 0 };
	struct wh_error err;

	/* This ends: guests leave, somebody undrains the node, or wherryd is gone. */
	for (;;) {
		if (look(cli, node, &left, &err) < 0)
			return wh_cli_fail(&err);
		if (left.guests == 0 && left.moving == 0)
			break;
		if (!left.drained) {
			(void)fprintf(stderr, "wherry: node %s has been undrained\n", node);
			return WH_EXIT_CANCELLED;
		}
		show(node, &left, shown);
		(void)nanosleep(&second, NULL); /* shorter is as good */
	}
	wh_cli_redraw_end();
	(void)printf("node %s is empty\n", node);
	return WH_EXIT_DONE;
}

int wh_cli_drain(struct wh_cli *cli)
{
	wh_cleanup(wh_json_unrefp) json_t *answer = NULL;
	const char *node = wh_cli_operand(cli, 0);
	struct wh_error err;

	if (wh_cli_ask(cli, json_pack("{s:s, s:s}", "command", "drain", "node", node), &answer,
	               &err) < 0)
		return wh_cli_fail(&err);
	if (wh_cli_option(cli, "wait"))
		return wait_for(cli, node);
	(void)printf("node %s is being drained\n", node);
	return WH_EXIT_DONE;
}
