/* SPDX-License-Identifier: Apache-2.0 */

#include "value.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "name.h"
#include "scalar.h"
#include "wherry/limits.h"

static bool is_plain(const struct wh_yaml_node *node)
{
	return node->type == WH_YAML_SCALAR && !node->quoted;
}

bool wh_value_is_null(const struct wh_yaml_node *node)
{
	return is_plain(node) && wh_scalar_type(node->text) == WH_SCALAR_NULL;
}

/* Say that @node is not @wanted. */
static int fail_type(const struct wh_yaml_node *node, const char *wanted, struct wh_error *err)
{
	switch (node->type) {
	case WH_YAML_MAPPING:
		return wh_yaml_fail(err, node, "this is a mapping; write %s", wanted);
	case WH_YAML_SEQUENCE:
		return wh_yaml_fail(err, node, "this is a list; write %s", wanted);
	case WH_YAML_SCALAR:
		break;
	}
	if (wh_value_is_null(node))
		return wh_yaml_fail(err, node, "there is no value; write %s", wanted);
	if (node->quoted)
		return wh_yaml_fail(err, node, "'%.40s' is a string; write %s", node->text, wanted);
	return wh_yaml_fail(err, node, "'%.40s' is not right; write %s", node->text, wanted);
}

int wh_value_boolean(bool *ret, const struct wh_yaml_node *node, struct wh_error *err)
{
	const enum wh_scalar_type type = is_plain(node) ? wh_scalar_type(node->text)
	                                                : WH_SCALAR_STRING;

	if (type != WH_SCALAR_TRUE && type != WH_SCALAR_FALSE)
		return fail_type(node, "true or false, without quotes", err);
	*ret = type == WH_SCALAR_TRUE;
	return 0;
}

static bool is_digits(const char *text)
{
	return *text && strspn(text, "0123456789") == strlen(text);
}

int wh_value_integer(uint64_t *ret, const struct wh_yaml_node *node, uint64_t min, uint64_t max,
                     struct wh_error *err)
{
	uint64_t value;
	char wanted[80];

	(void)snprintf(wanted, sizeof(wanted), "a whole number from %" PRIu64 " to %" PRIu64, min,
	               max);
	if (!is_plain(node) || !is_digits(node->text))
		return fail_type(node, wanted, err);
	/* Some readers of YAML take 010 for 8. */
	if (node->text[0] == '0' && node->text[1])
		return wh_yaml_fail(err, node, "'%.40s' begins with 0; write it without",
		                    node->text);

	errno = 0;
	value = strtoull(node->text, NULL, 10);
	if (errno || value < min || value > max)
		return wh_yaml_fail(err, node, "'%.40s' is out of range; write %s", node->text,
		                    wanted);

	*ret = value;
	return 0;
}

int wh_value_text(const char **ret, const struct wh_yaml_node *node, struct wh_error *err)
{
	if (node->type != WH_YAML_SCALAR || wh_value_is_null(node))
		return fail_type(node, "a string", err);
	if (!node->quoted && wh_scalar_type(node->text) != WH_SCALAR_STRING)
		return wh_yaml_fail(err, node, "'%.40s' is not a string; put it in quotes",
		                    node->text);

	*ret = node->text;
	return 0;
}

int wh_value_string(const char **ret, const struct wh_yaml_node *node, struct wh_error *err)
{
	const char *text = "";
	int r;

	r = wh_value_text(&text, node, err);
	if (r < 0)
		return r;
	if (!*text)
		return wh_yaml_fail(err, node,
		                    "this string is empty; write at least one character");

	*ret = text;
	return 0;
}

int wh_value_copy(char **ret, const struct wh_yaml_node *node, struct wh_error *err)
{
	const char *text = "";
	char *fresh;
	int r;

	r = wh_value_string(&text, node, err);
	if (r < 0)
		return r;
	fresh = strdup(text);
	if (!fresh)
		return wh_fail(err, -ENOMEM, "out of memory");

	free(*ret);
	*ret = fresh;
	return 0;
}

int wh_value_path(char **ret, const struct wh_yaml_node *node, struct wh_error *err)
{
	const char *text = "";
	int r;

	r = wh_value_string(&text, node, err);
	if (r < 0)
		return r;
	if (*text != '/')
		return wh_yaml_fail(err, node, "'%.40s' is not absolute; begin the path with '/'",
		                    text);
	return wh_value_copy(ret, node, err);
}

int wh_value_socket(char **ret, const struct wh_yaml_node *node, struct wh_error *err)
{
	/* The address of a unix socket holds less than a path may have. */
	const size_t size = sizeof(((struct sockaddr_un *)NULL)->sun_path);

	if (node->type == WH_YAML_SCALAR && strlen(node->text) >= size)
		return wh_yaml_fail(err, node,
		                    "too long for a socket; write a path of at most %zu bytes",
		                    size - 1);
	return wh_value_path(ret, node, err);
}

int wh_value_name(char *ret, const struct wh_yaml_node *node, struct wh_error *err)
{
	const char *text = "";
	int r;

	r = wh_value_string(&text, node, err);
	if (r < 0)
		return r;
	if (!wh_name_valid(text))
		return wh_yaml_fail(err, node,
		                    "'%.63s' is not a name; write 1 to 63 of a-z, 0-9 and '-', "
		                    "with no '-' at either end",
		                    text);

	memcpy(ret, text, strlen(text) + 1);
	return 0;
}

int wh_value_word(unsigned *ret, const struct wh_yaml_node *node,
                  const struct wh_value_words *words, struct wh_error *err)
{
	const char *text = "";
	int r;

	r = wh_value_string(&text, node, err);
	if (r < 0)
		return r;
	for (unsigned i = 0; i < words->count; i++) {
		if (!strcmp(words->words[i], text)) {
			*ret = i;
			return 0;
		}
	}
	return wh_yaml_fail(err, node, "'%.40s' is no %s; write %s", text, words->what,
	                    words->write);
}

static int fail_unknown_key(const struct wh_yaml_node *key, const struct wh_value_key *keys,
                            size_t count, struct wh_error *err)
{
	struct wh_nearest nearest = { .wrong = key->text };

	for (size_t i = 0; i < count; i++)
		wh_nearest_offer(&nearest, keys[i].name);
	return wh_yaml_fail(err, key, "unknown key '%.40s'; the nearest known key is '%s'",
	                    key->text, nearest.best);
}

static const struct wh_value_key *find_key(const char *name, const struct wh_value_key *keys,
                                           size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (!strcmp(keys[i].name, name))
			return &keys[i];
	}
	return NULL;
}

static int check_required(const struct wh_yaml_node *node, const struct wh_value_key *keys,
                          size_t count, struct wh_error *err)
{
	for (size_t i = 0; i < count; i++) {
		const struct wh_yaml_node *value = wh_yaml_get(node, keys[i].name);

		if (keys[i].required && (!value || wh_value_is_null(value)))
			return wh_yaml_fail(err, value ? value : node,
			                    "'%s' is missing; write '%s: VALUE'", keys[i].name,
			                    keys[i].name);
	}
	return 0;
}

int wh_value_object(void *object, const struct wh_yaml_node *node, const struct wh_value_key *keys,
                    size_t count, struct wh_error *err)
{
	if (node->type != WH_YAML_MAPPING)
		return fail_type(node, "a mapping, 'key: value'", err);

	for (size_t i = 0; i < node->count; i++) {
		const struct wh_yaml_node *value = node->items[i];
		const struct wh_value_key *key = find_key(value->key->text, keys, count);
		int r;

		if (!key)
			return fail_unknown_key(value->key, keys, count, err);
		if (wh_value_is_null(value))
			continue;
		r = key->read((char *)object + key->offset, value, err);
		if (r < 0)
			return r;
	}
	return check_required(node, keys, count, err);
}
