/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Fake link - a transport whose other end is the test. It notes what is posted, and hands out what
 * the test says the peer sent. Link this instead of dataplane/transport.c.
 *
 * A poll that could only wait for ever returns -ETIMEDOUT, so that a test fails and does not hang.
 *
 * Threads: one.
 */

#ifndef WH_FAKE_LINK_H
#define WH_FAKE_LINK_H

#include <stdbool.h>
#include <stdint.h>

#include "wire.h"

#include "wherry/transport.h"

#define FAKE_LOG_MAX 512u

struct fake_link;

/* Called when a frame was sent; may answer with fake_link_deliver(). */
typedef void fake_link_peer(struct fake_link *link, const struct wh_frame *frame);

struct fake_link *fake_link_new(uint32_t queue_depth);
struct fake_link *fake_link_free(struct fake_link *link);
struct wh_transport *fake_link_transport(struct fake_link *link);

/* Called when the contents of a write leave, which is when it is reported as written. */
typedef void fake_link_leaves(void *context, const struct wh_write *w);

void fake_link_set_leaves(struct fake_link *link, fake_link_leaves *leaves, void *context);

void fake_link_set_peer(struct fake_link *link, fake_link_peer *peer);

/* Fail the write after @writes of them, and everything from then on. */
void fake_link_fail_after(struct fake_link *link, uint32_t writes, int code);

/* The next @count frames find the queue full once each. */
void fake_link_refuse_frames(struct fake_link *link, uint32_t count);

/* What the peer says: a frame, bytes that may be none, goodbye. */
void fake_link_deliver(struct fake_link *link, const struct wh_frame *frame);
void fake_link_deliver_bytes(struct fake_link *link, const void *data, uint32_t len);
void fake_link_hang_up(struct fake_link *link);

/* What was posted so far, in order. */
uint32_t fake_link_writes(const struct fake_link *link);
const struct wh_write *fake_link_write(const struct fake_link *link, uint32_t number);
uint32_t fake_link_frames(const struct fake_link *link);
const struct wh_frame *fake_link_frame(const struct fake_link *link, uint32_t number);
uint64_t fake_link_forgotten_bytes(const struct fake_link *link);

/* The same of what was given back. */
uint64_t fake_link_discarded_bytes(const struct fake_link *link);

/* Have a device hold on to memory of @region. */
void fake_link_pin(struct fake_link *link, uint16_t region, uint64_t offset, uint64_t bytes);
uint32_t fake_link_max_in_flight(const struct fake_link *link);

/* The memory lent as @region; its bytes are 0 if there is none. */
const struct wh_memory *fake_link_memory(const struct fake_link *link, uint16_t region);

WH_DEFINE_CLEANUP(struct fake_link, fake_link_free)

#endif
