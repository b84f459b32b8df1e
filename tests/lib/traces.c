/* SPDX-License-Identifier: Apache-2.0 */

#include "traces.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "wherry/assert.h"

bool has_userfaultfd(pid_t pid)
{
	char path[300], target[64];
	bool found = false;
	struct dirent *entry;
	DIR *dir;

	(void)snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	dir = opendir(path);
	wh_assert(dir);
	while ((entry = readdir(dir))) {
		ssize_t n;

		(void)snprintf(path, sizeof(path), "/proc/%d/fd/%s", (int)pid, entry->d_name);
		n = readlink(path, target, sizeof(target) - 1);
		target[n > 0 ? n : 0] = '\0';
		found |= strstr(target, "userfaultfd") != NULL;
	}
	(void)closedir(dir);
	return found;
}

bool has_vm_flag(pid_t pid, const char *flag)
{
	char line[512], path[32], word[8];
	bool found = false;
	FILE *smaps;

	(void)snprintf(word, sizeof(word), " %s", flag);
	(void)snprintf(path, sizeof(path), "/proc/%d/smaps", (int)pid);
	smaps = fopen(path, "re");
	wh_assert(smaps);
	while (fgets(line, sizeof(line), smaps))
		found |= !strncmp(line, "VmFlags:", 8) && strstr(line, word) != NULL;
	(void)fclose(smaps);
	return found;
}
