/* SPDX-License-Identifier: Apache-2.0 */

#include "loop_ends.h"

#include "wherry/assert.h"

static const uint8_t token[WH_TOKEN_BYTES];

static const struct wh_link_config like = {
	.uri = "loop://sim",
	.queue_depth = 8,
	.connections = 1,
	.interface = "",
	.local = "",
	.token = token,
};

struct wh_transport *open_loop_end(bool passive)
{
	struct wh_transport *link = NULL;
	struct wh_link_config cfg = like;

	cfg.passive = passive;
	wh_assert(wh_transport_open(&link, &cfg, NULL) == 0);
	return link;
}

struct wh_rdma_options small_rdma_options(uint32_t pairs, bool little_room)
{
	const uint64_t chunk_bytes = UINT64_C(16) * WH_PAGE_SIZE;

	return (struct wh_rdma_options){
		.pairs = pairs,
		.chunk_bytes = chunk_bytes,
		.pinned_bytes_max = little_room ? 3 * chunk_bytes : UINT64_MAX,
	};
}

struct wh_transport *open_rdma_end(bool passive, const struct wh_rdma_options *options,
                                   void (*carries)(void *context, enum wh_transport_kind kind,
                                                   const char *why),
                                   void *context)
{
	struct wh_transport *link = NULL;
	struct wh_link_config cfg = like;

	cfg.uri = "rdma://sim";
	cfg.passive = passive;
	cfg.rdma = *options;
	cfg.carries = carries;
	cfg.context = context;
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
