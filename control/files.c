/* SPDX-License-Identifier: Apache-2.0 */

#include "files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "wherry/assert.h"
#include "wherry/fdpass.h"

void wh_freep(char **p)
{
	free(*p);
}

static int read_all(int fd, size_t max, char **ret, size_t *ret_len)
{
	wh_cleanup(wh_freep) char *data = malloc(max + 2);
	size_t len = 0;
	ssize_t n;

	if (!data)
		return -ENOMEM;
	/* This ends: @len grows each time, or the file is at its end. */
	do {
		n = read(fd, data + len, max + 1 - len);
		if (n < 0 && errno != EINTR)
			return -errno;
		len += n > 0 ? (size_t)n : 0;
	} while (n != 0 && len <= max);
	if (len > max)
		return -EFBIG;
	data[len] = '\0';
	*ret = wh_steal(data);
	*ret_len = len;
	return 0;
}

int wh_file_read(const char *path, size_t max, char **ret, size_t *ret_len, struct wh_error *err)
{
	wh_cleanup(wh_closep) int fd = open(path, O_RDONLY | O_CLOEXEC);
	int r;

	if (fd < 0)
		return wh_fail(err, -errno, "cannot open %s: %s", path, strerror(errno));
	r = read_all(fd, max, ret, ret_len);
	if (r < 0)
		return wh_fail(err, r, "cannot read %s: %s", path, strerror(-r));
	return 0;
}

char *wh_dir_of(const char *path)
{
	const char *slash = strrchr(path, '/');
	char *dir;

	wh_assert(slash);
	dir = strndup(path, slash == path ? 1 : (size_t)(slash - path));
	wh_assert(dir); /* a few bytes: without them nothing else works either */
	return dir;
}

static int sync_dir_of(const char *path)
{
	wh_cleanup(wh_freep) char *dir = wh_dir_of(path);
	wh_cleanup(wh_closep) int fd = -1;

	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || fsync(fd) < 0)
		return -errno;
	return 0;
}

static int write_synced(const char *path, const char *data, size_t len)
{
	wh_cleanup(wh_closep) int fd =
		open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);

	if (fd < 0)
		return -errno;
	while (len > 0) {
		ssize_t n = write(fd, data, len);

		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0) {
			data += n;
			len -= (size_t)n;
		}
	}
	return fsync(fd) < 0 ? -errno : 0;
}

static char *staged(const char *path)
{
	char *temp;

	wh_assert(asprintf(&temp, "%s.new", path) > 0); /* as above */
	return temp;
}

static int fail_to_write(const char *path, const char *temp, int r, struct wh_error *err)
{
	(void)unlink(temp); /* it may not have come into being */
	return wh_fail(err, r, "cannot write %s: %s", path, strerror(-r));
}

int wh_file_stage(const char *path, const void *data, size_t len, struct wh_error *err)
{
	wh_cleanup(wh_freep) char *temp = staged(path);
	int r = write_synced(temp, data, len);

	return r < 0 ? fail_to_write(path, temp, r, err) : 0;
}

int wh_file_commit(const char *path, struct wh_error *err)
{
	wh_cleanup(wh_freep) char *temp = staged(path);
	int r = rename(temp, path) < 0 ? -errno : 0;

	if (r == 0)
		r = sync_dir_of(path);
	return r < 0 ? fail_to_write(path, temp, r, err) : 0;
}

int wh_file_replace(const char *path, const void *data, size_t len, struct wh_error *err)
{
	int r = wh_file_stage(path, data, len, err);

	return r < 0 ? r : wh_file_commit(path, err);
}

int wh_file_remove(const char *path, struct wh_error *err)
{
	wh_cleanup(wh_freep) char *temp = staged(path);
	int r = 0;

	(void)unlink(temp); /* there is hardly ever one */
	if (unlink(path) < 0)
		r = errno == ENOENT ? 0 : -errno;
	else
		r = sync_dir_of(path);
	return r < 0 ? wh_fail(err, r, "cannot remove %s: %s", path, strerror(-r)) : 0;
}

int wh_dir_make(const char *path, struct wh_error *err)
{
	wh_cleanup(wh_freep) char *copy = strdup(path);

	if (!copy)
		return wh_fail(err, -ENOMEM, "out of memory");
	for (char *s = copy + 1; *s; s++) {
		if (*s != '/')
			continue;
		*s = '\0';
		(void)mkdir(copy, 0755); /* if this fails, so does the last one below */
		*s = '/';
	}
	if (mkdir(copy, 0700) < 0 && errno != EEXIST)
		return wh_fail(err, -errno, "cannot make the directory %s: %s", path,
		               strerror(errno));
	return 0;
}
