/* SPDX-License-Identifier: Apache-2.0 */

#include "huge_pool.h"

#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <unistd.h>

#include <linux/memfd.h>

#define POOL "/sys/kernel/mm/hugepages/hugepages-2048kB/"

static uint32_t get(const char *path)
{
	char text[32] = "";
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || read(fd, text, sizeof(text) - 1) < 0)
		text[0] = '\0';
	if (fd >= 0)
		(void)close(fd);
	return (uint32_t)strtoul(text, NULL, 10);
}

/*
 * Let the pool have @by pages more or, if it is negative, fewer. Others change it, too, and take the
 * same lock meanwhile. Return: by how much it has changed.
 */
static int64_t resize(int64_t by)
{
	int fd = open(POOL "nr_hugepages", O_WRONLY | O_CLOEXEC);
	int64_t before;
	int64_t after;
	char text[32];
	int len;

	if (fd < 0 || flock(fd, LOCK_EX) < 0)
		return 0;
	before = get(POOL "nr_hugepages");
	len = snprintf(text, sizeof(text), "%" PRId64, before + by > 0 ? before + by : 0);
	(void)!write(fd, text, (size_t)len); /* the caller looks what came of it */
	after = get(POOL "nr_hugepages");
	(void)close(fd);
	return after - before;
}

/* In a process of its own: whatever ends the test, the pipe closes. Pages still in use then go when
 * they are not. */
static void give_back_at_the_end(int pipe_end, int64_t pages)
{
	char byte;

	(void)signal(SIGINT, SIG_IGN);
	(void)signal(SIGTERM, SIG_IGN);
	(void)setsid();
	(void)!read(pipe_end, &byte, 1);
	(void)resize(-pages);
	_exit(0);
}

bool huge_pool_open(uint32_t pages)
{
	int64_t more;
	pid_t keeper;
	int fds[2];

	if (pipe2(fds, O_CLOEXEC) < 0)
		return false;
	more = resize(pages);
	keeper = fork();
	if (keeper == 0) {
		(void)close(fds[1]);
		give_back_at_the_end(fds[0], more);
	}
	(void)close(fds[0]);
	if (keeper < 0)
		(void)resize(-more);
	return keeper > 0 && more == pages;
}

uint32_t huge_pool_free(void)
{
	return get(POOL "free_hugepages") - get(POOL "resv_hugepages");
}

int huge_file(uint64_t bytes)
{
	int fd = memfd_create("huge", MFD_CLOEXEC | MFD_HUGETLB | MFD_HUGE_2MB);

	if (fd >= 0 && ftruncate(fd, (off_t)bytes) < 0) {
		(void)close(fd);
		return -1;
	}
	return fd;
}
