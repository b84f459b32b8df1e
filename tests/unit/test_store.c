/* SPDX-License-Identifier: Apache-2.0 */

/* The store, on the real file system: in a directory of its own for each test. */

#include "store.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include <sqlite3.h>

#include "remove_tree.h"

struct fixture {
	char dir[64];
	struct wh_store *store;
	struct wh_error err;
};

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	(void)strcpy(f->dir, "/tmp/wherry-store-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	assert_int_equal(wh_store_open(&f->store, f->dir, &f->err), 0);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	f->store = wh_store_close(f->store);
	assert_int_equal(remove_tree(f->dir), 0);
	free(f);
	return 0;
}

static void reopen(struct fixture *f)
{
	f->store = wh_store_close(f->store);
	assert_int_equal(wh_store_open(&f->store, f->dir, &f->err), 0);
}

/* Do something to the database that the store would not. */
static void meddle(const struct fixture *f, const char *sql)
{
	char path[96];
	sqlite3 *db;

	(void)snprintf(path, sizeof(path), "%s/cluster.db", f->dir);
	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

static void assert_says(const struct wh_error *err, const char *words)
{
	if (!strstr(err->text, words))
		fail_msg("'%s' says nothing of '%s'", err->text, words);
}

static struct wh_move move_of(const char *id, uint64_t sequence, enum wh_move_phase phase)
{
	struct wh_move move = { .sequence = sequence, .phase = phase, .priority = 50 };

	(void)snprintf(move.id, sizeof(move.id), "%s", id);
	move.settings = wh_settings_defaults();
	return move;
}

/* What a walk has seen: the ids in order, and the last move whole. */
struct seen {
	char text[512];
	struct wh_move last;
	size_t count;
	int result; /* to give back from each call */
};

static void note(struct seen *seen, const char *text)
{
	const size_t used = strlen(seen->text);

	(void)snprintf(seen->text + used, sizeof(seen->text) - used, "%s ", text);
	seen->count++;
}

static int see_move(void *ctx, const struct wh_move *move)
{
	struct seen *seen = ctx;

	note(seen, move->id);
	seen->last = *move;
	return seen->result;
}

static int see_object(void *ctx, const struct wh_stored_object *object)
{
	struct seen *seen = ctx;
	char text[128];

	(void)snprintf(text, sizeof(text), "%u/%s/%s=%s@%llu", object->kind, object->name_space,
	               object->name, object->json, (unsigned long long)object->revision);
	note(seen, text);
	return seen->result;
}

static int see_node(void *ctx, const char *node)
{
	note(ctx, node);
	return ((struct seen *)ctx)->result;
}

static void assert_moves(struct fixture *f, const char *ids)
{
	struct seen seen = { 0 };

	assert_int_equal(wh_store_each_move(f->store, see_move, &seen, &f->err), 0);
	assert_string_equal(seen.text, ids);
}

static void assert_objects(struct fixture *f, const char *objects)
{
	struct seen seen = { 0 };

	assert_int_equal(wh_store_each_object(f->store, see_object, &seen, &f->err), 0);
	assert_string_equal(seen.text, objects);
}

static void a_move_comes_back_as_it_was_put(void **state)
{
	struct fixture *f = *state;
	struct wh_move move = move_of("db1-00c0ffee", UINT64_C(1) << 62, WH_MOVE_RUNNING);
	struct seen seen = { 0 };

	(void)strcpy(move.name_space, "prod");
	(void)strcpy(move.vm, "db1");
	(void)strcpy(move.source, "a");
	(void)strcpy(move.target, "b");
	move.target_named = true;
	(void)strcpy(move.request, "move-db1");
	move.drain = true;
	move.attempt = 7;
	(void)strcpy(move.engine, "offload");
	(void)strcpy(move.transport, "tcp");
	(void)strcpy(move.policy, "it's \"hpc\"");
	move.settings.bandwidth_bps = 64 << 20;
	move.settings.allow_post_copy = true;
	(void)strcpy(move.settings.network, "migration");
	move.settings.given = 0x201;
	(void)strcpy(move.outcome, "cancelled");
	memset(move.reason, 'x', sizeof(move.reason) - 1);
	move.created_ms = 1;
	move.started_ms = 2;
	move.ended_ms = UINT64_C(1) << 60;

	assert_int_equal(wh_store_put_move(f->store, &move, &f->err), 0);
	reopen(f);
	assert_int_equal(wh_store_each_move(f->store, see_move, &seen, &f->err), 0);

	assert_int_equal(seen.count, 1);
	assert_memory_equal(&seen.last, &move, sizeof(move));
}

static void a_move_that_is_put_again_replaces_itself(void **state)
{
	struct fixture *f = *state;
	struct wh_move move = move_of("a-1", 1, WH_MOVE_PENDING);
	struct seen seen = { 0 };

	assert_int_equal(wh_store_put_move(f->store, &move, &f->err), 0);
	move.phase = WH_MOVE_FAILED;
	assert_int_equal(wh_store_put_move(f->store, &move, &f->err), 0);

	assert_int_equal(wh_store_each_move(f->store, see_move, &seen, &f->err), 0);
	assert_int_equal(seen.count, 1);
	assert_int_equal(seen.last.phase, WH_MOVE_FAILED);
}

static void moves_come_by_age_whatever_their_names(void **state)
{
	struct fixture *f = *state;
	static const struct {
		const char *id;
		uint64_t sequence;
	} puts[] = { { "m", 20 }, { "a", 100 }, { "z", 3 } };

	for (size_t i = 0; i < 3; i++) {
		struct wh_move move = move_of(puts[i].id, puts[i].sequence, WH_MOVE_PENDING);

		assert_int_equal(wh_store_put_move(f->store, &move, &f->err), 0);
	}

	assert_moves(f, "z m a ");
}

static void only_moves_that_are_over_are_forgotten_and_the_newest_stay(void **state)
{
	struct fixture *f = *state;
	static const enum wh_move_phase phases[] = {
		WH_MOVE_PENDING,   WH_MOVE_SUCCEEDED, WH_MOVE_RUNNING, WH_MOVE_FAILED,
		WH_MOVE_CANCELLED, WH_MOVE_GRANTED,   WH_MOVE_FAILED,
	};

	for (uint64_t i = 0; i < 7; i++) {
		const char id[] = { (char)('0' + i), '\0' };
		struct wh_move move = move_of(id, i, phases[i]);

		assert_int_equal(wh_store_put_move(f->store, &move, &f->err), 0);
	}

	assert_int_equal(wh_store_prune_moves(f->store, 4, &f->err), 0);
	assert_moves(f, "0 1 2 3 4 5 6 ");
	assert_int_equal(wh_store_prune_moves(f->store, 2, &f->err), 0);
	assert_moves(f, "0 2 4 5 6 ");
	assert_int_equal(wh_store_prune_moves(f->store, 0, &f->err), 0);
	assert_moves(f, "0 2 5 ");
}

static void a_key_of_the_settings_that_is_unknown_or_missing_breaks_nothing(void **state)
{
	struct fixture *f = *state;
	struct wh_move move = move_of("a-1", 1, WH_MOVE_RUNNING);
	struct seen seen = { 0 };

	assert_int_equal(wh_store_put_move(f->store, &move, &f->err), 0);
	meddle(f, "UPDATE moves SET settings = '{\"fromTheFuture\":{\"given\":true,\"value\":[]},"
	          "\"progressTimeout\":{\"given\":true,\"value\":151}}'");
	assert_int_equal(wh_store_each_move(f->store, see_move, &seen, &f->err), 0);

	assert_int_equal(seen.last.settings.progress_s, 151);
	assert_int_equal(seen.last.settings.completion_s_per_gib, 800);
}

static void a_damaged_move_is_refused_with_its_id(void **state)
{
	struct fixture *f = *state;
	static const struct {
		const char *sql;
		const char *words;
	} cases[] = {
		{ "UPDATE moves SET phase = 99", "phase" },
		{ "UPDATE moves SET phase = 0, priority = 5000000000", "too large" },
		{ "UPDATE moves SET priority = 50, vm = printf('%064d', 0)", "too large" },
		{ "UPDATE moves SET vm = 'a', settings = '{'", "not JSON" },
		{ "UPDATE moves SET settings = '{\"network\":{\"value\":3}}'", "'network'" },
		{ "UPDATE moves SET settings = '{\"progressTimeout\":{\"value\":-1}}'",
		  "'progressTimeout'" },
		{ "UPDATE moves SET settings = '{\"progressTimeout\":{\"value\":4294967296}}'",
		  "'progressTimeout'" },
	};
	struct wh_move move = move_of("a-1", 1, WH_MOVE_RUNNING);

	assert_int_equal(wh_store_put_move(f->store, &move, &f->err), 0);
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct seen seen = { 0 };

		meddle(f, cases[i].sql);
		assert_true(wh_store_each_move(f->store, see_move, &seen, &f->err) < 0);
		assert_int_equal(seen.count, 0);
		assert_says(&f->err, "move a-1");
		assert_says(&f->err, cases[i].words);
	}
}

static struct wh_stored_object object_of(enum wh_kind kind, const char *name_space,
                                         const char *name, const char *json)
{
	return (struct wh_stored_object){
		.kind = kind,
		.name_space = name_space,
		.name = name,
		.json = json,
	};
}

static int put(struct fixture *f, struct wh_stored_object *objects, size_t count,
               const struct wh_move *moves, size_t move_count)
{
	const struct wh_store_batch batch = {
		.objects = objects,
		.count = count,
		.moves = moves,
		.move_count = move_count,
	};

	return wh_store_put_objects(f->store, &batch, &f->err);
}

static void objects_come_by_kind_namespace_and_name(void **state)
{
	struct fixture *f = *state;
	struct wh_stored_object objects[] = {
		object_of(WH_KIND_VM, "b", "a", "{}"),
		object_of(WH_KIND_VM, "a", "z", "{}"),
		object_of(WH_KIND_VM, "a", "b", "{}"),
		object_of(WH_KIND_POLICY, "", "p", "{}"),
	};

	assert_int_equal(put(f, objects, 4, NULL, 0), 0);
	reopen(f);

	assert_int_equal(objects[3].revision, 4);
	assert_objects(f, "2//p={}@4 4/a/b={}@3 4/a/z={}@2 4/b/a={}@1 ");
}

static void a_revision_never_comes_again(void **state)
{
	struct fixture *f = *state;
	struct wh_stored_object object = object_of(WH_KIND_POLICY, "", "p", "{}");

	assert_int_equal(put(f, &object, 1, NULL, 0), 0);
	assert_int_equal(put(f, &object, 1, NULL, 0), 0);
	assert_objects(f, "2//p={}@2 ");
	assert_int_equal(wh_store_delete_object(f->store, WH_KIND_POLICY, "", "p", &f->err), 0);
	assert_objects(f, "");
	reopen(f);
	assert_int_equal(put(f, &object, 1, NULL, 0), 0);

	assert_int_equal(object.revision, 3);
}

static void an_object_that_is_not_there_cannot_be_deleted(void **state)
{
	struct fixture *f = *state;
	struct wh_stored_object object = object_of(WH_KIND_VM, "a", "vm", "{}");

	assert_int_equal(put(f, &object, 1, NULL, 0), 0);
	assert_int_equal(wh_store_delete_object(f->store, WH_KIND_VM, "b", "vm", &f->err), -ENOENT);
	assert_int_equal(wh_store_delete_object(f->store, WH_KIND_VMI, "a", "vm", &f->err),
	                 -ENOENT);

	assert_objects(f, "4/a/vm={}@1 ");
}

static void objects_and_the_moves_they_ask_for_are_put_together_or_not_at_all(void **state)
{
	struct fixture *f = *state;
	struct wh_stored_object objects[] = { object_of(WH_KIND_MIGRATION, "a", "m", "{}") };
	struct wh_move move = move_of("vm-1", 1, WH_MOVE_PENDING);

	meddle(f, "CREATE TRIGGER t BEFORE INSERT ON moves BEGIN SELECT RAISE(ABORT, 'no'); END");
	assert_true(put(f, objects, 1, &move, 1) < 0);
	assert_says(&f->err, "the store: no");
	assert_objects(f, "");
	assert_moves(f, "");

	meddle(f, "DROP TRIGGER t");
	assert_int_equal(put(f, objects, 1, &move, 1), 0);
	assert_objects(f, "6/a/m={}@1 ");
	assert_moves(f, "vm-1 ");
}

static void knows_which_nodes_are_drained(void **state)
{
	struct fixture *f = *state;
	struct seen seen = { 0 };

	assert_int_equal(wh_store_set_drained(f->store, "b", true, &f->err), 0);
	assert_int_equal(wh_store_set_drained(f->store, "b", true, &f->err), 0);
	assert_int_equal(wh_store_set_drained(f->store, "a", true, &f->err), 0);
	assert_int_equal(wh_store_set_drained(f->store, "c", true, &f->err), 0);
	assert_int_equal(wh_store_set_drained(f->store, "a", false, &f->err), 0);
	assert_int_equal(wh_store_set_drained(f->store, "never", false, &f->err), 0);
	reopen(f);

	assert_int_equal(wh_store_each_drained(f->store, see_node, &seen, &f->err), 0);
	assert_string_equal(seen.text, "b c ");
}

static void knows_which_nodes_have_ever_reported(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(wh_store_note_node(f->store, "a", &f->err), 0);
	assert_int_equal(wh_store_note_node(f->store, "a", &f->err), 0);
	reopen(f);

	assert_int_equal(wh_store_knows_node(f->store, "a", &f->err), 1);
	assert_int_equal(wh_store_knows_node(f->store, "b", &f->err), 0);
}

static void a_walk_ends_when_it_is_told_to(void **state)
{
	struct fixture *f = *state;
	struct wh_stored_object objects[] = {
		object_of(WH_KIND_POLICY, "", "p", "{}"),
		object_of(WH_KIND_POLICY, "", "q", "{}"),
	};
	struct wh_move moves[] = { move_of("a", 1, WH_MOVE_PENDING),
		                   move_of("b", 2, WH_MOVE_PENDING) };
	struct seen seen = { .result = -ECANCELED };

	assert_int_equal(put(f, objects, 2, moves, 2), 0);
	assert_int_equal(wh_store_set_drained(f->store, "a", true, &f->err), 0);
	assert_int_equal(wh_store_set_drained(f->store, "b", true, &f->err), 0);

	assert_int_equal(wh_store_each_object(f->store, see_object, &seen, &f->err), -ECANCELED);
	assert_int_equal(wh_store_each_move(f->store, see_move, &seen, &f->err), -ECANCELED);
	assert_int_equal(wh_store_each_drained(f->store, see_node, &seen, &f->err), -ECANCELED);
	assert_int_equal(seen.count, 3);

	/* And the next one begins anew. */
	seen = (struct seen){ 0 };
	assert_int_equal(wh_store_each_move(f->store, see_move, &seen, &f->err), 0);
	assert_string_equal(seen.text, "a b ");
}

static void a_second_writer_is_refused(void **state)
{
	struct fixture *f = *state;
	struct wh_store *second = NULL;

	assert_int_equal(wh_store_open(&second, f->dir, &f->err), -EBUSY);
	assert_null(second);
	assert_says(&f->err, f->dir);
	assert_says(&f->err, "another wherryd has it open");
}

static void a_store_of_an_earlier_version_is_brought_up_with_all_it_holds(void **state)
{
	struct fixture *f = *state;
	struct wh_stored_object object = object_of(WH_KIND_POLICY, "", "p", "{}");
	struct wh_move move = move_of("a-1", 1, WH_MOVE_RUNNING);
	struct seen seen = { 0 };

	assert_int_equal(wh_store_put_move(f->store, &move, &f->err), 0);
	assert_int_equal(put(f, &object, 1, NULL, 0), 0);
	f->store = wh_store_close(f->store);
	meddle(f, "ALTER TABLE moves DROP COLUMN engine; ALTER TABLE moves DROP COLUMN transport;"
	          "PRAGMA user_version = 1");

	assert_int_equal(wh_store_open(&f->store, f->dir, &f->err), 0);
	assert_int_equal(wh_store_each_move(f->store, see_move, &seen, &f->err), 0);
	assert_int_equal(seen.count, 1);
	assert_memory_equal(&seen.last, &move, sizeof(move));
	assert_objects(f, "2//p={}@1 ");

	(void)strcpy(move.engine, "native");
	(void)strcpy(move.transport, "rdma");
	assert_int_equal(wh_store_put_move(f->store, &move, &f->err), 0);
	reopen(f);
	assert_int_equal(wh_store_each_move(f->store, see_move, &seen, &f->err), 0);
	assert_string_equal(seen.last.engine, "native");
	assert_string_equal(seen.last.transport, "rdma");
}

static void a_store_of_a_newer_version_is_refused_and_left_alone(void **state)
{
	struct fixture *f = *state;
	struct wh_store *store = NULL;

	f->store = wh_store_close(f->store);
	meddle(f, "PRAGMA user_version = 1000");

	assert_int_equal(wh_store_open(&store, f->dir, &f->err), -EPROTO);
	assert_says(&f->err, "newer Wherry");
	assert_says(&f->err, "1000");
	assert_int_equal(wh_store_open(&store, f->dir, &f->err), -EPROTO);
}

static void what_is_no_database_is_refused(void **state)
{
	struct fixture *f = *state;
	struct wh_store *store = NULL;
	char path[96];
	FILE *file;

	f->store = wh_store_close(f->store);
	(void)snprintf(path, sizeof(path), "%s/cluster.db", f->dir);
	file = fopen(path, "w");
	assert_non_null(file);
	for (int i = 0; i < 1000; i++)
		assert_true(fputs("no database. ", file) >= 0);
	assert_int_equal(fclose(file), 0);

	assert_int_equal(wh_store_open(&store, f->dir, &f->err), -EBADMSG);
	assert_says(&f->err, "not a database");
}

static void a_directory_that_is_not_there_is_made(void **state)
{
	struct fixture *f = *state;
	struct wh_store *store = NULL;
	char path[96];

	(void)snprintf(path, sizeof(path), "%s/some/where", f->dir);

	assert_int_equal(wh_store_open(&store, path, &f->err), 0);
	store = wh_store_close(store);
	assert_int_equal(access(path, F_OK), 0);
}

/* The child dies with the store open and says how many moves it was told are on disk. */
static void die_writing(const char *dir, int said)
{
	struct wh_store *store = NULL;
	struct wh_error err;

	if (wh_store_open(&store, dir, &err) < 0)
		_exit(1);
	/* This ends: the parent kills us. */
	for (uint64_t i = 0;; i++) {
		struct wh_move move = move_of("", i, WH_MOVE_PENDING);

		(void)snprintf(move.id, sizeof(move.id), "%llu", (unsigned long long)i);
		if (wh_store_put_move(store, &move, &err) < 0 || write(said, "x", 1) != 1)
			_exit(1);
	}
}

static void what_was_put_is_there_after_the_writer_was_killed(void **state)
{
	struct fixture *f = *state;
	struct seen seen = { 0 };
	size_t told = 0;
	int said[2];
	char byte;
	pid_t pid;

	f->store = wh_store_close(f->store);
	assert_int_equal(pipe2(said, O_CLOEXEC), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		die_writing(f->dir, said[1]);
	(void)close(said[1]);
	for (; told < 50; told++)
		assert_int_equal(read(said[0], &byte, 1), 1);
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	while (read(said[0], &byte, 1) == 1)
		told++;
	(void)close(said[0]);

	assert_int_equal(wh_store_open(&f->store, f->dir, &f->err), 0);
	assert_int_equal(wh_store_each_move(f->store, see_move, &seen, &f->err), 0);
	/* One more may be on disk than it was told. */
	assert_true(seen.count == told || seen.count == told + 1);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_move_comes_back_as_it_was_put),
		TEST(a_move_that_is_put_again_replaces_itself),
		TEST(moves_come_by_age_whatever_their_names),
		TEST(only_moves_that_are_over_are_forgotten_and_the_newest_stay),
		TEST(a_key_of_the_settings_that_is_unknown_or_missing_breaks_nothing),
		TEST(a_damaged_move_is_refused_with_its_id),
		TEST(objects_come_by_kind_namespace_and_name),
		TEST(a_revision_never_comes_again),
		TEST(an_object_that_is_not_there_cannot_be_deleted),
		TEST(objects_and_the_moves_they_ask_for_are_put_together_or_not_at_all),
		TEST(knows_which_nodes_are_drained),
		TEST(knows_which_nodes_have_ever_reported),
		TEST(a_walk_ends_when_it_is_told_to),
		TEST(a_second_writer_is_refused),
		TEST(a_store_of_an_earlier_version_is_brought_up_with_all_it_holds),
		TEST(a_store_of_a_newer_version_is_refused_and_left_alone),
		TEST(what_is_no_database_is_refused),
		TEST(a_directory_that_is_not_there_is_made),
		TEST(what_was_put_is_there_after_the_writer_was_killed),
	};

	return cmocka_run_group_tests_name("store", tests, NULL, NULL);
}
