/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Child - a program that wherryd started for a guest, and that may outlive its migration.
 *
 * A child is waited for as long as wherryd lives, whether or not somebody still wants to know
 * of its end. It is never killed because wherryd ends.
 *
 * Threads: the loop's own.
 */

#ifndef WH_CHILD_H
#define WH_CHILD_H

#include "loop.h"
#include "process.h"

#include "wherry/cleanup.h"
#include "wherry/error.h"

struct wh_child;

struct wh_child_config {
	sd_event *loop;
	char *const *argv; /* ends with NULL */
	void (*ended)(void *ctx,
	              const char *how); /* "ended with status 1"; the object is gone then */
	void *ctx;
};

/* Start it in a session of its own. Return: 0 or -errno. */
wh_must_check int wh_child_start(struct wh_child **ret, const struct wh_child_config *cfg,
                                 struct wh_error *err);

const struct wh_process *wh_child_process(const struct wh_child *child);

/* Nobody wants to know of its end any more. The object frees itself then. */
void wh_child_forget(struct wh_child *child);

#endif
