/* SPDX-License-Identifier: Apache-2.0 */

#include "mover_pair.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/capability.h>

#include "wherry/fdpass.h"
#include "wherry/limits.h"

static int enter_netns(const char *path)
{
	wh_cleanup(wh_closep) int fd = open(path, O_RDONLY | O_CLOEXEC);

	return fd < 0 ? -1 : setns(fd, CLONE_NEWNET);
}

/* What root may not have, no program that it starts has, either. */
static int limit_memlock(uint64_t bytes)
{
	const struct rlimit limit = { .rlim_cur = bytes, .rlim_max = bytes };

	return setrlimit(RLIMIT_MEMLOCK, &limit) < 0
	               ? -1
	               : prctl(PR_CAPBSET_DROP, CAP_IPC_LOCK, 0, 0, 0);
}

static void exec_mover(const struct mover_pair_config *cfg, int sock, int cgroup, const char *netns)
{
	/* Moved away first, so that dup2() clears close-on-exec even if it is 3 already. */
	int spare = fcntl(sock, F_DUPFD_CLOEXEC, 10);

	if (cgroup >= 0 && write(cgroup, "0", 1) != 1)
		_exit(126);
	if (netns && enter_netns(netns) < 0)
		_exit(126);
	if (cfg->memlock_bytes && limit_memlock(cfg->memlock_bytes) < 0)
		_exit(126);
	if (spare < 0 || dup2(spare, WH_WORKER_FD) < 0)
		_exit(126);
	(void)execl(cfg->mover, cfg->mover, (char *)NULL);
	_exit(127);
}

static int spawn(struct mover *mover, const struct mover_pair_config *cfg, bool source, int *stats)
{
	int sv[2];

	*stats = memfd_create("stats", MFD_CLOEXEC);
	if (*stats < 0 || ftruncate(*stats, sizeof(*mover->stats)) < 0 ||
	    socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv) < 0)
		return -1;
	mover->stats =
		mmap(NULL, sizeof(*mover->stats), PROT_READ | PROT_WRITE, MAP_SHARED, *stats, 0);
	mover->sock = sv[0];
	mover->pid = fork();
	if (mover->pid == 0)
		exec_mover(cfg, sv[1], source ? cfg->source_cgroup : -1,
		           source ? cfg->source_netns : cfg->target_netns);
	(void)close(sv[1]);
	return mover->pid < 0 || mover->stats == MAP_FAILED ? -1 : 0;
}

/* @more: what START needs besides, or -1. */
static int start(struct mover *mover, struct wh_worker_start *msg, int stats, int ram, int more)
{
	int fds[3] = { stats, ram, more };
	struct wh_fdpass pass = {
		.data = msg, .len = sizeof(*msg), .fds = fds, .fd_count = more < 0 ? 2 : 3
	};

	return wh_fdpass_send(mover->sock, &pass) < 0 ? -1 : 0;
}

union message {
	uint32_t type;
	struct wh_worker_listening listening;
	struct wh_worker_transport transport;
	struct wh_worker_landed landed;
	struct wh_worker_failed failed;
};

/* Take @mover's next message; one about the transport is only noted. Return: 1, 0 or -errno. */
static int receive(struct mover *mover, union message *msg)
{
	/* This ends: a mover says of each transport once that it carries pages, or does not. */
	for (;;) {
		struct wh_fdpass pass = { .data = msg, .len = sizeof(*msg) };
		int r = wh_fdpass_recv(mover->sock, &pass);

		if (r != 1 || msg->type != WH_WORKER_TRANSPORT)
			return r;
		mover->carries = msg->transport;
	}
}

/* Wait for a message of @type from @mover. */
static int await(struct mover_pair *pair, struct mover *mover, uint32_t type)
{
	union message msg;

	if (receive(mover, &msg) != 1) {
		(void)fprintf(stderr, "mover %d is gone\n", (int)mover->pid);
		return -1;
	}
	if (msg.type == WH_WORKER_FAILED) {
		pair->failed = msg.failed;
		(void)fprintf(stderr, "mover %d: %s\n", (int)mover->pid, msg.failed.error.text);
		return -1;
	}
	if (msg.type == WH_WORKER_LISTENING)
		pair->port = msg.listening.port;
	if (msg.type == WH_WORKER_LANDED && msg.landed.postcopy && mover == &pair->target)
		pair->vmm_uffd = msg.landed.vmm_uffd;
	if (msg.type != type)
		(void)fprintf(stderr, "message %u instead of %u\n", msg.type, type);
	return msg.type == type ? 0 : -1;
}

static union wh_worker_address address_of(const char *text)
{
	union wh_worker_address address = { .v4 = { .sin_family = AF_INET } };

	(void)inet_pton(AF_INET, text ? text : "127.0.0.1",
	                &address.v4.sin_addr); /* 0 if it is none */
	return address;
}

int mover_pair_start(struct mover_pair *pair, const struct mover_pair_config *cfg)
{
	struct wh_worker_start msg = {
		.type = WH_WORKER_START,
		.role = WH_ROLE_TARGET,
		.region_count = 1,
		.connections = cfg->connections,
		.congestion = "auto",
		.compression = cfg->compression,
		.vmm_pid = cfg->postcopy ? cfg->target_vmm_pid : 0,
		.postcopy = cfg->postcopy,
		.resume = cfg->resume,
		.vmm_uffd = cfg->resume ? cfg->vmm_uffd : -1,
		.downtime_target_ns = cfg->downtime_target_ns,
		.transport = cfg->transport,
		.rdma_pairs = cfg->pairs,
		.rdma_odp = cfg->odp,
		.rdma_chunk_bytes = WH_RDMA_CHUNK_BYTES_MIN,
		.rdma_pinned_bytes_max = cfg->pinned_bytes_max,
		.local = address_of(cfg->target_address),
		.regions = { { .name = "ram0", .bytes = cfg->bytes } },
	};
	int stats;

	*pair = (struct mover_pair){ .source = { .sock = -1 }, .target = { .sock = -1 } };
	memset(msg.token, 0x5a, sizeof(msg.token));
	if (spawn(&pair->target, cfg, false, &stats) < 0 ||
	    start(&pair->target, &msg, stats, cfg->target_fd,
	          cfg->postcopy ? cfg->missing_fd : -1) < 0 ||
	    await(pair, &pair->target, WH_WORKER_LISTENING) < 0)
		return -1;
	(void)close(stats);

	msg.role = WH_ROLE_SOURCE;
	msg.peer = msg.local;
	msg.local = address_of(cfg->source_address);
	msg.peer.v4.sin_port = htons(pair->port);
	msg.vmm_pid = cfg->vmm_pid;
	msg.vmm_uffd = -1;
	msg.bucket = cfg->has_bucket;
	if (spawn(&pair->source, cfg, true, &stats) < 0 ||
	    start(&pair->source, &msg, stats, cfg->source_fd,
	          cfg->has_bucket ? cfg->bucket_fd : -1) < 0 ||
	    (cfg->switch_at_once && mover_pair_switch(pair, cfg->switch_at_once) < 0) ||
	    await(pair, &pair->source, WH_WORKER_OPEN) < 0 ||
	    await(pair, &pair->target, WH_WORKER_OPEN) < 0)
		return -1;
	(void)close(stats);
	return 0;
}

int mover_pair_await_converged(struct mover_pair *pair)
{
	return await(pair, &pair->source, WH_WORKER_CONVERGED);
}

static int say_finish(struct mover *mover)
{
	struct wh_worker_note note = { .type = WH_WORKER_FINISH };
	struct wh_fdpass pass = { .data = &note, .len = sizeof(note) };

	return wh_fdpass_send(mover->sock, &pass);
}

int mover_pair_await_failed(struct mover_pair *pair, struct mover *mover)
{
	union message msg;

	/* This ends: a mover says a few things and exits. */
	for (;;) {
		if (receive(mover, &msg) != 1)
			return -1;
		/* A source that has converged looks at its link again after FINISH. */
		if (msg.type == WH_WORKER_CONVERGED && say_finish(mover) < 0)
			return -1;
		if (msg.type != WH_WORKER_FAILED)
			continue;
		pair->failed = msg.failed;
		return 0;
	}
}

int mover_pair_finish(struct mover_pair *pair)
{
	if (say_finish(&pair->source) < 0 || await(pair, &pair->source, WH_WORKER_LANDED) < 0 ||
	    await(pair, &pair->target, WH_WORKER_LANDED) < 0)
		return -1;
	return 0;
}

int mover_pair_switch(struct mover_pair *pair, enum wh_switch_mode mode)
{
	struct wh_worker_switch message = { .type = WH_WORKER_SWITCH, .mode = mode };
	struct wh_fdpass pass = { .data = &message, .len = sizeof(message) };

	return wh_fdpass_send(pair->source.sock, &pass) < 0 ? -1 : 0;
}

int mover_pair_await_postcopy(struct mover_pair *pair, const struct mover_pair_config *cfg)
{
	pair->vmm_uffd = -1;
	if ((!cfg->resume && say_finish(&pair->source) < 0) ||
	    await(pair, &pair->source, WH_WORKER_LANDED) < 0 ||
	    await(pair, &pair->target, WH_WORKER_LANDED) < 0)
		return -1;
	return pair->vmm_uffd < 0 ? -1 : 0;
}

int mover_pair_await_arrived(struct mover_pair *pair)
{
	return await(pair, &pair->source, WH_WORKER_ARRIVED) < 0 ||
	                       await(pair, &pair->target, WH_WORKER_ARRIVED) < 0
	               ? -1
	               : 0;
}

static int mover_done(struct mover *mover)
{
	int status = 0;

	wh_closep(&mover->sock); /* a source that has landed waits for this */
	if (mover->pid <= 0)
		return 0;
	/* The mover exits by itself; one that does not for ten seconds is killed. */
	for (int i = 0; i < 1000 && waitpid(mover->pid, &status, WNOHANG) == 0; i++)
		(void)usleep(10000);
	if (kill(mover->pid, SIGKILL) == 0)
		(void)waitpid(mover->pid, &status, 0);
	mover->pid = 0;
	mover->status = status;
	if (mover->stats != MAP_FAILED)
		(void)munmap(mover->stats, sizeof(*mover->stats));
	mover->stats = NULL;
	return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -1;
}

int mover_pair_done(struct mover_pair *pair)
{
	int source = mover_done(&pair->source);
	int target = mover_done(&pair->target);

	return source < 0 || target < 0 ? -1 : 0;
}
