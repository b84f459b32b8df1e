/* SPDX-License-Identifier: Apache-2.0 */

/* wherry events - JSON lines, which tools like jq take one by one. */

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "cli.h"
#include "files.h"

#include "wherry/clock.h"

#define LOOK_NS ((long)(500 * WH_NSEC_PER_MSEC))

/* Print what came after @after, and let it be the last one. Return: 0 or -errno. */
static int show(struct wh_cli *cli, uint64_t *after, struct wh_error *err)
{
	wh_cleanup(wh_json_unrefp) json_t *answer = NULL;
	const json_t *events;
	uint64_t last = 0;
	int r = wh_cli_ask(
		cli, json_pack("{s:s, s:o}", "command", "events", "after", wh_json_number(*after)),
		&answer, err);

	if (r == 0)
		r = wh_json_u64(answer, "last", INT64_MAX, &last, err);
	if (r < 0)
		return r;
	if (json_integer_value(json_object_get(answer, "missed")) > 0)
		(void)fprintf(stderr, "wherry: %lld events before these are no longer kept\n",
		              (long long)json_integer_value(json_object_get(answer, "missed")));
	events = json_object_get(answer, "events");
	for (size_t i = 0; i < json_array_size(events); i++) {
		wh_cleanup(wh_freep) char *line = wh_json_line(json_array_get(events, i));

		(void)printf("%s\n", line ? line : "null");
	}
	(void)fflush(stdout);
	*after = last; /* of a wherryd that counts anew it is lower */
	return 0;
}

int wh_cli_events(struct wh_cli *cli)
{
	const struct timespec pause = { .tv_nsec = LOOK_NS };
	struct wh_error err;
	uint64_t after = 0;

	if (show(cli, &after, &err) < 0)
		return wh_cli_fail(&err);
	/* Following ends with Ctrl-C, with who reads it, or with wherryd. */
	while (wh_cli_option(cli, "follow")) {
		(void)nanosleep(&pause, NULL); /* shorter is as good */
		if (show(cli, &after, &err) < 0)
			return wh_cli_fail(&err);
	}
	return WH_EXIT_DONE;
}
