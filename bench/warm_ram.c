/* SPDX-License-Identifier: Apache-2.0 */

/*
 * warm_ram FILE MIB - have MIB of free memory that the machine really owns.
 *
 * In a virtual machine with free page reporting, free memory goes back to the hypervisor after two
 * seconds, and its next first touch costs many times a normal one: writing 2 GiB to a tmpfs took
 * 5.4 s instead of 1.2 s on the reference machine. A benchmark that fills fresh memory would mostly
 * measure how long ago somebody else freed it.
 *
 * So FILE, on a tmpfs, is written in full and then punched out, except for one page of each MiB.
 * What is free then is warm, and stays so: only whole free huge pages are ever reported. Keep FILE
 * during the measurement and remove it afterwards.
 */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MIB     (1024l * 1024)
#define KEPT    4096l
#define MIB_MAX (1l << 20)

/* Return: 0 or -errno. */
static int warm(int fd, long mib)
{
	static const char zeros[MIB];

	/* By hand: a tmpfs clears what fallocate() gave it only when it is first used. */
	for (long i = 0; i < mib; i++) {
		ssize_t n = pwrite(fd, zeros, MIB, i * MIB);

		if (n != MIB)
			return n < 0 ? -errno : -ENOSPC;
	}
	for (long i = 0; i < mib; i++)
		if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, i * MIB + KEPT,
		              MIB - KEPT) < 0)
			return -errno;
	return 0;
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
