/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Two real movers move the memory of a process that stands for a hypervisor: it maps a RAM file,
 * keeps writing to it, and gives pages back as a balloon does.
 *
 * With "hugetlbfs" as its second argument, the memory is that, on one side or on both.
 *
 * Afterwards the memory is equal; and where a mover was killed, the process runs on as if nothing
 * had been there: no userfaultfd, no tracked mapping.
 */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
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
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "huge_pool.h"
#include "mover_pair.h"
#include "traces.h"

#include "wherry/clock.h"
#include "wherry/fdpass.h"
#include "wherry/limits.h"
#include "wherry/session.h"

/* A quarter of random contents, a quarter written with zero, a half never touched. */
#define PAGES 32768u
#define BYTES ((uint64_t)PAGES * WH_PAGE_SIZE)

/* Times that a mover is killed, on each side. */
#define KILLS 8u

/* What the guest and the test share. */
struct control {
	_Atomic bool pause; /* the test: stand still */
	_Atomic bool paused;
	_Atomic uint64_t steps;
};

struct guest {
	int fd;
	bool huge;
	pid_t pid;
	struct control *control;
};

static const char *mover_path;

static uint32_t roll(uint64_t *random, uint32_t sides)
{
	*random = *random * UINT64_C(6364136223846793005) + 1442695040888963407u;
	return (uint32_t)(*random >> 33) % sides;
}

static void fill(uint8_t *page, uint64_t value)
{
	for (size_t i = 0; i < WH_PAGE_SIZE; i += sizeof(value))
		memcpy(page + i, &value, sizeof(value));
}

/* --- the guest, in a process of its own ------------------------------------------------------- */

/* Give memory back as QEMU does: a huge page without a word to the tracker. */
static void give_back(const struct guest *g, uint8_t *ram, uint32_t page, uint64_t *random)
{
	const uint64_t offset = (uint64_t)page * WH_PAGE_SIZE;

	if (!g->huge)
		/* Waits until the tracker has taken the event. */
		(void)madvise(ram + offset, WH_PAGE_SIZE, MADV_REMOVE);
	else if (roll(random, 32) == 0)
		(void)fallocate(g->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		                (off_t)(offset - offset % HUGE_PAGE_BYTES), HUGE_PAGE_BYTES);
}

static void guest_act(const struct guest *g, uint8_t *ram, uint64_t *random)
{
	const uint32_t number = roll(random, PAGES);
	uint8_t *page = ram + (size_t)number * WH_PAGE_SIZE;

	switch (roll(random, 8)) {
	case 0:
		give_back(g, ram, number, random);
		break;
	case 1:
		memset(page, 0, WH_PAGE_SIZE);
		break;
	default:
		fill(page, *random | 1);
	}
}

static void guest_run(const struct guest *g)
{
	uint8_t *ram = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, g->fd, 0);
	struct control *control = g->control;
	uint64_t random = 1;

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (ram == MAP_FAILED)
		_exit(1);
	for (uint32_t i = 0; i < PAGES / 2; i++)
		fill(ram + (size_t)i * WH_PAGE_SIZE, i % 2 ? i : 0);

	/* Ends when the test kills it. */
	for (;;) {
		if (atomic_load(&control->pause)) {
			atomic_store(&control->paused, true);
		} else {
			atomic_store(&control->paused, false);
			for (int i = 0; i < 8; i++)
				guest_act(g, ram, &random);
			atomic_fetch_add(&control->steps, 1);
		}
		(void)poll(NULL, 0, 1);
	}
}

static bool await_steps(const struct guest *g, uint64_t more)
{
	uint64_t until = atomic_load(&g->control->steps) + more;

	for (int i = 0; i < 5000 && atomic_load(&g->control->steps) < until; i++)
		(void)poll(NULL, 0, 1);
	return atomic_load(&g->control->steps) >= until;
}

static void guest_stop(const struct guest *g)
{
	atomic_store(&g->control->pause, true);
	for (int i = 0; i < 5000 && !atomic_load(&g->control->paused); i++)
		(void)poll(NULL, 0, 1);
	assert_true(atomic_load(&g->control->paused));
}

static struct guest the_guest = { .fd = -1 };

static int new_ram(bool huge)
{
	int fd = huge ? huge_file(BYTES) : memfd_create("ram", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, BYTES), 0);
	return fd;
}

static int start_guest(void **state, bool huge)
{
	struct guest *g = &the_guest;

	g->huge = huge;
	g->fd = new_ram(huge);
	g->control = mmap(NULL, sizeof(*g->control), PROT_READ | PROT_WRITE,
	                  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_true(g->control != MAP_FAILED);
	g->pid = fork();
	if (g->pid == 0)
		guest_run(g);
	assert_true(g->pid > 0);
	assert_true(await_steps(g, 1));
	*state = g;
	return 0;
}

static int setup(void **state)
{
	return start_guest(state, false);
}

static int setup_huge(void **state)
{
	return start_guest(state, true);
}

static int teardown(void **state)
{
	struct guest *g = *state;

	(void)kill(g->pid, SIGKILL);
	(void)waitpid(g->pid, NULL, 0);
	(void)munmap(g->control, sizeof(*g->control));
	wh_closep(&g->fd);
	return 0;
}

/* --- what must be so -------------------------------------------------------------------------- */

static void assert_no_trace(const struct guest *g)
{
	assert_true(await_steps(g, 5));
	assert_false(has_userfaultfd(g->pid));
	assert_false(has_vm_flag(g->pid, "uw"));
}

static void assert_same_memory(int a, int b)
{
	uint8_t *x = mmap(NULL, BYTES, PROT_READ, MAP_SHARED, a, 0);
	uint8_t *y = mmap(NULL, BYTES, PROT_READ, MAP_SHARED, b, 0);
	uint32_t differ = 0;

	assert_true(x != MAP_FAILED && y != MAP_FAILED);
	for (size_t i = 0; i < PAGES; i++)
		differ += memcmp(x + i * WH_PAGE_SIZE, y + i * WH_PAGE_SIZE, WH_PAGE_SIZE) != 0;
	(void)munmap(x, BYTES);
	(void)munmap(y, BYTES);
	assert_int_equal(differ, 0);
}

/* A RAM file with junk in it, as no destination should have. */
static int new_destination(bool huge)
{
	int fd = new_ram(huge);
	char *junk = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	assert_true(junk != MAP_FAILED);
	junk[BYTES - WH_PAGE_SIZE] = 'x';
	(void)munmap(junk, BYTES);
	return fd;
}

static struct mover_pair_config config(const struct guest *g, int destination, uint32_t connections)
{
	return (struct mover_pair_config){
		.mover = mover_path,
		.source_fd = g->fd,
		.target_fd = destination,
		.bytes = BYTES,
		.connections = connections,
		.vmm_pid = g->pid,
		.downtime_target_ns = 20 * WH_NSEC_PER_MSEC,
		.source_cgroup = -1,
	};
}

/* --- it moves --------------------------------------------------------------------------------- */

/* Return: the bytes that became of contents that were compressed, in a thousand of them. */
static uint64_t move(struct guest *g, uint32_t connections, enum wh_compression compression)
{
	wh_cleanup(wh_closep) int destination = new_destination(false);
	struct mover_pair_config cfg = config(g, destination, connections);
	uint64_t raw_bytes, compressed_bytes;
	struct mover_pair pair;
	uint64_t steps = atomic_load(&g->control->steps);
	uint64_t page_bytes, zero_bytes, untouched_bytes;

	cfg.compression = compression;
	assert_int_equal(mover_pair_start(&pair, &cfg), 0);
	assert_int_equal(mover_pair_await_converged(&pair), 0);
	assert_true(has_vm_flag(g->pid, "uw"));
	assert_true(await_steps(g, 20)); /* the last pass shall have something to do */
	guest_stop(g);
	assert_int_equal(mover_pair_finish(&pair), 0);

	page_bytes = wh_stat_get(pair.source.stats, WH_STAT_PAGE_BYTES);
	zero_bytes = wh_stat_get(pair.source.stats, WH_STAT_ZERO_BYTES);
	untouched_bytes = wh_stat_get(pair.source.stats, WH_STAT_UNTOUCHED_BYTES);
	raw_bytes = wh_stat_get(pair.source.stats, WH_STAT_COMPRESSED_RAW_BYTES);
	compressed_bytes = wh_stat_get(pair.source.stats, WH_STAT_COMPRESSED_BYTES);
	assert_int_equal(mover_pair_done(&pair), 0);

	print_message("# %ju MiB sent, %ju MiB zero, %ju MiB untouched, %ju steps of the guest\n",
	              (uintmax_t)page_bytes >> 20, (uintmax_t)zero_bytes >> 20,
	              (uintmax_t)untouched_bytes >> 20,
	              (uintmax_t)(atomic_load(&g->control->steps) - steps));
	assert_same_memory(g->fd, destination);
	assert_in_range(zero_bytes, BYTES / 5, BYTES);
	assert_in_range(untouched_bytes, BYTES / 4, BYTES / 2);
	assert_in_range(page_bytes, BYTES / 5, 2 * BYTES / 3);

	atomic_store(&g->control->pause, false);
	assert_no_trace(g);
	return raw_bytes > 0 ? 1000 * compressed_bytes / raw_bytes : 0;
}

static void memory_is_equal_after_a_move_over_one_connection(void **state)
{
	assert_int_equal(move(*state, 1, WH_COMPRESSION_NONE), 0);
}

static void memory_is_equal_after_a_move_over_four_connections(void **state)
{
	assert_int_equal(move(*state, 4, WH_COMPRESSION_NONE), 0);
}

static void memory_is_equal_after_a_compressed_move(void **state)
{
	assert_in_range(move(*state, 1, WH_COMPRESSION_ZSTD), 1, 500);
}

static void memory_is_equal_after_a_compressed_move_over_four_connections(void **state)
{
	assert_in_range(move(*state, 4, WH_COMPRESSION_ZSTD), 1, 500);
}

/* --- on hugetlbfs ----------------------------------------------------------------------------- */

static void move_huge(struct guest *g, bool huge_target, enum wh_compression compression)
{
	wh_cleanup(wh_closep) int destination = new_destination(huge_target);
	struct mover_pair_config cfg = config(g, destination, 2);
	struct mover_pair pair;
	uint64_t sent, unchanged;

	/* One page that the guest writes is one of 2 MiB to look at. */
	cfg.downtime_target_ns = 500 * WH_NSEC_PER_MSEC;
	cfg.compression = compression;
	assert_int_equal(mover_pair_start(&pair, &cfg), 0);
	assert_int_equal(mover_pair_await_converged(&pair), 0);
	assert_true(has_vm_flag(g->pid, "uw"));
	assert_true(await_steps(g, 20));
	guest_stop(g);
	assert_int_equal(mover_pair_finish(&pair), 0);
	sent = wh_stat_get(pair.source.stats, WH_STAT_PAGE_BYTES);
	unchanged = wh_stat_get(pair.source.stats, WH_STAT_UNCHANGED_BYTES);
	assert_int_equal(mover_pair_done(&pair), 0);

	print_message("# %ju MiB sent, %ju MiB of dirty huge pages unchanged\n",
	              (uintmax_t)sent >> 20, (uintmax_t)unchanged >> 20);
	assert_same_memory(g->fd, destination);
	assert_in_range(sent, BYTES / 5, 2 * BYTES);
	if (g->huge)
		assert_in_range(unchanged, BYTES / 16, UINT64_MAX);
	else
		assert_int_equal(unchanged, 0);
	atomic_store(&g->control->pause, false);
	assert_no_trace(g);
}

static void huge_pages_move_to_huge_pages(void **state)
{
	move_huge(*state, true, WH_COMPRESSION_NONE);
}

static void huge_pages_move_compressed(void **state)
{
	move_huge(*state, true, WH_COMPRESSION_ZSTD);
}

static void huge_pages_move_to_a_tmpfs(void **state)
{
	move_huge(*state, false, WH_COMPRESSION_NONE);
}

static void a_tmpfs_moves_to_huge_pages(void **state)
{
	move_huge(*state, true, WH_COMPRESSION_NONE);
}

static void the_guest_stays_if_the_destination_has_too_few_huge_pages(void **state)
{
	wh_cleanup(wh_closep) int destination = huge_file(BYTES);
	const uint32_t room = BYTES / HUGE_PAGE_BYTES / 2;
	const size_t others = (huge_pool_free() - room) * HUGE_PAGE_BYTES;
	void *taken = mmap(NULL, others, PROT_READ | PROT_WRITE,
	                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
	struct mover_pair_config cfg = config(*state, destination, 2);
	struct mover_pair pair;

	assert_true(taken != MAP_FAILED);
	assert_int_equal(huge_pool_free(), room);
	assert_int_equal(mover_pair_start(&pair, &cfg), 0);
	assert_int_equal(mover_pair_await_failed(&pair, &pair.target), 0);
	assert_int_equal(pair.failed.code, -ENOSPC);
	assert_non_null(strstr(pair.failed.error.text, "not enough free huge pages"));
	assert_int_equal(mover_pair_done(&pair), -1);
	assert_no_trace(*state);
	(void)munmap(taken, others);
}

/* --- it fails --------------------------------------------------------------------------------- */

/* A killed hypervisor's thread would be lost: a daemon waits as long, too. */
static void let_go(const struct mover *mover)
{
	for (int i = 0;
	     i < 1000 && wh_stat_get(mover->stats, WH_STAT_STATE) == WH_SESSION_ATTACHING; i++)
		(void)poll(NULL, 0, 1);
}

/* Send @sig to one mover some time after both have begun; the other must end by itself. */
static void end_one(struct guest *g, bool source, int after_ms, uint32_t connections, int sig)
{
	wh_cleanup(wh_closep) int destination = new_destination(g->huge);
	struct mover_pair_config cfg = config(g, destination, connections);
	struct mover_pair pair;
	struct mover *victim, *other;
	struct pollfd gone;

	assert_int_equal(mover_pair_start(&pair, &cfg), 0);
	victim = source ? &pair.source : &pair.target;
	other = source ? &pair.target : &pair.source;
	(void)poll(NULL, 0, after_ms);
	if (sig == SIGKILL)
		let_go(victim);
	assert_int_equal(kill(victim->pid, sig), 0);

	/* It says why, and then its end of the socket closes. */
	assert_int_equal(mover_pair_await_failed(&pair, other), 0);
	assert_true(pair.failed.code < 0);
	gone = (struct pollfd){ .fd = other->sock };
	assert_int_equal(poll(&gone, 1, 5000), 1);
	assert_int_equal(mover_pair_done(&pair), -1);
	if (sig == SIGTERM)
		assert_true(WIFEXITED(victim->status));
	assert_no_trace(g);
}

static void end_at_random_moments(struct guest *g, bool source, int sig)
{
	uint64_t random = (uint64_t)getpid();

	for (uint32_t i = 0; i < KILLS; i++) {
		int after_ms = (int)roll(&random, 80);

		print_message("# ended after %d ms\n", after_ms);
		end_one(g, source, after_ms, i % 2 ? 4 : 1, sig);
	}
}

static void the_guest_runs_on_when_the_source_mover_is_killed(void **state)
{
	end_at_random_moments(*state, true, SIGKILL);
}

static void the_guest_runs_on_when_the_target_mover_is_killed(void **state)
{
	end_at_random_moments(*state, false, SIGKILL);
}

/* Also while it borrows a thread of the guest's hypervisor. */
static void the_guest_runs_on_when_the_source_mover_is_told_to_end(void **state)
{
	end_at_random_moments(*state, true, SIGTERM);
}

static void a_move_works_after_a_killed_one(void **state)
{
	end_one(*state, true, 20, 1, SIGKILL);
	(void)move(*state, 1, WH_COMPRESSION_NONE);
}

#define TEST(fn)      cmocka_unit_test_setup_teardown(fn, setup, teardown)
#define TEST_HUGE(fn) cmocka_unit_test_setup_teardown(fn, setup_huge, teardown)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TEST(memory_is_equal_after_a_move_over_one_connection),
		TEST(memory_is_equal_after_a_move_over_four_connections),
		TEST(memory_is_equal_after_a_compressed_move),
		TEST(memory_is_equal_after_a_compressed_move_over_four_connections),
		TEST(the_guest_runs_on_when_the_source_mover_is_killed),
		TEST(the_guest_runs_on_when_the_target_mover_is_killed),
		TEST(the_guest_runs_on_when_the_source_mover_is_told_to_end),
		TEST(a_move_works_after_a_killed_one),
	};

	const struct CMUnitTest huge_tests[] = {
		TEST_HUGE(huge_pages_move_to_huge_pages),
		TEST_HUGE(huge_pages_move_compressed),
		TEST_HUGE(huge_pages_move_to_a_tmpfs),
		TEST(a_tmpfs_moves_to_huge_pages),
		TEST(the_guest_stays_if_the_destination_has_too_few_huge_pages),
		TEST_HUGE(the_guest_runs_on_when_the_source_mover_is_killed),
		TEST_HUGE(the_guest_runs_on_when_the_target_mover_is_killed),
	};

	if (argc < 2) {
		(void)fprintf(stderr, "usage: test_mover PATH_OF_WHERRY_MOVER [hugetlbfs]\n");
		return 2;
	}
	if (geteuid() != 0) {
		print_message("1..0 # SKIP attaching to a process needs root\n");
		return 77;
	}
	mover_path = argv[1];
	/* Killed by it, this process takes guest and movers with it. */
	(void)alarm(60);
	if (argc == 2)
		return cmocka_run_group_tests_name("mover", tests, NULL, NULL);
	if (!huge_pool_open(2 * BYTES / HUGE_PAGE_BYTES + 8)) {
		print_message("1..0 # SKIP not enough memory for huge pages\n");
		return 77;
	}
	return cmocka_run_group_tests_name("mover_hugetlbfs", huge_tests, NULL, NULL);
}
