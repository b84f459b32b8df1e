/* SPDX-License-Identifier: Apache-2.0 */

/*
 * RAM files - trust nothing that is only a path.
 *
 * QEMU tells the path that it was given. That it still leads to the memory the guest uses is
 * checked against /proc/PID/maps, by device and inode; and the same pair must be found again
 * before the path is unlinked.
 */

#include "ram_files.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "wherry/assert.h"
#include "wherry/fdpass.h"
#include "wherry/worker.h"

int wh_ram_add(struct wh_ram *ram, const char *name, const char *path, uint64_t bytes)
{
	struct wh_ram_file *file;

	if (ram->count == WH_REGIONS_MAX || strlen(name) >= WH_NAME_MAX)
		return -E2BIG;
	if (!ram->files)
		ram->files = calloc(WH_REGIONS_MAX, sizeof(*ram->files));
	if (!ram->files)
		return -ENOMEM;
	file = &ram->files[ram->count];
	*file = (struct wh_ram_file){ .path = strdup(path), .bytes = bytes, .fd = -1 };
	if (!file->path)
		return -ENOMEM;
	memcpy(file->name, name, strlen(name));
	ram->count++;
	return 0;
}

static bool is_memory_fs(const struct statfs *fs)
{
	return fs->f_type == TMPFS_MAGIC || fs->f_type == HUGETLBFS_MAGIC;
}

/* Whether a line of /proc/PID/maps is a shared mapping of @file. */
static bool line_maps(const char *line, const struct wh_ram_file *file)
{
	char perms[5];
	unsigned major;
	unsigned minor;
	uint64_t ino;

	/* NOLINTNEXTLINE(cert-err34-c): the kernel's own format */
	if (sscanf(line, "%*x-%*x %4s %*x %x:%x %" SCNu64, perms, &major, &minor, &ino) != 4)
		return false;
	return perms[3] == 's' && ino == file->ino && makedev(major, minor) == file->dev;
}

static int check_mapped(const struct wh_ram_file *file, pid_t pid, struct wh_error *err)
{
	char path[64];
	char *line = NULL;
	size_t size = 0;
	bool found = false;
	FILE *maps;

	(void)snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
	maps = fopen(path, "re");
	if (!maps)
		return wh_fail(err, -errno, "cannot read %s: %s", path, strerror(errno));
	while (!found && getline(&line, &size, maps) > 0)
		found = line_maps(line, file);
	free(line);
	(void)fclose(maps); /* was only read */
	if (!found)
		return wh_fail(err, -ESTALE,
		               "QEMU (pid %d) has not mapped the file that is at %s now", (int)pid,
		               file->path);
	return 0;
}

static int open_file(struct wh_ram_file *file, struct stat *ret, struct wh_error *err)
{
	struct statfs fs;
	struct stat st;

	file->fd = open(file->path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	if (file->fd < 0 && errno == EISDIR)
		return wh_fail(err, -EISDIR,
		               "%s is a directory: mem-path must be the name of a file, in which "
		               "the memory can be found again",
		               file->path);
	if (file->fd < 0)
		return wh_fail(err, -errno, "cannot open %s: %s", file->path, strerror(errno));
	if (fstat(file->fd, &st) < 0 || fstatfs(file->fd, &fs) < 0)
		return wh_fail(err, -errno, "cannot examine %s: %s", file->path, strerror(errno));
	if (!S_ISREG(st.st_mode) || !is_memory_fs(&fs))
		return wh_fail(err, -EINVAL, "%s is not a file on tmpfs or hugetlbfs", file->path);
	if ((uint64_t)st.st_size < file->bytes)
		return wh_fail(err, -EINVAL,
		               "%s has %" PRIu64 " bytes; the guest's block has %" PRIu64,
		               file->path, (uint64_t)st.st_size, file->bytes);
	*ret = st;
	return 0;
}

static int open_one(struct wh_ram_file *file, pid_t pid, struct wh_error *err)
{
	struct stat st = { 0 };
	int r = open_file(file, &st, err);

	if (r < 0)
		return r;
	file->dev = st.st_dev;
	file->ino = st.st_ino;
	return check_mapped(file, pid, err);
}

static int reopen_one(struct wh_ram_file *file, struct wh_error *err)
{
	struct stat st = { 0 };
	int r = open_file(file, &st, err);

	if (r == 0 && (st.st_dev != file->dev || st.st_ino != file->ino))
		r = wh_fail(err, -ESTALE, "%s is another file now", file->path);
	if (r < 0)
		wh_closep(&file->fd);
	return r;
}

int wh_ram_reopen(struct wh_ram *ram, struct wh_error *err)
{
	for (uint32_t i = 0; i < ram->count; i++) {
		int r = ram->files[i].fd >= 0 ? 0 : reopen_one(&ram->files[i], err);

		if (r < 0)
			return wh_context(err, r, "RAM block '%s'", ram->files[i].name);
	}
	return 0;
}

int wh_ram_copy(struct wh_ram *to, const struct wh_ram *from)
{
	for (uint32_t i = 0; i < from->count; i++) {
		const struct wh_ram_file *f = &from->files[i];
		int r = wh_ram_add(to, f->name, f->path, f->bytes);

		if (r < 0)
			return r;
		to->files[to->count - 1].dev = f->dev;
		to->files[to->count - 1].ino = f->ino;
	}
	return 0;
}

int wh_ram_open(struct wh_ram *ram, pid_t vmm_pid, struct wh_error *err)
{
	for (uint32_t i = 0; i < ram->count; i++) {
		int r = open_one(&ram->files[i], vmm_pid, err);

		if (r < 0)
			return wh_context(err, r, "RAM block '%s'", ram->files[i].name);
	}
	return 0;
}

int wh_ram_compare(const struct wh_ram *ram, const struct wh_worker_region *theirs, uint32_t count,
                   struct wh_error *err)
{
	if (ram->count != count)
		return wh_fail(err, -EINVAL, "%u RAM blocks here, %u at the source", ram->count,
		               count);
	for (uint32_t i = 0; i < count; i++) {
		const struct wh_ram_file *mine = NULL;

		for (uint32_t k = 0; k < ram->count; k++)
			if (!strcmp(ram->files[k].name, theirs[i].name))
				mine = &ram->files[k];
		if (!mine)
			return wh_fail(err, -EINVAL, "no RAM block '%s' here", theirs[i].name);
		if (mine->bytes != theirs[i].bytes)
			return wh_fail(err, -EINVAL,
			               "RAM block '%s' has %" PRIu64 " bytes here, %" PRIu64
			               " at the source",
			               mine->name, mine->bytes, theirs[i].bytes);
	}
	return 0;
}

/* The length of the directory above the one that @path is in; 0 if there is none but the root. */
static size_t above(const char *path)
{
	const char *name = strrchr(path, '/');
	const char *directory = name && *path == '/' ? memrchr(path, '/', (size_t)(name - path))
	                                             : NULL;

	return directory ? (size_t)(directory - path) : 0;
}

/*
 * libvirt removes the directory of a domain with all that is in it, and with it every path that leads
 * through it; the one above is everybody's. The name is a dot file: libvirt passes over it.
 */
int wh_ram_link(struct wh_ram_file *file, const char *id, uint32_t index, struct wh_error *err)
{
	size_t len = above(file->path);
	char *path = NULL;

	if (len == 0)
		return wh_fail(err, -EINVAL, "%s is in no directory of a domain", file->path);
	wh_assert(asprintf(&path, "%.*s/.wherry-%s-%u", (int)len, file->path, id, index) > 0);
	if (linkat(AT_FDCWD, file->path, AT_FDCWD, path, 0) < 0) {
		int r = wh_fail(err, -errno, "cannot give %s a second name: %s", file->path,
		                strerror(errno));

		free(path);
		return r;
	}
	free(file->path);
	file->path = path;
	return 0;
}

uint64_t wh_ram_bytes(const struct wh_ram *ram)
{
	uint64_t bytes = 0;

	for (uint32_t i = 0; i < ram->count; i++)
		bytes += ram->files[i].bytes;
	return bytes;
}

/* Whether there still is that file, by that name. */
static bool is_there(const struct wh_ram_file *file)
{
	struct statfs fs;
	struct stat st;

	return lstat(file->path, &st) == 0 && statfs(file->path, &fs) == 0 && S_ISREG(st.st_mode) &&
	       st.st_dev == file->dev && st.st_ino == file->ino && is_memory_fs(&fs);
}

uint32_t wh_ram_unlink(const struct wh_ram *ram)
{
	uint32_t removed = 0;

	for (uint32_t i = 0; i < ram->count; i++)
		if (is_there(&ram->files[i]) && unlink(ram->files[i].path) == 0)
			removed++;
	return removed;
}

void wh_ram_unlink_second(const struct wh_ram *ram, const char *id)
{
	for (uint32_t i = 0; i < ram->count; i++) {
		const struct wh_ram_file *file = &ram->files[i];
		const char *name = strrchr(file->path, '/');
		char second[WH_NAME_MAX + 32];

		(void)snprintf(second, sizeof(second), "/.wherry-%s-%u", id, i);
		if (name && !strcmp(name, second) && is_there(file))
			(void)unlink(file->path); /* a name too many harms nobody but this host */
	}
}

static void free_files(struct wh_ram *ram)
{
	for (uint32_t i = 0; i < ram->count; i++) {
		wh_closep(&ram->files[i].fd);
		free(ram->files[i].path);
	}
	free(ram->files);
	*ram = (struct wh_ram){ 0 };
}

static void *free_aside(void *arg)
{
	struct wh_ram *ram = arg;

	free_files(ram);
	free(ram);
	return NULL;
}

/* Have a thread close them. Return: whether there is one; @ram is empty then. */
static bool leave_to_thread(struct wh_ram *ram)
{
	struct wh_ram *theirs = malloc(sizeof(*theirs));
	pthread_t thread;

	if (!theirs)
		return false;
	*theirs = *ram;
	if (pthread_create(&thread, NULL, free_aside, theirs) != 0) {
		free(theirs);
		return false;
	}
	(void)pthread_detach(thread);
	*ram = (struct wh_ram){ 0 };
	return true;
}

void wh_ram_done(struct wh_ram *ram)
{
	bool any_open = false;

	for (uint32_t i = 0; i < ram->count; i++)
		any_open = any_open || ram->files[i].fd >= 0;
	/* The last descriptor of a removed file frees its memory: seconds for each 10 GiB. */
	if (!any_open || !leave_to_thread(ram))
		free_files(ram);
}
