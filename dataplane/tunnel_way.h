/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Way - one direction of a stream: from a socket through a pipe into a socket, without a copy.
 *
 * Both sockets are non-blocking. An end of file is passed on once all bytes before it are.
 */

#ifndef WH_TUNNEL_WAY_H
#define WH_TUNNEL_WAY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wherry/cleanup.h"

struct wh_way {
	int pipe[2];       /* [0] to read, [1] to write; kept from one stream to the next */
	size_t held_bytes; /* in the pipe */
	bool ended;        /* no more comes */
	bool closed;       /* and who is written to knows, or wants no more */
	_Atomic uint64_t *carried_bytes; /* borrowed */
};

/* Make the pipe, once for all. Return: 0 or -errno. */
wh_must_check int wh_way_init(struct wh_way *way);

/* Begin anew, with @len bytes that go first: no more than WH_STREAM_EARLY_MAX. Return: 0 or -errno. */
wh_must_check int wh_way_begin(struct wh_way *way, const void *early, size_t len);

/* Take in what @from has, into an empty pipe. Return: 1, also for the end; 0 if there is nothing; -errno. */
wh_must_check int wh_way_fill(struct wh_way *way, int from);

/* Pass on what @to takes. Return: 0 or -errno. */
wh_must_check int wh_way_drain(struct wh_way *way, int to);

/* Nobody wants the rest. */
void wh_way_drop(struct wh_way *way);

#endif
