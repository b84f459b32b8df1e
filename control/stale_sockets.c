/* SPDX-License-Identifier: Apache-2.0 */

#include "stale_sockets.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "domain_xml.h"
#include "job_domain.h"

#include "wherry/fdpass.h"
#include "wherry/limits.h"

#define RANDOM_DIGITS 8

/* Whether @name is @prefix, an id, and @suffix. */
static bool is_named(struct wh_stale_id *ret, const char *name, const char *prefix,
                     const char *suffix)
{
	const size_t around = strlen(prefix) + strlen(suffix);
	const size_t id = strlen(name) > around ? strlen(name) - around : 0;
	const size_t vm = id > RANDOM_DIGITS + 1 ? id - RANDOM_DIGITS - 1 : 0;

	if (vm == 0 || id >= sizeof(ret->migration) || vm >= sizeof(ret->vm) ||
	    strncmp(name, prefix, strlen(prefix)) != 0 ||
	    strcmp(name + strlen(prefix) + id, suffix) != 0)
		return false;
	memcpy(ret->migration, name + strlen(prefix), id);
	ret->migration[id] = '\0';
	memcpy(ret->vm, ret->migration, vm);
	ret->vm[vm] = '\0';
	return ret->migration[vm] == '-' &&
	       strspn(ret->migration + vm + 1, "0123456789abcdef") == RANDOM_DIGITS;
}

/* A socket, that is. */
static bool nobody_listens(const char *path)
{
	wh_cleanup(wh_closep) int fd =
		socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	struct stat st;

	if (fd < 0 || strlen(path) >= sizeof(addr.sun_path) || lstat(path, &st) < 0 ||
	    !S_ISSOCK(st.st_mode))
		return false;
	memcpy(addr.sun_path, path, strlen(path));
	return connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 && errno == ECONNREFUSED;
}

uint32_t wh_stale_sockets_remove(const char *dir,
                                 bool (*is_stale)(void *ctx, const struct wh_stale_id *id),
                                 void *ctx)
{
	const struct dirent *entry;
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
	uint32_t removed = 0;
	DIR *d = opendir(dir);
	struct wh_stale_id id;

	while (d && (entry = readdir(d))) {
		const char *name = entry->d_name;
		int n = snprintf(path, sizeof(path), "%s/%s", dir, name);

		if (!is_named(&id, name, WH_DOMAIN_MONITOR_PREFIX, "") &&
		    !is_named(&id, name, WH_DOMAIN_SOCKET_PREFIX, ".sock") &&
		    !is_named(&id, name, WH_DOMAIN_SOCKET_PREFIX, ".disks"))
			continue;
		if (n < 0 || (size_t)n >= sizeof(path) || !is_stale(ctx, &id))
			continue;
		if (nobody_listens(path) && unlink(path) == 0)
			removed++;
	}
	if (d)
		(void)closedir(d);
	return removed;
}
