/* SPDX-License-Identifier: Apache-2.0 */

#include "peer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wherry/assert.h"
#include "wherry/clock.h"
#include "wherry/limits.h"

struct wh_peer {
	struct wh_peer_config cfg;
	struct wh_connecting connecting;
	struct wh_lines *lines; /* NULL until connected */
	struct wh_timer ping;
	struct wh_timer silence;
	bool welcome;     /* the hello was answered */
	uint32_t version; /* then: what was agreed upon */
};

static void lose(struct wh_peer *p, const char *why)
{
	wh_timer_stop(&p->ping);
	wh_timer_stop(&p->silence);
	p->cfg.handler.lost(p->cfg.handler.ctx, why);
}

static void on_silence(void *ctx)
{
	lose(ctx, "it is silent");
}

static void on_ping(void *ctx)
{
	const struct wh_node_message ping = { .type = WH_NODE_PING };
	struct wh_peer *p = ctx;

	wh_timer_start(&p->ping, p->cfg.loop, WH_NSEC_PER_SEC);
	wh_peer_send(p, &ping);
}

static void on_closed(void *ctx, const char *why)
{
	lose(ctx, why);
}

/* The answer to our hello. Return: NULL, or why it will not do. */
static const char *check_welcome(const struct wh_peer *p, const struct wh_node_message *msg)
{
	if (msg->type == WH_NODE_FAILED)
		return msg->reason;
	if (msg->type != WH_NODE_WELCOME)
		return "it does not answer our hello";
	if (msg->version_max < WH_NODE_VERSION_MIN || msg->version_max > WH_NODE_VERSION_MAX)
		return "it speaks a version of the protocol that was not offered";
	if (strcmp(msg->node, p->cfg.peer) != 0)
		return "another node answers at its address";
	return NULL;
}

static void on_line(void *ctx, const char *text, size_t len)
{
	struct wh_peer *p = ctx;
	struct wh_node_message msg;
	const char *why = NULL;
	struct wh_error err;

	wh_timer_start(&p->silence, p->cfg.loop, WH_PEER_SILENCE_NS);
	if (wh_node_parse(&msg, text, len, &err) < 0)
		why = err.text;
	else if (msg.type == WH_NODE_PING)
		return;
	else if (!p->welcome)
		why = check_welcome(p, &msg);
	if (why) {
		lose(p, why);
		return;
	}
	if (!p->welcome)
		p->version = msg.version_max;
	p->welcome = true;
	p->cfg.handler.message(p->cfg.handler.ctx, &msg);
}

static struct wh_lines_config lines_config(struct wh_peer *p)
{
	return (struct wh_lines_config){
		.loop = p->cfg.loop,
		.line_max = WH_NODE_LINE_MAX,
		.line = on_line,
		.closed = on_closed,
		.ctx = p,
	};
}

static void start_timers(struct wh_peer *p)
{
	wh_timer_start(&p->silence, p->cfg.loop, WH_PEER_SILENCE_NS);
	wh_timer_start(&p->ping, p->cfg.loop, WH_NSEC_PER_SEC);
}

static void on_connected(void *ctx, int fd, const char *why)
{
	struct wh_node_message hello = {
		.type = WH_NODE_HELLO,
		.version_min = WH_NODE_VERSION_MIN,
		.version_max = WH_NODE_VERSION_MAX,
	};
	struct wh_peer *p = ctx;
	struct wh_lines_config cfg = lines_config(p);

	if (fd >= 0 && wh_lines_open(&p->lines, fd, &cfg) < 0)
		why = "out of memory";
	if (!p->lines) {
		lose(p, why);
		return;
	}
	(void)snprintf(hello.node, sizeof(hello.node), "%s", p->cfg.node);
	start_timers(p);
	wh_peer_send(p, &hello);
}

static struct wh_peer *new_peer(const struct wh_peer_config *cfg)
{
	struct wh_peer *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->cfg = *cfg;
	p->ping = (struct wh_timer){ .fired = on_ping, .ctx = p };
	p->silence = (struct wh_timer){ .fired = on_silence, .ctx = p };
	p->connecting = (struct wh_connecting){ .done = on_connected, .ctx = p };
	return p;
}

int wh_peer_call(struct wh_peer **ret, const struct wh_peer_config *cfg, struct wh_error *err)
{
	wh_cleanup(wh_peer_closep) struct wh_peer *p = new_peer(cfg);
	int r;

	if (!p)
		return wh_fail(err, -ENOMEM, "out of memory");
	r = wh_connect_start(&p->connecting, cfg->loop, cfg->interface, &cfg->address);
	if (r < 0)
		return wh_fail(err, r, "cannot connect: %s", strerror(-r));
	*ret = wh_steal(p);
	return 0;
}

int wh_peer_adopt(struct wh_peer **ret, struct wh_lines *lines, uint32_t version,
                  const struct wh_peer_config *cfg)
{
	struct wh_peer *p = new_peer(cfg);
	struct wh_lines_config lines_cfg;

	if (!p) {
		(void)wh_lines_close(lines); /* returns NULL */
		return -ENOMEM;
	}
	lines_cfg = lines_config(p);
	wh_lines_redirect(lines, &lines_cfg);
	p->lines = lines;
	p->welcome = true;
	p->version = version;
	start_timers(p);
	*ret = p;
	return 0;
}

void wh_peer_send(struct wh_peer *p, const struct wh_node_message *msg)
{
	char *line;

	if (!p->lines)
		return;
	line = wh_node_format(msg);
	wh_lines_send(p->lines, line);
	free(line);
}

bool wh_peer_knows_post_copy(const struct wh_peer *p)
{
	return p->version >= WH_NODE_VERSION_POST_COPY;
}

bool wh_peer_knows_rdma(const struct wh_peer *p)
{
	return p->version >= WH_NODE_VERSION_RDMA;
}

bool wh_peer_knows_domains(const struct wh_peer *p)
{
	return p->version >= WH_NODE_VERSION_DOMAINS;
}

int wh_peer_local_address(const struct wh_peer *p, union wh_worker_address *ret)
{
	wh_assert(p->lines);
	return wh_address_of(wh_lines_fd(p->lines), false, ret);
}

struct wh_peer *wh_peer_close(struct wh_peer *p)
{
	if (!p)
		return NULL;
	wh_connect_stop(&p->connecting);
	wh_timer_stop(&p->ping);
	wh_timer_stop(&p->silence);
	p->lines = wh_lines_close(p->lines);
	free(p);
	return NULL;
}
