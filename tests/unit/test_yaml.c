/* SPDX-License-Identifier: Apache-2.0 */

/* The tree: its shape and positions, its limits, and the words for what is refused. */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "wherry/limits.h"
#include "yaml.h"

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

static struct wh_yaml *parse(const char *text)
{
	struct wh_yaml *tree = NULL;
	struct wh_error err = { 0 };

	if (wh_yaml_parse(&tree, "f", text, strlen(text), &err) < 0)
		fail_msg("%s", err.text);
	return tree;
}

static void assert_scalar(const struct wh_yaml_node *node, const char *text, uint32_t line,
                          uint32_t column)
{
	assert_non_null(node);
	assert_int_equal(node->type, WH_YAML_SCALAR);
	assert_string_equal(node->text, text);
	assert_int_equal(node->line, line);
	assert_int_equal(node->column, column);
}

static void knows_where_keys_and_values_are(void **state)
{
	wh_cleanup(wh_yaml_freep) struct wh_yaml *tree = parse("# comment\n"
	                                                       "a: 1\n"
	                                                       "b:\n"
	                                                       "  c: 'two'\n"
	                                                       "  d: [x, {z: \"\"}]\n");
	const struct wh_yaml_node *root;
	const struct wh_yaml_node *d;

	(void)state;
	assert_int_equal(tree->documents->count, 1);
	root = tree->documents->items[0];
	assert_int_equal(root->type, WH_YAML_MAPPING);
	assert_int_equal(root->count, 2);
	assert_scalar(wh_yaml_get(root, "a"), "1", 2, 4);
	assert_scalar(wh_yaml_get(root, "a")->key, "a", 2, 1);
	assert_false(wh_yaml_get(root, "a")->quoted);
	assert_scalar(wh_yaml_get(wh_yaml_get(root, "b"), "c"), "two", 4, 6);
	assert_true(wh_yaml_get(wh_yaml_get(root, "b"), "c")->quoted);

	d = wh_yaml_get(wh_yaml_get(root, "b"), "d");
	assert_int_equal(d->type, WH_YAML_SEQUENCE);
	assert_int_equal(d->count, 2);
	assert_scalar(d->items[0], "x", 5, 7);
	assert_null(d->items[0]->key);
	assert_scalar(wh_yaml_get(d->items[1], "z"), "", 5, 14);

	assert_null(wh_yaml_get(root, "c"));
	assert_null(wh_yaml_get(d, "x"));
	assert_null(wh_yaml_get(d->items[0], "x"));
}

static void counts_columns_in_characters(void **state)
{
	wh_cleanup(wh_yaml_freep) struct wh_yaml *tree = parse("\xef\xbb\xbf"
	                                                       "\xc3\xa4\xe2\x82\xac: 1\n"
	                                                       "b: 2\n");

	(void)state;
	assert_scalar(wh_yaml_get(tree->documents->items[0], "\xc3\xa4\xe2\x82\xac"), "1", 1, 5);
	assert_scalar(wh_yaml_get(tree->documents->items[0], "b"), "2", 2, 4);
}

static void reads_every_document(void **state)
{
	static const struct {
		const char *text;
		size_t documents;
	} table[] = {
		{ "", 0 },
		{ "# nothing\n", 0 },
		{ "---\n", 1 },
		{ "a: 1\n", 1 },
		{ "a: 1\n---\nb: 2\n", 2 },
		{ "---\na: 1\n---\n---\nb: 2\n", 3 },
		{ "{\"a\": 1}", 1 },
		{ "a: 1\n...\n", 1 },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(table); i++) {
		wh_cleanup(wh_yaml_freep) struct wh_yaml *tree = parse(table[i].text);

		assert_int_equal(tree->documents->count, table[i].documents);
	}
}

static void tells_strings_from_plain_scalars(void **state)
{
	wh_cleanup(wh_yaml_freep) struct wh_yaml *tree =
		parse("a: !!str 5\nb: ! 5\nc: |\n  5\nd: 5\n");
	const struct wh_yaml_node *root = tree->documents->items[0];

	(void)state;
	assert_true(wh_yaml_get(root, "a")->quoted);
	assert_true(wh_yaml_get(root, "b")->quoted);
	assert_true(wh_yaml_get(root, "c")->quoted);
	assert_false(wh_yaml_get(root, "d")->quoted);
}

static void assert_refused(const void *data, size_t len, const char *place, const char *words)
{
	struct wh_yaml *tree = NULL;
	struct wh_error err = { 0 };

	assert_int_equal(wh_yaml_parse(&tree, "f", data, len, &err), -EINVAL);
	print_message("# %s\n", err.text);
	assert_null(tree);
	assert_int_equal(strncmp(err.text, place, strlen(place)), 0);
	assert_non_null(strstr(err.text, words));
	assert_non_null(strchr(err.text, ';')); /* what would be right */
}

static void names_the_place_of_a_mistake(void **state)
{
	static const struct {
		const char *text;
		const char *place;
		const char *words;
	} table[] = {
		{ "a: 1\nb: 2\na: 3\n", "f:3:1: ", "'a' is already in line 1" },
		{ "x:\n  a: 1\n  'a': 3\n", "f:3:3: ", "'a' is already in line 2" },
		{ "a: &x 1\nb: *x\n", "f:2:4: ", "alias" },
		{ "a: &x [*x]\n", "f:1:8: ", "alias" },
		{ "a: !!int 5\n", "f:1:4: ", "tag" },
		{ "a: !secret {b: 1}\n", "f:1:4: ", "tag" },
		{ "a: !!set [b]\n", "f:1:4: ", "tag" },
		{ "a: \"x\\0y\"\n", "f:1:4: ", "NUL" },
		{ "a: 50%TAG\n---\n...\n%TAG !a! b\n---\n", "f:4:1: ", "%TAG" },
		{ "%TAG !a! b\n---\n", "f:1:1: ", "%TAG" },
		{ "# \xe2\x80\xa8%TAG !a! b\n---\n", "f:1:4: ", "%TAG" },
		{ "[a, b]: 1\n", "f:1:1: ", "key" },
		{ "a:\n\tb: 1\n", "f:2:1: ", "blanks, not tabs" },
		{ "a: b: 1\n", "f:1:5: ", "quotes" },
		{ "a: 1\n b: 1\n", "f:2:3: ", "indentation" },
		{ "a: [1, 2\nb: 3\n", "f:2:2: ", "quotes" },
		{ "a: 'x\n", "f:2:1: ", "quotes" },
		{ "a: @x\n", "f:1:4: ", "quotes" },
		{ "a: [", "f:1:5: ", "brackets" },
		{ "a: }\n", "f:1:4: ", ";" },
		{ "a: \"\\q\"\n", "f:1:5: ", ";" },
		{ "a: 1\nb: \xff\n", "f:2:4: ", "UTF-8" },
		{ "a: 1\n\xc3\xa4: \xc3\n", "f:2:5: ", "UTF-8" },
		{ "a: \xed\xa0\x80\n", "f:1:4: ", "UTF-8" }, /* a surrogate */
		{ "a: \xc0\xaf\n", "f:1:4: ", "UTF-8" },     /* overlong */
		{ "a: \x01\n", "f:1:4: ", "control characters" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(table); i++)
		assert_refused(table[i].text, strlen(table[i].text), table[i].place,
		               table[i].words);
	assert_refused("a: \0b\n", 6, "f:1:4: ", "control characters");
}

static void keeps_words_printable(void **state)
{
	static const char text[] = "\"\\e[31m\xc3\xa4\": 1\n\"\\e[31m\xc3\xa4\": 2\n";
	struct wh_yaml *tree = NULL;
	struct wh_error err = { 0 };

	(void)state;
	assert_int_equal(wh_yaml_parse(&tree, "f", text, strlen(text), &err), -EINVAL);
	assert_non_null(strstr(err.text, "'?[31m?"
	                                 "?'"));
}

/* @count times @each, between @head and @tail; to be freed. */
static char *repeat(const char *head, const char *each, size_t count, const char *tail)
{
	const size_t len = strlen(each);
	char *text = malloc(strlen(head) + len * count + strlen(tail) + 1);
	char *end;

	assert_non_null(text);
	end = stpcpy(text, head);
	for (size_t i = 0; i < count; i++)
		end = stpcpy(end, each);
	(void)stpcpy(end, tail);
	return text;
}

static void accepts_as_much_as_the_limits_say(void **state)
{
	/* The list of documents and the outer list are nodes, too. */
	char *nodes = repeat("[", "1,", WH_YAML_NODES_MAX - 2, "]");
	char *deep = repeat("", "[", WH_YAML_DEPTH_MAX, "");
	char *deep_end = repeat(deep, "]", WH_YAML_DEPTH_MAX, "");
	char *bytes = repeat("a: 1\n", "#", WH_YAML_BYTES_MAX - 5, "");

	(void)state;
	(void)wh_yaml_free(parse(nodes));
	(void)wh_yaml_free(parse(deep_end));
	(void)wh_yaml_free(parse(bytes));
	free(bytes);
	free(deep_end);
	free(deep);
	free(nodes);
}

static void refuses_more_than_the_limits_say(void **state)
{
	char *nodes = repeat("[", "1,", WH_YAML_NODES_MAX - 1, "]");
	char *deep = repeat("", "[", WH_YAML_DEPTH_MAX + 1, "");
	char *bomb = repeat("", "[", 100000, "");
	char *bytes = repeat("a: 1\n", "#", WH_YAML_BYTES_MAX - 4, "");

	(void)state;
	assert_refused(nodes, strlen(nodes), "f:1:2097150: ", "too many");
	assert_refused(deep, strlen(deep), "f:1:65: ", "levels");
	assert_refused(bomb, strlen(bomb), "f:1:65: ", "levels");
	assert_refused(bytes, strlen(bytes), "f:1:1: ", "16 MiB");
	free(bytes);
	free(bomb);
	free(deep);
	free(nodes);
}

static void limits_the_keys_of_a_mapping(void **state)
{
	char text[(WH_YAML_KEYS_MAX + 1) * 8];
	size_t len = 0;

	(void)state;
	for (unsigned int i = 0; i < WH_YAML_KEYS_MAX; i++)
		len += (size_t)sprintf(text + len, "%u:\n", i);
	(void)wh_yaml_free(parse(text));

	len += (size_t)sprintf(text + len, "x:\n");
	assert_refused(text, len, "f:1025:1: ", "keys");
}

static void says_why_a_file_cannot_be_read(void **state)
{
	char fifo[] = "/tmp/wh-test-yaml-XXXXXX";
	struct wh_yaml *tree = NULL;
	struct wh_error err = { 0 };
	int r;

	(void)state;
	assert_int_equal(wh_yaml_load(&tree, "/nonexistent/x.yaml", &err), -ENOENT);
	assert_string_equal(err.text, "/nonexistent/x.yaml: No such file or directory");
	assert_int_equal(wh_yaml_load(&tree, "/", &err), -EINVAL);
	assert_string_equal(err.text, "/: not a regular file");

	assert_non_null(mkdtemp(fifo));
	assert_int_equal(rmdir(fifo), 0);
	assert_int_equal(mkfifo(fifo, 0600), 0);
	r = wh_yaml_load(&tree, fifo, &err);
	assert_int_equal(unlink(fifo), 0);
	assert_int_equal(r, -EINVAL);
	assert_null(tree);
}

static void works_without_words(void **state)
{
	struct wh_yaml *tree = NULL;

	(void)state;
	assert_int_equal(wh_yaml_parse(&tree, "f", "a: }", 4, NULL), -EINVAL);
	assert_int_equal(wh_yaml_parse(&tree, "f", "a: \xff", 4, NULL), -EINVAL);
	assert_int_equal(wh_yaml_load(&tree, "/nonexistent", NULL), -ENOENT);
	assert_null(wh_yaml_free(NULL));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(knows_where_keys_and_values_are),
		cmocka_unit_test(counts_columns_in_characters),
		cmocka_unit_test(reads_every_document),
		cmocka_unit_test(tells_strings_from_plain_scalars),
		cmocka_unit_test(names_the_place_of_a_mistake),
		cmocka_unit_test(keeps_words_printable),
		cmocka_unit_test(accepts_as_much_as_the_limits_say),
		cmocka_unit_test(refuses_more_than_the_limits_say),
		cmocka_unit_test(limits_the_keys_of_a_mapping),
		cmocka_unit_test(says_why_a_file_cannot_be_read),
		cmocka_unit_test(works_without_words),
	};

	return cmocka_run_group_tests_name("yaml", tests, NULL, NULL);
}
