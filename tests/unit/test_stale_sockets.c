/* SPDX-License-Identifier: Apache-2.0 */

/* What QEMUs that were killed have left, among what must stay. */

#include "stale_sockets.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "files.h"

static char dir[] = "/tmp/wherry-sockets-XXXXXX";

/* Return: the descriptor. Once that is closed nobody listens, and the file is there. */
static int listen_at(const char *name)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/%s", dir, name);
	assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_int_equal(listen(fd, 1), 0);
	return fd;
}

static void leave(const char *name)
{
	assert_int_equal(close(listen_at(name)), 0);
}

/* Return: whether it was there. */
static bool take_away(const char *name)
{
	char path[96];

	(void)snprintf(path, sizeof(path), "%s/%s", dir, name);
	return unlink(path) == 0;
}

/* All of VM web-1, but of the migration that goes on. */
static bool is_stale(void *ctx, const struct wh_stale_id *id)
{
	return !strcmp(id->vm, "web-1") && !(ctx && !strcmp(id->migration, ctx));
}

static void what_a_migration_left_is_removed(void **state)
{
	(void)state;
	leave("wherry-monitor-web-1-0123abcd");
	leave("wherry-web-1-0123abcd.sock");
	leave("wherry-web-1-0123abcd.disks");
	assert_int_equal(wh_stale_sockets_remove(dir, is_stale, NULL), 3);
	assert_false(take_away("wherry-monitor-web-1-0123abcd"));
}

static void one_that_goes_on_keeps_its_own(void **state)
{
	char id[] = "web-1-0123abcd";

	(void)state;
	leave("wherry-web-1-0123abcd.sock");
	assert_int_equal(wh_stale_sockets_remove(dir, is_stale, id), 0);
	assert_true(take_away("wherry-web-1-0123abcd.sock"));
}

static void a_socket_at_which_somebody_listens_stays(void **state)
{
	int fd = listen_at("wherry-monitor-web-1-0123abcd");

	(void)state;
	assert_int_equal(wh_stale_sockets_remove(dir, is_stale, NULL), 0);
	assert_true(take_away("wherry-monitor-web-1-0123abcd"));
	assert_int_equal(close(fd), 0);
}

static void what_is_not_of_this_domain_stays(void **state)
{
	static const char *const names[] = {
		"wherry-monitor-web-2-0123abcd", "wherry-web-10-0123abcd.sock",
		"wherry-web-1-0123abcd.other",   "wherry-web-1-0123abc.sock",
		"wherry-web-1-0123abcg.sock",    "monitor-web-1-0123abcd",
		"wherry-web-1.0123abcd.sock",    "wherry-monitor-web-1-0123abcd0",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		leave(names[i]);
	assert_int_equal(wh_stale_sockets_remove(dir, is_stale, NULL), 0);
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		assert_true(take_away(names[i]));
}

static void a_file_that_is_no_socket_stays(void **state)
{
	char path[96];

	(void)state;
	(void)snprintf(path, sizeof(path), "%s/wherry-web-1-0123abcd.sock", dir);
	assert_int_equal(wh_file_replace(path, "", 0, NULL), 0);
	assert_int_equal(wh_stale_sockets_remove(dir, is_stale, NULL), 0);
	assert_true(take_away("wherry-web-1-0123abcd.sock"));
}

static void a_directory_that_is_not_there_has_none(void **state)
{
	(void)state;
	assert_int_equal(wh_stale_sockets_remove("/nonexistent", is_stale, NULL), 0);
}

static int make_dir(void **state)
{
	(void)state;
	return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
	(void)state;
	return rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_a_migration_left_is_removed),
		cmocka_unit_test(one_that_goes_on_keeps_its_own),
		cmocka_unit_test(a_socket_at_which_somebody_listens_stays),
		cmocka_unit_test(what_is_not_of_this_domain_stays),
		cmocka_unit_test(a_file_that_is_no_socket_stays),
		cmocka_unit_test(a_directory_that_is_not_there_has_none),
	};

	return cmocka_run_group_tests_name("stale_sockets", tests, make_dir, remove_dir);
}
