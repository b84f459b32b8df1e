/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Files of the controller, by version:
 *
 *	1	tasks		cpu.cfs_quota_us, cpu.cfs_period_us
 *	2	cgroup.threads	cpu.max
 *
 * In version 1 a group's share must not be more than that of the group above it; so a thread loses
 * part of what it has, and not of a whole CPU.
 */

#include "cpu_group.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "cgroup_mount.h"
#include "files.h"

#include "wherry/assert.h"
#include "wherry/clock.h"
#include "wherry/fdpass.h"

#define PREFIX "wherry."

/* A thread that ends keeps its group busy for moments after it is gone from every list. */
#define REMOVE_TRIES 20
#define REMOVE_NS    (5 * WH_NSEC_PER_MSEC)

/* Threads that a thread starts are born in its group: those too go up, in another round. */
#define EMPTY_ROUNDS 8

static void closedirp(DIR **dir)
{
	if (*dir)
		(void)closedir(*dir); /* only read from */
}

static void ftsp(FTS **tree)
{
	if (*tree)
		(void)fts_close(*tree); /* only read from */
}

static const char *threads_file(const struct wh_cpu_tree *tree)
{
	return tree->v2 ? "cgroup.threads" : "tasks";
}

/* For people: from the root, as systemd-cgls writes it. */
static const char *shown(const char *path)
{
	return strcmp(path, ".") != 0 ? path : "/";
}

static int open_file(const struct wh_cpu_tree *tree, const char *path, const char *file, int flags)
{
	char name[WH_CPU_PATH_MAX + WH_NAME_MAX];
	int fd;

	(void)snprintf(name, sizeof(name), "%s/%s", path, file);
	fd = openat(tree->fd, name, flags | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

static int write_file(const struct wh_cpu_tree *tree, const char *path, const char *file,
                      const char *text)
{
	wh_cleanup(wh_closep) int fd = open_file(tree, path, file, O_WRONLY);

	if (fd < 0)
		return fd;
	return write(fd, text, strlen(text)) < 0 ? -errno : 0;
}

static int write_number(const struct wh_cpu_tree *tree, const char *path, const char *file,
                        long long value)
{
	char text[32];

	(void)snprintf(text, sizeof(text), "%lld", value);
	return write_file(tree, path, file, text);
}

/* Of what fits. Return: 0 or -errno. */
static int read_file(const struct wh_cpu_tree *tree, const char *path, const char *file, char *text,
                     size_t size)
{
	wh_cleanup(wh_closep) int fd = open_file(tree, path, file, O_RDONLY);
	ssize_t n;

	if (fd < 0)
		return fd;
	n = read(fd, text, size - 1);
	if (n < 0)
		return -errno;
	text[n] = '\0';
	return 0;
}

int wh_cpu_tree_open(struct wh_cpu_tree *ret, struct wh_error *err)
{
	int fd = wh_cgroup_mount_open("cpu", err);
	bool v2 = fd == -ENOENT;

	if (v2)
		fd = wh_cgroup_mount_open(NULL, err);
	if (fd == -ENOENT)
		return wh_fail(err, fd, "no cgroup hierarchy is mounted");
	if (fd < 0)
		return fd;
	*ret = (struct wh_cpu_tree){ .fd = fd, .v2 = v2 };
	return 0;
}

void wh_cpu_tree_close(struct wh_cpu_tree *tree)
{
	wh_closep(&tree->fd);
}

/* Lines read "4:cpu,cpuacct:/a/b", and "0::/a/b" is that of version 2. */
int wh_cpu_path_parse(char path[WH_CPU_PATH_MAX], const char *text, bool v2)
{
	for (const char *line = text; line && *line; line = strchr(line, '\n')) {
		char controllers[256] = "";
		int at = 0;

		line += *line == '\n';
		if (sscanf(line, "%*u:%n%255[^:\n]", &at, controllers) < 0 || at == 0)
			continue;
		at += (int)strlen(controllers);
		if (line[at] != ':' || line[at + 1] != '/')
			continue;
		if (v2 ? strncmp(line, "0::", 3) != 0 : !wh_cgroup_has_word(controllers, "cpu"))
			continue;
		line += at + 2;
		(void)snprintf(path, WH_CPU_PATH_MAX, "%.*s", (int)strcspn(line, "\n"), line);
		if (!strncmp(path, "../", 3) || !strcmp(path, ".."))
			return -EPROTO; /* outside of this process' cgroup namespace */
		if (!*path)
			(void)snprintf(path, WH_CPU_PATH_MAX, ".");
		return 0;
	}
	return -EPROTO;
}

unsigned wh_cpu_quota_parse(const char *text)
{
	long long quota;
	long long period;
	long long per_mille;

	/* NOLINTNEXTLINE(cert-err34-c): the kernel's */
	if (sscanf(text, "%lld %lld", &quota, &period) != 2 || quota < 0 || period <= 0)
		return 1000;
	per_mille = quota >= period ? 1000 : quota * 1000 / period;
	return per_mille < 1 ? 1 : (unsigned)per_mille;
}

/* What the cgroup @path itself leaves of a CPU. The root says nothing. */
static unsigned quota_of(const struct wh_cpu_tree *tree, const char *path)
{
	char quota[64];
	char period[64] = "";
	char both[sizeof(quota) + sizeof(period)];
	int r;

	if (tree->v2)
		r = read_file(tree, path, "cpu.max", quota, sizeof(quota));
	else
		r = read_file(tree, path, "cpu.cfs_quota_us", quota, sizeof(quota));
	if (r == 0 && !tree->v2)
		r = read_file(tree, path, "cpu.cfs_period_us", period, sizeof(period));
	if (r < 0)
		return 1000;
	(void)snprintf(both, sizeof(both), "%s %s", quota, period);
	return wh_cpu_quota_parse(both);
}

/* The smallest of what it and all cgroups above it leave. */
static unsigned have_in(const struct wh_cpu_tree *tree, const char *path)
{
	char at[WH_CPU_PATH_MAX];
	unsigned least = 1000;
	char *slash;

	(void)snprintf(at, sizeof(at), "%s", path);
	do {
		unsigned one = quota_of(tree, at);

		least = one < least ? one : least;
		slash = strrchr(at, '/');
		if (slash)
			*slash = '\0';
	} while (slash);
	return least;
}

/* Count the cgroups below @path: groups of this kind, whoever made them, and others. */
static int count_below(const struct wh_cpu_tree *tree, const char *path, unsigned *ours,
                       unsigned *others)
{
	wh_cleanup(closedirp) DIR *dir = NULL;
	const struct dirent *entry;
	int fd = open_file(tree, path, ".", O_RDONLY | O_DIRECTORY);

	dir = fd < 0 ? NULL : fdopendir(fd);
	if (!dir) {
		wh_closep(&fd);
		return -ENOENT;
	}
	*ours = *others = 0;
	while ((entry = readdir(dir))) {
		if (entry->d_type != DT_DIR || entry->d_name[0] == '.')
			continue;
		if (!strncmp(entry->d_name, PREFIX, strlen(PREFIX)))
			(*ours)++;
		else
			(*others)++;
	}
	return 0;
}

/* Split "a/b" into "a" and "b", and "b" into "." and "b". */
static void parent_of(char parent[WH_CPU_PATH_MAX], const char *path)
{
	char *slash;

	(void)snprintf(parent, WH_CPU_PATH_MAX, "%s", path);
	slash = strrchr(parent, '/');
	if (slash)
		*slash = '\0';
	else
		(void)snprintf(parent, WH_CPU_PATH_MAX, ".");
}

/* Version 2: see to it that the new group below @parent has the controller. */
static int enable(const struct wh_cpu_tree *tree, const char *parent, const char *path,
                  struct wh_error *err)
{
	unsigned ours;
	unsigned others;
	char text[64];
	int r = write_file(tree, path, "cgroup.type", "threaded");

	if (r < 0)
		return wh_fail(err, -EOPNOTSUPP,
		               "cgroup %s has processes or controllers below it, so its threads "
		               "cannot have cgroups of their own",
		               shown(parent));
	if (read_file(tree, path, "cpu.max", text, sizeof(text)) == 0)
		return 0;
	r = count_below(tree, parent, &ours, &others);
	if (r == 0 && others > 0)
		return wh_fail(err, -EOPNOTSUPP,
		               "cgroup %s has others below it, which do not have the controller "
		               "'cpu'",
		               shown(parent));
	if (r == 0)
		r = write_file(tree, parent, "cgroup.subtree_control", "+cpu");
	return r < 0 ? wh_fail(err, r, "cannot hand on the controller 'cpu' in cgroup %s: %s",
	                       shown(parent), strerror(-r))
	             : 0;
}

/* Once nobody is below @parent, nothing is handed on. Anybody who cares would be there. */
static void disable(const struct wh_cpu_tree *tree, const char *parent)
{
	unsigned ours;
	unsigned others;

	if (tree->v2 && count_below(tree, parent, &ours, &others) == 0 && ours + others == 0)
		(void)write_file(tree, parent, "cgroup.subtree_control", "-cpu");
}

static int check_offer(const struct wh_cpu_tree *tree, const char *parent, struct wh_error *err)
{
	char text[1024];
	int r;

	if (!tree->v2)
		return 0;
	r = read_file(tree, parent, "cgroup.controllers", text, sizeof(text));
	if (r < 0)
		return wh_fail(err, r, "cannot read cgroup %s: %s", shown(parent), strerror(-r));
	for (char *at = text; *at; at++)
		if (*at == ' ' || *at == '\n')
			*at = ',';
	if (!wh_cgroup_has_word(text, "cpu"))
		return wh_fail(err, -EOPNOTSUPP,
		               "cgroup %s does not have the controller 'cpu': its unit needs a "
		               "CPUWeight=, or Delegate=cpu",
		               shown(parent));
	return 0;
}

static int find_parent(char parent[WH_CPU_PATH_MAX], const struct wh_cpu_tree *tree,
                       struct wh_cpu_thread thread, struct wh_error *err)
{
	wh_cleanup(wh_freep) char *text = NULL;
	char path[64];
	size_t len;
	int r;

	(void)snprintf(path, sizeof(path), "/proc/%d/task/%d/cgroup", (int)thread.pid,
	               (int)thread.tid);
	r = wh_file_read(path, (size_t)16 * WH_CPU_PATH_MAX, &text, &len, NULL);
	if (r < 0)
		return wh_fail(err, -ESRCH, "process %d has no thread %d here", (int)thread.pid,
		               (int)thread.tid);
	if (wh_cpu_path_parse(parent, text, tree->v2) < 0)
		return wh_fail(err, -EOPNOTSUPP, "the cgroup of thread %d cannot be seen from here",
		               (int)thread.tid);
	return 0;
}

int wh_cpu_group_make(struct wh_cpu_group *ret, const struct wh_cpu_tree *tree, const char *id,
                      struct wh_cpu_thread thread, struct wh_error *err)
{
	struct wh_cpu_group group = { 0 };
	char parent[WH_CPU_PATH_MAX];
	int r = find_parent(parent, tree, thread, err);

	if (r == 0)
		r = check_offer(tree, parent, err);
	if (r < 0)
		return r;

	wh_assert(asprintf(&group.path, "%s/" PREFIX "%s.%d", parent, id, (int)thread.tid) > 0);
	group.have_per_mille = have_in(tree, parent);
	if (mkdirat(tree->fd, group.path, 0755) < 0) {
		r = wh_fail(err, -errno, "cannot make cgroup %s: %s", group.path, strerror(errno));
		free(group.path);
		return r;
	}
	if (tree->v2)
		r = enable(tree, parent, group.path, err);
	if (r == 0) {
		r = write_number(tree, group.path, threads_file(tree), thread.tid);
		if (r < 0)
			(void)wh_fail(err, r, "cannot move thread %d into cgroup %s: %s",
			              (int)thread.tid, group.path, strerror(-r));
	}
	if (r < 0) {
		(void)wh_cpu_group_undo(&group, tree, NULL); /* the first failure is told */
		return r;
	}
	*ret = group;
	return 0;
}

static int set_quota(const struct wh_cpu_tree *tree, const char *path,
                     struct wh_throttle_quota quota)
{
	char text[64];
	int r;

	if (tree->v2) {
		(void)snprintf(text, sizeof(text), "%u %u", quota.quota_us, quota.period_us);
		return write_file(tree, path, "cpu.max", text);
	}
	/* Each write must be a share that is allowed. Without a quota, every period is. */
	r = write_number(tree, path, "cpu.cfs_quota_us", -1);
	if (r == 0)
		r = write_number(tree, path, "cpu.cfs_period_us", quota.period_us);
	if (r == 0)
		r = write_number(tree, path, "cpu.cfs_quota_us", quota.quota_us);
	return r;
}

static int set_no_quota(const struct wh_cpu_tree *tree, const char *path)
{
	if (tree->v2)
		return write_file(tree, path, "cpu.max", "max");
	return write_number(tree, path, "cpu.cfs_quota_us", -1);
}

int wh_cpu_group_slow(const struct wh_cpu_group *group, const struct wh_cpu_tree *tree,
                      unsigned percent, struct wh_error *err)
{
	int r = percent == 0 ? set_no_quota(tree, group->path)
	                     : set_quota(tree, group->path,
	                                 wh_throttle_quota(percent, group->have_per_mille));

	return r < 0 ? wh_fail(err, r, "cannot set the quota of cgroup %s: %s", group->path,
	                       strerror(-r))
	             : 0;
}

/* Move all threads up. Return: 0 or -errno; a thread that ends meanwhile is moved enough. */
static int move_up(const struct wh_cpu_tree *tree, const char *path, const char *parent)
{
	for (int round = 0; round < EMPTY_ROUNDS; round++) {
		char text[WH_CPU_PATH_MAX];
		char *save = NULL;
		char *end;
		int r = read_file(tree, path, threads_file(tree), text, sizeof(text));

		if (r < 0 || !*text)
			return r;
		/* Where the text was cut off, the last number may be another thread's. */
		end = strrchr(text, '\n');
		if (end)
			*end = '\0';
		for (char *tid = strtok_r(text, "\n", &save); tid;
		     tid = strtok_r(NULL, "\n", &save)) {
			r = write_file(tree, parent, threads_file(tree), tid);
			if (r < 0 && r != -ESRCH)
				return r;
		}
	}
	return 0;
}

static int remove_group(const struct wh_cpu_tree *tree, const char *path)
{
	const struct timespec pause = { .tv_nsec = (long)REMOVE_NS };

	for (int i = 0; i < REMOVE_TRIES; i++) {
		if (unlinkat(tree->fd, path, AT_REMOVEDIR) == 0 || errno == ENOENT)
			return 0;
		if (errno != EBUSY)
			return -errno;
		(void)nanosleep(&pause, NULL); /* another try tells whether it was long enough */
	}
	return -EBUSY;
}

int wh_cpu_group_undo(struct wh_cpu_group *group, const struct wh_cpu_tree *tree,
                      struct wh_error *err)
{
	wh_cleanup(wh_freep) char *path = wh_steal(group->path);
	char parent[WH_CPU_PATH_MAX];
	int r;

	if (!path)
		return 0;
	parent_of(parent, path);
	(void)set_no_quota(tree, path); /* where a thread goes there is none of ours */
	r = move_up(tree, path, parent);
	if (r == 0)
		r = remove_group(tree, path);
	if (r < 0 && r != -ENOENT && r != -ENODEV)
		return wh_fail(err, r, "cannot remove cgroup %s: %s", path, strerror(-r));
	disable(tree, parent);
	return 0;
}

/* Looks at names only, so that other people's groups are no more than passed by. */
int wh_cpu_group_sweep(const struct wh_cpu_tree *tree, const char *id, struct wh_error *err)
{
	wh_cleanup(ftsp) FTS *walk = NULL;
	char root[64];
	char prefix[sizeof(PREFIX) + WH_NAME_MAX];
	char *const roots[] = { root, NULL };
	const FTSENT *entry;
	int failure = 0;
	int undone = 0;

	(void)snprintf(root, sizeof(root), "/proc/self/fd/%d", tree->fd);
	(void)snprintf(prefix, sizeof(prefix), PREFIX "%s.", id);
	walk = fts_open(roots, FTS_PHYSICAL | FTS_COMFOLLOW | FTS_NOCHDIR | FTS_NOSTAT, NULL);
	if (!walk)
		return wh_fail(err, -errno, "cannot look through the cgroups: %s", strerror(errno));
	while ((entry = fts_read(walk))) {
		struct wh_cpu_group group;

		if (entry->fts_info != FTS_DP ||
		    strncmp(entry->fts_name, prefix, strlen(prefix)) != 0)
			continue;
		group.path = strdup(entry->fts_path + strlen(root) + 1);
		wh_assert(group.path);
		if (wh_cpu_group_undo(&group, tree, failure ? NULL : err) < 0)
			failure = failure ? failure : -EBUSY;
		else
			undone++;
	}
	return failure ? failure : undone;
}
