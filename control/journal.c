/* SPDX-License-Identifier: Apache-2.0 */

#include "journal.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "files.h"
#include "json.h"
#include "node_protocol.h"

#include "wherry/assert.h"

/* 128 RAM files with paths of the longest kind. */
#define RECORD_BYTES_MAX (1u << 20)

#define SUFFIX ".json"

static const char *const roles[] = { [WH_ROLE_SOURCE] = "source", [WH_ROLE_TARGET] = "target" };
static const char *const phases[WH_PHASES] = {
	[WH_PHASE_BEGUN] = "begun",
	[WH_PHASE_ASKING] = "asking",
	[WH_PHASE_POSTCOPY] = "postcopy",
	[WH_PHASE_DONE] = "done",
};

static const char *const engines[WH_ENGINES] = {
	[WH_ENGINE_QMP] = "qmp",
	[WH_ENGINE_OFFLOAD] = "offload",
	[WH_ENGINE_NATIVE] = "native",
};

const char *wh_engine_name(enum wh_engine engine)
{
	wh_assert(engine < WH_ENGINES);
	return engines[engine];
}

static json_t *put_process(const struct wh_process *p)
{
	return json_pack("{s:i, s:I}", "pid", (int)p->pid, "start", (json_int_t)p->start);
}

static json_t *put_ram(const struct wh_ram *ram)
{
	json_t *list = json_array();

	for (uint32_t i = 0; i < ram->count; i++) {
		const struct wh_ram_file *f = &ram->files[i];

		(void)json_array_append_new(
			list, json_pack("{s:s, s:s, s:I, s:I, s:I}", "name", f->name, "path",
		                        f->path, "bytes", (json_int_t)f->bytes, "dev",
		                        (json_int_t)f->dev, "ino", (json_int_t)f->ino));
	}
	return list;
}

static json_t *put_made(const struct wh_record *rec)
{
	json_t *list = json_array();

	for (uint32_t i = 0; i < rec->made_count; i++) {
		const struct wh_made_file *f = &rec->made[i];

		(void)json_array_append_new(list, json_pack("{s:s, s:I, s:I, s:I}", "path", f->path,
		                                            "dev", (json_int_t)f->dev, "ino",
		                                            (json_int_t)f->ino, "born_ns",
		                                            (json_int_t)f->born_ns));
	}
	return list;
}

static char *format(const struct wh_record *rec)
{
	wh_cleanup(wh_json_unrefp) json_t *json = NULL;
	char token[WH_TOKEN_TEXT_MAX];

	wh_node_token_format(token, rec->token);
	json = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:b, s:s, s:o, s:o, s:o, s:i, s:s, "
	                 "s:b, s:s, s:o}",
	                 "id", rec->id, "vm", rec->vm, "peer", rec->peer, "role", roles[rec->role],
	                 "phase", phases[rec->phase], "engine", engines[rec->engine], "directory",
	                 rec->directory, "running", rec->running, "token", token, "vmm",
	                 put_process(&rec->vmm), "launcher", put_process(&rec->launcher), "ram",
	                 put_ram(&rec->ram), "vmm_uffd", (int)rec->vmm_uffd, "missing",
	                 rec->missing, "defined", rec->defined, "monitor", rec->monitor, "made",
	                 put_made(rec));
	return json ? wh_json_line(json) : NULL;
}

/* The index of the string @key in @names. Return: it or -EPROTO. */
static int get_choice(const json_t *json, const char *key, const char *const *names, size_t count,
                      struct wh_error *err)
{
	const char *text = wh_json_text(json, key);

	for (size_t i = 0; i < count; i++)
		if (!strcmp(text, names[i]))
			return (int)i;
	return wh_fail(err, -EPROTO, "'%s' has an unknown value", key);
}

static int get_process(const json_t *json, const char *key, struct wh_process *ret,
                       struct wh_error *err)
{
	const json_t *process = json_object_get(json, key);
	uint64_t pid;
	int r = wh_json_u64(process, "pid", INT_MAX, &pid, err);

	if (r == 0)
		r = wh_json_u64(process, "start", INT64_MAX, &ret->start, err);
	if (r < 0)
		return wh_context(err, r, "'%s'", key);
	ret->pid = (pid_t)pid;
	return 0;
}

static int get_file(struct wh_ram *ram, const json_t *json, struct wh_error *err)
{
	char name[WH_NAME_MAX];
	char path[PATH_MAX];
	uint64_t bytes = 0;
	uint64_t dev = 0;
	uint64_t ino = 0;
	int r = wh_json_string(json, "name", name, sizeof(name), err);

	if (r == 0)
		r = wh_json_string(json, "path", path, sizeof(path), err);
	if (r == 0)
		r = wh_json_u64(json, "bytes", INT64_MAX, &bytes, err);
	if (r == 0)
		r = wh_json_u64(json, "dev", INT64_MAX, &dev, err);
	if (r == 0)
		r = wh_json_u64(json, "ino", INT64_MAX, &ino, err);
	if (r < 0)
		return r;
	r = wh_ram_add(ram, name, path, bytes);
	if (r < 0)
		return wh_fail(err, r, "too many RAM files");
	ram->files[ram->count - 1].dev = dev;
	ram->files[ram->count - 1].ino = ino;
	return 0;
}

static int get_names(const json_t *json, struct wh_record *rec, struct wh_error *err)
{
	char token[WH_TOKEN_TEXT_MAX];
	int r = wh_json_string(json, "id", rec->id, sizeof(rec->id), err);

	if (r == 0)
		r = wh_json_string(json, "vm", rec->vm, sizeof(rec->vm), err);
	if (r == 0)
		r = wh_json_string(json, "peer", rec->peer, sizeof(rec->peer), err);
	if (r == 0)
		r = wh_json_string(json, "token", token, sizeof(token), err);
	if (r == 0 && wh_node_token_parse(rec->token, token) < 0)
		return wh_fail(err, -EPROTO, "'token' is not one");
	return r;
}

/* What a record has for post-copy; one of an earlier version has none of it. */
static int get_postcopy(const json_t *json, struct wh_record *rec, struct wh_error *err)
{
	const json_t *uffd = json_object_get(json, "vmm_uffd");

	rec->vmm_uffd = -1;
	if (uffd && !json_is_integer(uffd))
		return wh_fail(err, -EPROTO, "'vmm_uffd' must be a number");
	if (uffd && json_integer_value(uffd) >= 0 && json_integer_value(uffd) <= INT_MAX)
		rec->vmm_uffd = (int32_t)json_integer_value(uffd);
	if (!json_object_get(json, "missing"))
		return 0;
	return wh_json_string(json, "missing", rec->missing, sizeof(rec->missing), err);
}

static int get_made(const json_t *json, struct wh_made_file *ret, struct wh_error *err)
{
	int r = wh_json_string(json, "path", ret->path, sizeof(ret->path), err);

	if (r == 0)
		r = wh_json_u64(json, "dev", INT64_MAX, &ret->dev, err);
	if (r == 0)
		r = wh_json_u64(json, "ino", INT64_MAX, &ret->ino, err);
	if (r == 0)
		r = wh_json_u64(json, "born_ns", INT64_MAX, &ret->born_ns, err);
	return r;
}

/* What a record has for a domain; one of an earlier version has none of it. */
static int get_domain(const json_t *json, struct wh_record *rec, struct wh_error *err)
{
	const json_t *made = json_object_get(json, "made");
	int r = 0;

	if (json_array_size(made) > WH_DISKS_MAX)
		return wh_fail(err, -EPROTO, "'made' has too many entries");
	for (size_t i = 0; r == 0 && i < json_array_size(made); i++)
		r = get_made(json_array_get(made, i), &rec->made[rec->made_count++], err);
	if (r == 0 && json_object_get(json, "defined"))
		r = wh_json_bool(json, "defined", &rec->defined, err);
	if (r == 0 && json_object_get(json, "monitor"))
		r = wh_json_string(json, "monitor", rec->monitor, sizeof(rec->monitor), err);
	return r;
}

/* One of an earlier version knows no engine: all was done by wherry. */
static int get_engine(const json_t *json, struct wh_record *rec, struct wh_error *err)
{
	int r;

	if (!json_object_get(json, "engine"))
		return 0;
	r = get_choice(json, "engine", engines, WH_ENGINES, err);
	if (r < 0)
		return r;
	rec->engine = (enum wh_engine)r;
	return wh_json_string(json, "directory", rec->directory, sizeof(rec->directory), err);
}

static int parse(const char *text, size_t len, struct wh_record *rec, struct wh_error *err)
{
	wh_cleanup(wh_json_unrefp) json_t *json = NULL;
	const json_t *ram;
	int r = wh_json_parse(&json, text, len, err);

	if (r == 0)
		r = get_names(json, rec, err);
	if (r == 0)
		r = wh_json_bool(json, "running", &rec->running, err);
	if (r == 0)
		r = get_process(json, "vmm", &rec->vmm, err);
	if (r == 0)
		r = get_process(json, "launcher", &rec->launcher, err);
	if (r == 0)
		r = get_postcopy(json, rec, err);
	if (r == 0)
		r = get_engine(json, rec, err);
	if (r == 0)
		r = get_domain(json, rec, err);
	if (r < 0)
		return r;
	r = get_choice(json, "role", roles, 2, err);
	if (r < 0)
		return r;
	rec->role = (enum wh_worker_role)r;
	r = get_choice(json, "phase", phases, WH_PHASES, err);
	if (r < 0)
		return r;
	rec->phase = (enum wh_phase)r;

	ram = json_object_get(json, "ram");
	for (size_t i = 0; i < json_array_size(ram); i++) {
		r = get_file(&rec->ram, json_array_get(ram, i), err);
		if (r < 0)
			return wh_context(err, r, "'ram', entry %zu", i + 1);
	}
	return 0;
}

static char *path_of(const char *state_dir, const char *id)
{
	char *path;

	wh_assert(wh_node_is_name(id));
	wh_assert(asprintf(&path, "%s/migrations/%s" SUFFIX, state_dir, id) > 0);
	return path;
}

int wh_journal_stage(const char *state_dir, const struct wh_record *rec, struct wh_error *err)
{
	wh_cleanup(wh_freep) char *path = path_of(state_dir, rec->id);
	wh_cleanup(wh_freep) char *text = format(rec);

	if (!text)
		return wh_fail(err, -EINVAL, "the journal cannot express this migration");
	return wh_file_stage(path, text, strlen(text), err);
}

int wh_journal_commit(const char *state_dir, const char *id, struct wh_error *err)
{
	wh_cleanup(wh_freep) char *path = path_of(state_dir, id);

	return wh_file_commit(path, err);
}

int wh_journal_write(const char *state_dir, const struct wh_record *rec, struct wh_error *err)
{
	int r = wh_journal_stage(state_dir, rec, err);

	return r < 0 ? r : wh_journal_commit(state_dir, rec->id, err);
}

int wh_journal_read(const char *state_dir, const char *id, struct wh_record *ret,
                    struct wh_error *err)
{
	wh_cleanup(wh_freep) char *path = path_of(state_dir, id);
	wh_cleanup(wh_freep) char *text = NULL;
	struct wh_record rec = { 0 };
	size_t len;
	int r = wh_file_read(path, RECORD_BYTES_MAX, &text, &len, err);

	if (r < 0)
		return r;
	r = parse(text, len, &rec, err);
	if (r == 0 && strcmp(rec.id, id) != 0)
		r = wh_fail(err, -EPROTO, "it is about '%s'", rec.id);
	if (r < 0) {
		wh_record_done(&rec);
		return wh_context(err, r, "%s", path);
	}
	*ret = rec;
	return 0;
}

int wh_journal_remove(const char *state_dir, const char *id, struct wh_error *err)
{
	wh_cleanup(wh_freep) char *path = path_of(state_dir, id);

	return wh_file_remove(path, err);
}

static void visit(const char *state_dir, char *name, const struct wh_journal_visitor *visitor)
{
	size_t len = strlen(name);
	struct wh_record rec;
	struct wh_error err;

	if (len <= strlen(SUFFIX) || strcmp(name + len - strlen(SUFFIX), SUFFIX) != 0)
		return;
	name[len - strlen(SUFFIX)] = '\0';
	if (!wh_node_is_name(name))
		return;
	if (wh_journal_read(state_dir, name, &rec, &err) < 0) {
		visitor->bad(visitor->ctx, name, err.text);
		return;
	}
	visitor->each(visitor->ctx, &rec);
	wh_record_done(&rec);
}

int wh_journal_walk(const char *state_dir, const struct wh_journal_visitor *visitor,
                    struct wh_error *err)
{
	wh_cleanup(wh_freep) char *path = NULL;
	struct dirent **entries = NULL;
	int count;
	int r;

	wh_assert(asprintf(&path, "%s/migrations", state_dir) > 0);
	r = wh_dir_make(path, err);
	if (r < 0)
		return r;
	/* Read first: visitors write and remove records. */
	count = scandir(path, &entries, NULL, alphasort);
	if (count < 0)
		return wh_fail(err, -errno, "cannot read %s: %s", path, strerror(errno));
	for (int i = 0; i < count; i++) {
		visit(state_dir, entries[i]->d_name, visitor);
		free(entries[i]);
	}
	free(entries);
	return 0;
}

bool wh_phase_is_committed(enum wh_phase phase)
{
	return phase == WH_PHASE_POSTCOPY || phase == WH_PHASE_DONE;
}

void wh_record_done(struct wh_record *rec)
{
	wh_ram_done(&rec->ram);
}
