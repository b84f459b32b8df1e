/* SPDX-License-Identifier: Apache-2.0 */

/*
 * How a mover's page tables are kept small: mapping a file anew at the same place frees them, and
 * whoever reads the memory meanwhile, by itself or in a system call, always finds it there.
 */

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tap.h"
#include "tracked.h"

#define TABLE_BYTES ((size_t)2 << 20)
#define TABLES      512u
#define BYTES       (TABLES * TABLE_BYTES)
#define TURNS       20000u

struct reader {
	const volatile char *addr;
	int sink; /* a pipe; -1: look by itself */
	_Atomic bool stop;
	uint64_t reads;
	uint64_t wrong;
};

static long page_tables_kib(void)
{
	FILE *status = fopen("/proc/self/status", "re");
	char line[128];
	long kib = -1;

	tap_need(status, "/proc/self/status");
	while (kib < 0 && fgets(line, sizeof(line), status))
		if (strncmp(line, "VmPTE:", strlen("VmPTE:")) == 0)
			kib = strtol(line + strlen("VmPTE:"), NULL, 10);
	(void)fclose(status);
	return kib;
}

static bool reads_x(const struct reader *r, const volatile char *at, int source)
{
	char byte = 0;

	if (r->sink < 0)
		return *at == 'x';
	return write(r->sink, (const void *)at, 1) == 1 && read(source, &byte, 1) == 1 &&
	       byte == 'x';
}

static void *keep_reading(void *arg)
{
	struct reader *r = arg;
	int ends[2] = { -1, -1 };

	if (r->sink >= 0 && pipe(ends) < 0)
		return NULL;
	r->sink = ends[1];
	/* This ends: the test sets stop after TURNS. */
	for (; !atomic_load(&r->stop); r->reads++)
		r->wrong += !reads_x(r, r->addr + r->reads % TABLES * TABLE_BYTES, ends[0]);
	(void)close(ends[0]);
	(void)close(ends[1]);
	return NULL;
}

static void map_anew(char *addr, int file)
{
	tap_need(mmap(addr, BYTES, PROT_READ, MAP_SHARED | MAP_FIXED, file, 0) == addr, "mmap");
}

static char *one_page_in_each_table(int *file)
{
	char *addr = shared_memory(file, (uint32_t)(BYTES / PAGE));

	for (size_t i = 0; i < TABLES; i++)
		addr[i * TABLE_BYTES] = 'x';
	return addr;
}

int main(void)
{
	int file;
	char *addr = one_page_in_each_table(&file);
	struct reader readers[2] = { { .addr = addr, .sink = -1 }, { .addr = addr, .sink = 0 } };
	pthread_t threads[2];
	long before, after;

	before = page_tables_kib();
	map_anew(addr, file);
	after = page_tables_kib();
	tap_ok(before - after >= (long)(TABLES - 2) * 4, "page tables are freed: %ld KiB, then %ld",
	       before, after);

	for (int i = 0; i < 2; i++)
		tap_need(pthread_create(&threads[i], NULL, keep_reading, &readers[i]) == 0,
		         "pthread_create");
	for (uint32_t i = 0; i < TURNS; i++)
		map_anew(addr, file);
	for (int i = 0; i < 2; i++) {
		atomic_store(&readers[i].stop, true);
		(void)pthread_join(threads[i], NULL);
	}

	tap_ok(readers[0].reads > TABLES && readers[0].wrong == 0,
	       "who reads memory always finds it (%llu reads)",
	       (unsigned long long)readers[0].reads);
	tap_ok(readers[1].reads > TABLES && readers[1].wrong == 0,
	       "and so does the kernel in a system call (%llu reads)",
	       (unsigned long long)readers[1].reads);
	return tap_done();
}
