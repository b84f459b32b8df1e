/* SPDX-License-Identifier: Apache-2.0 */

#include "tcp_socket.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>

#include "wherry/fdpass.h"

/*
 * One that has no pace of its own. BBR sets a timer for every packet where the device has no fq,
 * and on a fast network those timers cost more than all the rest (docs/performance.md).
 */
#define CONGESTION_AUTO "cubic"

int wh_tcp_set(int fd, int level, int option, int value)
{
	return setsockopt(fd, level, option, &value, sizeof(value));
}

int wh_tcp_congestion(int fd, const char *name, struct wh_error *err)
{
	const bool any = !strcmp(name, "auto");
	const char *wanted = any ? CONGESTION_AUTO : name;

	if (!strcmp(name, "system") ||
	    setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, wanted, (socklen_t)strlen(wanted)) == 0)
		return 0;
	if (any)
		return 0; /* this kernel has none: its own choice will do */
	return wh_fail(err, -errno, "congestion control '%s': %s", name,
	               errno == ENOENT ? "this kernel has none of that name" : strerror(errno));
}

int wh_tcp_socket(int family, const char *interface, struct wh_error *err)
{
	wh_cleanup(wh_closep) int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return wh_fail(err, -errno, "socket: %s", strerror(errno));
	if (*interface && setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, interface,
	                             (socklen_t)strlen(interface)) < 0)
		return wh_fail(err, -errno, "%s: %s", interface, strerror(errno));
	return wh_steal_fd(&fd);
}
