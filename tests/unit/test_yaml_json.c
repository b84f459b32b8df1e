/* SPDX-License-Identifier: Apache-2.0 */

/* Objects as JSON and as YAML again: types, order of keys, quotes, and nothing lost either way. */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "files.h"
#include "json.h"
#include "object.h"
#include "yaml_json.h"

#include "random.h"

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

/* Return: the JSON of the one document in @yaml, from malloc(). */
static char *to_json(const char *yaml)
{
	wh_cleanup(wh_yaml_freep) struct wh_yaml *tree = NULL;
	struct wh_error err = { 0 };
	char *json = NULL;

	if (wh_yaml_parse(&tree, "f", yaml, strlen(yaml), &err) < 0)
		fail_msg("%s in: %s", err.text, yaml);
	assert_int_equal(tree->documents->count, 1);
	if (wh_yaml_json(&json, tree->documents->items[0], &err) < 0)
		fail_msg("%s in: %s", err.text, yaml);
	return json;
}

static void json_has_the_types_that_kubernetes_reads(void **state)
{
	static const struct {
		const char *yaml;
		const char *json;
	} table[] = {
		{ "a: true", "{\"a\":true}" },
		{ "a: False", "{\"a\":false}" },
		{ "a: yes", "{\"a\":true}" },
		{ "a: Off", "{\"a\":false}" },
		{ "a: 'true'", "{\"a\":\"true\"}" },
		{ "a:", "{\"a\":null}" },
		{ "a: ~", "{\"a\":null}" },
		{ "a: ''", "{\"a\":\"\"}" },
		{ "a: 5", "{\"a\":5}" },
		{ "a: \"5\"", "{\"a\":\"5\"}" },
		{ "a: !!str 5", "{\"a\":\"5\"}" },
		{ "a: 0644", "{\"a\":420}" },
		{ "a: 1.50", "{\"a\":1.50}" },
		{ "a: 64Mi", "{\"a\":\"64Mi\"}" },
		{ "a: 2026-03-02T09:14:51Z", "{\"a\":\"2026-03-02T09:14:51Z\"}" },
		{ "b: 1\na: 2\nC: 3", "{\"b\":1,\"a\":2,\"C\":3}" },
		{ "true: 1\n5: 2\n~: 3", "{\"true\":1,\"5\":2,\"~\":3}" },
		{ "[]", "[]" },
		{ "{}", "{}" },
		{ "- a\n- [b, {}]\n- - c", "[\"a\",[\"b\",{}],[\"c\"]]" },
		{ "a: |\n  b\n   c\n", "{\"a\":\"b\\n c\\n\"}" },
		{ "\"\\t\\\"\\\\\\r\\x01\"", "\"\\t\\\"\\\\\\r\\u0001\"" },
		{ "\"\\x7f\\N\\L\\P\\uFEFF\\uFFFE\"",
		  "\"\\u007f\\u0085\\u2028\\u2029\\ufeff\\ufffe\"" },
		{ "\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80",
		  "\"\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\"" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(table); i++) {
		wh_cleanup(wh_freep) char *json = to_json(table[i].yaml);

		assert_string_equal(json, table[i].json);
	}
}

static void yaml_looks_as_oc_prints_it(void **state)
{
	static const char json[] =
		"{\"kind\":\"MigrationPolicy\",\"apiVersion\":\"migrations.kubevirt.io/v1alpha1\","
		"\"metadata\":{\"name\":\"hpc\",\"resourceVersion\":\"48213\",\"generation\":3,"
		"\"finalizers\":[\"a/b\",\"c\"],\"annotations\":{},\"x\":[]},"
		"\"spec\":{\"allowPostCopy\":true,\"bandwidthPerMigration\":\"2Gi\",\"none\":null,"
		"\"selectors\":{\"namespaceSelector\":{\"hpc-workloads\":\"True\",\"empty\":\"\","
		"\"y\":\"n\"}}},\"text\":\"#cloud-config\\nexpire: False\\n\",\"kept\":\"a\\nb\"}";
	wh_cleanup(wh_freep) char *yaml = wh_object_yaml(json);

	(void)state;
	assert_non_null(yaml);
	assert_string_equal(yaml, "kind: MigrationPolicy\n"
	                          "apiVersion: migrations.kubevirt.io/v1alpha1\n"
	                          "metadata:\n"
	                          "  name: hpc\n"
	                          "  resourceVersion: \"48213\"\n"
	                          "  generation: 3\n"
	                          "  finalizers:\n"
	                          "  - a/b\n"
	                          "  - c\n"
	                          "  annotations: {}\n"
	                          "  x: []\n"
	                          "spec:\n"
	                          "  allowPostCopy: true\n"
	                          "  bandwidthPerMigration: 2Gi\n"
	                          "  none: null\n"
	                          "  selectors:\n"
	                          "    namespaceSelector:\n"
	                          "      hpc-workloads: \"True\"\n"
	                          "      empty: \"\"\n"
	                          "      \"y\": \"n\"\n"
	                          "text: |\n"
	                          "  #cloud-config\n"
	                          "  expire: False\n"
	                          "kept: |-\n"
	                          "  a\n"
	                          "  b\n");
}

static void strings_that_look_like_something_else_are_quoted(void **state)
{
	static const char *const table[] = {
		"true", "False", "null", "~",   "yes",   "No",         "on",   "OFF",       "y",
		"N",    "5",     "-5",   "+.5", "1e9",   "0x1f",       "0644", "1_000",     ".inf",
		".nan", "=",     "<<",   "-",   "12:30", "2026-03-02", "",     "192.0.2.1",
	};

	(void)state;
	for (size_t i = 0; i < COUNT(table); i++) {
		wh_cleanup(wh_freep) char *yaml = NULL;
		char json[64], quoted[64];

		(void)snprintf(json, sizeof(json), "{\"a\":\"%s\"}", table[i]);
		(void)snprintf(quoted, sizeof(quoted), "a: \"%s\"\n", table[i]);
		yaml = wh_object_yaml(json);
		assert_non_null(yaml);
		assert_string_equal(yaml, quoted);
	}
}

static void text_that_is_no_json_gives_no_yaml(void **state)
{
	(void)state;
	assert_null(wh_object_yaml("{"));
	assert_null(wh_object_yaml(""));
	assert_null(wh_object_yaml("{} ---\n{}"));
}

static void refuses_what_could_not_be_read_again(void **state)
{
	wh_cleanup(wh_yaml_freep) struct wh_yaml *tree = NULL;
	struct wh_error err = { 0 };
	char text[2048] = "? ";
	char *json = NULL;

	(void)state;
	memset(text + 2, 'k', WH_YAML_KEY_BYTES_MAX - 1);
	(void)snprintf(text + 2 + WH_YAML_KEY_BYTES_MAX - 1, 16, "\n: v");
	assert_int_equal(wh_yaml_parse(&tree, "f", text, strlen(text), &err), 0);
	assert_int_equal(wh_yaml_json(&json, tree->documents->items[0], &err), -EINVAL);
	assert_int_equal(strncmp(err.text, "f:1:3: ", 7), 0);
	assert_null(json);
}

static void an_object_may_be_as_large_as_kubernetes_stores(void **state)
{
	const size_t max = WH_OBJECT_JSON_MAX;
	wh_cleanup(wh_freep) char *text = malloc(max + 1);
	struct wh_error err = { 0 };

	(void)state;
	assert_non_null(text);
	for (int more = 0; more < 2; more++) {
		wh_cleanup(wh_yaml_freep) struct wh_yaml *tree = NULL;
		wh_cleanup(wh_freep) char *json = NULL;
		const size_t len = max - 2 + (size_t)more; /* JSON adds quotes */

		memset(text, 'a', len);
		assert_int_equal(wh_yaml_parse(&tree, "f", text, len, &err), 0);
		assert_int_equal(wh_yaml_json(&json, tree->documents->items[0], &err),
		                 more ? -EINVAL : 0);
		assert_int_equal(!json, more);
	}
}

/* Random JSON, written as wh_yaml_json() writes it. */

static const char *const pieces[] = {
	"a",
	"b c",
	"true",
	"null",
	"5",
	"1e3",
	"0x1f",
	"-",
	": ",
	"#",
	" #",
	"- ",
	"? ",
	"\\n",
	"\\n\\n",
	"\\t",
	"\\r",
	" ",
	"  ",
	"'",
	"\\\"",
	"\\\\",
	"|",
	">",
	"%",
	"@",
	"`",
	"{",
	"}",
	"[",
	"]",
	",",
	"!",
	"&a",
	"*a",
	"~",
	"<<",
	"=",
	"...",
	"---",
	"\xc3\xa4",
	"\xe2\x82\xac",
	"\xf0\x9f\x98\x80",
	"\\u0001",
	"\\u007f",
	"\\u0085",
	"\\u2028",
	"\\ufeff",
	"\\uffff",
};

static void write_string(FILE *out, uint64_t *seed)
{
	(void)fputc('"', out);
	for (uint64_t i = random_below(seed, 5); i > 0; i--)
		(void)fputs(pieces[random_below(seed, COUNT(pieces))], out);
	(void)fputc('"', out);
}

static void write_value(FILE *out, uint64_t *seed, unsigned int depth)
{
	static const char *const plain[] = { "null", "true", "false", "0",
		                             "-7",   "1.5",  "2e9",   "9223372036854775807" };
	const uint64_t kind = random_below(seed, depth > 0 ? 6 : 3);
	const char *const brackets = kind == 5 ? "[]" : "{}";

	if (kind == 0) {
		(void)fputs(plain[random_below(seed, COUNT(plain))], out);
		return;
	}
	if (kind < 3) {
		write_string(out, seed);
		return;
	}
	(void)fputc(brackets[0], out);
	for (uint64_t i = 0, count = random_below(seed, 4); i < count; i++) {
		if (i > 0)
			(void)fputc(',', out);
		if (kind != 5) { /* the number makes keys differ */
			(void)fprintf(out, "\"%llu%s\":", (unsigned long long)i,
			              pieces[random_below(seed, COUNT(pieces))]);
		}
		write_value(out, seed, depth - 1);
	}
	(void)fputc(brackets[1], out);
}

static void what_is_written_reads_as_the_same(void **state)
{
	uint64_t seed = random_seed();

	(void)state;
	for (int i = 0; i < 3000; i++) {
		wh_cleanup(wh_freep) char *json = NULL, *again = NULL, *yaml = NULL, *back = NULL;
		size_t len = 0;
		FILE *out = open_memstream(&json, &len);
		json_t *value;

		assert_non_null(out);
		write_value(out, &seed, 4);
		assert_int_equal(fclose(out), 0);
		value = json_loads(json, JSON_DECODE_ANY, NULL);
		assert_non_null(value);
		json_decref(value);

		again = to_json(json);
		assert_string_equal(again, json);
		yaml = wh_object_yaml(json);
		assert_non_null(yaml);
		back = to_json(yaml);
		if (strcmp(back, json) != 0)
			fail_msg("%s\nbecame\n%s\nand\n%s", json, yaml, back);
	}
}

static void the_samples_survive_both_ways(void **state)
{
	static const char *const files[] = { "list.yaml", "hyperconverged.yaml",
		                             "migrationpolicy.yaml", "virtualmachine.yaml" };

	(void)state;
	for (size_t i = 0; i < COUNT(files); i++) {
		wh_cleanup(wh_objects_done) struct wh_objects objects = { 0 };
		char path[4096];

		(void)snprintf(path, sizeof(path), "%s/%s", WH_TEST_DATA, files[i]);
		assert_int_equal(wh_objects_load(&objects, path, NULL), 0);
		for (size_t j = 0; j < objects.count; j++) {
			wh_cleanup(wh_freep) char *yaml = wh_object_yaml(objects.items[j].json);
			wh_cleanup(wh_objects_done) struct wh_objects again = { 0 };

			assert_non_null(yaml);
			assert_int_equal(wh_objects_parse(&again, "f", yaml, strlen(yaml), NULL),
			                 0);
			assert_int_equal(again.count, 1);
			assert_string_equal(again.items[0].json, objects.items[j].json);
			assert_string_equal(again.items[0].name, objects.items[j].name);
			assert_memory_equal(&again.items[0].settings, &objects.items[j].settings,
			                    sizeof(struct wh_settings));
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(json_has_the_types_that_kubernetes_reads),
		cmocka_unit_test(yaml_looks_as_oc_prints_it),
		cmocka_unit_test(strings_that_look_like_something_else_are_quoted),
		cmocka_unit_test(text_that_is_no_json_gives_no_yaml),
		cmocka_unit_test(refuses_what_could_not_be_read_again),
		cmocka_unit_test(an_object_may_be_as_large_as_kubernetes_stores),
		cmocka_unit_test(what_is_written_reads_as_the_same),
		cmocka_unit_test(the_samples_survive_both_ways),
	};

	return cmocka_run_group_tests_name("yaml_json", tests, NULL, NULL);
}
