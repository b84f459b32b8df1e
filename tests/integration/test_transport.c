/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The contract of include/wherry/transport.h, kept by two links of real TCP connections over
 * loopback. What a link of ours never does is in test_transport_peer.c.
 */

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "contents.h"
#include "link_pair.h"
#include "tcp_end.h"
#include "transport_contract.h"

static struct link_pair the_pair;

static struct link_pair *open_pair(uint32_t connections, enum wh_compression compression)
{
	struct wh_transport *source;
	struct opener opener;
	uint16_t port = opener_start(&opener);

	source = connect_like(port, &(struct wh_link_config){ .connections = connections,
	                                                      .compression = compression });
	link_pair_init(&the_pair, source, opener_join(&opener));
	return &the_pair;
}

static int setup_one(void **state)
{
	*state = open_pair(1, WH_COMPRESSION_NONE);
	return 0;
}

static int setup_four(void **state)
{
	*state = open_pair(4, WH_COMPRESSION_NONE);
	return 0;
}

static int setup_one_compressing(void **state)
{
	*state = open_pair(1, WH_COMPRESSION_ZSTD);
	return 0;
}

static int setup_four_compressing(void **state)
{
	*state = open_pair(4, WH_COMPRESSION_ZSTD);
	return 0;
}

static int setup_one_auto(void **state)
{
	*state = open_pair(1, WH_COMPRESSION_AUTO);
	return 0;
}

static int setup_four_auto(void **state)
{
	*state = open_pair(4, WH_COMPRESSION_AUTO);
	return 0;
}

static int teardown(void **state)
{
	link_pair_done(*state);
	return 0;
}

/* --- compression ------------------------------------------------------------------------------ */

static void contents_of_any_kind_arrive_intact(void **state)
{
	struct link_pair *p = *state;

	fill_text(p->source.memory.addr, BYTES);
	write_all(p);
	fill_random(p->source.memory.addr, BYTES);
	write_all(p);
	fill_text(p->source.memory.addr, BYTES / 2);
	write_all(p);
}

/* Change @count bytes of each page, at places that depend on @round. */
static void change_a_little(struct link_pair *p, uint32_t count)
{
	for (size_t page = 0; page < PAGES; page++)
		for (size_t i = 0; i < count; i++)
			p->source.memory
				.addr[page * WH_PAGE_SIZE + (page + p->round + i * 97) % 4096]++;
}

static void a_page_sent_again_goes_as_what_differs(void **state)
{
	struct link_pair *p = *state;
	struct wh_sent before, after;

	fill_random(p->source.memory.addr, BYTES);
	for (p->round = 1; p->round <= 2; p->round++)
		write_all(p);
	before = wh_transport_sent(p->source.link);
	for (; p->round <= 6; p->round++) {
		change_a_little(p, p->round);
		write_all(p);
	}
	after = wh_transport_sent(p->source.link);
	assert_int_equal(after.delta_raw_bytes - before.delta_raw_bytes, 4 * BYTES);
	assert_in_range(after.bytes - before.bytes, 1, BYTES / 4);
	p->round = 0;
}

/* Each of these ways changes what the peer has, and none leaves a copy behind it. */
static void what_was_sent_or_told_in_another_way_is_not_built_upon(void **state)
{
	struct link_pair *p = *state;

	fill_random(p->source.memory.addr, BYTES);
	for (p->round = 1; p->round <= 2; p->round++)
		write_all(p);

	/* Not in a round. */
	p->round = 0;
	fill_text(p->source.memory.addr, BYTES);
	write_all(p);
	fill_random(p->source.memory.addr, BYTES);
	p->round = 3;
	write_all(p);

	/* By a frame. */
	wh_transport_forget(p->source.link, REGION, 0, BYTES / 2);
	memset(p->target.memory.addr, 0, BYTES / 2);
	p->round = 4;
	change_a_little(p, 3);
	write_all(p);
	p->round = 0;
}

static void only_what_becomes_shorter_goes_compressed(void **state)
{
	struct link_pair *p = *state;
	struct wh_sent text, random;

	fill_text(p->source.memory.addr, BYTES);
	write_all(p);
	text = wh_transport_sent(p->source.link);
	assert_int_equal(text.compressed_raw_bytes, BYTES);
	assert_in_range(text.compressed_bytes, 1, BYTES / 2);
	assert_in_range(text.bytes, text.compressed_bytes + 1, BYTES / 2);

	fill_random(p->source.memory.addr, BYTES);
	write_all(p);
	random = wh_transport_sent(p->source.link);
	assert_int_equal(random.compressed_raw_bytes, text.compressed_raw_bytes);
	assert_int_equal(random.compressed_bytes, text.compressed_bytes);
	assert_true(random.bytes - text.bytes > BYTES);
}

/* --- congestion control ----------------------------------------------------------------------- */

/* That of our connections to @port, "" if they differ or there are none. */
static void congestion_to(uint16_t port, char name[WH_CONGESTION_MAX])
{
	char other[WH_CONGESTION_MAX] = "";

	name[0] = '\0';
	for (int fd = 0; fd < 256; fd++) {
		struct sockaddr_in peer = { 0 };
		socklen_t peer_len = sizeof(peer), len = sizeof(other);

		if (getpeername(fd, (struct sockaddr *)&peer, &peer_len) < 0 ||
		    peer.sin_family != AF_INET || ntohs(peer.sin_port) != port)
			continue;
		assert_int_equal(getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, other, &len), 0);
		if (name[0] && strcmp(name, other) != 0)
			fail_msg("%s and %s", name, other);
		(void)snprintf(name, WH_CONGESTION_MAX, "%s", other);
	}
}

static void the_sender_chooses_the_congestion_control(void **state)
{
	static const char *const table[][2] = { { "auto", "cubic" }, { "reno", "reno" } };

	(void)state;
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		struct wh_transport *source, *target;
		char name[WH_CONGESTION_MAX];
		struct opener opener;
		uint16_t port = opener_start(&opener);

		assert_int_equal(connect_with(&source, port, table[i][0], NULL), 0);
		target = opener_join(&opener);
		congestion_to(port, name);
		(void)wh_transport_close(source);
		(void)wh_transport_close(target);
		assert_string_equal(name, table[i][1]);
	}
}

static void a_congestion_control_that_is_none_is_refused_by_name(void **state)
{
	struct wh_transport *source = NULL;
	struct wh_error err;

	(void)state;
	assert_int_equal(connect_with(&source, 1, "nonesuch", &err), -ENOENT);
	assert_non_null(strstr(err.text, "congestion control 'nonesuch': this kernel has none"));
}

/* --- a tmpfs that is full --------------------------------------------------------------------- */

/* In a process of its own, as the mount is: exits with the errno that the target's poll gave. */
static int write_into_a_small_tmpfs(void)
{
	const char *dir = "/mnt";
	struct link_pair *p;
	struct wh_event event;
	int r;

	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("tmpfs", dir, "tmpfs", 0, "size=256k") < 0)
		return 77;
	p = open_pair(1, WH_COMPRESSION_NONE);
	wh_transport_unmap(p->target.link, REGION);
	memory_done(&p->target.memory);
	p->target.memory = new_memory(open("/mnt/ram", O_RDWR | O_CREAT | O_CLOEXEC, 0600));
	lend(p->target.link, &p->target.memory);
	memset(p->source.memory.addr, 'x', BYTES);
	if (post_pages(p, 0, 512, 0) < 0)
		return 1;
	r = await_at(&p->target, &event);
	return r < 0 ? -r : 0;
}

static void a_full_tmpfs_is_enospc_at_the_receiver(void **state)
{
	int status = 0;
	pid_t pid;

	(void)state;
	(void)fflush(NULL);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		_exit(write_into_a_small_tmpfs());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == 77) {
		print_message("# mounting a tmpfs needs root\n");
		skip();
	}
	assert_int_equal(WEXITSTATUS(status), ENOSPC);
}

#define COMPRESSING(fn)                                                                  \
	{ #fn " (1 connection, zstd)", fn, setup_one_compressing, teardown, NULL },      \
	{                                                                                \
#fn " (4 connections, zstd)", fn, setup_four_compressing, teardown, NULL \
	}
#define AUTO(fn)                                                                  \
	{ #fn " (1 connection, auto)", fn, setup_one_auto, teardown, NULL },      \
	{                                                                         \
#fn " (4 connections, auto)", fn, setup_four_auto, teardown, NULL \
	}

static const struct contract_way ways[] = {
	{ "1 connection", setup_one, teardown, NULL },
	{ "4 connections", setup_four, teardown, NULL },
};

#define WAYS (sizeof(ways) / sizeof(ways[0]))

int main(void)
{
	const struct CMUnitTest of_tcp[] = {
		COMPRESSING(a_frame_arrives_after_every_write_before_it),
		COMPRESSING(contents_of_any_kind_arrive_intact),
		COMPRESSING(a_page_sent_again_goes_as_what_differs),
		COMPRESSING(what_was_sent_or_told_in_another_way_is_not_built_upon),
		COMPRESSING(only_what_becomes_shorter_goes_compressed),
		AUTO(a_frame_arrives_after_every_write_before_it),
		AUTO(contents_of_any_kind_arrive_intact),
		cmocka_unit_test(the_sender_chooses_the_congestion_control),
		cmocka_unit_test(a_congestion_control_that_is_none_is_refused_by_name),
		cmocka_unit_test(a_full_tmpfs_is_enospc_at_the_receiver),
	};
	static struct CMUnitTest tests[WAYS * CONTRACT_CASES + sizeof(of_tcp) / sizeof(of_tcp[0])];

	for (size_t i = 0; i < WAYS; i++)
		add_contract(tests + i * CONTRACT_CASES, &ways[i]);
	memcpy(tests + WAYS * CONTRACT_CASES, of_tcp, sizeof(of_tcp));

	/* A wait that never ends is a failure, too. */
	(void)alarm(60);
	return cmocka_run_group_tests_name("transport", tests, NULL, NULL);
}
