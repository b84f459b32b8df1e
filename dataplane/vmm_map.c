/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The lines of /proc/PID/maps whose device and inode are those of a RAM file. A hypervisor may
 * map a file in pieces, and a piece more than once: all of them must be tracked.
 */

#include "vmm_map.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

struct mapping {
	uint64_t start, end;
	uint64_t offset;
	dev_t dev;
	ino_t inode;
	bool shared;
};

static bool parse_line(const char *line, struct mapping *m)
{
	unsigned major_nr, minor_nr;
	uint64_t inode;
	char mode[5];

	/* The kernel writes these numbers, so none is out of range. NOLINTNEXTLINE(cert-err34-c) */
	if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s %" SCNx64 " %x:%x %" SCNu64, &m->start,
	           &m->end, mode, &m->offset, &major_nr, &minor_nr, &inode) != 7)
		return false;
	m->dev = makedev(major_nr, minor_nr);
	m->inode = inode;
	m->shared = mode[3] == 's';
	return true;
}

/* Append what @m maps of @region. Return: 0 or -ENOMEM. */
static int append(struct wh_vmm_map *map, const struct mapping *m, const struct wh_region *region)
{
	uint64_t bytes = m->end - m->start;
	struct wh_vmm_range *ranges;

	if (m->offset >= region->bytes)
		return 0;
	if (bytes > region->bytes - m->offset)
		bytes = region->bytes - m->offset;

	ranges = reallocarray(map->ranges, map->count + 1, sizeof(*ranges));
	if (!ranges)
		return -ENOMEM;
	map->ranges = ranges;
	ranges[map->count++] = (struct wh_vmm_range){
		.addr = m->start,
		.bytes = bytes,
		.first_page = region->first_page + m->offset / WH_PAGE_SIZE,
		.kept = region->kept,
	};
	return 0;
}

static int add_region(struct wh_vmm_map *map, FILE *maps, const struct wh_region *region)
{
	struct mapping m;
	char *line = NULL;
	size_t room = 0;
	struct stat st;
	int r = 0;

	if (fstat(region->fd, &st) < 0)
		return -errno;
	rewind(maps);
	while (r == 0 && getline(&line, &room, maps) >= 0)
		if (parse_line(line, &m) && m.shared && m.dev == st.st_dev && m.inode == st.st_ino)
			r = append(map, &m, region);
	free(line);
	return r;
}

/* The end of what the ranges cover without a gap from @page on. */
static uint64_t covered_from(const struct wh_vmm_map *map, uint64_t page)
{
	for (size_t i = 0; i < map->count; i++) {
		uint64_t first = map->ranges[i].first_page;
		uint64_t end = first + map->ranges[i].bytes / WH_PAGE_SIZE;

		if (first <= page && page < end)
			page = end;
	}
	return page;
}

/* Whether the ranges cover every page of the guest. */
static bool covers(const struct wh_vmm_map *map, const struct wh_ram *ram)
{
	uint64_t page = 0;
	uint64_t before;

	/* This ends: each turn gets further, and the guest is finite. */
	do {
		before = page;
		page = covered_from(map, page);
	} while (page > before && page < ram->pages);
	return page == ram->pages;
}

static FILE *open_of(pid_t pid, const char *name, struct wh_error *err)
{
	char path[32];
	FILE *file;

	(void)snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
	file = fopen(path, "re");
	if (!file)
		(void)wh_fail(err, -errno, "%s: %s", path, strerror(errno));
	return file;
}

int wh_vmm_map_read(struct wh_vmm_map *ret, pid_t pid, const struct wh_ram *ram,
                    struct wh_error *err)
{
	struct wh_vmm_map map = { 0 };
	FILE *maps = open_of(pid, "maps", err);
	int r = 0;

	if (!maps)
		return -errno;
	for (uint16_t i = 0; r == 0 && i < ram->count; i++)
		r = add_region(&map, maps, &ram->regions[i]);
	(void)fclose(maps); /* only read */
	if (r == 0 && !covers(&map, ram))
		r = -ENXIO;
	if (r < 0) {
		wh_vmm_map_done(&map);
		return wh_fail(err, r,
		               r == -ENXIO
		                       ? "process %d does not map all of the guest's RAM, shared"
		                       : "cannot find the guest's RAM in process %d",
		               (int)pid);
	}
	*ret = map;
	return 0;
}

static struct wh_vmm_range *find_range(const struct wh_vmm_map *map, uint64_t addr)
{
	for (size_t i = 0; i < map->count; i++)
		if (map->ranges[i].addr == addr)
			return &map->ranges[i];
	return NULL;
}

int wh_vmm_map_read_kept(struct wh_vmm_map *map, pid_t pid, struct wh_error *err)
{
	FILE *smaps = open_of(pid, "smaps", err);
	struct wh_vmm_range *range = NULL;
	struct mapping m;
	char *line = NULL;
	size_t room = 0;

	if (!smaps)
		return -errno;
	/* Each mapping's line, and then what it is about, to its flags. */
	while (getline(&line, &room, smaps) >= 0)
		if (parse_line(line, &m))
			range = find_range(map, m.start);
		else if (range && !strncmp(line, "VmFlags:", 8))
			range->kept = strstr(line, " ui") != NULL;
	free(line);
	(void)fclose(smaps); /* only read */
	return 0;
}

void wh_vmm_map_done(struct wh_vmm_map *map)
{
	free(map->ranges);
	*map = (struct wh_vmm_map){ 0 };
}
