/* SPDX-License-Identifier: Apache-2.0 */

/* wherryd's configuration: control/config.h. */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "config.h"

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

#define LEAST "node: a\nsocket: /run/s\nstate: /var/s\n"

/* Load @text from a file that is nowhere on disk. In errors its path is replaced by "f". */
static int load(struct wh_config **ret, const char *text, struct wh_error *err)
{
	const int fd = memfd_create("config", MFD_CLOEXEC);
	const size_t len = strlen(text);
	char path[32];
	int r;

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, len), (ssize_t)len);
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	r = wh_config_load(ret, path, err);
	(void)close(fd);
	if (r < 0) {
		assert_int_equal(strncmp(err->text, path, strlen(path)), 0);
		err->text[0] = 'f';
		memmove(err->text + 1, err->text + strlen(path),
		        strlen(err->text + strlen(path)) + 1);
	}
	return r;
}

static struct wh_config *must_load(const char *text)
{
	struct wh_config *config = NULL;
	struct wh_error err = { 0 };

	if (load(&config, text, &err) < 0)
		fail_msg("%s", err.text);
	return config;
}

static void reads_every_key(void **state)
{
	wh_cleanup(wh_config_freep) struct wh_config *c =
		must_load("node: a\n"
	                  "socket: /run/wherry/wherryd.sock\n"
	                  "state: /var/lib/wherry\n"
	                  "manifests: /etc/wherry/manifests\n"
	                  "mover: /usr/libexec/wherry-mover\n"
	                  "cgroup: system.slice/wherry\n"
	                  "port: 7412\n"
	                  "connections: 4\n"
	                  "congestionControl: bbr\n"
	                  "transport: rdma\n"
	                  "rdma: {pairs: 8, chunkMiB: 64, pinnedMiB: 1024, odp: true}\n"
	                  "allowPlaintextRDMA: true\n"
	                  "compression: zstd\n"
	                  "downtimeMs: 250\n"
	                  "directIoMs: 4000\n"
	                  "metrics: '[::1]:9180'\n"
	                  "networks:\n"
	                  "  - {name: migration, interface: mig0}\n"
	                  "nodes:\n"
	                  "  - {name: b, address: 192.0.2.2}\n"
	                  "  - {name: c, address: 2001:DB8:0::3}\n"
	                  "vms:\n"
	                  "  - name: db1\n"
	                  "    qmp: /run/vms/db1.qmp\n"
	                  "    incoming: [/usr/libexec/start-db1, --incoming]\n"
	                  "  - name: db2\n"
	                  "    qmp: /run/vms/db2.qmp\n"
	                  "libvirt:\n"
	                  "  uri: qemu+unix:///system?socket=/run/a/libvirt-sock\n"
	                  "  socket: /run/a/libvirt-sock\n"
	                  "  directory: /run/a/qemu\n"
	                  "  pids: /run/a/pids\n"
	                  "  engine: offload\n"
	                  "  tunnel: /usr/libexec/wherry-tunnel\n");

	(void)state;
	assert_string_equal(c->node, "a");
	assert_string_equal(c->socket, "/run/wherry/wherryd.sock");
	assert_string_equal(c->state, "/var/lib/wherry");
	assert_string_equal(c->manifests, "/etc/wherry/manifests");
	assert_string_equal(c->mover, "/usr/libexec/wherry-mover");
	assert_string_equal(c->cgroup, "system.slice/wherry");
	assert_int_equal(c->port, 7412);
	assert_int_equal(c->connections, 4);
	assert_string_equal(c->congestion, "bbr");
	assert_int_equal(c->transport, WH_TRANSPORT_RDMA);
	assert_int_equal(c->rdma.pairs, 8);
	assert_int_equal(c->rdma.chunk_bytes, 64 << 20);
	assert_int_equal(c->rdma.pinned_bytes_max, 1 << 30);
	assert_true(c->rdma.odp);
	assert_true(c->plaintext_rdma);
	assert_int_equal(c->compression, WH_COMPRESSION_ZSTD);
	assert_int_equal(c->downtime_ns, 250000000);
	assert_int_equal(c->direct_io_ns, 4000000000);
	assert_string_equal(c->metrics.address, "::1");
	assert_int_equal(c->metrics.port, 9180);
	assert_int_equal(c->network_count, 1);
	assert_string_equal(c->networks[0].name, "migration");
	assert_string_equal(c->networks[0].interface, "mig0");
	assert_int_equal(c->node_count, 2);
	assert_string_equal(c->nodes[0].name, "b");
	assert_string_equal(c->nodes[0].address, "192.0.2.2");
	assert_string_equal(c->nodes[1].address, "2001:db8::3");
	assert_int_equal(c->vm_count, 2);
	assert_string_equal(c->vms[0].name, "db1");
	assert_string_equal(c->vms[0].qmp, "/run/vms/db1.qmp");
	assert_string_equal(c->vms[0].incoming[0], "/usr/libexec/start-db1");
	assert_string_equal(c->vms[0].incoming[1], "--incoming");
	assert_null(c->vms[0].incoming[2]);
	assert_null(c->vms[1].incoming);
	assert_string_equal(c->libvirt->uri, "qemu+unix:///system?socket=/run/a/libvirt-sock");
	assert_string_equal(c->libvirt->socket, "/run/a/libvirt-sock");
	assert_string_equal(c->libvirt->directory, "/run/a/qemu");
	assert_string_equal(c->libvirt->pids, "/run/a/pids");
	assert_int_equal(c->libvirt->engine, WH_WISH_OFFLOAD);
	assert_string_equal(c->libvirt->tunnel, "/usr/libexec/wherry-tunnel");
}

static void fills_in_the_defaults(void **state)
{
	static const char *const table[] = {
		LEAST,
		LEAST
		"manifests:\nmover: ~\ncgroup:\nport:\nconnections:\ncongestionControl:\ncompression:\n"
		"downtimeMs:\ndirectIoMs:\nmetrics:\n",
		LEAST "transport:\nrdma:\nallowPlaintextRDMA:\n",
		LEAST "rdma: {pairs: , chunkMiB: , pinnedMiB: , odp: }\n",
		LEAST "networks: []\nnodes: []\nvms: []\n",
		LEAST "networks:\nnodes:\nvms:\nlibvirt:\n",
	};

	(void)state;
	for (size_t i = 0; i < COUNT(table); i++) {
		wh_cleanup(wh_config_freep) struct wh_config *c = must_load(table[i]);

		assert_null(c->manifests);
		assert_string_equal(c->cgroup, "wherry");
		assert_int_equal(c->port, 7411);
		assert_int_equal(c->connections, 2);
		assert_string_equal(c->congestion, "auto");
		assert_int_equal(c->transport, WH_TRANSPORT_AUTO);
		assert_int_equal(c->rdma.pairs, 4);
		assert_int_equal(c->rdma.chunk_bytes, 32 << 20);
		assert_int_equal(c->rdma.pinned_bytes_max, UINT64_C(4) << 30);
		assert_false(c->rdma.odp);
		assert_false(c->plaintext_rdma);
		assert_int_equal(c->compression, WH_COMPRESSION_AUTO);
		assert_int_equal(c->downtime_ns, WH_DOWNTIME_DEFAULT_NS);
		assert_int_equal(c->direct_io_ns, WH_DIRECT_IO_DEFAULT_NS);
		assert_string_equal(c->metrics.address, "127.0.0.1");
		assert_int_equal(c->metrics.port, 9179);
		assert_int_equal(c->network_count, 0);
		assert_int_equal(c->node_count, 0);
		assert_int_equal(c->vm_count, 0);
		assert_null(c->libvirt);
	}
}

static void libvirt_has_defaults_of_its_own(void **state)
{
	static const char *const table[] = {
		LEAST "libvirt: {}\n",
		LEAST "libvirt:\n  uri:\n  socket:\n  directory:\n  pids:\n  engine:\n  tunnel:\n",
	};

	(void)state;
	for (size_t i = 0; i < COUNT(table); i++) {
		wh_cleanup(wh_config_freep) struct wh_config *c = must_load(table[i]);

		assert_string_equal(c->libvirt->uri, "qemu:///system");
		assert_string_equal(c->libvirt->socket, "/run/libvirt/libvirt-sock");
		assert_string_equal(c->libvirt->directory, "/var/lib/libvirt/qemu");
		assert_string_equal(c->libvirt->pids, "/run/libvirt/qemu");
		assert_int_equal(c->libvirt->engine, WH_WISH_AUTO);
		assert_non_null(strstr(c->libvirt->tunnel, "/wherry-tunnel"));
	}
}

static void metrics_are_served_where_it_says(void **state)
{
	static const struct {
		const char *text;
		const char *address;
		uint16_t port;
	} table[] = {
		{ LEAST "metrics: none\n", "", 0 },
		{ LEAST "metrics: 127.0.0.1:1\n", "127.0.0.1", 1 },
		{ LEAST "metrics: 0.0.0.0:65535\n", "0.0.0.0", 65535 },
		{ LEAST "metrics: '[::]:9179'\n", "::", 9179 },
		{ LEAST "metrics: '[2001:DB8:0::1]:80'\n", "2001:db8::1", 80 },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(table); i++) {
		wh_cleanup(wh_config_freep) struct wh_config *c = must_load(table[i].text);

		assert_string_equal(c->metrics.address, table[i].address);
		assert_int_equal(c->metrics.port, table[i].port);
	}
}

static void finds_the_mover_beside_the_program_or_installed(void **state)
{
	wh_cleanup(wh_config_freep) struct wh_config *installed = NULL;
	wh_cleanup(wh_config_freep) struct wh_config *beside = NULL;
	char path[4096 + sizeof("/wherry-mover")];
	const ssize_t len = readlink("/proc/self/exe", path, 4096);
	FILE *mover;

	(void)state;
	assert_true(len > 0);
	path[len] = '\0';
	memcpy(strrchr(path, '/'), "/wherry-mover", sizeof("/wherry-mover"));
	if (access(path, F_OK) == 0)
		skip(); /* a real mover is there; it is not ours to remove */

	installed = must_load(LEAST);
	mover = fopen(path, "we");
	assert_non_null(mover);
	(void)fclose(mover);
	(void)chmod(path, 0700);
	beside = must_load(LEAST);
	assert_int_equal(unlink(path), 0);

	assert_string_equal(installed->mover, WH_LIBEXECDIR "/wherry-mover");
	assert_string_equal(beside->mover, path);
}

static void accepts_the_edges(void **state)
{
	static const char *const table[] = {
		LEAST "port: 1\n",
		LEAST "port: 65535\n",
		LEAST "connections: 1\n",
		LEAST "connections: 16\n",
		LEAST "downtimeMs: 1\n",
		LEAST "downtimeMs: 2000000\n",
		LEAST "directIoMs: 1\n",
		LEAST "directIoMs: 60000\n",
		LEAST "cgroup: a/b/..c\n",
		LEAST "networks: [{name: k, interface: i23456789012345}]",
		LEAST "nodes: [{name: b, address: '::1'}]",
		LEAST "libvirt: {uri: 'qemu:///session', engine: native}",
	};

	(void)state;
	for (size_t i = 0; i < COUNT(table); i++) {
		struct wh_config *config = must_load(table[i]);

		config = wh_config_free(config);
		assert_null(config);
	}
}

#define LONG_PATH                                                                                 \
	"/23456789012345678901234567890123456789012345678901234567890123456789012345678901234567" \
	"890123456789012345678"

/* A mistake in @text is refused, with its place and with @words. */
static void expect_refused(const char *text, const char *place, const char *words)
{
	struct wh_config *config = NULL;
	struct wh_error err = { 0 };

	assert_int_equal(load(&config, text, &err), -EINVAL);
	print_message("# %s\n", err.text);
	assert_int_equal(strncmp(err.text, place, strlen(place)), 0);
	assert_non_null(strstr(err.text, words));
	assert_null(config);
}

static void refuses_and_names_the_place(void **state)
{
	static const struct {
		const char *text;
		const char *place;
		const char *words;
	} table[] = {
		{ "", "f:1:1: ", "node, socket and state" },
		{ "text", "f:1:1: ", "mapping" },
		{ "socket: /s\nstate: /s\n", "f:1:1: ", "'node' is missing" },
		{ "node: a\nstate: /s\n", "f:1:1: ", "'socket' is missing" },
		{ "node: a\nsocket: /s\n", "f:1:1: ", "'state' is missing" },
		{ "node: a\nsocket:\nstate: /s\n", "f:2:8: ", "'socket' is missing" },
		{ LEAST "---\n" LEAST, "f:5:1: ", "second document" },
		{ LEAST "node: b\n", "f:4:1: ", "already in line 1" },
		{ LEAST "sokcet: /s\n", "f:4:1: ", "'socket'" },
		{ LEAST "downtime: 5\n", "f:4:1: ", "'downtimeMs'" },
		{ "node: A\n", "f:1:7: ", "not a name" },
		{ "node: a.b\n", "f:1:7: ", "not a name" },
		{ "node: 5\n", "f:1:7: ", "quotes" },
		{ "socket: run/s\n", "f:1:9: ", "absolute" },
		{ "socket: " LONG_PATH "\n", "f:1:9: ", "107 bytes" },
		{ "socket: [a]\n", "f:1:9: ", "list" },
		{ LEAST "manifests: m\n", "f:4:12: ", "absolute" },
		{ LEAST "mover: wherry-mover\n", "f:4:8: ", "absolute" },
		{ LEAST "cgroup: /wherry\n", "f:4:9: ", "below" },
		{ LEAST "cgroup: ../wherry\n", "f:4:9: ", "below" },
		{ LEAST "cgroup: a/..\n", "f:4:9: ", "below" },
		{ LEAST "cgroup: a//b\n", "f:4:9: ", "below" },
		{ LEAST "cgroup: .\n", "f:4:9: ", "below" },
		{ LEAST "port: 0\n", "f:4:7: ", "from 1 to 65535" },
		{ LEAST "port: 65536\n", "f:4:7: ", "from 1 to 65535" },
		{ LEAST "connections: 0\n", "f:4:14: ", "from 1 to 16" },
		{ LEAST "connections: 17\n", "f:4:14: ", "from 1 to 16" },
		{ LEAST "congestionControl: a b\n", "f:4:20: ", "such as cubic" },
		{ LEAST "congestionControl: abcdefghijklmnop\n", "f:4:20: ", "such as cubic" },
		{ LEAST "transport: tpc\n", "f:4:12: ", "write auto, tcp or rdma" },
		{ LEAST "transport: 1\n", "f:4:12: ", "quotes" },
		{ LEAST "rdma: true\n", "f:4:7: ", "mapping" },
		{ LEAST "rdma: {pair: 2}\n", "f:4:8: ", "'pairs'" },
		{ LEAST "rdma: {pairs: 0}\n", "f:4:15: ", "from 1 to 8" },
		{ LEAST "rdma: {pairs: 9}\n", "f:4:15: ", "from 1 to 8" },
		{ LEAST "rdma: {chunkMiB: 8}\n", "f:4:18: ", "from 16 to 1024" },
		{ LEAST "rdma: {chunkMiB: 2048}\n", "f:4:18: ", "from 16 to 1024" },
		{ LEAST "rdma: {chunkMiB: 48}\n", "f:4:18: ", "48 is no power of two" },
		{ LEAST "rdma: {pinnedMiB: 31}\n", "f:4:19: ", "from 32 to" },
		{ LEAST "rdma: {chunkMiB: 64, pinnedMiB: 127}\n",
		  "f:4:33: ", "two chunks of 64 MiB are more than the 127 MiB" },
		{ LEAST "rdma: {odp: yes}\n", "f:4:13: ", "true" },
		{ LEAST "allowPlaintextRDMA: 1\n", "f:4:21: ", "true" },
		{ LEAST "compression: lz4\n", "f:4:14: ", "write auto, none or zstd" },
		{ LEAST "compression: 1\n", "f:4:14: ", "quotes" },
		{ LEAST "directIoMs: 0\n", "f:4:13: ", "from 1 to 60000" },
		{ LEAST "directIoMs: 60001\n", "f:4:13: ", "from 1 to 60000" },
		{ LEAST "downtimeMs: 0\n", "f:4:13: ", "from 1 to 2000000" },
		{ LEAST "downtimeMs: 2000001\n", "f:4:13: ", "from 1 to 2000000" },
		{ LEAST "downtimeMs: 0.3\n", "f:4:13: ", "whole number" },
		{ LEAST "networks: {name: a}\n", "f:4:11: ", "list" },
		{ LEAST "networks: [a]\n", "f:4:12: ", "mapping" },
		{ LEAST "networks: [{name: a}]\n", "f:4:12: ", "'interface' is missing" },
		{ LEAST "networks: [{name: k, interface: i234567890123456}]\n",
		  "f:4:33: ", "interface" },
		{ LEAST "networks: [{name: k, interface: ..}]\n", "f:4:33: ", "interface" },
		{ LEAST "networks:\n- {name: k, interface: i}\n- {name: k, interface: j}\n",
		  "f:6:10: ", "line 5 has the same name" },
		{ LEAST "networks:\n- {name: k, interface: i}\n- {name: m, interface: i}\n",
		  "f:6:24: ", "line 5 has the same interface" },
		{ LEAST "nodes: [{name: b, address: host.example}]\n", "f:4:28: ", "numeric" },
		{ LEAST "nodes: [{name: b, address: 192.0.2}]\n", "f:4:28: ", "numeric" },
		{ LEAST "nodes: [{name: b, address: 192.0.2.256}]\n", "f:4:28: ", "numeric" },
		{ LEAST "nodes: [{name: b, address: '192.0.2.2:80'}]\n", "f:4:28: ", "numeric" },
		{ LEAST "nodes: [{name: b, adress: 192.0.2.2}]\n", "f:4:19: ", "'address'" },
		{ LEAST "nodes: [{name: a, address: 192.0.2.2}]\n", "f:4:16: ", "itself" },
		{ LEAST "nodes:\n- {name: b, address: 192.0.2.2}\n"
		        "- {name: b, address: 192.0.2.3}\n",
		  "f:6:10: ", "same name" },
		{ LEAST "nodes:\n- {name: b, address: '2001:db8::1'}\n"
		        "- {name: c, address: '2001:DB8:0::1'}\n",
		  "f:6:22: ", "same address" },
		{ LEAST "vms: [{name: v}]\n", "f:4:7: ", "'qmp' is missing" },
		{ LEAST "vms: [{name: v, qmp: q}]\n", "f:4:22: ", "absolute" },
		{ LEAST "vms:\n- {name: v, qmp: /q}\n- {name: v, qmp: /r}\n",
		  "f:6:10: ", "same name" },
		{ LEAST "vms:\n- {name: v, qmp: /q}\n- {name: w, qmp: /q}\n",
		  "f:6:18: ", "same qmp" },
		{ LEAST "vms: [{name: v, qmp: /q, incoming: /x}]\n", "f:4:36: ", "list" },
		{ LEAST "vms: [{name: v, qmp: /q, incoming: []}]\n", "f:4:36: ", "list" },
		{ LEAST "vms: [{name: v, qmp: /q, incoming: [x]}]\n", "f:4:37: ", "absolute" },
		{ LEAST "vms: [{name: v, qmp: /q, incoming: [/x, 5]}]\n", "f:4:41: ", "quotes" },
		{ LEAST "vms: [{name: v, qmp: /q, incoming: [/x, [y]]}]\n", "f:4:41: ", "list" },
		{ LEAST "libvirt: yes\n", "f:4:10: ", "mapping" },
		{ LEAST "libvirt: {url: 'qemu:///system'}\n", "f:4:11: ", "'uri'" },
		{ LEAST "libvirt: {uri: 'qemu+ssh://b/system'}\n", "f:4:16: ", "of this host" },
		{ LEAST "libvirt: {uri: 'xen:///system'}\n", "f:4:16: ", "qemu:///system" },
		{ LEAST "libvirt: {uri: ''}\n", "f:4:16: ", "empty" },
		{ LEAST "libvirt: {socket: sock}\n", "f:4:19: ", "absolute" },
		{ LEAST "libvirt: {socket: " LONG_PATH "}\n", "f:4:19: ", "107 bytes" },
		{ LEAST "libvirt: {directory: qemu}\n", "f:4:22: ", "absolute" },
		{ LEAST "libvirt: {pids: 5}\n", "f:4:17: ", "quotes" },
		{ LEAST "libvirt: {engine: fast}\n", "f:4:19: ", "auto, offload or native" },
		{ LEAST "libvirt: {tunnel: wherry-tunnel}\n", "f:4:19: ", "absolute" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(table); i++)
		expect_refused(table[i].text, table[i].place, table[i].words);
}

static void refuses_what_is_no_address_with_a_port(void **state)
{
	static const char *const table[] = {
		"localhost:9179",
		"127.0.0.1",
		"127.0.0.1:",
		"127.0.0.1:0",
		"127.0.0.1:+80",
		"127.0.0.1:65536",
		"127.0.0.1:080",
		"127.0.0.1:80x",
		"127.0.0.1:99999999999999999999",
		"127.0.0.1.2:80",
		"x:80",
		"::1:9179",
		"[127.0.0.1]:80",
		"[::1:80",
		"[::1]80",
		"[:80",
		"[]:80",
		":80",
		"[fe80::1%eth0]:80",
		"[::1]",
	};

	(void)state;
	for (size_t i = 0; i < COUNT(table); i++) {
		char text[128];

		(void)snprintf(text, sizeof(text), LEAST "metrics: '%s'\n", table[i]);
		expect_refused(text, "f:4:10: ", "not a numeric address with a port");
	}
	expect_refused(LEAST "metrics: 9179\n", "f:4:10: ", "quotes");
	expect_refused(LEAST "metrics: off\n", "f:4:10: ", "quotes");
	expect_refused(LEAST "metrics: [a]\n", "f:4:10: ", "list");
}

static void says_that_a_file_is_missing(void **state)
{
	struct wh_config *config = NULL;
	struct wh_error err = { 0 };

	(void)state;
	assert_int_equal(wh_config_load(&config, "/nonexistent.yaml", &err), -ENOENT);
	assert_string_equal(err.text, "/nonexistent.yaml: No such file or directory");
	assert_null(wh_config_free(NULL));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_every_key),
		cmocka_unit_test(fills_in_the_defaults),
		cmocka_unit_test(libvirt_has_defaults_of_its_own),
		cmocka_unit_test(metrics_are_served_where_it_says),
		cmocka_unit_test(finds_the_mover_beside_the_program_or_installed),
		cmocka_unit_test(accepts_the_edges),
		cmocka_unit_test(refuses_and_names_the_place),
		cmocka_unit_test(refuses_what_is_no_address_with_a_port),
		cmocka_unit_test(says_that_a_file_is_missing),
	};

	return cmocka_run_group_tests_name("config", tests, NULL, NULL);
}
