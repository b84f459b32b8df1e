/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Way - splice() moves references to pages, so the bytes are not touched.
 *
 * A pipe that is not empty may be full: it has a slot for each piece, however small. So it is filled only
 * when it is empty. Then "try again" means that the socket has nothing, and never that the pipe is full.
 */

#include "tunnel_way.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "wherry/assert.h"
#include "wherry/limits.h"

/* What a pipe holds: enough that a turn's fixed costs do not count. The kernel's own bound for all. */
#define PIPE_BYTES (1 << 20)

static_assert(PIPE_BYTES >= WH_STREAM_EARLY_MAX, "what came early fits into an empty pipe");

int wh_way_init(struct wh_way *w)
{
	if (pipe2(w->pipe, O_CLOEXEC | O_NONBLOCK) < 0)
		return -errno;
	return fcntl(w->pipe[1], F_SETPIPE_SZ, PIPE_BYTES) < 0 ? -errno : 0;
}

int wh_way_begin(struct wh_way *w, const void *early, size_t len)
{
	wh_assert(w->held_bytes == 0 && len <= WH_STREAM_EARLY_MAX);
	w->ended = w->closed = false;
	if (len > 0 && write(w->pipe[1], early, len) != (ssize_t)len)
		return -EIO;
	w->held_bytes = len;
	return 0;
}

int wh_way_fill(struct wh_way *w, int from)
{
	ssize_t n =
		splice(from, NULL, w->pipe[1], NULL, PIPE_BYTES, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	w->ended = n == 0;
	w->held_bytes = (size_t)n;
	return 1;
}

int wh_way_drain(struct wh_way *w, int to)
{
	if (w->held_bytes > 0) {
		ssize_t n = splice(w->pipe[0], NULL, to, NULL, w->held_bytes,
		                   SPLICE_F_MOVE | SPLICE_F_NONBLOCK);

		if (n < 0)
			return errno == EAGAIN || errno == EINTR ? 0 : -errno;
		w->held_bytes -= (size_t)n;
		atomic_fetch_add_explicit(w->carried_bytes, (uint64_t)n, memory_order_relaxed);
	}
	if (w->ended && w->held_bytes == 0 && !w->closed) {
		(void)shutdown(to, SHUT_WR); /* fails only if the other end is gone already */
		w->closed = true;
	}
	return 0;
}

void wh_way_drop(struct wh_way *w)
{
	char rest[64 << 10];

	/* This ends: nobody writes to the pipe. */
	while (w->held_bytes > 0) {
		ssize_t n = read(w->pipe[0], rest, sizeof(rest));

		wh_assert(n > 0);
		w->held_bytes -= (size_t)n;
	}
	w->ended = w->closed = true;
}
