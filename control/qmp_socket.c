/* SPDX-License-Identifier: Apache-2.0 */

/*
 * QMP socket - the link is a unix socket with lines.
 */

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "files.h"
#include "lines.h"
#include "qmp_link.h"

#include "wherry/fdpass.h"
#include "wherry/limits.h"

static int connect_unix(const char *path, struct wh_error *err)
{
	wh_cleanup(wh_closep) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_un addr = { .sun_family = AF_UNIX };

	if (fd < 0)
		return wh_fail(err, -errno, "cannot make a socket: %s", strerror(errno));
	if (strlen(path) >= sizeof(addr.sun_path))
		return wh_fail(err, -ENAMETOOLONG, "%s is longer than a socket's path may be",
		               path);
	memcpy(addr.sun_path, path, strlen(path));
	if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
		return wh_fail(err, -errno, "no QEMU listens at %s: %s", path, strerror(errno));
	return wh_steal_fd(&fd);
}

static int peer_pid(int fd, pid_t *ret)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
		return -errno;
	*ret = cred.pid;
	return 0;
}

static void send_line(void *link, const char *line)
{
	wh_lines_send(link, line);
}

static void close_lines(void *link)
{
	(void)wh_lines_close(link);
}

static void on_line(void *ctx, const char *text, size_t len)
{
	wh_qmp_hear(ctx, text, len);
}

static void on_closed(void *ctx, const char *why)
{
	wh_qmp_lost(ctx, why);
}

int wh_qmp_open(struct wh_qmp **ret, sd_event *loop, const char *path,
                const struct wh_qmp_handler *handler, struct wh_error *err)
{
	wh_cleanup(wh_qmp_closep) struct wh_qmp *q = wh_qmp_new(loop, handler);
	struct wh_lines *lines;
	pid_t pid = 0;
	int fd;
	int r;

	if (!q)
		return wh_fail(err, -ENOMEM, "out of memory");
	fd = connect_unix(path, err);
	if (fd < 0)
		return fd;
	r = peer_pid(fd, &pid);
	if (r == 0)
		r = wh_lines_open(&lines, fd,
		                  &(struct wh_lines_config){
					  .loop = loop,
					  .line_max = WH_QMP_LINE_MAX,
					  .line = on_line,
					  .closed = on_closed,
					  .ctx = q,
				  });
	else
		wh_closep(&fd);
	if (r < 0)
		return wh_fail(err, r, "cannot use %s: %s", path, strerror(-r));
	wh_qmp_attach(q, &(struct wh_qmp_link){ .send = send_line,
	                                        .close = close_lines,
	                                        .reply_ns = WH_QMP_REPLY_NS,
	                                        .pid = pid,
	                                        .link = lines });
	*ret = wh_steal(q);
	return 0;
}
