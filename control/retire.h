/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Retire - end a hypervisor whose guest lives elsewhere, and remove what it leaves.
 *
 * That is the source's after its guest has moved, and a destination that came to nothing. The
 * process gets WH_QUIT_NS to end, unless it is to be killed. Then its RAM files and its QMP
 * socket are removed.
 *
 * Threads: the loop's own.
 */

#ifndef WH_RETIRE_H
#define WH_RETIRE_H

#include "loop.h"
#include "process.h"
#include "qmp.h"
#include "ram_files.h"

/* Zeroed memory, but for the pidfd, is one that was not started. */
struct wh_retire {
	struct wh_process vmm;      /* pid 0 if it is not known */
	struct wh_process launcher; /* pid 0 if there is none; killed with its session */
	struct wh_qmp *qmp;         /* borrowed; NULL if there is no connection */
	const char *qmp_path;       /* borrowed */
	bool kill;                  /* it must not do anything more, not even in order to end */
	bool leave;                 /* somebody else is about to end it */
	const struct wh_ram *ram;   /* borrowed until done */
	void (*done)(void *ctx);    /* may be called before wh_retire_start() returns */
	void *ctx;

	/* The rest is for retire.c. */
	sd_event *loop;
	struct wh_watch watch;
	struct wh_timer timer;
	int pidfd;
};

void wh_retire_start(struct wh_retire *retire, sd_event *loop);
void wh_retire_stop(struct wh_retire *retire);

#endif
