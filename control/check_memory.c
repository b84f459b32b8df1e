/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Check: where RAM is kept. A RAM file on a disk's file system could be mapped, too, but the guest would
 * be as slow as the disk, and pages of it cannot be taken out again.
 */

#include "check.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "wherry/assert.h"
#include "wherry/fdpass.h"

#define DEFAULT_DIR "/var/lib/libvirt/qemu/ram"
#define KEY         "memory_backing_dir"

/* Smaller mappings that are shared are no RAM. */
#define RAM_BYTES_MIN (UINT64_C(1) << 20)

/* A line of /proc/PID/maps. */
#define LINE_MAX_BYTES 4608

static const char *skip_blanks(const char *text)
{
	return text + strspn(text, " \t");
}

/* The value of "KEY = "value"", or the first of several in brackets; NULL if it is another line. */
static const char *value_of(const char *line, size_t *len)
{
	const char *at = skip_blanks(line);

	if (strncmp(at, KEY, strlen(KEY)) != 0)
		return NULL;
	at = skip_blanks(at + strlen(KEY));
	if (*at++ != '=')
		return NULL;
	at += strspn(at, " \t[");
	if (*at++ != '"')
		return NULL;
	*len = strcspn(at, "\"\n");
	return at;
}

void wh_check_memory_dir(char *ret, size_t size, const char *conf)
{
	(void)snprintf(ret, size, "%s", DEFAULT_DIR);
	for (const char *line = conf; line; line = strchr(line, '\n')) {
		const char *value;
		size_t len = 0;

		line += *line == '\n';
		value = value_of(line, &len);
		if (value && len < size)
			(void)snprintf(ret, size, "%.*s", (int)len, value);
	}
}

static bool is_memory(const struct statfs *fs)
{
	return fs->f_type == TMPFS_MAGIC || fs->f_type == HUGETLBFS_MAGIC;
}

/* libvirt makes the directory with the first guest; until then what it will be in counts. */
static int look_at(const char *path, struct statfs *fs)
{
	char at[PATH_MAX];
	int r;

	(void)snprintf(at, sizeof(at), "%s", path);
	/* This ends: each turn is one part shorter, and "/" is there. */
	while ((r = statfs(at, fs)) < 0 && errno == ENOENT && strchr(at + 1, '/'))
		*strrchr(at, '/') = '\0';
	return r < 0 ? -errno : 0;
}

void wh_check_memory_place(struct wh_check_list *list, const char *conf)
{
	char dir[PATH_MAX];
	struct statfs fs;
	int r;

	wh_check_memory_dir(dir, sizeof(dir), conf);
	r = look_at(dir, &fs);
	if (r < 0)
		wh_check_no(list, "memory-place", KEY " = \"/dev/shm\" in /etc/libvirt/qemu.conf",
		            "%.128s, where libvirt makes RAM files, cannot be looked at: %s", dir,
		            strerror(-r));
	else if (!is_memory(&fs))
		wh_check_no(list, "memory-place",
		            KEY
		            " = \"/dev/shm\" in /etc/libvirt/qemu.conf, then restart libvirtd and "
		            "the guest",
		            "%.128s, where libvirt makes RAM files, is on a disk", dir);
	else
		wh_check_yes(list, "memory-place", "libvirt makes RAM files in %.128s, in memory",
		             dir);
}

/* Devices are mapped, too, but those where file systems are. */
static bool is_path_of_file(const char *path)
{
	static const char *const fine[] = { "/dev/shm/", "/dev/hugepages" };

	for (size_t i = 0; i < sizeof(fine) / sizeof(*fine); i++)
		if (!strncmp(path, fine[i], strlen(fine[i])))
			return true;
	return *path == '/' && strncmp(path, "/dev/", strlen("/dev/")) != 0 &&
	       strncmp(path, "/memfd:", strlen("/memfd:")) != 0;
}

/* A shared mapping of a line of maps that could be RAM. */
static bool is_ram(const char *line, char range[64], const char **path)
{
	uint64_t start = 0;
	uint64_t end = 0;
	char mode[5] = "";
	int skip = 0;

	if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s %*s %*s %*s %n", &start, &end, mode, &skip) !=
	            3 ||
	    skip == 0)
		return false;
	*path = line + skip;
	(void)snprintf(range, 64, "%" PRIx64 "-%" PRIx64, start, end);
	return mode[1] == 'w' && mode[3] == 's' && end - start >= RAM_BYTES_MIN &&
	       is_path_of_file(*path);
}

/* The path alone may lead elsewhere: QEMU has a mount namespace of its own. */
static bool is_in_memory(pid_t pid, const char *range)
{
	wh_cleanup(wh_closep) int fd = -1;
	struct statfs fs;
	char path[128];

	(void)snprintf(path, sizeof(path), "/proc/%d/map_files/%s", (int)pid, range);
	fd = open(path, O_PATH | O_CLOEXEC);
	return fd >= 0 && fstatfs(fd, &fs) == 0 && is_memory(&fs);
}

static void check_maps(struct wh_check_list *list, pid_t pid, FILE *maps)
{
	char line[LINE_MAX_BYTES];
	size_t count = 0;

	while (fgets(line, sizeof(line), maps)) {
		const char *path = NULL;
		char range[64];

		line[strcspn(line, "\n")] = '\0';
		if (!is_ram(line, range, &path))
			continue;
		count++;
		if (is_in_memory(pid, range))
			continue;
		wh_check_no(list, "memory-files",
		            KEY
		            " = \"/dev/shm\" in /etc/libvirt/qemu.conf, then restart libvirtd and "
		            "the guest",
		            "its RAM file %.128s is on a disk", path);
		return;
	}
	if (count > 0)
		wh_check_yes(list, "memory-files", "its RAM files are in memory");
	else
		wh_check_no(list, "memory-files",
		            "start the guest anew, with the XML as it is to be",
		            "as it runs now, it has no RAM in files");
}

void wh_check_memory_files(struct wh_check_list *list, pid_t pid)
{
	char path[64];
	FILE *maps;

	if (pid <= 0) {
		wh_check_no(
			list, "memory-files", "'pids' in the configuration, as libvirt has it",
			"the process of its QEMU is not known: libvirt's pid file cannot be read");
		return;
	}
	(void)snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
	maps = fopen(path, "re");
	if (!maps) {
		wh_check_no(list, "memory-files",
		            "a guest that runs, and a wherryd that runs as root", "%s: %s", path,
		            strerror(errno));
		return;
	}
	check_maps(list, pid, maps);
	(void)fclose(maps);
}
