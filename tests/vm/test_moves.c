/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Real movers move the memory of a process that keeps writing to it, between the two ends of a veth pair:
 * it is the same at both ends afterwards, whatever carried it, and the limit was held.
 *
 *	test_moves tcp MOVER METER	inside a machine, run by "pair"
 *
 * The test is the daemon. Everything is slow here, so there is little memory, and nothing asks how
 * long something took.
 */

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "cgroup.h"
#include "early_guest.h"
#include "late_guest.h"
#include "mover_pair.h"
#include "rate_bpf.h"
#include "traces.h"

#include "wherry/clock.h"
#include "wherry/fdpass.h"
#include "wherry/limits.h"

#define MIB   (UINT64_C(1) << 20)
#define PAGES 6144u
#define BYTES ((uint64_t)PAGES * WH_PAGE_SIZE)

#define LIMIT_BPS  (8 * MIB)
#define MEASURE_NS (3 * WH_NSEC_PER_SEC)
#define ATTEMPTS   20

/* Turns of a millisecond after which something will not happen any more. */
#define PATIENCE 60000

#define METER_FILE "/tmp/windows"

static const char *mover_path, *meter_path;
static struct wh_cgroup *leaf;

struct fixture {
	int source, target, missing, group;
	struct early_guest before; /* at the source */
	struct late_guest after;   /* at the destination, where it uses what has not come yet */
	struct wh_rate_bpf *rate;
};

/* --- the two hosts ---------------------------------------------------------------------------- */

/* Run a command of few words. Return: whether it succeeded. */
static bool run(const char *line)
{
	char words[256], *argv[16] = { NULL };
	size_t count = 0;
	char *rest = words;
	int status = 0;
	pid_t pid;

	(void)snprintf(words, sizeof(words), "%s", line);
	while (count < 15 && (argv[count] = strsep(&rest, " ")))
		count++;
	pid = fork();
	if (pid == 0) {
		(void)execvp(argv[0], argv);
		_exit(127);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* What goes from the source to the destination is late, and some is lost both ways. */
static void spoil_the_network(void)
{
	assert_true(run("tc qdisc replace dev va root netem delay 10ms loss 1%"));
	assert_true(run("tc qdisc replace dev vb root netem loss 1%"));
}

static int new_file(const char *name, uint64_t bytes)
{
	int fd = memfd_create(name, MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)bytes), 0);
	return fd;
}

static int setup(void **state)
{
	static struct fixture f;

	f = (struct fixture){ .source = new_file("source", BYTES),
		              .target = new_file("target", BYTES),
		              .missing = new_file("missing", wh_missing_file_bytes(BYTES)),
		              .group = wh_cgroup_procs(leaf, NULL) };
	assert_true(f.group >= 0);
	assert_int_equal(pwrite(f.target, "junk", 4, 4096), 4);
	f.before = (struct early_guest){
		.fd = f.source, .pages = PAGES, .filled = true, .at_a_time = 16
	};
	early_guest_start(&f.before);
	f.after = (struct late_guest){ .source = f.source, .target = f.target, .pages = PAGES };
	late_guest_start(&f.after);
	*state = &f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	late_guest_done(&f->after);
	early_guest_done(&f->before);
	f->rate = wh_rate_bpf_close(f->rate);
	wh_closep(&f->source);
	wh_closep(&f->target);
	wh_closep(&f->missing);
	wh_closep(&f->group);
	(void)run("tc qdisc replace dev va root noqueue");
	(void)run("tc qdisc replace dev vb root noqueue");
	return 0;
}

/* --- a move ----------------------------------------------------------------------------------- */

static struct mover_pair_config config(const struct fixture *f, uint32_t width, bool postcopy)
{
	return (struct mover_pair_config){
		.mover = mover_path,
		.source_fd = f->source,
		.target_fd = f->target,
		.bytes = BYTES,
		.connections = width,
		.vmm_pid = f->before.pid,
		.downtime_target_ns = 1, /* never: the test says when the rounds end */
		.source_cgroup = f->group,
		.source_address = "10.0.0.1",
		.target_address = "10.0.0.2",
		.postcopy = postcopy,
		.missing_fd = f->missing,
		.target_vmm_pid = f->after.pid,
	};
}

static void set_limit(struct fixture *f)
{
	assert_int_equal(wh_rate_bpf_open(&f->rate, leaf->dir_fd, LIMIT_BPS, NULL), 0);
}

static void await_round(const struct mover_pair *pair, uint64_t round)
{
	for (int i = 0; i < PATIENCE && wh_stat_get(pair->source.stats, WH_STAT_ROUND) < round; i++)
		(void)poll(NULL, 0, 1);
	assert_true(wh_stat_get(pair->source.stats, WH_STAT_ROUND) >= round);
}

/* Bytes of pages that came in post-copy. */
static uint64_t behind(const struct mover_pair *pair)
{
	return wh_stat_get(pair->source.stats, WH_STAT_PUSH_BYTES) +
	       wh_stat_get(pair->target.stats, WH_STAT_FAULT_BYTES);
}

static void print_stats(const struct mover_pair *pair)
{
	const struct wh_stats *source = pair->source.stats;

	print_message("# %" PRIu64 " rounds, %" PRIu64 " KiB of pages, %" PRIu64 " KiB behind\n",
	              wh_stat_get(source, WH_STAT_ROUND),
	              wh_stat_get(source, WH_STAT_PAGE_BYTES) >> 10, behind(pair) >> 10);
}

/* Nothing is left in the guest's process at either end, and each page is what it must be. */
static void assert_arrived_whole(struct fixture *f)
{
	assert_false(has_vm_flag(f->after.pid, "um"));
	assert_false(has_userfaultfd(f->after.pid));
	late_guest_run(&f->after);
	assert_true(late_guest_await(&f->after, 100));
	assert_true(late_guest_stop(&f->after));
	assert_int_equal(atomic_load(&f->after.control->wrong), 0);
	assert_int_equal(late_guest_wrong_pages(&f->after), 0);
}

/* The rest, with the guest standing still. */
static void finish(struct fixture *f, struct mover_pair *pair)
{
	assert_int_equal(mover_pair_switch(pair, WH_SWITCH_PAUSE), 0);
	assert_int_equal(mover_pair_await_converged(pair), 0);
	assert_true(early_guest_stop(&f->before));
	assert_int_equal(mover_pair_finish(pair), 0);
	print_stats(pair);
	assert_int_equal(mover_pair_done(pair), 0);
	assert_arrived_whole(f);
}

static void move(struct fixture *f, uint32_t width)
{
	const struct mover_pair_config cfg = config(f, width, false);
	struct mover_pair pair;

	assert_int_equal(mover_pair_start(&pair, &cfg), 0);
	await_round(&pair, 3);
	finish(f, &pair);
}

/* Under a limit, so that the first round is not over before the rounds are to end. */
static void move_behind_the_guest(struct fixture *f, uint32_t width)
{
	const struct mover_pair_config cfg = config(f, width, true);
	struct mover_pair pair;

	set_limit(f);
	assert_int_equal(mover_pair_start(&pair, &cfg), 0);
	assert_int_equal(mover_pair_switch(&pair, WH_SWITCH_POSTCOPY), 0);
	assert_int_equal(mover_pair_await_converged(&pair), 0);
	assert_true(early_guest_stop(&f->before));
	assert_int_equal(mover_pair_await_postcopy(&pair, &cfg), 0);
	late_guest_run(&f->after);
	assert_int_equal(mover_pair_await_arrived(&pair), 0);
	print_stats(&pair);
	assert_true(behind(&pair) >= BYTES / 4);
	assert_int_equal(mover_pair_done(&pair), 0);
	assert_arrived_whole(f);
}

static void memory_is_equal_after_a_move_by_one(void **state)
{
	move(*state, 1);
}

static void memory_is_equal_after_a_move_by_four(void **state)
{
	move(*state, 4);
}

static void memory_arrives_behind_the_guest_by_one(void **state)
{
	move_behind_the_guest(*state, 1);
}

static void memory_arrives_behind_the_guest_by_four(void **state)
{
	move_behind_the_guest(*state, 4);
}

static void memory_is_equal_where_packets_are_late_and_lost_by_one(void **state)
{
	spoil_the_network();
	move(*state, 1);
}

static void memory_is_equal_where_packets_are_late_and_lost_by_four(void **state)
{
	spoil_the_network();
	move(*state, 4);
}

static void memory_arrives_behind_the_guest_where_packets_are_late_and_lost(void **state)
{
	spoil_the_network();
	move_behind_the_guest(*state, 4);
}

/* --- the limit -------------------------------------------------------------------------------- */

static pid_t start_meter(void)
{
	int out[2];
	char ready;
	pid_t pid;

	assert_int_equal(pipe2(out, O_CLOEXEC), 0);
	pid = fork();
	if (pid == 0) {
		(void)dup2(out[1], STDOUT_FILENO);
		(void)execl(meter_path, meter_path, "--interface", "vb", "--out", METER_FILE,
		            (char *)NULL);
		_exit(127);
	}
	(void)close(out[1]);
	assert_int_equal(read(out[0], &ready, 1), 1); /* of "ready" */
	(void)close(out[0]);
	return pid;
}

/* Bytes of payload that it has seen between two times. */
static uint64_t end_meter(pid_t pid, uint64_t from_ns, uint64_t to_ns)
{
	uint64_t ms, count, bytes = 0;
	FILE *file;

	assert_int_equal(kill(pid, SIGTERM), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	file = fopen(METER_FILE, "re");
	assert_non_null(file);
	while (fscanf(file, "%" SCNu64 " %" SCNu64, &ms, &count) == 2)
		if (ms * WH_NSEC_PER_MSEC >= from_ns && ms * WH_NSEC_PER_MSEC < to_ns)
			bytes += count;
	assert_int_equal(fclose(file), 0);
	return bytes;
}

/* What arrives, as a part of the limit. */
static double measure(void)
{
	const pid_t meter = start_meter();
	const uint64_t from_ns = wh_now_ns(&wh_clock_monotonic);
	uint64_t to_ns;

	(void)poll(NULL, 0, (int)(MEASURE_NS / WH_NSEC_PER_MSEC));
	to_ns = wh_now_ns(&wh_clock_monotonic);
	return (double)end_meter(meter, from_ns, to_ns) * 1e9 / (double)(to_ns - from_ns) /
	       LIMIT_BPS;
}

/* Want of CPU can make it less for a time, but nothing may ever make it more. */
static void hold_the_limit(struct fixture *f, uint32_t width)
{
	const struct mover_pair_config cfg = config(f, width, false);
	struct mover_pair pair;
	double ratio = 0;

	set_limit(f);
	assert_int_equal(mover_pair_start(&pair, &cfg), 0);
	for (int attempt = 0; attempt < ATTEMPTS && ratio < 0.95; attempt++) {
		ratio = measure();
		print_message("# %.3f of 8 MiB/s\n", ratio);
		assert_true(ratio <= 1.05);
	}
	assert_true(ratio >= 0.95);
	assert_int_equal(wh_rate_bpf_set(f->rate, 0, NULL), 0);
	finish(f, &pair);
}

static void a_limit_of_8_mib_is_held_by_one(void **state)
{
	hold_the_limit(*state, 1);
}

static void a_limit_of_8_mib_is_held_by_four(void **state)
{
	hold_the_limit(*state, 4);
}

/* --- all of it -------------------------------------------------------------------------------- */

static int make_leaf(void)
{
	struct wh_error err = { 0 };
	int parent = -1;

	if (wh_cgroup_open_parent(&parent, "wherry-test", &err) < 0 ||
	    wh_cgroup_create(&leaf, parent, "leaf", &err) < 0) {
		(void)fprintf(stderr, "%s\n", err.text);
		return -1;
	}
	wh_closep(&parent);
	return 0;
}

int main(int argc, char **argv)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(memory_is_equal_after_a_move_by_one),
		TEST(memory_is_equal_after_a_move_by_four),
		TEST(memory_arrives_behind_the_guest_by_one),
		TEST(memory_arrives_behind_the_guest_by_four),
		TEST(memory_is_equal_where_packets_are_late_and_lost_by_one),
		TEST(memory_is_equal_where_packets_are_late_and_lost_by_four),
		TEST(memory_arrives_behind_the_guest_where_packets_are_late_and_lost),
		TEST(a_limit_of_8_mib_is_held_by_one),
		TEST(a_limit_of_8_mib_is_held_by_four),
	};
	char name[32];

	if (argc != 4) {
		(void)fprintf(stderr, "usage: test_moves TRANSPORT MOVER METER\n");
		return 2;
	}
	mover_path = argv[2];
	meter_path = argv[3];
	if (make_leaf() < 0)
		return 1;
	(void)snprintf(name, sizeof(name), "moves_%s", argv[1]);
	return cmocka_run_group_tests_name(name, tests, NULL, NULL);
}
