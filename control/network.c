/* SPDX-License-Identifier: Apache-2.0 */

#include "network.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "files.h"

#include "wherry/assert.h"
#include "wherry/fdpass.h"

static bool is_usable(const struct ifaddrs *a, const char *interface)
{
	if (strcmp(a->ifa_name, interface) != 0 || !a->ifa_addr || !(a->ifa_flags & IFF_UP))
		return false;
	if (a->ifa_addr->sa_family == AF_INET)
		return true;
	if (a->ifa_addr->sa_family != AF_INET6)
		return false;
	/* A link-local address needs a scope that the other node cannot know. */
	return !IN6_IS_ADDR_LINKLOCAL(
		&((const struct sockaddr_in6 *)(const void *)a->ifa_addr)->sin6_addr);
}

static int check_interface(const char *interface, struct wh_error *err)
{
	struct ifaddrs *list;
	bool found = false;

	if (getifaddrs(&list) < 0)
		return wh_fail(err, -errno, "cannot list addresses: %s", strerror(errno));
	for (const struct ifaddrs *a = list; a && !found; a = a->ifa_next)
		found = is_usable(a, interface);
	freeifaddrs(list);
	return found ? 0 : -EADDRNOTAVAIL;
}

int wh_network_find(char interface[IFNAMSIZ], const struct wh_config *config, const char *name,
                    struct wh_error *err)
{
	const char *device = NULL;
	int r;

	if (!*name) {
		interface[0] = '\0';
		return 0;
	}
	for (size_t i = 0; i < config->network_count; i++)
		if (!strcmp(config->networks[i].name, name))
			device = config->networks[i].interface;
	if (!device)
		return wh_fail(err, -ENONET,
		               "the migration network '%s' is not among the 'networks' of node %s",
		               name, config->node);
	if (strlen(device) >= IFNAMSIZ)
		return wh_fail(err, -EINVAL, "'%s' is too long for an interface", device);
	r = check_interface(device, err);
	if (r == -EADDRNOTAVAIL)
		return wh_fail(err, r,
		               "interface %s of the migration network '%s' is missing, down or "
		               "without an address on node %s",
		               device, name, config->node);
	if (r < 0)
		return r;
	memcpy(interface, device, strlen(device) + 1);
	return 0;
}

int wh_address_parse(union wh_worker_address *ret, const char *text, uint16_t port)
{
	union wh_worker_address a = { 0 };

	if (inet_pton(AF_INET, text, &a.v4.sin_addr) == 1)
		a.any.sa_family = AF_INET;
	else if (inet_pton(AF_INET6, text, &a.v6.sin6_addr) == 1)
		a.any.sa_family = AF_INET6;
	else
		return -EINVAL;
	wh_address_set_port(&a, port);
	*ret = a;
	return 0;
}

bool wh_address_same_host(const union wh_worker_address *a, const union wh_worker_address *b)
{
	if (a->any.sa_family != b->any.sa_family)
		return false;
	if (a->any.sa_family == AF_INET)
		return a->v4.sin_addr.s_addr == b->v4.sin_addr.s_addr;
	return IN6_ARE_ADDR_EQUAL(&a->v6.sin6_addr, &b->v6.sin6_addr);
}

static bool has_address(const struct ifaddrs *a, const union wh_worker_address *address)
{
	union wh_worker_address own = { 0 };

	if (!a->ifa_addr || a->ifa_addr->sa_family != address->any.sa_family)
		return false;
	memcpy(&own, a->ifa_addr,
	       address->any.sa_family == AF_INET ? sizeof(own.v4) : sizeof(own.v6));
	return wh_address_same_host(&own, address);
}

int wh_network_of(char interface[IFNAMSIZ], const union wh_worker_address *local,
                  struct wh_error *err)
{
	struct ifaddrs *list;
	bool found = false;

	if (getifaddrs(&list) < 0)
		return wh_fail(err, -errno, "cannot list addresses: %s", strerror(errno));
	for (const struct ifaddrs *a = list; a && !found; a = a->ifa_next) {
		found = has_address(a, local);
		if (found)
			(void)snprintf(interface, IFNAMSIZ, "%s", a->ifa_name);
	}
	freeifaddrs(list);
	return found ? 0
	             : wh_fail(err, -EADDRNOTAVAIL,
	                       "no interface of this host has the migration's address");
}

int wh_address_of(int fd, bool other_end, union wh_worker_address *ret)
{
	union wh_worker_address a = { 0 };
	socklen_t len = sizeof(a);

	if (other_end ? getpeername(fd, &a.any, &len) < 0 : getsockname(fd, &a.any, &len) < 0)
		return -errno;
	if (a.any.sa_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&a.v6.sin6_addr)) {
		struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_port = a.v6.sin6_port };

		memcpy(&v4.sin_addr, &a.v6.sin6_addr.s6_addr[12], sizeof(v4.sin_addr));
		a = (union wh_worker_address){ .v4 = v4 };
	}
	*ret = a;
	return 0;
}

/* A datagram socket that is connected sends nothing, and has an address of its own. */
int wh_network_towards(char interface[IFNAMSIZ], const char *address, struct wh_error *err)
{
	wh_cleanup(wh_closep) int fd = -1;
	union wh_worker_address to;
	int r = wh_address_parse(&to, address, 9); /* any port */

	if (r < 0)
		return wh_fail(err, r, "'%s' is no address", address);
	fd = socket(to.any.sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, &to.any, sizeof(to)) < 0)
		return wh_fail(err, -errno, "no way leads to %s: %s", address, strerror(errno));
	r = wh_address_of(fd, false, &to);
	return r < 0 ? wh_fail(err, r, "no way leads to %s", address)
	             : wh_network_of(interface, &to, err);
}

void wh_address_set_port(union wh_worker_address *a, uint16_t port)
{
	if (a->any.sa_family == AF_INET)
		a->v4.sin_port = htons(port);
	else
		a->v6.sin6_port = htons(port);
}

static int open_socket(int family, const char *interface)
{
	wh_cleanup(wh_closep) int fd =
		socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	const int one = 1;

	if (fd < 0)
		return -errno;
	/* Small messages matter here more than full segments. */
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (*interface && setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, interface,
	                             (socklen_t)strlen(interface)) < 0)
		return -errno;
	return wh_steal_fd(&fd);
}

static int bind_and_listen(int fd, int family, uint16_t port)
{
	union wh_worker_address any = { .any = { .sa_family = (sa_family_t)family } };
	const int one = 1;
	const int zero = 0;

	wh_address_set_port(&any, port);
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0)
		return -errno;
	if (family == AF_INET6 &&
	    setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof(zero)) < 0)
		return -errno;
	if (bind(fd, &any.any, family == AF_INET ? sizeof(any.v4) : sizeof(any.v6)) < 0 ||
	    listen(fd, WH_STRANGERS_MAX) < 0)
		return -errno;
	return 0;
}

int wh_network_listen(const char *interface, uint16_t port, struct wh_error *err)
{
	wh_cleanup(wh_closep) int fd = open_socket(AF_INET6, interface);
	int family = AF_INET6;
	int r;

	if (fd == -EAFNOSUPPORT) {
		family = AF_INET;
		fd = open_socket(AF_INET, interface);
	}
	r = fd < 0 ? fd : bind_and_listen(fd, family, port);
	if (r < 0)
		return wh_fail(err, r, "cannot listen on port %u%s%s: %s", port,
		               *interface ? " of " : "", interface, strerror(-r));
	return wh_steal_fd(&fd);
}

static void finish(struct wh_connecting *c, int result, const char *why)
{
	int fd = c->fd;

	c->fd = -1;
	wh_connect_stop(c);
	if (result < 0)
		wh_closep(&fd);
	c->done(c->ctx, result < 0 ? result : fd, why);
}

static void on_writable(void *ctx, uint32_t events)
{
	struct wh_connecting *c = ctx;
	int error = 0;
	socklen_t len = sizeof(error);

	(void)events;
	if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
		error = errno;
	finish(c, -error, error ? strerror(error) : NULL);
}

static void on_late(void *ctx)
{
	finish(ctx, -ETIMEDOUT, "no answer");
}

int wh_connect_start(struct wh_connecting *c, sd_event *loop, const char *interface,
                     const union wh_worker_address *to)
{
	wh_cleanup(wh_closep) int fd = open_socket(to->any.sa_family, interface);
	int r;

	wh_assert(!c->active);
	if (fd < 0)
		return fd;
	if (connect(fd, &to->any, to->any.sa_family == AF_INET ? sizeof(to->v4) : sizeof(to->v6)) <
	            0 &&
	    errno != EINPROGRESS)
		return -errno;
	c->watch = (struct wh_watch){ .ready = on_writable, .ctx = c };
	c->timer = (struct wh_timer){ .fired = on_late, .ctx = c };
	r = wh_watch_start(&c->watch, loop, fd, EPOLLOUT);
	if (r < 0)
		return r;
	wh_timer_start(&c->timer, loop, WH_CONNECT_NS);
	c->fd = wh_steal_fd(&fd);
	c->active = true;
	return 0;
}

void wh_connect_stop(struct wh_connecting *c)
{
	if (!c->active)
		return;
	wh_watch_stop(&c->watch);
	wh_timer_stop(&c->timer);
	wh_closep(&c->fd);
	c->active = false;
}
