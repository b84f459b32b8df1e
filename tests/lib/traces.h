/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Traces - what movers have in a process that stands for a hypervisor.
 */

#ifndef WH_TRACES_H
#define WH_TRACES_H

#include <stdbool.h>
#include <sys/types.h>

/* Whether @pid has a userfaultfd open. */
bool has_userfaultfd(pid_t pid);

/* Whether a mapping of @pid has @flag among its VmFlags of smaps: "uw" is write-protected through a
 * userfaultfd, "um" waits for missing pages, "ui" also for pages that are in their file. */
bool has_vm_flag(pid_t pid, const char *flag);

#endif
