/* SPDX-License-Identifier: Apache-2.0 */

/*
 * wherry edit - an object in an editor, until wherryd takes what comes back.
 *
 *	get -> file -> editor -> unchanged or empty: cancelled
 *	         ^        |
 *	         |        v
 *	         +---- refused          taken: done
 *
 * What was refused comes back with the reason on top. Only where another look would not help is
 * the edit given up, and then it stays in a file that is named: nothing that somebody wrote is lost.
 *
 * Lines of ours on top begin with "#|". wherryd gets as many of them as the file will have that
 * comes back, so that the lines it names are the ones that the editor shows.
 */

#include <ctype.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli.h"
#include "files.h"

#include "wherry/assert.h"
#include "wherry/limits.h"

#define MARK "#|"

/* Two lines about editing, then the reason, in lines of some 90 characters: two of them hold more
 * than 90 together, so that six take the longest words of an error. */
#define REASON_WIDTH 90u
#define REASON_LINES 6u
#define HEADER_LINES (2u + REASON_LINES)

struct edit {
	struct wh_cli *cli;
	const json_t *object; /* as "get" told of it, borrowed */
	char *dir;            /* ours alone: what root applies must be written by root */
	char *path;
	char *original; /* what is in force */
	char *shown;    /* what the editor got */
};

/* Which object. */

static json_t *request_of(const char *kind, const char *name_space, const char *name)
{
	return json_pack("{s:s, s:s, s:s*, s:s*}", "command", "get", "kind", kind, "namespace",
	                 name_space, "name", name);
}

/* The one object that the command line means. Return: 0 or -errno. */
static int choose(struct wh_cli *cli, const json_t *answer, const json_t **ret,
                  struct wh_error *err)
{
	const json_t *objects = json_object_get(answer, "objects");
	const char *kind = wh_cli_operand(cli, 0);
	const char *name = wh_cli_operand(cli, 1);

	if (!json_is_array(objects))
		return wh_fail(err, -EINVAL, "%s cannot be edited", kind);
	if (json_array_size(objects) == 0)
		return wh_fail(err, -ENOENT, "there is no %s%s%s to edit; 'wherry apply' makes one",
		               kind, name ? " " : "", name ? name : "");
	if (json_array_size(objects) > 1)
		return wh_fail(err, -EINVAL,
		               "there are %zu objects that this could be; say which by its name%s",
		               json_array_size(objects), name ? " and namespace" : "");
	*ret = json_array_get(objects, 0);
	return 0;
}

/* Whether somebody else has changed or removed the object meanwhile. */
static bool is_stale(const struct edit *e)
{
	wh_cleanup(wh_json_unrefp) json_t *answer = NULL;
	const char *name_space = wh_json_text(e->object, "namespace");
	struct wh_error err;
	const json_t *now;

	if (wh_cli_ask(e->cli,
	               request_of(wh_json_text(e->object, "kind"), *name_space ? name_space : NULL,
	                          wh_json_text(e->object, "name")),
	               &answer, &err) < 0)
		return false;
	now = json_array_get(json_object_get(answer, "objects"), 0);
	return !now || !json_equal(json_object_get(now, "revision"),
	                           json_object_get(e->object, "revision"));
}

/* The file. */

/* Behind our lines on top. */
static const char *body_of(const char *text)
{
	while (!strncmp(text, MARK, strlen(MARK))) {
		const char *end = strchr(text, '\n');

		text = end ? end + 1 : text + strlen(text);
	}
	return text;
}

/* Whether there is nothing but blanks and comments. */
static bool is_empty(const char *text)
{
	while (*text) {
		text += strspn(text, " \t\r\n");
		if (*text && *text != '#')
			return false;
		text += strcspn(text, "\n");
	}
	return true;
}

/* How much of @text goes into a line: up to a blank, if there is one in reach. */
static size_t line_of(const char *text)
{
	size_t len = strlen(text);

	if (len <= REASON_WIDTH)
		return len;
	for (len = REASON_WIDTH; len > 0 && text[len] != ' '; len--)
		;
	return len > 0 ? len : REASON_WIDTH;
}

static void put_reason(FILE *out, const char *reason)
{
	char text[WH_ERROR_TEXT_MAX];
	const char *rest = text;

	(void)snprintf(text, sizeof(text), "%s", reason);
	for (char *c = text; *c; c++)
		if (iscntrl((unsigned char)*c))
			*c = ' '; /* it must stay a comment */
	for (unsigned i = 0; i < REASON_LINES; i++) {
		size_t len = line_of(rest);

		(void)fprintf(out, MARK "%s%.*s\n", len > 0 ? " " : "", (int)len, rest);
		rest += len;
		rest += strspn(rest, " ");
	}
}

/*
 * Write what the editor shall show: the words on top, then @body. If that fails, the file is what
 * it was. Return: 0 or -errno.
 */
static int write_file(struct edit *e, const char *body, const char *reason, struct wh_error *err)
{
	wh_cleanup(wh_freep) char *text = NULL;
	char *shown = strdup(body);
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	wh_assert(shown && out);
	(void)fprintf(out,
	              MARK " %s %s. What you save is applied; an empty file changes nothing.\n",
	              wh_json_text(e->object, "kind"), wh_json_text(e->object, "name"));
	(void)fprintf(out, MARK "%s\n", reason ? " IT WAS NOT APPLIED:" : "");
	if (reason)
		put_reason(out, reason);
	(void)fputs(body, out);
	(void)fclose(out);
	free(e->shown);
	e->shown = shown;
	return wh_file_replace(e->path, text, len, err);
}

static int make_dir(struct edit *e, struct wh_error *err)
{
	const char *where = getenv("TMPDIR"); /* NOLINT(concurrency-mt-unsafe): one thread */

	where = where && *where ? where : "/tmp";
	wh_assert(asprintf(&e->dir, "%s/wherry-edit-XXXXXX", where) > 0);
	if (!mkdtemp(e->dir))
		return wh_fail(err, -errno, "cannot make a directory in %s: %s", where,
		               strerror(errno));
	wh_assert(asprintf(&e->path, "%s/edit.yaml", e->dir) > 0);
	return 0;
}

/* What an editor has left beside the file stays. */
static void remove_file(const struct edit *e)
{
	(void)unlink(e->path);
	(void)rmdir(e->dir);
}

/* The editor. */

static const char *editor(void)
{
	static const char *const names[] = { "VISUAL", "EDITOR" };

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		const char *value = getenv(names[i]); /* NOLINT(concurrency-mt-unsafe) */

		if (value && *value)
			return value;
	}
	return "vi";
}

/* The shell is there for editors with options, such as "code --wait". */
static void become_editor(const char *path)
{
	wh_cleanup(wh_freep) char *command = NULL;

	wh_assert(asprintf(&command, "%s \"$1\"", editor()) > 0);
	(void)execl("/bin/sh", "sh", "-c", command, "sh", path, (char *)NULL);
	_exit(127);
}

/* Ctrl-C is the editor's. Return: 0 or -errno. */
static int run_editor(const char *path, struct wh_error *err)
{
	const struct sigaction ignore = { .sa_handler = SIG_IGN };
	struct sigaction before;
	int status = 0;
	pid_t pid;

	pid = fork();
	if (pid < 0)
		return wh_fail(err, -errno, "cannot start an editor: %s", strerror(errno));
	if (pid == 0)
		become_editor(path);
	(void)sigaction(SIGINT, &ignore, &before);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	(void)sigaction(SIGINT, &before, NULL);
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
		return wh_fail(err, -ECANCELED, "the editor '%s' has failed", editor());
	return 0;
}

/* Applying. */

static int apply(struct edit *e, const char *body, json_t **ret, struct wh_error *err)
{
	wh_cleanup(wh_freep) char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	wh_assert(out);
	for (unsigned i = 0; i < HEADER_LINES; i++)
		(void)fputs("#\n", out);
	(void)fputs(body, out);
	(void)fclose(out);
	return wh_cli_ask(e->cli,
	                  json_pack("{s:s, s:s, s:s%, s:{s:O, s:O, s:O, s:O}}", "command", "apply",
	                            "name", wh_json_text(e->object, "name"), "manifest", text, len,
	                            "edit", "kind", json_object_get(e->object, "kind"), "namespace",
	                            json_object_get(e->object, "namespace"), "name",
	                            json_object_get(e->object, "name"), "revision",
	                            json_object_get(e->object, "revision")),
	                  ret, err);
}

static int done(const struct edit *e, const json_t *answer)
{
	const json_t *object = json_array_get(json_object_get(answer, "objects"), 0);

	(void)printf("%s %s %s\n", wh_json_text(e->object, "kind"), wh_json_text(e->object, "name"),
	             wh_json_text(object, "result"));
	remove_file(e);
	return WH_EXIT_DONE;
}

static int cancelled(const struct edit *e)
{
	(void)printf("edit cancelled, no changes made\n");
	remove_file(e);
	return WH_EXIT_DONE;
}

static int give_up(const struct edit *e, const struct wh_error *err)
{
	(void)wh_cli_fail(err);
	(void)fprintf(stderr, "wherry: nothing has changed; your edit is kept in %s\n", e->path);
	return WH_EXIT_FAILED;
}

/* The editor has failed, or what it left cannot be read. */
static int editor_failed(const struct edit *e, const struct wh_error *err)
{
	wh_cleanup(wh_freep) char *text = NULL;
	struct wh_error why;
	size_t len;

	if (wh_file_read(e->path, WH_YAML_BYTES_MAX, &text, &len, &why) < 0 ||
	    strcmp(body_of(text), e->original) != 0)
		return give_up(e, err);
	remove_file(e);
	return wh_cli_fail(err);
}

/* Look at what came back. Return: an exit code, or -EAGAIN if it shall be edited again. */
static int take(struct edit *e, const char *text, bool again, struct wh_error *err)
{
	wh_cleanup(wh_json_unrefp) json_t *answer = NULL;
	const char *body = body_of(text);
	struct wh_error why;
	int r;

	if (is_empty(body) || !strcmp(body, e->original))
		return cancelled(e);
	if (again && !strcmp(body, e->shown))
		return give_up(e, err); /* for the reason that the editor showed */
	r = apply(e, body, &answer, err);
	if (r == 0)
		return done(e, answer);
	if (r == -EREMOTEIO && is_stale(e)) {
		(void)wh_fail(err, -ESTALE, "%s %s was changed by somebody else meanwhile",
		              wh_json_text(e->object, "kind"), wh_json_text(e->object, "name"));
		return give_up(e, err);
	}
	if (r != -EREMOTEIO || write_file(e, body, err->text, &why) < 0)
		return give_up(e, err);
	return -EAGAIN;
}

static int edit(struct edit *e)
{
	struct wh_error err;
	int code;

	if (make_dir(e, &err) < 0)
		return wh_cli_fail(&err);
	if (write_file(e, e->original, NULL, &err) < 0) {
		remove_file(e);
		return wh_cli_fail(&err);
	}
	/* This ends: who edits changes nothing at last. */
	for (bool again = false;; again = true) {
		wh_cleanup(wh_freep) char *text = NULL;
		struct wh_error failed;
		size_t len;

		if (run_editor(e->path, &failed) < 0 ||
		    wh_file_read(e->path, WH_YAML_BYTES_MAX, &text, &len, &failed) < 0)
			return editor_failed(e, &failed);
		code = take(e, text, again, &err);
		if (code != -EAGAIN)
			return code;
	}
}

int wh_cli_edit(struct wh_cli *cli)
{
	wh_cleanup(wh_json_unrefp) json_t *answer = NULL;
	struct edit e = { .cli = cli };
	struct wh_error err;
	int code;

	if (wh_cli_ask(cli,
	               request_of(wh_cli_operand(cli, 0), wh_cli_option(cli, "namespace"),
	                          wh_cli_operand(cli, 1)),
	               &answer, &err) < 0 ||
	    choose(cli, answer, &e.object, &err) < 0)
		return wh_cli_fail(&err);
	e.original = strdup(wh_json_text(e.object, "yaml"));
	wh_assert(e.original);
	code = edit(&e);
	free(e.dir);
	free(e.path);
	free(e.original);
	free(e.shown);
	return code;
}
