/* SPDX-License-Identifier: Apache-2.0 */

/*
 * QMP - the monitor of one running QEMU, through its unix socket, or through libvirt: qmp_domain.h.
 *
 * Commands are answered in order and by callback. After @closed nothing more is called: answers
 * still due never come. A QEMU that leaves a command unanswered for WH_QMP_REPLY_NS, or through libvirt
 * WH_DOMAIN_REPLY_NS, counts as closed, since nothing it says later could be told apart.
 *
 * QEMU serves one monitor connection at a time on a socket: if somebody else holds it, the
 * greeting does not come, and @closed says so.
 *
 * Threads: the loop's own. Callbacks may close the connection.
 */

#ifndef WH_QMP_H
#define WH_QMP_H

#include <sys/types.h>

#include "json.h"
#include "loop.h"

#include "wherry/cleanup.h"
#include "wherry/error.h"

struct wh_qmp;

/* @result is borrowed, NULL if the command failed; then @error says why. */
typedef void (*wh_qmp_reply_fn)(void *ctx, const json_t *result, const char *error);

struct wh_qmp_handler {
	void (*ready)(void *ctx); /* greeted, commands are accepted */
	/* @data may be NULL; so may @event be, for who does not care. */
	void (*event)(void *ctx, const char *name, const json_t *data);
	void (*closed)(void *ctx, const char *why);
	void *ctx;
};

enum wh_qmp_kind {
	WH_QMP_GREETING,
	WH_QMP_RESULT,
	WH_QMP_ERROR,
	WH_QMP_EVENT,
};

/* One line of a QEMU, taken apart. Pointers are borrowed from the JSON. */
struct wh_qmp_line {
	enum wh_qmp_kind kind;
	const char *text;   /* ERROR: its words; EVENT: its name */
	const json_t *data; /* RESULT: what was returned; EVENT: its data or NULL */
};

/* Say what a line of a QEMU is. Return: 0, or -EPROTO if it is nothing QMP knows. */
wh_must_check int wh_qmp_classify(struct wh_qmp_line *ret, const json_t *json,
                                  struct wh_error *err);

/**
 * wh_qmp_open() - Connect to the monitor at @path
 * @ret:	receives the connection; owned by the caller, untouched on failure
 * @handler:	copied
 *
 * Return: 0, -ENOENT or -ECONNREFUSED if no QEMU listens there, or -errno.
 */
wh_must_check int wh_qmp_open(struct wh_qmp **ret, sd_event *loop, const char *path,
                              const struct wh_qmp_handler *handler, struct wh_error *err);

/* Send @command with @arguments (a reference is taken over; NULL for none). */
void wh_qmp_call(struct wh_qmp *qmp, const char *command, json_t *arguments, wh_qmp_reply_fn reply,
                 void *ctx);

/* The process that listens, as the kernel tells it, or what was said when it was opened. */
pid_t wh_qmp_pid(const struct wh_qmp *qmp);

/* Accepts NULL, returns NULL. No callback comes any more. */
struct wh_qmp *wh_qmp_close(struct wh_qmp *qmp);

WH_DEFINE_CLEANUP(struct wh_qmp, wh_qmp_close)

#endif
