/* SPDX-License-Identifier: Apache-2.0 */

/*
 * fill_ram FILE - overwrite a guest's RAM file with random content, as long as it is.
 *
 * For guests that stand still and never booted: no boot is needed to have gigabytes that neither
 * compress nor repeat. The content is always the same, so runs can be compared.
 */

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CHUNK_WORDS (256ul * 1024) /* a huge page: it is made in one piece */
#define SEED        0x2545f4914f6cdd1dull

/* Marsaglia's xorshift: a good generator is not needed, a quick one is. */
static uint64_t next_random(uint64_t x)
{
	x ^= x << 13;
	x ^= x >> 7;
	return x ^ x << 17;
}

/* Return: 0 or -errno. */
static int write_all(int fd, const char *data, size_t len)
{
	while (len > 0) {
		ssize_t n = write(fd, data, len);

		if (n < 0)
			return -errno;
		data += n;
		len -= (size_t)n;
	}
	return 0;
}

static int fill(int fd, uint64_t bytes)
{
	static uint64_t chunk[CHUNK_WORDS];
	uint64_t value = SEED;

	while (bytes > 0) {
		size_t len = bytes < sizeof(chunk) ? (size_t)bytes : sizeof(chunk);
		int r;

		for (size_t i = 0; i < CHUNK_WORDS; i++)
			chunk[i] = value = next_random(value);
		r = write_all(fd, (const char *)chunk, len);
		if (r < 0)
			return r;
		bytes -= len;
	}
	return 0;
}

int main(int argc, char **argv)
{
	struct stat st;
	int fd;
	int r;

	if (argc != 2) {
		(void)fprintf(stderr, "usage: fill_ram FILE\n"); /* nowhere else to say it */
		return EXIT_FAILURE;
	}

	fd = open(argv[1], O_WRONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0) {
		perror(argv[1]);
		return EXIT_FAILURE;
	}
	r = fill(fd, (uint64_t)st.st_size);
	if (r == 0 && close(fd) < 0)
		r = -errno;
	if (r < 0) {
		(void)fprintf(stderr, "%s: %s\n", argv[1], strerrordesc_np(-r)); /* as above */
		return EXIT_FAILURE;
	}
	return EXIT_SUCCESS;
}
