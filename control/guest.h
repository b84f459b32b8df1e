/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Guest - what wherry asks of a guest through QMP.
 *
 * wh_guest_describe() learns what the guest is made of, and refuses with words what cannot move
 * under the eyes of the dirty tracker: memory that is no shared file, devices that write memory
 * behind QEMU's back.
 *
 * Threads: the loop's own.
 */

#ifndef WH_GUEST_H
#define WH_GUEST_H

#include "qmp.h"
#include "ram_files.h"

#include "wherry/cleanup.h"
#include "wherry/error.h"
#include "wherry/worker.h"

#define WH_GUEST_WORD_MAX 32

/* Zeroed memory is one not yet described. */
struct wh_guest {
	char run_state[WH_GUEST_WORD_MAX]; /* "running", "paused", "inmigrate", ... */
	char migration[WH_GUEST_WORD_MAX]; /* "none", "active", "completed", ... */
	struct wh_ram ram;                 /* not opened */
	uint64_t memory_bytes;             /* what QEMU says that the guest has in all */
	bool direct_io;                    /* disks write memory late, by O_DIRECT: see reads.h */
	json_t *disks;                     /* array of the qdev ids of all of them, owned */

	/* The rest is for guest.c. */
	struct wh_qmp *qmp; /* borrowed while describing */
	void (*done)(void *ctx, const char *why);
	void *ctx;
	struct wh_error refused;
	char names[WH_REGIONS_MAX][WH_NAME_MAX];
	uint32_t name_count;
	uint32_t cursor; /* properties of memory backends answered */
	uint32_t due;    /* commands not yet answered */
	char *path;
};

/*
 * Fill in @g, then call @g->done, with NULL or the reason why this guest cannot move. It does
 * not come if the QMP connection is closed first. @g must stay until then.
 */
void wh_guest_describe(struct wh_guest *g, struct wh_qmp *qmp);

/* Give back what @g holds. */
void wh_guest_done(struct wh_guest *g);

/* Whether a migration status is an end: nothing of it is in progress. */
bool wh_guest_migration_over(const char *status);

/* Whether a source with this status has certainly not begun to send its device state. */
bool wh_guest_never_left(const char *status);

/* Switch on what @role needs for its part of a migration. */
void wh_guest_prepare(struct wh_qmp *qmp, enum wh_worker_role role, wh_qmp_reply_fn reply,
                      void *ctx);

/*
 * Have a source not stop its guest by itself, but wait until somebody else does. QEMU knows how from 8.1
 * on, and refuses before.
 */
void wh_guest_hold(struct wh_qmp *qmp, wh_qmp_reply_fn reply, void *ctx);

/* Switch all of it off again. */
void wh_guest_restore(struct wh_qmp *qmp, wh_qmp_reply_fn reply, void *ctx);

/*
 * The threads that run the vCPUs, from the answer to query-cpus-fast: @ret is from malloc(). Return: 0,
 * or -EPROTO if it says nothing of the kind.
 */
wh_must_check int wh_guest_threads(const json_t *vcpus, pid_t **ret, size_t *ret_count,
                                   struct wh_error *err);

/* For wh_cleanup(). */
void wh_guest_threads_freep(pid_t **threads);

/* "migrate" or "migrate-incoming" to the unix socket @path. */
void wh_guest_migrate(struct wh_qmp *qmp, const char *command, const char *path,
                      wh_qmp_reply_fn reply, void *ctx);

#endif
