/* SPDX-License-Identifier: Apache-2.0 */

#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "files.h"

#include "wherry/clock.h"
#include "wherry/fdpass.h"

/*
 * A process that is about to run stops before it does; one in the kernel may take its time, and needs a CPU for that. Where
 * several others wanted each CPU, half took 0.1 ms, and the longest of 60 took 120 and 190 ms.
 */
#define FREEZE_LOOK_NS 20000
#define FREEZE_NS      WH_NSEC_PER_SEC

/*
 * Read /proc/PID/stat. Return: where in @text the fields behind the command's name begin, which is in parentheses and
 * may hold any character; or -errno.
 */
static int read_stat(pid_t pid, char *text, size_t size)
{
	wh_cleanup(wh_closep) int fd = -1;
	char path[64];
	ssize_t n;
	char *s;

	(void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? -ESRCH : -errno;
	n = read(fd, text, size - 1);
	if (n < 0)
		return -errno;
	text[n] = '\0';
	s = strrchr(text, ')');
	if (!s || s[1] != ' ')
		return -EPROTO;
	return (int)(s + 2 - text);
}

/* The field "starttime" is the 20th there. */
static int start_time(pid_t pid, uint64_t *ret)
{
	char text[1024];
	int at = read_stat(pid, text, sizeof(text));
	const char *s;

	if (at < 0)
		return at;
	s = text + at;
	for (int i = 1; s && i < 20; i++) {
		s = strchr(s, ' ');
		s = s ? s + 1 : NULL;
	}
	if (!s || sscanf(s, "%" SCNu64, ret) != 1) /* NOLINT(cert-err34-c): the kernel's */
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

bool wh_process_is_gone(const struct wh_process *process)
{
	wh_cleanup(wh_closep) int fd = wh_process_open(process);

	return fd == -ESRCH;
}

bool wh_process_is_frozen(const struct wh_process *process)
{
	wh_cleanup(wh_closep) int fd = wh_process_open(process);
	char text[1024];
	int at = fd < 0 ? fd : read_stat(process->pid, text, sizeof(text));

	return at >= 0 && text[at] == 'T';
}

int wh_process_freeze(const struct wh_process *process)
{
	const struct timespec moment = { .tv_nsec = FREEZE_LOOK_NS };
	const uint64_t until_ns = wh_now_ns(&wh_clock_monotonic) + FREEZE_NS;
	int r = wh_process_kill(process, SIGSTOP);

	if (r < 0)
		return r;
	do {
		if (wh_process_is_frozen(process))
			return 0;
		(void)nanosleep(&moment, NULL);
	} while (wh_now_ns(&wh_clock_monotonic) < until_ns);
	(void)wh_process_thaw(process);
	return -ETIMEDOUT;
}

int wh_process_thaw(const struct wh_process *process)
{
	return wh_process_kill(process, SIGCONT);
}
