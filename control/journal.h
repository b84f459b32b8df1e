/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Journal - what a wherryd must still know about a migration after it was killed.
 *
 * One small file for each migration, STATE/migrations/ID.json. A write is complete or did not
 * happen: a temporary file is written, synced, renamed, and the directory is synced.
 *
 * Phases, and what the next wherryd makes of them:
 *
 *	          source                                 target
 *	begun     the guest is here: undo                never ran here: tear down
 *	asking    may have moved: ask the target         -
 *	postcopy  has moved, memory must follow:         it is here and waits for memory: let it
 *	          resume                                 run, wait for the source to resume
 *	done      has moved: remove what is left         it is here: let it run, keep the record
 *
 * For a domain of libvirt, whose life libvirt rules, asking means that libvirt may move it now:
 *
 *	asking    QEMU is frozen, or gone: ask the       may come: wait for the source's word, or for
 *	          target; else it is here: undo          the end of its QEMU
 *
 * From postcopy on the guest is at the target for good, and what is here of its memory at the
 * source is the only copy of some of it.
 */

#ifndef WH_JOURNAL_H
#define WH_JOURNAL_H

#include <stdbool.h>
#include <stdint.h>

#include "node_protocol.h"
#include "process.h"
#include "ram_files.h"

#include "wherry/cleanup.h"
#include "wherry/error.h"
#include "wherry/limits.h"
#include "wherry/worker.h"

enum wh_phase {
	WH_PHASE_BEGUN,
	WH_PHASE_ASKING,
	WH_PHASE_POSTCOPY, /* on the target, writing one of these two is the commit */
	WH_PHASE_DONE,
	WH_PHASES,
};

/* Who moves what. */
enum wh_engine {
	WH_ENGINE_QMP,     /* a VM of the configuration: wherry does all */
	WH_ENGINE_OFFLOAD, /* a domain: libvirt moves it, and wherry its memory */
	WH_ENGINE_NATIVE,  /* a domain: libvirt moves all of it, through wherry's tunnel */
	WH_ENGINES,
};

/* Room for the path of a missing file. */
#define WH_MISSING_PATH_MAX 256

/* Room for the path of a unix socket. */
#define WH_MONITOR_PATH_MAX 108

/* "DIR/.wherry-ID" beside a disk. */
#define WH_MADE_PATH_MAX (WH_DISK_PATH_MAX + WH_NAME_MAX + 16u)

/*
 * A file that this side made among a domain's disks. It is that one still if all of it is the same: an inode
 * alone may have been given to another file since.
 */
struct wh_made_file {
	char path[WH_MADE_PATH_MAX];
	uint64_t dev;
	uint64_t ino; /* 0: not known; the name is nobody else's */
	uint64_t born_ns;
};

struct wh_record {
	char id[WH_NAME_MAX];
	char vm[WH_NAME_MAX];
	char peer[WH_NAME_MAX];
	enum wh_worker_role role;
	enum wh_phase phase;
	enum wh_engine engine;
	char directory[WH_DIRECTORY_MAX]; /* domain: where its QEMU's sockets are, on both nodes */
	bool running;                     /* the guest ran before the migration */
	uint8_t token[WH_TOKEN_BYTES];
	struct wh_process vmm;
	struct wh_process launcher;        /* target: what "incoming" started */
	struct wh_ram ram;                 /* names, paths and inodes; not opened */
	int32_t vmm_uffd;                  /* target: worker.h; -1 but in post-copy */
	char missing[WH_MISSING_PATH_MAX]; /* target: the missing file; "" if there is none */
	bool defined;                      /* target: a domain that libvirt knew here before */
	char monitor[WH_MONITOR_PATH_MAX]; /* source: our monitor of its QEMU, of the move before */
	struct wh_made_file made[WH_DISKS_MAX]; /* source: marks; target: places for disks */
	uint32_t made_count;
};

/* Write the record of @record->id. Return: 0 once it is on disk, or -errno. */
wh_must_check int wh_journal_write(const char *state_dir, const struct wh_record *record,
                                   struct wh_error *err);

/*
 * The two halves of it, so that the second takes half as long: put the record on disk beside the one that is
 * in force, and have it take its place. A record written in between undoes the first: -ENOENT.
 */
wh_must_check int wh_journal_stage(const char *state_dir, const struct wh_record *record,
                                   struct wh_error *err);
wh_must_check int wh_journal_commit(const char *state_dir, const char *id, struct wh_error *err);

/* Read one. Return: 0, -ENOENT, or -errno. @ret is then to be freed by wh_record_done(). */
wh_must_check int wh_journal_read(const char *state_dir, const char *id, struct wh_record *ret,
                                  struct wh_error *err);

/* Forget one, durably. Return: 0, also if there is none, or -errno. */
wh_must_check int wh_journal_remove(const char *state_dir, const char *id, struct wh_error *err);

/*
 * Call @each for every record; a file that cannot be read is reported by @bad. Return: 0 or
 * -errno if the directory cannot be read or made.
 */
struct wh_journal_visitor {
	void (*each)(void *ctx, const struct wh_record *record);
	void (*bad)(void *ctx, const char *id, const char *why);
	void *ctx;
};
wh_must_check int wh_journal_walk(const char *state_dir, const struct wh_journal_visitor *visitor,
                                  struct wh_error *err);

const char *wh_engine_name(enum wh_engine engine); /* "offload" */

/* Whether the guest is at the target for good. */
bool wh_phase_is_committed(enum wh_phase phase);

void wh_record_done(struct wh_record *record);

#endif
