/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Early guest - a process that stands for the source's hypervisor: it maps a RAM file, and writes to
 * it all over until it is stopped. It gives pages back as well, as a balloon does.
 */

#ifndef WH_EARLY_GUEST_H
#define WH_EARLY_GUEST_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* What the test may have it do besides. */
enum early_guest_act {
	EARLY_GUEST_NOTHING,
	EARLY_GUEST_WRITE,     /* new contents, none of them zero */
	EARLY_GUEST_GIVE_BACK, /* leave holes */
};

/* What the process and the test share. */
struct early_guest_control {
	_Atomic bool ready; /* the memory is mapped, and filled if it is to be */
	_Atomic bool stop;
	_Atomic bool stopped;
	_Atomic uint32_t at_a_time;
	_Atomic bool in_order;
	_Atomic uint32_t act; /* enum early_guest_act; nothing once it is done */
	uint32_t first, count, step;
};

struct early_guest {
	pid_t pid;
	int fd; /* RAM file, borrowed */
	uint32_t pages;
	bool filled;        /* each page has contents of its own before the guest begins */
	bool huge;          /* @fd is on hugetlbfs */
	uint32_t at_a_time; /* pages that it writes before it rests for a millisecond */
	struct early_guest_control *control;
};

/* Start it; pid and control are zero. It writes from then on. */
void early_guest_start(struct early_guest *guest);

/* Have it write so many pages at a time from now on. @in_order: one page after the other, and contents only. */
void early_guest_pace(const struct early_guest *guest, uint32_t at_a_time, bool in_order);

/* Have it do @act to @count pages of every @step, from page @first on. Return: whether that is done. */
bool early_guest_act(const struct early_guest *guest, enum early_guest_act act, uint32_t first,
                     uint32_t count, uint32_t step);

/* Have it stand still. Return: false if it does not. */
bool early_guest_stop(const struct early_guest *guest);

/* End the process. */
void early_guest_done(struct early_guest *guest);

#endif
