/* SPDX-License-Identifier: Apache-2.0 */

/*
 * One TCP connection of a link: a thread and an io_uring of its own.
 *
 * The link's owner posts writes and frames, and takes events; both go through queues. Page
 * contents are sent out of the lent memory, and received into a buffer that stays in the cache
 * and is put in place from there (place.h).
 *
 * Threads: all calls are the owner's, except that the owner's bell is rung from here.
 */

#ifndef WH_TRANSPORT_URING_H
#define WH_TRANSPORT_URING_H

#include <stdatomic.h>
#include <stdint.h>

#include "delta.h"
#include "place.h"
#include "queue.h"
#include "wire.h"

#include "wherry/cleanup.h"
#include "wherry/error.h"
#include "wherry/limits.h"
#include "wherry/transport.h"

/* Frames on their way in each direction of a connection. */
#define WH_CONN_FRAMES 64u

struct wh_conn;

struct wh_conn_config {
	int fd;               /* the connection takes it over */
	uint32_t queue_depth; /* writes posted at once, at most */
	enum wh_compression compression;
	struct wh_delta *delta;          /* all connections'; NULL without; borrowed */
	const struct wh_memory *regions; /* WH_REGIONS_MAX of them, borrowed; unused ones empty */
	struct wh_bell *owner;           /* rung when there are events; borrowed */
	struct wh_place *places;         /* the same ones, to write into; borrowed */
};

enum wh_conn_event_type {
	WH_CONN_WRITTEN,
	WH_CONN_FRAME,
	WH_CONN_CLOSED, /* in good order, between two records */
	WH_CONN_FAILED, /* nothing follows */
};

struct wh_conn_event {
	enum wh_conn_event_type type;
	union {
		uint64_t cookie; /* WRITTEN */
		struct {
			const uint8_t *data; /* borrowed until wh_conn_release() */
			uint32_t len;
		} frame;
		int error; /* FAILED: negative errno */
	};
};

/* Start the thread. Return: 0 or -errno; @cfg->fd is the caller's after a failure. */
wh_must_check int wh_conn_start(struct wh_conn **ret, const struct wh_conn_config *cfg);

/* Stop the thread and close the connection. Accepts NULL, returns NULL. */
struct wh_conn *wh_conn_stop(struct wh_conn *conn);

/* Post a write. The caller keeps to @queue_depth. */
void wh_conn_write(struct wh_conn *conn, const struct wh_write *w);

/* Post a FRAME record; @payload is copied. Return: 0 or WH_TX_FULL. */
wh_must_check int wh_conn_send(struct wh_conn *conn, const void *payload, uint32_t len);

/* Whether wh_conn_send() would take one. The owner's bell rings when it becomes so. */
bool wh_conn_has_frame_room(const struct wh_conn *conn);

wh_must_check bool wh_conn_take(struct wh_conn *conn, struct wh_conn_event *ret);

/* The oldest frame taken is no longer used. */
void wh_conn_release(struct wh_conn *conn);

/* WRITE records of the peer that are in place. */
uint64_t wh_conn_landed(const struct wh_conn *conn);

/* Whether to ring the owner's bell when a write has landed. */
void wh_conn_watch(struct wh_conn *conn, bool on);

struct wh_sent wh_conn_sent(const struct wh_conn *conn);

#endif
