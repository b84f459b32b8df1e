/* SPDX-License-Identifier: Apache-2.0 */

/* Manifests: which objects count, where their section is, and that mistakes change nothing. */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "manifest.h"

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

#define HCO "apiVersion: hco.kubevirt.io/v1beta1\nkind: HyperConverged\n"

static const char *data_file(const char *name)
{
	static char path[4096];

	(void)snprintf(path, sizeof(path), "%s/%s", WH_TEST_DATA, name);
	return path;
}

static int parse(struct wh_settings *ret, const char *text, struct wh_error *err)
{
	return wh_manifest_parse(ret, "f", text, strlen(text), err);
}

static void reads_a_hyperconverged_manifest(void **state)
{
	struct wh_settings s;
	struct wh_error err = { 0 };

	(void)state;
	assert_int_equal(wh_manifest_load(&s, data_file("hyperconverged.yaml"), &err), 1);
	assert_int_equal(s.bandwidth_bps, 64 << 20);
	assert_int_equal(s.completion_s_per_gib, 800);
	assert_int_equal(s.parallel_per_cluster, 5);
	assert_int_equal(s.parallel_outbound_per_node, 2);
	assert_int_equal(s.progress_s, 150);
	assert_false(s.allow_post_copy);
	assert_false(s.allow_workload_disruption);
	assert_int_equal(s.given, 0x3f);

	assert_int_equal(wh_manifest_load(&s, data_file("hyperconverged-heavy.yaml"), &err), 1);
	assert_int_equal(s.bandwidth_bps, 0);
	assert_int_equal(s.completion_s_per_gib, 150);
	assert_int_equal(s.parallel_outbound_per_node, 1);
	assert_true(s.allow_post_copy);
	assert_true(s.allow_workload_disruption);
}

static void finds_the_section_of_each_kind(void **state)
{
	static const char *const table[] = {
		HCO "spec: {liveMigrationConfig: {progressTimeout: 7}}",
		"apiVersion: hco.kubevirt.io/v1\nkind: HyperConverged\n"
		"spec: {virtualization: {liveMigrationConfig: {progressTimeout: 7}}}",
		"apiVersion: kubevirt.io/v1\nkind: KubeVirt\n"
		"spec: {configuration: {migrations: {progressTimeout: 7}}}",
		"{\"kind\": \"HyperConverged\", \"apiVersion\": \"hco.kubevirt.io/v1beta1\",\n"
		"\t\"spec\": {\"liveMigrationConfig\": {\"progressTimeout\": 7}}}",
		/* Other parts may hold anything. */
		HCO "spec: {featureGates: {x: -1}, liveMigrationConfig: {progressTimeout: 7}}\n"
		    "status: [x]\n",
		/* Other objects, too. */
		"kind: ConfigMap\nspec: {liveMigrationConfig: {progressTimeout: 9}}\n---\n" HCO
		"spec: {liveMigrationConfig: {progressTimeout: 7}}\n---\n- list\n---\ntext\n",
	};

	(void)state;
	for (size_t i = 0; i < COUNT(table); i++) {
		struct wh_settings s;
		struct wh_error err = { 0 };
		int r = parse(&s, table[i], &err);

		if (r < 0)
			fail_msg("%s", err.text);
		assert_int_equal(r, 1);
		assert_int_equal(s.progress_s, 7);
		assert_int_equal(s.completion_s_per_gib, 800);
	}
}

static void restores_defaults_where_the_section_is_missing(void **state)
{
	static const char *const table[] = {
		HCO,
		HCO "spec:\n",
		HCO "spec: {}\n",
		HCO "spec: {liveMigrationConfig: }\n",
		HCO "spec: {liveMigrationConfig: {}}\n",
		HCO "spec: {liveMigrationConfig: {progressTimeout: }}\n",
		/* The section of the other version is just another part. */
		HCO "spec: {virtualization: {liveMigrationConfig: {progressTimeout: 7}}}\n",
	};

	(void)state;
	for (size_t i = 0; i < COUNT(table); i++) {
		struct wh_settings s = { .progress_s = 77, .given = 77 };
		struct wh_error err = { 0 };

		assert_int_equal(parse(&s, table[i], &err), 1);
		assert_int_equal(s.progress_s, 150);
		assert_int_equal(s.given, 0);
	}
}

static void tells_files_without_settings(void **state)
{
	static const char *const table[] = {
		"",
		"text",
		"[kind, HyperConverged]",
		"kind: HyperConverged\nspec: {liveMigrationConfig: {x: 1}}",
		"apiVersion: other.io/v1\nkind: HyperConverged\n",
		"apiVersion: kubevirt.io/v1\nkind: VirtualMachine\n",
		"apiVersion: {a: b}\nkind: [KubeVirt]\n",
	};
	struct wh_settings s = { .progress_s = 77 };
	struct wh_error err = { 0 };

	(void)state;
	for (size_t i = 0; i < COUNT(table); i++)
		assert_int_equal(parse(&s, table[i], &err), 0);
	assert_int_equal(wh_manifest_load(&s, data_file("virtualmachine.yaml"), &err), 0);
	assert_int_equal(wh_manifest_load(&s, data_file("migrationpolicy.yaml"), &err), 0);
	assert_int_equal(s.progress_s, 77);
}

static void a_manifest_with_a_mistake_changes_nothing(void **state)
{
	static const struct {
		const char *text;
		const char *place;
		const char *words;
	} table[] = {
		{ HCO "spec:\n  liveMigrationConfig:\n    bandwithPerMigration: 64Mi\n",
		  "f:5:5: ", "'bandwidthPerMigration'" },
		{ HCO "spec:\n  liveMigrationConfig:\n    progressTimeout: 7\n"
		      "    bandwidthPerMigration: 64Mbps\n",
		  "f:6:28: ", "bits" },
		{ HCO "spec: x\n", "f:3:7: ", "'spec' must be a mapping" },
		{ HCO "spec: {liveMigrationConfig: [a]}\n", "f:3:29: ", "must be a mapping" },
		{ HCO "---\n" HCO, "f:4:1: ", "the first is f:1:1" },
		{ HCO "spec: {}\n---\napiVersion: kubevirt.io/v1\nkind: KubeVirt\n",
		  "f:5:1: ", "the first is f:1:1" },
		{ "apiVersion: hco.kubevirt.io/v2\nkind: HyperConverged\n",
		  "f:1:13: ", "hco.kubevirt.io/v1" },
		{ "kind: KubeVirt\napiVersion: kubevirt.io/v1alpha3\n",
		  "f:2:13: ", "write kubevirt.io/v1" },
		{ HCO "---\na: [\n", "f:5:1: ", ";" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(table); i++) {
		struct wh_settings s = { .progress_s = 77 };
		struct wh_error err = { 0 };

		assert_int_equal(parse(&s, table[i].text, &err), -EINVAL);
		print_message("# %s\n", err.text);
		assert_int_equal(strncmp(err.text, table[i].place, strlen(table[i].place)), 0);
		assert_non_null(strstr(err.text, table[i].words));
		assert_int_equal(s.progress_s, 77);
	}
}

/* A directory with files of the test's own. */

struct directory {
	char path[64];
	char *files[4];
	size_t count;
};

static int make_directory(void **state)
{
	static struct directory dir;

	dir = (struct directory){ .path = "/tmp/wh-test-manifest-XXXXXX" };
	*state = &dir;
	return mkdtemp(dir.path) ? 0 : -1;
}

static int remove_directory(void **state)
{
	struct directory *dir = *state;

	for (size_t i = 0; i < dir->count; i++) {
		(void)unlink(dir->files[i]);
		free(dir->files[i]);
	}
	return rmdir(dir->path);
}

static void put(struct directory *dir, const char *name, const char *text)
{
	char *path = NULL;
	FILE *out;

	assert_true(dir->count < COUNT(dir->files));
	assert_true(asprintf(&path, "%s/%s", dir->path, name) > 0);
	dir->files[dir->count++] = path;
	out = fopen(path, "we");
	assert_non_null(out);
	assert_true(fputs(text, out) >= 0);
	assert_int_equal(fclose(out), 0);
}

static void reads_the_manifests_of_a_directory(void **state)
{
	struct directory *dir = *state;
	struct wh_settings s = { .progress_s = 77 };
	struct wh_error err = { 0 };

	assert_int_equal(wh_manifest_load_dir(&s, dir->path, &err), 0);

	put(dir, "notes.txt", "a: [");
	put(dir, ".hidden.yaml", "a: [");
	put(dir, "a.json", "{}");
	assert_int_equal(wh_manifest_load_dir(&s, dir->path, &err), 0);
	assert_int_equal(s.progress_s, 77);

	put(dir, "b.yml", HCO "spec: {liveMigrationConfig: {progressTimeout: 7}}");
	assert_int_equal(wh_manifest_load_dir(&s, dir->path, &err), 1);
	assert_int_equal(s.progress_s, 7);
}

static void names_both_places_of_settings_given_twice(void **state)
{
	struct directory *dir = *state;
	struct wh_settings s = { .progress_s = 77 };
	struct wh_error err = { 0 };
	char words[WH_ERROR_TEXT_MAX];

	put(dir, "b.json", HCO);
	put(dir, "a.yaml", "# comment\n" HCO);
	assert_int_equal(wh_manifest_load_dir(&s, dir->path, &err), -EINVAL);

	(void)snprintf(words, sizeof(words),
	               "%s/b.json:1:1: a second object with migration settings; "
	               "the first is %s/a.yaml:2:1; keep one of them",
	               dir->path, dir->path);
	assert_string_equal(err.text, words);
	assert_int_equal(s.progress_s, 77);
}

static void one_bad_file_spoils_the_directory(void **state)
{
	struct directory *dir = *state;
	struct wh_settings s = { .progress_s = 77 };
	struct wh_error err = { 0 };
	char words[WH_ERROR_TEXT_MAX];

	put(dir, "a.yaml", HCO);
	put(dir, "b.yaml", "a: [");
	assert_int_equal(wh_manifest_load_dir(&s, dir->path, &err), -EINVAL);

	(void)snprintf(words, sizeof(words), "%s/b.yaml:1:5: ", dir->path);
	assert_int_equal(strncmp(err.text, words, strlen(words)), 0);
	assert_int_equal(s.progress_s, 77);

	assert_int_equal(wh_manifest_load_dir(&s, "/nonexistent", &err), -ENOENT);
	assert_string_equal(err.text, "/nonexistent: No such file or directory");
}

/* Whether @text begins with "f:LINE:COLUMN: ". */
static bool has_place(const char *text)
{
	unsigned int line = 0;
	unsigned int column = 0;
	int end = 0;

	return sscanf(text, "f:%u:%u: %n", &line, &column, &end) == 2 && end > 0 && line > 0 &&
	       column > 0;
}

static uint64_t next_random(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed;
}

#define GOOD_MAX    4096
#define ROUNDS      5000
#define UNTOUCHED_S 77

/* Flip up to 3 of the bits and cut off the end in half of the cases. Return: the bytes left. */
static size_t damage(unsigned char *data, size_t len, uint64_t *seed)
{
	for (uint64_t flips = next_random(seed) % 4; flips > 0; flips--)
		data[next_random(seed) % len] ^= (unsigned char)(1u << next_random(seed) % 8);
	return next_random(seed) % 2 ? next_random(seed) % len : len;
}

/* Return: how many damaged copies of the file were refused, each with its place. */
static unsigned int refuse_damaged(const char *name, uint64_t *seed)
{
	char good[GOOD_MAX];
	FILE *in = fopen(data_file(name), "re");
	unsigned int refused = 0;
	size_t good_len;

	assert_non_null(in);
	good_len = fread(good, 1, sizeof(good), in);
	(void)fclose(in);
	assert_true(good_len > 100);

	for (int i = 0; i < ROUNDS; i++) {
		struct wh_settings s = { .progress_s = UNTOUCHED_S };
		struct wh_error err = { 0 };
		unsigned char bad[GOOD_MAX];
		int r;

		memcpy(bad, good, good_len);
		r = wh_manifest_parse(&s, "f", bad, damage(bad, good_len, seed), &err);
		if (r < 0 && !has_place(err.text))
			fail_msg("%s, round %d: no place in '%s'", name, i, err.text);
		refused += r < 0;
		assert_true(r == 1 || s.progress_s == UNTOUCHED_S);
	}
	return refused;
}

static void survives_damaged_manifests(void **state)
{
	static const char *const files[] = { "hyperconverged.yaml", "hyperconverged-heavy.yaml",
		                             "migrationpolicy.yaml", "virtualmachine.yaml" };
	uint64_t seed = 88172645463325252u;

	(void)state;
	for (size_t i = 0; i < COUNT(files); i++) {
		const unsigned int refused = refuse_damaged(files[i], &seed);

		print_message("# %s: %u of %d refused\n", files[i], refused, ROUNDS);
		assert_in_range(refused, ROUNDS / 10, ROUNDS - 1);
	}
}

#define WITH_DIRECTORY(fn) cmocka_unit_test_setup_teardown(fn, make_directory, remove_directory)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_a_hyperconverged_manifest),
		cmocka_unit_test(finds_the_section_of_each_kind),
		cmocka_unit_test(restores_defaults_where_the_section_is_missing),
		cmocka_unit_test(tells_files_without_settings),
		cmocka_unit_test(a_manifest_with_a_mistake_changes_nothing),
		WITH_DIRECTORY(reads_the_manifests_of_a_directory),
		WITH_DIRECTORY(names_both_places_of_settings_given_twice),
		WITH_DIRECTORY(one_bad_file_spoils_the_directory),
		cmocka_unit_test(survives_damaged_manifests),
	};

	return cmocka_run_group_tests_name("manifest", tests, NULL, NULL);
}
