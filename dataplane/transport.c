/* SPDX-License-Identifier: Apache-2.0 */

#include "wherry/transport.h"

#include <errno.h>
#include <string.h>

#include "transport_ops.h"

#include "wherry/assert.h"
#include "wherry/limits.h"

static const struct wh_transport_ops *find_ops(const char *uri)
{
	for (size_t i = 0; wh_transports[i]; i++) {
		size_t n = strlen(wh_transports[i]->scheme);

		if (!strncmp(uri, wh_transports[i]->scheme, n) && !strncmp(uri + n, "://", 3))
			return wh_transports[i];
	}
	return NULL;
}

int wh_transport_open(struct wh_transport **ret, const struct wh_link_config *cfg,
                      struct wh_error *err)
{
	const struct wh_transport_ops *ops = find_ops(cfg->uri);
	int r;

	wh_assert(cfg->queue_depth >= 1 && cfg->queue_depth <= WH_QUEUE_DEPTH_MAX);
	if (!ops)
		return wh_fail(err, -EPROTONOSUPPORT, "no transport serves '%s'", cfg->uri);

	r = ops->open(ret, cfg, err);
	if (r < 0)
		return wh_context(err, r, "cannot open %s", cfg->uri);
	return 0;
}

struct wh_transport *wh_transport_close(struct wh_transport *link)
{
	return link ? link->ops->close(link) : NULL;
}

int wh_transport_map(struct wh_transport *link, uint16_t region, const struct wh_memory *memory)
{
	wh_assert(region < WH_REGIONS_MAX);
	return link->ops->map(link, region, memory);
}

void wh_transport_unmap(struct wh_transport *link, uint16_t region)
{
	wh_assert(region < WH_REGIONS_MAX);
	link->ops->unmap(link, region);
}

int wh_transport_write(struct wh_transport *link, const struct wh_write *w)
{
	wh_assert(w->len >= 1 && w->len <= WH_WRITE_LEN_MAX);
	return link->ops->write(link, w);
}

void wh_transport_forget(struct wh_transport *link, uint16_t region, uint64_t offset, uint64_t len)
{
	wh_assert(region < WH_REGIONS_MAX);
	link->ops->forget(link, region, offset, len);
}

bool wh_transport_pins(struct wh_transport *link, uint16_t region, uint64_t offset, uint64_t len)
{
	wh_assert(region < WH_REGIONS_MAX);
	return link->ops->pins && link->ops->pins(link, region, offset, len);
}

void wh_transport_discard(struct wh_transport *link, uint16_t region, uint64_t offset, uint64_t len)
{
	wh_assert(region < WH_REGIONS_MAX);
	if (link->ops->discard)
		link->ops->discard(link, region, offset, len);
}

int wh_transport_send(struct wh_transport *link, const void *data, uint32_t len)
{
	wh_assert(len >= 1 && len <= WH_FRAME_LEN_MAX);
	return link->ops->send(link, data, len);
}

int wh_transport_poll(struct wh_transport *link, struct wh_event *events, uint32_t max,
                      uint64_t deadline_ns)
{
	wh_assert(max >= 1);
	return link->ops->poll(link, events, max, deadline_ns);
}

int wh_transport_urgent(const struct wh_transport *link)
{
	return link->ops->urgent(link);
}

struct wh_rdma_reads *wh_transport_reads(const struct wh_transport *link,
                                         const struct wh_rdma_reads_config *cfg)
{
	return link->ops->reads ? link->ops->reads(link, cfg) : NULL;
}

struct wh_rdma_lend *wh_transport_lend(const struct wh_transport *link,
                                       const struct wh_rdma_lend_config *cfg)
{
	return link->ops->lend ? link->ops->lend(link, cfg) : NULL;
}

struct wh_sent wh_transport_sent(const struct wh_transport *link)
{
	return link->ops->sent(link);
}
