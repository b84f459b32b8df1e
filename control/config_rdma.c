/* SPDX-License-Identifier: Apache-2.0 */

#include "config_rdma.h"

#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <string.h>

#include "value.h"
#include "yaml.h"

#include "wherry/assert.h"
#include "wherry/limits.h"

#define KEYS(table) (table), sizeof(table) / sizeof((table)[0])

#define MIB_SHIFT 20

const struct wh_rdma_options wh_rdma_defaults = {
	.pairs = 4,
	.chunk_bytes = 32ull << MIB_SHIFT,
	.pinned_bytes_max = 4096ull << MIB_SHIFT,
};

static const char *const kinds[WH_TRANSPORT_KINDS] = {
	[WH_TRANSPORT_TCP] = "tcp",
	[WH_TRANSPORT_AUTO] = "auto",
	[WH_TRANSPORT_RDMA] = "rdma",
};

const char *wh_transport_kind_name(enum wh_transport_kind kind)
{
	wh_assert(kind < WH_TRANSPORT_KINDS);
	return kinds[kind];
}

int wh_transport_kind_parse(enum wh_transport_kind *ret, const char *name)
{
	for (enum wh_transport_kind k = 0; k < WH_TRANSPORT_KINDS; k++) {
		if (!strcmp(name, kinds[k])) {
			*ret = k;
			return 0;
		}
	}
	return -EINVAL;
}

int wh_transport_kind_read(enum wh_transport_kind *ret, const struct wh_yaml_node *node,
                           struct wh_error *err)
{
	unsigned which = 0;
	int r = wh_value_word(
		&which, node,
		&(struct wh_value_words){ KEYS(kinds), "transport", "auto, tcp or rdma" }, err);

	if (r == 0)
		*ret = (enum wh_transport_kind)which;
	return r;
}

static int read_pairs(void *field, const struct wh_yaml_node *node, struct wh_error *err)
{
	uint64_t value;
	int r = wh_value_integer(&value, node, 1, WH_RDMA_PAIRS_MAX, err);

	if (r == 0)
		*(uint32_t *)field = (uint32_t)value;
	return r;
}

static int read_chunk(void *field, const struct wh_yaml_node *node, struct wh_error *err)
{
	uint64_t mib;
	int r = wh_value_integer(&mib, node, WH_RDMA_CHUNK_BYTES_MIN >> MIB_SHIFT,
	                         WH_RDMA_CHUNK_BYTES_MAX >> MIB_SHIFT, err);

	if (r < 0)
		return r;
	if (mib & (mib - 1))
		return wh_yaml_fail(err, node, "%" PRIu64 " is no power of two; write 16, 32 or 64",
		                    mib);
	*(uint64_t *)field = mib << MIB_SHIFT;
	return 0;
}

static int read_pinned(void *field, const struct wh_yaml_node *node, struct wh_error *err)
{
	uint64_t mib;
	int r = wh_value_integer(&mib, node, WH_RDMA_PINNED_BYTES_MIN >> MIB_SHIFT,
	                         WH_RDMA_PINNED_BYTES_MAX >> MIB_SHIFT, err);

	if (r == 0)
		*(uint64_t *)field = mib << MIB_SHIFT;
	return r;
}

static int read_odp(void *field, const struct wh_yaml_node *node, struct wh_error *err)
{
	return wh_value_boolean(field, node, err);
}

static const struct wh_value_key rdma_keys[] = {
	{ "pairs", read_pairs, offsetof(struct wh_rdma_options, pairs), false },
	{ "chunkMiB", read_chunk, offsetof(struct wh_rdma_options, chunk_bytes), false },
	{ "pinnedMiB", read_pinned, offsetof(struct wh_rdma_options, pinned_bytes_max), false },
	{ "odp", read_odp, offsetof(struct wh_rdma_options, odp), false },
};

int wh_rdma_config_read(struct wh_rdma_options *ret, const struct wh_yaml_node *node,
                        struct wh_error *err)
{
	struct wh_rdma_options rdma = wh_rdma_defaults;
	const struct wh_yaml_node *where;
	int r = wh_value_object(&rdma, node, KEYS(rdma_keys), err);

	if (r < 0)
		return r;
	if (rdma.pinned_bytes_max < 2 * rdma.chunk_bytes) {
		where = wh_yaml_get(node, "pinnedMiB");
		return wh_yaml_fail(err, where ? where : node,
		                    "two chunks of %" PRIu64 " MiB are more than the %" PRIu64
		                    " MiB that may be pinned; raise pinnedMiB or lower chunkMiB",
		                    rdma.chunk_bytes >> MIB_SHIFT,
		                    rdma.pinned_bytes_max >> MIB_SHIFT);
	}
	*ret = rdma;
	return 0;
}
