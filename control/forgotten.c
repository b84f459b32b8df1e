/* SPDX-License-Identifier: Apache-2.0 */

#include "forgotten.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

#include "libvirtd_started.h"
#include "qmp_domain.h"

/* Of a file that an earlier libvirtd wrote, this one could make nothing: to start another is no remedy. */
static bool is_of_this_libvirtd(const struct wh_daemon *daemon, const struct stat *st)
{
	return st->st_mtime >= wh_libvirtd_started(daemon->config->libvirt->socket);
}

bool wh_domain_is_forgotten(const struct wh_daemon *daemon, const char *name, struct wh_error *why)
{
	const char *dir;
	struct wh_error err;
	char path[4096];
	struct stat st;
	pid_t pid;
	int n;

	if (!daemon->libvirt || !wh_libvirt_connected(daemon->libvirt, NULL))
		return false;
	dir = daemon->config->libvirt->pids;
	n = snprintf(path, sizeof(path), "%s/%s.xml", dir, name);
	if (n < 0 || (size_t)n >= sizeof(path) || stat(path, &st) < 0 ||
	    wh_qmp_domain_pid(&pid, dir, name, &err) == 0 || !is_of_this_libvirtd(daemon, &st))
		return false;
	(void)wh_fail(why, -EUCLEAN,
	              "libvirtd has forgotten an earlier domain of that name, and left %s", path);
	return true;
}
