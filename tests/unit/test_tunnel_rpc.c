/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A libvirtd's replies are held until they are released; its keep-alive and its events go on. Finish and its answer
 * wait until somebody lets them through.
 */

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
	enum wh_tunnel_gate gate;
	int gates; /* how often it was told of one */
	int ends;
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

/* REMOTE_PROC_DOMAIN_MIGRATE_FINISH3_PARAMS, which says whether it is cancelled in its last word. */
#define FINISH 306u

static struct frame finish(enum type type, uint32_t last)
{
	struct frame f = frame(REMOTE, type, "body");

	f.header[3] = htonl(FINISH);
	last = htonl(last);
	memcpy(f.body, &last, sizeof(last));
	return f;
}

static void note_gate(void *ctx, enum wh_tunnel_gate gate)
{
	struct fixture *f = ctx;

	f->gate = gate;
	f->gates++;
}

static void note_end(void *ctx, int result)
{
	struct fixture *f = ctx;

	(void)result;
	f->ends++;
}

static int begin(void **state)
{
	static struct fixture f;
	const int flags = SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK;
	struct wh_tunnel_config cfg = {
		.mode = WH_TUNNEL_RPC, .at_gate = note_gate, .said_all = note_end, .ctx = &f
	};
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
	const struct frame ping = frame(KEEP_ALIVE, MESSAGE, "ping");
	struct frame in;

	wh_tunnel_hold_replies(f->tunnel);
	say(f, REMOTE, REPLY, "held");
	assert_int_equal(send(f->client, &ping, sizeof(ping), MSG_NOSIGNAL), sizeof(ping));
	turn_until_idle(f);
	assert_int_equal(recv(f->libvirt, &in, sizeof(in), MSG_DONTWAIT), sizeof(in));
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

/* The other way. */

static void call_part(const struct fixture *f, const struct frame *said, size_t from, size_t to)
{
	const char *bytes = (const char *)said;

	assert_int_equal(send(f->client, bytes + from, to - from, MSG_NOSIGNAL), to - from);
	turn_until_idle(f);
}

static void call(const struct fixture *f, const struct frame *said)
{
	call_part(f, said, 0, sizeof(*said));
}

static void assert_libvirt_hears(const struct fixture *f, const struct frame *said)
{
	struct frame heard;

	assert_int_equal(recv(f->libvirt, &heard, sizeof(heard), MSG_DONTWAIT), sizeof(heard));
	assert_memory_equal(&heard, said, sizeof(heard));
}

static void assert_libvirt_hears_nothing(const struct fixture *f)
{
	char byte;

	assert_int_equal(recv(f->libvirt, &byte, 1, MSG_DONTWAIT), -1);
	assert_int_equal(errno, EAGAIN);
}

static void assert_at_gate(const struct fixture *f, enum wh_tunnel_gate gate, int times)
{
	assert_int_equal(f->gate, gate);
	assert_int_equal(f->gates, times);
}

static void finish_and_its_answer_wait(void **state)
{
	struct fixture *f = *state;
	const struct frame asked = finish(CALL, 0), after = frame(REMOTE, CALL, "next");
	const struct frame answered = finish(REPLY, 0);
	struct frame heard;

	call(f, &asked);
	assert_at_gate(f, WH_GATE_CALL, 1);
	call(f, &after);
	assert_libvirt_hears_nothing(f);
	assert_at_gate(f, WH_GATE_CALL, 1);
	wh_tunnel_go_on(f->tunnel);
	turn_until_idle(f);
	assert_libvirt_hears(f, &asked);
	assert_libvirt_hears(f, &after);

	say(f, KEEP_ALIVE, REPLY, "pong");
	assert_client_hears(f, "pong");
	say_part(f, &answered, 0, sizeof(answered));
	assert_at_gate(f, WH_GATE_GOOD, 2);
	assert_client_hears_nothing(f);
	wh_tunnel_go_on(f->tunnel);
	turn_until_idle(f);
	assert_int_equal(recv(f->client, &heard, sizeof(heard), MSG_DONTWAIT), sizeof(heard));
	assert_memory_equal(&heard, &answered, sizeof(heard));
	say(f, REMOTE, REPLY, "next");
	assert_client_hears(f, "next");
	assert_int_equal(f->gates, 2);
}

static void finish_is_looked_at_once_all_of_it_is_there(void **state)
{
	struct fixture *f = *state;
	const struct frame asked = finish(CALL, 0);

	for (size_t i = 0; i < sizeof(asked); i++) {
		assert_int_equal(f->gates, 0);
		call_part(f, &asked, i, i + 1);
	}
	assert_at_gate(f, WH_GATE_CALL, 1);
	assert_libvirt_hears_nothing(f);
}

static void finish_of_what_has_failed_passes(void **state)
{
	struct fixture *f = *state;
	const struct frame asked = finish(CALL, 1);
	struct frame answered = finish(REPLY, 0), heard;

	answered.header[6] = htonl(1);
	call(f, &asked);
	assert_libvirt_hears(f, &asked);
	say_part(f, &answered, 0, sizeof(answered));
	assert_int_equal(recv(f->client, &heard, sizeof(heard), MSG_DONTWAIT), sizeof(heard));
	assert_int_equal(f->gates, 0);
}

static void an_answer_that_says_no_is_told(void **state)
{
	struct fixture *f = *state;
	const struct frame asked = finish(CALL, 0);
	struct frame answered = finish(REPLY, 0);

	call(f, &asked);
	wh_tunnel_go_on(f->tunnel);
	answered.header[6] = htonl(1);
	say_part(f, &answered, 0, sizeof(answered));
	assert_at_gate(f, WH_GATE_BAD, 2);
}

static void other_calls_pass(void **state)
{
	struct fixture *f = *state;
	struct frame asked = frame(REMOTE, CALL, "body");

	call(f, &asked);
	assert_libvirt_hears(f, &asked);
	asked = finish(CALL, 0);
	asked.header[1] = htonl(KEEP_ALIVE);
	call(f, &asked);
	assert_libvirt_hears(f, &asked);
	assert_int_equal(f->gates, 0);
}

static void finish_that_is_too_long_ends_both(void **state)
{
	struct fixture *f = *state;
	struct frame asked = finish(CALL, 0);
	char byte;

	asked.header[0] = htonl(WH_TUNNEL_BYTES + 4);
	call(f, &asked);
	assert_int_equal(recv(f->libvirt, &byte, 1, MSG_DONTWAIT), 0);
	assert_int_equal(f->ends, 1);
}

static void the_end_is_told_though_finish_waits(void **state)
{
	struct fixture *f = *state;
	const struct frame asked = finish(CALL, 0);

	call(f, &asked);
	wh_closep(&f->client);
	turn_until_idle(f);
	assert_int_equal(f->ends, 1);
	wh_tunnel_go_on(f->tunnel);
	turn_until_idle(f);
	assert_libvirt_hears(f, &asked);
}

static void what_was_said_counts_once_it_was_read(void **state)
{
	struct fixture *f = *state;
	const struct frame reply = frame(REMOTE, REPLY, "good");
	char in[sizeof(reply)];

	assert_true(wh_tunnel_was_read(f->tunnel));
	say_part(f, &reply, 0, 30);
	assert_false(wh_tunnel_was_read(f->tunnel));
	assert_int_equal(recv(f->client, in, sizeof(in), MSG_DONTWAIT), 30);
	assert_false(wh_tunnel_was_read(f->tunnel)); /* there is more of it to come */
	say_part(f, &reply, 30, sizeof(reply));
	assert_false(wh_tunnel_was_read(f->tunnel));
	assert_int_equal(recv(f->client, in, sizeof(in), MSG_DONTWAIT), sizeof(reply) - 30);
	assert_true(wh_tunnel_was_read(f->tunnel));
}

static void nobody_reads_what_is_said_to_one_that_is_gone(void **state)
{
	struct fixture *f = *state;

	say(f, REMOTE, REPLY, "good");
	wh_closep(&f->client);
	turn_until_idle(f);
	assert_false(wh_tunnel_was_read(f->tunnel));
}

/* More than the buffer holds, in frames that do not fit into it evenly. */
static void much_passes_in_pieces(void **state)
{
	struct fixture *f = *state;
	const struct frame one = frame(REMOTE, CALL, "many");
	size_t heard = 0;
	struct frame in;

	for (size_t i = 0; i < 3 * (size_t)WH_TUNNEL_BYTES / sizeof(one); i++) {
		call(f, &one);
		if (i % 64 == 63)
			for (int n = 0; n < 64; n++, heard++)
				assert_int_equal(recv(f->libvirt, &in, sizeof(in), MSG_DONTWAIT),
				                 sizeof(in));
	}
	assert_true(heard * sizeof(one) > 2 * (size_t)WH_TUNNEL_BYTES);
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
	assert_true(read.call);
	assert_false(read.finish);
	said = finish(CALL, 0);
	assert_int_equal(wh_rpc_frame_read(&read, &said, sizeof(said)), 1);
	assert_true(read.finish);
	assert_false(wh_rpc_is_cancelled(&said, sizeof(said)));
	said = finish(CALL, 1);
	assert_true(wh_rpc_is_cancelled(&said, sizeof(said)));
	said = finish(MESSAGE, 0);
	assert_int_equal(wh_rpc_frame_read(&read, &said, sizeof(said)), 1);
	assert_false(read.finish);
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
		RPC(finish_and_its_answer_wait),
		RPC(finish_is_looked_at_once_all_of_it_is_there),
		RPC(finish_of_what_has_failed_passes),
		RPC(an_answer_that_says_no_is_told),
		RPC(other_calls_pass),
		RPC(finish_that_is_too_long_ends_both),
		RPC(the_end_is_told_though_finish_waits),
		RPC(what_was_said_counts_once_it_was_read),
		RPC(nobody_reads_what_is_said_to_one_that_is_gone),
		RPC(much_passes_in_pieces),
		RPC(what_is_no_frame_ends_both),
		cmocka_unit_test(frames_are_told_by_their_header),
	};

	return cmocka_run_group_tests_name("tunnel_rpc", tests, NULL, NULL);
}
