/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Uffd - fills the memory of a hypervisor whose guest runs while pages are missing.
 *
 * Its userfaultfd has two owners: the hypervisor, so that its guest waits whatever becomes of us,
 * and this. Needs CAP_SYS_PTRACE.
 *
 * Threads: see fill.h for what is called through it; all else is its owner's.
 */

#ifndef WH_UFFD_H
#define WH_UFFD_H

#include <stdbool.h>
#include <sys/types.h>

#include "fill.h"
#include "ram.h"

#include "wherry/cleanup.h"
#include "wherry/error.h"

struct wh_uffd;

/*
 * Have process @pid forget what it maps of @ram where that is kept. Return: 0 or -errno: then it will
 * only take longer to attach.
 */
int wh_uffd_loosen(const struct wh_ram *ram, pid_t pid, struct wh_error *err);

/* Have process @pid wait where @ram, borrowed, has no page, or where it is kept. Return: 0 or -errno. */
wh_must_check int wh_uffd_attach(struct wh_uffd **ret, const struct wh_ram *ram, pid_t pid,
                                 struct wh_error *err);

/* What a mover that is dead has left. */
struct wh_uffd_left {
	pid_t pid;            /* the hypervisor */
	int number;           /* as wh_uffd_number() gave it there */
	bool nothing_missing; /* it may have detached already, and then there is nothing to take */
};

/*
 * Take over from it: whoever waited for what that one had been asked for faults again.
 * Return: 0 or -errno.
 */
wh_must_check int wh_uffd_resume(struct wh_uffd **ret, const struct wh_ram *ram,
                                 const struct wh_uffd_left *left, struct wh_error *err);

/* Nothing is missing: leave the hypervisor without a trace. Return: 0 or -errno. */
wh_must_check int wh_uffd_detach(struct wh_uffd *uffd, struct wh_error *err);

/* Close ours; a hypervisor that was not detached goes on waiting. Accepts NULL, returns NULL. */
struct wh_uffd *wh_uffd_close(struct wh_uffd *uffd);

struct wh_fill *wh_uffd_fill(struct wh_uffd *uffd);

/* The descriptor's number in the hypervisor. */
int wh_uffd_number(const struct wh_uffd *uffd);

WH_DEFINE_CLEANUP(struct wh_uffd, wh_uffd_close)

#endif
