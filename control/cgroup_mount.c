/* SPDX-License-Identifier: Apache-2.0 */

#include "cgroup_mount.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void freep(char **p)
{
	free(*p);
}

static void fclosep(FILE **file)
{
	if (*file)
		(void)fclose(*file); /* only read from */
}

/* mountinfo writes blanks and backslashes as \ooo. In place. */
static void unescape(char *text)
{
	char *to = text;

	for (const char *from = text; *from; to++) {
		unsigned int octal;

		if (*from == '\\' && sscanf(from, "\\%3o", &octal) == 1) {
			*to = (char)octal;
			from += 4;
		} else {
			*to = *from++;
		}
	}
	*to = '\0';
}

bool wh_cgroup_has_word(const char *list, const char *word)
{
	size_t len = strlen(word);

	while (list) {
		if (!strncmp(list, word, len) && (list[len] == '\0' || list[len] == ','))
			return true;
		list = strchr(list, ',');
		if (list)
			list++;
	}
	return false;
}

/*
 * What follows the separator is the type, the source and the options of the file system; those of
 * version 1 name the controllers:
 *
 *	35 24 0:30 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw
 *	36 24 0:31 / /sys/fs/cgroup/cpu rw,nosuid - cgroup cgroup rw,cpu,cpuacct
 */
static bool is_wanted(char *type, const char *controller)
{
	char *save = NULL;
	const char *name = strtok_r(type, " \n", &save);
	const char *options = NULL;

	if (!name || !controller)
		return name && !strcmp(name, "cgroup2");
	for (int i = 0; i < 2; i++)
		options = strtok_r(NULL, " \n", &save);
	return !strcmp(name, "cgroup") && options && wh_cgroup_has_word(options, controller);
}

char *wh_cgroup_mount_match(char *line, const char *controller)
{
	char *separator = strstr(line, " - ");
	char *save = NULL;
	char *word = NULL;

	if (!separator)
		return NULL;
	*separator = '\0';
	if (!is_wanted(separator + strlen(" - "), controller))
		return NULL;
	for (int i = 0; i < 5; i++)
		word = strtok_r(i == 0 ? line : NULL, " ", &save);
	if (word)
		unescape(word);
	return word;
}

int wh_cgroup_mount_open(const char *controller, struct wh_error *err)
{
	wh_cleanup(fclosep) FILE *file = fopen("/proc/self/mountinfo", "re");
	wh_cleanup(freep) char *line = NULL;
	size_t size = 0;

	if (!file)
		return wh_fail(err, -errno, "cannot read the mounts: %s", strerror(errno));
	while (getline(&line, &size, file) > 0) {
		const char *path = wh_cgroup_mount_match(line, controller);
		int fd;

		if (!path)
			continue;
		fd = open(path, O_DIRECTORY | O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			return wh_fail(err, -errno, "cannot open %s: %s", path, strerror(errno));
		return fd;
	}
	if (controller)
		return wh_fail(err, -ENOENT, "no cgroup v1 hierarchy has the controller '%s'",
		               controller);
	return wh_fail(err, -ENOENT, "no cgroup v2 hierarchy is mounted");
}
