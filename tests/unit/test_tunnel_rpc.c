/* SPDX-License-Identifier: Apache-2.0 */

/* A libvirtd's replies are held until they are released; its keep-alive and its events go on. */

#include "rpc_frames.h"
#include "tunnel.h"

#include <arpa/inet.h>
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

#define REMOTE     0x20008086u
#define KEEP_ALIVE 0x6b656570u

enum type {
	CALL,
	REPLY,
	MESSAGE,
};

struct fixture {
	sd_event *loop;
	struct wh_tunnel *tunnel;
	int client;  /* the source's libvirtd */
	int libvirt; /* ours */
};

struct frame {
	uint32_t header[7];
	char body[4];
};

static struct frame frame(uint32_t program, enum type type, const char *body)
{
	struct frame f = { .header = { htonl(sizeof(f)), htonl(program), htonl(1), htonl(303),
		                       htonl(type), htonl(7), htonl(0) } };

	memcpy(f.body, body, sizeof(f.body));
	return f;
}

static int begin(void **state)
{
	static struct fixture f;
	const int flags = SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK;
	struct wh_tunnel_config cfg = { .mode = WH_TUNNEL_RPC };
	int a[2], b[2];

	f = (struct fixture){ 0 };
	assert_true(sd_event_new(&f.loop) >= 0);
	assert_int_equal(socketpair(AF_UNIX, flags, 0, a), 0);
	assert_int_equal(socketpair(AF_UNIX, flags, 0, b), 0);
	f.client = a[0];
	f.libvirt = b[0];
	cfg.loop = f.loop;
	cfg.a = a[1];
	cfg.b = b[1];
	assert_int_equal(wh_tunnel_open(&f.tunnel, &cfg), 0);
	*state = &f;
	return 0;
}

static int end(void **state)
{
	struct fixture *f = *state;

	f->tunnel = wh_tunnel_close(f->tunnel);
	f->loop = sd_event_unref(f->loop);
	wh_closep(&f->client);
	wh_closep(&f->libvirt);
	return 0;
}

static void turn_until_idle(const struct fixture *f)
{
	/* This ends: what was sent is moved, and nobody sends. */
	while (sd_event_run(f->loop, 0) > 0)
		;
}

static void say_part(const struct fixture *f, const struct frame *said, size_t from, size_t to)
{
	const char *bytes = (const char *)said;

	assert_int_equal(send(f->libvirt, bytes + from, to - from, MSG_NOSIGNAL), to - from);
	turn_until_idle(f);
}

static void say(const struct fixture *f, uint32_t program, enum type type, const char *body)
{
	const struct frame said = frame(program, type, body);

	say_part(f, &said, 0, sizeof(said));
}

static void assert_client_hears(const struct fixture *f, const char *body)
{
	struct frame heard;

	assert_int_equal(recv(f->client, &heard, sizeof(heard), MSG_DONTWAIT), sizeof(heard));
	assert_memory_equal(heard.body, body, sizeof(heard.body));
}

static void assert_client_hears_nothing(const struct fixture *f)
{
	char byte;

	assert_int_equal(recv(f->client, &byte, 1, MSG_DONTWAIT), -1);
	assert_int_equal(errno, EAGAIN);
}

static void all_passes_before_replies_are_held(void **state)
{
	struct fixture *f = *state;

	say(f, REMOTE, REPLY, "one ");
	assert_client_hears(f, "one ");
	assert_false(wh_tunnel_is_holding(f->tunnel));
}

static void a_reply_is_held_and_the_keep_alive_passes_it(void **state)
{
	struct fixture *f = *state;

	wh_tunnel_hold_replies(f->tunnel);
	say(f, REMOTE, REPLY, "held");
	assert_client_hears_nothing(f);
	assert_true(wh_tunnel_is_holding(f->tunnel));
	say(f, KEEP_ALIVE, REPLY, "pong");
	say(f, KEEP_ALIVE, MESSAGE, "ping");
	say(f, REMOTE, MESSAGE, "news");
	assert_client_hears(f, "pong");
	assert_client_hears(f, "ping");
	assert_client_hears(f, "news");
	assert_client_hears_nothing(f);

	wh_tunnel_release(f->tunnel);
	turn_until_idle(f);
	assert_client_hears(f, "held");
	assert_false(wh_tunnel_is_holding(f->tunnel));
	say(f, REMOTE, REPLY, "next");
	assert_client_hears(f, "next");
}

static void what_comes_in_pieces_is_held_as_a_whole(void **state)
{
	struct fixture *f = *state;
	const struct frame reply = frame(REMOTE, REPLY, "held");
	const struct frame ping = frame(KEEP_ALIVE, MESSAGE, "ping");

	wh_tunnel_hold_replies(f->tunnel);
	for (size_t i = 0; i < sizeof(reply); i++)
		say_part(f, &reply, i, i + 1);
	assert_client_hears_nothing(f);
	say_part(f, &ping, 0, 30);
	say_part(f, &ping, 30, sizeof(ping));
	wh_tunnel_release(f->tunnel);
	turn_until_idle(f);
	/* Its first part was on its way before the rest came. */
	assert_client_hears(f, "ping");
	assert_client_hears(f, "held");
}

static void a_frame_that_passes_is_not_cut_by_the_release(void **state)
{
	struct fixture *f = *state;
	const struct frame ping = frame(KEEP_ALIVE, MESSAGE, "ping");

	wh_tunnel_hold_replies(f->tunnel);
	say(f, REMOTE, REPLY, "held");
	say_part(f, &ping, 0, 30);
	wh_tunnel_release(f->tunnel);
	turn_until_idle(f);
	say_part(f, &ping, 30, sizeof(ping));
	assert_client_hears(f, "ping");
	assert_client_hears(f, "held");
}

static void a_reply_that_was_begun_before_passes(void **state)
{
	struct fixture *f = *state;
	const struct frame reply = frame(REMOTE, REPLY, "old ");

	say_part(f, &reply, 0, 30);
	wh_tunnel_hold_replies(f->tunnel);
	say_part(f, &reply, 30, sizeof(reply));
	assert_client_hears(f, "old ");
	say(f, REMOTE, REPLY, "held");
	assert_client_hears_nothing(f);
}

static void replies_keep_their_order(void **state)
{
	struct fixture *f = *state;

	wh_tunnel_hold_replies(f->tunnel);
	say(f, REMOTE, REPLY, "one ");
	say(f, REMOTE, REPLY, "two ");
	wh_tunnel_release(f->tunnel);
	turn_until_idle(f);
	assert_client_hears(f, "one ");
	assert_client_hears(f, "two ");
}

static void the_client_is_heard_meanwhile(void **state)
{
	struct fixture *f = *state;
	char in[4];

	wh_tunnel_hold_replies(f->tunnel);
	say(f, REMOTE, REPLY, "held");
	assert_int_equal(send(f->client, "ping", 4, MSG_NOSIGNAL), 4);
	turn_until_idle(f);
	assert_int_equal(recv(f->libvirt, in, sizeof(in), MSG_DONTWAIT), sizeof(in));
}

static void what_is_held_is_dropped_when_libvirtd_ends(void **state)
{
	struct fixture *f = *state;
	char byte;

	wh_tunnel_hold_replies(f->tunnel);
	say(f, REMOTE, REPLY, "held");
	wh_closep(&f->libvirt);
	turn_until_idle(f);
	assert_int_equal(recv(f->client, &byte, 1, MSG_DONTWAIT), 0);
}

static void a_good_reply_counts_once_it_was_read(void **state)
{
	struct fixture *f = *state;

	say(f, REMOTE, REPLY, "old ");
	assert_client_hears(f, "old ");
	wh_tunnel_await_reply(f->tunnel);
	assert_false(wh_tunnel_was_good_reply_read(f->tunnel));
	say(f, KEEP_ALIVE, REPLY, "pong");
	assert_client_hears(f, "pong");
	assert_false(wh_tunnel_was_good_reply_read(f->tunnel));
	say(f, REMOTE, REPLY, "good");
	assert_false(wh_tunnel_was_good_reply_read(f->tunnel));
	assert_client_hears(f, "good");
	assert_true(wh_tunnel_was_good_reply_read(f->tunnel));
}

static void a_part_of_a_reply_is_none(void **state)
{
	struct fixture *f = *state;
	const struct frame reply = frame(REMOTE, REPLY, "good");
	char in[sizeof(reply)];

	wh_tunnel_await_reply(f->tunnel);
	say_part(f, &reply, 0, 30);
	assert_int_equal(recv(f->client, in, sizeof(in), MSG_DONTWAIT), 30);
	assert_false(wh_tunnel_was_good_reply_read(f->tunnel));
	say_part(f, &reply, 30, sizeof(reply));
	assert_false(wh_tunnel_was_good_reply_read(f->tunnel));
	assert_int_equal(recv(f->client, in, sizeof(in), MSG_DONTWAIT), sizeof(reply) - 30);
	assert_true(wh_tunnel_was_good_reply_read(f->tunnel));
}

static void a_reply_that_says_no_does_not_count(void **state)
{
	struct fixture *f = *state;
	struct frame reply = frame(REMOTE, REPLY, "bad ");

	wh_tunnel_await_reply(f->tunnel);
	reply.header[6] = htonl(1);
	say_part(f, &reply, 0, sizeof(reply));
	assert_client_hears(f, "bad ");
	assert_false(wh_tunnel_was_good_reply_read(f->tunnel));
	say(f, REMOTE, REPLY, "next");
	assert_client_hears(f, "next");
	assert_false(wh_tunnel_was_good_reply_read(f->tunnel));
}

static void what_is_no_frame_ends_both(void **state)
{
	struct fixture *f = *state;
	const struct frame none = { .header = { htonl(3) } };
	char byte;

	say_part(f, &none, 0, sizeof(none));
	assert_int_equal(recv(f->client, &byte, 1, MSG_DONTWAIT), 0);
}

static void frames_are_told_by_their_header(void **state)
{
	struct frame said = frame(REMOTE, REPLY, "body");
	struct wh_rpc_frame read;

	(void)state;
	assert_int_equal(wh_rpc_frame_read(&read, &said, WH_RPC_HEADER_BYTES - 1), 0);
	assert_int_equal(wh_rpc_frame_read(&read, &said, WH_RPC_HEADER_BYTES), 1);
	assert_int_equal(read.bytes, sizeof(said));
	assert_true(read.reply);
	said = frame(REMOTE, CALL, "body");
	assert_int_equal(wh_rpc_frame_read(&read, &said, sizeof(said)), 1);
	assert_false(read.reply);
	said.header[0] = htonl(WH_RPC_FRAME_MAX + 1);
	assert_int_equal(wh_rpc_frame_read(&read, &said, sizeof(said)), -EPROTO);
	said = frame(REMOTE, 6, "body");
	assert_int_equal(wh_rpc_frame_read(&read, &said, sizeof(said)), -EPROTO);
}

#define RPC(fn) cmocka_unit_test_setup_teardown(fn, begin, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		RPC(all_passes_before_replies_are_held),
		RPC(a_reply_is_held_and_the_keep_alive_passes_it),
		RPC(what_comes_in_pieces_is_held_as_a_whole),
		RPC(a_frame_that_passes_is_not_cut_by_the_release),
		RPC(a_reply_that_was_begun_before_passes),
		RPC(replies_keep_their_order),
		RPC(the_client_is_heard_meanwhile),
		RPC(what_is_held_is_dropped_when_libvirtd_ends),
		RPC(a_good_reply_counts_once_it_was_read),
		RPC(a_part_of_a_reply_is_none),
		RPC(a_reply_that_says_no_does_not_count),
		RPC(what_is_no_frame_ends_both),
		cmocka_unit_test(frames_are_told_by_their_header),
	};

	return cmocka_run_group_tests_name("tunnel_rpc", tests, NULL, NULL);
}
