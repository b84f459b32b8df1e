/* SPDX-License-Identifier: Apache-2.0 */

/*
 * floor_ring - the ways of floor_move that go through io_uring.
 *
 * A ring belongs to the thread that opened it. What fails ends the program with words: nothing can be
 * measured then.
 */

#ifndef WH_FLOOR_RING_H
#define WH_FLOOR_RING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct floor_ring;

struct floor_ring_config {
	const char *way;
	int socket;
	int file;
	size_t chunk;     /* bytes, the most that is received at once */
	uint8_t *from;    /* to send: the share, mapped */
	size_t bytes;     /* of @from */
	uint32_t poll_us; /* NAPI busy polling, 0 is none */
	uint32_t spin_us; /* look for completions so long before sleeping */
};

bool floor_ring_serves(const char *way);

struct floor_ring *floor_ring_open(const struct floor_ring_config *cfg);
struct floor_ring *floor_ring_close(struct floor_ring *r);

/* The next @len bytes, a chunk or the last: they stay until floor_ring_release(). */
const uint8_t *floor_ring_receive(struct floor_ring *r, size_t len);
void floor_ring_release(struct floor_ring *r, size_t len);

/* Write what was received to the file. */
void floor_ring_write(struct floor_ring *r, size_t len, off_t offset);

/* Send from @offset on, in the file and @at bytes into the share. Return: bytes, at most @left. */
size_t floor_ring_send(struct floor_ring *r, off_t offset, size_t at, size_t left);

#endif
