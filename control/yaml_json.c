/* SPDX-License-Identifier: Apache-2.0 */

#include "yaml_json.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "scalar.h"

#include "wherry/limits.h"

struct writer {
	FILE *out; /* whether writing failed is asked once, at the end */
	struct wh_error *err;
};

/* Decode the character at @text, which is valid UTF-8. Return: its bytes. */
static int decode(const char *text, uint32_t *ret)
{
	const unsigned char *c = (const unsigned char *)text;

	if (c[0] < 0x80) {
		*ret = c[0];
		return 1;
	}
	if (c[0] < 0xe0) {
		*ret = (c[0] & 0x1fu) << 6 | (c[1] & 0x3fu);
		return 2;
	}
	if (c[0] < 0xf0) {
		*ret = (c[0] & 0x0fu) << 12 | (c[1] & 0x3fu) << 6 | (c[2] & 0x3fu);
		return 3;
	}
	*ret = 0x10000; /* which one is of no interest: none of them needs an escape */
	return 4;
}

/* Control characters, line breaks of Unicode, byte order marks, and what is no character. */
static bool needs_number(uint32_t c)
{
	return c < 0x20 || (c >= 0x7f && c < 0xa0) || c == 0x2028 || c == 0x2029 || c == 0xfeff ||
	       c == 0xfffe || c == 0xffff;
}

/* The letter after '\\' that stands for @c; 0 if there is none. */
static char short_escape(uint32_t c)
{
	switch (c) {
	case '\n':
		return 'n';
	case '\r':
		return 'r';
	case '\t':
		return 't';
	case '"':
	case '\\':
		return (char)c;
	default:
		return '\0';
	}
}

/* Return: the bytes written. */
static size_t write_string(FILE *out, const char *text)
{
	size_t written = 2;

	(void)putc_unlocked('"', out);
	while (*text) {
		uint32_t c;
		const int len = decode(text, &c);

		if (short_escape(c)) {
			(void)putc_unlocked('\\', out);
			(void)putc_unlocked(short_escape(c), out);
			written += 2;
		} else if (needs_number(c)) {
			(void)fprintf(out, "\\u%04x", c);
			written += 6;
		} else {
			(void)fwrite_unlocked(text, 1, (size_t)len, out);
			written += (size_t)len;
		}
		text += len;
	}
	(void)putc_unlocked('"', out);
	return written;
}

static int write_scalar(const struct writer *w, const struct wh_yaml_node *node)
{
	const enum wh_scalar_type type = node->quoted ? WH_SCALAR_STRING
	                                              : wh_scalar_type(node->text);
	char number[WH_SCALAR_NUMBER_MAX];

	switch (type) {
	case WH_SCALAR_NULL:
		(void)fputs("null", w->out);
		return 0;
	case WH_SCALAR_TRUE:
	case WH_SCALAR_YES:
		(void)fputs("true", w->out);
		return 0;
	case WH_SCALAR_FALSE:
	case WH_SCALAR_NO:
		(void)fputs("false", w->out);
		return 0;
	case WH_SCALAR_STRING:
		(void)write_string(w->out, node->text);
		return 0;
	case WH_SCALAR_NUMBER:
		break;
	}
	if (wh_scalar_number(number, node->text) < 0)
		return wh_yaml_fail(w->err, node,
		                    "the number '%.40s' is too large or infinite; put it in quotes",
		                    node->text);
	(void)fputs(number, w->out);
	return 0;
}

static int write_key(const struct writer *w, const struct wh_yaml_node *key)
{
	if (write_string(w->out, key->text) > WH_YAML_KEY_BYTES_MAX)
		return wh_yaml_fail(w->err, key, "this key is longer than %u bytes; shorten it",
		                    WH_YAML_KEY_BYTES_MAX);
	(void)putc_unlocked(':', w->out);
	return 0;
}

static int write_node(const struct writer *w, const struct wh_yaml_node *node)
{
	const bool mapping = node->type == WH_YAML_MAPPING;
	int r = 0;

	if (node->type == WH_YAML_SCALAR)
		return write_scalar(w, node);

	/* The recursion ends: reading has bounded the depth. */
	(void)putc_unlocked(mapping ? '{' : '[', w->out);
	for (size_t i = 0; i < node->count && r == 0; i++) {
		if (i > 0)
			(void)putc_unlocked(',', w->out);
		if (mapping)
			r = write_key(w, node->items[i]->key);
		if (r == 0)
			r = write_node(w, node->items[i]);
	}
	(void)putc_unlocked(mapping ? '}' : ']', w->out);
	return r;
}

static void free_text(char **text)
{
	free(*text);
}

int wh_yaml_json(char **ret, const struct wh_yaml_node *node, struct wh_error *err)
{
	wh_cleanup(free_text) char *text = NULL;
	size_t len = 0;
	struct writer w = { .out = open_memstream(&text, &len), .err = err };
	int r;

	if (!w.out)
		return wh_fail(err, -ENOMEM, "out of memory");
	r = write_node(&w, node);
	if (fclose(w.out) != 0)
		return wh_fail(err, -ENOMEM, "out of memory");
	if (r < 0)
		return r;
	if (len > WH_OBJECT_JSON_MAX)
		return wh_yaml_fail(err, node, "this object has %zu bytes; write at most %u", len,
		                    WH_OBJECT_JSON_MAX);

	*ret = wh_steal(text);
	return 0;
}
