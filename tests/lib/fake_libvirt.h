/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Fake libvirt - takes the place of control/libvirt.c: keeps what it is asked for, and answers when the
 * test says so.
 */

#ifndef WH_FAKE_LIBVIRT_H
#define WH_FAKE_LIBVIRT_H

#include <stddef.h>

#include "libvirt.h"

struct wh_libvirt *fake_libvirt_new(void);

/* Accepts NULL. */
void fake_libvirt_free(struct wh_libvirt *libvirt);

/* "" is connected, which a new one is. */
void fake_libvirt_connection(struct wh_libvirt *libvirt, const char *why_not);

/* The one domain that is in its list. Borrowed; NULL for none, as in a new one. */
void fake_libvirt_know(struct wh_libvirt *libvirt, const struct wh_domain *domain);

/* Calls not answered so far, those included that nobody waits for any more. */
size_t fake_libvirt_due(const struct wh_libvirt *libvirt);

/*
 * The oldest of them: "DOMAIN COMMAND", where it is for the monitor, or "DOMAIN resume" and the like.
 * Borrowed. There must be one.
 */
const char *fake_libvirt_oldest(const struct wh_libvirt *libvirt);

/* Answer it, as wh_libvirt_reply_fn is told. */
void fake_libvirt_answer(struct wh_libvirt *libvirt, const char *text, const char *error);

/* The same for "DOMAIN job". */
void fake_libvirt_answer_job(struct wh_libvirt *libvirt, const struct wh_libvirt_job *job,
                             const char *error);

#endif
