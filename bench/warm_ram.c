/* SPDX-License-Identifier: Apache-2.0 */

/*
 * warm_ram FILE MIB - have MIB of free memory that the machine really owns.
 *
 * In a virtual machine with free page reporting, free memory goes back to the hypervisor after two
 * seconds, and its next first touch costs many times a normal one: writing 2 GiB to a tmpfs took
 * 5.4 s instead of 1.2 s on the reference machine. A benchmark that fills fresh memory would mostly
 * measure how long ago somebody else freed it.
 *
 * So FILE, on a tmpfs, is written and then punched out, except for what keeps the rest from being
 * reported: only whole free blocks of a certain size ever are. That is one page of each MiB, where
 * blocks of 2 MiB are reported. If the tmpfs has huge pages, free huge pages are wanted, and every
 * other huge page stays: for where blocks of 4 MiB are reported (warm.sh sees to that). What is
 * free then is warm, and stays so. Keep FILE during the measurement and remove it afterwards.
 */

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define MIB     (1024l * 1024)
#define HUGE    (2 * MIB)
#define PAGE    4096l
#define MIB_MAX (1l << 20)

/* Where one page's entry in pagemap tells where it is in memory. */
#define PFN_MASK ((UINT64_C(1) << 55) - 1)

static const char zeros[HUGE];

/*
 * By hand: a tmpfs clears what fallocate() gave it only when it is first used.
 * Return: 0 or -errno.
 */
static int write_zeros(int fd, long from, long len)
{
	ssize_t n = pwrite(fd, zeros, (size_t)len, from);

	if (n != len)
		return n < 0 ? -errno : -ENOSPC;
	return 0;
}

static int punch(int fd, long from, long len)
{
	return fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, from, len) < 0 ? -errno
	                                                                                : 0;
}

/* Return: 0 or -errno. */
static int warm_small(int fd, long mib)
{
	int r = 0;

	for (long i = 0; r == 0 && i < mib; i++)
		r = write_zeros(fd, i * MIB, MIB);
	for (long i = 0; r == 0 && i < mib; i++)
		r = punch(fd, i * MIB + PAGE, MIB - PAGE);
	return r;
}

/* Whether the huge page of @fd at @from is the upper one of its 4 MiB of memory. */
static bool is_upper(int fd, long from)
{
	int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	volatile const char *page = mmap(NULL, HUGE, PROT_READ, MAP_SHARED, fd, from);
	uint64_t entry = 0;
	bool known = false;

	if (page != MAP_FAILED) {
		(void)*page;
		known = pread(pagemap, &entry, sizeof(entry),
		              (off_t)((uintptr_t)page / PAGE * sizeof(entry))) == sizeof(entry);
		(void)munmap((void *)(uintptr_t)page, HUGE);
	}
	(void)close(pagemap);
	return known && (entry & PFN_MASK) / (HUGE / PAGE) % 2;
}

/* Return: 0; -ENOSPC if the tmpfs is full before there were enough upper ones; or -errno. */
static int warm_huge(int fd, long mib)
{
	const long wanted = mib / (HUGE / MIB) + 1;
	long upper = 0, pieces = 0;
	int r = 0;

	while (r == 0 && upper < wanted) {
		r = write_zeros(fd, pieces * HUGE, HUGE);
		if (r == 0 && is_upper(fd, pieces * HUGE))
			upper++;
		pieces++;
	}
	for (long i = 0; r == 0 && i < pieces; i++)
		if (is_upper(fd, i * HUGE))
			r = punch(fd, i * HUGE, HUGE);
	return r;
}

static int warm(int fd, long mib)
{
	struct stat st;

	/* A small file is not given huge pages. */
	if (ftruncate(fd, mib * MIB) < 0 || fstat(fd, &st) < 0)
		return -errno;
	return st.st_blksize == HUGE ? warm_huge(fd, mib) : warm_small(fd, mib);
}

int main(int argc, char **argv)
{
	long mib = argc == 3 ? strtol(argv[2], NULL, 10) : 0;
	int fd;
	int r;

	if (mib < 1 || mib > MIB_MAX) {
		(void)fprintf(stderr, "usage: warm_ram FILE MIB\n"); /* nowhere else to say it */
		return EXIT_FAILURE;
	}

	fd = open(argv[1], O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0) {
		perror(argv[1]);
		return EXIT_FAILURE;
	}
	r = warm(fd, mib);
	(void)close(fd); /* a tmpfs has nothing left to write */
	if (r < 0) {
		(void)fprintf(stderr, "%s: %s\n", argv[1], strerrordesc_np(-r)); /* as above */
		return EXIT_FAILURE;
	}
	return EXIT_SUCCESS;
}
