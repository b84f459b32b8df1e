/* SPDX-License-Identifier: Apache-2.0 */

/* Leaves: made, entered, killed, removed, and swept when an earlier daemon left them. */

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "lab.h"
#include "wherry/clock.h"
#include "wherry/fdpass.h"

#define PATIENCE_NS (2 * WH_NSEC_PER_SEC)

static const struct lab *lab;

static uint64_t soon(void)
{
	return wh_now_ns(&wh_clock_monotonic) + PATIENCE_NS;
}

static int wait_for_ever(void *arg)
{
	(void)arg;
	while (pause() < 0)
		; /* this ends when the test kills it */
	return 0;
}

/* Fork before the kill, so that there is more than one to find. */
static int fork_and_wait(void *ready)
{
	if (fork() < 0 || write(*(int *)ready, "", 1) != 1)
		return 1;
	return wait_for_ever(NULL);
}

static bool leaf_exists(const char *name)
{
	return faccessat(lab->parent_fd, name, F_OK, 0) == 0;
}

static void a_child_enters_through_its_descriptor(void **state)
{
	struct stat st;
	pid_t pid;
	char text[64] = { 0 };
	int fd;

	(void)state;
	pid = lab_spawn(lab, wait_for_ever, NULL);

	/* The child moves itself in; wait until it has. */
	assert_int_equal(fstat(lab->leaf->dir_fd, &st), 0);
	for (int i = 0; i < 200 && !text[0]; i++) {
		fd = openat(lab->leaf->dir_fd, "cgroup.procs", O_RDONLY | O_CLOEXEC);
		assert_true(read(fd, text, sizeof(text) - 1) >= 0);
		wh_closep(&fd);
		(void)usleep(5000);
	}
	assert_int_equal(strtol(text, NULL, 10), pid);

	assert_int_equal(wh_cgroup_kill(lab->leaf, soon(), NULL), 0);
	assert_int_equal(lab_wait(pid), -1);
}

static void killing_takes_children_and_waits(void **state)
{
	wh_cleanup(wh_cgroup_closep) struct wh_cgroup *group = NULL;
	struct lab here = *lab;
	char byte[2];
	int ready[2];
	pid_t pid;

	(void)state;
	assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
	assert_int_equal(wh_cgroup_create(&group, lab->parent_fd, "family", NULL), 0);
	here.leaf = group;
	pid = lab_spawn(&here, fork_and_wait, &ready[1]);
	assert_int_equal(read(ready[0], byte, 1), 1);
	assert_int_equal(read(ready[0], byte, 1), 1);

	assert_int_equal(wh_cgroup_remove(group, NULL), -EBUSY);
	assert_int_equal(wh_cgroup_kill(group, soon(), NULL), 0);
	assert_int_equal(wh_cgroup_remove(group, NULL), 0);

	assert_false(leaf_exists("family"));
	assert_int_equal(wh_cgroup_remove(group, NULL), 0);
	assert_int_equal(lab_wait(pid), -1);
	wh_closep(&ready[0]);
	wh_closep(&ready[1]);
}

static void names_are_checked(void **state)
{
	wh_cleanup(wh_cgroup_closep) struct wh_cgroup *group = NULL;
	struct wh_error err;
	int fd = -1;

	(void)state;
	assert_int_equal(wh_cgroup_create(&group, lab->parent_fd, "..", &err), -EINVAL);
	assert_int_equal(wh_cgroup_create(&group, lab->parent_fd, "a/b", &err), -EINVAL);
	assert_int_equal(wh_cgroup_create(&group, lab->parent_fd, "", &err), -EINVAL);
	assert_int_equal(wh_cgroup_create(&group, lab->parent_fd, "leaf", &err), -EEXIST);
	assert_string_equal(err.text, "cannot make cgroup leaf: File exists");
	assert_int_equal(wh_cgroup_open(&group, lab->parent_fd, "none", &err), -ENOENT);
	assert_int_equal(wh_cgroup_open_parent(&fd, "../escape", &err), -EINVAL);

	assert_null(group);
	assert_int_equal(fd, -1);
}

static void a_leaf_stays_a_leaf(void **state)
{
	(void)state;
	assert_int_equal(mkdirat(lab->leaf->dir_fd, "below", 0755), -1);
	assert_int_equal(errno, EAGAIN);
}

static void sweeping_finds_what_was_left(void **state)
{
	wh_cleanup(wh_cgroup_closep) struct wh_cgroup *running = NULL;
	wh_cleanup(wh_cgroup_closep) struct wh_cgroup *empty = NULL;
	wh_cleanup(wh_closep) int parent_fd = -1;
	struct lab here = *lab;
	pid_t pid;

	(void)state;
	parent_fd = dup(lab->parent_fd);
	assert_int_equal(wh_cgroup_create(&running, parent_fd, "old-1", NULL), 0);
	assert_int_equal(wh_cgroup_create(&empty, parent_fd, "old-2", NULL), 0);
	here.leaf = running;
	pid = lab_spawn(&here, wait_for_ever, NULL);

	/* The lab's own leaf is the third. */
	assert_int_equal(wh_cgroup_sweep(parent_fd, soon(), NULL), 3);

	assert_false(leaf_exists("old-1"));
	assert_false(leaf_exists("old-2"));
	assert_int_not_equal(lab_wait(pid), 0);
	assert_int_equal(wh_cgroup_sweep(parent_fd, soon(), NULL), 0);
}

static int body(const struct lab *where)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_child_enters_through_its_descriptor),
		cmocka_unit_test(killing_takes_children_and_waits),
		cmocka_unit_test(names_are_checked),
		cmocka_unit_test(a_leaf_stays_a_leaf),
		cmocka_unit_test(sweeping_finds_what_was_left),
	};

	lab = where;
	return cmocka_run_group_tests_name("cgroup", tests, NULL, NULL);
}

int main(void)
{
	return lab_run("cgroup", body);
}
