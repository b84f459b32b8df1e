/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Threads of another process are slowed, and put back as if nothing had been, on whichever version of
 * cgroups this kernel has the controller in. Whether a quota holds a thread back is probe_cpu_quota's.
 *
 * The cgroups are removed by a process that only waits for the tests, so also when those are killed.
 */

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "cpu_group.h"
#include "throttle.h"

#include "wherry/fdpass.h"

#define THREADS   2
#define ID        "db1-00c0ffee"
#define EXIT_SKIP 77

struct fixture {
	pid_t pid; /* of the process whose threads are slowed */
	pid_t tids[THREADS];
};

static struct wh_cpu_tree tree = { .fd = -1 };
static char group[64];

static void put_at(const char *path, const char *text)
{
	wh_cleanup(wh_closep) int fd = openat(tree.fd, path, O_WRONLY | O_CLOEXEC);

	assert_true(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
}

static void get_at(char *text, size_t size, const char *path)
{
	wh_cleanup(wh_closep) int fd = openat(tree.fd, path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	assert_true(fd >= 0);
	n = read(fd, text, size - 1);
	assert_true(n >= 0);
	text[n] = '\0';
}

/* @file of the cgroup, or of the group of thread @tid below it if that is not 0. */
static const char *in_group(pid_t tid, const char *file)
{
	static char path[256];

	if (tid == 0)
		(void)snprintf(path, sizeof(path), "%s/%s", group, file);
	else
		(void)snprintf(path, sizeof(path), "%s/wherry." ID ".%d/%s", group, (int)tid, file);
	return path;
}

static void *tell_and_sleep(void *fd)
{
	pid_t tid = (pid_t)syscall(SYS_gettid);

	if (write(*(int *)fd, &tid, sizeof(tid)) == sizeof(tid))
		(void)pause();
	return NULL;
}

/* Its leader is no vCPU. */
static void be_hypervisor(int fd)
{
	pthread_t threads[THREADS];

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (int i = 0; i < THREADS; i++)
		if (pthread_create(&threads[i], NULL, tell_and_sleep, &fd) != 0)
			_exit(1);
	for (;;)
		(void)pause(); /* until it is killed */
}

static int start_hypervisor(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	char pid[16];
	int told[2];

	assert_non_null(f);
	assert_int_equal(pipe2(told, O_CLOEXEC), 0);
	f->pid = fork();
	if (f->pid == 0)
		be_hypervisor(told[1]);
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(read(told[0], &f->tids[i], sizeof(pid_t)), sizeof(pid_t));
	(void)close(told[0]);
	(void)close(told[1]);
	(void)snprintf(pid, sizeof(pid), "%d", (int)f->pid);
	put_at(in_group(0, "cgroup.procs"), pid);
	*state = f;
	return 0;
}

static void end_hypervisor(struct fixture *f)
{
	if (f->pid > 0) {
		assert_int_equal(kill(f->pid, SIGKILL), 0);
		assert_int_equal(waitpid(f->pid, NULL, 0), f->pid);
	}
	f->pid = 0;
}

static int stop_hypervisor(void **state)
{
	end_hypervisor(*state);
	free(*state);
	return 0;
}

static struct wh_throttle *open_throttle(const struct fixture *f)
{
	const struct wh_throttle_config cfg = {
		.id = ID, .pid = f->pid, .threads = f->tids, .count = THREADS
	};
	struct wh_throttle *throttle = NULL;
	struct wh_error err = { "" };

	if (wh_throttle_open(&throttle, &cfg, &err) < 0)
		fail_msg("%s", err.text);
	return throttle;
}

static bool holds(const char *path, pid_t tid)
{
	char text[1024];
	char *save = NULL;

	get_at(text, sizeof(text), path);
	for (char *word = strtok_r(text, "\n", &save); word; word = strtok_r(NULL, "\n", &save))
		if (strtol(word, NULL, 10) == tid)
			return true;
	return false;
}

static const char *threads_file(void)
{
	return tree.v2 ? "cgroup.threads" : "tasks";
}

/* As if nothing had been: every thread is in the cgroup, which has none below it. */
static void assert_untouched(const struct fixture *f)
{
	char text[64];
	struct stat st;

	for (int i = 0; i < THREADS; i++) {
		assert_int_not_equal(fstatat(tree.fd, in_group(f->tids[i], "."), &st, 0), 0);
		if (f->pid > 0)
			assert_true(holds(in_group(0, threads_file()), f->tids[i]));
	}
	if (!tree.v2)
		return;
	get_at(text, sizeof(text), in_group(0, "cgroup.type"));
	assert_string_equal(text, "domain\n");
	get_at(text, sizeof(text), in_group(0, "cgroup.subtree_control"));
	assert_null(strstr(text, "cpu"));
}

static void assert_quota(pid_t tid, const char *quota, const char *period)
{
	char text[64];
	char wanted[64];

	if (tree.v2) {
		get_at(text, sizeof(text), in_group(tid, "cpu.max"));
		(void)snprintf(wanted, sizeof(wanted), "%s %s\n", quota, period);
		assert_string_equal(text, wanted);
		return;
	}
	get_at(text, sizeof(text), in_group(tid, "cpu.cfs_quota_us"));
	assert_int_equal(strtol(text, NULL, 10),
	                 strcmp(quota, "max") != 0 ? strtol(quota, NULL, 10) : -1);
	get_at(text, sizeof(text), in_group(tid, "cpu.cfs_period_us"));
	assert_int_equal(strtol(text, NULL, 10), strtol(period, NULL, 10));
}

static void slows_each_thread_in_a_group_of_its_own_and_puts_it_back(void **state)
{
	const struct fixture *f = *state;
	struct wh_throttle *throttle = open_throttle(f);
	struct wh_error err;

	for (int i = 0; i < THREADS; i++)
		assert_true(holds(in_group(f->tids[i], threads_file()), f->tids[i]));
	assert_true(holds(in_group(0, threads_file()), f->pid));
	assert_int_equal(wh_throttle_set(throttle, 40, &err), 0);
	for (int i = 0; i < THREADS; i++)
		assert_quota(f->tids[i], "12000", "20000");
	assert_int_equal(wh_throttle_set(throttle, 99, &err), 0);
	assert_quota(f->tids[0], "1000", "100000");
	assert_int_equal(wh_throttle_set(throttle, 0, &err), 0);
	assert_quota(f->tids[0], "max", "100000");

	assert_int_equal(wh_throttle_close(throttle, &err), 0);

	assert_untouched(f);
}

static void takes_a_part_of_what_a_quota_above_leaves(void **state)
{
	const struct fixture *f = *state;
	struct wh_throttle *throttle;
	struct wh_error err;

	if (tree.v2)
		put_at(in_group(0, "cpu.max"), "50000 100000");
	else
		put_at(in_group(0, "cpu.cfs_quota_us"), "50000");
	throttle = open_throttle(f);

	assert_int_equal(wh_throttle_set(throttle, 50, &err), 0);

	assert_quota(f->tids[0], "5000", "20000");
	assert_int_equal(wh_throttle_close(throttle, &err), 0);
	put_at(in_group(0, tree.v2 ? "cpu.max" : "cpu.cfs_quota_us"), tree.v2 ? "max" : "-1");
	assert_untouched(f);
}

static void a_sweep_finds_the_groups_of_one_migration(void **state)
{
	const struct fixture *f = *state;
	struct wh_throttle *throttle = open_throttle(f);
	struct wh_error err;

	assert_int_equal(wh_throttle_set(throttle, 90, &err), 0);
	assert_int_equal(wh_throttle_sweep("db1-00c0ffe", &err), 0);
	assert_int_equal(wh_throttle_sweep(ID, &err), THREADS);

	assert_untouched(f);
	assert_int_equal(wh_throttle_sweep(ID, &err), 0);
	assert_int_equal(wh_throttle_close(throttle, &err), 0); /* there is nothing to do */
	assert_untouched(f);
}

static void groups_are_removed_when_their_threads_are_gone(void **state)
{
	struct fixture *f = *state;
	struct wh_throttle *throttle = open_throttle(f);
	struct wh_error err;

	end_hypervisor(f);

	assert_int_equal(wh_throttle_close(throttle, &err), 0);
	assert_untouched(f);
}

static void a_thread_of_another_process_is_refused(void **state)
{
	const struct fixture *f = *state;
	const pid_t threads[] = { f->tids[0], getpid() };
	const struct wh_throttle_config cfg = {
		.id = ID, .pid = f->pid, .threads = threads, .count = 2
	};
	struct wh_throttle *throttle = NULL;
	struct wh_error err;

	assert_int_equal(wh_throttle_open(&throttle, &cfg, &err), -ESRCH);

	assert_null(throttle);
	assert_non_null(strstr(err.text, "has no thread"));
	assert_untouched(f);
}

static void a_thread_that_is_named_twice_has_one_group(void **state)
{
	const struct fixture *f = *state;
	const pid_t threads[] = { f->tids[0], f->tids[0] };
	const struct wh_throttle_config cfg = {
		.id = ID, .pid = f->pid, .threads = threads, .count = 2
	};
	struct wh_throttle *throttle = NULL;
	struct wh_error err;

	assert_int_equal(wh_throttle_open(&throttle, &cfg, &err), 0);
	assert_int_equal(wh_throttle_close(throttle, &err), 0);
	assert_untouched(f);
}

/* Version 2: the remedy is in the words. */
static void says_what_a_cgroup_without_the_controller_needs(void **state)
{
	const struct fixture *f = *state;
	const struct wh_throttle_config cfg = {
		.id = ID, .pid = f->pid, .threads = f->tids, .count = THREADS
	};
	struct wh_throttle *throttle = NULL;
	struct wh_error err;
	char inner[80];
	char pid[16];

	if (!tree.v2)
		skip();
	(void)snprintf(inner, sizeof(inner), "%s/inner", group);
	(void)snprintf(pid, sizeof(pid), "%d", (int)f->pid);
	assert_int_equal(mkdirat(tree.fd, inner, 0755), 0);
	put_at(in_group(0, "inner/cgroup.procs"), pid);

	assert_int_equal(wh_throttle_open(&throttle, &cfg, &err), -EOPNOTSUPP);

	assert_non_null(strstr(err.text, "inner does not have the controller 'cpu'"));
	assert_non_null(strstr(err.text, "CPUWeight="));
	put_at(in_group(0, "cgroup.procs"), pid);
	assert_int_equal(unlinkat(tree.fd, inner, AT_REMOVEDIR), 0);
	assert_untouched(f);
}

static void test_all(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, start_hypervisor, stop_hypervisor)
		TEST(slows_each_thread_in_a_group_of_its_own_and_puts_it_back),
		TEST(takes_a_part_of_what_a_quota_above_leaves),
		TEST(a_sweep_finds_the_groups_of_one_migration),
		TEST(groups_are_removed_when_their_threads_are_gone),
		TEST(a_thread_of_another_process_is_refused),
		TEST(a_thread_that_is_named_twice_has_one_group),
		TEST(says_what_a_cgroup_without_the_controller_needs),
	};

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	(void)signal(SIGINT, SIG_DFL);
	(void)signal(SIGTERM, SIG_DFL);
	exit(cmocka_run_group_tests_name("cpu_group", tests, NULL, NULL)); /* NOLINT: one thread */
}

/* Return: whether there is a hierarchy in which a cgroup can have a quota. */
static bool is_usable(void)
{
	struct wh_error err;
	char text[256];

	if (geteuid() != 0 || wh_cpu_tree_open(&tree, &err) < 0)
		return false;
	if (!tree.v2)
		return true;
	get_at(text, sizeof(text), "cgroup.subtree_control");
	return strstr(text, "cpu ") || strstr(text, "cpu\n");
}

int main(void)
{
	const struct timespec pause = { .tv_nsec = 1000000 };
	struct wh_error err;
	int status = 0;
	pid_t pid;

	if (!is_usable()) {
		(void)puts(
			"skipped: no cgroup hierarchy hands on the controller 'cpu', or no right to use it");
		return EXIT_SKIP;
	}
	(void)snprintf(group, sizeof(group), "wherry-test-%d", (int)getpid());
	(void)signal(SIGINT, SIG_IGN);
	(void)signal(SIGTERM, SIG_IGN);
	if (mkdirat(tree.fd, group, 0755) < 0) {
		perror(group);
		return EXIT_FAILURE;
	}
	pid = fork();
	if (pid == 0)
		test_all();
	(void)waitpid(pid, &status, 0);
	if (wh_throttle_sweep(ID, &err) < 0)
		(void)fprintf(stderr, "%s\n", err.text);
	for (int i = 0; unlinkat(tree.fd, group, AT_REMOVEDIR) < 0 && i < 1000; i++)
		(void)nanosleep(&pause, NULL); /* processes that were killed take a moment */
	return WIFEXITED(status) ? WEXITSTATUS(status) : EXIT_FAILURE;
}
