/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Late guest - a process that stands for the destination's hypervisor: it maps a RAM file, and its
 * threads use the memory while post-copy brings it.
 *
 * Each thread has pages of its own, by their number. It looks whether a page is what the source
 * has, or what it wrote there itself; writes to some; and gives some back, as a balloon does.
 */

#ifndef WH_LATE_GUEST_H
#define WH_LATE_GUEST_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define LATE_GUEST_THREADS 3u

/* What the process and the test share. */
struct late_guest_control {
	_Atomic bool ready; /* the memory is mapped */
	_Atomic bool run;
	_Atomic bool end; /* no more touching: let each thread come to rest */
	_Atomic uint32_t at_rest;
	_Atomic uint64_t touched; /* pages */
	_Atomic uint64_t wrong;   /* of them, not what they must be */
	uint8_t wrote[];          /* for each page: LATE_ or a stamp, by its thread */
};

enum {
	LATE_UNTOUCHED,
	LATE_GIVEN_BACK,
	LATE_STAMP, /* and up: every byte of the page */
};

struct late_guest {
	pid_t pid;
	int source, target; /* RAM files, borrowed */
	uint32_t pages;
	bool populate; /* have all of the memory allocated and mapped from the start */
	bool in_order; /* touch pages one after the other, else anywhere */
	struct late_guest_control *control;
};

/* Start it; the rest of @guest is zero. It touches nothing yet. */
void late_guest_start(struct late_guest *guest);

/* Have it touch pages. */
void late_guest_run(struct late_guest *guest);

/* Wait until it has touched @more pages. Return: false if that takes forever. */
bool late_guest_await(const struct late_guest *guest, uint64_t more);

/* Have it stop. Return: false if one of its threads still waits for a page. */
bool late_guest_stop(struct late_guest *guest);

/* Pages, of all, that are not what they must be; only when none is missing. */
uint64_t late_guest_wrong_pages(const struct late_guest *guest);

/* End the process. */
void late_guest_done(struct late_guest *guest);

#endif
