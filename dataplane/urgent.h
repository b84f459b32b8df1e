/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Urgent - one end of the urgent connection: records, without a queue or a thread in between.
 *
 * Threads: one.
 */

#ifndef WH_URGENT_H
#define WH_URGENT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "wire.h"

#include "wherry/cleanup.h"
#include "wherry/limits.h"

/* Short records that are collected before they leave together, and their longest payload. */
#define WH_URGENT_BATCH     64u
#define WH_URGENT_SHORT_MAX WH_KEY_BYTES

struct wh_urgent {
	int fd;        /* borrowed */
	uint8_t *in;   /* owned; what came and was not taken yet */
	uint32_t have; /* bytes of it */
	uint32_t used; /* of them, taken */
	uint8_t out[WH_URGENT_BATCH * (WH_RECORD_HEADER + WH_URGENT_SHORT_MAX)];
	uint32_t out_len;
	_Atomic uint64_t sent_bytes; /* for any thread to read */
};

/* @urgent is zeroed. Return: 0 or -ENOMEM. */
wh_must_check int wh_urgent_init(struct wh_urgent *urgent, int fd);
void wh_urgent_done(struct wh_urgent *urgent);

/* Take what has come, without waiting. Return: 0, -ECONNRESET if the peer closed it, or -errno. */
wh_must_check int wh_urgent_receive(struct wh_urgent *urgent);

/*
 * The next record that is all here; @payload is borrowed until the next receive.
 * Return: 1, 0 if there is none, or -EPROTO.
 */
wh_must_check int wh_urgent_next(struct wh_urgent *urgent, struct wh_record *record,
                                 const uint8_t **payload);

/* Collect a record whose payload has WH_URGENT_SHORT_MAX bytes at most. Return: 0 or -errno. */
wh_must_check int wh_urgent_put(struct wh_urgent *urgent, const struct wh_record *record,
                                const void *payload);

/* The same for one whose payload says @bytes. */
wh_must_check int wh_urgent_span(struct wh_urgent *urgent, const struct wh_record *record,
                                 uint32_t bytes);

/* Send what was collected. Return: 0 or -errno. */
wh_must_check int wh_urgent_flush(struct wh_urgent *urgent);

/* Send what was collected, and a record with its payload. Return: 0 or -errno. */
wh_must_check int wh_urgent_write(struct wh_urgent *urgent, const struct wh_record *record,
                                  const void *payload);

#endif
