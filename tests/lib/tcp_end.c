/* SPDX-License-Identifier: Apache-2.0 */

#include "tcp_end.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "wherry/clock.h"
#include "wherry/fdpass.h"
#include "wherry/limits.h"

const uint8_t tcp_end_token[WH_TOKEN_BYTES] = { 1, 2, 3, 4 };
const uint8_t tcp_end_wrong_token[WH_TOKEN_BYTES] = { 1, 2, 3, 5 };

uint64_t in(uint64_t ns)
{
	return wh_now_ns(&wh_clock_monotonic) + ns;
}

static void on_listening(void *context, uint16_t port)
{
	struct opener *opener = context;

	(void)!write(opener->ports[1], &port, sizeof(port));
}

static void *open_passive(void *arg)
{
	struct opener *opener = arg;
	const struct wh_link_config cfg = {
		.uri = opener->rdma.pairs ? "rdma://127.0.0.1:0" : "tcp://127.0.0.1:0",
		.passive = true,
		.queue_depth = DEPTH,
		.connections = 1,
		.interface = "",
		.local = "",
		.token = tcp_end_token,
		.deadline_ns = in(PATIENCE_NS),
		.rdma = opener->rdma,
		.listening = on_listening,
		.context = opener,
	};

	opener->result = wh_transport_open(&opener->link, &cfg, &opener->err);
	return NULL;
}

uint16_t opener_start_rdma(struct opener *opener, const struct wh_rdma_options *rdma)
{
	uint16_t port;

	*opener = (struct opener){ .rdma = *rdma };
	assert_int_equal(pipe2(opener->ports, O_CLOEXEC), 0);
	assert_int_equal(pthread_create(&opener->thread, NULL, open_passive, opener), 0);
	assert_int_equal(read(opener->ports[0], &port, sizeof(port)), sizeof(port));
	return port;
}

uint16_t opener_start(struct opener *opener)
{
	return opener_start_rdma(opener, &(struct wh_rdma_options){ .pairs = 0 });
}

struct wh_transport *opener_join(struct opener *opener)
{
	assert_int_equal(pthread_join(opener->thread, NULL), 0);
	wh_closep(&opener->ports[0]);
	wh_closep(&opener->ports[1]);
	if (opener->result < 0)
		fail_msg("%s", opener->err.text);
	return opener->link;
}

static int connect_by(struct wh_transport **ret, uint16_t port, struct wh_link_config *cfg,
                      struct wh_error *err)
{
	char uri[32];

	(void)snprintf(uri, sizeof(uri), "%s://127.0.0.1:%u", cfg->rdma.pairs ? "rdma" : "tcp",
	               port);
	cfg->uri = uri;
	cfg->queue_depth = DEPTH;
	cfg->interface = "";
	cfg->local = "";
	cfg->deadline_ns = in(PATIENCE_NS);
	return wh_transport_open(ret, cfg, err);
}

int connect_to(struct wh_transport **ret, uint16_t port, uint32_t connections,
               const uint8_t *secret)
{
	struct wh_link_config cfg = { .connections = connections,
		                      .token = secret,
		                      .congestion = "auto" };

	return connect_by(ret, port, &cfg, NULL);
}

struct wh_transport *connect_like(uint16_t port, const struct wh_link_config *like)
{
	struct wh_link_config cfg = *like;
	struct wh_transport *link = NULL;
	struct wh_error err;

	cfg.token = tcp_end_token;
	cfg.congestion = "auto";
	if (connect_by(&link, port, &cfg, &err) < 0)
		fail_msg("%s", err.text);
	return link;
}

int connect_with(struct wh_transport **ret, uint16_t port, const char *congestion,
                 struct wh_error *err)
{
	struct wh_link_config cfg = { .connections = 2,
		                      .token = tcp_end_token,
		                      .congestion = congestion };

	return connect_by(ret, port, &cfg, err);
}

struct memory new_memory(int fd)
{
	struct memory m = { .fd = fd };

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, BYTES), 0);
	m.addr = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_true(m.addr != MAP_FAILED);
	return m;
}

void memory_done(struct memory *m)
{
	(void)munmap(m->addr, BYTES);
	wh_closep(&m->fd);
}

void lend(struct wh_transport *link, const struct memory *m)
{
	const struct wh_memory memory = {
		.addr = m->addr, .fd = m->fd, .writable = true, .bytes = BYTES
	};

	assert_int_equal(wh_transport_map(link, REGION, &memory), 0);
	assert_int_equal(wh_transport_map(link, REGION, &memory), -EEXIST);
}

int await(struct wh_transport *link, struct wh_event *ret)
{
	return wh_transport_poll(link, ret, 1, in(PATIENCE_NS));
}

void await_frame(struct wh_transport *link, const void *data, uint32_t len)
{
	struct wh_event event;

	assert_int_equal(await(link, &event), 1);
	assert_int_equal(event.type, WH_EVENT_FRAME);
	assert_int_equal(event.frame.len, len);
	assert_memory_equal(event.frame.data, data, len);
}
