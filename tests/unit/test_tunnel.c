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

static void nothing_stays_in_a_tunnel_that_was_full(void **state)
{
	struct wh_tunnel_config cfg;
	struct wh_tunnel *tunnel;
	sd_event *loop = NULL;
	size_t sent = 0, taken = 0;
	int from, to;

	(void)state;
	assert_true(sd_event_new(&loop) >= 0);
	cfg = (struct wh_tunnel_config){ .loop = loop };
	pair(&from, &cfg.a);
	pair(&to, &cfg.b);
	assert_int_equal(wh_tunnel_open(&tunnel, &cfg), 0);

	for (uint32_t turn = 0; turn < TURNS_MAX && taken < BYTES; turn++) {
		sent += send_some(from, sent);
		assert_true(sd_event_run(loop, 0) >= 0);
		taken += turn < LATE_TURNS ? 0 : take_some(to, taken);
	}
	assert_int_equal(taken, BYTES);

	(void)wh_tunnel_close(tunnel);
	(void)sd_event_unref(loop);
	wh_closep(&from);
	wh_closep(&to);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_stays_in_a_tunnel_that_was_full),
	};

	return cmocka_run_group_tests_name("tunnel", tests, NULL, NULL);
}
