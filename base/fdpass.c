/* SPDX-License-Identifier: Apache-2.0 */

#include "wherry/fdpass.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "wherry/assert.h"

int wh_steal_fd(int *fd)
{
	int taken = *fd;

	*fd = -1;
	return taken;
}

void wh_closep(int *fd)
{
	if (*fd >= 0)
		(void)close(*fd); /* nothing written through it can be lost here */
	*fd = -1;
}

int wh_fdpass_send(int sock, const struct wh_fdpass *msg)
{
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int) * WH_FDPASS_MAX)] = { 0 };
	struct iovec iov = { .iov_base = msg->data, .iov_len = msg->len };
	struct msghdr hdr = { .msg_iov = &iov, .msg_iovlen = 1 };
	ssize_t n;

	wh_assert(msg->fd_count <= WH_FDPASS_MAX);
	if (msg->fd_count > 0) {
		struct cmsghdr *c = (struct cmsghdr *)control;

		hdr.msg_control = control;
		hdr.msg_controllen = CMSG_SPACE(sizeof(int) * msg->fd_count);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int) * msg->fd_count);
		memcpy(CMSG_DATA(c), msg->fds, sizeof(int) * msg->fd_count);
	}

	do
		n = sendmsg(sock, &hdr, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : 0;
}

/* Move the descriptors of @hdr to @msg, or close them all if they do not fit. */
static int take_fds(struct msghdr *hdr, struct wh_fdpass *msg)
{
	size_t room = msg->fd_count;
	int r = (hdr->msg_flags & (MSG_TRUNC | MSG_CTRUNC)) ? -EMSGSIZE : 1;

	msg->fd_count = 0;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(hdr); c; c = CMSG_NXTHDR(hdr, c)) {
		size_t count;

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < count; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
			if (msg->fd_count < room) {
				msg->fds[msg->fd_count++] = fd;
				continue;
			}
			(void)close(fd);
			r = -EMSGSIZE;
		}
	}
	if (r == -EMSGSIZE)
		while (msg->fd_count > 0)
			wh_closep(&msg->fds[--msg->fd_count]);
	return r;
}

int wh_fdpass_recv(int sock, struct wh_fdpass *msg)
{
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int) * WH_FDPASS_MAX)];
	struct iovec iov = { .iov_base = msg->data, .iov_len = msg->len };
	struct msghdr hdr = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof(control),
	};
	ssize_t n;

	do
		n = recvmsg(sock, &hdr, MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	if (n == 0)
		return 0;

	msg->len = (size_t)n;
	return take_fds(&hdr, msg);
}
