/* SPDX-License-Identifier: Apache-2.0 */

/* What one side sends comes out at the other, however slow that is. */

#include "tunnel.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "wherry/fdpass.h"

/* More than the tunnel and the sockets around it hold at once. */
#define BYTES (4u << 20)

/* The reader begins late; and each turn moves something, so there are enough of them. */
#define LATE_TURNS 200u
#define TURNS_MAX  20000u

static uint8_t byte_at(size_t offset)
{
	return (uint8_t)(offset * 2654435761u >> 16);
}

static size_t send_some(int fd, size_t from)
{
	uint8_t data[5000];
	size_t len = BYTES - from < sizeof(data) ? BYTES - from : sizeof(data);
	ssize_t n;

	for (size_t i = 0; i < len; i++)
		data[i] = byte_at(from + i);
	n = len ? send(fd, data, len, MSG_DONTWAIT | MSG_NOSIGNAL) : 0;
	return n > 0 ? (size_t)n : 0;
}

static size_t take_some(int fd, size_t from)
{
	uint8_t data[3000];
	ssize_t n = recv(fd, data, sizeof(data), MSG_DONTWAIT);

	for (ssize_t i = 0; i < n; i++)
		assert_int_equal(data[i], byte_at(from + (size_t)i));
	return n > 0 ? (size_t)n : 0;
}

static void pair(int *ours, int *tunnels)
{
	int sv[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, sv), 0);
	*ours = sv[0];
	*tunnels = sv[1];
}

struct fixture {
	sd_event *loop;
	struct wh_tunnel *tunnel;
	int from, to;
};

static int setup(void **state)
{
	static struct fixture f;
	struct wh_tunnel_config cfg;

	assert_true(sd_event_new(&f.loop) >= 0);
	cfg = (struct wh_tunnel_config){ .loop = f.loop };
	pair(&f.from, &cfg.a);
	pair(&f.to, &cfg.b);
	assert_int_equal(wh_tunnel_open(&f.tunnel, &cfg), 0);
	*state = &f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	f->tunnel = wh_tunnel_close(f->tunnel);
	f->loop = sd_event_unref(f->loop);
	wh_closep(&f->from);
	wh_closep(&f->to);
	return 0;
}

static void turn_until_idle(const struct fixture *f)
{
	/* This ends: what was sent is moved, and nobody sends. */
	while (sd_event_run(f->loop, 0) > 0)
		;
}

static void nothing_stays_in_a_tunnel_that_was_full(void **state)
{
	struct fixture *f = *state;
	size_t sent = 0, taken = 0;

	for (uint32_t turn = 0; turn < TURNS_MAX && taken < BYTES; turn++) {
		sent += send_some(f->from, sent);
		assert_true(sd_event_run(f->loop, 0) >= 0);
		taken += turn < LATE_TURNS ? 0 : take_some(f->to, taken);
	}
	assert_int_equal(taken, BYTES);
}

static void a_side_that_is_held_is_read_until_little_comes(void **state)
{
	struct fixture *f = *state;
	char in[8];

	wh_tunnel_hold(f->tunnel, true);
	assert_int_equal(send(f->from, "first", 5, 0), 5);
	turn_until_idle(f);
	assert_int_equal(send(f->from, "then", 4, 0), 4);
	turn_until_idle(f);
	assert_int_equal(recv(f->to, in, sizeof(in), MSG_DONTWAIT), 5);

	wh_tunnel_hold(f->tunnel, false);
	turn_until_idle(f);
	assert_int_equal(recv(f->to, in, sizeof(in), MSG_DONTWAIT), 4);
}

static void the_end_of_a_side_that_is_held_is_passed_on(void **state)
{
	struct fixture *f = *state;
	char in[8];

	wh_tunnel_hold(f->tunnel, true);
	assert_int_equal(send(f->from, "first", 5, 0), 5);
	turn_until_idle(f);
	assert_int_equal(send(f->from, "then", 4, 0), 4);
	wh_closep(&f->from);
	turn_until_idle(f);

	assert_int_equal(recv(f->to, in, 5, MSG_DONTWAIT), 5);
	assert_int_equal(recv(f->to, in, sizeof(in), MSG_DONTWAIT), 4);
	assert_int_equal(recv(f->to, in, sizeof(in), MSG_DONTWAIT), 0);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(nothing_stays_in_a_tunnel_that_was_full),
		TEST(a_side_that_is_held_is_read_until_little_comes),
		TEST(the_end_of_a_side_that_is_held_is_passed_on),
	};

	return cmocka_run_group_tests_name("tunnel", tests, NULL, NULL);
}
