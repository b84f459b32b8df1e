/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "report.h"

static char role[] = "example.com/role", database[] = "database", size[] = "size", empty[] = "";
static struct wh_label labels[] = { { role, database }, { size, empty } };

static const struct wh_report_vm vms[] = {
	{ .name_space = "prod", .name = "db1", .here = true, .memory_bytes = UINT64_C(1) << 32 },
	{ .name_space = "test", .name = "web" },
	{ .name_space = "prod", .name = "Domain_1.a", .here = true, .libvirt = true },
	{ .name_space = "prod",
	  .name = "labelled",
	  .libvirt = true,
	  .labels = { .items = labels, .count = 2 } },
};

static json_t *jobs_json(void)
{
	return json_pack("[{s:s, s:s, s:b, s:s, s:s, s:i}]", "migration", "db1-00c0ffee", "role",
	                 "source", "over", 1, "outcome", "failed", "reason", "the link is lost",
	                 "elapsed_ns", 7);
}

static json_t *report_json(void)
{
	const struct wh_report report = {
		.node = "a", .memory_bytes = 1000, .free_bytes = 500, .vms = vms, .vm_count = 4
	};

	return wh_report_format(&report, jobs_json());
}

static void reads_the_report_that_was_written(void **state)
{
	json_t *json = report_json();
	struct wh_report_read read;
	struct wh_error err;

	(void)state;
	assert_int_equal(wh_report_parse(&read, "a", json, &err), 0);

	assert_string_equal(read.report.node, "a");
	assert_int_equal(read.report.memory_bytes, 1000);
	assert_int_equal(read.report.free_bytes, 500);
	assert_int_equal(read.report.vm_count, 4);
	assert_string_equal(read.report.vms[0].name_space, "prod");
	assert_string_equal(read.report.vms[0].name, "db1");
	assert_true(read.report.vms[0].here);
	assert_int_equal(read.report.vms[0].memory_bytes, UINT64_C(1) << 32);
	assert_false(read.report.vms[0].libvirt);
	assert_int_equal(read.report.vms[0].labels.count, 0);
	assert_false(read.report.vms[1].here);
	assert_true(read.report.vms[2].libvirt);
	assert_int_equal(read.report.vms[2].labels.count, 0);
	assert_true(read.report.vms[3].libvirt);
	assert_true(wh_labels_equal(&read.report.vms[3].labels, &vms[3].labels));
	assert_false(read.report.libvirt);
	assert_int_equal(read.report.job_count, 1);
	assert_string_equal(read.report.jobs[0].id, "db1-00c0ffee");
	assert_true(read.report.jobs[0].source);
	assert_true(read.report.jobs[0].over);
	assert_string_equal(read.report.jobs[0].outcome, "failed");
	assert_string_equal(read.report.jobs[0].reason, "the link is lost");
	wh_report_read_done(&read);
	json_decref(json);
}

static void what_an_earlier_version_does_not_know_is_left_out(void **state)
{
	struct wh_report report = { .node = "a", .vms = vms, .vm_count = 3 };
	json_t *json = wh_report_format(&report, json_array());
	const json_t *list = json_object_get(json, "vms");
	struct wh_report_read read;
	struct wh_error err;

	(void)state;
	assert_null(json_object_get(json, "libvirt"));
	assert_null(json_object_get(json_array_get(list, 0), "libvirt"));
	assert_null(json_object_get(json_array_get(list, 0), "labels"));
	assert_true(json_is_true(json_object_get(json_array_get(list, 2), "libvirt")));
	assert_null(json_object_get(json_array_get(list, 2), "labels"));
	json_decref(json);

	report.libvirt = true;
	json = wh_report_format(&report, json_array());
	assert_int_equal(wh_report_parse(&read, "a", json, &err), 0);
	assert_true(read.report.libvirt);
	wh_report_read_done(&read);
	json_decref(json);
}

static void refuses_labels_that_are_none(void **state)
{
	static const char *const bad[] = {
		"[]",
		"\"role\"",
		"{\"role\":7}",
		"{\"role\":null}",
		"{\"ro le\":\"x\"}",
		"{\"-role\":\"x\"}",
		"{\"a\":\"fine\",\"role\":\"a b\"}",
		"{\"/\":\"x\"}",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		json_t *json = report_json();
		json_t *vm = json_array_get(json_object_get(json, "vms"), 3);
		struct wh_report_read read;
		struct wh_error err;

		(void)json_object_set_new(vm, "labels", json_loads(bad[i], JSON_DECODE_ANY, NULL));
		assert_int_equal(wh_report_parse(&read, "a", json, &err), -EPROTO);
		json_decref(json);
	}
}

static void refuses_a_report_with_a_name_that_is_none(void **state)
{
	json_t *json = report_json();
	json_t *vm = json_array_get(json_object_get(json, "vms"), 1);
	struct wh_report_read read = { .report.node = "untouched" };
	struct wh_error err;

	(void)state;
	(void)json_object_set_new(vm, "name", json_string("../etc"));

	assert_int_equal(wh_report_parse(&read, "a", json, &err), -EPROTO);
	assert_string_equal(err.text, "'name' must be a name");
	assert_string_equal(read.report.node, "untouched");
	json_decref(json);
}

static void refuses_a_report_with_something_missing_or_of_the_wrong_type(void **state)
{
	static const struct {
		const char *key;
		const char *value; /* as JSON; NULL takes it out */
	} bad[] = {
		{ "memory_bytes", NULL },
		{ "memory_bytes", "-1" },
		{ "free_bytes", "\"many\"" },
		{ "vms", "[{\"name\":\"db1\"}]" },
		{ "vms", "[7]" },
		{ "libvirt", "1" },
		{ "vms", "[{\"namespace\":\"a\",\"name\":\"b\",\"here\":true,"
		         "\"memory_bytes\":0,\"libvirt\":\"yes\"}]" },
		{ "jobs", "[{\"migration\":\"x\",\"over\":3}]" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		json_t *json = report_json();
		struct wh_report_read read;
		struct wh_error err;

		if (bad[i].value)
			(void)json_object_set_new(json, bad[i].key,
			                          json_loads(bad[i].value, JSON_DECODE_ANY, NULL));
		else
			(void)json_object_del(json, bad[i].key);
		assert_int_equal(wh_report_parse(&read, "a", json, &err), -EPROTO);
		json_decref(json);
	}
}

static struct wh_move a_move(void)
{
	struct wh_move move = {
		.id = "db1-00c0ffee",
		.name_space = "prod",
		.vm = "db1",
		.source = "a",
		.target = "b",
		.policy = "databases.example",
		.engine = "native",
		.transport = "rdma",
		.priority = 100,
		.attempt = 2,
		.created_ms = 1700000000000,
		.started_ms = 1700000000500,
		.settings = wh_settings_defaults(),
	};

	move.settings.bandwidth_bps = 64 << 20;
	move.settings.allow_post_copy = true;
	return move;
}

static void reads_the_order_that_was_written(void **state)
{
	const struct wh_move move = a_move();
	json_t *json = wh_order_format(&move);
	struct wh_move read;
	struct wh_error err;

	(void)state;
	assert_int_equal(wh_order_parse(&read, json, &err), 0);

	assert_string_equal(read.id, move.id);
	assert_string_equal(read.name_space, move.name_space);
	assert_string_equal(read.vm, move.vm);
	assert_string_equal(read.target, move.target);
	assert_string_equal(read.policy, move.policy);
	assert_string_equal(read.engine, "native");
	assert_string_equal(read.transport, "rdma");
	assert_int_equal(read.priority, move.priority);
	assert_int_equal(read.attempt, move.attempt);
	assert_int_equal(read.created_ms, move.created_ms);
	assert_int_equal(read.started_ms, move.started_ms);
	assert_true(wh_settings_equal(&read.settings, &move.settings));
	json_decref(json);
}

static void an_order_of_an_earlier_version_names_no_engine_and_no_transport(void **state)
{
	const struct wh_move move = a_move();
	json_t *json = wh_order_format(&move);
	struct wh_move read;
	struct wh_error err;

	(void)state;
	(void)json_object_del(json, "engine");
	(void)json_object_del(json, "transport");
	assert_int_equal(wh_order_parse(&read, json, &err), 0);
	assert_string_equal(read.engine, "");
	assert_string_equal(read.transport, "");

	(void)json_object_set_new(json, "engine", json_integer(1));
	assert_int_equal(wh_order_parse(&read, json, &err), -EPROTO);
	json_decref(json);
}

static void refuses_an_order_for_a_path(void **state)
{
	const struct wh_move move = a_move();
	json_t *json = wh_order_format(&move);
	struct wh_move read = { .id = "untouched" };
	struct wh_error err;

	(void)state;
	(void)json_object_set_new(json, "migration", json_string("../../x"));

	assert_int_equal(wh_order_parse(&read, json, &err), -EPROTO);
	assert_string_equal(read.id, "untouched");
	json_decref(json);
}

int main(void)
{
	const struct CMUnitTest report[] = {
		cmocka_unit_test(reads_the_report_that_was_written),
		cmocka_unit_test(what_an_earlier_version_does_not_know_is_left_out),
		cmocka_unit_test(refuses_labels_that_are_none),
		cmocka_unit_test(refuses_a_report_with_a_name_that_is_none),
		cmocka_unit_test(refuses_a_report_with_something_missing_or_of_the_wrong_type),
		cmocka_unit_test(reads_the_order_that_was_written),
		cmocka_unit_test(an_order_of_an_earlier_version_names_no_engine_and_no_transport),
		cmocka_unit_test(refuses_an_order_for_a_path),
	};

	return cmocka_run_group_tests(report, NULL, NULL);
}
