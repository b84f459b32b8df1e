/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Malformed manifests: each is refused with its place, in a process that may use only so much
 * memory and time, and what was in force before is untouched.
 *
 * A manifest is a good one, spoiled in one of the ways of a table; a seed chooses where and how.
 */

#include <assert.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "object.h"

#include "random.h"

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

/* Of each kind of damage: 16 kinds make more than 200 manifests. */
#define ROUNDS 14

/*
 * What a refusal may take. The tree of the largest file that is read has 128 MiB; the rest is the
 * file of 50 MB. A sanitizer needs address space without end.
 */
#define MEMORY_MAX (512ull << 20)
#define CPU_MAX_S  20u

#define LARGE_FILE ((size_t)50 * 1000 * 1000)

#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED 1
#endif
#endif

struct text {
	char *data;
	size_t len;
	uint64_t *seed;
};

static uint64_t below(struct text *t, uint64_t limit)
{
	return random_below(t->seed, limit);
}

static void append(struct text *t, const char *fmt, ...) wh_printf(2, 3);

static void append(struct text *t, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	t->len += (size_t)vsnprintf(t->data + t->len, LARGE_FILE - t->len, fmt, args);
	va_end(args);
	assert_true(t->len < LARGE_FILE);
}

static void append_times(struct text *t, const char *what, size_t times)
{
	for (size_t i = 0; i < times; i++) {
		memcpy(t->data + t->len, what, strlen(what));
		t->len += strlen(what);
	}
}

/* Good manifests; %s is where something may be wrong. */

#define HCO                                                           \
	"apiVersion: hco.kubevirt.io/v1beta1\nkind: HyperConverged\n" \
	"metadata:\n  name: kubevirt-hyperconverged\n"
#define VM "apiVersion: kubevirt.io/v1\nkind: VirtualMachine\nmetadata: {name: v}\n"
#define POLICY \
	"apiVersion: migrations.kubevirt.io/v1alpha1\nkind: MigrationPolicy\nmetadata:\n  name: p\n"

#define VM "apiVersion: kubevirt.io/v1\nkind: VirtualMachine\nmetadata: {name: v}\n"

static const char good_json[] =
	"{\"apiVersion\": \"hco.kubevirt.io/v1beta1\", \"kind\": \"HyperConverged\",\n"
	" \"metadata\": {\"name\": \"kubevirt-hyperconverged\"},\n"
	" \"spec\": {\"liveMigrationConfig\": {\"progressTimeout\": 150, \"network\": \"mig\",\n"
	"  \"bandwidthPerMigration\": \"64Mi\"}}}\n";

/* Ways to spoil one. */

/* JSON that ends too soon is never whole. */
static void cut_off(struct text *t)
{
	append(t, "%s", good_json);
	t->len = 1 + below(t, t->len - 3); /* without the last bracket and the newline */
}

static void wrong_type(struct text *t)
{
	static const char *const integers[] = { "progressTimeout", "completionTimeoutPerGiB",
		                                "parallelMigrationsPerCluster",
		                                "parallelOutboundMigrationsPerNode" };
	static const char *const no_integers[] = { "'5'", "-1",   "1.5", "5s",  "true", "[5]",
		                                   "{}",  "0x10", "1e2", "010", "five" };
	static const char *const booleans[] = { "allowPostCopy", "allowAutoConverge",
		                                "allowWorkloadDisruption", "disableTLS" };
	static const char *const no_booleans[] = { "yes", "'true'", "1", "[true]", "tru", "off" };

	append(t, HCO "spec:\n  liveMigrationConfig:\n");
	if (below(t, 2))
		append(t, "    %s: %s\n", integers[below(t, COUNT(integers))],
		       no_integers[below(t, COUNT(no_integers))]);
	else
		append(t, "    %s: %s\n", booleans[below(t, COUNT(booleans))],
		       no_booleans[below(t, COUNT(no_booleans))]);
}

static void no_mapping(struct text *t)
{
	static const char *const wrong[] = { "5", "text", "[]", "[a, b]", "'{}'" };
	static const char *const where[] = {
		HCO "spec: %s\n",
		HCO "spec: {liveMigrationConfig: %s}\n",
		POLICY "spec: %s\n",
		POLICY "spec: {selectors: %s}\n",
		POLICY "spec: {selectors: {namespaceSelector: %s}}\n",
		"apiVersion: v1\nkind: Namespace\nmetadata: %s\n",
		"apiVersion: v1\nkind: Namespace\nmetadata: {name: n1, labels: %s}\n",
		VM "spec: {template: {metadata: %s}}\n",
		"%s\n",
	};
	const char *form = where[below(t, COUNT(where))];
	const char *at = strstr(form, "%s");

	append(t, "%.*s%s%s", (int)(at - form), form, wrong[below(t, COUNT(wrong))], at + 2);
}

static void huge_number(struct text *t)
{
	static const char *const keys[] = { "spec: {liveMigrationConfig: {progressTimeout: ",
		                            "spec: {liveMigrationConfig: {bandwidthPerMigration: ",
		                            "spec: {liveMigrationConfig: {network: ",
		                            "status: {a: {b: " };
	const size_t digits = 20 + below(t, below(t, 2) ? 20 : 100000);

	append(t, HCO "%s%llu", keys[below(t, COUNT(keys))], 1 + (unsigned long long)below(t, 9));
	append_times(t, "0", digits);
	append(t, "}}\n");
}

static void deep_nesting(struct text *t)
{
	static const char *const opens[] = { "[", "{a: ", "- ", "? " };
	const bool first = below(t, 2);

	append(t, first ? "" : HCO "status:\n  ");
	append_times(t, opens[below(t, COUNT(opens))],
	             WH_YAML_DEPTH_MAX + below(t, below(t, 2) ? 10 : 1000000));
}

/* Each line repeats the one before it several times. */
static void alias_bomb(struct text *t)
{
	const unsigned int levels = 2 + (unsigned int)below(t, 50);
	const uint64_t width = 2 + below(t, 20);

	append(t, HCO "a0: &a0 [lol]\n");
	for (unsigned int i = 1; i < levels; i++) {
		append(t, "a%u: &a%u [", i, i);
		for (uint64_t j = 0; j < width; j++)
			append(t, "%s*a%u", j ? ", " : "", i - 1);
		append(t, "]\n");
	}
}

static void merge_bomb(struct text *t)
{
	append(t, "base: &b {a: b}\n---\n" HCO "spec:\n");
	append_times(t, "  <<: *b\n", 1 + below(t, 1000));
}

static void large_file(struct text *t)
{
	static const char *const fillers[] = {
		"# comment\n", "---\n", "a", "- a\n", "\n", "[", " "
	};

	append(t, HCO "---\n");
	append_times(t, fillers[below(t, COUNT(fillers))], (LARGE_FILE - t->len - 16) / 10);
	memset(t->data + t->len, ' ', LARGE_FILE - t->len);
	t->len = LARGE_FILE;
}

static void invalid_utf8(struct text *t)
{
	static const char *const bad[] = { "\xff",         "\xc0\xaf",     "\xc3",
		                           "\x80",         "\xed\xa0\x80", "\xf5\x80\x80\x80",
		                           "\xe2\x82",     "\xf0\x9f\x98", "\xe0\x80\xaf",
		                           "\xf8\x88\x80", "\x01",         "\x7f" };
	const char *what = bad[below(t, COUNT(bad))];
	size_t at;

	append(t, "%s", good_json);
	at = below(t, t->len);
	memmove(t->data + at + strlen(what), t->data + at, t->len - at);
	memcpy(t->data + at, what, strlen(what));
	t->len += strlen(what);
}

static void nul_character(struct text *t)
{
	append(t, "%s", good_json);
	t->data[below(t, t->len - 2)] = '\0';
}

static void unknown_key(struct text *t)
{
	static const char *const keys[] = { "bandwidthPerMigration", "completionTimeoutPerGiB",
		                            "allowPostCopy", "allowAutoConverge" };
	const char *key = keys[below(t, COUNT(keys))];
	const size_t at = below(t, strlen(key));

	append(t, "%s", below(t, 2) ? POLICY "spec:\n" : HCO "spec:\n  liveMigrationConfig:\n");
	append(t, "    %.*s%s: \n", (int)at, key, key + at + 1);
}

static void label_of_another_type(struct text *t)
{
	static const char *const values[] = { "true", "False", "5",    "-1",  "1.5", "1e3",
		                              "",     "~",     "null", "yes", "off", "0x1f",
		                              "[a]",  "{}",    "1_0",  "n" };

	append(t, POLICY "spec:\n  selectors:\n    %s:\n      key: %s\n",
	       below(t, 2) ? "namespaceSelector" : "virtualMachineInstanceSelector",
	       values[below(t, COUNT(values))]);
}

static void twice(struct text *t)
{
	const uint64_t others = below(t, 1000);

	append(t, POLICY "spec: {}\n");
	for (uint64_t i = 0; i < others; i++)
		append(t, "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: n%llu}\n",
		       (unsigned long long)i);
	append(t, "---\n" POLICY);
}

static void key_twice(struct text *t)
{
	const uint64_t others = below(t, WH_YAML_KEYS_MAX - 10);

	append(t, HCO);
	for (uint64_t i = 0; i < others; i++)
		append(t, "key%llu:\n", (unsigned long long)i);
	append(t, "%s: x\n", below(t, 2) ? "kind" : "'apiVersion'");
}

static void too_many(struct text *t)
{
	append(t, HCO "status:\n");
	if (below(t, 2)) {
		for (uint64_t i = WH_YAML_KEYS_MAX + below(t, 100000); i > 0; i--)
			append(t, "  key%llu: v\n", (unsigned long long)i);
		append(t, "  last: v\n");
		return;
	}
	append(t, "  [a");
	append_times(t, ",a", WH_YAML_NODES_MAX + below(t, 1000));
	append(t, "]\n");
}

static void no_yaml(struct text *t)
{
	static const char *const wrong[] = {
		"\tspec: {}\n",  "spec: a: b\n",     "spec: !!int 5\n", "spec: @a\n",
		"spec: *a\n",    "spec: &a b\n--\n", "? {a: b}\n: c\n", "spec: 'a\n",
		"spec: \"\\q\"", "spec: {a: b\n",    " spec: {}\n",     "%TAG ! a\n",
	};

	append(t, HCO "%s", wrong[below(t, COUNT(wrong))]);
}

static const struct {
	const char *name;
	void (*spoil)(struct text *text);
} ways[] = {
	{ "cut off", cut_off },
	{ "wrong type", wrong_type },
	{ "no mapping", no_mapping },
	{ "huge number", huge_number },
	{ "deep nesting", deep_nesting },
	{ "alias bomb", alias_bomb },
	{ "merge bomb", merge_bomb },
	{ "50 MB", large_file },
	{ "invalid UTF-8", invalid_utf8 },
	{ "NUL character", nul_character },
	{ "unknown key", unknown_key },
	{ "label of another type", label_of_another_type },
	{ "an object twice", twice },
	{ "a key twice", key_twice },
	{ "too many", too_many },
	{ "no YAML", no_yaml },
};

static_assert(ROUNDS * COUNT(ways) >= 200, "so many are promised");

/* Whether @text begins with "f:LINE:COLUMN: ", within a file of @lines lines. */
static bool has_place(const char *text, unsigned int lines)
{
	unsigned int line = 0;
	unsigned int column = 0;
	int end = 0;

	return sscanf(text, "f:%u:%u: %n", &line, &column, &end) == 2 && end > 0 && line > 0 &&
	       line <= lines && column > 0 && text[end];
}

static unsigned int count_lines(const struct text *t)
{
	unsigned int lines = 1;

	for (size_t i = 0; i < t->len; i++)
		lines += t->data[i] == '\n';
	return lines;
}

static void limit(int resource, rlim_t value)
{
	const struct rlimit both = { value, value };

	if (setrlimit((enum __rlimit_resource)resource, &both) < 0)
		_exit(2);
}

/* In a process of its own. Return: its exit code; @words receives the error. */
static int parse_within_limits(const struct text *t, struct wh_error *words)
{
	struct wh_objects objects = { .count = 77, .ignored = 77 };
	int r;

#ifndef SANITIZED
	limit(RLIMIT_AS, MEMORY_MAX);
#endif
	limit(RLIMIT_CPU, CPU_MAX_S);
	limit(RLIMIT_CORE, 0);
	r = wh_objects_parse(&objects, "f", t->data, t->len, words);
	return r == -EINVAL && objects.count == 77 && objects.ignored == 77 && !objects.items ? 0
	                                                                                      : 1;
}

static void assert_refused(const struct text *t, const char *how, struct wh_error *words)
{
	int status = 0;
	pid_t pid;

	words->text[0] = '\0';
	(void)fflush(stdout);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		_exit(parse_within_limits(t, words));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (status != 0 || !has_place(words->text, count_lines(t)))
		fail_msg("%s: status 0x%x, '%s', of:\n%.*s", how, (unsigned int)status, words->text,
		         (int)(t->len < 600 ? t->len : 600), t->data);
}

static void malformed_manifests_are_refused_with_their_place(void **state)
{
	uint64_t seed = random_seed();
	struct text t = { .data = malloc(LARGE_FILE), .seed = &seed };
	/* Shared with the processes that parse. */
	struct wh_error *words = mmap(NULL, sizeof(*words), PROT_READ | PROT_WRITE,
	                              MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	(void)state;
	assert_non_null(t.data);
	assert_true(words != MAP_FAILED);
	for (size_t i = 0; i < COUNT(ways); i++) {
		for (int round = 0; round < ROUNDS; round++) {
			t.len = 0;
			ways[i].spoil(&t);
			assert_refused(&t, ways[i].name, words);
		}
		print_message("# %s: %s\n", ways[i].name, words->text);
	}
	(void)munmap(words, sizeof(*words));
	free(t.data);
}

/* Good files of the samples with bits flipped: some are still good. */

#define GOOD_MAX    4096
#define DAMAGED     5000
#define FLIPPED_MAX 3

/* Flip up to 3 of the bits and cut off the end in half of the cases. Return: the bytes left. */
static size_t damage(unsigned char *data, size_t len, uint64_t *seed)
{
	for (uint64_t flips = random_below(seed, FLIPPED_MAX + 1); flips > 0; flips--)
		data[random_below(seed, len)] ^= (unsigned char)(1u << random_below(seed, 8));
	return random_below(seed, 2) ? random_below(seed, len) : len;
}

/* Return: how many damaged copies of the file were refused, each with its place. */
static unsigned int refuse_damaged(const char *name, uint64_t *seed)
{
	char path[4096];
	char good[GOOD_MAX];
	unsigned int refused = 0;
	size_t good_len;
	FILE *in;

	(void)snprintf(path, sizeof(path), "%s/%s", WH_TEST_DATA, name);
	in = fopen(path, "re");
	assert_non_null(in);
	good_len = fread(good, 1, sizeof(good), in);
	(void)fclose(in);
	assert_true(good_len > 100 && good_len < sizeof(good));

	for (int i = 0; i < DAMAGED; i++) {
		struct wh_objects objects = { .ignored = 77 };
		struct wh_error err = { 0 };
		unsigned char bad[GOOD_MAX];
		int r;

		memcpy(bad, good, good_len);
		r = wh_objects_parse(&objects, "f", bad, damage(bad, good_len, seed), &err);
		if (r < 0 && (r != -EINVAL || !has_place(err.text, UINT32_MAX)))
			fail_msg("%s, round %d: no place in '%s'", name, i, err.text);
		refused += r < 0;
		assert_true(r == 0 || (objects.ignored == 77 && !objects.items));
		wh_objects_done(&objects);
	}
	return refused;
}

static void survives_damaged_samples(void **state)
{
	static const char *const files[] = { "hyperconverged.yaml", "hyperconverged-heavy.yaml",
		                             "migrationpolicy.yaml", "virtualmachine.yaml",
		                             "list.yaml" };
	uint64_t seed = random_seed();

	(void)state;
	for (size_t i = 0; i < COUNT(files); i++) {
		const unsigned int refused = refuse_damaged(files[i], &seed);

		print_message("# %s: %u of %d refused\n", files[i], refused, DAMAGED);
		assert_in_range(refused, DAMAGED / 10, DAMAGED - 1);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(malformed_manifests_are_refused_with_their_place),
		cmocka_unit_test(survives_damaged_samples),
	};

	return cmocka_run_group_tests_name("malformed", tests, NULL, NULL);
}
