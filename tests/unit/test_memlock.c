/* SPDX-License-Identifier: Apache-2.0 */

/* Each case runs in a process of its own, without the capabilities that would make it pass. */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "memlock.h"

#define MIB    (UINT64_C(1) << 20)
#define NOBODY 65534

/* What a child without privilege finds; told by its exit code, since cmocka is the parent's. */
static int run(int (*body)(void), rlim_t soft, rlim_t hard)
{
	const struct rlimit limit = { .rlim_cur = soft, .rlim_max = hard };
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (pid == 0) {
		if (setrlimit(RLIMIT_MEMLOCK, &limit) < 0 ||
		    (geteuid() == 0 && setresuid(NOBODY, NOBODY, NOBODY) < 0))
			_exit(77);
		_exit(body());
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static int asks_for_4(void)
{
	struct rlimit limit;

	if (wh_memlock_allow(4 * MIB, NULL) != 0 || getrlimit(RLIMIT_MEMLOCK, &limit) < 0)
		return EXIT_FAILURE;
	return wh_memlock_bytes() == limit.rlim_cur && limit.rlim_cur >= 4 * MIB ? EXIT_SUCCESS
	                                                                         : EXIT_FAILURE;
}

static int is_refused_4(void)
{
	struct wh_error err = { "" };

	if (wh_memlock_allow(4 * MIB, &err) != -EPERM || wh_memlock_bytes() != MIB)
		return EXIT_FAILURE;
	return strcmp(err.text,
	              "RLIMIT_MEMLOCK is 1 MiB, but 4 MiB are needed: set "
	              "LimitMEMLOCK=infinity in wherryd's unit, give it CAP_IPC_LOCK, or lower "
	              "rdma.pinnedMiB") == 0
	               ? EXIT_SUCCESS
	               : EXIT_FAILURE;
}

/* Without privilege, which also root may lack, the hard limit can only be lowered. */
static void skip_below(rlim_t bytes)
{
	struct rlimit limit;

	assert_int_equal(getrlimit(RLIMIT_MEMLOCK, &limit), 0);
	if (limit.rlim_max < bytes) {
		print_message("  skipped: RLIMIT_MEMLOCK is too low here\n");
		skip();
	}
}

static void a_limit_that_is_high_enough_is_left_alone(void **state)
{
	(void)state;
	skip_below(8 * MIB);
	assert_int_equal(run(asks_for_4, 8 * MIB, 8 * MIB), EXIT_SUCCESS);
}

static void a_low_limit_is_raised_where_that_is_allowed(void **state)
{
	(void)state;
	skip_below(8 * MIB);
	assert_int_equal(run(asks_for_4, MIB, 8 * MIB), EXIT_SUCCESS);
}

static void a_limit_that_cannot_be_raised_is_refused_with_the_remedy(void **state)
{
	(void)state;
	skip_below(MIB);
	assert_int_equal(run(is_refused_4, MIB, MIB), EXIT_SUCCESS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_limit_that_is_high_enough_is_left_alone),
		cmocka_unit_test(a_low_limit_is_raised_where_that_is_allowed),
		cmocka_unit_test(a_limit_that_cannot_be_raised_is_refused_with_the_remedy),
	};

	return cmocka_run_group_tests_name("memlock", tests, NULL, NULL);
}
