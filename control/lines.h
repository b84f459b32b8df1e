/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Lines - a stream socket that carries lines of text both ways.
 *
 * QMP, the API and the protocol between nodes are all JSON lines; what they share is here. Input
 * is bounded: a line above the limit ends the connection.
 *
 * Callbacks may close the connection or take its descriptor away.
 *
 * Threads: the loop's own.
 */

#ifndef WH_LINES_H
#define WH_LINES_H

#include <stdbool.h>
#include <stddef.h>

#include "loop.h"

#include "wherry/cleanup.h"

struct wh_lines;

struct wh_lines_config {
	sd_event *loop;
	size_t line_max; /* bytes, the newline included */
	void (*line)(void *ctx, const char *text,
	             size_t len);                   /* without the newline, ends in NUL */
	void (*closed)(void *ctx, const char *why); /* the last call; close it then */
	void *ctx;
};

/**
 * wh_lines_open() - Read and write lines on @fd
 * @ret:	receives the connection; owned by the caller
 * @fd:		a connected stream socket, made non-blocking; owned by the connection from here
 *		on, also on failure
 *
 * Return: 0 or -errno.
 */
wh_must_check int wh_lines_open(struct wh_lines **ret, int fd, const struct wh_lines_config *cfg);

/* Who gets the next callbacks. */
void wh_lines_redirect(struct wh_lines *lines, const struct wh_lines_config *cfg);

/*
 * Send @text and a newline, now or when the peer reads. A connection that is lost, or whose peer
 * does not read, is reported by @closed later, so nothing is returned.
 */
void wh_lines_send(struct wh_lines *lines, const char *text);

int wh_lines_fd(const struct wh_lines *lines); /* borrowed */

/* What arrived after the line being delivered. Borrowed until the connection is closed. */
size_t wh_lines_rest(const struct wh_lines *lines, const char **ret);

/* Take the descriptor out; wh_lines_close() is the only valid call afterwards. */
int wh_lines_take_fd(struct wh_lines *lines);

/* Accepts NULL, returns NULL. What could not be sent so far is lost. */
struct wh_lines *wh_lines_close(struct wh_lines *lines);

WH_DEFINE_CLEANUP(struct wh_lines, wh_lines_close)

#endif
