/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Stream table - the streams that a wherry-tunnel carries, and what the kernel is asked to watch.
 *
 * An end of file is passed on exactly: behind the last byte, and the other way stays open. A side that
 * is gone, or fails, is read to its last byte, and what was meant for it is dropped; then the other side
 * is closed, so who writes on there gets an error.
 *
 * The table lives as long as the process does.
 */

#ifndef WH_TUNNEL_STREAM_H
#define WH_TUNNEL_STREAM_H

#include "tunnel_way.h"

#include "wherry/cleanup.h"
#include "wherry/error.h"
#include "wherry/tunnel.h"

struct wh_stream {
	int fd[2];            /* -1 if there is no stream here */
	bool gone[2];         /* it takes nothing any more, and epoll would tell so all the time */
	uint32_t watched[2];  /* events */
	struct wh_way way[2]; /* [0] reads fd[0] and writes fd[1], [1] the other way */
	uint64_t deadline_ns; /* of a connection that is being made by fd[1]; else 0 */
};

struct wh_stream_table {
	int epoll_fd;
	struct wh_tunnel_stats *stats; /* borrowed */
	struct wh_stream streams[WH_STREAMS_MAX];
	void (*refused)(const struct wh_error *why);
};

/* What a stream's side has in epoll_event.data.u32 is below this. */
#define WH_STREAM_KEYS (2 * WH_STREAMS_MAX)

/* Make all that streams will need. @table is zeroed but for @stats and @refused. Return: 0 or -errno. */
wh_must_check int wh_stream_table_init(struct wh_stream_table *table, struct wh_error *err);

/* Watch a descriptor of somebody else. Return: 0 or -errno. */
wh_must_check int wh_stream_table_watch(struct wh_stream_table *table, int fd, uint32_t key);

/* Take over the descriptors, also on failure; that is told through @refused. */
void wh_stream_table_connect(struct wh_stream_table *table, int local,
                             const struct wh_stream_connect *to);
void wh_stream_table_join(struct wh_stream_table *table, const int fds[2],
                          const struct wh_stream_join *join);

/* Something happened on a side. */
void wh_stream_table_ready(struct wh_stream_table *table, uint32_t key, uint32_t events);

/* Give up connections that are late. Return: milliseconds until the next may be; -1 if none can. */
int wh_stream_table_expire(struct wh_stream_table *table);

#endif
