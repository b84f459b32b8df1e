/* SPDX-License-Identifier: Apache-2.0 */

/* The text that Prometheus reads: control/metrics.h. */

#include <ctype.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "metrics.h"

#define MIB (UINT64_C(1) << 20)

#define LABELS_OF(role, peer)                                                                \
	"node=\"a\",namespace=\"shop\",name=\"db1\",migration=\"db1-00c0ffee\",role=\"" role \
	"\",peer=\"" peer "\""
#define SOURCE LABELS_OF("source", "b")
#define TARGET LABELS_OF("target", "b")

struct fixture {
	struct wh_metrics *metrics;
	struct wh_view view;
	struct wh_metrics_migration migration;
	char *text;
};

static int setup(void **state)
{
	static struct fixture f;

	f = (struct fixture){
		.metrics = wh_metrics_new("a"),
		.view = {
			.migration = "db1-00c0ffee",
			.vm = "db1",
			.role = "source",
			.peer = "b",
			.state = "PreCopy",
			.transport = "rdma",
			.elapsed_ns = 3000000000,
			.bandwidth_bps = 64 * MIB,
		},
	};
	f.view.stats[WH_STAT_RAM_BYTES] = 1024 * MIB;
	f.view.stats[WH_STAT_PAGE_BYTES] = 700 * MIB;
	f.view.stats[WH_STAT_WIRE_BYTES] = 710 * MIB;
	f.view.stats[WH_STAT_RDMA_BYTES] = 4096;
	f.view.stats[WH_STAT_ROUND] = 2;
	f.view.stats[WH_STAT_ROUND_BYTES] = 400 * MIB;
	f.view.stats[WH_STAT_LEFT_BYTES] = 100 * MIB;
	f.view.stats[WH_STAT_RATE_BPS] = 200 * MIB;
	f.view.stats[WH_STAT_DIRTY_BPS] = 50 * MIB;
	f.migration = (struct wh_metrics_migration){
		.view = &f.view,
		.name_space = "shop",
		.started_ms = 1764104463250,
	};
	*state = &f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	f->metrics = wh_metrics_free(f->metrics);
	free(f->text);
	return 0;
}

static const char *text_of(struct fixture *f)
{
	size_t len;

	f->text = wh_metrics_text(f->metrics, &len);
	assert_int_equal(len, strlen(f->text));
	return f->text;
}

/* Whether @text has this line, whole. */
static bool has(const char *text, const char *line)
{
	const size_t len = strlen(line);

	for (const char *at = strstr(text, line); at; at = strstr(at + 1, line))
		if ((at == text || at[-1] == '\n') && at[len] == '\n')
			return true;
	return false;
}

static void expect(const char *text, const char *const *lines, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (!has(text, lines[i]))
			fail_msg("no line '%s' in\n%s", lines[i], text);
}

#define EXPECT(text, ...)                                  \
	expect(text, (const char *const[]){ __VA_ARGS__ }, \
	       sizeof((const char *const[]){ __VA_ARGS__ }) / sizeof(const char *))

static void a_page_without_anything_is_empty(void **state)
{
	assert_string_equal(text_of(*state), "");
}

static void a_running_source_tells_how_far_it_is(void **state)
{
	struct fixture *f = *state;

	wh_metrics_add_migration(f->metrics, &f->migration);

	EXPECT(text_of(f), "# TYPE kubevirt_vmi_migration_data_bytes_total counter",
	       "kubevirt_vmi_migration_data_bytes_total{" SOURCE "} 1073741824",
	       "kubevirt_vmi_migration_data_processed_bytes{" SOURCE "} 734003200",
	       "kubevirt_vmi_migration_data_remaining_bytes{" SOURCE "} 104857600",
	       "kubevirt_vmi_migration_dirty_memory_rate_bytes{" SOURCE "} 52428800",
	       "kubevirt_vmi_migration_memory_transfer_rate_bytes{" SOURCE "} 209715200",
	       "kubevirt_vmi_migration_start_time_seconds{" SOURCE
	       ",migration_name=\"db1-00c0ffee\"} 1764104463.25",
	       "wherry_migration_state{" SOURCE ",state=\"PreCopy\"} 1",
	       "wherry_migration_elapsed_seconds{" SOURCE "} 3",
	       "wherry_migration_progress_ratio{" SOURCE "} 0.75",
	       "wherry_migration_eta_seconds{" SOURCE "} 0.5",
	       "wherry_migration_rounds{" SOURCE "} 2",
	       "wherry_migration_wire_bytes_total{" SOURCE "} 744488960",
	       "wherry_migration_rdma_bytes_total{" SOURCE "} 4096",
	       "wherry_migration_transport{" SOURCE ",transport=\"rdma\"} 1",
	       "wherry_migration_bandwidth_limit_bytes_per_second{" SOURCE "} 67108864");
	assert_null(strstr(f->text, "end_time"));
	assert_null(strstr(f->text, "migration_succeeded"));
	assert_null(strstr(f->text, "failed"));
	assert_null(strstr(f->text, "downtime"));
	assert_null(strstr(f->text, "postcopy"));
}

static void the_limiter_is_told_of(void **state)
{
	struct fixture *f = *state;

	f->migration.limiter = (struct wh_rate_stats){
		.charged_bytes = 5 * MIB,
		.urgent_bytes = MIB,
		.dropped_packets = 3,
		.waits = 17,
		.debt_ns = 1500000,
	};
	wh_metrics_add_migration(f->metrics, &f->migration);

	EXPECT(text_of(f), "wherry_migration_limiter_charged_bytes_total{" SOURCE "} 5242880",
	       "wherry_migration_limiter_urgent_bytes_total{" SOURCE "} 1048576",
	       "wherry_migration_limiter_dropped_packets_total{" SOURCE "} 3",
	       "wherry_migration_limiter_waits_total{" SOURCE "} 17",
	       "wherry_migration_limiter_debt_seconds{" SOURCE "} 0.0015");
}

static void end(struct fixture *f, const char *outcome)
{
	(void)snprintf(f->view.state, sizeof(f->view.state), "%s",
	               *outcome ? "Failed" : "Succeeded");
	(void)snprintf(f->view.outcome, sizeof(f->view.outcome), "%s", outcome);
	f->view.over = true;
	f->migration.ended_ms = 1764104467000;
}

static void success_tells_of_the_downtime_and_its_parts(void **state)
{
	struct fixture *f = *state;

	end(f, "");
	f->migration.last = true;
	f->view.downtime.total_ns = 61000001;
	f->view.downtime.stop_ns = 1000000;
	f->view.downtime.scan_ns = 2000000;
	f->view.downtime.pages_ns = 40000000;
	f->view.downtime.device_ns = 17000001;
	f->view.downtime.resume_ns = 1000000;
	wh_metrics_add_migration(f->metrics, &f->migration);

	EXPECT(text_of(f),
	       "kubevirt_vmi_migration_succeeded{" SOURCE ",vmi=\"db1\",vmim=\"db1-00c0ffee\"} 1",
	       "kubevirt_vmi_migration_end_time_seconds{" SOURCE
	       ",migration_name=\"db1-00c0ffee\",status=\"succeeded\"} 1764104467",
	       "kubevirt_vmi_migration_last_downtime_seconds{" SOURCE "} 0.061000001",
	       "wherry_migration_downtime_seconds{" SOURCE "} 0.061000001",
	       "wherry_migration_downtime_part_seconds{" SOURCE ",part=\"stop\"} 0.001",
	       "wherry_migration_downtime_part_seconds{" SOURCE ",part=\"scan\"} 0.002",
	       "wherry_migration_downtime_part_seconds{" SOURCE ",part=\"pages\"} 0.04",
	       "wherry_migration_downtime_part_seconds{" SOURCE ",part=\"device\"} 0.017000001",
	       "wherry_migration_downtime_part_seconds{" SOURCE ",part=\"resume\"} 0.001");
	assert_null(strstr(f->text, "migration_failed"));
	assert_null(strstr(f->text, "remaining"));
	assert_null(strstr(f->text, "eta"));
}

static void failure_is_told_under_its_own_name(void **state)
{
	struct fixture *f = *state;

	end(f, "deadline");
	wh_metrics_add_migration(f->metrics, &f->migration);

	EXPECT(text_of(f),
	       "kubevirt_vmi_migration_failed{" SOURCE ",vmi=\"db1\",vmim=\"db1-00c0ffee\"} 1",
	       "kubevirt_vmi_migration_end_time_seconds{" SOURCE
	       ",migration_name=\"db1-00c0ffee\",status=\"failed\"} 1764104467");
	assert_null(strstr(f->text, "migration_succeeded"));
}

static void only_the_last_migration_of_a_guest_has_its_last_downtime(void **state)
{
	struct fixture *f = *state;

	end(f, "");
	f->view.downtime.total_ns = 61000000;
	wh_metrics_add_migration(f->metrics, &f->migration);

	assert_null(strstr(text_of(f), "last_downtime"));
	assert_non_null(strstr(f->text, "wherry_migration_downtime_seconds{"));
}

static void a_target_has_nothing_under_the_names_of_kubevirt(void **state)
{
	struct fixture *f = *state;

	memcpy(f->view.role, "target", sizeof("target"));
	end(f, "");
	wh_metrics_add_migration(f->metrics, &f->migration);

	EXPECT(text_of(f), "wherry_migration_state{" TARGET ",state=\"Succeeded\"} 1",
	       "wherry_migration_wire_bytes_total{" TARGET "} 744488960");
	assert_null(strstr(f->text, "kubevirt_"));
}

static void waits_for_pages_are_a_histogram_of_the_target(void **state)
{
	struct fixture *f = *state;

	f->view.postcopy_ns = 2500000000;
	f->view.fault_ns_log2[3] = 1;  /* shorter than what is told apart */
	f->view.fault_ns_log2[10] = 2; /* 1.024 to 2.048 us */
	f->view.fault_ns_log2[16] = 4;
	f->view.fault_ns_log2[WH_FAULT_BUCKETS - 1] = 8;
	f->view.stats[WH_STAT_STALL_NS] = 600000000;
	wh_metrics_add_migration(f->metrics, &f->migration);
	memcpy(f->view.role, "target", sizeof("target"));
	wh_metrics_add_migration(f->metrics, &f->migration);

#define WAIT "wherry_migration_fault_wait_seconds"
	EXPECT(text_of(f), "# TYPE " WAIT " histogram",
	       WAIT "_bucket{" TARGET ",le=\"0.000002048\"} 3",
	       WAIT "_bucket{" TARGET ",le=\"0.000004096\"} 3",
	       WAIT "_bucket{" TARGET ",le=\"0.000065536\"} 3",
	       WAIT "_bucket{" TARGET ",le=\"0.000131072\"} 7",
	       WAIT "_bucket{" TARGET ",le=\"549.755813888\"} 7",
	       WAIT "_bucket{" TARGET ",le=\"+Inf\"} 15", WAIT "_sum{" TARGET "} 0.6",
	       WAIT "_count{" TARGET "} 15", "wherry_migration_postcopy_seconds{" SOURCE "} 2.5",
	       "wherry_migration_postcopy_seconds{" TARGET "} 2.5");
	assert_null(strstr(f->text, WAIT "_count{" SOURCE));
}

static void wherryd_counts_over_all_migrations(void **state)
{
	struct fixture *f = *state;
	struct wh_totals totals = { .manifest_errors = 4 };

	totals.sources[WH_OUTCOME_NONE] = 5;
	totals.sources[WH_OUTCOME_DEADLINE] = 1;
	totals.targets[WH_OUTCOME_CANCELLED] = 2;
	wh_totals_downtime(&totals, 5000000); /* as long as a bucket's end is in it */
	wh_totals_downtime(&totals, 5000001);
	wh_totals_downtime(&totals, 61000000);
	wh_totals_downtime(&totals, 40000000000);
	wh_metrics_add_totals(f->metrics, "1.2.3", &totals);

#define ENDED "wherry_migrations_total{node=\"a\","
#define STOOD "kubevirt_vmi_migration_downtime_seconds"
	EXPECT(text_of(f), "wherry_build_info{node=\"a\",version=\"1.2.3\"} 1",
	       ENDED "role=\"source\",outcome=\"succeeded\"} 5",
	       ENDED "role=\"source\",outcome=\"cancelled\"} 0",
	       ENDED "role=\"source\",outcome=\"deadline\"} 1",
	       ENDED "role=\"source\",outcome=\"failed\"} 0",
	       ENDED "role=\"target\",outcome=\"cancelled\"} 2",
	       "wherry_manifest_errors_total{node=\"a\"} 4",
	       STOOD "_bucket{node=\"a\",le=\"0.005\"} 1",
	       STOOD "_bucket{node=\"a\",le=\"0.01\"} 2", STOOD "_bucket{node=\"a\",le=\"0.05\"} 2",
	       STOOD "_bucket{node=\"a\",le=\"0.1\"} 3", STOOD "_bucket{node=\"a\",le=\"32\"} 3",
	       STOOD "_bucket{node=\"a\",le=\"+Inf\"} 4", STOOD "_sum{node=\"a\"} 40.071000001",
	       STOOD "_count{node=\"a\"} 4");
}

static void the_cluster_has_nodes_and_a_queue(void **state)
{
	struct fixture *f = *state;

	wh_metrics_add_phases(f->metrics, &(struct wh_metrics_phases){ 3, 1, 2 });
	wh_metrics_add_queue(f->metrics, "user-triggered", 2);
	wh_metrics_add_queue(f->metrics, "system-critical", 1);
	wh_metrics_add_node(f->metrics, &(struct wh_metrics_node){ .name = "a",
	                                                           .alive = true,
	                                                           .seen = true,
	                                                           .report_age_ms = 250,
	                                                           .memory_bytes = 1024 * MIB,
	                                                           .free_bytes = 512 * MIB,
	                                                           .outbound = 2 });
	wh_metrics_add_node(f->metrics, &(struct wh_metrics_node){ .name = "b", .drained = true });

	EXPECT(text_of(f), "kubevirt_vmi_migrations_in_pending_phase 3",
	       "kubevirt_vmi_migrations_in_scheduling_phase 1",
	       "kubevirt_vmi_migrations_in_running_phase 2",
	       "wherry_queue_length{priority=\"user-triggered\"} 2",
	       "wherry_queue_length{priority=\"system-critical\"} 1",
	       "wherry_node_alive{node=\"a\"} 1", "wherry_node_alive{node=\"b\"} 0",
	       "wherry_node_drained{node=\"a\"} 0", "wherry_node_drained{node=\"b\"} 1",
	       "wherry_node_report_age_seconds{node=\"a\"} 0.25",
	       "wherry_node_memory_bytes{node=\"a\"} 1073741824",
	       "wherry_node_free_bytes{node=\"a\"} 536870912",
	       "wherry_node_outbound_migrations{node=\"a\"} 2");
	assert_null(strstr(f->text, "memory_bytes{node=\"b\""));
}

static void values_of_labels_are_escaped(void **state)
{
	struct fixture *f = *state;

	wh_metrics_add_queue(f->metrics, "a\\b \"c\"\nd\xc3\xa4{}", 1);

	EXPECT(text_of(f), "wherry_queue_length{priority=\"a\\\\b \\\"c\\\"\\nd\xc3\xa4{}\"} 1");
}

/* Everything there is, as two sides of two migrations and a coordinator would show it. */
static void add_everything(struct fixture *f)
{
	static const char *const roles[] = { "source", "target" };
	static const char *const outcomes[] = { "", "failed" };
	const struct wh_totals totals = { 0 };

	f->view.postcopy_ns = 1;
	f->view.downtime.total_ns = 1;
	f->migration.last = true;
	wh_metrics_add_migration(f->metrics, &f->migration);
	for (int i = 0; i < 4; i++) {
		(void)snprintf(f->view.migration, sizeof(f->view.migration), "m-%d", i);
		(void)snprintf(f->view.role, sizeof(f->view.role), "%s", roles[i % 2]);
		end(f, outcomes[i / 2]);
		wh_metrics_add_migration(f->metrics, &f->migration);
	}
	wh_metrics_add_totals(f->metrics, "0", &totals);
	wh_metrics_add_phases(f->metrics, &(struct wh_metrics_phases){ 0 });
	wh_metrics_add_queue(f->metrics, "user-triggered", 0);
	wh_metrics_add_node(f->metrics, &(struct wh_metrics_node){ .name = "a", .seen = true });
	wh_metrics_add_node(f->metrics, &(struct wh_metrics_node){ .name = "b", .seen = true });
}

static bool ends_with(const char *text, const char *end)
{
	return strlen(text) >= strlen(end) && !strcmp(text + strlen(text) - strlen(end), end);
}

/* Metrics of a page, in order. */
struct seen {
	char names[64][128];
	size_t count;
};

static void see_type(struct seen *seen, const char *line)
{
	char *name = seen->names[seen->count];
	char type[32];

	assert_true(seen->count < 64);
	assert_int_equal(sscanf(line, "# TYPE %127s %31s", name, type), 2);
	assert_true(!strncmp(name, "wherry_", 7) || !strncmp(name, "kubevirt_", 9));
	assert_int_equal(ends_with(name, "_total"), !strcmp(type, "counter"));
	assert_true(!strcmp(type, "counter") || !strcmp(type, "gauge") ||
	            !strcmp(type, "histogram"));
	for (size_t i = 0; i < seen->count; i++)
		assert_string_not_equal(seen->names[i], name);
	seen->count++;
}

/* A sample is of the metric whose type was told last, and a number is its value. */
static void see_sample(const struct seen *seen, const char *line)
{
	const char *name = seen->names[seen->count - 1];
	char *rest;

	assert_true(seen->count > 0);
	assert_memory_equal(line, name, strlen(name));
	assert_non_null(strchr("{ _", line[strlen(name)]));
	assert_true(isdigit((unsigned char)strrchr(line, ' ')[1]));
	(void)strtod(strrchr(line, ' '), &rest);
	assert_string_equal(rest, "");
}

static void each_metric_has_one_type_and_all_of_its_samples_together(void **state)
{
	static struct seen seen;
	struct fixture *f = *state;
	size_t helps = 0;
	char *at;

	seen.count = 0;
	add_everything(f);
	(void)text_of(f);
	for (char *line = strtok_r(f->text, "\n", &at); line; line = strtok_r(NULL, "\n", &at)) {
		if (!strncmp(line, "# HELP ", 7)) {
			helps++;
			assert_null(strchr(line, '\\'));
		} else if (!strncmp(line, "# TYPE ", 7)) {
			see_type(&seen, line);
		} else {
			see_sample(&seen, line);
		}
	}
	assert_int_equal(helps, seen.count);
	assert_int_equal(seen.count, 42);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

/* For a checker that is not ours. */
static int print_page(void)
{
	void *state;

	(void)setup(&state);
	add_everything(state);
	(void)fputs(text_of(state), stdout);
	return teardown(&state);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TEST(a_page_without_anything_is_empty),
		TEST(a_running_source_tells_how_far_it_is),
		TEST(the_limiter_is_told_of),
		TEST(success_tells_of_the_downtime_and_its_parts),
		TEST(failure_is_told_under_its_own_name),
		TEST(only_the_last_migration_of_a_guest_has_its_last_downtime),
		TEST(a_target_has_nothing_under_the_names_of_kubevirt),
		TEST(waits_for_pages_are_a_histogram_of_the_target),
		TEST(wherryd_counts_over_all_migrations),
		TEST(the_cluster_has_nodes_and_a_queue),
		TEST(values_of_labels_are_escaped),
		TEST(each_metric_has_one_type_and_all_of_its_samples_together),
	};

	if (argc == 2 && !strcmp(argv[1], "--page"))
		return print_page();
	return cmocka_run_group_tests_name("metrics", tests, NULL, NULL);
}
