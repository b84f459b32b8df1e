/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Yaml - a file as a plain tree of nodes that know where they were written.
 *
 * The tree is a sequence of the file's documents; an empty document is a null scalar. JSON is
 * read, too, since it is YAML. Nothing is interpreted here: a scalar is its text, and value.h
 * turns it into numbers and names.
 *
 * Input is never trusted. Size, nesting and number of nodes are bounded (limits.h); duplicate
 * keys, keys that are no scalars, aliases, tags other than !!str, NUL characters and anything
 * that is not UTF-8 are refused.
 *
 * Errors:  words are "FILE:LINE:COLUMN: what is wrong; what would be right". Only a file that
 *          cannot be read has no position: "FILE: why". What was quoted from the file is reduced
 *          to printable ASCII, so the words are safe for terminals, logs and JSON.
 * Threads: a tree does not change once it was read; any number of threads may look at it.
 */

#ifndef WH_YAML_H
#define WH_YAML_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wherry/cleanup.h"
#include "wherry/error.h"

enum wh_yaml_type {
	WH_YAML_SCALAR,
	WH_YAML_MAPPING,
	WH_YAML_SEQUENCE,
};

struct wh_yaml_node {
	enum wh_yaml_type type;
	const char *file;            /* borrowed from the tree */
	uint32_t line;               /* 1 is the first */
	uint32_t column;             /* in characters, 1 is the first */
	struct wh_yaml_node *key;    /* the scalar this is the value of; NULL outside mappings */
	char *text;                  /* of a scalar */
	bool quoted;                 /* a scalar that can be nothing but a string */
	struct wh_yaml_node **items; /* of a sequence, or the values of a mapping, in file order */
	size_t count;
	size_t capacity;
};

struct wh_yaml {
	char *file;
	struct wh_yaml_node *documents; /* a sequence */
};

/**
 * wh_yaml_parse() - Read YAML from memory
 * @ret:	receives the tree; owned by the caller, untouched on failure
 * @name:	stands for the file in errors; copied
 * @data:	@len bytes; not kept
 *
 * Return: 0; -EINVAL if it is not what was described above, or -ENOMEM.
 */
wh_must_check int wh_yaml_parse(struct wh_yaml **ret, const char *name, const void *data,
                                size_t len, struct wh_error *err);

/* The same from a regular file. Return: also the system's errno if it cannot be read. */
wh_must_check int wh_yaml_load(struct wh_yaml **ret, const char *path, struct wh_error *err);

struct wh_yaml *wh_yaml_free(struct wh_yaml *tree);

WH_DEFINE_CLEANUP(struct wh_yaml, wh_yaml_free)

/* The value of @key; NULL if @mapping has no such key or is no mapping. Borrowed. */
const struct wh_yaml_node *wh_yaml_get(const struct wh_yaml_node *mapping, const char *key);

/*
 * Write @node as a document that reads as an equal tree, keys in their order; @ret is from malloc().
 * Strings that some reader of YAML takes for something else are in quotes. Return: 0 or -ENOMEM.
 */
wh_must_check int wh_yaml_format(char **ret, const struct wh_yaml_node *node);

/* Say what is wrong at @node, and what would be right. Return: -EINVAL. */
int wh_yaml_fail(struct wh_error *err, const struct wh_yaml_node *node, const char *fmt, ...)
	wh_printf(3, 4);

#endif
