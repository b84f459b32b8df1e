/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Check: the hook. libvirtd runs DIR/qemu and every program in DIR/qemu.d, and looks only when it starts
 * whether there are any. Ours is known by its own name, which is in the program, and in a script that calls
 * it.
 */

#include "check.h"

#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "files.h"

#include "wherry/clock.h"

#define HOOK "wherry-libvirt-hook"

/* The program is far smaller. */
#define HOOK_BYTES_MAX (64u << 20)

struct hook {
	char path[PATH_MAX]; /* "" if there is none */
	struct stat st;
};

static bool is_ours(const char *path)
{
	wh_cleanup(wh_freep) char *text = NULL;
	size_t len;

	return wh_file_read(path, HOOK_BYTES_MAX, &text, &len, NULL) == 0 &&
	       memmem(text, len, HOOK, strlen(HOOK));
}

static bool may_run(const struct hook *hook)
{
	return hook->st.st_mode & S_IXUSR;
}

/* Take this one, unless there is one that runs. */
static void look_at(struct hook *hook, const char *dir, const char *name)
{
	struct hook this;
	int n = snprintf(this.path, sizeof(this.path), "%s/%s", dir, name);

	if ((*hook->path && may_run(hook)) || n < 0 || (size_t)n >= sizeof(this.path))
		return;
	if (stat(this.path, &this.st) == 0 && S_ISREG(this.st.st_mode) && is_ours(this.path))
		*hook = this;
}

static void find(struct hook *hook, const char *dir)
{
	char below[PATH_MAX];
	const struct dirent *entry;
	DIR *d;

	*hook->path = '\0';
	look_at(hook, dir, "qemu");
	(void)snprintf(below, sizeof(below), "%s/qemu.d", dir);
	d = opendir(below);
	while (d && (entry = readdir(d)))
		look_at(hook, below, entry->d_name);
	if (d)
		(void)closedir(d);
}

void wh_check_hook(struct wh_check_list *list, const char *dir, time_t libvirtd_started)
{
	struct hook hook;

	find(&hook, dir);
	if (!*hook.path)
		wh_check_no(list, "hook",
		            "copy " HOOK " to /etc/libvirt/hooks/qemu.d/wherry, and restart "
		            "libvirtd (docs/libvirt.md)",
		            "its libvirt does not have wherry's hook (engine native needs none)");
	else if (!may_run(&hook))
		wh_check_no(list, "hook", "chmod 755, and restart libvirtd", "%.128s cannot be run",
		            hook.path);
	else if (libvirtd_started > 0 && hook.st.st_ctime > libvirtd_started)
		wh_check_heed(list, "hook",
		              "%.128s is newer than its libvirtd, which looks for hooks when it "
		              "starts: restart it, unless it had one for QEMU then",
		              hook.path);
	else
		wh_check_yes(list, "hook", "its libvirt has wherry's hook");
}
