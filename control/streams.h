/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Streams - one wherry-tunnel process of one migration, seen from wherryd: include/wherry/tunnel.h.
 *
 * It carries byte streams between unix sockets of this host and TCP connections of the migration
 * network, both ways, and passes on each end of file as it comes. It lives in the migration's cgroup and
 * makes its TCP sockets there, so bandwidthPerMigration holds for all it sends.
 *
 * Threads: the loop's own. Callbacks may close it.
 */

#ifndef WH_STREAMS_H
#define WH_STREAMS_H

#include "loop.h"

#include "wherry/cleanup.h"
#include "wherry/error.h"
#include "wherry/limits.h"
#include "wherry/worker.h"

struct wh_streams;

struct wh_streams_config {
	sd_event *loop;
	char *program; /* wherry-tunnel; borrowed until it is open */
	int procs_fd;  /* cgroup.procs of its cgroup, borrowed; -1 to stay in ours */
	const int
		*hold_fds; /* it keeps copies of them open, so that the limit lives as long as it */
	size_t hold_count; /* at most WH_WORKER_HOLD_MAX */
	void (*refused)(void *ctx,
	                const char *why); /* one stream did not come about; may be NULL */
	void (*failed)(void *ctx,
	               const char *why); /* the process is lost, and all streams with it */
	void *ctx;
};

/* Start the process. Return: 0 or -errno. */
wh_must_check int wh_streams_open(struct wh_streams **ret, const struct wh_streams_config *cfg,
                                  struct wh_error *err);

struct wh_stream_to {
	const char *interface; /* "" leaves it to routing */
	union wh_worker_address address;
	const char *first_line; /* without the newline; at most WH_STREAM_LINE_MAX; NULL for none */
};

/*
 * Connect there from within the cgroup, say the first line, and carry all that @local (owned from here
 * on) says and is said. A connection that does not come about closes @local.
 */
void wh_streams_connect(struct wh_streams *streams, int local, const struct wh_stream_to *to);

/*
 * Carry between two sockets (owned from here on), @early first, which came from @a: at most
 * WH_STREAM_EARLY_MAX bytes.
 */
void wh_streams_join(struct wh_streams *streams, int a, int b, const void *early, size_t early_len);

/* What all streams together have carried, from this host and to it. */
void wh_streams_bytes(const struct wh_streams *streams, uint64_t *sent, uint64_t *received);

/* Kill it. Accepts NULL, returns NULL. */
struct wh_streams *wh_streams_close(struct wh_streams *streams);

WH_DEFINE_CLEANUP(struct wh_streams, wh_streams_close)

#endif
