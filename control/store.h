/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Store - what the coordinator must not forget: objects, moves (the queue and its history), and
 * which nodes are being drained.
 *
 * Every call that writes is one transaction: it is on disk when the call returns 0, and has
 * changed nothing if it fails. There is one writer; a second one is refused when it opens.
 *
 * What keeps the data (now SQLite, in one file of the state directory) shows nowhere here.
 *
 * Functions called for each item must not call the store.
 *
 * Threads: one.
 */

#ifndef WH_STORE_H
#define WH_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "move.h"
#include "object.h"

#include "wherry/cleanup.h"
#include "wherry/error.h"

struct wh_store;

/*
 * Open or make the store in @dir. Return: 0; -EBUSY if another process has it; -EPROTO if a newer
 * Wherry made it; or -errno.
 */
wh_must_check int wh_store_open(struct wh_store **ret, const char *dir, struct wh_error *err);
struct wh_store *wh_store_close(struct wh_store *store);

WH_DEFINE_CLEANUP(struct wh_store, wh_store_close)

/* An object as it is kept. @revision is larger each time it is written. */
struct wh_stored_object {
	enum wh_kind kind;
	const char *name_space;
	const char *name;
	const char *json;
	uint64_t revision;
};

/* Objects to make or replace, and the moves that they ask for. */
struct wh_store_batch {
	struct wh_stored_object *objects; /* receive their revisions */
	size_t count;
	const struct wh_move *moves;
	size_t move_count;
};

/* Keep all of @batch, or none. */
wh_must_check int wh_store_put_objects(struct wh_store *store, const struct wh_store_batch *batch,
                                       struct wh_error *err);

/* Return: 0; -ENOENT if it is not there. */
wh_must_check int wh_store_delete_object(struct wh_store *store, enum wh_kind kind,
                                         const char *name_space, const char *name,
                                         struct wh_error *err);

/* Call @each for all objects, by kind, namespace and name; strings are borrowed for the call. A
 * negative value from @each ends the walk and is returned. */
wh_must_check int wh_store_each_object(struct wh_store *store,
                                       int (*each)(void *ctx,
                                                   const struct wh_stored_object *object),
                                       void *ctx, struct wh_error *err);

/* Make or replace the move of this id. */
wh_must_check int wh_store_put_move(struct wh_store *store, const struct wh_move *move,
                                    struct wh_error *err);
/* Forget moves that are over, all but the newest @keep. */
wh_must_check int wh_store_prune_moves(struct wh_store *store, size_t keep, struct wh_error *err);
/* As wh_store_each_object(), the oldest first. */
wh_must_check int wh_store_each_move(struct wh_store *store,
                                     int (*each)(void *ctx, const struct wh_move *move), void *ctx,
                                     struct wh_error *err);

/* Note that @node has reported; and whether it ever has. Return of the latter: 1, 0 or -errno. */
wh_must_check int wh_store_note_node(struct wh_store *store, const char *node,
                                     struct wh_error *err);
wh_must_check int wh_store_knows_node(struct wh_store *store, const char *node,
                                      struct wh_error *err);

/* Note whether @node is being drained; and call @each for all that are. */
wh_must_check int wh_store_set_drained(struct wh_store *store, const char *node, bool drained,
                                       struct wh_error *err);
wh_must_check int wh_store_each_drained(struct wh_store *store,
                                        int (*each)(void *ctx, const char *node), void *ctx,
                                        struct wh_error *err);

#endif
