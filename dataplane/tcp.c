/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The passive side takes connections until it has as many as the first HELLO promised. One that
 * does not show the token is closed and forgotten: strangers may knock, and must not be able to
 * end a migration.
 *
 * An urgent connection, if there is one, is opened before all others: so the passive side knows
 * whether one comes.
 */

#include "tcp.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tcp_socket.h"
#include "wire.h"

#include "wherry/clock.h"
#include "wherry/fdpass.h"

/* A stranger that connects and says nothing holds up the others no longer than this. */
#define HELLO_PATIENCE_NS WH_NSEC_PER_SEC

/* Interactive: what queues between us and the network by priority lets it pass. */
#define URGENT_PRIORITY 6

static int failed(struct wh_error *err, const char *what)
{
	return wh_fail(err, -errno, "%s: %s", what, strerror(errno));
}

/* The "192.0.2.7:4100" or "[2001:db8::7]:4100" behind the scheme. */
static int parse(struct sockaddr_storage *ret, socklen_t *len, const char *uri,
                 struct wh_error *err)
{
	const struct addrinfo hints = { .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV,
		                        .ai_socktype = SOCK_STREAM };
	const char *at = strstr(uri, "://");
	struct addrinfo *found;
	char host[WH_NAME_MAX];
	const char *colon;
	int r;

	at = at ? at + 3 : uri;
	colon = strrchr(at, ':');
	if (!colon || (size_t)(colon - at) >= sizeof(host))
		return wh_fail(err, -EINVAL, "'%s' is no ADDRESS:PORT", at);
	if (*at == '[' && colon[-1] == ']')
		(void)snprintf(host, sizeof(host), "%.*s", (int)(colon - at - 2), at + 1);
	else
		(void)snprintf(host, sizeof(host), "%.*s", (int)(colon - at), at);

	r = getaddrinfo(host, colon + 1, &hints, &found);
	if (r)
		return wh_fail(err, -EINVAL, "'%s': %s", at, gai_strerror(r));
	memcpy(ret, found->ai_addr, found->ai_addrlen);
	*len = found->ai_addrlen;
	freeaddrinfo(found);
	return 0;
}

/* A peer that is silent for WH_PEER_SILENCE_NS is lost, whether or not we are sending. */
static int set_options(int fd)
{
	const int silence_s = (int)(WH_PEER_SILENCE_NS / WH_NSEC_PER_SEC);

	if (wh_tcp_set(fd, IPPROTO_TCP, TCP_NODELAY, 1) < 0 ||
	    wh_tcp_set(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, silence_s * 1000) < 0 ||
	    wh_tcp_set(fd, SOL_SOCKET, SO_KEEPALIVE, 1) < 0 ||
	    wh_tcp_set(fd, IPPROTO_TCP, TCP_KEEPIDLE, 1) < 0 ||
	    wh_tcp_set(fd, IPPROTO_TCP, TCP_KEEPINTVL, 1) < 0 ||
	    wh_tcp_set(fd, IPPROTO_TCP, TCP_KEEPCNT, silence_s) < 0)
		return -errno;
	return 0;
}

static int set_urgent(int fd)
{
	return wh_tcp_set(fd, SOL_SOCKET, SO_PRIORITY, URGENT_PRIORITY) < 0 ? -errno : 0;
}

static int wait_for(int fd, short events, uint64_t deadline_ns)
{
	struct pollfd p = { .fd = fd, .events = events };

	/* This ends at the deadline. */
	for (;;) {
		uint64_t now = wh_now_ns(&wh_clock_monotonic);
		int n;

		if (now >= deadline_ns)
			return -ETIMEDOUT;
		n = poll(&p, 1, (int)((deadline_ns - now) / WH_NSEC_PER_MSEC) + 1);
		if (n > 0)
			return 0;
		if (n < 0 && errno != EINTR)
			return -errno;
	}
}

/* Move exactly @len bytes before the deadline. Return: 0 or -errno. */
static int receive(int fd, void *to, size_t len, uint64_t deadline_ns)
{
	uint8_t *at = to;

	while (len > 0) {
		int r = wait_for(fd, POLLIN, deadline_ns);
		ssize_t n;

		if (r < 0)
			return r;
		n = recv(fd, at, len, MSG_DONTWAIT);
		if (n == 0)
			return -ECONNRESET;
		if (n < 0 && errno != EAGAIN && errno != EINTR)
			return -errno;
		if (n > 0) {
			at += n;
			len -= (size_t)n;
		}
	}
	return 0;
}

/* A greeting fits into any socket buffer, so it is sent whole or not at all. */
static int send_greeting(int fd, uint16_t type, const void *payload, uint32_t len)
{
	uint8_t message[WH_RECORD_HEADER + WH_HELLO_BYTES];
	const struct wh_record record = { .type = type, .length = len };
	size_t total = WH_RECORD_HEADER + len;
	ssize_t n;

	wh_record_encode(message, &record);
	memcpy(message + WH_RECORD_HEADER, payload, len);
	n = send(fd, message, total, MSG_NOSIGNAL);
	return n == (ssize_t)total ? 0 : n < 0 ? -errno : -EIO;
}

static int receive_greeting(int fd, uint16_t type, void *payload, uint32_t len,
                            uint64_t deadline_ns)
{
	uint8_t header[WH_RECORD_HEADER];
	struct wh_record record;
	int r = receive(fd, header, sizeof(header), deadline_ns);

	if (r < 0)
		return r;
	record = wh_record_decode(header);
	if (record.type != type || record.length != len)
		return -EPROTO;
	return receive(fd, payload, len, deadline_ns);
}

static int connect_before(int fd, const struct sockaddr_storage *to, socklen_t len,
                          uint64_t deadline_ns)
{
	const uint64_t now = wh_now_ns(&wh_clock_monotonic);
	const uint64_t left = deadline_ns > now ? deadline_ns - now : 1;
	const struct timeval limit = { .tv_sec = (time_t)(left / WH_NSEC_PER_SEC),
		                       .tv_usec = (suseconds_t)(left % WH_NSEC_PER_SEC / 1000) };
	int r;

	/* For connect() the send timeout counts. */
	if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) < 0)
		return -errno;
	/*
	 * The end of another link's ring interrupts us, as a signal would; calling again goes on
	 * waiting. This ends: there are few such rings, and they end once.
	 */
	do
		r = connect(fd, (const struct sockaddr *)to, len);
	while (r < 0 && errno == EINTR);
	if (r < 0)
		return errno == EINPROGRESS ? -ETIMEDOUT : -errno;
	if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &(struct timeval){ 0 }, sizeof(limit)) < 0)
		return -errno;
	return 0;
}

static int bind_local(int fd, const struct wh_link_config *cfg, struct wh_error *err)
{
	char uri[WH_NAME_MAX + 4];
	struct sockaddr_storage addr = { 0 };
	socklen_t len = 0;
	int r;

	if (!*cfg->local)
		return 0;
	(void)snprintf(uri, sizeof(uri), strchr(cfg->local, ':') ? "[%s]:0" : "%s:0", cfg->local);
	r = parse(&addr, &len, uri, err);
	if (r < 0)
		return r;
	return bind(fd, (struct sockaddr *)&addr, len) < 0 ? failed(err, cfg->local) : 0;
}

static int greet(int fd, uint16_t connection, uint16_t kind, const struct wh_link_config *cfg)
{
	struct wh_hello hello = { .connection = connection,
		                  .connections = (uint16_t)cfg->connections,
		                  .kind = kind };
	uint8_t payload[WH_HELLO_BYTES];
	uint8_t answer[WH_WELCOME_BYTES];
	int r;

	memcpy(hello.token, cfg->token, sizeof(hello.token));
	wh_hello_encode(payload, &hello);
	r = send_greeting(fd, WH_RECORD_HELLO, payload, sizeof(payload));
	if (r < 0)
		return r;
	r = receive_greeting(fd, WH_RECORD_WELCOME, answer, sizeof(answer), cfg->deadline_ns);
	return r < 0 ? r : wh_welcome_decode(answer);
}

/* Open one more connection. Return: it, or -errno. */
static int connect_one(uint16_t number, uint16_t kind, const struct wh_link_config *cfg,
                       struct wh_error *err)
{
	wh_cleanup(wh_closep) int fd = -1;
	struct sockaddr_storage peer = { 0 };
	socklen_t len = 0;
	int r;

	r = parse(&peer, &len, cfg->uri, err);
	if (r < 0)
		return r;
	fd = wh_tcp_socket(peer.ss_family, cfg->interface, err);
	if (fd < 0)
		return fd;
	r = wh_tcp_congestion(fd, cfg->congestion, err);
	if (r == 0)
		r = bind_local(fd, cfg, err);
	if (r < 0)
		return r;
	r = connect_before(fd, &peer, len, cfg->deadline_ns);
	if (r == 0)
		r = set_options(fd);
	if (r == 0 && kind == WH_HELLO_URGENT)
		r = set_urgent(fd);
	if (r == 0)
		r = greet(fd, number, kind, cfg);
	if (r < 0)
		return wh_fail(err, r, "connection %u: %s", number, strerror(-r));
	return wh_steal_fd(&fd);
}

static int connect_all(struct wh_tcp *tcp, const struct wh_link_config *cfg, struct wh_error *err)
{
	if (cfg->urgent) {
		tcp->urgent = connect_one(0, WH_HELLO_URGENT, cfg, err);
		if (tcp->urgent < 0)
			return tcp->urgent;
	}
	while (tcp->count < cfg->connections) {
		int fd = connect_one((uint16_t)tcp->count, WH_HELLO_BULK, cfg, err);

		if (fd < 0)
			return fd;
		tcp->fds[tcp->count++] = fd;
	}
	return 0;
}

/* Open the listening socket and tell the owner its port. Return: the socket, or -errno. */
static int listen_on(const struct wh_link_config *cfg, struct wh_error *err)
{
	wh_cleanup(wh_closep) int fd = -1;
	struct sockaddr_storage addr = { 0 };
	socklen_t len = 0;
	int r;

	r = parse(&addr, &len, cfg->uri, err);
	if (r < 0)
		return r;
	fd = wh_tcp_socket(addr.ss_family, cfg->interface, err);
	if (fd < 0)
		return fd;
	if (bind(fd, (struct sockaddr *)&addr, len) < 0 || listen(fd, WH_CONNECTIONS_MAX) < 0 ||
	    getsockname(fd, (struct sockaddr *)&addr, &len) < 0)
		return failed(err, "cannot listen");
	/* The port is at the same place in both families; getsockname() has put it there. */
	/* NOLINTNEXTLINE(clang-analyzer-core.CallAndMessage) */
	cfg->listening(cfg->context, ntohs(((struct sockaddr_in *)&addr)->sin_port));
	return wh_steal_fd(&fd);
}

/* Hear a new connection out. Return: 0, or a negative errno if it is not one of ours. */
static int admit(int fd, const struct wh_link_config *cfg, struct wh_hello *ret)
{
	uint64_t patience = wh_now_ns(&wh_clock_monotonic) + HELLO_PATIENCE_NS;
	uint8_t payload[WH_HELLO_BYTES], answer[WH_WELCOME_BYTES];
	int r;

	r = set_options(fd);
	if (r == 0)
		r = receive_greeting(fd, WH_RECORD_HELLO, payload, sizeof(payload), patience);
	if (r == 0)
		r = wh_hello_decode(ret, payload);
	if (r < 0)
		return r;
	if (memcmp(ret->token, cfg->token, WH_TOKEN_BYTES) != 0)
		return -EACCES;
	wh_welcome_encode(answer);
	return send_greeting(fd, WH_RECORD_WELCOME, answer, sizeof(answer));
}

/* Keep connection @fd, which shows the token. Return: 0, or -EPROTO: then it is left to close. */
static int keep(struct wh_tcp *tcp, int *fd, const struct wh_hello *hello)
{
	if (hello->kind == WH_HELLO_URGENT) {
		if (tcp->urgent >= 0 || tcp->count > 0 || hello->connection != 0)
			return -EPROTO;
		tcp->urgent = wh_steal_fd(fd);
		return set_urgent(tcp->urgent);
	}
	if (tcp->fds[hello->connection] >= 0)
		return -EPROTO;
	tcp->fds[hello->connection] = wh_steal_fd(fd);
	tcp->count++;
	return 0;
}

/* Take connections until all are there. @tcp's unused descriptors are -1. */
static int accept_all(struct wh_tcp *tcp, int listener, const struct wh_link_config *cfg)
{
	uint32_t expected = WH_CONNECTIONS_MAX;

	/* This ends when all are there or at the deadline. */
	while (tcp->count < expected) {
		wh_cleanup(wh_closep) int fd = -1;
		struct wh_hello hello = { 0 };
		int r = wait_for(listener, POLLIN, cfg->deadline_ns);

		if (r < 0)
			return r;
		fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		if (fd < 0 || admit(fd, cfg, &hello) < 0)
			continue;
		if ((tcp->count > 0 || tcp->urgent >= 0) && hello.connections != expected)
			return -EPROTO;
		expected = hello.connections;
		r = keep(tcp, &fd, &hello);
		if (r < 0)
			return r;
	}
	return 0;
}

static int wait_all(struct wh_tcp *tcp, const struct wh_link_config *cfg, struct wh_error *err)
{
	wh_cleanup(wh_closep) int listener = listen_on(cfg, err);
	int r;

	if (listener < 0)
		return listener;
	r = accept_all(tcp, listener, cfg);
	if (r < 0)
		return wh_fail(err, r, "the peer did not connect: %s", strerror(-r));
	return 0;
}

int wh_tcp_open(struct wh_tcp *ret, const struct wh_link_config *cfg, struct wh_error *err)
{
	struct wh_tcp tcp = { .urgent = -1 };
	int r;

	for (uint32_t i = 0; i < WH_CONNECTIONS_MAX; i++)
		tcp.fds[i] = -1;
	r = cfg->passive ? wait_all(&tcp, cfg, err) : connect_all(&tcp, cfg, err);
	if (r < 0) {
		wh_tcp_close(&tcp);
		return r;
	}
	*ret = tcp;
	return 0;
}

void wh_tcp_close(struct wh_tcp *tcp)
{
	for (uint32_t i = 0; i < WH_CONNECTIONS_MAX; i++)
		wh_closep(&tcp->fds[i]);
	wh_closep(&tcp->urgent);
	tcp->count = 0;
}
