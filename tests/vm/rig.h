/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Rig - two movers at the two ends of "pair", and the guest between them: a process at the source that
 * keeps writing to its memory, and one at the destination that uses what has come.
 *
 * There is one at a time. What cannot be is an assertion of cmocka's.
 */

#ifndef WH_VM_RIG_H
#define WH_VM_RIG_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "cgroup.h"
#include "early_guest.h"
#include "late_guest.h"
#include "mover_pair.h"
#include "rate_bpf.h"

#define RIG_PAGES 6144u
#define RIG_BYTES ((uint64_t)RIG_PAGES * 4096)

#define RIG_LIMIT_BPS (UINT64_C(8) << 20)

struct CMUnitTest;

struct rig {
	int source, target, missing, group;
	struct early_guest before; /* at the source */
	struct late_guest after;   /* at the destination, where it uses what has not come yet */
	struct wh_rate_bpf *rate;
	pid_t movers[2];                 /* that a test which failed has left running */
	uint64_t sent_packets;           /* by the source's RDMA device before the move */
	uint64_t page_bytes, rdma_bytes; /* as the source's mover said in the end */
};

/*
 * For all tests of a program; @transport is "tcp" or "rdma", and the tests' group is @name_TRANSPORT.
 * Return: what main() returns.
 */
int rig_run(const char *name, const char *transport, const char *mover,
            const struct CMUnitTest *tests, size_t count);

/* For each test. */
int rig_setup(void **state);
int rig_teardown(void **state);

#define RIG_TEST(fn) cmocka_unit_test_setup_teardown(fn, rig_setup, rig_teardown)

/* Run a command of few words. Return: whether it succeeded. */
bool rig_command(const char *line);

/* What the movers are to do, by @width connections or queue pairs. */
struct mover_pair_config rig_config(struct rig *rig, uint32_t width, bool postcopy);

/* Put what the source sends under RIG_LIMIT_BPS; before rig_config(). */
void rig_limit(struct rig *rig);

/* Start both movers, which end with the test in any case. */
void rig_start(struct rig *rig, struct mover_pair *pair, const struct mover_pair_config *cfg);

/* Have the wire between the two, or not. */
void rig_network(bool up);

/* Have both sides' RDMA devices as new, whatever became of them. */
void rig_new_devices(void);

/* Wait until the source says that @stat is @least. */
void rig_await_stat(const struct mover_pair *pair, enum wh_stat stat, uint64_t least);

/* Wait until the source has begun @round. */
void rig_await_round(const struct mover_pair *pair, uint64_t round);

/* What the source's device has sent since rig_config(). */
uint64_t rig_rdma_packets(const struct rig *rig);

/* Bytes of pages that came in post-copy. */
uint64_t rig_behind(const struct mover_pair *pair);

/* Of them, what the target's device has read from the source's memory. */
uint64_t rig_read_by_rdma(const struct mover_pair *pair);

/* End the rounds, and have the guest stand still. */
void rig_stop(struct rig *rig, struct mover_pair *pair);

/* Send the rest then, and look at the memory. */
void rig_land(struct rig *rig, struct mover_pair *pair);

/* Both. */
void rig_finish(struct rig *rig, struct mover_pair *pair);

/* Both have done their part: end them, and look at the memory. */
void rig_done(struct rig *rig, struct mover_pair *pair);

/* Move with the guest going on at the destination as soon as can be, and look at the memory. Takes a limit, so
 * that the first round is not over before the rounds are to end. With RDMA pages must have been read by it. */
void rig_move_behind(struct rig *rig, const struct mover_pair_config *cfg);

/* After a precopy: the transport of all tests carried the pages, as mover and device say. */
void rig_assert_carried(const struct rig *rig);

/* The guest at the source goes on, and nothing is left in its process. */
void rig_assert_untouched(const struct rig *rig);

#endif
