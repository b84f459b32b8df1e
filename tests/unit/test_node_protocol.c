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

/* Of a disk, and of a message about a domain, what comes before. */
#define DISK   "\"target\":\"vda\",\"path\":\"/images/a.raw\",\"format\":\"raw\",\"bytes\":4096"
#define EXPECT "{\"type\":\"expect\",\"migration\":\"m\",\"token\":\"" TOKEN "\",\"vm\":\"v\""
#define TUNNEL                                                                      \
	"{\"type\":\"tunnel\",\"version\":3,\"migration\":\"m\",\"token\":\"" TOKEN \
	"\",\"running\":true"

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
		.rdma_pairs = 4,
		.rdma_chunk_bytes = 32 << 20,
		.no_rdma = "no device",
		.stream = WH_STREAM_MEMORY,
		.directory = "/var/lib/libvirt/qemu",
		.disk_count = 1,
		.disks = { { .target = "vda",
		             .path = "/images/a.raw",
		             .format = "raw",
		             .bytes = 1 } },
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
		.type = WH_NODE_HELLO, .version_min = 1, .version_max = 5, .node = "a"
	};
	char *line = wh_node_format(&msg);

	(void)state;
	assert_string_equal(line, "{\"type\":\"hello\",\"min\":1,\"max\":5,\"node\":\"a\"}");
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

static void assert_line(const struct wh_node_message *msg, const char *expected)
{
	char *line = wh_node_format(msg);

	assert_string_equal(line, expected);
	free(line);
}

/* A node of an earlier version refuses what it does not know, so nothing new may be in these. */
static void without_domains_earlier_versions_are_spoken(void **state)
{
	struct wh_node_message msg = {
		.type = WH_NODE_PREPARE,
		.version_max = 2,
		.migration = "m",
		.vm = "v",
		.running = true,
		.ram_count = 1,
		.ram = { { .name = "r", .bytes = 4096 } },
		.directory = "/d",
		.disk_count = 1,
	};

	(void)state;
	for (uint8_t i = 0; i < WH_TOKEN_BYTES; i++)
		msg.token[i] = i;
	assert_line(&msg, "{\"type\":\"prepare\",\"migration\":\"m\",\"token\":\"" TOKEN
	                  "\",\"vm\":\"v\",\"ram\":[{\"id\":\"r\",\"bytes\":4096}]}");
	msg.postcopy = true;
	assert_line(&msg, "{\"type\":\"prepare\",\"migration\":\"m\",\"token\":\"" TOKEN
	                  "\",\"vm\":\"v\",\"ram\":[{\"id\":\"r\",\"bytes\":4096}],"
	                  "\"postcopy\":true}");
	msg.type = WH_NODE_TUNNEL;
	assert_line(&msg,
	            "{\"type\":\"tunnel\",\"version\":2,\"migration\":\"m\",\"token\":\"" TOKEN
	            "\",\"running\":true}");
	msg.type = WH_NODE_FINISHED;
	assert_line(&msg, "{\"type\":\"finished\",\"migration\":\"m\",\"token\":\"" TOKEN "\"}");
}

static void rdma_is_offered_and_declined_in_these_very_bytes(void **state)
{
	struct wh_node_message msg = {
		.type = WH_NODE_EXPECT,
		.migration = "m",
		.vm = "v",
		.rdma_pairs = 4,
		.rdma_chunk_bytes = 32 << 20,
	};
	struct wh_error err = { "" };

	(void)state;
	for (uint8_t i = 0; i < WH_TOKEN_BYTES; i++)
		msg.token[i] = i;
	assert_line(&msg, EXPECT ",\"rdma\":{\"pairs\":4,\"chunk_bytes\":33554432}}");
	assert_int_equal(
		parse(&msg, EXPECT ",\"rdma\":{\"pairs\":8,\"chunk_bytes\":1073741824}}", &err), 0);
	assert_int_equal(msg.rdma_pairs, 8);
	assert_int_equal(msg.rdma_chunk_bytes, 1 << 30);

	msg = (struct wh_node_message){ .type = WH_NODE_READY, .port = 80 };
	assert_line(&msg, "{\"type\":\"ready\",\"port\":80}");
	memcpy(msg.no_rdma, "port down", sizeof("port down"));
	assert_line(&msg, "{\"type\":\"ready\",\"port\":80,\"no_rdma\":\"port down\"}");
}

static void a_domain_is_announced_in_these_very_bytes(void **state)
{
	struct wh_node_message msg = { .type = WH_NODE_EXPECT, .migration = "m", .vm = "v" };

	(void)state;
	for (uint8_t i = 0; i < WH_TOKEN_BYTES; i++)
		msg.token[i] = i;
	assert_line(&msg, EXPECT "}");
	msg.ram_count = 1;
	msg.ram[0] = (struct wh_worker_region){ .name = "pc.ram", .bytes = 8192 };
	msg.postcopy = true;
	msg.disk_count = 1;
	msg.disks[0] = (struct wh_node_disk){
		.target = "vda", .path = "/images/a.raw", .format = "raw", .bytes = 4096
	};
	assert_line(&msg, EXPECT ",\"ram\":[{\"id\":\"pc.ram\",\"bytes\":8192}],\"postcopy\":true,"
	                         "\"disks\":[{" DISK "}]}");
	memcpy(msg.directory, "/d", sizeof("/d"));
	msg.type = WH_NODE_EXPECTED;
	assert_line(&msg, "{\"type\":\"expected\",\"directory\":\"/d\",\"copy\":[\"vda\"]}");
	msg.disk_count = 0;
	assert_line(&msg, "{\"type\":\"expected\",\"directory\":\"/d\"}");
	msg.type = WH_NODE_PROCEED;
	assert_line(&msg, "{\"type\":\"proceed\",\"running\":false}");
	msg.type = WH_NODE_STAY;
	assert_line(&msg, "{\"type\":\"stay\",\"migration\":\"m\",\"token\":\"" TOKEN "\"}");
}

static void each_stream_of_a_tunnel_but_the_first_has_a_name(void **state)
{
	static const char *const lines[WH_STREAMS] = {
		[WH_STREAM_STATE] = TUNNEL "}",
		[WH_STREAM_LIBVIRT] = TUNNEL ",\"stream\":\"libvirt\"}",
		[WH_STREAM_MEMORY] = TUNNEL ",\"stream\":\"memory\"}",
		[WH_STREAM_DISKS] = TUNNEL ",\"stream\":\"disks\"}",
	};

	(void)state;
	for (enum wh_stream s = 0; s < WH_STREAMS; s++) {
		struct wh_node_message msg;
		struct wh_error err;

		assert_int_equal(parse(&msg, lines[s], &err), 0);
		assert_int_equal(msg.stream, s);
		assert_line(&msg, lines[s]);
	}
}

static void what_is_said_of_a_domain_is_read(void **state)
{
	struct wh_node_message msg;
	struct wh_error err;

	(void)state;
	assert_int_equal(parse(&msg, EXPECT ",\"disks\":[{" DISK "}]}", &err), 0);
	assert_int_equal(msg.ram_count, 0);
	assert_false(msg.postcopy);
	assert_int_equal(msg.disk_count, 1);
	assert_string_equal(msg.disks[0].target, "vda");
	assert_string_equal(msg.disks[0].path, "/images/a.raw");
	assert_string_equal(msg.disks[0].format, "raw");
	assert_int_equal(msg.disks[0].bytes, 4096);

	assert_int_equal(parse(&msg,
	                       "{\"type\":\"expected\",\"directory\":\"/d\","
	                       "\"copy\":[\"vda\",\"vdb\"]}",
	                       &err),
	                 0);
	assert_string_equal(msg.directory, "/d");
	assert_int_equal(msg.disk_count, 2);
	assert_string_equal(msg.disks[1].target, "vdb");
}

static void refuses_what_cannot_be_of_a_domain(void **state)
{
	static const struct {
		const char *line;
		const char *word; /* of the reason */
	} cases[] = {
		{ TUNNEL ",\"stream\":\"state\"}", "'stream'" },
		{ TUNNEL ",\"stream\":\"\"}", "'stream'" },
		{ TUNNEL ",\"stream\":1}", "'stream'" },
		{ "{\"type\":\"expected\"}", "'directory'" },
		{ "{\"type\":\"expected\",\"directory\":\"\"}", "'directory'" },
		{ "{\"type\":\"expected\",\"directory\":\"var/lib\"}", "'directory'" },
		{ "{\"type\":\"expected\",\"directory\":\"/var/../etc\"}", "'directory'" },
		{ "{\"type\":\"expected\",\"directory\":\"/var/..\"}", "'directory'" },
		{ "{\"type\":\"expected\",\"directory\":7}", "'directory'" },
		{ "{\"type\":\"expected\",\"directory\":\"/" TOKEN TOKEN "\"}", "'directory'" },
		{ "{\"type\":\"expected\",\"directory\":\"/d\",\"copy\":[]}", "'copy'" },
		{ "{\"type\":\"expected\",\"directory\":\"/d\",\"copy\":{}}", "'copy'" },
		{ "{\"type\":\"expected\",\"directory\":\"/d\",\"copy\":[7]}", "'copy'" },
		{ "{\"type\":\"expected\",\"directory\":\"/d\",\"copy\":[\"a,b\"]}", "'copy'" },
		{ "{\"type\":\"expected\",\"directory\":\"/d\",\"copy\":[\"" TOKEN TOKEN "\"]}",
		  "'copy'" },
		{ "{\"type\":\"expected\",\"directory\":\"/d\",\"copy\":[\"a\",\"a\",\"a\",\"a\","
		  "\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\"]}",
		  "1 to 16" },
		{ "{\"type\":\"expect\",\"migration\":\"m\",\"vm\":\"v\"}", "'token'" },
		{ EXPECT ",\"ram\":[]}", "'ram'" },
		{ EXPECT ",\"disks\":[]}", "'disks'" },
		{ EXPECT ",\"disks\":7}", "'disks'" },
		{ EXPECT ",\"disks\":[7]}", "entry 1" },
		{ EXPECT ",\"disks\":[{" DISK "},{}]}", "entry 2" },
		{ EXPECT ",\"disks\":[{\"target\":\"vda\",\"path\":\"a.raw\",\"format\":\"raw\","
		         "\"bytes\":1}]}",
		  "'path'" },
		{ EXPECT ",\"disks\":[{\"target\":\"vda\",\"path\":\"/a/../../etc/shadow\","
		         "\"format\":\"raw\",\"bytes\":1}]}",
		  "'path'" },
		{ EXPECT ",\"disks\":[{\"target\":\"vda\",\"path\":\"/a\",\"format\":\"raw\","
		         "\"bytes\":-1}]}",
		  "'bytes'" },
		{ EXPECT ",\"disks\":[{\"target\":\"a,b\",\"path\":\"/a\",\"format\":\"raw\","
		         "\"bytes\":1}]}",
		  "'target'" },
		{ EXPECT ",\"disks\":[{\"target\":\"vda\",\"path\":\"/a\",\"format\":\"\","
		         "\"bytes\":1}]}",
		  "'format'" },
		{ EXPECT ",\"disks\":[{" DISK ",\"more\":1}]}", "nothing else" },
		{ EXPECT ",\"disks\":[{" DISK "},{" DISK "}]}", "twice" },
		{ EXPECT ",\"copy\":[\"vda\"]}", "should not have" },
		{ "{\"type\":\"proceed\"}", "'running'" },
		{ "{\"type\":\"proceed\",\"running\":1}", "'running'" },
		{ "{\"type\":\"stay\",\"migration\":\"m\"}", "'token'" },
		{ "{\"type\":\"stay\",\"token\":\"" TOKEN "\"}", "'migration'" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct wh_node_message msg = { .port = 77 };
		struct wh_error err = { "" };

		if (parse(&msg, cases[i].line, &err) != -EPROTO)
			fail_msg("let in: %s", cases[i].line);
		if (!strstr(err.text, cases[i].word))
			fail_msg("'%s' says nothing of %s", err.text, cases[i].word);
		assert_int_equal(msg.port, 77);
	}
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
		{ "{\"type\":\"ready\",\"port\":80,\"no_rdma\":\"\"}", "'no_rdma'" },
		{ "{\"type\":\"ready\",\"port\":80,\"no_rdma\":true}", "'no_rdma'" },
		{ "{\"type\":\"ready\",\"port\":80,\"rdma\":{}}", "should not have" },
		{ EXPECT ",\"rdma\":true}", "'rdma'" },
		{ EXPECT ",\"rdma\":{\"pairs\":1}}", "'rdma'" },
		{ EXPECT ",\"rdma\":{\"pairs\":0,\"chunk_bytes\":33554432}}", "'pairs'" },
		{ EXPECT ",\"rdma\":{\"pairs\":9,\"chunk_bytes\":33554432}}", "'pairs'" },
		{ EXPECT ",\"rdma\":{\"pairs\":1,\"chunk_bytes\":4096}}", "'chunk_bytes'" },
		{ EXPECT ",\"rdma\":{\"pairs\":1,\"chunk_bytes\":33554433}}", "'chunk_bytes'" },
		{ EXPECT ",\"rdma\":{\"pairs\":1,\"chunk_bytes\":2147483648}}", "'chunk_bytes'" },
		{ EXPECT ",\"rdma\":{\"pairs\":1,\"chunk_bytes\":33554432,\"x\":1}}",
		  "nothing else" },
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

static void bend(const char *good)
{
	struct wh_node_message msg;
	struct wh_error err;
	uint32_t seed = 1;
	char line[512];

	assert_true(strlen(good) < sizeof(line));
	for (size_t len = 0; len < strlen(good); len++)
		assert_int_equal(wh_node_parse(&msg, good, len, &err), -EPROTO);
	for (int i = 0; i < 20000; i++) {
		memcpy(line, good, strlen(good));
		for (int k = 0; k < 3; k++) {
			seed = seed * 1103515245u + 12345u;
			line[(seed >> 8) % strlen(good)] = (char)(seed >> 20);
		}
		if (wh_node_parse(&msg, line, strlen(good), &err) == 0) {
			assert_true(wh_node_is_name(msg.migration) || msg.type != WH_NODE_PREPARE);
			assert_true(msg.ram_count <= WH_REGIONS_MAX);
			assert_true(msg.disk_count <= WH_DISKS_MAX);
		}
	}
}

static void survives_lines_cut_and_bent(void **state)
{
	(void)state;
	bend("{\"type\":\"prepare\",\"migration\":\"m\",\"token\":\"" TOKEN
	     "\",\"vm\":\"v\",\"ram\":[{\"id\":\"r\",\"bytes\":4096}]}");
	bend(EXPECT ",\"ram\":[{\"id\":\"r\",\"bytes\":4096}],\"disks\":[{" DISK "}]}");
	bend("{\"type\":\"expected\",\"directory\":\"/d\",\"copy\":[\"vda\"]}");
	bend(TUNNEL ",\"stream\":\"libvirt\"}");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_what_it_writes),
		cmocka_unit_test(writes_these_very_bytes),
		cmocka_unit_test(the_first_version_is_spoken_where_there_is_no_post_copy),
		cmocka_unit_test(without_domains_earlier_versions_are_spoken),
		cmocka_unit_test(rdma_is_offered_and_declined_in_these_very_bytes),
		cmocka_unit_test(a_domain_is_announced_in_these_very_bytes),
		cmocka_unit_test(each_stream_of_a_tunnel_but_the_first_has_a_name),
		cmocka_unit_test(what_is_said_of_a_domain_is_read),
		cmocka_unit_test(refuses_what_cannot_be_of_a_domain),
		cmocka_unit_test(refuses_what_is_not_a_message),
		cmocka_unit_test(refuses_ram_that_cannot_be),
		cmocka_unit_test(a_reason_cannot_control_a_terminal),
		cmocka_unit_test(survives_lines_cut_and_bent),
	};

	return cmocka_run_group_tests_name("node_protocol", tests, NULL, NULL);
}
