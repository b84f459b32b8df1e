/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A TCP link against a peer that writes records byte by byte, in good and in bad faith: what
 * docs/wire-protocol.md has a receiver refuse is refused.
 */

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "compress.h"
#include "contents.h"
#include "intake.h"
#include "tcp_end.h"
#include "wire.h"

#include "wherry/fdpass.h"

struct raw {
	int fds[2];
	uint32_t count;
	struct wh_transport *target;
	struct memory to;
};

static int raw_connect(uint16_t port)
{
	const struct sockaddr_in to = { .sin_family = AF_INET,
		                        .sin_port = htons(port),
		                        .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	const int on = 1;

	assert_int_equal(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)), 0);
	assert_int_equal(connect(fd, (const struct sockaddr *)&to, sizeof(to)), 0);
	return fd;
}

static void raw_bytes(int fd, const void *data, size_t len)
{
	assert_int_equal(send(fd, data, len, MSG_NOSIGNAL), len);
}

static void raw_header(int fd, uint16_t type, uint32_t length, uint64_t offset)
{
	const struct wh_record record = {
		.type = type, .region = REGION, .length = length, .offset = offset
	};
	uint8_t bytes[WH_RECORD_HEADER];

	wh_record_encode(bytes, &record);
	raw_bytes(fd, bytes, sizeof(bytes));
}

static void raw_hello(int fd, uint16_t connection, uint16_t connections, const uint8_t *secret)
{
	struct wh_hello hello = { .connection = connection, .connections = connections };
	uint8_t bytes[WH_HELLO_BYTES];

	memcpy(hello.token, secret, sizeof(hello.token));
	wh_hello_encode(bytes, &hello);
	raw_header(fd, WH_RECORD_HELLO, sizeof(bytes), 0);
	raw_bytes(fd, bytes, sizeof(bytes));
}

/* Return: whether the other side said WELCOME rather than closing the connection. */
static bool raw_welcomed(int fd)
{
	uint8_t bytes[WH_RECORD_HEADER + WH_WELCOME_BYTES];

	return recv(fd, bytes, sizeof(bytes), MSG_WAITALL) == (ssize_t)sizeof(bytes) &&
	       wh_record_decode(bytes).type == WH_RECORD_WELCOME;
}

/* A FRAME record of one byte that waits for so many writes on each connection. */
static void raw_frame(struct raw *raw, const uint64_t posted[2])
{
	raw_header(raw->fds[0], WH_RECORD_FRAME, 8 * raw->count + 1, 0);
	raw_bytes(raw->fds[0], posted, 8ul * raw->count); /* little-endian, as this machine is */
	raw_bytes(raw->fds[0], "f", 1);
}

static void raw_open(struct raw *raw, uint16_t count)
{
	struct opener opener;
	uint16_t port = opener_start(&opener);

	raw->count = count;
	for (uint16_t i = 0; i < count; i++) {
		raw->fds[i] = raw_connect(port);
		raw_hello(raw->fds[i], i, count, tcp_end_token);
		assert_true(raw_welcomed(raw->fds[i]));
	}
	raw->target = opener_join(&opener);
	raw->to = new_memory(memfd_create("to", MFD_CLOEXEC));
	lend(raw->target, &raw->to);
}

static int setup_raw_one(void **state)
{
	static struct raw raw;

	raw = (struct raw){ .fds = { -1, -1 } };
	raw_open(&raw, 1);
	*state = &raw;
	return 0;
}

static int setup_raw_two(void **state)
{
	static struct raw raw;

	raw = (struct raw){ .fds = { -1, -1 } };
	raw_open(&raw, 2);
	*state = &raw;
	return 0;
}

static int teardown_raw(void **state)
{
	struct raw *raw = *state;

	raw->target = wh_transport_close(raw->target);
	wh_closep(&raw->fds[0]);
	wh_closep(&raw->fds[1]);
	memory_done(&raw->to);
	return 0;
}

static void a_stranger_is_refused_and_the_right_one_still_gets_in(void **state)
{
	struct wh_transport *link = NULL;
	struct opener opener;
	uint16_t port = opener_start(&opener);
	int fd;

	(void)state;
	fd = raw_connect(port);
	raw_hello(fd, 0, 1, tcp_end_wrong_token);
	assert_false(raw_welcomed(fd));
	wh_closep(&fd);
	fd = raw_connect(port);
	raw_bytes(fd, "GET / HTTP/1.1\r\nHost: example\r\n\r\n", 34);
	assert_false(raw_welcomed(fd));
	wh_closep(&fd);
	assert_true(connect_to(&link, port, 1, tcp_end_wrong_token) < 0);
	assert_null(link);

	assert_int_equal(connect_to(&link, port, 2, tcp_end_token), 0);
	opener.link = opener_join(&opener);
	assert_int_equal(wh_transport_send(link, "hello", 5), 0);
	await_frame(opener.link, "hello", 5);
	link = wh_transport_close(link);
	opener.link = wh_transport_close(opener.link);
}

static void a_frame_waits_for_writes_on_other_connections(void **state)
{
	struct raw *raw = *state;
	const uint8_t page[WH_PAGE_SIZE] = "late";
	struct wh_event event;

	raw_frame(raw, (uint64_t[]){ 0, 1 });
	raw_header(raw->fds[1], WH_RECORD_WRITE, sizeof(page), 0);
	assert_int_equal(wh_transport_poll(raw->target, &event, 1, in(A_MOMENT_NS)), 0);

	raw_bytes(raw->fds[1], page, sizeof(page));
	await_frame(raw->target, "f", 1);
	assert_memory_equal(raw->to.addr, "late", 5);
}

static void a_frame_whose_writes_can_come_no_more_is_a_lost_link(void **state)
{
	struct raw *raw = *state;
	struct wh_event event;

	raw_frame(raw, (uint64_t[]){ 0, 1 });
	wh_closep(&raw->fds[1]);
	wh_closep(&raw->fds[0]);
	assert_int_equal(await(raw->target, &event), -ECONNRESET);
}

static void a_peer_that_closes_in_mid_record_is_lost(void **state)
{
	static const uint8_t half[WH_PAGE_SIZE + 7];
	struct raw *raw = *state;
	struct wh_event event;

	raw_header(raw->fds[0], WH_RECORD_WRITE, 2 * WH_PAGE_SIZE, 0);
	raw_bytes(raw->fds[0], half, sizeof(half));
	wh_closep(&raw->fds[0]);
	assert_int_equal(await(raw->target, &event), -ECONNRESET);
}

static void a_peer_that_closes_in_mid_header_is_lost(void **state)
{
	struct raw *raw = *state;
	struct wh_event event;

	raw_bytes(raw->fds[0], "\x03", 1);
	wh_closep(&raw->fds[0]);
	assert_int_equal(await(raw->target, &event), -ECONNRESET);
}

static void memory_taken_back_in_mid_record_is_not_written(void **state)
{
	static const uint8_t page[WH_PAGE_SIZE] = "x";
	struct raw *raw = *state;
	struct wh_event event;

	raw_header(raw->fds[0], WH_RECORD_WRITE, 2 * WH_PAGE_SIZE, 0);
	raw_bytes(raw->fds[0], page, sizeof(page));
	assert_int_equal(wh_transport_poll(raw->target, &event, 1, in(10 * WH_NSEC_PER_MSEC)), 0);

	wh_transport_unmap(raw->target, REGION);
	raw_bytes(raw->fds[0], page, sizeof(page));
	assert_int_equal(await(raw->target, &event), -EPROTO);
	assert_int_equal(raw->to.addr[0], 0);
	assert_int_equal(raw->to.addr[WH_PAGE_SIZE], 0);
}

static void frames_that_wait_to_be_taken_outlive_a_good_end(void **state)
{
	struct raw *raw = *state;
	struct wh_event event;

	/* More than the receiving thread has room for while nobody polls. */
	for (int i = 0; i < 200; i++)
		raw_frame(raw, (uint64_t[]){ 0, 0 });
	wh_closep(&raw->fds[0]);
	(void)poll(NULL, 0, 30);

	for (int i = 0; i < 200; i++)
		await_frame(raw->target, "f", 1);
	assert_int_equal(await(raw->target, &event), 1);
	assert_int_equal(event.type, WH_EVENT_CLOSED);
}

static void records_that_break_the_rules_break_the_link(void **state)
{
	static const struct {
		uint16_t type;
		uint32_t length;
		uint64_t offset;
	} cases[] = {
		{ 0, 1, 0 },
		{ WH_RECORD_HELLO, WH_HELLO_BYTES, 0 },
		{ WH_RECORD_WELCOME, WH_WELCOME_BYTES, 0 },
		{ WH_RECORD_WRITE_DELTA + 1, 1, 0 },
		{ WH_RECORD_FRAME, 0, 0 },
		{ WH_RECORD_FRAME, WH_FRAME_RECORD_MAX + 1, 0 },
		{ WH_RECORD_WRITE_ZSTD, 0, 0 },
		{ WH_RECORD_WRITE_ZSTD, WH_COMPRESS_HEADER, 0 },
		{ WH_RECORD_WRITE_ZSTD, WH_WRITE_LEN_MAX + 1, 0 },
		{ WH_RECORD_WRITE_DELTA, WH_COMPRESS_HEADER, 0 },
		{ WH_RECORD_WRITE_DELTA, WH_WRITE_LEN_MAX + 1, 0 },
		{ WH_RECORD_WRITE, 0, 0 },
		{ WH_RECORD_WRITE, WH_PAGE_SIZE - 1, 0 },
		{ WH_RECORD_WRITE, WH_PAGE_SIZE, 1 },
		{ WH_RECORD_WRITE, WH_WRITE_LEN_MAX + WH_PAGE_SIZE, 0 },
		{ WH_RECORD_WRITE, WH_PAGE_SIZE, BYTES },
		{ WH_RECORD_WRITE, WH_PAGE_SIZE, UINT64_MAX - WH_PAGE_SIZE + 1 },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct raw raw = { .fds = { -1, -1 } };
		struct wh_event event;
		void *inner = &raw;

		raw_open(&raw, 1);
		raw_header(raw.fds[0], cases[i].type, cases[i].length, cases[i].offset);
		assert_int_equal(await(raw.target, &event), -EPROTO);
		assert_int_equal(teardown_raw(&inner), 0);
	}
	(void)state;
}

/* --- compressed contents ---------------------------------------------------------------------- */

#define TEXT_BYTES 16384u

/* A payload in good faith, for a test to spoil. */
struct payload {
	uint8_t bytes[TEXT_BYTES + WH_PAGE_SIZE];
	uint32_t len;
	uint64_t offset; /* where it shall go */
	uint16_t type;   /* of its record */
};

static struct payload good_payload(void)
{
	struct wh_compressor *c = wh_compressor_new();
	struct payload p = { .offset = WH_PAGE_SIZE, .type = WH_RECORD_WRITE_ZSTD };
	uint8_t text[TEXT_BYTES];

	assert_non_null(c);
	fill_text(text, sizeof(text));
	p.len = wh_compress(c, p.bytes, text, sizeof(text));
	assert_in_range(p.len, 1, sizeof(text) / 2);
	(void)wh_compressor_free(c);
	return p;
}

static void claim_length(struct payload *p, uint32_t len)
{
	struct wh_writer w = wh_writer_init(p->bytes, sizeof(p->bytes));

	wh_put_u32(&w, len);
}

static void raw_payload(int fd, const struct payload *p)
{
	raw_header(fd, p->type, p->len, p->offset);
	raw_bytes(fd, p->bytes, p->len);
}

static void compressed_contents_are_a_write_like_others(void **state)
{
	const struct payload p = good_payload();
	struct raw *raw = *state;
	uint8_t text[TEXT_BYTES];

	fill_text(text, sizeof(text));
	raw_frame(raw, (uint64_t[]){ 0, 1 });
	raw_payload(raw->fds[1], &p);
	await_frame(raw->target, "f", 1);
	assert_memory_equal(raw->to.addr + WH_PAGE_SIZE, text, sizeof(text));
	assert_int_equal(raw->to.addr[0], 0);
	assert_int_equal(raw->to.addr[WH_PAGE_SIZE + TEXT_BYTES], 0);
}

/* --- differences ------------------------------------------------------------------------------ */

#define DELTA_PAGES (TEXT_BYTES / WH_PAGE_SIZE)

/* A delta in good faith: text, the first page and the last of it as differences. */
static struct payload good_delta(void)
{
	const uint8_t known = 1 | 1 << (DELTA_PAGES - 1);
	struct wh_compressor *c = wh_compressor_new();
	struct payload p = { .offset = WH_PAGE_SIZE, .type = WH_RECORD_WRITE_DELTA };
	uint8_t text[TEXT_BYTES];

	assert_non_null(c);
	fill_text(text, sizeof(text));
	(void)wh_compressor_hold(c, text, sizeof(text));
	p.len = wh_compress_delta(c, p.bytes, sizeof(text), &known);
	assert_in_range(p.len, 1, sizeof(text) / 2);
	(void)wh_compressor_free(c);
	return p;
}

static void differences_are_to_what_is_there(void **state)
{
	const struct payload p = good_delta();
	struct raw *raw = *state;
	uint8_t text[TEXT_BYTES];

	fill_text(text, sizeof(text));
	memset(raw->to.addr, 0x55, BYTES);
	for (uint32_t i = 0; i < WH_PAGE_SIZE; i++) {
		text[i] ^= 0x55;
		text[TEXT_BYTES - 1 - i] ^= 0x55;
	}
	raw_frame(raw, (uint64_t[]){ 0, 1 });
	raw_payload(raw->fds[1], &p);
	await_frame(raw->target, "f", 1);
	assert_memory_equal(raw->to.addr + WH_PAGE_SIZE, text, sizeof(text));
	assert_int_equal(raw->to.addr[0], 0x55);
	assert_int_equal(raw->to.addr[WH_PAGE_SIZE + TEXT_BYTES], 0x55);
}

/* --- what is no payload ------------------------------------------------------------------------ */

static void says_no_contents(struct payload *p)
{
	claim_length(p, 0);
}

static void says_too_much(struct payload *p)
{
	claim_length(p, WH_WRITE_LEN_MAX + WH_PAGE_SIZE);
}

static void says_half_a_page(struct payload *p)
{
	claim_length(p, TEXT_BYTES - WH_PAGE_SIZE / 2);
}

static void inflates_to_more(struct payload *p)
{
	claim_length(p, TEXT_BYTES - WH_PAGE_SIZE);
}

static void inflates_to_less(struct payload *p)
{
	claim_length(p, TEXT_BYTES + WH_PAGE_SIZE);
}

static void is_cut_short(struct payload *p)
{
	p->len--;
}

static void goes_on_behind_its_frame(struct payload *p)
{
	p->bytes[p->len++] = 0;
}

static void is_no_frame(struct payload *p)
{
	memset(p->bytes + WH_COMPRESS_HEADER, 'x', p->len - WH_COMPRESS_HEADER);
}

static void is_longer_than_its_contents(struct payload *p)
{
	p->len = TEXT_BYTES + 1;
}

static void goes_behind_the_end(struct payload *p)
{
	p->offset = BYTES - TEXT_BYTES + WH_PAGE_SIZE;
}

static void goes_between_pages(struct payload *p)
{
	p->offset = 1;
}

/* A target that is sent @p gives up the link, and none of it is in its memory. */
static void expect_refused(const struct payload *p)
{
	struct raw raw = { .fds = { -1, -1 } };
	struct wh_event event;
	void *inner = &raw;

	raw_open(&raw, 1);
	raw_payload(raw.fds[0], p);
	assert_int_equal(await(raw.target, &event), -EPROTO);
	for (uint64_t at = 0; at < BYTES; at += WH_PAGE_SIZE)
		assert_int_equal(raw.to.addr[at], 0);
	assert_int_equal(teardown_raw(&inner), 0);
}

static void compressed_contents_that_break_the_rules_break_the_link(void **state)
{
	static void (*const spoil[])(struct payload * p) = {
		says_no_contents,    says_too_much,
		says_half_a_page,    inflates_to_more,
		inflates_to_less,    is_cut_short,
		is_no_frame,         goes_on_behind_its_frame,
		goes_between_pages,  is_longer_than_its_contents,
		goes_behind_the_end,
	};

	(void)state;
	for (size_t i = 0; i < sizeof(spoil) / sizeof(spoil[0]); i++) {
		struct payload p = good_payload();

		spoil[i](&p);
		expect_refused(&p);
		p = good_delta();
		spoil[i](&p);
		expect_refused(&p);
	}
}

static void a_difference_to_a_page_that_it_does_not_have_breaks_the_link(void **state)
{
	struct payload p = good_delta();

	(void)state;
	p.bytes[WH_COMPRESS_HEADER] |= 1 << DELTA_PAGES;
	expect_refused(&p);
}

/* --- frames ----------------------------------------------------------------------------------- */

static void a_frame_belongs_on_the_first_connection(void **state)
{
	struct raw *raw = *state;
	struct wh_event event;

	raw_header(raw->fds[1], WH_RECORD_FRAME, 17, 0);
	raw_bytes(raw->fds[1], (uint8_t[17]){ 0 }, 17);
	assert_int_equal(await(raw->target, &event), -EPROTO);
}

static void a_frame_shorter_than_its_list_is_a_breach(void **state)
{
	struct raw *raw = *state;
	struct wh_event event;

	raw_header(raw->fds[0], WH_RECORD_FRAME, 16, 0);
	raw_bytes(raw->fds[0], (uint8_t[16]){ 0 }, 16);
	assert_int_equal(await(raw->target, &event), -EPROTO);
}

#define RAW_ONE(fn) cmocka_unit_test_setup_teardown(fn, setup_raw_one, teardown_raw)
#define RAW_TWO(fn) cmocka_unit_test_setup_teardown(fn, setup_raw_two, teardown_raw)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_stranger_is_refused_and_the_right_one_still_gets_in),
		RAW_TWO(a_frame_waits_for_writes_on_other_connections),
		RAW_TWO(a_frame_whose_writes_can_come_no_more_is_a_lost_link),
		RAW_ONE(a_peer_that_closes_in_mid_record_is_lost),
		RAW_ONE(a_peer_that_closes_in_mid_header_is_lost),
		RAW_ONE(memory_taken_back_in_mid_record_is_not_written),
		RAW_ONE(frames_that_wait_to_be_taken_outlive_a_good_end),
		cmocka_unit_test(records_that_break_the_rules_break_the_link),
		RAW_TWO(compressed_contents_are_a_write_like_others),
		RAW_TWO(differences_are_to_what_is_there),
		cmocka_unit_test(a_difference_to_a_page_that_it_does_not_have_breaks_the_link),
		cmocka_unit_test(compressed_contents_that_break_the_rules_break_the_link),
		RAW_TWO(a_frame_belongs_on_the_first_connection),
		RAW_TWO(a_frame_shorter_than_its_list_is_a_breach),
	};

	/* A wait that never ends is a failure, too. */
	(void)alarm(60);
	return cmocka_run_group_tests_name("transport_peer", tests, NULL, NULL);
}
