/* SPDX-License-Identifier: Apache-2.0 */

#include "flow.h"

#include <errno.h>
#include <poll.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "wherry/assert.h"
#include "wherry/clock.h"

#define CHUNK_BYTES (256u << 10)

int flow_listen(struct sockaddr_in *address)
{
	socklen_t len = sizeof(*address);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int one = 1;

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0 ||
	    bind(fd, (struct sockaddr *)address, len) < 0 || listen(fd, FLOW_MAX) < 0 ||
	    getsockname(fd, (struct sockaddr *)address, &len) < 0)
		return -errno;
	return fd;
}

int flow_accept(int listener, int *fds, int count)
{
	for (int i = 0; i < count; i++) {
		fds[i] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		if (fds[i] < 0)
			return -errno;
	}
	return 0;
}

int flow_connect(const struct sockaddr_in *to, int *fds, int count)
{
	for (int i = 0; i < count; i++) {
		fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (fds[i] < 0 || connect(fds[i], (const struct sockaddr *)to, sizeof(*to)) < 0)
			return -errno;
	}
	return 0;
}

/* Poll until @end_ns. Return: as poll(). */
static int wait_for(struct pollfd *set, int count, uint64_t end_ns)
{
	uint64_t now_ns = wh_now_ns(&wh_clock_monotonic);
	int left_ms = now_ns < end_ns ? (int)((end_ns - now_ns) / WH_NSEC_PER_MSEC) : 0;

	return poll(set, (nfds_t)count, left_ms);
}

int flow_send(const int *fds, int count, uint64_t end_ns)
{
	static const char data[CHUNK_BYTES];
	struct pollfd set[FLOW_MAX];

	wh_assert(count <= FLOW_MAX);
	for (int i = 0; i < count; i++)
		set[i] = (struct pollfd){ .fd = fds[i], .events = POLLOUT };

	while (wh_now_ns(&wh_clock_monotonic) < end_ns) {
		if (wait_for(set, count, end_ns) < 0 && errno != EINTR)
			return -errno;
		for (int i = 0; i < count; i++) {
			if (!set[i].revents)
				continue;
			if (send(fds[i], data, sizeof(data), MSG_DONTWAIT | MSG_NOSIGNAL) < 0 &&
			    errno != EAGAIN)
				return -errno;
		}
	}
	return 0;
}

int64_t flow_receive(const int *fds, int count, uint64_t end_ns)
{
	struct pollfd set[FLOW_MAX];
	int64_t bytes = 0;
	int open = count;

	wh_assert(count <= FLOW_MAX);
	for (int i = 0; i < count; i++)
		set[i] = (struct pollfd){ .fd = fds[i], .events = POLLIN };

	while (open > 0 && wh_now_ns(&wh_clock_monotonic) < end_ns) {
		if (wait_for(set, count, end_ns) < 0 && errno != EINTR)
			return -errno;
		for (int i = 0; i < count; i++) {
			ssize_t n;

			if (!set[i].revents)
				continue;
			/* MSG_TRUNC on TCP: drop the data where it is, copy nothing. */
			n = recv(fds[i], NULL, CHUNK_BYTES, MSG_DONTWAIT | MSG_TRUNC);
			if (n > 0)
				bytes += n;
			if (n == 0 || (n < 0 && errno != EAGAIN)) {
				set[i].fd = -1;
				open--;
			}
		}
	}
	return bytes;
}
