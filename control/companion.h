/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Companion - a program of ours that works for one migration, and is told what to do over a socket.
 *
 * It starts inside a cgroup with its end of a SOCK_SEQPACKET pair at WH_WORKER_FD and nothing else of
 * ours, and dies with us.
 *
 * Threads: the loop's own.
 */

#ifndef WH_COMPANION_H
#define WH_COMPANION_H

#include <stddef.h>
#include <sys/types.h>

#include "wherry/cleanup.h"

struct wh_companion {
	pid_t pid;    /* 0 once waited for */
	int pidfd;    /* readable when it has ended */
	int sock;     /* ours, non-blocking */
	int stats_fd; /* of the page that is shared with it */
	void *stats;  /* that page, zeroed at first; stays until close */
	size_t stats_bytes;
};

/* None, for who may be closed before it is started. */
#define WH_COMPANION_NONE ((struct wh_companion){ .pidfd = -1, .sock = -1, .stats_fd = -1 })

/* Start @program. On failure, too, it is to be closed. Return: 0 or -errno. */
wh_must_check int wh_companion_start(struct wh_companion *companion, char *program, int procs_fd,
                                     size_t stats_bytes);

/* Wait for its end, of which the words go to @how: "ended with status 1". */
void wh_companion_reap(struct wh_companion *companion, char *how, size_t size);

/* Kill it if it lives, and wait for its end. */
void wh_companion_close(struct wh_companion *companion);

#endif
