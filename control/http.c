/* SPDX-License-Identifier: Apache-2.0 */

/*
 * HTTP - libmicrohttpd without a thread and without a listening socket.
 *
 * It waits for its connections with an epoll descriptor, which is one more thing for our loop to
 * watch. Connections are accepted here, so that their number is ours to limit, and handed over. One
 * that has taken too long is shut down under it, whatever it was doing, and it notices.
 */

#include "http.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <microhttpd.h>

#include "wherry/assert.h"
#include "wherry/clock.h"
#include "wherry/fdpass.h"
#include "wherry/limits.h"

struct page {
	struct MHD_Response *response; /* NULL before it was asked for */
	unsigned status;
	uint64_t made_ns;
};

/* A connection. */
struct client {
	struct wh_http *http;
	struct wh_timer timer;
	int fd; /* borrowed from libmicrohttpd */
};

struct wh_http {
	struct wh_http_config cfg;
	struct MHD_Daemon *mhd;
	struct wh_watch ready; /* its epoll descriptor */
	struct wh_timer turn;  /* when it wants to be called even so */
	struct wh_watch accept;
	int fd;
	unsigned count;
	struct page *pages; /* in the order of cfg.pages */
};

/* Migrations come first. */
static void yield(sd_event_source *source)
{
	wh_assert(sd_event_source_set_priority(source, SD_EVENT_PRIORITY_IDLE) >= 0);
}

static void on_turn(void *ctx);

static void take_turn(struct wh_http *http)
{
	MHD_UNSIGNED_LONG_LONG ms;

	(void)MHD_run(http->mhd); /* fails only for one that has threads */
	wh_timer_stop(&http->turn);
	if (MHD_get_timeout(http->mhd, &ms) == MHD_YES) {
		http->turn = (struct wh_timer){ .fired = on_turn, .ctx = http };
		wh_timer_start(&http->turn, http->cfg.loop, ms * WH_NSEC_PER_MSEC);
		yield(http->turn.source);
	}
	if (http->accept.source)
		wh_watch_change(&http->accept, http->count < WH_HTTP_CONNECTIONS_MAX ? EPOLLIN : 0);
}

static void on_turn(void *ctx)
{
	take_turn(ctx);
}

static void on_ready(void *ctx, uint32_t events)
{
	(void)events;
	take_turn(ctx);
}

/* Connections. */

static void on_accept(void *ctx, uint32_t events)
{
	struct wh_http *http = ctx;
	struct sockaddr_storage from;
	socklen_t len = sizeof(from);
	int fd = accept4(http->fd, (struct sockaddr *)&from, &len, SOCK_CLOEXEC | SOCK_NONBLOCK);

	(void)events;
	if (fd < 0)
		return;
	/* The descriptor is its own from here on, also on failure. */
	(void)MHD_add_connection(http->mhd, fd, (const struct sockaddr *)&from, len);
	take_turn(http);
}

static void on_late(void *ctx)
{
	const struct client *client = ctx;

	(void)shutdown(client->fd, SHUT_RDWR); /* it may have gone by itself */
}

static void begin_client(struct wh_http *http, struct MHD_Connection *connection, void **ret)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
	struct client *client = calloc(1, sizeof(*client));

	wh_assert(info && client);
	client->http = http;
	client->fd = info->connect_fd;
	client->timer = (struct wh_timer){ .fired = on_late, .ctx = client };
	wh_timer_start(&client->timer, http->cfg.loop, WH_HTTP_NS);
	http->count++;
	*ret = client;
}

static void on_connection(void *ctx, struct MHD_Connection *connection, void **state,
                          enum MHD_ConnectionNotificationCode what)
{
	struct client *client = *state;

	if (what == MHD_CONNECTION_NOTIFY_STARTED) {
		begin_client(ctx, connection, state);
	} else if (client) {
		client->http->count--;
		wh_timer_stop(&client->timer);
		free(client);
		*state = NULL;
	}
}

/* Requests. */

/* @body is owned by the response, if there is one. Return: NULL if memory ran out. */
static struct MHD_Response *response_of(char *body, size_t len, const char *type)
{
	struct MHD_Response *response =
		MHD_create_response_from_buffer(len, body, MHD_RESPMEM_MUST_FREE);

	if (!response) {
		free(body);
		return NULL;
	}
	/* Without these it is still an answer. */
	(void)MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type);
	(void)MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close");
	return response;
}

static enum MHD_Result refuse(struct MHD_Connection *connection, unsigned status, const char *why)
{
	struct MHD_Response *response;
	char *body = strdup(why);
	enum MHD_Result r;

	response = body ? response_of(body, strlen(body), "text/plain; charset=utf-8") : NULL;
	if (!response)
		return MHD_NO; /* ends the connection */
	if (status == MHD_HTTP_METHOD_NOT_ALLOWED)
		(void)MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
	r = MHD_queue_response(connection, status, response);
	MHD_destroy_response(response);
	return r;
}

static void drop_page(struct page *page)
{
	if (page->response)
		MHD_destroy_response(page->response);
	page->response = NULL;
}

static void make_page(struct wh_http *http, size_t i)
{
	const struct wh_http_page *def = &http->cfg.pages[i];
	struct page *page = &http->pages[i];
	uint64_t now_ns = wh_now_ns(&wh_clock_monotonic);
	size_t len = 0;
	char *body;

	if (page->response && now_ns - page->made_ns < WH_HTTP_FRESH_NS)
		return;
	drop_page(page);
	page->status = def->make(http->cfg.ctx, &body, &len);
	page->response = response_of(body, len, def->type);
	page->made_ns = now_ns;
}

/* NOLINTNEXTLINE(readability-function-size): what it is given is libmicrohttpd's choice */
static enum MHD_Result on_request(void *ctx, struct MHD_Connection *connection, const char *url,
                                  const char *method, const char *version, const char *data,
                                  size_t *len, void **state)
{
	struct wh_http *http = ctx;

	(void)version;
	(void)data;
	(void)len;
	(void)state;
	if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0)
		return refuse(connection, MHD_HTTP_METHOD_NOT_ALLOWED, "only GET and HEAD\n");
	for (size_t i = 0; i < http->cfg.count; i++) {
		if (strcmp(url, http->cfg.pages[i].path) != 0)
			continue;
		make_page(http, i);
		if (!http->pages[i].response)
			return MHD_NO;
		return MHD_queue_response(connection, http->pages[i].status,
		                          http->pages[i].response);
	}
	return refuse(connection, MHD_HTTP_NOT_FOUND, "no such page\n");
}

/* Listening. */

static socklen_t address_of(struct sockaddr_storage *ret, const struct wh_endpoint *at)
{
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)ret;
	struct sockaddr_in *v4 = (struct sockaddr_in *)ret;

	memset(ret, 0, sizeof(*ret));
	if (inet_pton(AF_INET, at->address, &v4->sin_addr) == 1) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons(at->port);
		return sizeof(*v4);
	}
	wh_assert(inet_pton(AF_INET6, at->address, &v6->sin6_addr) == 1); /* config.c has checked */
	v6->sin6_family = AF_INET6;
	v6->sin6_port = htons(at->port);
	return sizeof(*v6);
}

static int bind_at(int fd, const struct wh_endpoint *at)
{
	struct sockaddr_storage address;
	socklen_t len = address_of(&address, at);
	const int on = 1;

	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0)
		return -errno;
	if (address.ss_family == AF_INET6 &&
	    setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)) < 0)
		return -errno;
	if (bind(fd, (const struct sockaddr *)&address, len) < 0)
		return -errno;
	return listen(fd, WH_HTTP_CONNECTIONS_MAX) < 0 ? -errno : 0;
}

static int listen_at(struct wh_http *http, const struct wh_endpoint *at)
{
	int family = strchr(at->address, ':') ? AF_INET6 : AF_INET;

	http->fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	return http->fd < 0 ? -errno : bind_at(http->fd, at);
}

static int start(struct wh_http *http)
{
	const union MHD_DaemonInfo *info;
	int r;

	http->mhd = MHD_start_daemon(MHD_USE_EPOLL | MHD_USE_NO_LISTEN_SOCKET, 0, NULL, NULL,
	                             on_request, http, MHD_OPTION_CONNECTION_LIMIT,
	                             WH_HTTP_CONNECTIONS_MAX, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
	                             (size_t)WH_HTTP_MEMORY_MAX, MHD_OPTION_NOTIFY_CONNECTION,
	                             on_connection, http, MHD_OPTION_END);
	info = http->mhd ? MHD_get_daemon_info(http->mhd, MHD_DAEMON_INFO_EPOLL_FD) : NULL;
	if (!info)
		return -ENOMEM;
	http->ready = (struct wh_watch){ .ready = on_ready, .ctx = http };
	http->accept = (struct wh_watch){ .ready = on_accept, .ctx = http };
	r = wh_watch_start(&http->ready, http->cfg.loop, info->epoll_fd, EPOLLIN);
	if (r >= 0)
		r = wh_watch_start(&http->accept, http->cfg.loop, http->fd, EPOLLIN);
	if (r < 0)
		return r;
	yield(http->ready.source);
	yield(http->accept.source);
	return 0;
}

int wh_http_open(struct wh_http **ret, const struct wh_http_config *cfg, struct wh_error *err)
{
	struct wh_http *http = calloc(1, sizeof(*http));
	int r;

	if (!http)
		return wh_fail(err, -ENOMEM, "out of memory");
	http->cfg = *cfg;
	http->cfg.at = NULL;
	http->fd = -1;
	http->pages = calloc(cfg->count, sizeof(*http->pages));
	r = http->pages ? listen_at(http, cfg->at) : -ENOMEM;
	if (r == 0)
		r = start(http);
	if (r < 0) {
		(void)wh_http_close(http);
		return wh_fail(err, r, "cannot serve HTTP at %s port %u: %s", cfg->at->address,
		               cfg->at->port, strerror(-r));
	}
	*ret = http;
	return 0;
}

struct wh_http *wh_http_close(struct wh_http *http)
{
	if (!http)
		return NULL;
	wh_watch_stop(&http->accept);
	wh_watch_stop(&http->ready);
	wh_timer_stop(&http->turn);
	if (http->mhd)
		MHD_stop_daemon(http->mhd); /* tells on_connection() about each that it ends */
	for (size_t i = 0; http->pages && i < http->cfg.count; i++)
		drop_page(&http->pages[i]);
	free(http->pages);
	wh_closep(&http->fd);
	free(http);
	return NULL;
}
