/* SPDX-License-Identifier: Apache-2.0 */

/* The keys of the migration section: docs/semantics.md section 1. */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "settings.h"
#include "yaml.h"

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

static int parse(struct wh_settings *ret, const char *text, struct wh_error *err)
{
	wh_cleanup(wh_yaml_freep) struct wh_yaml *tree = NULL;

	assert_int_equal(wh_yaml_parse(&tree, "f", text, strlen(text), err), 0);
	return wh_settings_parse(ret, tree->documents->count ? tree->documents->items[0] : NULL,
	                         err);
}

static struct wh_settings must_parse(const char *text)
{
	struct wh_settings settings;
	struct wh_error err = { 0 };

	if (parse(&settings, text, &err) < 0)
		fail_msg("%s", err.text);
	return settings;
}

static void assert_defaults(const struct wh_settings *s)
{
	assert_int_equal(s->bandwidth_bps, 0);
	assert_int_equal(s->completion_s_per_gib, 800);
	assert_int_equal(s->progress_s, 150);
	assert_int_equal(s->parallel_per_cluster, 5);
	assert_int_equal(s->parallel_outbound_per_node, 2);
	assert_false(s->allow_post_copy);
	assert_false(s->allow_auto_converge);
	assert_false(s->allow_workload_disruption);
	assert_false(s->disable_tls);
	assert_string_equal(s->network, "");
	assert_int_equal(s->given, 0);
}

static void has_the_documented_defaults(void **state)
{
	static const char *const empty[] = { "", "{}", "~", "null", "# all removed\n" };
	const struct wh_settings defaults = wh_settings_defaults();

	(void)state;
	assert_defaults(&defaults);
	for (size_t i = 0; i < COUNT(empty); i++) {
		const struct wh_settings settings = must_parse(empty[i]);

		assert_defaults(&settings);
	}
}

static void reads_every_key(void **state)
{
	const struct wh_settings s = must_parse("bandwidthPerMigration: 64Mi\n"
	                                        "completionTimeoutPerGiB: 150\n"
	                                        "parallelMigrationsPerCluster: 7\n"
	                                        "parallelOutboundMigrationsPerNode: 1\n"
	                                        "progressTimeout: 0\n"
	                                        "allowPostCopy: true\n"
	                                        "allowAutoConverge: true\n"
	                                        "allowWorkloadDisruption: false\n"
	                                        "disableTLS: true\n"
	                                        "network: migration\n");

	(void)state;
	assert_int_equal(s.bandwidth_bps, 64 << 20);
	assert_int_equal(s.completion_s_per_gib, 150);
	assert_int_equal(s.parallel_per_cluster, 7);
	assert_int_equal(s.parallel_outbound_per_node, 1);
	assert_int_equal(s.progress_s, 0);
	assert_true(s.allow_post_copy);
	assert_true(s.allow_auto_converge);
	assert_false(s.allow_workload_disruption);
	assert_true(s.disable_tls);
	assert_string_equal(s.network, "migration");
	assert_int_equal(s.given, 0x3ff);
}

static void restores_the_default_of_a_key_without_a_value(void **state)
{
	const struct wh_settings s = must_parse("bandwidthPerMigration:\n"
	                                        "completionTimeoutPerGiB: null\n"
	                                        "allowPostCopy: ~\n"
	                                        "network:\n");

	(void)state;
	assert_defaults(&s);
}

static void workload_disruption_follows_post_copy_unless_given(void **state)
{
	(void)state;
	assert_true(must_parse("allowPostCopy: true").allow_workload_disruption);
	assert_false(must_parse("allowPostCopy: false").allow_workload_disruption);
	assert_true(must_parse("allowWorkloadDisruption: true").allow_workload_disruption);
	assert_false(must_parse("allowWorkloadDisruption: true").allow_post_copy);
	assert_true(must_parse("{allowPostCopy: true, allowWorkloadDisruption: null}")
	                    .allow_workload_disruption);
	assert_false(must_parse("{allowWorkloadDisruption: false, allowPostCopy: true}")
	                     .allow_workload_disruption);
}

static void accepts_the_edges_of_each_type(void **state)
{
	(void)state;
	assert_int_equal(must_parse("progressTimeout: 4294967295").progress_s, UINT32_MAX);
	assert_int_equal(must_parse("parallelMigrationsPerCluster: 0").parallel_per_cluster, 0);
	assert_int_equal(must_parse("bandwidthPerMigration: 0Mi").bandwidth_bps, 0);
	assert_int_equal(must_parse("bandwidthPerMigration: '1'").bandwidth_bps, 1);
	assert_int_equal(must_parse("bandwidthPerMigration: 67108865").bandwidth_bps, 67108865);
	assert_int_equal(must_parse("{\"bandwidthPerMigration\": \"1.5Gi\"}").bandwidth_bps,
	                 UINT64_C(1610612736));
	assert_true(must_parse("disableTLS: True").disable_tls);
}

static void refuses_and_names_the_place(void **state)
{
	static const struct {
		const char *text;
		const char *place;
		const char *words;
	} table[] = {
		{ "bandwithPerMigration: 1Gi", "f:1:1: ", "'bandwidthPerMigration'" },
		{ "network: a\nallowPostcopy: true", "f:2:1: ", "'allowPostCopy'" },
		{ "  progressTimeoutSeconds: 1", "f:1:3: ", "'progressTimeout'" },
		{ "unknown:", "f:1:1: ", "nearest known key" },
		{ "bandwidthPerMigration: 64MB", "f:1:24: ", "64Mi" },
		{ "bandwidthPerMigration: 64m", "f:1:24: ", "64M" },
		{ "bandwidthPerMigration: -1", "f:1:24: ", "negative" },
		{ "bandwidthPerMigration: 64 Mi", "f:1:24: ", "blank" },
		{ "bandwidthPerMigration: ''", "f:1:24: ", "64Mi" },
		{ "bandwidthPerMigration: [1]", "f:1:24: ", "64Mi" },
		{ "bandwidthPerMigration: true", "f:1:24: ", "64Mi" },
		{ "progressTimeout: -1", "f:1:18: ", "from 0 to 4294967295" },
		{ "progressTimeout: 4294967296", "f:1:18: ", "out of range" },
		{ "progressTimeout: 99999999999999999999", "f:1:18: ", "out of range" },
		{ "progressTimeout: '150'", "f:1:18: ", "string" },
		{ "progressTimeout: 150s", "f:1:18: ", "whole number" },
		{ "progressTimeout: 1.5", "f:1:18: ", "whole number" },
		{ "progressTimeout: 1e2", "f:1:18: ", "whole number" },
		{ "progressTimeout: 010", "f:1:18: ", "begins with 0" },
		{ "progressTimeout: true", "f:1:18: ", "whole number" },
		{ "progressTimeout: {}", "f:1:18: ", "mapping" },
		{ "progressTimeout:\n  - 1", "f:2:3: ", "list" },
		{ "allowPostCopy: yes", "f:1:16: ", "true or false" },
		{ "allowPostCopy: 'true'", "f:1:16: ", "true or false" },
		{ "allowPostCopy: 1", "f:1:16: ", "true or false" },
		{ "allowPostCopy: [true]", "f:1:16: ", "true or false" },
		{ "network: A", "f:1:10: ", "not a name" },
		{ "network: a/b", "f:1:10: ", "not a name" },
		{ "network: ''", "f:1:10: ", "empty" },
		{ "network: true", "f:1:10: ", "quotes" },
		{ "network: 5", "f:1:10: ", "quotes" },
		{ "- a", "f:1:1: ", "mapping" },
		{ "text", "f:1:1: ", "mapping" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(table); i++) {
		struct wh_settings settings = { .progress_s = 77 };
		struct wh_error err = { 0 };

		assert_int_equal(parse(&settings, table[i].text, &err), -EINVAL);
		print_message("# %s\n", err.text);
		assert_int_equal(strncmp(err.text, table[i].place, strlen(table[i].place)), 0);
		assert_non_null(strstr(err.text, table[i].words));
		assert_int_equal(settings.progress_s, 77);
	}
}

static void prints_what_is_set_and_what_is_default(void **state)
{
	const struct wh_settings settings = must_parse("bandwidthPerMigration: 65536Ki\n"
	                                               "allowPostCopy: true\n"
	                                               "progressTimeout: 150\n");
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	(void)state;
	assert_non_null(out);
	wh_settings_print(&settings, out);
	assert_int_equal(fclose(out), 0);
	assert_string_equal(text, "bandwidthPerMigration: 64Mi  # set\n"
	                          "completionTimeoutPerGiB: 800  # default\n"
	                          "parallelMigrationsPerCluster: 5  # default\n"
	                          "parallelOutboundMigrationsPerNode: 2  # default\n"
	                          "progressTimeout: 150  # set\n"
	                          "allowPostCopy: true  # set\n"
	                          "allowAutoConverge: false  # default\n"
	                          "allowWorkloadDisruption: true  # default\n"
	                          "disableTLS: false  # default\n"
	                          "network: \"\"  # default\n");
	free(text);
}

static void a_walk_gives_typed_values(void **state)
{
	const struct wh_settings settings = must_parse("{bandwidthPerMigration: 1G, network: mig}");
	struct wh_setting_value value;
	size_t count = 0;

	(void)state;
	while (wh_settings_at(&settings, count, &value)) {
		assert_true(strlen(value.help) > 0);
		count++;
	}
	assert_int_equal(count, 10);
	assert_false(wh_settings_at(&settings, SIZE_MAX, &value));

	assert_true(wh_settings_at(&settings, 0, &value));
	assert_string_equal(value.key, "bandwidthPerMigration");
	assert_int_equal(value.type, WH_SETTING_BANDWIDTH);
	assert_int_equal(value.number, 1000000000);
	assert_true(value.given);
	assert_true(wh_settings_at(&settings, 9, &value));
	assert_int_equal(value.type, WH_SETTING_NAME);
	assert_string_equal(value.name, "mig");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(has_the_documented_defaults),
		cmocka_unit_test(reads_every_key),
		cmocka_unit_test(restores_the_default_of_a_key_without_a_value),
		cmocka_unit_test(workload_disruption_follows_post_copy_unless_given),
		cmocka_unit_test(accepts_the_edges_of_each_type),
		cmocka_unit_test(refuses_and_names_the_place),
		cmocka_unit_test(prints_what_is_set_and_what_is_default),
		cmocka_unit_test(a_walk_gives_typed_values),
	};

	return cmocka_run_group_tests_name("settings", tests, NULL, NULL);
}
