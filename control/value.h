/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Value - what a node of a YAML tree means: a boolean, a number, a name, an object with keys.
 *
 * Types are told apart as Kubernetes does: true is a boolean and "true" a string, 5 is a number
 * and "5" a string. Each function returns 0, or a negative errno with words that begin with the
 * place ("FILE:LINE:COLUMN: ..."), and leaves @ret untouched on failure.
 */

#ifndef WH_VALUE_H
#define WH_VALUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wherry/cleanup.h"
#include "wherry/error.h"
#include "yaml.h"

/* Whether there is nothing: "key:", "key: ~" or "key: null". It counts as if it was not there. */
bool wh_value_is_null(const struct wh_yaml_node *node);

wh_must_check int wh_value_boolean(bool *ret, const struct wh_yaml_node *node,
                                   struct wh_error *err);

/* A whole number in decimal digits, from @min to @max. */
wh_must_check int wh_value_integer(uint64_t *ret, const struct wh_yaml_node *node, uint64_t min,
                                   uint64_t max, struct wh_error *err);

/* A string, maybe an empty one, borrowed from @node. */
wh_must_check int wh_value_text(const char **ret, const struct wh_yaml_node *node,
                                struct wh_error *err);

/* A string that is not empty, borrowed from @node. */
wh_must_check int wh_value_string(const char **ret, const struct wh_yaml_node *node,
                                  struct wh_error *err);

/*
 * The same in memory from malloc(), which takes the place of what @ret had: any string; one that begins
 * with '/'; and one that is the address of a unix socket, too.
 */
wh_must_check int wh_value_copy(char **ret, const struct wh_yaml_node *node, struct wh_error *err);
wh_must_check int wh_value_path(char **ret, const struct wh_yaml_node *node, struct wh_error *err);
wh_must_check int wh_value_socket(char **ret, const struct wh_yaml_node *node,
                                  struct wh_error *err);

/* A valid name in the sense of name.h; room for WH_NAME_MAX bytes at @ret. */
wh_must_check int wh_value_name(char *ret, const struct wh_yaml_node *node, struct wh_error *err);

/* One of @count words, which receives its number: @what it is, and which there are, are for errors. */
struct wh_value_words {
	const char *const *words;
	unsigned count;
	const char *what;  /* "compression" */
	const char *write; /* "auto, none or zstd" */
};

wh_must_check int wh_value_word(unsigned *ret, const struct wh_yaml_node *node,
                                const struct wh_value_words *words, struct wh_error *err);

/* A key of an object in C, and how to read its value into the field. */
struct wh_value_key {
	const char *name;
	int (*read)(void *field, const struct wh_yaml_node *node, struct wh_error *err);
	size_t offset; /* of the field in the object */
	bool required;
};

/**
 * wh_value_object() - Read a mapping into the fields of a struct
 * @object:	its fields are written key by key, so some may be set even on failure
 * @keys:	@count known keys; any other key in the mapping is an error
 *
 * Return: 0 or -errno.
 */
wh_must_check int wh_value_object(void *object, const struct wh_yaml_node *node,
                                  const struct wh_value_key *keys, size_t count,
                                  struct wh_error *err);

#endif
