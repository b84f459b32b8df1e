/* SPDX-License-Identifier: Apache-2.0 */

#include "libvirtd_started.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "files.h"
#include "process.h"

#include "wherry/clock.h"
#include "wherry/fdpass.h"

static bool is_libvirtd(pid_t pid)
{
	char path[64];
	wh_cleanup(wh_freep) char *name = NULL;
	size_t len;

	(void)snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
	return wh_file_read(path, 64, &name, &len, NULL) == 0 &&
	       (!strcmp(name, "libvirtd\n") || !strcmp(name, "virtqemud\n"));
}

/* Who made the socket: systemd, if it hands it over. A libvirtd that hangs is not waited for. */
static pid_t pid_behind(const char *socket_path)
{
	wh_cleanup(wh_closep) int fd =
		socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	struct ucred peer;
	socklen_t len = sizeof(peer);

	if (fd < 0 || strlen(socket_path) >= sizeof(addr.sun_path))
		return 0;
	memcpy(addr.sun_path, socket_path, strlen(socket_path));
	if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 ||
	    getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0)
		return 0;
	return peer.pid;
}

static pid_t pid_in(const char *path)
{
	wh_cleanup(wh_freep) char *text = NULL;
	size_t len;

	return wh_file_read(path, 32, &text, &len, NULL) < 0 ? 0 : (pid_t)strtol(text, NULL, 10);
}

time_t wh_libvirtd_started(const char *socket_path)
{
	const pid_t pids[] = { pid_behind(socket_path), pid_in("/run/libvirtd.pid"),
		               pid_in("/run/virtqemud.pid") };
	struct wh_process process;
	struct timespec up;

	for (size_t i = 0; i < sizeof(pids) / sizeof(*pids); i++)
		if (pids[i] > 0 && is_libvirtd(pids[i]) &&
		    wh_process_identify(&process, pids[i]) == 0 &&
		    clock_gettime(CLOCK_BOOTTIME, &up) == 0)
			return time(NULL) - up.tv_sec +
			       (time_t)(process.start / (uint64_t)sysconf(_SC_CLK_TCK));
	return 0;
}
