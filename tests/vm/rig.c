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

void rig_network(bool up)
{
	assert_true(rig_command(up ? "ip link set va up" : "ip link set va down"));
	/* Its routes go with it, and do not come back by themselves. */
	assert_true(!up || rig_command("ip route replace 10.0.0.2 dev va table 100"));
}

static bool has_addresses(void)
{
	return rig_command("grep -rqs 0a00:0001 /sys/class/infiniband/rxea/ports/1/gids") &&
	       rig_command("grep -rqs 0a00:0002 /sys/class/infiniband/rxeb/ports/1/gids");
}

void rig_new_devices(void)
{
	if (transport == WH_TRANSPORT_TCP)
		return;
	/* Those that are gone cannot be removed. */
	(void)rig_command("rdma link del rxea");
	(void)rig_command("rdma link del rxeb");
	assert_true(rig_command("rdma link add rxea type rxe netdev va"));
	assert_true(rig_command("rdma link add rxeb type rxe netdev vb"));
	for (int i = 0; i < PATIENCE / 100 && !has_addresses(); i++)
		(void)poll(NULL, 0, 100);
	assert_true(has_addresses());
}

void rig_await_stat(const struct mover_pair *pair, enum wh_stat stat, uint64_t least)
{
	for (int i = 0; i < PATIENCE && wh_stat_get(pair->source.stats, stat) < least; i++)
		(void)poll(NULL, 0, 1);
	assert_true(wh_stat_get(pair->source.stats, stat) >= least);
}

void rig_await_round(const struct mover_pair *pair, uint64_t round)
{
	rig_await_stat(pair, WH_STAT_ROUND, round);
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

uint64_t rig_rdma_packets(const struct rig *rig)
{
	const uint64_t now = sent_packets();

	return now > rig->sent_packets ? now - rig->sent_packets : 0; /* a new device begins at 0 */
}

static void take_stats(struct rig *rig, const struct mover_pair *pair)
{
	const struct wh_stats *source = pair->source.stats;

	rig->page_bytes = wh_stat_get(source, WH_STAT_PAGE_BYTES);
	rig->rdma_bytes = wh_stat_get(source, WH_STAT_RDMA_BYTES);
	print_message("# %" PRIu64 " rounds, %" PRIu64 " KiB of pages, %" PRIu64
	              " KiB behind the guest, %" PRIu64 " KiB in %" PRIu64 " packets of RDMA; %s\n",
	              wh_stat_get(source, WH_STAT_ROUND), rig->page_bytes >> 10,
	              rig_behind(pair) >> 10, rig->rdma_bytes >> 10, rig_rdma_packets(rig),
	              pair->source.carries.why.text);
}

void rig_done(struct rig *rig, struct mover_pair *pair)
{
	take_stats(rig, pair);
	assert_int_equal(mover_pair_done(pair), 0);
	assert_false(has_vm_flag(rig->after.pid, "um"));
	assert_false(has_userfaultfd(rig->after.pid));
	late_guest_run(&rig->after);
	assert_true(late_guest_await(&rig->after, 100));
	assert_true(late_guest_stop(&rig->after));
	assert_int_equal(atomic_load(&rig->after.control->wrong), 0);
	assert_int_equal(late_guest_wrong_pages(&rig->after), 0);
}

void rig_stop(struct rig *rig, struct mover_pair *pair)
{
	assert_int_equal(mover_pair_switch(pair, WH_SWITCH_PAUSE), 0);
	assert_int_equal(mover_pair_await_converged(pair), 0);
	assert_true(early_guest_stop(&rig->before));
}

void rig_land(struct rig *rig, struct mover_pair *pair)
{
	assert_int_equal(mover_pair_finish(pair), 0);
	rig_done(rig, pair);
}

void rig_finish(struct rig *rig, struct mover_pair *pair)
{
	rig_stop(rig, pair);
	rig_land(rig, pair);
}

void rig_move_behind(struct rig *rig, const struct mover_pair_config *cfg)
{
	struct mover_pair pair;

	rig_start(rig, &pair, cfg);
	assert_int_equal(mover_pair_switch(&pair, WH_SWITCH_POSTCOPY), 0);
	assert_int_equal(mover_pair_await_converged(&pair), 0);
	assert_true(early_guest_stop(&rig->before));
	assert_int_equal(mover_pair_await_postcopy(&pair, cfg), 0);
	late_guest_run(&rig->after);
	assert_int_equal(mover_pair_await_arrived(&pair), 0);
	assert_true(rig_behind(&pair) >= RIG_BYTES / 4);
	print_message("# %" PRIu64 " KiB read by RDMA\n", rig_read_by_rdma(&pair) >> 10);
	assert_int_equal(rig_read_by_rdma(&pair) > 0, transport == WH_TRANSPORT_RDMA);
	rig_done(rig, &pair);
}

/* A packet of the device's has a page at most. */
void rig_assert_carried(const struct rig *rig)
{
	if (transport == WH_TRANSPORT_TCP) {
		assert_int_equal(rig->rdma_bytes, 0);
		assert_int_equal(rig_rdma_packets(rig), 0);
		return;
	}
	assert_true(rig->page_bytes > 0);
	assert_true(rig->rdma_bytes > rig->page_bytes / 10 * 9);
	assert_true(rig_rdma_packets(rig) >= rig->rdma_bytes / WH_PAGE_SIZE);
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
	int failed;

	mover_path = mover;
	transport = strcmp(by, "rdma") == 0 ? WH_TRANSPORT_RDMA : WH_TRANSPORT_TCP;
	if (make_leaf() < 0)
		return 1;
	(void)snprintf(group, sizeof(group), "%s_%s", name, by);
	failed = _cmocka_run_group_tests(group, tests, count, NULL, NULL);
	if (wh_cgroup_remove(leaf, NULL) < 0)
		print_message("# a test has left somebody in the cgroup\n");
	leaf = wh_cgroup_close(leaf);
	return failed;
}
