/* SPDX-License-Identifier: Apache-2.0 */

#include "program.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int wh_program_find(char **ret, const char *name, struct wh_error *err)
{
	char path[PATH_MAX + NAME_MAX];
	const ssize_t len = readlink("/proc/self/exe", path, PATH_MAX);
	char *found;

	if (len < 0)
		return wh_fail(err, -errno, "/proc/self/exe: %s", strerror(errno));
	path[len] = '\0';
	(void)snprintf(strrchr(path, '/') + 1, NAME_MAX, "%s", name);
	if (access(path, X_OK) < 0)
		(void)snprintf(path, sizeof(path), "%s/%s", WH_LIBEXECDIR, name);
	found = strdup(path);
	if (!found)
		return wh_fail(err, -ENOMEM, "out of memory");

	*ret = found;
	return 0;
}
