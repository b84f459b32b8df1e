/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Clients - an answer may come later than that to the next request, so each request has a slot in
 * a list, and answers leave from the front of it. A slot whose client is gone waits for its answer
 * all the same, and drops it; who owes the answer can have itself told.
 */

#include "clients.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "api.h"
#include "lines.h"

#include "wherry/assert.h"
#include "wherry/fdpass.h"
#include "wherry/limits.h"

struct client;

struct slot {
	struct wh_ask ask; /* first: reply() gets this */
	struct slot *next;
	struct client *client; /* NULL once it is gone */
	char *answer;          /* NULL until it is there */
};

struct client {
	struct client *next;
	struct wh_clients *clients;
	struct wh_lines *lines;
	struct slot *first;
	struct slot **last;
};

struct wh_clients {
	struct wh_daemon *daemon;
	struct wh_watch watch;
	int fd;
	struct client *first;
	unsigned count;
};

static void free_slot(struct slot *slot)
{
	free(slot->answer);
	free(slot);
}

static void send_answers(struct client *c)
{
	while (c->first && c->first->answer) {
		struct slot *slot = c->first;

		c->first = slot->next;
		if (!c->first)
			c->last = &c->first;
		wh_lines_send(c->lines, slot->answer);
		free_slot(slot);
	}
}

static void on_reply(struct wh_ask *ask, json_t *answer)
{
	struct slot *slot = (struct slot *)ask;

	slot->answer = wh_json_line(answer);
	wh_assert(slot->answer);
	json_decref(answer);
	if (slot->client)
		send_answers(slot->client);
	else
		free_slot(slot);
}

static void on_line(void *ctx, const char *text, size_t len)
{
	wh_cleanup(wh_json_unrefp) json_t *request = NULL;
	struct client *c = ctx;
	struct slot *slot = calloc(1, sizeof(*slot));
	struct wh_daemon *daemon = c->clients->daemon;
	struct wh_error err;

	wh_assert(slot);
	slot->ask = (struct wh_ask){ .reply = on_reply, .from = daemon->config->node };
	slot->client = c;
	*c->last = slot;
	c->last = &slot->next;
	if (wh_json_parse(&request, text, len, &err) < 0)
		wh_ask_refuse(&slot->ask, &err);
	else
		wh_api_request(daemon, request, &slot->ask);
}

static void drop(struct client *c)
{
	struct client **at = &c->clients->first;

	while (*at != c)
		at = &(*at)->next;
	*at = c->next;
	c->clients->count--;
	c->lines = wh_lines_close(c->lines);
	while (c->first) {
		struct slot *slot = c->first;

		c->first = slot->next;
		slot->client = NULL;
		if (slot->answer)
			free_slot(slot);
		else if (slot->ask.gone)
			slot->ask.gone(slot->ask.gone_ctx); /* may free it */
	}
	free(c);
}

static void on_closed(void *ctx, const char *why)
{
	(void)why;
	drop(ctx);
}

static void on_accept(void *ctx, uint32_t events)
{
	struct wh_clients *s = ctx;
	int fd = accept4(s->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct client *c;

	(void)events;
	if (fd < 0)
		return;
	c = s->count < WH_CLIENTS_MAX ? calloc(1, sizeof(*c)) : NULL;
	if (!c) {
		wh_closep(&fd);
		return;
	}
	c->clients = s;
	c->last = &c->first;
	if (wh_lines_open(&c->lines, fd,
	                  &(struct wh_lines_config){
				  .loop = s->daemon->loop,
				  .line_max = WH_API_LINE_MAX,
				  .line = on_line,
				  .closed = on_closed,
				  .ctx = c,
			  }) < 0) {
		free(c);
		return;
	}
	c->next = s->first;
	s->first = c;
	s->count++;
}

/* A socket file of a wherryd that was killed is in the way; one of a living wherryd stays. */
static int bind_socket(int fd, const struct sockaddr_un *addr)
{
	mode_t before;
	int r;

	if (connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) == 0)
		return -EADDRINUSE;
	if (errno == ECONNREFUSED)
		(void)unlink(addr->sun_path);
	before = umask(0177);
	r = bind(fd, (const struct sockaddr *)addr, sizeof(*addr)) < 0 ? -errno : 0;
	(void)umask(before);
	if (r == 0 && listen(fd, (int)WH_CLIENTS_MAX) < 0)
		r = -errno;
	return r;
}

int wh_clients_open(struct wh_clients **ret, struct wh_daemon *daemon, struct wh_error *err)
{
	const char *path = daemon->config->socket;
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	struct wh_clients *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return wh_fail(err, -ENOMEM, "out of memory");
	s->daemon = daemon;
	s->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	r = s->fd < 0 ? -errno : 0;
	if (strlen(path) >= sizeof(addr.sun_path))
		r = -ENAMETOOLONG;
	else
		memcpy(addr.sun_path, path, strlen(path));
	if (r == 0)
		r = bind_socket(s->fd, &addr);
	s->watch = (struct wh_watch){ .ready = on_accept, .ctx = s };
	if (r == 0)
		r = wh_watch_start(&s->watch, daemon->loop, s->fd, EPOLLIN);
	if (r < 0) {
		wh_closep(&s->fd);
		free(s);
		return wh_fail(err, r, "cannot listen at %s: %s", path,
		               r == -EADDRINUSE ? "another wherryd does" : strerror(-r));
	}
	*ret = s;
	return 0;
}

struct wh_clients *wh_clients_close(struct wh_clients *s)
{
	if (!s)
		return NULL;
	while (s->first)
		drop(s->first);
	wh_watch_stop(&s->watch);
	wh_closep(&s->fd);
	(void)unlink(s->daemon->config->socket); /* the next one would find it stale */
	free(s);
	return NULL;
}
