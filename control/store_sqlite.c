/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Store in SQLite - one database in write-ahead mode, synced at each commit.
 *
 * That there is one writer is seen to by a lock of our own, which the kernel gives back however
 * the process ends. Reading along ("sqlite3 cluster.db") stays possible.
 *
 * The schema has a version, PRAGMA user_version: the number of steps of @steps that were taken.
 * An older store takes the others as it is opened; a step that was released never changes.
 */

#include "store.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include <sqlite3.h>

#include "files.h"
#include "settings_json.h"

#include "wherry/assert.h"

static const char *const steps[] = {
	"CREATE TABLE objects ("
	" kind INTEGER NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL,"
	" json TEXT NOT NULL, revision INTEGER NOT NULL,"
	" PRIMARY KEY (kind, namespace, name)) WITHOUT ROWID;"
	"CREATE TABLE revisions (last INTEGER NOT NULL);"
	"INSERT INTO revisions VALUES (0);"
	"CREATE TABLE moves ("
	" id TEXT NOT NULL PRIMARY KEY, sequence INTEGER NOT NULL,"
	" namespace TEXT NOT NULL, vm TEXT NOT NULL, source TEXT NOT NULL,"
	" target TEXT NOT NULL, target_named INTEGER NOT NULL, request TEXT NOT NULL,"
	" priority INTEGER NOT NULL, drain INTEGER NOT NULL, attempt INTEGER NOT NULL,"
	" phase INTEGER NOT NULL, policy TEXT NOT NULL, outcome TEXT NOT NULL,"
	" reason TEXT NOT NULL, created_ms INTEGER NOT NULL, started_ms INTEGER NOT NULL,"
	" ended_ms INTEGER NOT NULL, settings TEXT NOT NULL) WITHOUT ROWID;"
	"CREATE INDEX moves_by_age ON moves (sequence);"
	"CREATE TABLE nodes (node TEXT NOT NULL PRIMARY KEY) WITHOUT ROWID;"
	"CREATE TABLE drained (node TEXT NOT NULL PRIMARY KEY) WITHOUT ROWID;",
	"ALTER TABLE moves ADD COLUMN engine TEXT NOT NULL DEFAULT '';",
	"ALTER TABLE moves ADD COLUMN transport TEXT NOT NULL DEFAULT '';",
};

#define STEPS (sizeof(steps) / sizeof(steps[0]))

#define MOVE_COLUMNS                                                             \
	"id, sequence, namespace, vm, source, target, target_named, request, "   \
	"priority, drain, attempt, phase, policy, outcome, reason, created_ms, " \
	"started_ms, ended_ms, engine, transport, settings"

enum statement {
	NEXT_REVISION,
	PUT_OBJECT,
	DELETE_OBJECT,
	EACH_OBJECT,
	PUT_MOVE,
	PRUNE_MOVES,
	EACH_MOVE,
	NOTE_NODE,
	KNOWS_NODE,
	SET_DRAINED,
	UNSET_DRAINED,
	EACH_DRAINED,
	BEGIN,
	COMMIT,
	STATEMENTS,
};

static const char *const statements[] = {
	[NEXT_REVISION] = "UPDATE revisions SET last = last + 1 RETURNING last",
	[PUT_OBJECT] = "INSERT OR REPLACE INTO objects VALUES (?, ?, ?, ?, ?)",
	[DELETE_OBJECT] = "DELETE FROM objects WHERE kind = ? AND namespace = ? AND name = ?",
	[EACH_OBJECT] = "SELECT kind, namespace, name, json, revision FROM objects "
			"ORDER BY kind, namespace, name",
	[PUT_MOVE] = "INSERT OR REPLACE INTO moves (" MOVE_COLUMNS ") VALUES "
		     "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
	[PRUNE_MOVES] = "DELETE FROM moves WHERE phase >= ?1 AND sequence <= "
			"(SELECT sequence FROM moves WHERE phase >= ?1 "
			"ORDER BY sequence DESC LIMIT 1 OFFSET ?2)",
	[EACH_MOVE] = "SELECT " MOVE_COLUMNS " FROM moves ORDER BY sequence",
	[NOTE_NODE] = "INSERT OR IGNORE INTO nodes VALUES (?)",
	[KNOWS_NODE] = "SELECT node FROM nodes WHERE node = ?",
	[SET_DRAINED] = "INSERT OR IGNORE INTO drained VALUES (?)",
	[UNSET_DRAINED] = "DELETE FROM drained WHERE node = ?",
	[EACH_DRAINED] = "SELECT node FROM drained ORDER BY node",
	[BEGIN] = "BEGIN IMMEDIATE",
	[COMMIT] = "COMMIT",
};

static_assert(sizeof(statements) / sizeof(statements[0]) == STATEMENTS, "each has its text");

/* The columns of a move in the order of MOVE_COLUMNS, but for its settings, which come last. */
enum column_type {
	COLUMN_TEXT,
	COLUMN_U64,
	COLUMN_U32,
	COLUMN_BOOL,
};

struct column {
	enum column_type type;
	size_t offset;
	size_t size;
};

#define COLUMN(type, field)                                                                    \
	{                                                                                      \
		type, offsetof(struct wh_move, field), sizeof(((struct wh_move *)NULL)->field) \
	}

static const struct column move_columns[] = {
	COLUMN(COLUMN_TEXT, id),           COLUMN(COLUMN_U64, sequence),
	COLUMN(COLUMN_TEXT, name_space),   COLUMN(COLUMN_TEXT, vm),
	COLUMN(COLUMN_TEXT, source),       COLUMN(COLUMN_TEXT, target),
	COLUMN(COLUMN_BOOL, target_named), COLUMN(COLUMN_TEXT, request),
	COLUMN(COLUMN_U32, priority),      COLUMN(COLUMN_BOOL, drain),
	COLUMN(COLUMN_U32, attempt),       COLUMN(COLUMN_U32, phase),
	COLUMN(COLUMN_TEXT, policy),       COLUMN(COLUMN_TEXT, outcome),
	COLUMN(COLUMN_TEXT, reason),       COLUMN(COLUMN_U64, created_ms),
	COLUMN(COLUMN_U64, started_ms),    COLUMN(COLUMN_U64, ended_ms),
	COLUMN(COLUMN_TEXT, engine),       COLUMN(COLUMN_TEXT, transport),
};

#define MOVE_FIELDS ((int)(sizeof(move_columns) / sizeof(move_columns[0])))

static_assert(sizeof(enum wh_move_phase) == sizeof(uint32_t), "a phase is kept as COLUMN_U32");

struct wh_store {
	sqlite3 *db;
	sqlite3_stmt *prepared[STATEMENTS];
	int lock_fd;
};

static int errno_of(int code)
{
	switch (code & 0xff) {
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		return -EBUSY;
	case SQLITE_NOMEM:
		return -ENOMEM;
	case SQLITE_FULL:
		return -ENOSPC;
	case SQLITE_READONLY:
		return -EROFS;
	case SQLITE_CANTOPEN:
		return -ENOENT;
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
		return -EBADMSG;
	case SQLITE_CONSTRAINT:
		return -EINVAL;
	default:
		return -EIO;
	}
}

/* Say what SQLite says of what was done last. */
static int fail(struct wh_store *store, struct wh_error *err)
{
	return wh_fail(err, errno_of(sqlite3_extended_errcode(store->db)), "the store: %s",
	               sqlite3_errmsg(store->db));
}

static int execute(struct wh_store *store, const char *sql, struct wh_error *err)
{
	return sqlite3_exec(store->db, sql, NULL, NULL, NULL) == SQLITE_OK ? 0 : fail(store, err);
}

/* Take the next row of @statement. Return: 1 if there is one, 0 at the end, or -errno. */
static int step(struct wh_store *store, enum statement statement, struct wh_error *err)
{
	sqlite3_stmt *stmt = store->prepared[statement];
	const int code = sqlite3_step(stmt);

	if (code == SQLITE_ROW)
		return 1;
	if (code != SQLITE_DONE)
		(void)fail(store, err);
	(void)sqlite3_reset(stmt); /* repeats the result of the step */
	return code == SQLITE_DONE ? 0 : errno_of(code);
}

/* Run a statement that has no rows. */
static int run(struct wh_store *store, enum statement statement, struct wh_error *err)
{
	const int r = step(store, statement, err);

	wh_assert(r <= 0);
	return r;
}

/* Binding fails for want of memory only, or for an index that is wrong. */
static void bind_text(struct wh_store *store, enum statement statement, int at, const char *text)
{
	wh_assert(sqlite3_bind_text(store->prepared[statement], at, text, -1, SQLITE_TRANSIENT) ==
	          SQLITE_OK);
}

static void bind_number(struct wh_store *store, enum statement statement, int at, uint64_t number)
{
	wh_assert(sqlite3_bind_int64(store->prepared[statement], at, (sqlite3_int64)number) ==
	          SQLITE_OK);
}

static const char *text_at(struct wh_store *store, enum statement statement, int at)
{
	const void *text = sqlite3_column_text(store->prepared[statement], at);

	return text ? text : "";
}

static uint64_t number_at(struct wh_store *store, enum statement statement, int at)
{
	return (uint64_t)sqlite3_column_int64(store->prepared[statement], at);
}

/* Take back what was not committed. It cannot fail in a way that matters: nothing is committed. */
static int undo(struct wh_store *store, int r)
{
	if (!sqlite3_get_autocommit(store->db))
		(void)sqlite3_exec(store->db, "ROLLBACK", NULL, NULL, NULL);
	return r;
}

/* Opening. */

static int take_lock(struct wh_store *store, const char *dir, struct wh_error *err)
{
	char path[PATH_MAX];

	if (snprintf(path, sizeof(path), "%s/cluster.lock", dir) >= (int)sizeof(path))
		return wh_fail(err, -ENAMETOOLONG, "the path is too long");
	store->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (store->lock_fd < 0)
		return wh_fail(err, -errno, "%s: %s", path, strerror(errno));
	if (flock(store->lock_fd, LOCK_EX | LOCK_NB) == 0)
		return 0;
	if (errno == EWOULDBLOCK)
		return wh_fail(err, -EBUSY,
		               "another wherryd has it open; there can be one at a time");
	return wh_fail(err, -errno, "%s: %s", path, strerror(errno));
}

static int open_database(struct wh_store *store, const char *dir, struct wh_error *err)
{
	const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX |
	                  SQLITE_OPEN_PRIVATECACHE;
	char path[PATH_MAX];
	int code;

	if (snprintf(path, sizeof(path), "%s/cluster.db", dir) >= (int)sizeof(path))
		return wh_fail(err, -ENAMETOOLONG, "the path is too long");
	code = sqlite3_open_v2(path, &store->db, flags, NULL);
	if (code != SQLITE_OK)
		return wh_fail(err, errno_of(code), "%s: %s", path, sqlite3_errstr(code));
	/* Somebody who reads along may hold up a checkpoint for a moment. */
	(void)sqlite3_busy_timeout(store->db, 2000);
	return execute(store, "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL", err);
}

static int schema_version(struct wh_store *store, int *ret, struct wh_error *err)
{
	sqlite3_stmt *stmt;

	if (sqlite3_prepare_v2(store->db, "PRAGMA user_version", -1, &stmt, NULL) != SQLITE_OK)
		return fail(store, err);
	if (sqlite3_step(stmt) == SQLITE_ROW)
		*ret = sqlite3_column_int(stmt, 0);
	return sqlite3_finalize(stmt) == SQLITE_OK ? 0 : fail(store, err);
}

static int take_step(struct wh_store *store, int version, struct wh_error *err)
{
	char sql[64];
	int r;

	(void)snprintf(sql, sizeof(sql), "PRAGMA user_version = %d; COMMIT", version + 1);
	r = execute(store, "BEGIN IMMEDIATE", err);
	if (r == 0)
		r = execute(store, steps[version], err);
	if (r == 0)
		r = execute(store, sql, err);
	return r < 0 ? undo(store, r) : 0;
}

static int upgrade(struct wh_store *store, struct wh_error *err)
{
	int version = 0;
	int r;

	r = schema_version(store, &version, err);
	if (r < 0)
		return r;
	if (version < 0 || version > (int)STEPS)
		return wh_fail(
			err, -EPROTO,
			"a newer Wherry made it (its schema is %d, this one knows up to %d); "
			"use that version, or another state directory",
			version, (int)STEPS);
	for (; version < (int)STEPS; version++) {
		r = take_step(store, version, err);
		if (r < 0)
			return wh_context(err, r, "cannot bring it to schema %d", version + 1);
	}
	return 0;
}

static int prepare_all(struct wh_store *store, struct wh_error *err)
{
	for (size_t i = 0; i < STATEMENTS; i++)
		if (sqlite3_prepare_v3(store->db, statements[i], -1, SQLITE_PREPARE_PERSISTENT,
		                       &store->prepared[i], NULL) != SQLITE_OK)
			return fail(store, err);
	return 0;
}

int wh_store_open(struct wh_store **ret, const char *dir, struct wh_error *err)
{
	wh_cleanup(wh_store_closep) struct wh_store *store = calloc(1, sizeof(*store));
	int r;

	if (!store)
		return wh_fail(err, -ENOMEM, "no memory for the store");
	store->lock_fd = -1;
	r = wh_dir_make(dir, err);
	if (r == 0)
		r = take_lock(store, dir, err);
	if (r == 0)
		r = open_database(store, dir, err);
	if (r == 0)
		r = upgrade(store, err);
	if (r == 0)
		r = prepare_all(store, err);
	if (r < 0)
		return wh_context(err, r, "cannot open the store in %s", dir);
	*ret = wh_steal(store);
	return 0;
}

struct wh_store *wh_store_close(struct wh_store *store)
{
	if (!store)
		return NULL;
	for (size_t i = 0; i < STATEMENTS; i++)
		(void)sqlite3_finalize(store->prepared[i]);
	wh_assert(sqlite3_close(store->db) == SQLITE_OK);
	if (store->lock_fd >= 0)
		(void)close(store->lock_fd);
	free(store);
	return NULL;
}

/* Objects. */

static int next_revision(struct wh_store *store, uint64_t *ret, struct wh_error *err)
{
	int r = step(store, NEXT_REVISION, err);

	if (r <= 0)
		return r < 0 ? r : wh_fail(err, -EBADMSG, "the store has lost its revisions");
	*ret = number_at(store, NEXT_REVISION, 0);
	r = step(store, NEXT_REVISION, err);
	return r < 0 ? r : 0;
}

static int put_object(struct wh_store *store, struct wh_stored_object *object, struct wh_error *err)
{
	int r = next_revision(store, &object->revision, err);

	if (r < 0)
		return r;
	bind_number(store, PUT_OBJECT, 1, object->kind);
	bind_text(store, PUT_OBJECT, 2, object->name_space);
	bind_text(store, PUT_OBJECT, 3, object->name);
	bind_text(store, PUT_OBJECT, 4, object->json);
	bind_number(store, PUT_OBJECT, 5, object->revision);
	return run(store, PUT_OBJECT, err);
}

int wh_store_put_objects(struct wh_store *store, const struct wh_store_batch *batch,
                         struct wh_error *err)
{
	int r = run(store, BEGIN, err);

	for (size_t i = 0; r == 0 && i < batch->count; i++)
		r = put_object(store, &batch->objects[i], err);
	for (size_t i = 0; r == 0 && i < batch->move_count; i++)
		r = wh_store_put_move(store, &batch->moves[i], err);
	if (r == 0)
		r = run(store, COMMIT, err);
	return r < 0 ? undo(store, r) : 0;
}

int wh_store_delete_object(struct wh_store *store, enum wh_kind kind, const char *name_space,
                           const char *name, struct wh_error *err)
{
	int r;

	bind_number(store, DELETE_OBJECT, 1, kind);
	bind_text(store, DELETE_OBJECT, 2, name_space);
	bind_text(store, DELETE_OBJECT, 3, name);
	r = run(store, DELETE_OBJECT, err);
	if (r < 0)
		return r;
	return sqlite3_changes(store->db) > 0 ? 0 : wh_fail(err, -ENOENT, "it is not there");
}

int wh_store_each_object(struct wh_store *store,
                         int (*each)(void *ctx, const struct wh_stored_object *object), void *ctx,
                         struct wh_error *err)
{
	int r = 0;

	/* This ends: the table does, and nobody else writes. */
	for (;;) {
		struct wh_stored_object object;

		r = step(store, EACH_OBJECT, err);
		if (r <= 0)
			return r;
		object.kind = (enum wh_kind)number_at(store, EACH_OBJECT, 0);
		object.name_space = text_at(store, EACH_OBJECT, 1);
		object.name = text_at(store, EACH_OBJECT, 2);
		object.json = text_at(store, EACH_OBJECT, 3);
		object.revision = number_at(store, EACH_OBJECT, 4);
		r = each(ctx, &object);
		if (r < 0)
			break;
	}
	(void)sqlite3_reset(store->prepared[EACH_OBJECT]); /* what it did is given up */
	return r;
}

/* Moves. */

static void bind_column(struct wh_store *store, int at, const struct wh_move *move)
{
	const struct column *column = &move_columns[at];
	const void *field = (const char *)move + column->offset;

	switch (column->type) {
	case COLUMN_TEXT:
		bind_text(store, PUT_MOVE, at + 1, field);
		return;
	case COLUMN_U64:
		bind_number(store, PUT_MOVE, at + 1, *(const uint64_t *)field);
		return;
	case COLUMN_U32:
		bind_number(store, PUT_MOVE, at + 1, *(const uint32_t *)field);
		return;
	case COLUMN_BOOL:
		bind_number(store, PUT_MOVE, at + 1, *(const bool *)field);
		return;
	}
}

int wh_store_put_move(struct wh_store *store, const struct wh_move *move, struct wh_error *err)
{
	wh_cleanup(wh_json_unrefp) json_t *settings = wh_settings_to_json(&move->settings);
	wh_cleanup(wh_freep) char *line = wh_json_line(settings);

	wh_assert(line);
	for (int i = 0; i < MOVE_FIELDS; i++)
		bind_column(store, i, move);
	bind_text(store, PUT_MOVE, MOVE_FIELDS + 1, line);
	return run(store, PUT_MOVE, err);
}

int wh_store_prune_moves(struct wh_store *store, size_t keep, struct wh_error *err)
{
	bind_number(store, PRUNE_MOVES, 1, WH_MOVE_SUCCEEDED);
	bind_number(store, PRUNE_MOVES, 2, keep);
	return run(store, PRUNE_MOVES, err);
}

/* Return: whether it fits. */
static bool read_column(struct wh_store *store, int at, struct wh_move *move)
{
	const struct column *column = &move_columns[at];
	void *field = (char *)move + column->offset;

	switch (column->type) {
	case COLUMN_TEXT:
		return snprintf(field, column->size, "%s", text_at(store, EACH_MOVE, at)) <
		       (int)column->size;
	case COLUMN_U64:
		*(uint64_t *)field = number_at(store, EACH_MOVE, at);
		return true;
	case COLUMN_U32:
		*(uint32_t *)field = (uint32_t)number_at(store, EACH_MOVE, at);
		return number_at(store, EACH_MOVE, at) <= UINT32_MAX;
	case COLUMN_BOOL:
		*(bool *)field = number_at(store, EACH_MOVE, at) != 0;
		return true;
	}
	return false;
}

static int read_move(struct wh_store *store, struct wh_move *move, struct wh_error *err)
{
	const char *line = text_at(store, EACH_MOVE, MOVE_FIELDS);
	wh_cleanup(wh_json_unrefp) json_t *settings = NULL;
	int r;

	for (int i = 0; i < MOVE_FIELDS; i++)
		if (!read_column(store, i, move))
			return wh_fail(err, -EBADMSG, "it has a value that is too large");
	if (move->phase > WH_MOVE_CANCELLED)
		return wh_fail(err, -EBADMSG, "it is in no phase that there is");
	r = wh_json_parse(&settings, line, strlen(line), err);
	return r < 0 ? r : wh_settings_from_json(&move->settings, settings, err);
}

int wh_store_each_move(struct wh_store *store, int (*each)(void *ctx, const struct wh_move *move),
                       void *ctx, struct wh_error *err)
{
	int r = 0;

	/* This ends: the table does, and nobody else writes. */
	for (;;) {
		struct wh_move move = { 0 };

		r = step(store, EACH_MOVE, err);
		if (r <= 0)
			return r;
		r = read_move(store, &move, err);
		if (r < 0)
			(void)wh_context(err, r, "move %s in the store", move.id);
		else
			r = each(ctx, &move);
		if (r < 0)
			break;
	}
	(void)sqlite3_reset(store->prepared[EACH_MOVE]); /* what it did is given up */
	return r;
}

/* Nodes. */

int wh_store_note_node(struct wh_store *store, const char *node, struct wh_error *err)
{
	bind_text(store, NOTE_NODE, 1, node);
	return run(store, NOTE_NODE, err);
}

int wh_store_knows_node(struct wh_store *store, const char *node, struct wh_error *err)
{
	int r;

	bind_text(store, KNOWS_NODE, 1, node);
	r = step(store, KNOWS_NODE, err);
	(void)sqlite3_reset(store->prepared[KNOWS_NODE]); /* there is no second row */
	return r;
}

int wh_store_set_drained(struct wh_store *store, const char *node, bool drained,
                         struct wh_error *err)
{
	const enum statement statement = drained ? SET_DRAINED : UNSET_DRAINED;

	bind_text(store, statement, 1, node);
	return run(store, statement, err);
}

int wh_store_each_drained(struct wh_store *store, int (*each)(void *ctx, const char *node),
                          void *ctx, struct wh_error *err)
{
	int r = 0;

	/* This ends: the table does, and nobody else writes. */
	for (;;) {
		r = step(store, EACH_DRAINED, err);
		if (r <= 0)
			return r;
		r = each(ctx, text_at(store, EACH_DRAINED, 0));
		if (r < 0)
			break;
	}
	(void)sqlite3_reset(store->prepared[EACH_DRAINED]); /* what it did is given up */
	return r;
}
