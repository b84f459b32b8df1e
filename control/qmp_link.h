/* SPDX-License-Identifier: Apache-2.0 */

/*
 * QMP link - how the lines of a struct wh_qmp get to its QEMU and back.
 *
 * A link is made with the connection, and closed by it. What it hears it passes to the functions below;
 * each of them may end the life of the connection and its link, and is the last thing its caller does.
 */

#ifndef WH_QMP_LINK_H
#define WH_QMP_LINK_H

#include <stddef.h>
#include <stdint.h>

#include "qmp.h"

struct wh_qmp_link {
	void (*send)(void *link, const char *line); /* @line is without its newline, and borrowed */
	void (*close)(void *link);
	uint64_t reply_ns; /* a command unanswered for so long is of a QEMU that is lost */
	pid_t pid;
	void *link; /* the connection's from here on */
};

/* A connection without a link yet; closing it is what to do if there is none to be had. Or NULL. */
struct wh_qmp *wh_qmp_new(sd_event *loop, const struct wh_qmp_handler *handler);

/* @link is copied. From now on the greeting is waited for. */
void wh_qmp_attach(struct wh_qmp *qmp, const struct wh_qmp_link *link);

/* A line of QEMU's, which ends in NUL. */
void wh_qmp_hear(struct wh_qmp *qmp, const char *text, size_t len);

/* Commands are accepted, without a greeting. */
void wh_qmp_ready(struct wh_qmp *qmp);

/* The oldest call did not get to QEMU. */
void wh_qmp_refused(struct wh_qmp *qmp, const char *why);

void wh_qmp_event(struct wh_qmp *qmp, const char *name, const json_t *data);

/* The link has ended. */
void wh_qmp_lost(struct wh_qmp *qmp, const char *why);

#endif
