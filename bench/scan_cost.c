/* SPDX-License-Identifier: Apache-2.0 */

/*
 * scan_cost KIND GIB [THREADS] - what it costs to track GIB of memory, in ms for each GiB
 *
 *	untouched	nothing of it was ever used
 *	spread		one page in each 2 MiB was: all page tables are there, little memory
 *	full		all of it was, and is written again before it is scanned
 *
 * One line for each number of threads, up to THREADS [the CPUs that it may use]:
 *
 *	protect		the first protection
 *	idle		a scan that finds nothing written
 *	written		a scan that finds all that is used written, and protects it again
 *	last		the same, and protects nothing
 *	untrack		the end, by one thread always
 *	tables		MiB of page tables, of the process that owns the memory
 *
 * As in a migration, one process owns the memory and another scans it. Needs root, and a quiet machine;
 * docs/performance.md has the results.
 */

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "crew.h"

#include "wherry/clock.h"
#include "wherry/limits.h"
#include "wherry/linux_compat.h"

#define GIB   (UINT64_C(1) << 30)
#define RUNS  8192u
#define RESTS 20000u /* us; until threads that were just made sleep, each on a CPU of its own */

struct memory {
	uint8_t *addr;
	uint64_t gib;
	uint64_t step; /* bytes from one used page to the next, or 0 */
	int uffd;
};

enum work { PROTECT, SCAN, SCAN_LAST };

struct task {
	const struct memory *memory;
	enum work work;
	int pagemap;
	struct page_region *runs; /* RUNS for each thread */
};

static int fail(const char *what)
{
	(void)fprintf(stderr, "scan_cost: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int protect_part(const struct memory *memory, uint64_t part)
{
	struct uffdio_writeprotect wp = {
		.range = { .start = (uintptr_t)memory->addr + part * GIB, .len = GIB },
		.mode = UFFDIO_WRITEPROTECT_MODE_WP,
	};

	return ioctl(memory->uffd, UFFDIO_WRITEPROTECT, &wp) < 0 ? -errno : 0;
}

static int do_part(void *context, uint32_t member, uint64_t part)
{
	const struct task *task = context;
	struct pm_scan_arg arg = {
		.size = sizeof(arg),
		.flags = PM_SCAN_CHECK_WPASYNC | (task->work == SCAN ? PM_SCAN_WP_MATCHING : 0),
		.start = (uintptr_t)task->memory->addr + part * GIB,
		.end = (uintptr_t)task->memory->addr + (part + 1) * GIB,
		.vec = (uintptr_t)(task->runs + (size_t)member * RUNS),
		.vec_len = RUNS,
		.category_mask = PAGE_IS_WRITTEN,
		.return_mask = PAGE_IS_WRITTEN,
	};

	if (task->work == PROTECT)
		return protect_part(task->memory, part);
	/* This ends: each turn gets further. */
	for (; arg.start < arg.end; arg.start = arg.walk_end)
		if (ioctl(task->pagemap, PAGEMAP_SCAN, &arg) < 0)
			return -errno;
	return 0;
}

/* In a process of its own. Return: nanoseconds. */
static uint64_t time_work(const struct memory *memory, enum work work, uint32_t threads)
{
	struct task task = { .memory = memory, .work = work };
	struct wh_crew *crew = NULL;
	uint64_t start_ns;
	char path[32];

	(void)snprintf(path, sizeof(path), "/proc/%d/pagemap", (int)getppid());
	task.pagemap = open(path, O_RDONLY | O_CLOEXEC);
	task.runs = calloc((size_t)threads * RUNS, sizeof(*task.runs));
	if (task.pagemap < 0 || !task.runs || wh_crew_open(&crew, threads, NULL) < 0)
		(void)fail("cannot begin");
	(void)usleep(RESTS);
	start_ns = wh_now_ns(&wh_clock_monotonic);
	errno = -wh_crew_run(crew, do_part, &task, memory->gib);
	if (errno)
		(void)fail("tracking (Linux 6.7)");
	return wh_now_ns(&wh_clock_monotonic) - start_ns;
}

/* Have another process do @work. Return: ms for each GiB. */
static double cost(const struct memory *memory, enum work work, uint32_t threads)
{
	uint64_t took_ns = 0;
	int status = -1;
	int ends[2];
	pid_t pid;

	if (pipe(ends) < 0 || (pid = fork()) < 0)
		return fail("fork");
	if (pid == 0) {
		took_ns = time_work(memory, work, threads);
		_exit(write(ends[1], &took_ns, sizeof(took_ns)) != (ssize_t)sizeof(took_ns));
	}
	if (waitpid(pid, &status, 0) != pid || status != 0 ||
	    read(ends[0], &took_ns, sizeof(took_ns)) != (ssize_t)sizeof(took_ns))
		exit(1);
	(void)close(ends[0]);
	(void)close(ends[1]);
	return (double)took_ns / 1e6 / (double)memory->gib;
}

static void use(const struct memory *memory)
{
	if (memory->step)
		for (uint64_t at = 0; at < memory->gib * GIB; at += memory->step)
			memory->addr[at]++;
}

static void track(struct memory *memory)
{
	struct uffdio_api api = { .api = UFFD_API,
		                  .features = UFFD_FEATURE_WP_ASYNC | UFFD_FEATURE_WP_UNPOPULATED |
		                              UFFD_FEATURE_WP_HUGETLBFS_SHMEM };
	struct uffdio_register reg = {
		.range = { .start = (uintptr_t)memory->addr, .len = memory->gib * GIB },
		.mode = UFFDIO_REGISTER_MODE_WP,
	};

	memory->uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);
	if (memory->uffd < 0 || ioctl(memory->uffd, UFFDIO_API, &api) < 0 ||
	    ioctl(memory->uffd, UFFDIO_REGISTER, &reg) < 0) {
		(void)printf("skipped: no userfaultfd that protects asynchronously (Linux 6.7)\n");
		exit(77);
	}
}

static long page_tables_mib(void)
{
	FILE *status = fopen("/proc/self/status", "re");
	char line[128];
	long kib = 0;

	while (status && fgets(line, sizeof(line), status))
		if (strncmp(line, "VmPTE:", strlen("VmPTE:")) == 0)
			kib = strtol(line + strlen("VmPTE:"), NULL, 10);
	if (status)
		(void)fclose(status); /* only read */
	return kib / 1024;
}

static void measure(struct memory *memory, uint32_t threads)
{
	double protect, idle, written, last, untrack;
	uint64_t start_ns;
	long tables;

	track(memory);
	protect = cost(memory, PROTECT, threads);
	idle = cost(memory, SCAN, threads);
	use(memory);
	written = cost(memory, SCAN, threads);
	use(memory);
	last = cost(memory, SCAN_LAST, threads);
	tables = page_tables_mib();
	start_ns = wh_now_ns(&wh_clock_monotonic);
	(void)close(memory->uffd);
	untrack = (double)(wh_now_ns(&wh_clock_monotonic) - start_ns) / 1e6 / (double)memory->gib;
	(void)printf("%7u %8.2f %8.2f %8.2f %8.2f %8.2f %8ld\n", threads, protect, idle, written,
	             last, untrack, tables);
	(void)fflush(stdout);
}

/* Not touched yet; of small pages. */
static uint8_t *new_memory(uint64_t bytes)
{
	int fd = memfd_create("ram", MFD_CLOEXEC);
	uint8_t *addr;

	if (fd < 0 || ftruncate(fd, (off_t)bytes) < 0)
		(void)fail("memfd");
	addr = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
	if (addr == MAP_FAILED)
		(void)fail("mmap");
	(void)close(fd); /* the mapping keeps it */
	(void)madvise(addr, bytes, MADV_NOHUGEPAGE);
	return addr;
}

static bool parse_kind(struct memory *memory, const char *kind)
{
	static const struct {
		const char *name;
		uint64_t step;
	} kinds[] = { { "untouched", 0 },
		      { "spread", WH_PAGE_TABLE_BYTES },
		      { "full", WH_PAGE_SIZE } };

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (strcmp(kind, kinds[i].name) == 0) {
			memory->step = kinds[i].step;
			return true;
		}
	return false;
}

int main(int argc, char **argv)
{
	struct memory memory = { .uffd = -1 };
	unsigned long most = WH_SCAN_THREADS_MAX;
	cpu_set_t cpus;

	if (sched_getaffinity(0, sizeof(cpus), &cpus) == 0)
		most = (unsigned long)CPU_COUNT(&cpus);
	if (argc == 4)
		most = strtoul(argv[3], NULL, 10);
	if (argc >= 3)
		memory.gib = strtoul(argv[2], NULL, 10);
	if (argc < 3 || argc > 4 || !parse_kind(&memory, argv[1]) || memory.gib == 0 ||
	    memory.gib > 65536 || most == 0) {
		(void)fprintf(stderr, "usage: scan_cost untouched|spread|full GIB [THREADS]\n");
		return 2;
	}
	if (most > WH_SCAN_THREADS_MAX)
		most = WH_SCAN_THREADS_MAX;
	(void)printf("threads  protect     idle  written     last  untrack   tables\n");
	for (uint32_t threads = 1; threads <= most; threads++) {
		memory.addr = new_memory(memory.gib * GIB);
		use(&memory);
		measure(&memory, threads);
		(void)munmap(memory.addr, memory.gib * GIB);
	}
	return 0;
}
