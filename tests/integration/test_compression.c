/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Two real movers with compression "auto", the source under a bandwidth limit: contents that become
 * shorter go compressed, others go as they are.
 *
 * The limit is far below what any machine compresses in a second, so that the choice is clear.
 */

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "contents.h"
#include "lab.h"
#include "mover_pair.h"
#include "rate_bpf.h"

#include "wherry/clock.h"
#include "wherry/fdpass.h"

#define BYTES     (UINT64_C(48) << 20)
#define LIMIT_BPS (UINT64_C(24) << 20)

static const struct lab *lab;
static const char *mover_path;

struct fixture {
	struct wh_rate_bpf *rate;
	uint8_t *ram; /* the source's */
	int source, target;
	pid_t guest; /* has @ram mapped and stands still */
};

static void stand_still(void)
{
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	/* Ends when the test kills it. */
	for (;;)
		(void)pause();
}

static int setup(void **state)
{
	static struct fixture f;

	assert_int_equal(wh_rate_bpf_open(&f.rate, lab->leaf->dir_fd, LIMIT_BPS, NULL), 0);
	f.source = memfd_create("source", MFD_CLOEXEC);
	f.target = memfd_create("target", MFD_CLOEXEC);
	assert_int_equal(ftruncate(f.source, BYTES), 0);
	assert_int_equal(ftruncate(f.target, BYTES), 0);
	f.ram = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, f.source, 0);
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
	(void)munmap(f->ram, BYTES);
	wh_closep(&f->source);
	wh_closep(&f->target);
	f->rate = wh_rate_bpf_close(f->rate);
	return 0;
}

static void assert_same_memory(const struct fixture *f)
{
	uint8_t *there = mmap(NULL, BYTES, PROT_READ, MAP_SHARED, f->target, 0);

	assert_true(there != MAP_FAILED);
	assert_int_equal(memcmp(f->ram, there, BYTES), 0);
	(void)munmap(there, BYTES);
}

/* Move all of it. What was sent is in @ret. */
static void move(const struct fixture *f, struct wh_sent *ret)
{
	wh_cleanup(wh_closep) int procs = wh_cgroup_procs(lab->leaf, NULL);
	const struct mover_pair_config cfg = {
		.mover = mover_path,
		.source_fd = f->source,
		.target_fd = f->target,
		.bytes = BYTES,
		.connections = 2,
		.compression = WH_COMPRESSION_AUTO,
		.vmm_pid = f->guest,
		.downtime_target_ns = 300 * WH_NSEC_PER_MSEC,
		.source_cgroup = procs,
	};
	struct mover_pair pair;

	assert_true(procs >= 0);
	assert_int_equal(mover_pair_start(&pair, &cfg), 0);
	assert_int_equal(mover_pair_await_converged(&pair), 0);
	assert_int_equal(mover_pair_finish(&pair), 0);
	*ret = (struct wh_sent){
		.bytes = wh_stat_get(pair.source.stats, WH_STAT_WIRE_BYTES),
		.compressed_raw_bytes =
			wh_stat_get(pair.source.stats, WH_STAT_COMPRESSED_RAW_BYTES),
		.compressed_bytes = wh_stat_get(pair.source.stats, WH_STAT_COMPRESSED_BYTES),
	};
	assert_int_equal(mover_pair_done(&pair), 0);
	print_message("# of %ju MiB: %ju sent, %ju of them for %ju compressed\n",
	              (uintmax_t)BYTES >> 20, (uintmax_t)ret->bytes >> 20,
	              (uintmax_t)ret->compressed_bytes >> 20,
	              (uintmax_t)ret->compressed_raw_bytes >> 20);
}

static void text_goes_compressed_under_a_limit(void **state)
{
	struct fixture *f = *state;
	struct wh_sent sent;

	fill_text(f->ram, BYTES);
	move(f, &sent);
	assert_same_memory(f);
	assert_in_range(sent.bytes, 1, BYTES / 2);
}

static void random_contents_go_as_they_are(void **state)
{
	struct fixture *f = *state;
	struct wh_sent sent;

	fill_random(f->ram, BYTES);
	move(f, &sent);
	assert_same_memory(f);
	assert_int_equal(sent.compressed_raw_bytes, 0);
	assert_in_range(sent.bytes, BYTES, BYTES + BYTES / 100);
}

static int test_in(const struct lab *where)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(text_goes_compressed_under_a_limit, setup,
		                                teardown),
		cmocka_unit_test_setup_teardown(random_contents_go_as_they_are, setup, teardown),
	};

	lab = where;
	/* A wait that never ends is a failure, too. */
	(void)alarm(60);
	return cmocka_run_group_tests_name("compression", tests, NULL, NULL);
}

int main(int argc, char **argv)
{
	if (argc != 2) {
		(void)fprintf(stderr, "usage: test_compression PATH_OF_WHERRY_MOVER\n");
		return 2;
	}
	mover_path = argv[1];
	return lab_run("compression", test_in);
}
