/* SPDX-License-Identifier: Apache-2.0 */

#include "missing.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "files.h"

#include "wherry/fdpass.h"
#include "wherry/worker.h"

int wh_missing_make(const char *path, uint64_t ram_bytes, struct wh_error *err)
{
	wh_cleanup(wh_closep) int fd = -1;
	int r;

	(void)unlink(path); /* there should be none; one that is in use elsewhere stays as it is */
	fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return wh_fail(err, -errno, "cannot make %s: %s", path, strerror(errno));
	/* All of it now: a mover that finds the tmpfs full later would be killed by SIGBUS. */
	r = posix_fallocate(fd, 0, (off_t)wh_missing_file_bytes(ram_bytes));
	if (r > 0) {
		(void)unlink(path);
		return wh_fail(err, -r, "no room for %s: %s", path, strerror(r));
	}
	return wh_steal_fd(&fd);
}

int wh_missing_open(const char *path, uint64_t ram_bytes, struct wh_error *err)
{
	wh_cleanup(wh_closep) int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return wh_fail(err, -errno, "cannot open %s: %s", path, strerror(errno));
	if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size != wh_missing_file_bytes(ram_bytes))
		return wh_fail(err, -EINVAL, "%s does not fit the guest's RAM", path);
	return wh_steal_fd(&fd);
}
