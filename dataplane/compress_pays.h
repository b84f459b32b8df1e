/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Compress pays - which writes a connection should compress, from what was measured on it.
 *
 * Two questions, and both must be answered by yes:
 *
 * - Is compression worth its CPU time here? It is where contents become shorter, and the link takes
 *   them more slowly than the compressor does. The answer changes rarely.
 * - Is there time for it now? There is while what waits in the socket keeps the link busy for most
 *   of the time that it takes to compress the next write. When the link is about to run dry, a write
 *   goes as it is, which takes no time, and keeps it busy while the next ones are compressed.
 *
 * So a slow link gets everything compressed, and one that the compressor can't keep up with gets
 * as much as keeps it busy.
 *
 * The link's rate is known only while the link is what holds sending up: where bytes wait in the
 * socket for their turn. Where none wait, the link takes whatever comes, and nothing can be saved.
 *
 * Threads: values, no state but what is passed. The time is passed in.
 */

#ifndef WH_COMPRESS_PAYS_H
#define WH_COMPRESS_PAYS_H

#include <stdbool.h>
#include <stdint.h>

#include "converge.h"

struct wh_compress_cost {
	uint64_t link_bps;    /* what the link takes */
	uint64_t ns_per_mib;  /* to compress a MiB of contents */
	uint64_t len_per_mib; /* what becomes of it, in bytes */
};

/* Whether it is worth it; where it was found to be, @now_on, a little less is enough. */
bool wh_compress_cost_pays(const struct wh_compress_cost *cost, bool now_on);

/* What a connection's socket says before a write. */
struct wh_socket_look {
	uint64_t now_ns;
	uint64_t acked_bytes;   /* that the peer has, since the start */
	uint64_t backlog_bytes; /* that wait for the link and were never sent */
};

/* Contents to compress before what it brings is known. */
#define WH_COMPRESS_SAMPLE 65536u

/* Starts zeroed: not to compress. */
struct wh_compress_pays {
	bool on;       /* it is worth it */
	bool delta_on; /* so are deltas */
	struct wh_socket_look last;
	struct wh_rate_mean link; /* while there was a backlog */
	uint32_t idle_looks;      /* looks in a row that saw no backlog */
	uint64_t idle_ns;         /* the first of them */
	uint64_t len;             /* contents compressed lately, in bytes */
	uint64_t compressed;      /* what became of them */
	uint64_t compress_ns;     /* how long that took */
	uint64_t sample_ns;       /* when the last sample was begun */

	uint64_t slow_bps; /* the link's rate, as it was known last */
	uint64_t slow_ns;  /* when that was */
	struct wh_delta_mean {
		uint64_t len;        /* contents sent as differences lately, in bytes */
		uint64_t compressed; /* what became of them */
		uint64_t ns;         /* how long that took */
	} delta;
	uint64_t delta_ns; /* when they were last worth it */
};

/* What the socket says now. */
void wh_compress_pays_look(struct wh_compress_pays *p, const struct wh_socket_look *look);

/* Whether to compress a write of @len bytes that follows that look. */
bool wh_compress_pays_now(const struct wh_compress_pays *p, uint32_t len);

/* Whether some contents should be compressed now, only to learn what it brings. */
bool wh_compress_pays_wants_sample(const struct wh_compress_pays *p);

/* @len bytes of contents became @compressed bytes in @ns. */
void wh_compress_pays_measured(struct wh_compress_pays *p, uint32_t len, uint32_t compressed,
                               uint64_t ns);

/*
 * Whether to send differences, where they can be. As long as little is known of what they bring,
 * they are tried; copies of pages are kept for them in any case, and cost little.
 */
bool wh_delta_pays(const struct wh_compress_pays *p);

/* @len bytes of contents, told as differences, became @compressed bytes in @ns. */
void wh_delta_pays_measured(struct wh_compress_pays *p, uint32_t len, uint32_t compressed,
                            uint64_t ns);

#endif
