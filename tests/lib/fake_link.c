/* SPDX-License-Identifier: Apache-2.0 */

#include "fake_link.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "transport_ops.h"

#include "wherry/assert.h"
#include "wherry/limits.h"

struct message {
	uint32_t len;
	uint8_t data[WH_FRAME_LEN_MAX];
};

struct fake_link {
	struct wh_transport base;
	fake_link_peer *peer;
	fake_link_leaves *leaves;
	void *context; /* of @leaves */
	struct wh_memory regions[WH_REGIONS_MAX];

	uint32_t depth;
	uint32_t max_in_flight;
	uint32_t fail_at; /* number of the write that fails */
	int fail_code;
	int broken;

	struct wh_write writes[FAKE_LOG_MAX];
	uint32_t write_count; /* posted */
	uint32_t written;     /* of them, reported */

	struct wh_frame frames[FAKE_LOG_MAX];
	uint32_t frame_count;
	uint64_t forgotten_bytes;
	uint64_t discarded_bytes;
	uint16_t pinned_region;
	uint64_t pinned_offset, pinned_bytes;
	uint32_t refuse;
	bool refused; /* the caller waits for room */

	struct message inbox[FAKE_LOG_MAX];
	uint32_t inbox_count; /* delivered */
	uint32_t taken;       /* of them, handed out */
	bool hung_up;
};

struct fake_link *fake_link_new(uint32_t queue_depth)
{
	struct fake_link *link = calloc(1, sizeof(*link));

	wh_assert(link);
	link->depth = queue_depth;
	link->fail_at = UINT32_MAX;
	return link;
}

struct fake_link *fake_link_free(struct fake_link *link)
{
	free(link);
	return NULL;
}

struct wh_transport *fake_link_transport(struct fake_link *link)
{
	return &link->base;
}

void fake_link_set_peer(struct fake_link *link, fake_link_peer *peer)
{
	link->peer = peer;
}

void fake_link_set_leaves(struct fake_link *link, fake_link_leaves *leaves, void *context)
{
	link->leaves = leaves;
	link->context = context;
}

void fake_link_fail_after(struct fake_link *link, uint32_t writes, int code)
{
	link->fail_at = writes;
	link->fail_code = code;
}

void fake_link_refuse_frames(struct fake_link *link, uint32_t count)
{
	link->refuse = count;
}

void fake_link_deliver(struct fake_link *link, const struct wh_frame *frame)
{
	uint8_t bytes[WH_FRAME_LEN_MAX];

	fake_link_deliver_bytes(link, bytes, wh_frame_encode(bytes, frame));
}

void fake_link_deliver_bytes(struct fake_link *link, const void *data, uint32_t len)
{
	struct message *message = &link->inbox[link->inbox_count++];

	wh_assert(link->inbox_count < FAKE_LOG_MAX && len <= sizeof(message->data));
	message->len = len;
	memcpy(message->data, data, len);
}

void fake_link_hang_up(struct fake_link *link)
{
	link->hung_up = true;
}

uint32_t fake_link_writes(const struct fake_link *link)
{
	return link->write_count;
}

const struct wh_write *fake_link_write(const struct fake_link *link, uint32_t number)
{
	wh_assert(number < link->write_count);
	return &link->writes[number];
}

uint32_t fake_link_frames(const struct fake_link *link)
{
	return link->frame_count;
}

const struct wh_frame *fake_link_frame(const struct fake_link *link, uint32_t number)
{
	wh_assert(number < link->frame_count);
	return &link->frames[number];
}

uint64_t fake_link_forgotten_bytes(const struct fake_link *link)
{
	return link->forgotten_bytes;
}

uint64_t fake_link_discarded_bytes(const struct fake_link *link)
{
	return link->discarded_bytes;
}

void fake_link_pin(struct fake_link *link, uint16_t region, uint64_t offset, uint64_t bytes)
{
	link->pinned_region = region;
	link->pinned_offset = offset;
	link->pinned_bytes = bytes;
}

uint32_t fake_link_max_in_flight(const struct fake_link *link)
{
	return link->max_in_flight;
}

const struct wh_memory *fake_link_memory(const struct fake_link *link, uint16_t region)
{
	return &link->regions[region];
}

/* --- the transport's calls -------------------------------------------------------------------- */

static struct fake_link *link_of(struct wh_transport *transport)
{
	return (struct fake_link *)transport;
}

int wh_transport_open(struct wh_transport **ret, const struct wh_link_config *cfg,
                      struct wh_error *err)
{
	(void)ret;
	return wh_fail(err, -EPROTONOSUPPORT, "no transport serves '%s'", cfg->uri);
}

struct wh_transport *wh_transport_close(struct wh_transport *transport)
{
	(void)transport; /* the test's own */
	return NULL;
}

int wh_transport_map(struct wh_transport *transport, uint16_t region,
                     const struct wh_memory *memory)
{
	struct wh_memory *taken = &link_of(transport)->regions[region];

	if (taken->bytes > 0)
		return -EEXIST;
	*taken = *memory;
	return 0;
}

void wh_transport_unmap(struct wh_transport *transport, uint16_t region)
{
	link_of(transport)->regions[region].bytes = 0;
}

int wh_transport_write(struct wh_transport *transport, const struct wh_write *w)
{
	struct fake_link *link = link_of(transport);
	uint32_t in_flight = link->write_count - link->written;

	if (link->write_count >= link->fail_at)
		link->broken = link->fail_code;
	if (link->broken)
		return link->broken;
	if (in_flight == link->depth)
		return WH_TX_FULL;
	wh_assert(link->write_count < FAKE_LOG_MAX);
	link->writes[link->write_count++] = *w;
	if (in_flight + 1 > link->max_in_flight)
		link->max_in_flight = in_flight + 1;
	return 0;
}

void wh_transport_forget(struct wh_transport *transport, uint16_t region, uint64_t offset,
                         uint64_t len)
{
	(void)region;
	(void)offset;
	link_of(transport)->forgotten_bytes += len;
}

bool wh_transport_pins(struct wh_transport *transport, uint16_t region, uint64_t offset,
                       uint64_t len)
{
	const struct fake_link *link = link_of(transport);

	return region == link->pinned_region && offset < link->pinned_offset + link->pinned_bytes &&
	       link->pinned_offset < offset + len;
}

void wh_transport_discard(struct wh_transport *transport, uint16_t region, uint64_t offset,
                          uint64_t len)
{
	(void)region;
	(void)offset;
	link_of(transport)->discarded_bytes += len;
}

int wh_transport_send(struct wh_transport *transport, const void *data, uint32_t len)
{
	struct fake_link *link = link_of(transport);
	struct wh_frame *frame = &link->frames[link->frame_count];

	if (link->broken)
		return link->broken;
	if (link->refuse > 0 && !link->refused) {
		link->refuse--;
		link->refused = true;
		return WH_TX_FULL;
	}
	link->refused = false;
	link->frame_count++;
	wh_assert(link->frame_count < FAKE_LOG_MAX && wh_frame_decode(frame, data, len) == 0);
	if (link->peer)
		link->peer(link, frame);
	return 0;
}

static int next_event(struct fake_link *link, struct wh_event *event)
{
	if (link->written < link->write_count) {
		if (link->leaves)
			link->leaves(link->context, &link->writes[link->written]);
		*event = (struct wh_event){ .type = WH_EVENT_WRITTEN,
			                    .cookie = link->writes[link->written++].cookie };
		return 1;
	}
	if (link->taken < link->inbox_count) {
		const struct message *message = &link->inbox[link->taken++];

		*event = (struct wh_event){ .type = WH_EVENT_FRAME,
			                    .frame = { .data = message->data,
			                               .len = message->len } };
		return 1;
	}
	*event = (struct wh_event){ .type = WH_EVENT_CLOSED };
	return link->hung_up;
}

int wh_transport_poll(struct wh_transport *transport, struct wh_event *events, uint32_t max,
                      uint64_t deadline_ns)
{
	struct fake_link *link = link_of(transport);
	int n;

	(void)max;
	if (link->broken)
		return link->broken;
	n = next_event(link, &events[0]);
	return n == 0 && deadline_ns == UINT64_MAX && !link->refused ? -ETIMEDOUT : n;
}

struct wh_sent wh_transport_sent(const struct wh_transport *transport)
{
	const struct fake_link *link = (const struct fake_link *)transport;
	struct wh_sent sent = { 0 };

	for (uint32_t i = 0; i < link->write_count; i++)
		sent.bytes += link->writes[i].len;
	return sent;
}

int wh_transport_urgent(const struct wh_transport *transport)
{
	(void)transport;
	return -1; /* post-copy is for the loop transport */
}

struct wh_rdma_reads *wh_transport_reads(const struct wh_transport *transport,
                                         const struct wh_rdma_reads_config *cfg)
{
	(void)transport;
	(void)cfg;
	return NULL;
}

struct wh_rdma_lend *wh_transport_lend(const struct wh_transport *transport,
                                       const struct wh_rdma_lend_config *cfg)
{
	(void)transport;
	(void)cfg;
	return NULL;
}
