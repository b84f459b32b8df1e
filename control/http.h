/* SPDX-License-Identifier: Apache-2.0 */

/*
 * HTTP - a few pages for monitoring, served in the daemon's own loop and thread.
 *
 * Whoever reaches the port may read, so nobody may be in the way: a connection carries one GET or
 * HEAD, has WH_HTTP_NS for all of it, and room for a request of WH_HTTP_MEMORY_MAX; there are at most
 * WH_HTTP_CONNECTIONS_MAX, and the others wait in the kernel. A page is made again only if it is
 * older than WH_HTTP_FRESH_NS. The loop comes to all this when nothing else is to be done.
 *
 * Threads: the loop's own.
 */

#ifndef WH_HTTP_H
#define WH_HTTP_H

#include <stddef.h>

#include "config.h"
#include "loop.h"

#include "wherry/cleanup.h"
#include "wherry/error.h"

struct wh_http;

struct wh_http_page {
	const char *path; /* "/metrics" */
	const char *type; /* of its content */
	/* Make the body, from malloc(), and its length. Return: the status, such as 200. */
	unsigned (*make)(void *ctx, char **body, size_t *len);
};

struct wh_http_config {
	sd_event *loop;
	const struct wh_endpoint *at;     /* not kept */
	const struct wh_http_page *pages; /* borrowed */
	size_t count;
	void *ctx;
};

/* Listen. Return: 0, or -errno, such as -EADDRINUSE. */
wh_must_check int wh_http_open(struct wh_http **ret, const struct wh_http_config *cfg,
                               struct wh_error *err);

/* Accepts NULL, returns NULL. Ends all connections. */
struct wh_http *wh_http_close(struct wh_http *http);

#endif
