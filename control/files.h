/* SPDX-License-Identifier: Apache-2.0 */

/* Files - small files that are read whole and replaced whole. */

#ifndef WH_FILES_H
#define WH_FILES_H

#include <stddef.h>

#include "wherry/cleanup.h"
#include "wherry/error.h"

/* For wh_cleanup(). */
void wh_freep(char **p);

/* wh_steal() for descriptors: yields *@fd and leaves -1 behind. */
static inline int wh_steal_fd(int *fd)
{
	int ret = *fd;

	*fd = -1;
	return ret;
}

/* Read all of @path, at most @max bytes; @ret is from malloc() and ends in NUL. 0 or -errno. */
wh_must_check int wh_file_read(const char *path, size_t max, char **ret, size_t *ret_len,
                               struct wh_error *err);

/* Replace @path by @len bytes, so that a crash leaves the old file or the new one. 0 or -errno. */
wh_must_check int wh_file_replace(const char *path, const void *data, size_t len,
                                  struct wh_error *err);

/*
 * The two halves of it: write what is to replace @path, and put it in its place. Another replacement may
 * come in between, and then there is nothing to put: -ENOENT.
 */
wh_must_check int wh_file_stage(const char *path, const void *data, size_t len,
                                struct wh_error *err);
wh_must_check int wh_file_commit(const char *path, struct wh_error *err);

/* Remove @path durably, and what was staged for it. Return: 0, also if there is none, or -errno. */
wh_must_check int wh_file_remove(const char *path, struct wh_error *err);

/* The directory that @path is in; from malloc(), never NULL. @path is absolute. */
char *wh_dir_of(const char *path);

/* Make a directory, mode 0700, and those above it. Return: 0, also if it is there, or -errno. */
wh_must_check int wh_dir_make(const char *path, struct wh_error *err);

#endif
