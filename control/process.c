/* SPDX-License-Identifier: Apache-2.0 */

#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "files.h"

#include "wherry/fdpass.h"

/* The field "starttime" is the 20th after the command's name in parentheses. */
static int start_time(pid_t pid, uint64_t *ret)
{
	wh_cleanup(wh_closep) int fd = -1;
	char text[1024];
	char path[64];
	ssize_t n;
	char *s;

	(void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? -ESRCH : -errno;
	n = read(fd, text, sizeof(text) - 1);
	if (n < 0)
		return -errno;
	text[n] = '\0';
	s = strrchr(text, ')');
	for (int i = 0; s && i < 20; i++)
		s = strchr(s + 1, ' ');
	if (!s || sscanf(s + 1, "%" SCNu64, ret) != 1) /* NOLINT(cert-err34-c): the kernel's */
		return -EPROTO;
	return 0;
}

int wh_process_identify(struct wh_process *ret, pid_t pid)
{
	uint64_t start;
	int r = start_time(pid, &start);

	if (r == 0)
		*ret = (struct wh_process){ .pid = pid, .start = start };
	return r;
}

int wh_process_open(const struct wh_process *process)
{
	wh_cleanup(wh_closep) int fd = -1;
	uint64_t start = 0;
	int r;

	if (process->pid <= 0)
		return -ESRCH;
	fd = (int)syscall(SYS_pidfd_open, process->pid, 0);
	if (fd < 0)
		return -errno;
	/* Looked at after opening: from here on the descriptor and the pid are the same. */
	r = start_time(process->pid, &start);
	if (r < 0)
		return r;
	if (start != process->start)
		return -ESRCH;
	return wh_steal_fd(&fd);
}

int wh_process_kill(const struct wh_process *process, int signal)
{
	wh_cleanup(wh_closep) int fd = wh_process_open(process);

	if (fd < 0)
		return fd;
	return syscall(SYS_pidfd_send_signal, fd, signal, NULL, 0) < 0 ? -errno : 0;
}
