/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Worker link - the mover's end of include/wherry/worker.h.
 *
 * Threads: the main one.
 */

#ifndef WH_WORKER_LINK_H
#define WH_WORKER_LINK_H

#include <stdbool.h>

#include "ram.h"

#include "wherry/cleanup.h"
#include "wherry/error.h"
#include "wherry/stats.h"
#include "wherry/worker.h"

/* What the daemon handed over. */
struct wh_job {
	struct wh_worker_start start;
	struct wh_stats *stats; /* shared with the daemon */
	struct wh_ram ram;
	int missing_fd; /* target: the missing file; -1 without @postcopy */
	struct wh_bucket
		*bucket; /* of the bandwidth limit, shared with the kernel; NULL: none came */
};

/* Wait for START. The job lives as long as the process does. Return: 0 or -errno. */
wh_must_check int wh_worker_receive(struct wh_job *ret, struct wh_error *err);

/* Send a message that is only its type. Return: 0, or -errno if the daemon is gone. */
wh_must_check int wh_worker_note(enum wh_worker_type type, struct wh_error *err);

/* Send LANDED; @vmm_uffd as in struct wh_worker_landed. Return: as wh_worker_note(). */
wh_must_check int wh_worker_landed(bool postcopy, int vmm_uffd, struct wh_error *err);

/* The daemon may be gone: then the kernel is about to kill us. */
void wh_worker_listening(uint16_t port);

/* Say what carries pages from now on. The daemon may be gone: then the kernel is about to kill us. */
void wh_worker_transport(enum wh_transport_kind kind, const char *why);

/* The daemon may be gone, and then nobody wants to know. */
void wh_worker_fail(int code, const struct wh_error *error);

/* Whether SWITCH has come: its mode, WH_SWITCH_NONE if not, or -errno. Does not wait. */
wh_must_check int wh_worker_switch_mode(void);

/* Wait for FINISH or AGAIN; a SWITCH before it comes too late. Return: which of both, or -errno. */
wh_must_check int wh_worker_await_finish(struct wh_error *err);

/* Wait until the daemon has no more use for us, if it does not kill us. */
void wh_worker_await_end(void);

#endif
