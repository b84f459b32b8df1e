/* SPDX-License-Identifier: Apache-2.0 */

#include "loop_ends.h"

#include "wherry/assert.h"

struct wh_transport *open_loop_end(bool passive)
{
	static const uint8_t token[WH_TOKEN_BYTES];
	struct wh_transport *link = NULL;
	const struct wh_link_config cfg = {
		.uri = "loop://sim",
		.passive = passive,
		.queue_depth = 8,
		.connections = 1,
		.interface = "",
		.local = "",
		.token = token,
	};

	wh_assert(wh_transport_open(&link, &cfg, NULL) == 0);
	return link;
}

void lend_to_loop(struct wh_transport *link, const struct wh_ram *ram)
{
	for (uint16_t i = 0; i < ram->count; i++) {
		const struct wh_memory memory = { .addr = ram->regions[i].addr,
			                          .fd = -1,
			                          .bytes = ram->regions[i].bytes };

		wh_assert(wh_transport_map(link, i, &memory) == 0);
	}
}
