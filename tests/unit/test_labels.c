/* SPDX-License-Identifier: Apache-2.0 */

/* Labels: which keys and values Kubernetes allows, and that values are strings. */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "labels.h"
#include "yaml.h"

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

#define TEN      "a123456789"
#define SIXTY    TEN TEN TEN TEN TEN TEN
#define WORD_63  SIXTY "bcd"
#define WORD_64  SIXTY "bcde"
#define NAME_253 SIXTY "." SIXTY "." SIXTY "." SIXTY ".abcdefghi"
#define NAME_254 SIXTY "." SIXTY "." SIXTY "." SIXTY ".abcdefghij"

static int parse(struct wh_labels *ret, const char *text, struct wh_error *err)
{
	wh_cleanup(wh_yaml_freep) struct wh_yaml *tree = NULL;

	assert_int_equal(wh_yaml_parse(&tree, "f", text, strlen(text), err), 0);
	return wh_labels_parse(ret, tree->documents->items[0], err);
}

static void sorts_by_key_and_finds_each(void **state)
{
	wh_cleanup(wh_labels_done) struct wh_labels labels = { 0 };
	static const char *const keys[] = { "A", "a", "a-b", "a.b/c", "a0", "b" };

	(void)state;
	assert_int_equal(parse(&labels, "{b: x, a-b: v, a0: v, a: v, A: v, a.b/c: ''}", NULL), 0);
	assert_int_equal(labels.count, COUNT(keys));
	for (size_t i = 0; i < COUNT(keys); i++)
		assert_string_equal(labels.items[i].key, keys[i]);
	assert_string_equal(wh_labels_get(&labels, "a.b/c"), "");
	assert_string_equal(wh_labels_get(&labels, "b"), "x");
	assert_string_equal(wh_labels_get(&labels, "A"), "v");
	assert_null(wh_labels_get(&labels, "c"));
	assert_null(wh_labels_get(&labels, ""));
}

static void an_empty_set_has_no_labels(void **state)
{
	static const char *const table[] = { "{}", "~", "null" };
	struct wh_labels labels = { 0 };

	(void)state;
	assert_int_equal(wh_labels_parse(&labels, NULL, NULL), 0);
	for (size_t i = 0; i < COUNT(table); i++) {
		assert_int_equal(parse(&labels, table[i], NULL), 0);
		assert_int_equal(labels.count, 0);
		assert_null(wh_labels_get(&labels, "a"));
	}
}

static void accepts_what_kubernetes_does(void **state)
{
	static const char *const table[] = {
		"a: b",
		"A: B",
		"'5': '5'",
		"a: a_b-c.d",
		"a_b-c.d: ''",
		"a: 1a",
		"a: 'true'",
		"a: \"True\"",
		"a: 192.0.2.1",
		"kubevirt.io/environment: production",
		"a.b-c.d/e: f",
		WORD_63 ": " WORD_63,
		NAME_253 "/" WORD_63 ": b",
	};

	(void)state;
	for (size_t i = 0; i < COUNT(table); i++) {
		wh_cleanup(wh_labels_done) struct wh_labels labels = { 0 };
		struct wh_error err = { 0 };

		if (parse(&labels, table[i], &err) < 0)
			fail_msg("%s", err.text);
		assert_int_equal(labels.count, 1);
	}
}

static void refuses_and_names_the_place(void **state)
{
	static const struct {
		const char *text;
		const char *place;
		const char *words;
	} table[] = {
		/* Values that are no strings. */
		{ "a: true", "f:1:4: ", "a: \"true\"" },
		{ "a: False", "f:1:4: ", "quotes" },
		{ "a: yes", "f:1:4: ", "quotes" },
		{ "a: Off", "f:1:4: ", "quotes" },
		{ "a: n", "f:1:4: ", "quotes" },
		{ "a: 5", "f:1:4: ", "a: \"5\"" },
		{ "a: 1.5", "f:1:4: ", "quotes" },
		{ "a: 1e3", "f:1:4: ", "quotes" },
		{ "a: 0x1f", "f:1:4: ", "quotes" },
		{ "a: 1_000", "f:1:4: ", "quotes" },
		{ "a:", "f:1:3: ", "\"\"" },
		{ "a: ~", "f:1:4: ", "\"\"" },
		{ "a: [b]", "f:1:4: ", "must be a string" },
		{ "a: {b: c}", "f:1:4: ", "must be a string" },
		/* Values that are no labels. */
		{ "a: b c", "f:1:4: ", "no value" },
		{ "a: -b", "f:1:4: ", "no value" },
		{ "a: b-", "f:1:4: ", "no value" },
		{ "a: .b", "f:1:4: ", "no value" },
		{ "a: b_", "f:1:4: ", "no value" },
		{ "a: b/c", "f:1:4: ", "no value" },
		{ "a: '*'", "f:1:4: ", "no value" },
		{ "a: \xc3\xa4", "f:1:4: ", "no value" },
		{ "a: " WORD_64, "f:1:4: ", "63 at most" },
		/* Keys. */
		{ "b: c\n'': b", "f:2:1: ", "no key" },
		{ "-a: b", "f:1:1: ", "no key" },
		{ "a-: b", "f:1:1: ", "no key" },
		{ "a b: c", "f:1:1: ", "no key" },
		{ "/a: b", "f:1:1: ", "no key" },
		{ "a/: b", "f:1:1: ", "no key" },
		{ "a/b/c: d", "f:1:1: ", "no key" },
		{ "A.b/c: d", "f:1:1: ", "no key" },
		{ "a_b/c: d", "f:1:1: ", "no key" },
		{ "a..b/c: d", "f:1:1: ", "no key" },
		{ "a.-b/c: d", "f:1:1: ", "no key" },
		{ WORD_64 ": b", "f:1:1: ", "63 at most" },
		{ "a/" WORD_64 ": b", "f:1:1: ", "63 at most" },
		{ NAME_254 "/a: b", "f:1:1: ", "no key" },
		/* No set at all. */
		{ "[a]", "f:1:1: ", "no set of labels" },
		{ "a", "f:1:1: ", "no set of labels" },
		{ "''", "f:1:1: ", "no set of labels" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(table); i++) {
		struct wh_labels labels = { .count = 77 };
		struct wh_error err = { 0 };

		if (parse(&labels, table[i].text, &err) != -EINVAL)
			fail_msg("accepted: %s", table[i].text);
		print_message("# %s\n", err.text);
		assert_int_equal(strncmp(err.text, table[i].place, strlen(table[i].place)), 0);
		assert_non_null(strstr(err.text, table[i].words));
		assert_int_equal(labels.count, 77);
	}
}

static void a_copy_is_equal_and_others_are_not(void **state)
{
	static const char *const others[] = { "{}", "{a: x}", "{a: x, b: z}", "{a: x, c: v}",
		                              "{a: x, b: v, c: z}" };
	wh_cleanup(wh_labels_done) struct wh_labels labels = { 0 };
	wh_cleanup(wh_labels_done) struct wh_labels copy = { 0 };

	(void)state;
	assert_int_equal(parse(&labels, "{a: x, b: v}", NULL), 0);
	assert_int_equal(wh_labels_copy(&copy, &labels), 0);
	assert_true(wh_labels_equal(&copy, &labels));
	assert_ptr_not_equal(copy.items[0].key, labels.items[0].key);
	for (size_t i = 0; i < COUNT(others); i++) {
		wh_cleanup(wh_labels_done) struct wh_labels other = { 0 };

		assert_int_equal(parse(&other, others[i], NULL), 0);
		assert_false(wh_labels_equal(&labels, &other));
		assert_false(wh_labels_equal(&other, &labels));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sorts_by_key_and_finds_each),
		cmocka_unit_test(an_empty_set_has_no_labels),
		cmocka_unit_test(accepts_what_kubernetes_does),
		cmocka_unit_test(refuses_and_names_the_place),
		cmocka_unit_test(a_copy_is_equal_and_others_are_not),
	};

	return cmocka_run_group_tests_name("labels", tests, NULL, NULL);
}
