/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Synthetic guest - processes that stand for a hypervisor, one at each host: threads of theirs write
 * to a RAM file as a guest's vCPUs do, so many pages a second, in an order that is chosen.
 *
 * What the memory must hold (see pages.h) is in a table that both sides share: it travels with the
 * hand-over, as a guest's registers do. Each thread owns a part of the pages. A side runs once, from
 * go to stop.
 *
 * Errors: the program ends, with a line on stderr. Threads: of the caller, one.
 */

#ifndef WH_BENCH_SYNTH_GUEST_H
#define WH_BENCH_SYNTH_GUEST_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "cursor.h"
#include "pages.h"

#define SYNTH_THREADS_MAX 64u

struct synth_config {
	uint32_t threads;  /* 1 to SYNTH_THREADS_MAX */
	uint32_t rate_mib; /* to write each second, all threads together; 0 is all they can */
	uint32_t hot_mib;  /* to write to; the rest is filled and never written again */
	enum pattern pattern;
};

struct synth_side {
	pid_t pid;
	struct synth_control *control; /* shared with the process */
};

struct synth_guest {
	struct synth_config config;
	struct pages pages; /* its memory is not mapped here */
	struct synth_side source, target;
};

/* Start both processes; the source fills @source_fd, @bytes long, and both wait then. */
void synth_start(struct synth_guest *guest, const struct synth_config *config, int source_fd,
                 int target_fd, uint64_t bytes);

/* Let a side write. Returns once a page is written. */
void synth_go(struct synth_guest *guest, struct synth_side *side);

/* Returns when the side's threads stand still, for good. */
void synth_stop(struct synth_guest *guest, struct synth_side *side);

/* Pages that a side has written so far. */
uint64_t synth_writes(const struct synth_guest *guest, const struct synth_side *side);

/* How many of the pages in @fd are not what was written last; nobody may run. */
uint64_t synth_errors(const struct synth_guest *guest, int fd);

/* End both processes. */
void synth_end(struct synth_guest *guest);

#endif
