/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Intake - what a connection receives: records taken apart, page contents put in place.
 *
 * The owner receives into wh_intake_room(), says how much came, and calls wh_intake_parse().
 *
 * Threads: the connection's own.
 */

#ifndef WH_INTAKE_H
#define WH_INTAKE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "compress.h"
#include "place.h"
#include "rdma_frames.h"
#include "wire.h"

#include "wherry/cleanup.h"
#include "wherry/limits.h"
#include "wherry/transport.h"

/* A FRAME record's payload: the numbers of writes it must wait for, then the frame, which may be in
 * one of rdma_frames.h. */
#define WH_FRAME_RECORD_MAX (8u * WH_CONNECTIONS_MAX + WH_RDMA_FRAME_MAX)

/* All borrowed. */
struct wh_intake_config {
	struct wh_place *places; /* WH_REGIONS_MAX of them */
	bool (*frame)(void *context, const uint8_t *payload, uint32_t len); /* false: no room now */
	void (*landed)(void *context); /* a write is in place */
	void *context;
};

struct wh_intake {
	struct wh_intake_config cfg;
	struct wh_decompressor *decompressor; /* owned */
	uint8_t *buffer;                      /* owned */
	uint32_t have;                        /* bytes in it */
	struct wh_record record;
	uint32_t left; /* payload bytes of @record, until it is used */
};

/* Where the next bytes belong. */
struct wh_room {
	uint8_t *at;
	uint32_t len; /* 0: nothing, before a frame that is here finds room */
	bool whole;   /* wait until all of it has come */
};

wh_must_check int wh_intake_init(struct wh_intake *in, const struct wh_intake_config *cfg);
void wh_intake_done(struct wh_intake *in);

struct wh_room wh_intake_room(const struct wh_intake *in);

/* @len bytes have come there. */
void wh_intake_add(struct wh_intake *in, uint32_t len);

/* Use what has come; not while something is being received. Return: 0 or the link's error. */
wh_must_check int wh_intake_parse(struct wh_intake *in);

/*
 * The peer will send no more. Return: -ESHUTDOWN if that is in good order, -ECONNRESET if something
 * is half here, 0 if a whole frame is still waiting for room: ask again.
 */
wh_must_check int wh_intake_end(const struct wh_intake *in);

#endif
