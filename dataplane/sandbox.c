/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The mover holds descriptors of the BPF links that limit it, and BPF_LINK_DETACH needs nothing
 * but such a descriptor (docs/decisions/0001-limit-lives-in-descriptors.md).
 */

#include "sandbox.h"

#include <errno.h>
#include <seccomp.h>
#include <stddef.h>
#include <string.h>

static const int refused[] = {
	SCMP_SYS(bpf),
	SCMP_SYS(execve),
	SCMP_SYS(execveat),
};

static int load(scmp_filter_ctx filter)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < sizeof(refused) / sizeof(refused[0]); i++)
		r = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), refused[i], 0);
	return r < 0 ? r : seccomp_load(filter);
}

int wh_sandbox_enter(struct wh_error *err)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
	int r;

	if (!filter)
		return wh_fail(err, -ENOMEM, "out of memory");
	r = load(filter);
	seccomp_release(filter);
	return r < 0 ? wh_fail(err, r, "cannot give up system calls: %s", strerror(-r)) : 0;
}
