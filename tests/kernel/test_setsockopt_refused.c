/* SPDX-License-Identifier: Apache-2.0 */

/* A limited process cannot choose its own pace, and can set every other option as before. */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "lab.h"
#include "rate_bpf.h"

static const struct lab *lab;

static int set_option(int option, uint64_t value, socklen_t len)
{
	char large[8192] = { 0 };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int r;

	*(uint64_t *)(void *)large = value;
	r = setsockopt(fd, SOL_SOCKET, option, large, len) < 0 ? errno : 0;
	(void)close(fd);
	return r;
}

static int try_pace(void *arg)
{
	(void)arg;
	return set_option(SO_MAX_PACING_RATE, UINT64_MAX, sizeof(int));
}

static int try_pace_64(void *arg)
{
	(void)arg;
	return set_option(SO_MAX_PACING_RATE, UINT64_MAX, sizeof(uint64_t));
}

static int try_buffer(void *arg)
{
	(void)arg;
	return set_option(SO_SNDBUF, 65536, sizeof(int));
}

static int try_large_value(void *arg)
{
	(void)arg;
	return set_option(SO_SNDBUF, 65536, 8192);
}

static void the_pace_is_refused_inside_only(void **state)
{
	wh_cleanup(wh_rate_bpf_closep) struct wh_rate_bpf *rate = NULL;

	(void)state;
	assert_int_equal(lab_wait(lab_spawn(lab, try_pace, NULL)), 0);
	assert_int_equal(wh_rate_bpf_open(&rate, lab->leaf->dir_fd, 1 << 20, NULL), 0);

	assert_int_equal(lab_wait(lab_spawn(lab, try_pace, NULL)), EPERM);
	assert_int_equal(lab_wait(lab_spawn(lab, try_pace_64, NULL)), EPERM);
	assert_int_equal(try_pace(NULL), 0);
}

static void the_pace_stays_refused_while_unlimited_for_a_time(void **state)
{
	wh_cleanup(wh_rate_bpf_closep) struct wh_rate_bpf *rate = NULL;

	(void)state;
	assert_int_equal(wh_rate_bpf_open(&rate, lab->leaf->dir_fd, 1 << 20, NULL), 0);
	assert_int_equal(wh_rate_bpf_set(rate, 0, NULL), 0);

	assert_int_equal(lab_wait(lab_spawn(lab, try_pace, NULL)), EPERM);
}

static void other_options_are_left_alone(void **state)
{
	wh_cleanup(wh_rate_bpf_closep) struct wh_rate_bpf *rate = NULL;

	(void)state;
	assert_int_equal(wh_rate_bpf_open(&rate, lab->leaf->dir_fd, 1 << 20, NULL), 0);

	assert_int_equal(lab_wait(lab_spawn(lab, try_buffer, NULL)), 0);
	assert_int_equal(lab_wait(lab_spawn(lab, try_large_value, NULL)), 0);
}

static int body(const struct lab *where)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_pace_is_refused_inside_only),
		cmocka_unit_test(the_pace_stays_refused_while_unlimited_for_a_time),
		cmocka_unit_test(other_options_are_left_alone),
	};

	lab = where;
	return cmocka_run_group_tests_name("setsockopt_refused", tests, NULL, NULL);
}

int main(void)
{
	return lab_run("setsockopt", body);
}
