/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What auto-converge relies upon: one thread of a process can be put into a cgroup below the one that
 * it is in, get a quota there, and be put back, as if nothing had been; its siblings do not notice.
 *
 * The controller "cpu" is in a hierarchy of version 1 on hybrid hosts, else in that of version 2,
 * and there this holds for a cgroup
 *
 *	that has the controller on offer, and
 *	that has no cgroup with processes below it.
 *
 * That the quota bites is seen in cpu.stat, which counts the periods in which it did. The probe's
 * cgroups are removed by a process that only waits for the test, so also when that is killed.
 */

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tap.h"

#define PATH_BYTES 512
#define WAIT_S     10     /* long enough for anything that happens at all */
#define QUOTA_US   "1000" /* of 20 ms: a thread that spins runs into it at once */
#define PERIOD_US  "20000"
#define WORK_STEP  (1u << 20)

static bool v2;
static atomic_uint work; /* steps of the thread that spins */
static atomic_int worker_tid;

/* Where the hierarchy with the controller is: as in probe_cgroup_sockets, but also of version 1. */
static bool find_hierarchy(char *path)
{
	FILE *mounts = fopen("/proc/self/mountinfo", "re");
	char line[4096];
	char point[PATH_BYTES];
	bool found_v1 = false;

	tap_need(mounts, "/proc/self/mountinfo");
	*path = '\0';
	while (!found_v1 && fgets(line, sizeof(line), mounts)) {
		const char *type = strstr(line, " - cgroup");
		char options[256];
		char list[sizeof(options) + 2];

		if (!type || sscanf(line, "%*s %*s %*s %*s %511s", point) != 1)
			continue;
		if (sscanf(type, " - cgroup %*s %250s", options) == 1) {
			(void)snprintf(list, sizeof(list), ",%s,", options);
			found_v1 = strstr(list, ",cpu,");
		}
		if (found_v1 || !strncmp(type, " - cgroup2 ", 11))
			(void)snprintf(path, PATH_BYTES, "%s", point);
	}
	(void)fclose(mounts);
	v2 = !found_v1;
	return *path;
}

static int put(const char *cgroup, const char *file, const char *text)
{
	char path[2 * PATH_BYTES];
	ssize_t n;
	int fd;

	(void)snprintf(path, sizeof(path), "%s/%s", cgroup, file);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	n = write(fd, text, strlen(text));
	n = n < 0 ? -errno : 0;
	(void)close(fd);
	return (int)n;
}

static void get(char *text, size_t size, const char *cgroup, const char *file)
{
	char path[2 * PATH_BYTES];
	ssize_t n;
	int fd;

	(void)snprintf(path, sizeof(path), "%s/%s", cgroup, file);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	tap_need(fd >= 0, path);
	n = read(fd, text, size - 1);
	tap_need(n >= 0, path);
	text[n] = '\0';
	(void)close(fd);
}

static int put_thread(const char *cgroup, int tid)
{
	char text[32];

	(void)snprintf(text, sizeof(text), "%d", tid);
	return put(cgroup, v2 ? "cgroup.threads" : "tasks", text);
}

static int put_quota(const char *cgroup, bool on)
{
	int r;

	if (v2)
		return put(cgroup, "cpu.max", on ? QUOTA_US " " PERIOD_US : "max");
	r = put(cgroup, "cpu.cfs_quota_us", "-1");
	if (r == 0 && on)
		r = put(cgroup, "cpu.cfs_period_us", PERIOD_US);
	if (r == 0 && on)
		r = put(cgroup, "cpu.cfs_quota_us", QUOTA_US);
	return r;
}

static unsigned long throttled_periods(const char *cgroup)
{
	char text[1024];
	const char *at;

	get(text, sizeof(text), cgroup, "cpu.stat");
	at = strstr(text, "nr_throttled ");
	return at ? strtoul(at + strlen("nr_throttled "), NULL, 10) : 0;
}

static bool is_in(int tid, const char *cgroup)
{
	const char *name = strrchr(cgroup, '/');
	char path[64];
	char text[4096];

	(void)snprintf(path, sizeof(path), "/proc/self/task/%d", tid);
	get(text, sizeof(text), path, "cgroup");
	for (char *at = strstr(text, name); at; at = strstr(at + 1, name))
		if (at[strlen(name)] == '\n')
			return true;
	return false;
}

static void *spin(void *unused)
{
	(void)unused;
	atomic_store(&worker_tid, (int)syscall(SYS_gettid));
	/* This ends: with the process. */
	for (unsigned i = 1;; i++)
		if (i % WORK_STEP == 0)
			atomic_fetch_add(&work, 1);
	return NULL;
}

static void nap(void)
{
	const struct timespec ms = { .tv_nsec = 1000000 };

	(void)nanosleep(&ms, NULL); /* a short one does no harm */
}

static bool runs_on(void)
{
	unsigned before = atomic_load(&work);

	for (int i = 0; i < WAIT_S * 1000; i++, nap())
		if (atomic_load(&work) > before + 1)
			return true;
	return false;
}

static bool is_held_back(const char *cgroup)
{
	unsigned long before = throttled_periods(cgroup);

	for (int i = 0; i < WAIT_S * 1000; i++, nap())
		if (throttled_periods(cgroup) > before + 2)
			return true;
	return false;
}

/* Version 2: what it takes, and what it does not do to the cgroup above. */
static void test_threaded(const char *group, const char *below)
{
	char text[256];

	tap_ok(put(below, "cgroup.type", "threaded") == 0,
	       "a cgroup below one with processes can be threaded");
	tap_ok(put(group, "cgroup.subtree_control", "+cpu") == 0,
	       "and gets the controller, although there are processes in the one above");
	get(text, sizeof(text), group, "cgroup.type");
	tap_ok(!strcmp(text, "domain threaded\n"), "which is the domain of its threads now");
}

static void test_thread(const char *group, const char *below, int tid)
{
	tap_ok(put_thread(below, tid) == 0 && is_in(tid, below), "a thread is moved alone");
	tap_ok(is_in((int)getpid(), group), "and its siblings stay");
	tap_ok(put_quota(below, true) == 0 && is_held_back(below), "a quota holds it back");
	tap_ok(throttled_periods(group) == 0, "and not its siblings");
	tap_ok(runs_on(), "it goes on, slowly");
	tap_ok(put_quota(below, false) == 0 && runs_on(), "without the quota it goes on");
	tap_ok(put_quota(below, true) == 0 && is_held_back(below), "with a quota again,");
	tap_ok(put_thread(group, tid) == 0 && is_in(tid, group) && runs_on(),
	       "it is put back, and goes on");
	tap_ok(rmdir(below) == 0, "its cgroup can be removed at once");
}

static void test_populated(const char *group)
{
	char below[PATH_BYTES + 128];
	char other[PATH_BYTES + 128];
	char pid[32];
	int alive[2];
	pid_t child;

	(void)snprintf(below, sizeof(below), "%s/below", group);
	(void)snprintf(other, sizeof(other), "%s/other", group);
	tap_need(pipe(alive) == 0 && mkdir(other, 0755) == 0, other);
	child = fork();
	if (child == 0) {
		char nothing;

		(void)close(alive[1]);
		_exit((int)read(alive[0], &nothing, 1)); /* until the parent lets go, or dies */
	}
	(void)snprintf(pid, sizeof(pid), "%d", (int)child);
	tap_need(put(other, "cgroup.procs", pid) == 0 && mkdir(below, 0755) == 0, other);
	tap_ok(put(below, "cgroup.type", "threaded") == -EOPNOTSUPP,
	       "where a cgroup with processes is below it, it cannot be: EOPNOTSUPP");
	(void)close(alive[1]);
	tap_need(waitpid(child, NULL, 0) == child, "waitpid");
	tap_need(rmdir(below) == 0 && rmdir(other) == 0, other);
}

static int test_in(const char *group)
{
	char below[PATH_BYTES + 128];
	char text[256];
	pthread_t thread;
	int tid;

	tap_need(put(group, "cgroup.procs", "0") == 0, group);
	tap_need(pthread_create(&thread, NULL, spin, NULL) == 0, "pthread_create");
	while ((tid = atomic_load(&worker_tid)) == 0)
		nap();
	(void)snprintf(below, sizeof(below), "%s/below", group);
	tap_need(mkdir(below, 0755) == 0, below);
	if (v2)
		test_threaded(group, below);
	test_thread(group, below, tid);
	if (v2) {
		tap_ok(put(group, "cgroup.subtree_control", "-cpu") == 0,
		       "then the controller can be taken back,");
		get(text, sizeof(text), group, "cgroup.type");
		tap_ok(!strcmp(text, "domain\n"), "and the cgroup above is what it was");
		test_populated(group);
	}
	return tap_done();
}

static void run_test(const char *group)
{
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	(void)signal(SIGINT, SIG_DFL);
	(void)signal(SIGTERM, SIG_DFL);
	tap_exit(test_in(group));
}

/* What is left of it if the test was killed. */
static void remove_all(const char *group)
{
	static const char *const below[] = { "/below", "/other", "" };

	for (size_t i = 0; i < sizeof(below) / sizeof(*below); i++) {
		char path[PATH_BYTES + 128];

		(void)snprintf(path, sizeof(path), "%s%s", group, below[i]);
		for (int tries = 0; rmdir(path) < 0 && errno == EBUSY && tries < 1000; tries++)
			nap();
	}
}

int main(void)
{
	char root[PATH_BYTES];
	char group[PATH_BYTES + 64];
	char text[1024] = "";
	int status = 0;
	pid_t pid;

	if (geteuid() != 0 || !find_hierarchy(root))
		tap_skip_all("cgroups, or the right to use them");
	if (v2)
		get(text, sizeof(text), root, "cgroup.subtree_control");
	if (v2 && !strstr(text, "cpu ") && !strstr(text, "cpu\n"))
		tap_skip_all("the controller 'cpu', handed on by the root of cgroup v2");
	(void)printf("# version %d, at %s\n", v2 ? 2 : 1, root);
	(void)fflush(stdout);
	(void)snprintf(group, sizeof(group), "%s/wherry-probe-%d", root, (int)getpid());
	(void)signal(SIGINT, SIG_IGN);
	(void)signal(SIGTERM, SIG_IGN);
	tap_need(mkdir(group, 0755) == 0, group);

	pid = fork();
	if (pid == 0)
		run_test(group);
	(void)waitpid(pid, &status, 0);
	remove_all(group);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
