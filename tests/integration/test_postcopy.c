/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Two real movers, and post-copy: a process uses its memory at the destination before that is
 * there, and finds every page as it must be (late_guest.h). The test is the daemon.
 *
 *	test_postcopy MOVER [KILLS]	failures in each test that resumes [20]; where only the kind of
 *					memory is another one, a fourth of that
 *
 * The source is slowed by the product's own limit in some tests, so that what the guest waits for
 * competes with what is pushed, and a failure finds something left to do.
 */

#include <errno.h>
#include <fcntl.h>
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
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "huge_pool.h"
#include "lab.h"
#include "late_guest.h"
#include "mover_pair.h"
#include "rate_bpf.h"
#include "traces.h"

#include "wherry/fdpass.h"
#include "wherry/limits.h"
#include "wherry/session.h"

#define MIB (UINT64_C(1) << 20)

#define PAGES 24576u
#define BYTES ((uint64_t)PAGES * WH_PAGE_SIZE)

/* Slow enough that half of the memory takes longer than what a test does meanwhile. */
#define SLOW_BPS (48 * MIB)

static const struct lab *lab;
static const char *mover_path;
static uint32_t kills = 20;
static bool have_huge_pages;

/* The source's guest and the test share this. */
struct writer {
	_Atomic bool ready; /* most of the memory is written */
	_Atomic bool stop;
	_Atomic bool stopped;
};

/* What the guest has at both sides. */
struct kinds {
	bool source_huge, target_huge; /* on hugetlbfs */
	bool kept;                     /* the target's was all allocated beforehand, and mapped */
};

struct fixture {
	struct kinds kinds;
	int source, target, missing;
	pid_t writer_pid;
	struct writer *writer;
	struct late_guest guest;
	struct mover_pair pair; /* whatever runs of it is ended with the test */
	struct wh_rate_bpf *rate;
	uint64_t random;
};

static uint32_t roll(uint64_t *random, uint32_t sides)
{
	*random = *random * UINT64_C(6364136223846793005) + 1442695040888963407u;
	return (uint32_t)(*random >> 33) % sides;
}

/* --- the guest at the source ------------------------------------------------------------------ */

static void write_page(uint8_t *ram, uint64_t *random)
{
	uint64_t *page = (uint64_t *)(void *)(ram + (size_t)roll(random, PAGES) * WH_PAGE_SIZE);

	switch (roll(random, 16)) {
	case 0:
		(void)madvise(page, WH_PAGE_SIZE, MADV_REMOVE);
		break;
	case 1:
		memset(page, 0, WH_PAGE_SIZE);
		break;
	default:
		for (size_t i = 0; i < WH_PAGE_SIZE / sizeof(*page); i++)
			page[i] = *random + i;
	}
}

/* As QEMU does it: no event of a userfaultfd tells. */
static void give_back_huge(int fd, uint32_t number)
{
	(void)fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
	                (off_t)(number * HUGE_PAGE_BYTES), HUGE_PAGE_BYTES);
}

/* Writes more than a slow network carries, until it is stopped. */
static void write_on(struct writer *writer, int fd, bool huge)
{
	uint8_t *ram = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	uint64_t random = 1;

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (ram == MAP_FAILED)
		_exit(1);
	for (uint32_t i = 0; i < PAGES; i++)
		write_page(ram, &random);
	atomic_store(&writer->ready, true);
	while (!atomic_load(&writer->stop)) {
		for (int i = 0; i < 256; i++)
			write_page(ram, &random);
		if (huge && roll(&random, 8) == 0)
			give_back_huge(fd, roll(&random, BYTES / HUGE_PAGE_BYTES));
		(void)poll(NULL, 0, 1);
	}
	atomic_store(&writer->stopped, true);
	for (;;)
		(void)pause();
}

static void await(const _Atomic bool *flag)
{
	for (int i = 0; i < 10000 && !atomic_load(flag); i++)
		(void)poll(NULL, 0, 1);
	assert_true(atomic_load(flag));
}

static void stop_writer(struct fixture *f)
{
	atomic_store(&f->writer->stop, true);
	await(&f->writer->stopped);
}

static int new_file(const char *name, uint64_t bytes)
{
	int fd = memfd_create(name, MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)bytes), 0);
	return fd;
}

static int new_ram(bool huge)
{
	int fd = huge ? huge_file(BYTES) : new_file("ram", BYTES);

	assert_true(fd >= 0);
	return fd;
}

static blkcnt_t blocks(int fd)
{
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	return st.st_blocks;
}

static void fill_with_junk(int fd)
{
	uint8_t *ram = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	assert_true(ram != MAP_FAILED);
	memset(ram, 'j', BYTES);
	(void)munmap(ram, BYTES);
}

static int setup_on(void **state, struct kinds kinds)
{
	static struct fixture f;

	f = (struct fixture){ .random = (uint64_t)getpid(),
		              .kinds = kinds,
		              .pair = { .source.sock = -1, .target.sock = -1 } };
	f.source = new_ram(kinds.source_huge);
	f.target = new_ram(kinds.target_huge);
	if (kinds.kept)
		fill_with_junk(f.target);
	f.missing = new_file("missing", wh_missing_file_bytes(BYTES));
	if (!kinds.target_huge)
		assert_int_equal(pwrite(f.target, "junk", 4, 4096), 4);
	f.writer = mmap(NULL, sizeof(*f.writer), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
	                -1, 0);
	assert_true(f.writer != MAP_FAILED);
	f.writer_pid = fork();
	if (f.writer_pid == 0)
		write_on(f.writer, f.source, kinds.source_huge);
	assert_true(f.writer_pid > 0);
	await(&f.writer->ready);
	f.guest = (struct late_guest){
		.source = f.source, .target = f.target, .pages = PAGES, .populate = kinds.kept
	};
	late_guest_start(&f.guest);
	*state = &f;
	return 0;
}

static int setup(void **state)
{
	return setup_on(state, (struct kinds){ 0 });
}

static int setup_kept(void **state)
{
	return setup_on(state, (struct kinds){ .kept = true });
}

static int setup_huge_on(void **state, struct kinds kinds)
{
	return have_huge_pages ? setup_on(state, kinds) : 0;
}

#define SETUP_HUGE(name, ...)                                               \
	static int setup_##name(void **state)                               \
	{                                                                   \
		return setup_huge_on(state, (struct kinds){ __VA_ARGS__ }); \
	}

SETUP_HUGE(huge, .source_huge = true, .target_huge = true)
SETUP_HUGE(to_huge, .target_huge = true)
SETUP_HUGE(from_huge, .source_huge = true)
SETUP_HUGE(kept_huge, .target_huge = true, .kept = true)

static int teardown(void **state)
{
	struct fixture *f = *state;

	if (!f)
		return 0;
	/* First: a mover that has attached to the guest is waited for when that is killed. */
	(void)mover_pair_done(&f->pair);
	late_guest_done(&f->guest);
	(void)kill(f->writer_pid, SIGKILL);
	(void)waitpid(f->writer_pid, NULL, 0);
	(void)munmap(f->writer, sizeof(*f->writer));
	wh_closep(&f->source);
	wh_closep(&f->target);
	wh_closep(&f->missing);
	f->rate = wh_rate_bpf_close(f->rate);
	return 0;
}

static void slow_down(struct fixture *f)
{
	assert_int_equal(wh_rate_bpf_open(&f->rate, lab->leaf->dir_fd, SLOW_BPS, NULL), 0);
}

static struct mover_pair_config config(const struct fixture *f, uint32_t connections)
{
	return (struct mover_pair_config){
		.mover = mover_path,
		.source_fd = f->source,
		.target_fd = f->target,
		.bytes = BYTES,
		.connections = connections,
		.vmm_pid = f->writer_pid,
		.downtime_target_ns = 1, /* never */
		.source_cgroup = wh_cgroup_procs(lab->leaf, NULL),
		.postcopy = true,
		.missing_fd = f->missing,
		.target_vmm_pid = f->guest.pid,
	};
}

/* --- what must be so -------------------------------------------------------------------------- */

static void assert_arrived_whole(struct fixture *f)
{
	assert_false(has_vm_flag(f->guest.pid, "um"));
	assert_false(has_vm_flag(f->guest.pid, "ui"));
	assert_false(has_userfaultfd(f->guest.pid));
	assert_true(late_guest_await(&f->guest, 100));
	assert_true(late_guest_stop(&f->guest));
	assert_int_equal(atomic_load(&f->guest.control->wrong), 0);
	assert_int_equal(late_guest_wrong_pages(&f->guest), 0);
}

static void finish(struct fixture *f, struct mover_pair *pair, struct mover_pair_config *cfg)
{
	assert_int_equal(mover_pair_done(pair), 0);
	assert_arrived_whole(f);
	wh_closep(&cfg->source_cgroup);
}

/* From the start until the guest may run at the destination. */
static void begin(struct fixture *f, struct mover_pair *pair, struct mover_pair_config *cfg)
{
	/* Before the first round is over: later ones may find nothing written, and converge. Without a
	 * limit that takes some ms, which a busy machine may take for less than a line. */
	cfg->switch_at_once = f->rate ? WH_SWITCH_NONE : WH_SWITCH_POSTCOPY;
	assert_int_equal(mover_pair_start(pair, cfg), 0);
	cfg->switch_at_once = WH_SWITCH_NONE;
	if (f->rate) {
		(void)poll(NULL, 0, 300);
		assert_int_equal(mover_pair_switch(pair, WH_SWITCH_POSTCOPY), 0);
	}
	assert_int_equal(mover_pair_await_converged(pair), 0);
	stop_writer(f);
	assert_int_equal(mover_pair_await_postcopy(pair, cfg), 0);
	cfg->vmm_uffd = pair->vmm_uffd;
	assert_int_equal(has_vm_flag(f->guest.pid, "ui"), f->kinds.kept);
	if (f->kinds.kept)
		assert_true(blocks(f->target) * 512 >=
		            (blkcnt_t)BYTES); /* nothing was given back */
	late_guest_run(&f->guest);
}

static void print_stats(const struct mover_pair *pair)
{
	const struct wh_stats *source = pair->source.stats, *target = pair->target.stats;
	const uint64_t faults = wh_stat_get(target, WH_STAT_FAULTS);

	print_message(
		"# downtime %ju us, post-copy %ju ms; %ju faults of %ju us, %ju KiB for "
		"them, %ju KiB pushed\n",
		(uintmax_t)(wh_stat_get(source, WH_STAT_POSTCOPY_NS) -
	                    wh_stat_get(source, WH_STAT_STOPPED_NS)) /
			1000,
		(uintmax_t)(wh_stat_get(target, WH_STAT_LANDED_NS) -
	                    wh_stat_get(target, WH_STAT_POSTCOPY_NS)) /
			1000000,
		(uintmax_t)faults,
		(uintmax_t)(faults ? wh_stat_get(target, WH_STAT_STALL_NS) / faults / 1000 : 0),
		(uintmax_t)wh_stat_get(target, WH_STAT_FAULT_BYTES) >> 10,
		(uintmax_t)wh_stat_get(source, WH_STAT_PUSH_BYTES) >> 10);
}

/* --- it works --------------------------------------------------------------------------------- */

static void move(struct fixture *f, uint32_t connections, enum wh_compression compression)
{
	struct mover_pair_config cfg = config(f, connections);
	uint64_t waits = 0;

	cfg.compression = compression;
	begin(f, &f->pair, &cfg);
	assert_int_equal(mover_pair_await_arrived(&f->pair), 0);
	print_stats(&f->pair);
	for (uint32_t i = 0; i < WH_FAULT_BUCKETS; i++)
		waits += wh_stat_fault_bucket(f->pair.target.stats, i);
	assert_int_equal(waits, wh_stat_get(f->pair.target.stats, WH_STAT_FAULTS));
	finish(f, &f->pair, &cfg);
}

static void memory_arrives_behind_the_guest(void **state)
{
	move(*state, 1, WH_COMPRESSION_NONE);
}

static void memory_arrives_behind_the_guest_over_four_connections(void **state)
{
	move(*state, 4, WH_COMPRESSION_NONE);
}

static void memory_arrives_behind_a_guest_that_walks(void **state)
{
	struct fixture *f = *state;

	late_guest_done(&f->guest);
	f->guest = (struct late_guest){
		.source = f->source, .target = f->target, .pages = PAGES, .in_order = true
	};
	late_guest_start(&f->guest);
	slow_down(f);
	move(f, 2, WH_COMPRESSION_NONE);
}

static void memory_arrives_compressed_under_a_limit(void **state)
{
	slow_down(*state);
	move(*state, 2, WH_COMPRESSION_ZSTD);
}

static void memory_arrives_under_a_limit(void **state)
{
	slow_down(*state);
	move(*state, 2, WH_COMPRESSION_NONE);
}

/* A file on a tmpfs that makes huge pages, mounted nowhere. Return: -1 if there is no such. */
static int new_huge_file(void)
{
	wh_cleanup(wh_closep) int fs = fsopen("tmpfs", FSOPEN_CLOEXEC);
	wh_cleanup(wh_closep) int mount = -1;
	int fd;

	if (fs < 0 || fsconfig(fs, FSCONFIG_SET_STRING, "huge", "always", 0) < 0 ||
	    fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return -1;
	mount = fsmount(fs, FSMOUNT_CLOEXEC, 0);
	fd = openat(mount, "ram", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_int_equal(ftruncate(fd, (off_t)BYTES), 0);
	return fd;
}

/* Where hugetlbfs is source, target or both. */
static void memory_arrives_on_hugetlbfs(void **state)
{
	if (!*state)
		skip();
	slow_down(*state);
	move(*state, 2, WH_COMPRESSION_ZSTD);
}

/* Until then pages go as what differs: what post-copy sends must not. */
static void memory_arrives_that_was_sent_in_differences_before(void **state)
{
	struct fixture *f = *state;
	struct mover_pair_config cfg = config(f, 2);
	uint64_t differences = 0;

	cfg.compression = WH_COMPRESSION_ZSTD;
	assert_int_equal(mover_pair_start(&f->pair, &cfg), 0);
	for (int i = 0; i < 5000 && differences == 0; i++) {
		(void)poll(NULL, 0, 1);
		differences = wh_stat_get(f->pair.source.stats, WH_STAT_DELTA_RAW_BYTES);
	}
	assert_true(differences > 0);
	assert_int_equal(mover_pair_switch(&f->pair, WH_SWITCH_POSTCOPY), 0);
	assert_int_equal(mover_pair_await_converged(&f->pair), 0);
	differences = wh_stat_get(f->pair.source.stats, WH_STAT_DELTA_RAW_BYTES);
	stop_writer(f);
	assert_int_equal(mover_pair_await_postcopy(&f->pair, &cfg), 0);
	late_guest_run(&f->guest);
	assert_int_equal(mover_pair_await_arrived(&f->pair), 0);
	print_stats(&f->pair);
	assert_true(wh_stat_get(f->pair.source.stats, WH_STAT_PUSH_BYTES) > 0);
	assert_int_equal(wh_stat_get(f->pair.source.stats, WH_STAT_DELTA_RAW_BYTES), differences);
	finish(f, &f->pair, &cfg);
}

static void memory_arrives_where_pages_are_huge(void **state)
{
	struct fixture *f = *state;

	wh_closep(&f->target);
	late_guest_done(&f->guest);
	f->target = new_huge_file();
	if (f->target < 0)
		skip();
	f->guest = (struct late_guest){ .source = f->source, .target = f->target, .pages = PAGES };
	late_guest_start(&f->guest);
	slow_down(f);
	move(f, 2, WH_COMPRESSION_NONE);
}

static void a_switch_to_pause_sends_all_while_the_guest_stands_still(void **state)
{
	struct fixture *f = *state;
	struct mover_pair_config cfg = config(f, 2);

	slow_down(f);
	assert_int_equal(mover_pair_start(&f->pair, &cfg), 0);
	assert_int_equal(mover_pair_switch(&f->pair, WH_SWITCH_PAUSE), 0);
	assert_int_equal(mover_pair_await_converged(&f->pair), 0);
	stop_writer(f);
	assert_int_equal(mover_pair_switch(&f->pair, WH_SWITCH_POSTCOPY), 0); /* too late */
	assert_int_equal(mover_pair_finish(&f->pair), 0);
	assert_int_equal(mover_pair_done(&f->pair), 0);
	late_guest_run(&f->guest);
	assert_arrived_whole(f);
	wh_closep(&cfg.source_cgroup);
}

static void post_copy_that_was_not_prepared_is_refused_in_words(void **state)
{
	struct fixture *f = *state;
	struct mover_pair_config cfg = config(f, 1);

	cfg.postcopy = false;
	assert_int_equal(mover_pair_start(&f->pair, &cfg), 0);
	assert_int_equal(mover_pair_switch(&f->pair, WH_SWITCH_POSTCOPY), 0);
	assert_int_equal(mover_pair_await_failed(&f->pair, &f->pair.source), 0);
	assert_int_equal(f->pair.failed.code, -EOPNOTSUPP);
	assert_non_null(strstr(f->pair.failed.error.text, "not set up for post-copy"));
	(void)mover_pair_done(&f->pair);
	wh_closep(&cfg.source_cgroup);
}

/* --- it fails, and goes on -------------------------------------------------------------------- */

/* Shut down one of @pid's connections. Return: false if it has none. */
static bool cut_link(pid_t pid)
{
	wh_cleanup(wh_closep) int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	wh_cleanup(wh_closep) int ours = -1;
	int type = 0;
	socklen_t len = sizeof(type);

	for (int fd = WH_WORKER_FD + 1; pidfd >= 0 && fd < 64; fd++) {
		wh_closep(&ours);
		ours = (int)syscall(SYS_pidfd_getfd, pidfd, fd, 0);
		if (ours >= 0 && getsockopt(ours, SOL_SOCKET, SO_DOMAIN, &type, &len) == 0 &&
		    type == AF_INET)
			return shutdown(ours, SHUT_RDWR) == 0;
	}
	return false;
}

enum failure {
	LINK_CUT,
	SOURCE_KILLED,
	TARGET_KILLED,
	BOTH_KILLED,
	FAILURES,
};

/* Nobody has said ARRIVED yet, and now nobody may be able to. */
static void break_it(struct mover_pair *pair, enum failure failure)
{
	if (failure == LINK_CUT)
		(void)cut_link(pair->source.pid);
	if (failure == SOURCE_KILLED || failure == BOTH_KILLED)
		(void)kill(pair->source.pid, SIGKILL);
	if (failure == TARGET_KILLED || failure == BOTH_KILLED)
		(void)kill(pair->target.pid, SIGKILL);
}

/* One that was killed may have ended just before. */
static void assert_ended(const struct mover *mover, bool killed)
{
	if (killed && WIFSIGNALED(mover->status))
		assert_int_equal(WTERMSIG(mover->status), SIGKILL);
	else
		assert_true(WIFEXITED(mover->status));
}

/* End what is left of the pair. Only what was killed has died of it. */
static void clear_away(struct mover_pair *pair, enum failure failure)
{
	(void)mover_pair_done(pair);
	assert_ended(&pair->source, failure == SOURCE_KILLED || failure == BOTH_KILLED);
	assert_ended(&pair->target, failure == TARGET_KILLED || failure == BOTH_KILLED);
}

/* A killed hypervisor's thread would be lost: a daemon waits as long, too. */
static void let_go(const struct mover_pair *pair)
{
	for (int i = 0;
	     i < 1000 && wh_stat_get(pair->target.stats, WH_STAT_STATE) == WH_SESSION_ATTACHING;
	     i++)
		(void)poll(NULL, 0, 1);
}

/* Whether the destination's hypervisor still waits for pages: then it is not over. */
static bool is_left(const struct fixture *f)
{
	return has_userfaultfd(f->guest.pid);
}

/* Break and resume until @count failures were survived, or there is nothing left to break. */
static uint32_t break_and_resume(struct fixture *f, uint32_t count)
{
	struct mover_pair_config cfg = config(f, 2);
	enum failure failure;
	uint32_t broken = 0;

	begin(f, &f->pair, &cfg);
	cfg.resume = true;
	while (broken < count) {
		(void)poll(NULL, 0, (int)roll(&f->random, f->rate ? 60 : 6));
		let_go(&f->pair);
		failure = (enum failure)roll(&f->random, FAILURES);
		break_it(&f->pair, failure);
		clear_away(&f->pair, failure);
		if (!is_left(f))
			break;
		broken++;
		assert_int_equal(mover_pair_start(&f->pair, &cfg), 0);
		assert_int_equal(mover_pair_await_postcopy(&f->pair, &cfg), 0);
	}
	if (broken == count) {
		assert_int_equal(mover_pair_await_arrived(&f->pair), 0);
		assert_int_equal(mover_pair_done(&f->pair), 0);
	}
	assert_arrived_whole(f);
	wh_closep(&cfg.source_cgroup);
	return broken;
}

/* A mover that was killed after it let go, and before it said so. */
static void what_is_over_can_be_resumed(void **state)
{
	struct fixture *f = *state;
	struct mover_pair_config cfg = config(f, 2);

	begin(f, &f->pair, &cfg);
	assert_int_equal(mover_pair_await_arrived(&f->pair), 0);
	assert_int_equal(mover_pair_done(&f->pair), 0);
	cfg.resume = true;
	assert_int_equal(mover_pair_start(&f->pair, &cfg), 0);
	assert_int_equal(mover_pair_await_postcopy(&f->pair, &cfg), 0);
	assert_int_equal(mover_pair_await_arrived(&f->pair), 0);
	finish(f, &f->pair, &cfg);
}

/* As often as it takes: one run may be over before all failures were had. */
static void survive(void **state, uint32_t wanted, bool slowly)
{
	const struct fixture *f = *state;
	uint32_t broken = 0;

	for (uint32_t turn = 0; turn < 50 && broken < wanted; turn++) {
		if (turn > 0) {
			(void)teardown(state);
			(void)setup_on(state, f->kinds);
		}
		if (slowly)
			slow_down(*state);
		broken += break_and_resume(*state, wanted - broken);
	}
	print_message("# survived %u failures\n", broken);
	assert_int_equal(broken, wanted);
}

static void a_guest_survives_failures_of_links_and_movers(void **state)
{
	survive(state, kills, false);
}

static void a_guest_survives_failures_under_a_limit(void **state)
{
	const struct fixture *f = *state;

	survive(state, f->kinds.kept ? kills / 4 : kills, true);
}

static void a_guest_on_hugetlbfs_survives_failures(void **state)
{
	if (*state)
		survive(state, kills / 4, true);
	else
		skip();
}

static int test_in(const struct lab *where)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
#define TEST_ON(where, fn)                                        \
	{                                                         \
#fn "_" #where, fn, setup_##where, teardown, NULL \
	}
	const struct CMUnitTest tests[] = {
		TEST(memory_arrives_behind_the_guest),
		TEST(memory_arrives_behind_the_guest_over_four_connections),
		TEST(memory_arrives_behind_a_guest_that_walks),
		TEST(memory_arrives_under_a_limit),
		TEST(memory_arrives_compressed_under_a_limit),
		TEST(memory_arrives_that_was_sent_in_differences_before),
		TEST(memory_arrives_where_pages_are_huge),
		TEST_ON(huge, memory_arrives_on_hugetlbfs),
		TEST_ON(to_huge, memory_arrives_on_hugetlbfs),
		TEST_ON(from_huge, memory_arrives_on_hugetlbfs),
		TEST_ON(kept_huge, memory_arrives_on_hugetlbfs),
		TEST_ON(kept, memory_arrives_behind_the_guest),
		TEST(a_switch_to_pause_sends_all_while_the_guest_stands_still),
		TEST(post_copy_that_was_not_prepared_is_refused_in_words),
		TEST(what_is_over_can_be_resumed),
		TEST(a_guest_survives_failures_of_links_and_movers),
		TEST(a_guest_survives_failures_under_a_limit),
		TEST_ON(huge, a_guest_on_hugetlbfs_survives_failures),
		TEST_ON(kept_huge, a_guest_on_hugetlbfs_survives_failures),
		TEST_ON(kept, a_guest_survives_failures_under_a_limit),
	};

	lab = where;
	(void)alarm(570);
	return cmocka_run_group_tests_name("postcopy", tests, NULL, NULL);
}

int main(int argc, char **argv)
{
	if (argc < 2) {
		(void)fprintf(stderr, "usage: test_postcopy PATH_OF_WHERRY_MOVER [KILLS]\n");
		return 2;
	}
	mover_path = argv[1];
	if (argc > 2)
		kills = (uint32_t)strtoul(argv[2], NULL, 10);
	have_huge_pages = huge_pool_open(2 * BYTES / HUGE_PAGE_BYTES + 8);
	return lab_run("postcopy", test_in);
}
