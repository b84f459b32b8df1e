/* SPDX-License-Identifier: Apache-2.0 */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "wherry/fdpass.h"

struct fixture {
	int a, b;      /* the two ends */
	int pipefd[2]; /* something to pass */
};

static int setup(void **state)
{
	static struct fixture f;
	int sv[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, sv),
	                 0);
	assert_int_equal(pipe2(f.pipefd, 0), 0);
	f.a = sv[0];
	f.b = sv[1];
	*state = &f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	wh_closep(&f->a);
	wh_closep(&f->b);
	wh_closep(&f->pipefd[0]);
	wh_closep(&f->pipefd[1]);
	return 0;
}

static uint32_t open_descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	uint32_t count = 0;

	assert_non_null(dir);
	while (readdir(dir)) /* NOLINT(concurrency-mt-unsafe): the directory is ours alone */
		count++;
	(void)closedir(dir);
	return count;
}

static void send_words(struct fixture *f, const char *words, size_t fd_count)
{
	const struct wh_fdpass msg = { .data = (void *)(uintptr_t)words,
		                       .len = strlen(words) + 1,
		                       .fds = f->pipefd,
		                       .fd_count = fd_count };

	assert_int_equal(wh_fdpass_send(f->a, &msg), 0);
}

static void a_message_arrives_with_its_descriptors(void **state)
{
	struct fixture *f = *state;
	char text[16];
	int fds[4];
	struct wh_fdpass msg = { .data = text, .len = sizeof(text), .fds = fds, .fd_count = 4 };
	struct stat sent, came;

	send_words(f, "hello", 2);

	assert_int_equal(wh_fdpass_recv(f->b, &msg), 1);
	assert_int_equal(msg.len, 6);
	assert_string_equal(text, "hello");
	assert_int_equal(msg.fd_count, 2);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(fstat(f->pipefd[i], &sent), 0);
		assert_int_equal(fstat(fds[i], &came), 0);
		assert_int_equal(sent.st_ino, came.st_ino);
		assert_int_equal(fcntl(fds[i], F_GETFD), FD_CLOEXEC);
		wh_closep(&fds[i]);
	}
}

static void a_message_may_have_no_descriptors(void **state)
{
	struct fixture *f = *state;
	char text[16];
	struct wh_fdpass msg = { .data = text, .len = sizeof(text) };

	send_words(f, "plain", 0);

	assert_int_equal(wh_fdpass_recv(f->b, &msg), 1);
	assert_int_equal(msg.fd_count, 0);
	assert_string_equal(text, "plain");
}

static void descriptors_without_room_are_refused_and_closed(void **state)
{
	struct fixture *f = *state;
	char text[16];
	int fds[1];
	struct wh_fdpass msg = { .data = text, .len = sizeof(text), .fds = fds, .fd_count = 1 };
	uint32_t before = open_descriptors();

	send_words(f, "hello", 2);

	assert_int_equal(wh_fdpass_recv(f->b, &msg), -EMSGSIZE);
	assert_int_equal(msg.fd_count, 0);
	assert_int_equal(open_descriptors(), before);
}

static void a_message_without_room_is_refused_and_its_descriptors_closed(void **state)
{
	struct fixture *f = *state;
	char text[3];
	int fds[4];
	struct wh_fdpass msg = { .data = text, .len = sizeof(text), .fds = fds, .fd_count = 4 };
	uint32_t before = open_descriptors();

	send_words(f, "hello", 2);

	assert_int_equal(wh_fdpass_recv(f->b, &msg), -EMSGSIZE);
	assert_int_equal(open_descriptors(), before);
}

static void as_many_descriptors_pass_as_the_kernel_allows(void **state)
{
	struct fixture *f = *state;
	int many[WH_FDPASS_MAX], came[WH_FDPASS_MAX];
	char text[2] = "x";
	struct wh_fdpass msg = { .data = text, .len = 2, .fds = many, .fd_count = WH_FDPASS_MAX };

	for (uint32_t i = 0; i < WH_FDPASS_MAX; i++)
		many[i] = f->pipefd[0];
	assert_int_equal(wh_fdpass_send(f->a, &msg), 0);

	msg.fds = came;
	assert_int_equal(wh_fdpass_recv(f->b, &msg), 1);
	assert_int_equal(msg.fd_count, WH_FDPASS_MAX);
	for (uint32_t i = 0; i < WH_FDPASS_MAX; i++)
		wh_closep(&came[i]);
}

static void an_empty_socket_and_a_closed_one_differ(void **state)
{
	struct fixture *f = *state;
	char text[16] = "x";
	struct wh_fdpass msg = { .data = text, .len = sizeof(text) };

	assert_int_equal(wh_fdpass_recv(f->b, &msg), -EAGAIN);
	wh_closep(&f->a);
	assert_int_equal(wh_fdpass_recv(f->b, &msg), 0);
	assert_int_equal(wh_fdpass_send(f->b, &msg), -EPIPE); /* and no SIGPIPE */
}

static void closing_twice_does_no_harm(void **state)
{
	struct fixture *f = *state;

	wh_closep(&f->a);
	assert_int_equal(f->a, -1);
	wh_closep(&f->a);
	assert_int_equal(f->a, -1);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_message_arrives_with_its_descriptors),
		TEST(a_message_may_have_no_descriptors),
		TEST(descriptors_without_room_are_refused_and_closed),
		TEST(a_message_without_room_is_refused_and_its_descriptors_closed),
		TEST(as_many_descriptors_pass_as_the_kernel_allows),
		TEST(an_empty_socket_and_a_closed_one_differ),
		TEST(closing_twice_does_no_harm),
	};

	return cmocka_run_group_tests_name("fdpass", tests, NULL, NULL);
}
