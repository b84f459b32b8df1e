/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Urgent peer - both ends of an urgent connection in one test: one for what is tested, and one by which the
 * test hears what it said.
 */

#ifndef WH_URGENT_PEER_H
#define WH_URGENT_PEER_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "urgent.h"

struct urgent_peer {
	struct wh_urgent own; /* for what is tested */
	struct wh_urgent test;
};

static inline void urgent_peer_open(struct urgent_peer *p)
{
	int fds[2];

	*p = (struct urgent_peer){ 0 };
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	assert_int_equal(wh_urgent_init(&p->own, fds[0]), 0);
	assert_int_equal(wh_urgent_init(&p->test, fds[1]), 0);
}

static inline void urgent_peer_close(struct urgent_peer *p)
{
	wh_urgent_done(&p->own);
	wh_urgent_done(&p->test);
	(void)close(p->own.fd);
	(void)close(p->test.fd);
}

/* The next record that was said. Return: false if there is none. */
static inline bool urgent_peer_hear(struct urgent_peer *p, struct wh_record *record,
                                    const uint8_t **payload)
{
	int n;

	assert_int_equal(wh_urgent_flush(&p->own), 0);
	assert_int_equal(wh_urgent_receive(&p->test), 0);
	n = wh_urgent_next(&p->test, record, payload);
	assert_true(n >= 0);
	return n > 0;
}

/* The next record is of @type. Return: it; @payload may be NULL. */
static inline struct wh_record urgent_peer_expect(struct urgent_peer *p, enum wh_record_type type,
                                                  const uint8_t **payload)
{
	const uint8_t *bytes = NULL;
	struct wh_record record = { 0 };

	assert_true(urgent_peer_hear(p, &record, &bytes));
	assert_int_equal(record.type, type);
	if (payload)
		*payload = bytes;
	return record;
}

static inline void urgent_peer_expect_nothing(struct urgent_peer *p)
{
	const uint8_t *payload;
	struct wh_record record;

	assert_false(urgent_peer_hear(p, &record, &payload));
}

#endif
