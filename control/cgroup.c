/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Cgroup - leaves of the cgroup v2 tree.
 *
 * No controller is needed, so nothing is enabled in any subtree and the leaves work wherever
 * directories may be made.
 *
 * Whether a leaf is empty is in its cgroup.events, which can be polled: the kernel raises
 * POLLPRI when it changes. cgroup.kill is from Linux 5.14, long before what dirty tracking needs.
 */

#include "cgroup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cgroup_mount.h"

#include "wherry/assert.h"
#include "wherry/clock.h"
#include "wherry/fdpass.h"

static void freep(char **p)
{
	free(*p);
}

static void closedirp(DIR **dir)
{
	if (*dir)
		(void)closedir(*dir); /* only read from */
}

static bool is_plain_name(const char *name)
{
	return *name && !strchr(name, '/') && strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

int wh_cgroup_open_parent(int *ret_fd, const char *path, struct wh_error *err)
{
	wh_cleanup(freep) char *parts = strdup(path);
	wh_cleanup(wh_closep) int fd = -1;
	char *save = NULL;

	if (!parts)
		return wh_fail(err, -ENOMEM, "no memory for a path");
	fd = wh_cgroup_mount_open(NULL, err);
	if (fd < 0)
		return fd;

	for (char *name = strtok_r(parts, "/", &save); name; name = strtok_r(NULL, "/", &save)) {
		int below;

		if (!is_plain_name(name))
			return wh_fail(err, -EINVAL, "'%s' leads out of the cgroup tree", path);
		if (mkdirat(fd, name, 0755) < 0 && errno != EEXIST)
			return wh_fail(err, -errno, "cannot make cgroup %s: %s", path,
			               strerror(errno));
		below = openat(fd, name, O_DIRECTORY | O_RDONLY | O_CLOEXEC);
		if (below < 0)
			return wh_fail(err, -errno, "cannot open cgroup %s: %s", path,
			               strerror(errno));
		wh_closep(&fd);
		fd = below;
	}
	*ret_fd = fd;
	fd = -1;
	return 0;
}

static int write_word(int dir_fd, const char *file, const char *word)
{
	wh_cleanup(wh_closep) int fd = openat(dir_fd, file, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, word, strlen(word)) < 0)
		return -errno;
	return 0;
}

int wh_cgroup_open(struct wh_cgroup **ret, int parent_fd, const char *name, struct wh_error *err)
{
	wh_cleanup(wh_cgroup_closep) struct wh_cgroup *group = malloc(sizeof(*group));

	if (!group)
		return wh_fail(err, -ENOMEM, "no memory for cgroup %s", name);
	*group = (struct wh_cgroup){ .parent_fd = -1, .dir_fd = -1 };
	if (!is_plain_name(name) || strlen(name) >= sizeof(group->name))
		return wh_fail(err, -EINVAL, "'%s' cannot be the name of a cgroup", name);

	memcpy(group->name, name, strlen(name) + 1);
	group->parent_fd = fcntl(parent_fd, F_DUPFD_CLOEXEC, 0);
	if (group->parent_fd < 0)
		return wh_fail(err, -errno, "cannot keep the parent of cgroup %s: %s", name,
		               strerror(errno));
	group->dir_fd = openat(parent_fd, name, O_DIRECTORY | O_RDONLY | O_CLOEXEC);
	if (group->dir_fd < 0)
		return wh_fail(err, -errno, "cannot open cgroup %s: %s", name, strerror(errno));

	*ret = wh_steal(group);
	return 0;
}

int wh_cgroup_create(struct wh_cgroup **ret, int parent_fd, const char *name, struct wh_error *err)
{
	wh_cleanup(wh_cgroup_closep) struct wh_cgroup *group = NULL;
	int r;

	if (!is_plain_name(name))
		return wh_fail(err, -EINVAL, "'%s' cannot be the name of a cgroup", name);
	if (mkdirat(parent_fd, name, 0755) < 0)
		return wh_fail(err, -errno, "cannot make cgroup %s: %s", name, strerror(errno));

	r = wh_cgroup_open(&group, parent_fd, name, err);
	if (r == 0) {
		wh_assert(group);
		r = write_word(group->dir_fd, "cgroup.max.descendants", "0");
		if (r < 0)
			(void)wh_fail(err, r, "cannot keep cgroup %s a leaf: %s", name,
			              strerror(-r));
	}
	if (r < 0) {
		(void)unlinkat(parent_fd, name, AT_REMOVEDIR); /* the first failure is told */
		return r;
	}
	*ret = wh_steal(group);
	return 0;
}

struct wh_cgroup *wh_cgroup_close(struct wh_cgroup *group)
{
	if (!group)
		return NULL;

	wh_closep(&group->dir_fd);
	wh_closep(&group->parent_fd);
	free(group);
	return NULL;
}

int wh_cgroup_procs(const struct wh_cgroup *group, struct wh_error *err)
{
	int fd = openat(group->dir_fd, "cgroup.procs", O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return wh_fail(err, -errno, "cannot open the processes of cgroup %s: %s",
		               group->name, strerror(errno));
	return fd;
}

/* Return: 1 if processes are in the leaf, 0 if not, or -errno. */
static int is_populated(int events_fd)
{
	char text[256];
	ssize_t n = pread(events_fd, text, sizeof(text) - 1, 0);

	if (n < 0)
		return -errno;
	text[n] = '\0';
	return strstr(text, "populated 1") != NULL;
}

static int wait_until_empty(int events_fd, uint64_t deadline_ns)
{
	/* This ends: at the deadline at the latest. */
	for (;;) {
		struct pollfd changed = { .fd = events_fd, .events = POLLPRI };
		int r = is_populated(events_fd);
		uint64_t now_ns = wh_now_ns(&wh_clock_monotonic);
		uint64_t left_ms;

		if (r <= 0)
			return r;
		if (now_ns >= deadline_ns)
			return -ETIMEDOUT;
		left_ms = (deadline_ns - now_ns) / WH_NSEC_PER_MSEC + 1;
		if (poll(&changed, 1, left_ms > 1000 ? 1000 : (int)left_ms) < 0 && errno != EINTR)
			return -errno;
	}
}

int wh_cgroup_kill(const struct wh_cgroup *group, uint64_t deadline_ns, struct wh_error *err)
{
	wh_cleanup(wh_closep) int events_fd =
		openat(group->dir_fd, "cgroup.events", O_RDONLY | O_CLOEXEC);
	int r;

	if (events_fd < 0)
		return wh_fail(err, -errno, "cannot watch cgroup %s: %s", group->name,
		               strerror(errno));
	r = write_word(group->dir_fd, "cgroup.kill", "1");
	if (r < 0)
		return wh_fail(err, r, "cannot kill cgroup %s: %s", group->name, strerror(-r));
	r = wait_until_empty(events_fd, deadline_ns);
	if (r < 0)
		return wh_fail(err, r, "processes of cgroup %s do not end: %s", group->name,
		               strerror(-r));
	return 0;
}

int wh_cgroup_remove(const struct wh_cgroup *group, struct wh_error *err)
{
	if (unlinkat(group->parent_fd, group->name, AT_REMOVEDIR) < 0 && errno != ENOENT)
		return wh_fail(err, -errno, "cannot remove cgroup %s: %s", group->name,
		               strerror(errno));
	return 0;
}

static int sweep_one(int parent_fd, const char *name, uint64_t deadline_ns, struct wh_error *err)
{
	wh_cleanup(wh_cgroup_closep) struct wh_cgroup *group = NULL;
	int r;

	r = wh_cgroup_open(&group, parent_fd, name, err);
	if (r < 0)
		return r;
	wh_assert(group);
	r = wh_cgroup_kill(group, deadline_ns, err);
	if (r < 0)
		return r;
	return wh_cgroup_remove(group, err);
}

int wh_cgroup_sweep(int parent_fd, uint64_t deadline_ns, struct wh_error *err)
{
	wh_cleanup(closedirp) DIR *dir = NULL;
	const struct dirent *entry;
	int fd = openat(parent_fd, ".", O_DIRECTORY | O_RDONLY | O_CLOEXEC);
	int failure = 0;
	int removed = 0;

	dir = fd < 0 ? NULL : fdopendir(fd);
	if (!dir) {
		int code = -errno;

		wh_closep(&fd);
		return wh_fail(err, code, "cannot list old cgroups: %s", strerror(-code));
	}
	while ((entry = readdir(dir))) {
		int r;

		if (entry->d_type != DT_DIR || !is_plain_name(entry->d_name))
			continue;
		r = sweep_one(parent_fd, entry->d_name, deadline_ns, failure ? NULL : err);
		if (r < 0 && !failure)
			failure = r;
		removed += r == 0;
	}
	return failure ? failure : removed;
}
