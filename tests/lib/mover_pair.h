/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Mover pair - the daemon's part for two real movers, without a daemon: a guest's memory moves
 * from one file to another over loopback, or between network namespaces.
 */

#ifndef WH_MOVER_PAIR_H
#define WH_MOVER_PAIR_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "wherry/stats.h"
#include "wherry/worker.h"

struct mover {
	pid_t pid;
	int sock;
	int status; /* as waitpid() gave it, once it is done */
	struct wh_stats *stats;
	struct wh_worker_transport carries; /* the last TRANSPORT; type is 0 if none came */
};

struct mover_pair {
	struct mover source, target;
	uint16_t port;
	int vmm_uffd;                   /* as the target's LANDED said last */
	struct wh_worker_failed failed; /* the last FAILED message, for a test to print */
};

struct mover_pair_config {
	const char *mover; /* path of wherry-mover */
	int source_fd;     /* RAM files */
	int target_fd;
	uint64_t bytes;
	uint32_t connections;
	enum wh_compression compression;
	pid_t vmm_pid;
	uint64_t downtime_target_ns;
	enum wh_switch_mode switch_at_once; /* have the rounds end as soon as they begin; or none */
	int source_cgroup;                  /* cgroup.procs to enter, or -1 */
	const char *source_netns; /* paths of their network namespaces; NULL is the caller's */
	const char *target_netns;
	const char *source_address, *target_address; /* NULL is loopback */

	/* For RDMA; without it zeroed. */
	enum wh_transport_kind transport;
	uint32_t pairs;
	uint64_t pinned_bytes_max; /* of either side's memory */
	bool odp;
	uint64_t memlock_bytes; /* movers may pin so much, and are not privileged; 0: any */
	bool has_bucket;
	int bucket_fd; /* of the limit that @source_cgroup is under, if it has one */

	/* For post-copy; without it zeroed. */
	bool postcopy;
	bool resume;
	int vmm_uffd; /* to resume */
	int missing_fd;
	pid_t target_vmm_pid;
};

/* Start both; returns when both have said OPEN. Return: 0 or -1. */
int mover_pair_start(struct mover_pair *pair, const struct mover_pair_config *cfg);

/* Wait for the source's CONVERGED. Return: 0 or -1. */
int mover_pair_await_converged(struct mover_pair *pair);

/* Have the rounds end. Return: 0 or -1. */
int mover_pair_switch(struct mover_pair *pair, enum wh_switch_mode mode);

/* Wait for LANDED from both, saying that it is post-copy, after FINISH unless it was resumed.
 * Return: 0 or -1. */
int mover_pair_await_postcopy(struct mover_pair *pair, const struct mover_pair_config *cfg);

/* Wait for ARRIVED from both. Return: 0 or -1. */
int mover_pair_await_arrived(struct mover_pair *pair);

/* Wait for the FAILED of @mover, one of the pair. CONVERGED is answered with FINISH, other messages
 * are skipped. Return: 0 or -1. */
int mover_pair_await_failed(struct mover_pair *pair, struct mover *mover);

/* Say FINISH, wait for LANDED from both. Return: 0 or -1. */
int mover_pair_finish(struct mover_pair *pair);

/* Kill what still runs and release everything. Return: 0 if both had ended well. Does nothing the
 * second time. */
int mover_pair_done(struct mover_pair *pair);

#endif
