/* SPDX-License-Identifier: Apache-2.0 */

/*
 * How a mover gets hold of the guest's memory, and what is left behind when it goes.
 *
 * A userfaultfd belongs to the process that made it: here a child, the "maker", in place of the
 * hypervisor. A taker copies the descriptor with pidfd_getfd(); the maker closes its own. From
 * then on the tracking lives exactly as long as the taker's copy, however the taker ends.
 */

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tap.h"
#include "tracked.h"

#define PAGES    16u
#define PAUSE_MS 200  /* long enough for a write that does not block */
#define WAIT_MS  5000 /* long enough for anything that happens at all */

enum request {
	CLOSE_UFFD,
	WRITE_PAGE,
};

struct maker {
	pid_t pid;
	int sock;   /* requests to it, one byte back for each */
	char *addr; /* the same in both processes */
	int uffd;   /* its number in the maker */
};

static void make_and_serve(struct maker *m, uint64_t features)
{
	char request;

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	m->uffd = open_uffd(features);
	register_wp(m->uffd, m->addr, PAGES);
	tap_need(write(m->sock, &m->uffd, sizeof(m->uffd)) == sizeof(m->uffd), "tell the number");

	/* This ends when the test closes its end of the socket, or ends. */
	while (read(m->sock, &request, 1) == 1) {
		if (request == CLOSE_UFFD)
			(void)close(m->uffd);
		else
			m->addr[3 * PAGE]++;
		if (write(m->sock, &request, 1) != 1)
			break;
	}
	_exit(0);
}

static struct maker start_maker(uint64_t features)
{
	struct maker m = { .pid = -1 };
	int pair[2];
	int file;

	m.addr = shared_memory(&file, PAGES);
	(void)close(file);
	tap_need(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0, "socketpair");
	m.pid = fork();
	tap_need(m.pid >= 0, "fork");
	m.sock = pair[m.pid == 0];
	(void)close(pair[m.pid != 0]);
	if (m.pid == 0)
		make_and_serve(&m, features);
	tap_need(read(m.sock, &m.uffd, sizeof(m.uffd)) == sizeof(m.uffd), "the maker's uffd");
	return m;
}

static void stop_maker(struct maker *m)
{
	(void)close(m->sock);
	(void)kill(m->pid, SIGKILL);
	(void)waitpid(m->pid, NULL, 0);
	(void)munmap(m->addr, PAGES * PAGE);
}

static int take(const struct maker *m)
{
	int pidfd = pidfd_open(m->pid, 0);
	int uffd;

	tap_need(pidfd >= 0, "pidfd_open");
	uffd = pidfd_getfd(pidfd, m->uffd, 0);
	(void)close(pidfd);
	return uffd;
}

/* Whether the answer to an earlier request comes within @wait_ms. */
static bool answers(const struct maker *m, int wait_ms)
{
	struct pollfd ready = { .fd = m->sock, .events = POLLIN };
	char answer;

	return poll(&ready, 1, wait_ms) == 1 && read(m->sock, &answer, 1) == 1;
}

static void ask(const struct maker *m, enum request what)
{
	char request = (char)what;

	tap_need(write(m->sock, &request, 1) == 1, "ask the maker");
}

/* Whether the maker's mapping carries the kernel's "uffd write protection" flag. */
static bool is_tracked(const struct maker *m)
{
	unsigned long start;
	bool here = false;
	bool tracked = false;
	char path[64];
	char line[4096];
	FILE *smaps;

	(void)snprintf(path, sizeof(path), "/proc/%d/smaps", (int)m->pid);
	smaps = fopen(path, "re");
	tap_need(smaps, path);
	while (fgets(line, sizeof(line), smaps)) {
		char *end;

		start = strtoul(line, &end, 16);
		if (*end == '-')
			here = start == (uintptr_t)m->addr;
		else if (here && strncmp(line, "VmFlags:", 8) == 0)
			tracked = strstr(line, " uw") != NULL;
	}
	(void)fclose(smaps);
	return tracked;
}

static void taken_and_given_up(void)
{
	struct maker m = start_maker(TRACK_FEATURES);
	struct tracked t = { .addr = m.addr, .pages = PAGES, .pagemap = open_pagemap(m.pid) };
	bool written[PAGES];

	t.written = written;
	t.uffd = take(&m);
	tap_ok(t.uffd >= 0, "pidfd_getfd takes another process's userfaultfd");
	ask(&m, CLOSE_UFFD);
	tap_need(answers(&m, WAIT_MS), "close in the maker");
	tap_ok(is_tracked(&m), "the tracking outlives the maker's own copy");

	tracked_protect(&t);
	ask(&m, WRITE_PAGE);
	tap_need(answers(&m, WAIT_MS), "write in the maker");
	(void)tracked_scan(&t);
	tap_ok(tracked_only(&t, 3, 1), "the taker scans the maker's pages");

	(void)close(t.uffd);
	tap_ok(!is_tracked(&m),
	       "when the taker closes it, no trace is left in the maker's mapping");
	ask(&m, WRITE_PAGE);
	tap_ok(answers(&m, WAIT_MS), "and the maker's writes go on");
	(void)close(t.pagemap);
	stop_maker(&m);
}

/* Take the descriptor, protect the page with a write fault to wait for, and never serve it. */
static pid_t start_taker(const struct maker *m)
{
	struct uffdio_writeprotect wp = {
		.range = { .start = (uintptr_t)m->addr, .len = PAGES * PAGE },
		.mode = UFFDIO_WRITEPROTECT_MODE_WP,
	};
	int pipe_fds[2];
	char byte = 0;
	pid_t pid;

	tap_need(pipe(pipe_fds) == 0, "pipe");
	pid = fork();
	tap_need(pid >= 0, "fork");
	if (pid == 0) {
		int uffd = take(m);

		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (uffd < 0 || ioctl(uffd, UFFDIO_WRITEPROTECT, &wp) < 0)
			_exit(1);
		(void)!write(pipe_fds[1], &byte, 1);
		(void)pause();
		_exit(0);
	}
	(void)close(pipe_fds[1]);
	tap_need(read(pipe_fds[0], &byte, 1) == 1, "take and protect");
	(void)close(pipe_fds[0]);
	return pid;
}

static void taker_is_killed(void)
{
	struct maker m = start_maker(UFFD_FEATURE_WP_HUGETLBFS_SHMEM | UFFD_FEATURE_WP_UNPOPULATED);
	pid_t taker = start_taker(&m);

	ask(&m, CLOSE_UFFD);
	tap_need(answers(&m, WAIT_MS), "close in the maker");
	ask(&m, WRITE_PAGE);
	tap_ok(!answers(&m, PAUSE_MS), "a write to a page that the taker guards waits for it");

	(void)kill(taker, SIGKILL);
	(void)waitpid(taker, NULL, 0);
	tap_ok(answers(&m, WAIT_MS), "when the taker is killed, the write goes on");
	tap_ok(!is_tracked(&m), "and no trace is left in the maker's mapping");
	stop_maker(&m);
}

int main(void)
{
	(void)close(open_uffd(TRACK_FEATURES)); /* skips before there are children */
	taken_and_given_up();
	taker_is_killed();
	return tap_done();
}
