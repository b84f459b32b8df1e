/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Fabric - class/infiniband/DEVICE/ports/PORT of sysfs.
 *
 * On Ethernet each entry of a port's table of addresses (GIDs) names the interface it comes from: also a
 * VLAN, and also soft-RoCE's. On InfiniBand the interface (IPoIB) and the device are functions of one
 * adapter, and the interface has the port's number.
 */

#include "fabric.h"

#include <errno.h>
#include <glob.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "files.h"

/* A file of sysfs is a page at most. */
#define FILE_MAX 4096u

/* What RoCE v2 puts around its payload: all headers that a packet may have, as the kernel counts them. */
#define ROCE_HEADERS_BYTES 96u

/* InfiniBand's sizes of payload. */
#define MTU_LEAST_BYTES 256u
#define MTU_MOST_BYTES  4096u

/* The first line of the file @path, "" if it cannot be read: an empty entry of a table cannot. */
static void read_path(char ret[WH_FABRIC_TEXT_MAX], const char *path)
{
	wh_cleanup(wh_freep) char *text = NULL;
	size_t len;

	*ret = '\0';
	if (wh_file_read(path, FILE_MAX, &text, &len, NULL) < 0)
		return;
	text[strcspn(text, "\n")] = '\0';
	(void)snprintf(ret, WH_FABRIC_TEXT_MAX, "%s", text);
}

static void read_line(char ret[WH_FABRIC_TEXT_MAX], const char *dir, const char *name)
{
	char path[PATH_MAX];

	*ret = '\0';
	if (snprintf(path, sizeof(path), "%s/%s", dir, name) < (int)sizeof(path))
		read_path(ret, path);
}

/* The same without the number that the kernel puts before a word: "4: ACTIVE". */
static void read_word(char ret[WH_FABRIC_TEXT_MAX], const char *dir, const char *name)
{
	char line[WH_FABRIC_TEXT_MAX];
	const char *word;

	read_line(line, dir, name);
	word = strstr(line, ": ");
	(void)snprintf(ret, WH_FABRIC_TEXT_MAX, "%s", word ? word + 2 : line);
}

static bool is_in_table(const char *port_dir, const char *interface)
{
	char pattern[PATH_MAX];
	bool found = false;
	glob_t list;

	if (snprintf(pattern, sizeof(pattern), "%s/gid_attrs/ndevs/*", port_dir) >=
	            (int)sizeof(pattern) ||
	    glob(pattern, GLOB_NOSORT, NULL, &list) != 0)
		return false;
	for (size_t i = 0; i < list.gl_pathc && !found; i++) {
		char name[WH_FABRIC_TEXT_MAX];

		read_path(name, list.gl_pathv[i]);
		found = !strcmp(name, interface);
	}
	globfree(&list);
	return found;
}

/* Whether @interface is IPoIB's on this port. */
static bool is_on_adapter(const struct wh_fabric *f, const char *sys, const char *interface)
{
	char dir[PATH_MAX];
	char number[WH_FABRIC_TEXT_MAX];

	if (strcmp(f->layer, "InfiniBand") != 0 ||
	    snprintf(dir, sizeof(dir), "%s/class/net/%s/device/infiniband/%s", sys, interface,
	             f->device) >= (int)sizeof(dir) ||
	    access(dir, F_OK) < 0)
		return false;
	(void)snprintf(dir, sizeof(dir), "%s/class/net/%s", sys, interface);
	read_line(number, dir, "dev_port");
	return *number && strtoul(number, NULL, 10) + 1 == f->port;
}

/* On Ethernet the largest payload that fits the interface's packets, as the kernel chooses it. */
static uint32_t mtu_of(const struct wh_fabric *f, const char *sys, const char *interface)
{
	char dir[PATH_MAX];
	char number[WH_FABRIC_TEXT_MAX];
	unsigned long mtu;

	if (strcmp(f->layer, "Ethernet") != 0)
		return 0;
	(void)snprintf(dir, sizeof(dir), "%s/class/net/%s", sys, interface);
	read_line(number, dir, "mtu");
	mtu = strtoul(number, NULL, 10);
	for (uint32_t bytes = MTU_MOST_BYTES; bytes >= MTU_LEAST_BYTES; bytes /= 2)
		if (mtu >= bytes + ROCE_HEADERS_BYTES)
			return bytes;
	return 0;
}

/* Device and port by the end of @port_dir: DEVICE/ports/PORT. */
static bool name_port(struct wh_fabric *f, const char *sys, const char *port_dir)
{
	const char *device = port_dir + strlen(sys) + strlen("/class/infiniband/");
	const char *port = strrchr(port_dir, '/') + 1;

	(void)snprintf(f->device, sizeof(f->device), "%.*s", (int)strcspn(device, "/"), device);
	f->port = (uint32_t)strtoul(port, NULL, 10);
	return f->port > 0;
}

int wh_fabric_find(struct wh_fabric *ret, const char *sys, const char *interface,
                   struct wh_error *err)
{
	struct wh_fabric f = { 0 };
	char pattern[PATH_MAX];
	bool found = false;
	glob_t list;

	if (snprintf(pattern, sizeof(pattern), "%s/class/infiniband/*/ports/*", sys) >=
	    (int)sizeof(pattern))
		return wh_fail(err, -ENAMETOOLONG, "the path of sysfs is too long");
	if (glob(pattern, 0, NULL, &list) != 0)
		return wh_fail(err, -ENODEV, "this host has no RDMA device");
	for (size_t i = 0; i < list.gl_pathc && !found; i++) {
		const char *dir = list.gl_pathv[i];

		if (!name_port(&f, sys, dir))
			continue;
		read_word(f.layer, dir, "link_layer");
		read_word(f.state, dir, "state");
		read_line(f.rate, dir, "rate");
		found = is_in_table(dir, interface) || is_on_adapter(&f, sys, interface);
	}
	globfree(&list);
	if (!found)
		return wh_fail(err, -ENODEV, "no RDMA device of this host serves interface %s",
		               interface);
	f.mtu_bytes = mtu_of(&f, sys, interface);
	*ret = f;
	return 0;
}

int wh_fabric_is_up(const struct wh_fabric *f, struct wh_error *err)
{
	if (!strcmp(f->state, "ACTIVE"))
		return 0;
	return wh_fail(err, -ENETDOWN, "port %u of RDMA device %s is %s, not ACTIVE", f->port,
	               f->device, *f->state ? f->state : "in no known state");
}
