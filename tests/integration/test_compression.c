/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Two real movers with compression "auto", the source under a bandwidth limit: contents that become
 * shorter go compressed, others go as they are, and pages that change a little again and again go as
 * what differs.
 *
 * The limit is far below what any machine compresses in a second, so that the choice is clear.
 *
 *	test_compression MOVER			test that
 *	test_compression MOVER MIB MIB_PER_S	measure all ways to move that much; 0: no limit
 */

#include <fcntl.h>
#include <inttypes.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "contents.h"
#include "lab.h"
#include "mover_pair.h"
#include "rate_bpf.h"

#include "wherry/clock.h"
#include "wherry/fdpass.h"
#include "wherry/limits.h"

#define MIB (UINT64_C(1) << 20)

static uint64_t bytes = 48 * MIB;
static uint64_t limit_bps = 24 * MIB;
static const struct lab *lab;
static const char *mover_path;

struct fixture {
	struct wh_rate_bpf *rate;
	uint8_t *ram; /* the source's */
	int source, target;
	pid_t guest; /* has @ram mapped and stands still, or writes to it */
};

static void stand_still(void)
{
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	/* Ends when the test kills it. */
	for (;;)
		(void)pause();
}

#define FIDGETS        (12 * MIB)
#define FIDGETS_GAP_NS INT64_C(10000000)

/*
 * Change a few bytes of each page of the first FIDGETS bytes, over and over: under the limit that is
 * half a second's worth of pages each time. Now and then a page becomes zero, or something else.
 */
static void fidget(uint8_t *ram)
{
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	/* Ends when the test kills it. */
	for (uint64_t turn = 1;; turn++) {
		for (uint64_t at = 0; at < FIDGETS; at += WH_PAGE_SIZE)
			memcpy(ram + at + (at + turn) % 512 * 8, &turn, sizeof(turn));
		memset(ram + turn * 37 % (FIDGETS / WH_PAGE_SIZE) * WH_PAGE_SIZE, 0, WH_PAGE_SIZE);
		fill_random(ram + turn * 61 % (FIDGETS / WH_PAGE_SIZE) * WH_PAGE_SIZE,
		            WH_PAGE_SIZE);
		(void)clock_nanosleep(CLOCK_MONOTONIC, 0,
		                      &(struct timespec){ .tv_nsec = FIDGETS_GAP_NS }, NULL);
	}
}

static int setup(void **state)
{
	static struct fixture f;

	assert_int_equal(wh_rate_bpf_open(&f.rate, lab->leaf->dir_fd, limit_bps, NULL), 0);
	f.source = memfd_create("source", MFD_CLOEXEC);
	f.target = memfd_create("target", MFD_CLOEXEC);
	assert_int_equal(ftruncate(f.source, (off_t)bytes), 0);
	assert_int_equal(ftruncate(f.target, (off_t)bytes), 0);
	f.ram = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, f.source, 0);
	assert_true(f.ram != MAP_FAILED);
	f.guest = fork();
	if (f.guest == 0)
		stand_still();
	assert_true(f.guest > 0);
	*state = &f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	(void)kill(f->guest, SIGKILL);
	(void)waitpid(f->guest, NULL, 0);
	(void)munmap(f->ram, bytes);
	wh_closep(&f->source);
	wh_closep(&f->target);
	f->rate = wh_rate_bpf_close(f->rate);
	return 0;
}

static void assert_same_memory(const struct fixture *f)
{
	uint8_t *there = mmap(NULL, bytes, PROT_READ, MAP_SHARED, f->target, 0);

	assert_true(there != MAP_FAILED);
	assert_int_equal(memcmp(f->ram, there, bytes), 0);
	(void)munmap(there, bytes);
}

/* Stop a process; returns when it stands. */
static void hold(pid_t pid)
{
	int status;

	assert_int_equal(kill(pid, SIGSTOP), 0);
	assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
	assert_true(WIFSTOPPED(status));
}

struct result {
	uint64_t ns; /* of copying */
	uint64_t wire_bytes;
	uint64_t page_bytes;
	uint64_t compressed_raw_bytes;
	uint64_t delta_raw_bytes;
	uint64_t delta_bytes;
};

/* Move; a @fidgety guest is held when the last pass begins. */
static struct result move(const struct fixture *f, enum wh_compression compression, bool fidgety)
{
	wh_cleanup(wh_closep) int procs = wh_cgroup_procs(lab->leaf, NULL);
	const struct mover_pair_config cfg = {
		.mover = mover_path,
		.source_fd = f->source,
		.target_fd = f->target,
		.bytes = bytes,
		.connections = 2,
		.compression = compression,
		.vmm_pid = f->guest,
		.downtime_target_ns = 300 * WH_NSEC_PER_MSEC,
		.source_cgroup = procs,
	};
	const struct wh_stats *stats;
	struct mover_pair pair;
	struct result result;

	assert_true(procs >= 0);
	assert_int_equal(mover_pair_start(&pair, &cfg), 0);
	assert_int_equal(mover_pair_await_converged(&pair), 0);
	if (fidgety)
		hold(f->guest);
	assert_int_equal(mover_pair_finish(&pair), 0);
	stats = pair.source.stats;
	result = (struct result){
		.ns = wh_stat_get(stats, WH_STAT_LANDED_NS) -
		      wh_stat_get(stats, WH_STAT_STARTED_NS),
		.wire_bytes = wh_stat_get(stats, WH_STAT_WIRE_BYTES),
		.page_bytes = wh_stat_get(stats, WH_STAT_PAGE_BYTES),
		.compressed_raw_bytes = wh_stat_get(stats, WH_STAT_COMPRESSED_RAW_BYTES),
		.delta_raw_bytes = wh_stat_get(stats, WH_STAT_DELTA_RAW_BYTES),
		.delta_bytes = wh_stat_get(stats, WH_STAT_DELTA_BYTES),
	};
	assert_int_equal(mover_pair_done(&pair), 0);
	assert_same_memory(f);
	return result;
}

static void text_goes_compressed_under_a_limit(void **state)
{
	struct fixture *f = *state;

	fill_text(f->ram, bytes);
	assert_in_range(move(f, WH_COMPRESSION_AUTO, false).wire_bytes, 1, bytes / 2);
}

static void random_contents_go_as_they_are(void **state)
{
	struct fixture *f = *state;
	struct result result;

	fill_random(f->ram, bytes);
	result = move(f, WH_COMPRESSION_AUTO, false);
	assert_int_equal(result.compressed_raw_bytes, 0);
	assert_in_range(result.wire_bytes, bytes, bytes + bytes / 100);
}

/*
 * As they are, the pages that the guest changes meanwhile would take half a second each round: there
 * would be no end to it. Every byte must be right in the end, whatever was a difference to what.
 */
static void pages_that_change_a_little_go_as_what_differs(void **state)
{
	struct fixture *f = *state;
	struct result result;

	fill_random(f->ram, bytes);
	(void)kill(f->guest, SIGKILL);
	(void)waitpid(f->guest, NULL, 0);
	f->guest = fork();
	if (f->guest == 0)
		fidget(f->ram);
	assert_true(f->guest > 0);
	result = move(f, WH_COMPRESSION_AUTO, true);
	assert_true(result.delta_raw_bytes >= FIDGETS);
	assert_in_range(result.delta_bytes, 1, result.delta_raw_bytes / 4);
	print_message("# %" PRIu64 " MiB of pages, %" PRIu64 " as differences, %" PRIu64
	              " on the network\n",
	              result.page_bytes / MIB, result.delta_raw_bytes / MIB,
	              result.wire_bytes / MIB);
}

/* --- measuring -------------------------------------------------------------------------------- */

/* Text in single pages: every other one is zero. */
static void fill_pages(uint8_t *to, size_t len)
{
	fill_text(to, len);
	for (size_t at = 0; at < len; at += 2 * (size_t)WH_PAGE_SIZE)
		memset(to + at, 0, WH_PAGE_SIZE);
}

static void measure(void **state)
{
	static const struct {
		const char *name;
		void (*fill)(uint8_t *to, size_t len);
	} kinds[] = { { "text", fill_text }, { "pages", fill_pages }, { "random", fill_random } };
	struct fixture *f = *state;

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		struct result none, automatic, zstd;

		kinds[i].fill(f->ram, bytes);
		none = move(f, WH_COMPRESSION_NONE, false);
		automatic = move(f, WH_COMPRESSION_AUTO, false);
		zstd = move(f, WH_COMPRESSION_ZSTD, false);
		print_message(
			"%-6s  time of none: auto %.2f, zstd %.2f; bytes: auto %.2f, zstd %.2f\n",
			kinds[i].name, (double)automatic.ns / (double)none.ns,
			(double)zstd.ns / (double)none.ns,
			(double)automatic.wire_bytes / (double)none.wire_bytes,
			(double)zstd.wire_bytes / (double)none.wire_bytes);
	}
}

static int test_in(const struct lab *where)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(text_goes_compressed_under_a_limit, setup,
		                                teardown),
		cmocka_unit_test_setup_teardown(random_contents_go_as_they_are, setup, teardown),
		cmocka_unit_test_setup_teardown(pages_that_change_a_little_go_as_what_differs,
		                                setup, teardown),
	};

	lab = where;
	/* A wait that never ends is a failure, too. */
	(void)alarm(60);
	return cmocka_run_group_tests_name("compression", tests, NULL, NULL);
}

static int measure_in(const struct lab *where)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(measure, setup, teardown),
	};

	lab = where;
	return cmocka_run_group_tests_name("compression", tests, NULL, NULL);
}

int main(int argc, char **argv)
{
	if (argc != 2 && argc != 4) {
		(void)fprintf(stderr, "usage: test_compression MOVER [MIB MIB_PER_S]\n");
		return 2;
	}
	mover_path = argv[1];
	if (argc == 2)
		return lab_run("compression", test_in);
	bytes = strtoull(argv[2], NULL, 10) * MIB;
	limit_bps = strtoull(argv[3], NULL, 10) * MIB;
	return lab_run("compression", measure_in);
}
