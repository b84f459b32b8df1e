/* SPDX-License-Identifier: Apache-2.0 */

/* What a source says is held until it is released, and nothing else is. */

#include "tunnel.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "wherry/fdpass.h"

/* A device state, far beyond what sockets and a tunnel that holds nothing take. */
#define BYTES (8u << 20)

/* Each turn moves something, so there are enough of them. */
#define TURNS_MAX 20000u

#define UNTOLD 1

struct fixture {
	sd_event *loop;
	struct wh_tunnel *tunnel;
	int source, target;
	int result; /* UNTOLD until the tunnel tells that the source has said all */
	int tellings;
	bool close;
};

static uint8_t byte_at(size_t offset)
{
	return (uint8_t)(offset * 2654435761u >> 16);
}

static void on_said_all(void *ctx, int result)
{
	struct fixture *f = ctx;

	f->result = result;
	f->tellings++;
	if (f->close)
		f->tunnel = wh_tunnel_close(f->tunnel);
}

static int begin(void **state, enum wh_tunnel_mode mode)
{
	static struct fixture f;
	const int flags = SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK;
	struct wh_tunnel_config cfg = { .mode = mode, .said_all = on_said_all, .ctx = &f };
	int a[2], b[2];

	f = (struct fixture){ .result = UNTOLD };
	assert_true(sd_event_new(&f.loop) >= 0);
	assert_int_equal(socketpair(AF_UNIX, flags, 0, a), 0);
	assert_int_equal(socketpair(AF_UNIX, flags, 0, b), 0);
	f.source = a[0];
	f.target = b[0];
	cfg.loop = f.loop;
	cfg.a = a[1];
	cfg.b = b[1];
	assert_int_equal(wh_tunnel_open(&f.tunnel, &cfg), 0);
	*state = &f;
	return 0;
}

static int hold_all(void **state)
{
	return begin(state, WH_TUNNEL_HOLD_ALL);
}

static int hold_after_ack(void **state)
{
	const int r = begin(state, WH_TUNNEL_HOLD_ALL);
	const struct fixture *f = *state;

	wh_tunnel_hold_after_ack(f->tunnel);
	return r;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	f->tunnel = wh_tunnel_close(f->tunnel);
	f->loop = sd_event_unref(f->loop);
	wh_closep(&f->source);
	wh_closep(&f->target);
	return 0;
}

static void turn_until_idle(const struct fixture *f)
{
	/* This ends: what was sent is moved, and nobody sends. */
	while (sd_event_run(f->loop, 0) > 0)
		;
}

static void say(const struct fixture *f, int fd, const char *text)
{
	assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
	turn_until_idle(f);
}

static void assert_hears(int fd, const char *text)
{
	char in[64];

	assert_int_equal(recv(fd, in, sizeof(in), MSG_DONTWAIT), strlen(text));
	assert_memory_equal(in, text, strlen(text));
}

static void assert_hears_nothing(int fd)
{
	char in[1];

	assert_int_equal(recv(fd, in, sizeof(in), MSG_DONTWAIT), -1);
	assert_int_equal(errno, EAGAIN);
}

static void assert_hears_the_end(int fd)
{
	char in[1];

	assert_int_equal(recv(fd, in, sizeof(in), MSG_DONTWAIT), 0);
}

static void say_much(const struct fixture *f)
{
	uint8_t data[4096];
	size_t sent = 0;

	for (uint32_t turn = 0; turn < TURNS_MAX && sent < BYTES; turn++) {
		ssize_t n;

		for (size_t i = 0; i < sizeof(data); i++)
			data[i] = byte_at(sent + i);
		n = send(f->source, data, sizeof(data), MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n > 0)
			sent += (size_t)n;
		assert_true(sd_event_run(f->loop, 0) >= 0);
	}
	assert_int_equal(sent, BYTES);
}

static void assert_hears_much(const struct fixture *f)
{
	uint8_t data[3000];
	size_t heard = 0;

	for (uint32_t turn = 0; turn < TURNS_MAX && heard < BYTES; turn++) {
		ssize_t n = recv(f->target, data, sizeof(data), MSG_DONTWAIT);

		for (ssize_t i = 0; i < n; i++)
			assert_int_equal(data[i], byte_at(heard + (size_t)i));
		if (n > 0)
			heard += (size_t)n;
		assert_true(sd_event_run(f->loop, 0) >= 0);
	}
	assert_int_equal(heard, BYTES);
}

static void all_is_taken_in_and_passed_on_when_released(void **state)
{
	struct fixture *f = *state;

	say_much(f);
	assert_hears_nothing(f->target);
	wh_tunnel_release(f->tunnel);
	assert_hears_much(f);

	say(f, f->source, "more");
	assert_hears(f->target, "more");
}

static void the_end_is_told_while_it_is_held(void **state)
{
	struct fixture *f = *state;

	say(f, f->source, "all");
	assert_int_equal(f->result, UNTOLD);
	wh_closep(&f->source);
	turn_until_idle(f);
	assert_int_equal(f->result, 0);
	assert_hears_nothing(f->target);

	wh_tunnel_release(f->tunnel);
	turn_until_idle(f);
	assert_hears(f->target, "all");
	assert_hears_the_end(f->target);
	assert_int_equal(f->tellings, 1);
}

static void a_half_close_is_told_and_leaves_the_other_way_open(void **state)
{
	struct fixture *f = *state;

	say(f, f->source, "all");
	assert_int_equal(shutdown(f->source, SHUT_WR), 0);
	turn_until_idle(f);
	assert_int_equal(f->result, 0);

	say(f, f->target, "thanks");
	assert_hears(f->source, "thanks");
	wh_tunnel_release(f->tunnel);
	turn_until_idle(f);
	assert_hears(f->target, "all");
	assert_hears_the_end(f->target);
}

static void the_target_is_heard_while_the_source_is_held(void **state)
{
	struct fixture *f = *state;

	say(f, f->source, "held");
	say(f, f->target, "heard");

	assert_hears(f->source, "heard");
	assert_hears_nothing(f->target);
}

static void a_source_hears_at_once_that_the_target_is_gone(void **state)
{
	struct fixture *f = *state;

	say(f, f->source, "held");
	say(f, f->target, "bad news");
	wh_closep(&f->target);
	turn_until_idle(f);

	assert_hears(f->source, "bad news");
	assert_hears_the_end(f->source);
	assert_int_equal(f->result, -EPIPE);
	assert_int_equal(send(f->source, "x", 1, MSG_NOSIGNAL), -1);
}

static void a_source_hears_at_once_that_the_target_says_no_more(void **state)
{
	struct fixture *f = *state;

	say(f, f->source, "held");
	assert_int_equal(shutdown(f->target, SHUT_WR), 0);
	turn_until_idle(f);

	assert_hears_the_end(f->source);
	wh_tunnel_release(f->tunnel);
	turn_until_idle(f);
	assert_hears(f->target, "held");
}

static void an_error_ends_both_while_bytes_are_held(void **state)
{
	struct fixture *f = *state;

	/* The source does not read this; so for the tunnel its end is an error. */
	say(f, f->target, "unread");
	say(f, f->source, "held");
	wh_closep(&f->source);
	turn_until_idle(f);

	assert_int_equal(f->result, -ECONNRESET);
	assert_hears_the_end(f->target);
}

static void the_callback_may_close_the_tunnel(void **state)
{
	struct fixture *f = *state;

	f->close = true;
	say(f, f->source, "all");
	wh_closep(&f->source);
	turn_until_idle(f);

	assert_null(f->tunnel);
	assert_hears_the_end(f->target);
}

static void a_source_that_says_too_much_waits(void **state)
{
	struct fixture *f = *state;
	static const char data[1 << 16];
	size_t sent = 0;
	bool taken = true;

	/* This ends: what is taken is bounded. */
	while (taken) {
		ssize_t n = send(f->source, data, sizeof(data), MSG_DONTWAIT | MSG_NOSIGNAL);

		taken = n > 0;
		sent += taken ? (size_t)n : 0;
		turn_until_idle(f);
	}
	assert_true(sent >= WH_TUNNEL_HELD_BYTES);
	assert_true(sent < WH_TUNNEL_HELD_BYTES + (4u << 20)); /* some in the sockets */
	assert_int_equal(f->result, UNTOLD);
}

static void bytes_flow_until_the_target_says_that_the_guest_may_stop(void **state)
{
	struct fixture *f = *state;
	static const uint8_t pong[] = { 0, 2, 0, 4, 0, 0, 0, 1 };
	static const uint8_t ack[] = { 0, 7, 0, 0 };

	say(f, f->source, "setup");
	assert_hears(f->target, "setup");
	assert_int_equal(send(f->target, pong, sizeof(pong), 0), sizeof(pong));
	assert_int_equal(send(f->target, ack, 3, 0), 3);
	turn_until_idle(f);
	say(f, f->source, "more");
	assert_hears(f->target, "more");
	assert_false(wh_tunnel_is_holding(f->tunnel));

	assert_int_equal(send(f->target, ack + 3, 1, 0), 1);
	turn_until_idle(f);
	say(f, f->source, "state");
	assert_true(wh_tunnel_is_holding(f->tunnel));
	assert_hears_nothing(f->target);

	wh_tunnel_release(f->tunnel);
	turn_until_idle(f);
	assert_hears(f->target, "state");
}

static void the_source_gets_every_byte_of_the_return_path(void **state)
{
	struct fixture *f = *state;
	static const uint8_t both[] = {
		0, 2, 0, 4, 0, 0, 0, 1, 0, 7, 0, 0, 0, 1, 0, 4, 0, 0, 0, 0
	};
	uint8_t in[64];

	assert_int_equal(send(f->target, both, sizeof(both), 0), sizeof(both));
	turn_until_idle(f);

	assert_int_equal(recv(f->source, in, sizeof(in), MSG_DONTWAIT), sizeof(both));
	assert_memory_equal(in, both, sizeof(both));
	assert_true(wh_tunnel_is_holding(f->tunnel));
}

static void a_return_path_that_is_none_ends_both(void **state)
{
	struct fixture *f = *state;
	static const uint8_t invalid[] = { 0, 0, 0, 0 };

	assert_int_equal(send(f->target, invalid, sizeof(invalid), 0), sizeof(invalid));
	turn_until_idle(f);

	assert_int_equal(f->result, -EPROTO);
	assert_hears_the_end(f->source);
	assert_hears_the_end(f->target);
}

#define ALL(fn)   cmocka_unit_test_setup_teardown(fn, hold_all, teardown)
#define AFTER(fn) cmocka_unit_test_setup_teardown(fn, hold_after_ack, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		ALL(all_is_taken_in_and_passed_on_when_released),
		ALL(the_end_is_told_while_it_is_held),
		ALL(a_half_close_is_told_and_leaves_the_other_way_open),
		ALL(the_target_is_heard_while_the_source_is_held),
		ALL(a_source_hears_at_once_that_the_target_is_gone),
		ALL(a_source_hears_at_once_that_the_target_says_no_more),
		ALL(an_error_ends_both_while_bytes_are_held),
		ALL(the_callback_may_close_the_tunnel),
		ALL(a_source_that_says_too_much_waits),
		AFTER(bytes_flow_until_the_target_says_that_the_guest_may_stop),
		AFTER(the_source_gets_every_byte_of_the_return_path),
		AFTER(a_return_path_that_is_none_ends_both),
	};

	return cmocka_run_group_tests_name("tunnel_held", tests, NULL, NULL);
}
