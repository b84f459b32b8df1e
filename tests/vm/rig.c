/* SPDX-License-Identifier: Apache-2.0 */

#include "rig.h"

#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "traces.h"

#include "wherry/fdpass.h"
#include "wherry/limits.h"

/* Turns of a millisecond after which something will not happen any more. */
#define PATIENCE 60000

/* Of either side's memory: more than there is. */
#define PINNED_BYTES_MAX (UINT64_C(256) << 20)

static const char *mover_path;
static enum wh_transport_kind transport;
static struct wh_cgroup *leaf;

/* --- the two hosts ---------------------------------------------------------------------------- */

bool rig_command(const char *line)
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

static int new_file(const char *name, uint64_t bytes)
{
	int fd = memfd_create(name, MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)bytes), 0);
	return fd;
}

int rig_setup(void **state)
{
	static struct rig rig;

	rig = (struct rig){ .source = new_file("source", RIG_BYTES),
		            .target = new_file("target", RIG_BYTES),
		            .missing = new_file("missing", wh_missing_file_bytes(RIG_BYTES)),
		            .group = wh_cgroup_procs(leaf, NULL) };
	assert_true(rig.group >= 0);
	assert_int_equal(pwrite(rig.target, "junk", 4, 4096), 4);
	rig.before = (struct early_guest){
		.fd = rig.source, .pages = RIG_PAGES, .filled = true, .at_a_time = 16
	};
	early_guest_start(&rig.before);
	rig.after = (struct late_guest){ .source = rig.source,
		                         .target = rig.target,
		                         .pages = RIG_PAGES };
	late_guest_start(&rig.after);
	*state = &rig;
	return 0;
}

int rig_teardown(void **state)
{
	struct rig *rig = *state;

	for (size_t i = 0; i < 2; i++)
		if (rig->movers[i] > 0 && waitpid(rig->movers[i], NULL, WNOHANG) == 0) {
			(void)kill(rig->movers[i], SIGKILL);
			(void)waitpid(rig->movers[i], NULL, 0);
		}
	late_guest_done(&rig->after);
	early_guest_done(&rig->before);
	rig->rate = wh_rate_bpf_close(rig->rate);
	wh_closep(&rig->source);
	wh_closep(&rig->target);
	wh_closep(&rig->missing);
	wh_closep(&rig->group);
	return 0;
}

/* --- a move ----------------------------------------------------------------------------------- */

/* As the source's device says, which knows nothing of movers. */
static uint64_t sent_packets(void)
{
	uint64_t count = 0;
	FILE *file = fopen("/sys/class/infiniband/rxea/ports/1/hw_counters/sent_pkts", "re");

	if (!file)
		return 0;
	assert_int_equal(fscanf(file, "%" SCNu64, &count), 1);
	assert_int_equal(fclose(file), 0);
	return count;
}

struct mover_pair_config rig_config(struct rig *rig, uint32_t width, bool postcopy)
{
	struct mover_pair_config cfg = {
		.mover = mover_path,
		.source_fd = rig->source,
		.target_fd = rig->target,
		.bytes = RIG_BYTES,
		.connections = width,
		.vmm_pid = rig->before.pid,
		.downtime_target_ns = 1, /* never: the test says when the rounds end */
		.source_cgroup = rig->group,
		.source_address = "10.0.0.1",
		.target_address = "10.0.0.2",
		.transport = transport,
		.pairs = width,
		.pinned_bytes_max = PINNED_BYTES_MAX,
		.postcopy = postcopy,
		.missing_fd = rig->missing,
		.target_vmm_pid = rig->after.pid,
	};

	rig->sent_packets = sent_packets();
	if (transport != WH_TRANSPORT_TCP && rig->rate) {
		cfg.has_bucket = true;
		assert_int_equal(wh_rate_bpf_share(rig->rate, &cfg.bucket_fd, NULL), 0);
	}
	return cfg;
}

void rig_limit(struct rig *rig)
{
	assert_int_equal(wh_rate_bpf_open(&rig->rate, leaf->dir_fd, RIG_LIMIT_BPS, NULL), 0);
}

void rig_start(struct rig *rig, struct mover_pair *pair, const struct mover_pair_config *cfg)
{
	const int r = mover_pair_start(pair, cfg);

	rig->movers[0] = pair->source.pid;
	rig->movers[1] = pair->target.pid;
	assert_int_equal(r, 0);
}

static void await_stat(const struct mover_pair *pair, enum wh_stat stat, uint64_t least)
{
	for (int i = 0; i < PATIENCE && wh_stat_get(pair->source.stats, stat) < least; i++)
		(void)poll(NULL, 0, 1);
	assert_true(wh_stat_get(pair->source.stats, stat) >= least);
}

void rig_await_round(const struct mover_pair *pair, uint64_t round)
{
	await_stat(pair, WH_STAT_ROUND, round);
}

uint64_t rig_behind(const struct mover_pair *pair)
{
	return wh_stat_get(pair->source.stats, WH_STAT_PUSH_BYTES) +
	       wh_stat_get(pair->target.stats, WH_STAT_FAULT_BYTES);
}

uint64_t rig_read_by_rdma(const struct mover_pair *pair)
{
	return wh_stat_get(pair->target.stats, WH_STAT_RDMA_READ_BYTES);
}

bool rig_has_rdma(void)
{
	return transport == WH_TRANSPORT_RDMA;
}

uint64_t rig_rdma_packets(const struct rig *rig)
{
	const uint64_t now = sent_packets();

	return now > rig->sent_packets ? now - rig->sent_packets : 0; /* a new device begins at 0 */
}

static void print_stats(const struct rig *rig, const struct mover_pair *pair)
{
	const struct wh_stats *source = pair->source.stats;

	print_message("# %" PRIu64 " rounds, %" PRIu64 " KiB of pages, %" PRIu64
	              " KiB behind the guest, %" PRIu64 " packets of RDMA; %s\n",
	              wh_stat_get(source, WH_STAT_ROUND),
	              wh_stat_get(source, WH_STAT_PAGE_BYTES) >> 10, rig_behind(pair) >> 10,
	              rig_rdma_packets(rig), pair->source.carries.why.text);
}

void rig_done(struct rig *rig, struct mover_pair *pair)
{
	print_stats(rig, pair);
	assert_int_equal(mover_pair_done(pair), 0);
	assert_false(has_vm_flag(rig->after.pid, "um"));
	assert_false(has_userfaultfd(rig->after.pid));
	late_guest_run(&rig->after);
	assert_true(late_guest_await(&rig->after, 100));
	assert_true(late_guest_stop(&rig->after));
	assert_int_equal(atomic_load(&rig->after.control->wrong), 0);
	assert_int_equal(late_guest_wrong_pages(&rig->after), 0);
}

void rig_finish(struct rig *rig, struct mover_pair *pair)
{
	assert_int_equal(mover_pair_switch(pair, WH_SWITCH_PAUSE), 0);
	assert_int_equal(mover_pair_await_converged(pair), 0);
	assert_true(early_guest_stop(&rig->before));
	assert_int_equal(mover_pair_finish(pair), 0);
	rig_done(rig, pair);
}

void rig_assert_untouched(const struct rig *rig)
{
	assert_false(has_userfaultfd(rig->before.pid));
	assert_false(has_vm_flag(rig->before.pid, "uw"));
	assert_true(early_guest_stop(&rig->before));
}

/* --- all tests -------------------------------------------------------------------------------- */

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

int rig_run(const char *name, const char *by, const char *mover, const struct CMUnitTest *tests,
            size_t count)
{
	char group[64];

	mover_path = mover;
	transport = strcmp(by, "rdma") == 0 ? WH_TRANSPORT_RDMA : WH_TRANSPORT_TCP;
	if (make_leaf() < 0)
		return 1;
	(void)snprintf(group, sizeof(group), "%s_%s", name, by);
	return _cmocka_run_group_tests(group, tests, count, NULL, NULL);
}
