/* SPDX-License-Identifier: Apache-2.0 */

/* What sysfs shows of RDMA devices, in a directory made for the test. */

#include <errno.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "fabric.h"
#include "files.h"

#define PATH_ROOM 512

static char sys[] = "/tmp/wherry-fabric-XXXXXX";

static int set_up(void **state)
{
	(void)state;
	memcpy(sys + sizeof(sys) - 7, "XXXXXX", 6);
	return mkdtemp(sys) ? 0 : -1;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
	(void)st;
	(void)type;
	(void)at;
	return remove(path);
}

static int tear_down(void **state)
{
	(void)state;
	return nftw(sys, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

/* Make the file @name below sysfs, with what the kernel would show. */
static void make(const char *name, const char *text)
{
	char path[PATH_ROOM];
	char *dir;
	FILE *file;

	(void)snprintf(path, sizeof(path), "%s/%s", sys, name);
	dir = wh_dir_of(path);
	assert_int_equal(wh_dir_make(dir, NULL), 0);
	free(dir);
	file = fopen(path, "w");
	assert_non_null(file);
	assert_true(fprintf(file, "%s\n", text) > 0);
	assert_int_equal(fclose(file), 0);
}

/* A port of @device with this table of addresses' interfaces. */
static void make_port(const char *device, const char *port, const char *layer, const char *state)
{
	const struct {
		const char *name;
		const char *text;
	} files[] = {
		{ "link_layer", layer },
		{ "state", state },
		{ "rate", "100 Gb/sec (4X EDR)" },
	};
	char name[PATH_ROOM];

	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		(void)snprintf(name, sizeof(name), "class/infiniband/%s/ports/%s/%s", device, port,
		               files[i].name);
		make(name, files[i].text);
	}
}

static void finds_the_port_whose_addresses_are_the_interfaces(void **state)
{
	struct wh_fabric f;

	(void)state;
	make_port("mlx5_0", "1", "Ethernet", "4: ACTIVE");
	make("class/infiniband/mlx5_0/ports/1/gid_attrs/ndevs/0", "eth0");
	make_port("mlx5_1", "1", "Ethernet", "4: ACTIVE");
	make("class/infiniband/mlx5_1/ports/1/gid_attrs/ndevs/0", "eth1");
	make("class/infiniband/mlx5_1/ports/1/gid_attrs/ndevs/3", "eth1.70");
	make("class/net/eth1.70/mtu", "9000");

	assert_int_equal(wh_fabric_find(&f, sys, "eth1.70", NULL), 0);

	assert_string_equal(f.device, "mlx5_1");
	assert_int_equal(f.port, 1);
	assert_string_equal(f.layer, "Ethernet");
	assert_string_equal(f.state, "ACTIVE");
	assert_string_equal(f.rate, "100 Gb/sec (4X EDR)");
	assert_int_equal(f.mtu_bytes, 4096);
	assert_int_equal(wh_fabric_is_up(&f, NULL), 0);
}

static void finds_the_port_of_an_infiniband_interface(void **state)
{
	struct wh_fabric f;

	(void)state;
	make_port("mlx5_0", "1", "InfiniBand", "4: ACTIVE");
	make_port("mlx5_0", "2", "InfiniBand", "1: DOWN");
	make("class/net/ib1/device/infiniband/mlx5_0/node_type", "1: CA");
	make("class/net/ib1/dev_port", "1");

	assert_int_equal(wh_fabric_find(&f, sys, "ib1", NULL), 0);

	assert_int_equal(f.port, 2);
	assert_string_equal(f.layer, "InfiniBand");
	assert_int_equal(f.mtu_bytes, 0);
}

static void an_ethernet_adapter_without_an_address_does_not_serve(void **state)
{
	struct wh_fabric f;

	(void)state;
	make_port("mlx5_0", "1", "Ethernet", "4: ACTIVE");
	make("class/net/eth0/device/infiniband/mlx5_0/node_type", "1: CA");
	make("class/net/eth0/dev_port", "0");

	assert_int_equal(wh_fabric_find(&f, sys, "eth0", NULL), -ENODEV);
}

static void says_what_is_not_there(void **state)
{
	struct wh_fabric f = { .port = 7 };
	struct wh_error err;

	(void)state;
	assert_int_equal(wh_fabric_find(&f, sys, "eth0", &err), -ENODEV);
	assert_string_equal(err.text, "this host has no RDMA device");

	make_port("rxe0", "1", "Ethernet", "4: ACTIVE");
	make("class/infiniband/rxe0/ports/1/gid_attrs/ndevs/0", "eth0");
	make("class/infiniband/rxe0/ports/1/gid_attrs/ndevs/1", "");
	assert_int_equal(wh_fabric_find(&f, sys, "eth", &err), -ENODEV);
	assert_string_equal(err.text, "no RDMA device of this host serves interface eth");
	assert_int_equal(f.port, 7);
}

static void a_port_that_is_down_is_named(void **state)
{
	struct wh_fabric f;
	struct wh_error err;

	(void)state;
	make_port("rxe0", "1", "Ethernet", "1: DOWN");
	make("class/infiniband/rxe0/ports/1/gid_attrs/ndevs/0", "eth0");

	assert_int_equal(wh_fabric_find(&f, sys, "eth0", NULL), 0);
	assert_int_equal(wh_fabric_is_up(&f, &err), -ENETDOWN);
	assert_string_equal(err.text, "port 1 of RDMA device rxe0 is DOWN, not ACTIVE");
}

static void the_payload_fits_the_interfaces_packets(void **state)
{
	static const struct {
		const char *mtu;
		uint32_t bytes;
	} cases[] = {
		{ "9000", 4096 }, { "4192", 4096 }, { "4191", 2048 }, { "1500", 1024 },
		{ "1119", 512 },  { "352", 256 },   { "351", 0 },     { "", 0 },
	};

	(void)state;
	make_port("rxe0", "1", "Ethernet", "4: ACTIVE");
	make("class/infiniband/rxe0/ports/1/gid_attrs/ndevs/0", "eth0");
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct wh_fabric f;

		make("class/net/eth0/mtu", cases[i].mtu);
		assert_int_equal(wh_fabric_find(&f, sys, "eth0", NULL), 0);
		assert_int_equal(f.mtu_bytes, cases[i].bytes);
	}
}

static void a_device_that_is_not_there_cannot_be_asked(void **state)
{
	struct wh_fabric f = { .device = "nonesuch", .port = 1 };
	struct wh_error err = { "" };

	(void)state;
	assert_true(wh_fabric_ask(&f, &err) < 0);
	assert_non_null(strstr(err.text, "verbs")); /* of the library or of its package */
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(finds_the_port_whose_addresses_are_the_interfaces),
		TEST(finds_the_port_of_an_infiniband_interface),
		TEST(an_ethernet_adapter_without_an_address_does_not_serve),
		TEST(says_what_is_not_there),
		TEST(a_port_that_is_down_is_named),
		TEST(the_payload_fits_the_interfaces_packets),
		TEST(a_device_that_is_not_there_cannot_be_asked),
	};

	return cmocka_run_group_tests_name("fabric", tests, NULL, NULL);
}
