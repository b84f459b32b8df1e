/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Two real movers move 64 GiB of a process that stands for a hypervisor. One page in each 2 MiB was
 * ever touched, which takes little memory and as many page tables as all of it would.
 *
 * The memory of a mover does not grow with the guest but by a bit for each page, and a guest that is
 * scanned in pieces by several threads arrives as it was when it stopped.
 */

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "mover_pair.h"

#include "wherry/clock.h"
#include "wherry/fdpass.h"
#include "wherry/limits.h"

#define BYTES   (UINT64_C(64) << 30)
#define STEP    (UINT64_C(2) << 20)
#define TOUCHED (BYTES / STEP)

/* A bit for each page, and what a mover has whatever the guest's size: together below 64 MiB. */
#define MOVER_KIB (BYTES / WH_PAGE_SIZE / 8 / 1024 + UINT64_C(32) * 1024)

/* What the guest and the test share. */
struct control {
	_Atomic uint32_t wanted; /* rounds of writing that the test wants */
	_Atomic uint32_t done;
};

static const char *mover_path;

/* --- the guest, in a process of its own ------------------------------------------------------- */

/* Pages that a round of writing changes: all in the first, then fewer. */
static bool is_written(uint64_t index, uint32_t round)
{
	return round == 0 || index % 7 == 0;
}

static uint64_t value_of(uint64_t index, uint32_t rounds)
{
	return index << 8 | (is_written(index, 1) ? rounds : 1);
}

static void guest_run(struct control *control, int fd)
{
	uint8_t *ram = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (ram == MAP_FAILED)
		_exit(1);
	/* Ends when the test kills it. */
	for (;;) {
		uint32_t round = control->done;

		if (round < control->wanted) {
			for (uint64_t i = 0; i < TOUCHED; i++)
				if (is_written(i, round))
					*(uint64_t *)(void *)(ram + i * STEP) =
						value_of(i, round + 1);
			control->done++;
		}
		(void)poll(NULL, 0, 1);
	}
}

static void have_written(struct control *control)
{
	uint32_t wanted = ++control->wanted;

	for (int i = 0; i < 20000 && control->done < wanted; i++)
		(void)poll(NULL, 0, 1);
	assert_int_equal(control->done, wanted);
}

/* --- how much memory a mover has -------------------------------------------------------------- */

struct watch {
	const struct mover_pair *pair;
	_Atomic bool stop;
	uint64_t source_kib, target_kib; /* the most that was seen */
};

/* A process's own memory, page tables included. Return: 0 if it is gone. */
static uint64_t memory_kib(pid_t pid)
{
	static const char *const fields[] = { "RssAnon:", "VmPTE:" };
	char line[128], path[32];
	uint64_t kib = 0;
	FILE *status;

	(void)snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	status = fopen(path, "re");
	if (!status)
		return 0;
	while (fgets(line, sizeof(line), status))
		for (size_t i = 0; i < 2; i++)
			if (!strncmp(line, fields[i], strlen(fields[i])))
				kib += strtoull(line + strlen(fields[i]), NULL, 10);
	(void)fclose(status); /* only read */
	return kib;
}

static void *keep_watching(void *arg)
{
	struct watch *watch = arg;

	/* This ends: the test sets stop. */
	while (!watch->stop) {
		uint64_t source = memory_kib(watch->pair->source.pid);
		uint64_t target = memory_kib(watch->pair->target.pid);

		watch->source_kib = source > watch->source_kib ? source : watch->source_kib;
		watch->target_kib = target > watch->target_kib ? target : watch->target_kib;
		(void)poll(NULL, 0, 1);
	}
	return NULL;
}

/* --- what must be so -------------------------------------------------------------------------- */

static int ram_file(void)
{
	int fd = memfd_create("ram", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)BYTES), 0);
	return fd;
}

static void move(const struct mover_pair_config *cfg, struct control *control)
{
	struct mover_pair pair;
	struct watch watch = { .pair = &pair };
	pthread_t thread;

	assert_int_equal(mover_pair_start(&pair, cfg), 0);
	assert_int_equal(pthread_create(&thread, NULL, keep_watching, &watch), 0);
	assert_int_equal(mover_pair_await_converged(&pair), 0);
	have_written(control);
	assert_int_equal(mover_pair_finish(&pair), 0);
	watch.stop = true;
	(void)pthread_join(thread, NULL);
	assert_int_equal(mover_pair_done(&pair), 0);

	print_message("# source %ju KiB, target %ju KiB\n", (uintmax_t)watch.source_kib,
	              (uintmax_t)watch.target_kib);
	assert_in_range(watch.source_kib, 1, MOVER_KIB);
	assert_in_range(watch.target_kib, 1, MOVER_KIB);
}

static uint64_t used_pages(int fd)
{
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	return (uint64_t)st.st_blocks * 512 / WH_PAGE_SIZE;
}

/* How many mappings of its RAM a process has: tracking cuts them, and must leave no trace. */
static uint32_t ram_mappings(pid_t pid)
{
	char line[512], path[32];
	uint32_t count = 0;
	FILE *maps;

	(void)snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
	maps = fopen(path, "re");
	assert_non_null(maps);
	while (fgets(line, sizeof(line), maps))
		count += strstr(line, "memfd:ram") != NULL;
	(void)fclose(maps); /* only read */
	return count;
}

static void movers_of_a_large_guest_stay_small_and_lose_nothing(void **state)
{
	wh_cleanup(wh_closep) int source = ram_file();
	wh_cleanup(wh_closep) int target = ram_file();
	struct control *control = mmap(NULL, sizeof(*control), PROT_READ | PROT_WRITE,
	                               MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct mover_pair_config cfg = {
		.mover = mover_path,
		.source_fd = source,
		.target_fd = target,
		.bytes = BYTES,
		.connections = 2,
		.compression = WH_COMPRESSION_NONE,
		.downtime_target_ns = WH_DOWNTIME_DEFAULT_NS,
		.source_cgroup = -1,
	};

	(void)state;
	assert_true(control != MAP_FAILED);
	cfg.vmm_pid = fork();
	if (cfg.vmm_pid == 0)
		guest_run(control, source);
	assert_true(cfg.vmm_pid > 0);
	have_written(control);

	move(&cfg, control);

	assert_int_equal(ram_mappings(cfg.vmm_pid), 1);
	assert_int_equal(used_pages(source), TOUCHED);
	assert_int_equal(used_pages(target), TOUCHED);
	for (uint64_t i = 0; i < TOUCHED; i++) {
		uint64_t value = 0;

		assert_int_equal(pread(target, &value, sizeof(value), (off_t)(i * STEP)),
		                 sizeof(value));
		assert_int_equal(value, value_of(i, control->done));
	}
	(void)kill(cfg.vmm_pid, SIGKILL);
	(void)waitpid(cfg.vmm_pid, NULL, 0);
	(void)munmap(control, sizeof(*control));
}

/* Where the kernel makes huge pages of memfds, one page in each 2 MiB is all of the memory. */
static bool has_small_pages(void)
{
	wh_cleanup(wh_closep) int fd = memfd_create("ram", MFD_CLOEXEC);
	struct stat st;

	return fd >= 0 && fstat(fd, &st) == 0 && st.st_blksize == (blksize_t)WH_PAGE_SIZE;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(movers_of_a_large_guest_stay_small_and_lose_nothing),
	};

	if (argc != 2) {
		(void)fprintf(stderr, "usage: %s WHERRY-MOVER\n", argv[0]);
		return 2;
	}
	mover_path = argv[1];
	if (geteuid() != 0 || !has_small_pages()) {
		print_message("1..0 # SKIP needs root, and memfds with small pages\n");
		return 77;
	}
	/* Killed by it, this process takes guest and movers with it. */
	(void)alarm(100);
	return cmocka_run_group_tests_name("large_guest", tests, NULL, NULL);
}
