/* SPDX-License-Identifier: Apache-2.0 */

/*
 * libyaml turns bytes into events ("mapping starts", "scalar", ...); the functions here turn
 * events into nodes, by recursion that follows the nesting of the file:
 *
 *	read_children() -> read_child() -> read_node() -> read_children() of the next level
 *
 * The list of documents is the outermost sequence, so it is read like any other.
 */

#include "yaml.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <yaml.h>

#include "scalar.h"

#include "wherry/assert.h"
#include "wherry/fdpass.h"
#include "wherry/limits.h"

struct reader {
	yaml_parser_t parser;
	const char *file; /* borrowed from the tree */
	const char *data; /* borrowed from the caller */
	size_t len;       /* bytes in @data */
	size_t nodes;     /* made so far */
	unsigned int depth;
	struct wh_error *err;
};

static const struct {
	const char *problem; /* libyaml's words */
	const char *hint;
} hints[] = {
	{ "found character that cannot start any token",
	  "indent with blanks, not tabs, and put values that begin with @, ` or % in quotes" },
	{ "found a tab character that violates indentation", "indent with blanks, not tabs" },
	{ "mapping values are not allowed in this context",
	  "check the indentation, and put values that contain ': ' in quotes" },
	{ "did not find expected key",
	  "begin all keys of a mapping in the same column, and close brackets and quotes" },
	{ "did not find expected '-' indicator",
	  "begin all entries of a list with '-' in the same column" },
	{ "could not find expected ':'", "write a key as 'key: value', with a blank" },
};

static struct wh_yaml_node *node_free(struct wh_yaml_node *node)
{
	if (!node)
		return NULL;
	/* Ends: reading has bounded the depth. */
	for (size_t i = 0; i < node->count; i++)
		node->items[i] = node_free(node->items[i]);
	node->key = node_free(node->key);
	free(node->items);
	free(node->text);
	free(node);
	return NULL;
}

WH_DEFINE_CLEANUP(struct wh_yaml_node, node_free)

static int no_memory(struct wh_error *err)
{
	(void)wh_fail(err, -ENOMEM, "out of memory"); /* it returns the same */
	return -ENOMEM;
}

int wh_yaml_fail(struct wh_error *err, const struct wh_yaml_node *node, const char *fmt, ...)
{
	struct wh_error words;
	va_list args;

	if (!err)
		return -EINVAL;

	va_start(args, fmt);
	if (vsnprintf(words.text, sizeof(words.text), fmt, args) < 0)
		words.text[0] = '\0';
	va_end(args);

	(void)wh_fail(err, -EINVAL, "%s:%u:%u: %s", node->file, node->line, node->column,
	              words.text);
	for (char *c = err->text; *c; c++) {
		if (*c < ' ' || *c > '~')
			*c = '?';
	}
	return -EINVAL;
}

static int fail_at_mark(struct reader *rd, const yaml_mark_t *mark, const char *words)
{
	const struct wh_yaml_node place = {
		.file = rd->file,
		.line = (uint32_t)mark->line + 1,
		.column = (uint32_t)mark->column + 1,
	};

	(void)wh_yaml_fail(rd->err, &place, "%s", words); /* it returns the same */
	return -EINVAL;
}

/* The reader of libyaml tells bytes from the start only. */
static yaml_mark_t mark_at_offset(const struct reader *rd, size_t offset)
{
	yaml_mark_t mark = { 0 };

	for (size_t i = 0; i < offset && i < rd->len; i++) {
		const unsigned char c = (unsigned char)rd->data[i];

		if (c == '\n') {
			mark.line++;
			mark.column = 0;
		} else if ((c & 0xc0) != 0x80) { /* the first byte of a character */
			mark.column++;
		}
	}
	return mark;
}

static const char *hint_for(const char *problem)
{
	for (size_t i = 0; i < sizeof(hints) / sizeof(hints[0]); i++) {
		if (!strcmp(problem, hints[i].problem))
			return hints[i].hint;
	}
	return "check indentation, brackets and quotes";
}

static int syntax_error(struct reader *rd)
{
	const yaml_parser_t *parser = &rd->parser;
	const char *problem = parser->problem ? parser->problem : "this is not YAML";
	const yaml_mark_t end = mark_at_offset(rd, rd->len);
	yaml_mark_t mark = parser->problem_mark;
	char words[WH_ERROR_TEXT_MAX];

	if (parser->error == YAML_MEMORY_ERROR)
		return no_memory(rd->err);

	if (parser->error == YAML_READER_ERROR) {
		mark = mark_at_offset(rd, parser->problem_offset);
		(void)snprintf(words, sizeof(words), "%s; write plain UTF-8 text", problem);
	} else {
		(void)snprintf(words, sizeof(words), "%s; %s", problem, hint_for(problem));
	}
	/* At the end of a last line without a newline libyaml is already in the next one. */
	if (mark.line > end.line)
		mark = end;
	return fail_at_mark(rd, &mark, words);
}

static int append(struct reader *rd, struct wh_yaml_node *parent, struct wh_yaml_node *child)
{
	if (parent->count == parent->capacity) {
		const size_t capacity = parent->capacity ? 2 * parent->capacity : 4;
		struct wh_yaml_node **items;

		items = reallocarray(parent->items, capacity, sizeof(struct wh_yaml_node *));
		if (!items)
			return no_memory(rd->err);
		parent->items = items;
		parent->capacity = capacity;
	}
	parent->items[parent->count++] = child;
	return 0;
}

static int new_node(struct reader *rd, const yaml_mark_t *mark, struct wh_yaml_node **ret)
{
	struct wh_yaml_node *node;

	if (rd->nodes == WH_YAML_NODES_MAX)
		return fail_at_mark(rd, mark, "too many values; split the file");

	node = calloc(1, sizeof(*node));
	if (!node)
		return no_memory(rd->err);
	rd->nodes++;
	node->file = rd->file;
	node->line = (uint32_t)mark->line + 1;
	node->column = (uint32_t)mark->column + 1;
	*ret = node;
	return 0;
}

static int check_tag(struct reader *rd, const struct wh_yaml_node *node, const yaml_char_t *tag)
{
	const char *name = (const char *)tag;

	if (!name)
		return 0;
	if (node->type == WH_YAML_SCALAR && (!strcmp(name, YAML_STR_TAG) || !strcmp(name, "!")))
		return 0;
	return wh_yaml_fail(rd->err, node, "the tag '%.40s' is not supported; remove it", name);
}

static int read_scalar(struct reader *rd, const yaml_event_t *event, struct wh_yaml_node *node)
{
	const char *text = (const char *)event->data.scalar.value;
	const yaml_char_t *tag = event->data.scalar.tag;

	node->type = WH_YAML_SCALAR;
	node->quoted = tag || event->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
	if (strlen(text) != event->data.scalar.length)
		return wh_yaml_fail(rd->err, node, "a NUL character; remove it");

	node->text = strdup(text);
	if (!node->text)
		return no_memory(rd->err);
	return check_tag(rd, node, tag);
}

static int read_children(struct reader *rd, struct wh_yaml_node *parent);

static int read_collection(struct reader *rd, const yaml_char_t *tag, struct wh_yaml_node *node)
{
	int r;

	r = check_tag(rd, node, tag);
	if (r < 0)
		return r;
	if (rd->depth == WH_YAML_DEPTH_MAX)
		return wh_yaml_fail(rd->err, node, "more than %u levels; nest less deeply",
		                    WH_YAML_DEPTH_MAX);

	rd->depth++;
	r = read_children(rd, node);
	rd->depth--;
	return r;
}

/* The next event that is about a node or ends a collection. */
static int next_event(struct reader *rd, yaml_event_t *event)
{
	/* Ends: the stream and each document start and end once. */
	for (;;) {
		if (!yaml_parser_parse(&rd->parser, event))
			return syntax_error(rd);
		if (event->type != YAML_STREAM_START_EVENT &&
		    event->type != YAML_DOCUMENT_START_EVENT &&
		    event->type != YAML_DOCUMENT_END_EVENT)
			return 0;
		yaml_event_delete(event);
	}
}

/* Return: 1 with a node, 0 at the end of the collection, -errno. */
static int read_node(struct reader *rd, struct wh_yaml_node **ret)
{
	wh_cleanup(yaml_event_delete) yaml_event_t event = { 0 };
	wh_cleanup(node_freep) struct wh_yaml_node *node = NULL;
	int r;

	r = next_event(rd, &event);
	if (r < 0)
		return r;
	if (event.type == YAML_STREAM_END_EVENT || event.type == YAML_SEQUENCE_END_EVENT ||
	    event.type == YAML_MAPPING_END_EVENT)
		return 0;

	r = new_node(rd, &event.start_mark, &node);
	if (r < 0)
		return r;
	if (event.type == YAML_ALIAS_EVENT)
		return wh_yaml_fail(rd->err, node, "aliases are not supported; repeat the value");

	if (event.type == YAML_SCALAR_EVENT) {
		r = read_scalar(rd, &event, node);
	} else if (event.type == YAML_MAPPING_START_EVENT) {
		node->type = WH_YAML_MAPPING;
		r = read_collection(rd, event.data.mapping_start.tag, node);
	} else {
		wh_assert(event.type == YAML_SEQUENCE_START_EVENT);
		node->type = WH_YAML_SEQUENCE;
		r = read_collection(rd, event.data.sequence_start.tag, node);
	}
	if (r < 0)
		return r;

	*ret = wh_steal(node);
	return 1;
}

static int check_key(struct reader *rd, const struct wh_yaml_node *mapping,
                     const struct wh_yaml_node *key)
{
	const struct wh_yaml_node *twin;

	if (key->type != WH_YAML_SCALAR)
		return wh_yaml_fail(rd->err, key, "this key is a mapping or a list; write a word");
	if (mapping->count == WH_YAML_KEYS_MAX)
		return wh_yaml_fail(rd->err, key, "more than %u keys in one mapping; split it",
		                    WH_YAML_KEYS_MAX);
	twin = wh_yaml_get(mapping, key->text);
	if (twin)
		return wh_yaml_fail(rd->err, key,
		                    "the key '%.40s' is already in line %u; remove one", key->text,
		                    twin->key->line);
	return 0;
}

/* Return: 1 with a child, 0 at the end of @parent, -errno. */
static int read_child(struct reader *rd, const struct wh_yaml_node *parent,
                      struct wh_yaml_node **ret)
{
	wh_cleanup(node_freep) struct wh_yaml_node *key = NULL;
	int r;

	if (parent->type == WH_YAML_SEQUENCE)
		return read_node(rd, ret);

	r = read_node(rd, &key);
	if (r <= 0)
		return r;
	r = check_key(rd, parent, key);
	if (r < 0)
		return r;
	r = read_node(rd, ret);
	if (r < 0)
		return r;
	wh_assert(r == 1); /* libyaml makes up an empty scalar if the file has no value */
	(*ret)->key = wh_steal(key);
	return 1;
}

static int read_children(struct reader *rd, struct wh_yaml_node *parent)
{
	int r;

	/* Ends: every turn makes a node, and their number is bounded. */
	for (;;) {
		wh_cleanup(node_freep) struct wh_yaml_node *child = NULL;

		r = read_child(rd, parent, &child);
		if (r <= 0)
			return r;
		r = append(rd, parent, child);
		if (r < 0)
			return r;
		child = NULL; /* the parent's now */
	}
}

/* Whether @c may be the last byte of a line break: YAML has some beyond ASCII. */
static bool is_break(char c)
{
	return (unsigned char)c < ' ' || (unsigned char)c > '~';
}

/*
 * libyaml takes quadratic time for a long list of %TAG directives, and reads all of it before it
 * shows us an event. Tags are refused anyway, so their directives are refused before it starts.
 */
static int check_directives(struct reader *rd)
{
	static const char directive[] = "%TAG";
	const char *const end = rd->data + rd->len;
	const char *at = rd->data;

	while ((at = memmem(at, (size_t)(end - at), directive, sizeof(directive) - 1))) {
		if (at == rd->data || is_break(at[-1])) {
			const yaml_mark_t mark = mark_at_offset(rd, (size_t)(at - rd->data));

			return fail_at_mark(rd, &mark, "%TAG is not supported; remove it");
		}
		at++;
	}
	return 0;
}

static int read_documents(struct wh_yaml *tree, const char *data, size_t len, struct wh_error *err)
{
	static const char bom[] = { '\xef', '\xbb', '\xbf' };
	const yaml_mark_t start = { 0 };
	struct reader rd = { .file = tree->file, .data = data, .len = len, .err = err };
	int r;

	/* libyaml would count a byte order mark as a column. */
	if (len >= sizeof(bom) && !memcmp(data, bom, sizeof(bom))) {
		rd.data += sizeof(bom);
		rd.len -= sizeof(bom);
	}
	if (len > WH_YAML_BYTES_MAX)
		return fail_at_mark(&rd, &start, "the file is larger than 16 MiB; split it");
	r = new_node(&rd, &start, &tree->documents);
	if (r < 0)
		return r;
	tree->documents->type = WH_YAML_SEQUENCE;

	r = check_directives(&rd);
	if (r < 0)
		return r;
	if (!yaml_parser_initialize(&rd.parser))
		return no_memory(err);
	yaml_parser_set_encoding(&rd.parser, YAML_UTF8_ENCODING);
	yaml_parser_set_input_string(&rd.parser, (const unsigned char *)rd.data, rd.len);
	r = read_children(&rd, tree->documents);
	yaml_parser_delete(&rd.parser);
	return r;
}

int wh_yaml_parse(struct wh_yaml **ret, const char *name, const void *data, size_t len,
                  struct wh_error *err)
{
	wh_cleanup(wh_yaml_freep) struct wh_yaml *tree = NULL;
	int r;

	tree = calloc(1, sizeof(*tree));
	if (!tree)
		return no_memory(err);
	tree->file = strdup(name);
	if (!tree->file)
		return no_memory(err);
	r = read_documents(tree, data, len, err);
	if (r < 0)
		return r;

	*ret = wh_steal(tree);
	return 0;
}

struct wh_yaml *wh_yaml_free(struct wh_yaml *tree)
{
	if (!tree)
		return NULL;
	tree->documents = node_free(tree->documents);
	free(tree->file);
	free(tree);
	return NULL;
}

/* Read up to @size bytes. Return: how many there were, or -errno. */
static ssize_t read_bytes(int fd, char *data, size_t size)
{
	size_t len = 0;

	while (len < size) {
		const ssize_t n = read(fd, data + len, size - len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		len += (size_t)n;
	}
	return (ssize_t)len;
}

static void free_bytes(char **data)
{
	free(*data);
}

int wh_yaml_load(struct wh_yaml **ret, const char *path, struct wh_error *err)
{
	/* Non-blocking, so that a pipe in a directory of manifests cannot stop the daemon. */
	wh_cleanup(wh_closep) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	wh_cleanup(free_bytes) char *data = NULL;
	struct stat st;
	ssize_t len;

	if (fd < 0 || fstat(fd, &st) < 0)
		return wh_fail(err, -errno, "%s: %s", path, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return wh_fail(err, -EINVAL, "%s: not a regular file", path);

	/* One byte more than allowed tells a file that is too large. */
	data = malloc(WH_YAML_BYTES_MAX + 1);
	if (!data)
		return no_memory(err);
	len = read_bytes(fd, data, WH_YAML_BYTES_MAX + 1);
	if (len < 0)
		return wh_fail(err, (int)len, "%s: %s", path, strerror((int)-len));
	return wh_yaml_parse(ret, path, data, (size_t)len, err);
}

const struct wh_yaml_node *wh_yaml_get(const struct wh_yaml_node *mapping, const char *key)
{
	if (mapping->type != WH_YAML_MAPPING)
		return NULL;
	for (size_t i = 0; i < mapping->count; i++) {
		if (!strcmp(mapping->items[i]->key->text, key))
			return mapping->items[i];
	}
	return NULL;
}

/* Writing. */

struct emitter {
	yaml_emitter_t yaml;
	FILE *out;
};

/* libyaml frees the event, also on failure. Return: 0 or -ENOMEM, as nothing else can happen. */
static int emit(struct emitter *e, int initialized, yaml_event_t *event)
{
	return initialized && yaml_emitter_emit(&e->yaml, event) ? 0 : -ENOMEM;
}

/*
 * Whether a string is one to every reader of YAML without quotes. Dates begin with a digit, too, but
 * 64Mi is none; libyaml adds quotes where the syntax wants them.
 */
static bool may_be_plain(const char *text)
{
	static const char digits_and_letters[] = "0123456789"
						 "abcdefghijklmnopqrstuvwxyz"
						 "ABCDEFGHIJKLMNOPQRSTUVWXYZ";

	if (wh_scalar_type(text) != WH_SCALAR_STRING)
		return false;
	if (isdigit((unsigned char)*text))
		return strspn(text, digits_and_letters) == strlen(text);
	return isalpha((unsigned char)*text) || *text == '/' || *text == '_';
}

/* Whether a string can be written below "|", which shows its lines as they are. */
static bool is_block(const char *text)
{
	const size_t len = strlen(text);

	if (!strchr(text, '\n') || strchr(" \n", text[0]) || text[len - 1] == ' ')
		return false;
	for (const char *c = text; *c; c++) {
		if (*c != '\n' && (*c < ' ' || *c > '~'))
			return false;
	}
	return !strstr(text, " \n");
}

static int emit_scalar(struct emitter *e, const struct wh_yaml_node *node)
{
	const char *text = *node->text || node->quoted ? node->text : "null";
	yaml_scalar_style_t style = YAML_DOUBLE_QUOTED_SCALAR_STYLE;
	yaml_event_t event;

	if (!node->quoted || may_be_plain(text))
		style = YAML_PLAIN_SCALAR_STYLE;
	if (node->quoted && is_block(text))
		style = YAML_LITERAL_SCALAR_STYLE;
	return emit(e,
	            yaml_scalar_event_initialize(&event, NULL, NULL, (const yaml_char_t *)text,
	                                         (int)strlen(text), 1, 1, style),
	            &event);
}

static int emit_node(struct emitter *e, const struct wh_yaml_node *node);

static int emit_items(struct emitter *e, const struct wh_yaml_node *node)
{
	int r = 0;

	for (size_t i = 0; i < node->count && r == 0; i++) {
		if (node->type == WH_YAML_MAPPING)
			r = emit_scalar(e, node->items[i]->key);
		if (r == 0)
			r = emit_node(e, node->items[i]);
	}
	return r;
}

static int emit_node(struct emitter *e, const struct wh_yaml_node *node)
{
	const bool mapping = node->type == WH_YAML_MAPPING;
	yaml_event_t event;
	int r;

	if (node->type == WH_YAML_SCALAR)
		return emit_scalar(e, node);

	/* The recursion ends: reading has bounded the depth. */
	r = emit(e,
	         mapping ? yaml_mapping_start_event_initialize(&event, NULL, NULL, 1,
	                                                       YAML_BLOCK_MAPPING_STYLE)
	                 : yaml_sequence_start_event_initialize(&event, NULL, NULL, 1,
	                                                        YAML_BLOCK_SEQUENCE_STYLE),
	         &event);
	if (r == 0)
		r = emit_items(e, node);
	if (r == 0)
		r = emit(e,
		         mapping ? yaml_mapping_end_event_initialize(&event)
		                 : yaml_sequence_end_event_initialize(&event),
		         &event);
	return r;
}

static int emit_document(struct emitter *e, const struct wh_yaml_node *node)
{
	yaml_event_t event;
	int r;

	r = emit(e, yaml_stream_start_event_initialize(&event, YAML_UTF8_ENCODING), &event);
	if (r == 0)
		r = emit(e, yaml_document_start_event_initialize(&event, NULL, NULL, NULL, 1),
		         &event);
	if (r == 0)
		r = emit_node(e, node);
	if (r == 0)
		r = emit(e, yaml_document_end_event_initialize(&event, 1), &event);
	if (r == 0)
		r = emit(e, yaml_stream_end_event_initialize(&event), &event);
	return r;
}

int wh_yaml_format(char **ret, const struct wh_yaml_node *node)
{
	wh_cleanup(free_bytes) char *text = NULL;
	size_t len = 0;
	struct emitter e = { .out = open_memstream(&text, &len) };
	int r = -ENOMEM;

	if (!e.out)
		return -ENOMEM;
	if (yaml_emitter_initialize(&e.yaml)) {
		yaml_emitter_set_output_file(&e.yaml, e.out);
		yaml_emitter_set_unicode(&e.yaml, 1);
		yaml_emitter_set_width(&e.yaml, -1);
		r = emit_document(&e, node);
		yaml_emitter_delete(&e.yaml);
	}
	if (fclose(e.out) != 0 || r < 0)
		return -ENOMEM;

	*ret = wh_steal(text);
	return 0;
}
