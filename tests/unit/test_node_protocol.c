/* SPDX-License-Identifier: Apache-2.0 */

/* Messages between nodes: each survives the way there and back, and nothing else is let in. */

#include "node_protocol.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define TOKEN "000102030405060708090a0b0c0d0e0f"

static int parse(struct wh_node_message *msg, const char *line, struct wh_error *err)
{
	return wh_node_parse(msg, line, strlen(line), err);
}

static void reads_what_it_writes(void **state)
{
	struct wh_node_message msg = {
		.version_min = 1,
		.version_max = 1,
		.node = "a",
		.migration = "db1-00000001",
		.vm = "db1",
		.running = true,
		.committed = true,
		.port = 4100,
		.reason = "no space left",
		.postcopy = true,
		.faults = 3,
		.stall_ns = 70000,
		.fault_ns_log2 = { [14] = 2, [WH_FAULT_BUCKETS - 1] = 1 },
		.ram_count = 2,
		.ram = { { .name = "ram0", .bytes = 4096 }, { .name = "ram1", .bytes = 8192 } },
	};

	(void)state;
	for (uint8_t i = 0; i < WH_TOKEN_BYTES; i++)
		msg.token[i] = i;

	for (enum wh_node_type t = 0; t < WH_NODE_TYPES; t++) {
		struct wh_node_message back;
		struct wh_error err = { "" };
		char *line;
		char *again;

		msg.type = t;
		line = wh_node_format(&msg);
		assert_int_equal(parse(&back, line, &err), 0);
		assert_int_equal(back.type, t);
		again = wh_node_format(&back);
		assert_string_equal(line, again);
		assert_true(strcmp(wh_node_type_name(t), "faults") != 0 ||
		            back.fault_ns_log2[WH_FAULT_BUCKETS - 1] == 1);
		free(line);
		free(again);
	}
}

static void writes_these_very_bytes(void **state)
{
	struct wh_node_message msg = {
		.type = WH_NODE_HELLO, .version_min = 1, .version_max = 3, .node = "a"
	};
	char *line = wh_node_format(&msg);

	(void)state;
	assert_string_equal(line, "{\"type\":\"hello\",\"min\":1,\"max\":3,\"node\":\"a\"}");
	free(line);
}

static void the_first_version_is_spoken_where_there_is_no_post_copy(void **state)
{
	struct wh_node_message msg = { .type = WH_NODE_ANSWER, .committed = true };
	char *line = wh_node_format(&msg);
	struct wh_error err = { "" };

	(void)state;
	assert_string_equal(line, "{\"type\":\"answer\",\"committed\":true}");
	msg.postcopy = true;
	assert_int_equal(parse(&msg, line, &err), 0);
	assert_false(msg.postcopy);
	free(line);
	msg.postcopy = true;
	line = wh_node_format(&msg);
	assert_string_equal(line, "{\"type\":\"answer\",\"committed\":true,\"postcopy\":true}");
	free(line);
}

static void refuses_what_is_not_a_message(void **state)
{
	static const struct {
		const char *line;
		const char *word; /* of the reason */
	} cases[] = {
		{ "", "JSON" },
		{ "[]", "JSON object" },
		{ "{\"type\":\"ping\"} x", "JSON" },
		{ "{\"type\":\"ping\",\"type\":\"ping\"}", "JSON" },
		{ "{}", "'type'" },
		{ "{\"type\":7}", "'type'" },
		{ "{\"type\":\"shutdown\"}", "unknown type" },
		{ "{\"type\":\"ping\",\"more\":1}", "should not have" },
		{ "{\"type\":\"ready\"}", "'port'" },
		{ "{\"type\":\"ready\",\"port\":0}", "'port'" },
		{ "{\"type\":\"ready\",\"port\":65536}", "'port'" },
		{ "{\"type\":\"ready\",\"port\":-1}", "'port'" },
		{ "{\"type\":\"ready\",\"port\":\"80\"}", "'port'" },
		{ "{\"type\":\"ready\",\"port\":80.0}", "'port'" },
		{ "{\"type\":\"answer\",\"committed\":1}", "'committed'" },
		{ "{\"type\":\"answer\",\"committed\":true,\"postcopy\":1}", "'postcopy'" },
		{ "{\"type\":\"closed\",\"postcopy\":true}", "should not have" },
		{ "{\"type\":\"faults\",\"count\":-1,\"stall_ns\":0,\"ns_log2\":[]}", "'count'" },
		{ "{\"type\":\"faults\",\"count\":1,\"stall_ns\":0,\"ns_log2\":[1]}", "'ns_log2'" },
		{ "{\"type\":\"hello\",\"min\":2,\"max\":1,\"node\":\"a\"}", "'max'" },
		{ "{\"type\":\"hello\",\"min\":1,\"max\":1,\"node\":\"\"}", "'node'" },
		{ "{\"type\":\"hello\",\"min\":1,\"max\":1,\"node\":\"../a\"}", "'node'" },
		{ "{\"type\":\"ask\",\"migration\":\"a/b\",\"token\":\"" TOKEN "\"}",
		  "'migration'" },
		{ "{\"type\":\"ask\",\"migration\":\".a\",\"token\":\"" TOKEN "\"}",
		  "'migration'" },
		{ "{\"type\":\"ask\",\"migration\":\"a\",\"token\":\"00\"}", "'token'" },
		{ "{\"type\":\"ask\",\"migration\":\"a\",\"token\":\"" TOKEN "0\"}", "'token'" },
		{ "{\"type\":\"ask\",\"migration\":\"a\",\"token\":"
		  "\"g00102030405060708090a0b0c0d0e0f\"}",
		  "'token'" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct wh_node_message msg = { .port = 77 };
		struct wh_error err = { "" };

		assert_int_equal(parse(&msg, cases[i].line, &err), -EPROTO);
		assert_non_null(strstr(err.text, cases[i].word));
		assert_int_equal(msg.port, 77);
	}
}

static void refuses_ram_that_cannot_be(void **state)
{
	static const char *const lists[] = {
		"{}",
		"[]",
		"[{\"id\":\"r\"}]",
		"[{\"id\":\"r\",\"bytes\":0}]",
		"[{\"id\":\"r\",\"bytes\":4095}]",
		"[{\"id\":\"\",\"bytes\":4096}]",
		"[{\"id\":\"r\",\"bytes\":4096,\"path\":\"/etc/passwd\"}]",
		"[{\"id\":\"r\",\"bytes\":4096},{\"id\":\"r\",\"bytes\":4096}]",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(lists) / sizeof(*lists); i++) {
		struct wh_node_message msg;
		struct wh_error err;
		char line[512];

		(void)snprintf(line, sizeof(line),
		               "{\"type\":\"prepare\",\"migration\":\"m\",\"token\":\"" TOKEN
		               "\",\"vm\":\"v\",\"ram\":%s}",
		               lists[i]);
		assert_int_equal(parse(&msg, line, &err), -EPROTO);
	}
}

static void a_reason_cannot_control_a_terminal(void **state)
{
	struct wh_node_message msg;
	struct wh_error err;

	(void)state;
	assert_int_equal(parse(&msg, "{\"type\":\"failed\",\"reason\":\"a\\u001b[2Jb\\n\"}", &err),
	                 0);
	assert_string_equal(msg.reason, "a [2Jb ");
}

static void survives_lines_cut_and_bent(void **state)
{
	static const char good[] = "{\"type\":\"prepare\",\"migration\":\"m\",\"token\":\"" TOKEN
				   "\",\"vm\":\"v\",\"ram\":[{\"id\":\"r\",\"bytes\":4096}]}";
	struct wh_node_message msg;
	struct wh_error err;
	uint32_t seed = 1;
	char line[sizeof(good)];

	(void)state;
	for (size_t len = 0; len < strlen(good); len++)
		assert_int_equal(wh_node_parse(&msg, good, len, &err), -EPROTO);
	for (int i = 0; i < 20000; i++) {
		memcpy(line, good, sizeof(line));
		for (int k = 0; k < 3; k++) {
			seed = seed * 1103515245u + 12345u;
			line[(seed >> 8) % strlen(good)] = (char)(seed >> 20);
		}
		if (wh_node_parse(&msg, line, strlen(good), &err) == 0) {
			assert_true(wh_node_is_name(msg.migration) || msg.type != WH_NODE_PREPARE);
			assert_true(msg.ram_count <= WH_REGIONS_MAX);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_what_it_writes),
		cmocka_unit_test(writes_these_very_bytes),
		cmocka_unit_test(the_first_version_is_spoken_where_there_is_no_post_copy),
		cmocka_unit_test(refuses_what_is_not_a_message),
		cmocka_unit_test(refuses_ram_that_cannot_be),
		cmocka_unit_test(a_reason_cannot_control_a_terminal),
		cmocka_unit_test(survives_lines_cut_and_bent),
	};

	return cmocka_run_group_tests_name("node_protocol", tests, NULL, NULL);
}
