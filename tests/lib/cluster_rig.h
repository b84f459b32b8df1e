/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Cluster rig - a real cluster with a real store in /dev/shm, and nodes that say what the test
 * lets them say, when it lets them.
 *
 * There are nodes a, b and c, each with the VMs a0 to a4, b0 to b4, c0 to c4 of its letter, of
 * 1 GiB each, and every VM can come in on every node. All have reported. A node that is told to
 * start begins, and so does the target, unless they are deaf. Names of VMs stand for their moves.
 */

#ifndef CLUSTER_RIG_H
#define CLUSTER_RIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cluster.h"

#define RIG_NODES 3
#define RIG_VMS   15
#define RIG_JOBS  8
#define RIG_GIB   (UINT64_C(1) << 30)

struct rig_node {
	char name[2];
	uint64_t free_bytes; /* 64 GiB at first */
	bool libvirt;
	struct wh_report_vm vms[RIG_VMS];
	size_t vm_count;
	struct wh_report_job jobs[RIG_JOBS];
	size_t job_count;
};

struct rig {
	char dir[64];
	struct wh_cluster *cluster;
	struct wh_cluster_time now;
	struct wh_error err;
	uint32_t random;
	uint64_t next_ms; /* as the last turn said */
	struct rig_node nodes[RIG_NODES];
	char orders[2048]; /* "start a0 a>b; cancel a0; " since they were looked at */
	unsigned settings_told;
	bool deaf; /* orders are lost */
};

/* For cmocka. */
int rig_set_up(void **state);
int rig_tear_down(void **state);

/* Kill the coordinator, and start another one with what is in the store. */
void rig_reopen(struct rig *rig);

struct rig_node *rig_node(struct rig *rig, char name);
struct wh_report_vm *rig_vm(struct rig *rig, char node, const char *vm);

/* Make a VM a domain of libvirt: none but its node knows it any more. */
void rig_domain(struct rig *rig, const char *vm);

/* The two limits, by a manifest. */
void rig_limits(struct rig *rig, unsigned cluster, unsigned outbound);

/* Let a node report; or all of them. No turn. */
void rig_report(struct rig *rig, char node);
void rig_report_all(struct rig *rig);

void rig_turn(struct rig *rig);
/* Let time pass without a report; then a turn. */
void rig_pass(struct rig *rig, uint64_t ms);
/* The same with reports of all, each second. */
void rig_live(struct rig *rig, uint64_t ms);

/* Ask for a move, of the user's priority if it is 0; no turn. It must be accepted. */
void rig_ask(struct rig *rig, const char *vm, const char *to, uint32_t priority);
/* Return: what wh_cluster_migrate() does. */
int rig_try(struct rig *rig, const char *vm, const char *to);

const struct wh_move *rig_move(const struct rig *rig, const char *vm);
enum wh_move_phase rig_phase(const struct rig *rig, const char *vm);

/* A job of the VM's move on a node, as its next report says; replaces the one that is there. */
void rig_job(struct rig *rig, char node, const char *vm, bool over, const char *outcome);
void rig_forget_jobs(struct rig *rig, char node);

/* Both nodes have ended it and say so, and the guest is where it belongs. */
void rig_end(struct rig *rig, const char *vm, const char *outcome);

/* Have the store's database run @sql behind the coordinator's back. */
void rig_meddle(const struct rig *rig, const char *sql);

/* Compare the orders since the last time; and words. */
void rig_expect(struct rig *rig, const char *orders);
void rig_says(const char *text, const char *words);

#endif
