/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A host has as many busy threads in a post-copy as the network has connections, and more. Where
 * processors are few, a guest that was woken would otherwise wait for a slice of one of them, which
 * is a hundred times what it waited for the page.
 */

#include "urgency.h"

#include <dirent.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define NICE_TO_YIELD 19
#define NICE_TO_LEAD  (-20)

void wh_urgency_yield(void)
{
	DIR *dir = opendir("/proc/self/task");
	struct dirent *entry;

	if (!dir)
		return;
	while ((entry = readdir(dir))) {
		const unsigned long tid = strtoul(entry->d_name, NULL, 10); /* "." is 0 */

		if (tid > 0)
			(void)setpriority(PRIO_PROCESS, (id_t)tid, NICE_TO_YIELD);
	}
	(void)closedir(dir);
}

void wh_urgency_lead(void)
{
	(void)setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), NICE_TO_LEAD);
}

void wh_urgency_rest(void)
{
	(void)setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), 0);
}
