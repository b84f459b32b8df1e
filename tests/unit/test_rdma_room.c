/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/capability.h>

#include <cmocka.h>

#include "rdma_room.h"

#define KIB   UINT64_C(1024)
#define MIB   (UINT64_C(1024) * KIB)
#define CHUNK (32 * KIB)

/* For the rest of the program: at most @bytes may be pinned, also by root. */
static void limit_to(uint64_t bytes)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];
	const struct rlimit limit = { .rlim_cur = bytes, .rlim_max = bytes };

	assert_int_equal(syscall(SYS_capget, &header, data), 0);
	data[0].effective &= ~(1u << CAP_IPC_LOCK);
	assert_int_equal(syscall(SYS_capset, &header, data), 0);
	assert_int_equal(setrlimit(RLIMIT_MEMLOCK, &limit), 0);
}

static void what_is_wanted_is_given_within_the_limit(void **state)
{
	uint64_t room = 0;

	(void)state;
	limit_to(64 * KIB);
	assert_int_equal(wh_rdma_room(48 * KIB, CHUNK, false, &room, NULL), 0);
	assert_int_equal(room, 48 * KIB);
	assert_int_equal(wh_rdma_room(MIB, CHUNK, false, &room, NULL), 0);
	assert_int_equal(room, 64 * KIB);
}

static void a_limit_below_one_chunk_is_refused_with_the_remedy(void **state)
{
	struct wh_error err;
	uint64_t room = 0;

	(void)state;
	limit_to(16 * KIB);
	assert_int_equal(wh_rdma_room(MIB, CHUNK, false, &room, &err), -EPERM);
	assert_non_null(strstr(err.text, "LimitMEMLOCK="));
}

static void less_than_one_chunk_is_no_room_whatever_the_limit(void **state)
{
	struct wh_error err;
	uint64_t room = 0;

	(void)state;
	assert_int_equal(wh_rdma_room(CHUNK - 1, CHUNK, true, &room, &err), -EPERM);
	assert_non_null(strstr(err.text, "pinnedMiB"));
}

static void pages_that_are_not_pinned_are_under_no_limit(void **state)
{
	uint64_t room = 0;

	(void)state;
	limit_to(16 * KIB);
	assert_int_equal(wh_rdma_room(MIB, CHUNK, true, &room, NULL), 0);
	assert_int_equal(room, MIB);
}

int main(void)
{
	/* The limit only falls from one to the next. */
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_wanted_is_given_within_the_limit),
		cmocka_unit_test(a_limit_below_one_chunk_is_refused_with_the_remedy),
		cmocka_unit_test(less_than_one_chunk_is_no_room_whatever_the_limit),
		cmocka_unit_test(pages_that_are_not_pinned_are_under_no_limit),
	};

	return cmocka_run_group_tests_name("rdma_room", tests, NULL, NULL);
}
