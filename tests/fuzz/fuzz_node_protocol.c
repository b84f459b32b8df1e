/* SPDX-License-Identifier: Apache-2.0 */

/*
 * One line of another node under libFuzzer. What is let in is within bounds, and says the same
 * once it was written and read again.
 */

#include <stdlib.h>
#include <string.h>

#include "node_protocol.h"

#include "wherry/assert.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct wh_node_message *msg)
{
	wh_assert(msg->type < WH_NODE_TYPES);
	wh_assert(msg->stream < WH_STREAMS);
	wh_assert(msg->ram_count <= WH_REGIONS_MAX);
	wh_assert(msg->disk_count <= WH_DISKS_MAX);
	wh_assert(!*msg->migration || wh_node_is_name(msg->migration));
	wh_assert(!*msg->vm || wh_node_is_name(msg->vm));
	wh_assert(!*msg->directory || *msg->directory == '/');
	for (uint32_t i = 0; i < msg->disk_count; i++) {
		wh_assert(wh_node_is_name(msg->disks[i].target));
		wh_assert(!strstr(msg->disks[i].path, "/../"));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct wh_node_message msg;
	struct wh_node_message back;
	struct wh_error err;
	char *line;
	char *again;

	if (wh_node_parse(&msg, (const char *)data, size, &err) < 0)
		return 0;
	check(&msg);
	line = wh_node_format(&msg);
	wh_assert(wh_node_parse(&back, line, strlen(line), &err) == 0);
	again = wh_node_format(&back);
	wh_assert(!strcmp(line, again));
	free(line);
	free(again);
	return 0;
}
