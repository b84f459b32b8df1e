/* SPDX-License-Identifier: Apache-2.0 */

/*
 * diskguest - the guest's program for disks: reads and writes one with O_DIRECT, and checks what is in
 * memory afterwards.
 *
 *	diskguest DEVICE
 *
 * Several threads read blocks of their own part of the disk into a ring of pages, and now and then write
 * one. Each block holds f(block, generation). A page is checked when it was read, and once more much
 * later, before it is used again; nothing but the device writes it. So if the device wrote it and a
 * migration did not notice, what it holds then is older.
 *
 * It prints, for a test to read on the serial console:
 *
 *	diskguest: ready
 *	diskguest: reads=123 writes=45 checks=678 errors=0	(totals, five times a second)
 *	diskguest: error block=12 expected=7 found=12/6		(at once; block and generation found)
 */

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define BLOCK_BYTES 4096u
#define WORDS       (BLOCK_BYTES / sizeof(uint64_t))

#define THREADS        8u
#define BLOCKS         256u /* of each thread */
#define SLOTS          64u  /* pages of each that are read into */
#define ACTS_PER_WRITE 8u

#define ERROR_LINES_MAX 100u

struct slot {
	bool filled;
	uint32_t block;
	uint32_t generation;
};

struct worker {
	int fd;
	uint32_t first; /* block */
	uint32_t random;
	uint32_t generations[BLOCKS];
	struct slot slots[SLOTS];
	uint64_t *pages; /* of the slots; one more to write from */
};

static _Atomic uint64_t reads, writes, checks, errors;

static uint32_t roll(struct worker *w, uint32_t sides)
{
	w->random = w->random * 1664525u + 1013904223u;
	return (w->random >> 8) % sides;
}

/* Word @i of a block. The first says which block and generation it is. */
static uint64_t word(uint32_t block, uint32_t generation, uint32_t i)
{
	const uint64_t first = (uint64_t)block << 32 | generation;

	return i == 0 ? first : (first + i) * UINT64_C(0x9E3779B97F4A7C15);
}

static void fill(uint64_t *page, uint32_t block, uint32_t generation)
{
	for (uint32_t i = 0; i < WORDS; i++)
		page[i] = word(block, generation, i);
}

static uint64_t *page_of(struct worker *w, uint32_t slot)
{
	return w->pages + (size_t)slot * WORDS;
}

static void check(struct worker *w, uint32_t number)
{
	const struct slot *slot = &w->slots[number];
	const uint64_t *page = page_of(w, number);

	checks++;
	for (uint32_t i = 0; i < WORDS; i++) {
		if (page[i] == word(slot->block, slot->generation, i))
			continue;
		if (++errors <= ERROR_LINES_MAX)
			printf("diskguest: error block=%u expected=%u found=%llu/%llu\n",
			       slot->block, slot->generation, (unsigned long long)(page[0] >> 32),
			       (unsigned long long)(page[0] & UINT32_MAX));
		return;
	}
}

static void give_up(const char *what)
{
	errors++;
	printf("diskguest: error: %s: %s\n", what, strerror(errno));
	_exit(EXIT_FAILURE); /* stdout is written line by line */
}

static void write_block(struct worker *w)
{
	const uint32_t block = roll(w, BLOCKS);
	uint64_t *page = page_of(w, SLOTS);

	fill(page, w->first + block, w->generations[block] + 1);
	if (pwrite(w->fd, page, BLOCK_BYTES, (off_t)(w->first + block) * BLOCK_BYTES) !=
	    BLOCK_BYTES)
		give_up("write");
	w->generations[block]++;
	writes++;
}

static void read_block(struct worker *w, uint32_t number)
{
	const uint32_t block = roll(w, BLOCKS);
	struct slot *slot = &w->slots[number];

	if (slot->filled)
		check(w, number);
	if (pread(w->fd, page_of(w, number), BLOCK_BYTES,
	          (off_t)(w->first + block) * BLOCK_BYTES) != BLOCK_BYTES)
		give_up("read");
	*slot = (struct slot){ .filled = true,
		               .block = w->first + block,
		               .generation = w->generations[block] };
	reads++;
	check(w, number);
}

/* Write all blocks of this thread, in one go. */
static void begin(struct worker *w)
{
	const size_t bytes = (size_t)BLOCKS * BLOCK_BYTES;
	uint64_t *all =
		mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (all == MAP_FAILED)
		give_up("memory");
	for (uint32_t i = 0; i < BLOCKS; i++) {
		w->generations[i] = 1;
		fill(all + (size_t)i * WORDS, w->first + i, 1);
	}
	if (pwrite(w->fd, all, bytes, (off_t)w->first * BLOCK_BYTES) != (ssize_t)bytes)
		give_up("first write");
	(void)munmap(all, bytes); /* cannot fail */
}

static void *work(void *arg)
{
	struct worker *w = arg;

	/* Runs for as long as the guest does. */
	for (uint32_t i = 0;; i++) {
		if (i % ACTS_PER_WRITE == 0)
			write_block(w);
		read_block(w, i % SLOTS);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	static struct worker workers[THREADS];

	(void)setvbuf(stdout, NULL, _IOLBF, 0); /* only costs timeliness if it fails */
	for (uint32_t i = 0; i < THREADS; i++) {
		struct worker *w = &workers[i];

		*w = (struct worker){ .first = i * BLOCKS, .random = i };
		w->fd = open(argc > 1 ? argv[1] : "", O_RDWR | O_DIRECT | O_CLOEXEC);
		if (w->fd < 0)
			give_up("the disk");
		w->pages = mmap(NULL, (size_t)(SLOTS + 1) * BLOCK_BYTES, PROT_READ | PROT_WRITE,
		                MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (w->pages == MAP_FAILED)
			give_up("memory");
		begin(w);
	}
	printf("diskguest: ready\n");
	for (uint32_t i = 0; i < THREADS; i++) {
		pthread_t thread;

		errno = pthread_create(&thread, NULL, work, &workers[i]);
		if (errno)
			give_up("thread");
	}
	for (;;) {
		(void)usleep(200000); /* too short a one does no harm */
		printf("diskguest: reads=%llu writes=%llu checks=%llu errors=%llu\n",
		       (unsigned long long)reads, (unsigned long long)writes,
		       (unsigned long long)checks, (unsigned long long)errors);
	}
}
