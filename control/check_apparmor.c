/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Check: AppArmor. Where libvirtd is confined, so are its guests, by abstractions/libvirt-qemu and what a host
 * adds to that. QEMU at a target makes a socket, wherry-monitor-ID, which they must allow.
 *
 * The text of the profiles is looked at, not what it means: a rule for the sockets names them.
 */

#include "check.h"

#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "files.h"

#include "wherry/cleanup.h"

#define PROFILES_MAX (1u << 20)

static bool has_text(const char *dir, const char *name, const char *text)
{
	wh_cleanup(wh_freep) char *content = NULL;
	char path[PATH_MAX];
	size_t len;
	int n = snprintf(path, sizeof(path), "%s/%s", dir, name);

	return n > 0 && (size_t)n < sizeof(path) &&
	       wh_file_read(path, PROFILES_MAX, &content, &len, NULL) == 0 && strstr(content, text);
}

/* In a file of @dir/@below. */
static bool is_below(const char *dir, const char *below, const char *text)
{
	const struct dirent *entry;
	char path[PATH_MAX];
	bool found = false;
	DIR *d;

	(void)snprintf(path, sizeof(path), "%s/%s", dir, below);
	d = opendir(path);
	while (d && !found && (entry = readdir(d)))
		found = has_text(path, entry->d_name, text);
	if (d)
		(void)closedir(d);
	return found;
}

static bool is_confined(const char *kernel)
{
	return has_text(kernel, "profiles", "libvirtd (enforce)") ||
	       has_text(kernel, "profiles", "virtqemud (enforce)");
}

void wh_check_apparmor(struct wh_check_list *list, const char *kernel, const char *dir)
{
	static const char sockets[] = "/wherry-";

	if (!is_confined(kernel))
		wh_check_yes(list, "apparmor", "AppArmor does not confine its libvirt");
	else if (has_text(dir, "local/abstractions/libvirt-qemu", sockets) ||
	         has_text(dir, "abstractions/libvirt-qemu", sockets) ||
	         is_below(dir, "abstractions/libvirt-qemu.d", sockets))
		wh_check_yes(list, "apparmor", "AppArmor lets QEMU make a migration's socket");
	else
		wh_check_no(list, "apparmor",
		            "the line \"owner /var/lib/libvirt/qemu/wherry-* rw,\" in "
		            "/etc/apparmor.d/local/abstractions/libvirt-qemu",
		            "AppArmor does not let QEMU make a migration's socket");
}
