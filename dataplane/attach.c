/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What the hypervisor is made to do:
 *
 *	userfaultfd(), ioctl(UFFDIO_API), ioctl(UFFDIO_REGISTER) for each range, close()
 *
 * We take our copy just before the close. Every failure closes the descriptor there as well, and
 * that undoes the registrations.
 */

#include "attach.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "remote.h"

#include "wherry/fdpass.h"
#include "wherry/linux_compat.h"

#define FEATURES                                                                                 \
	(UFFD_FEATURE_WP_ASYNC | UFFD_FEATURE_WP_UNPOPULATED | UFFD_FEATURE_WP_HUGETLBFS_SHMEM | \
	 UFFD_FEATURE_EVENT_REMOVE)

static int register_ranges(struct wh_remote *remote, int fd, const struct wh_vmm_map *map,
                           struct wh_error *err)
{
	for (size_t i = 0; i < map->count; i++) {
		struct uffdio_register reg = {
			.range = { .start = map->ranges[i].addr, .len = map->ranges[i].bytes },
			.mode = UFFDIO_REGISTER_MODE_WP,
		};
		int r = (int)wh_remote_ioctl(remote, fd, UFFDIO_REGISTER, &reg, sizeof(reg));

		if (r == -EBUSY)
			return wh_fail(err, r, "something else tracks the guest's memory already");
		if (r < 0)
			return wh_fail(err, r, "cannot track the guest's memory: %s", strerror(-r));
	}
	return 0;
}

static int set_up(struct wh_remote *remote, int fd, const struct wh_vmm_map *map,
                  struct wh_error *err)
{
	struct uffdio_api api = { .api = UFFD_API, .features = FEATURES };
	int r = (int)wh_remote_ioctl(remote, fd, UFFDIO_API, &api, sizeof(api));

	if (r == -EINVAL)
		return wh_fail(
			err, -EOPNOTSUPP,
			"this kernel cannot track memory asynchronously: 6.7 or newer needed");
	if (r < 0)
		return wh_fail(err, r, "userfaultfd: %s", strerror(-r));
	return register_ranges(remote, fd, map, err);
}

/* Copy descriptor @fd of process @pid. Return: ours, or -errno. */
static int take_fd(pid_t pid, int fd, struct wh_error *err)
{
	wh_cleanup(wh_closep) int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	int ours;

	if (pidfd < 0)
		return wh_fail(err, -errno, "process %d: %s", (int)pid, strerror(errno));
	ours = (int)syscall(SYS_pidfd_getfd, pidfd, fd, 0);
	if (ours < 0)
		return wh_fail(err, -errno, "cannot take the userfaultfd of process %d: %s",
		               (int)pid, strerror(errno));
	return ours;
}

int wh_attach(pid_t pid, const struct wh_vmm_map *map, struct wh_error *err)
{
	wh_cleanup(wh_remote_closep) struct wh_remote *remote = NULL;
	int there, ours, r;

	r = wh_remote_open(&remote, pid, err);
	if (r < 0)
		return r;

	/* Write protection never waits for us, so faults from user mode alone are enough; asking
	 * for no more needs no privilege of the hypervisor. */
	there = (int)wh_remote_call(remote, SYS_userfaultfd,
	                            O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY, 0, 0);
	if (there < 0)
		return wh_fail(err, there, "userfaultfd: %s", strerror(-there));
	ours = set_up(remote, there, map, err);
	if (ours == 0)
		ours = take_fd(pid, there, err);
	r = (int)wh_remote_call(remote, SYS_close, (uint64_t)there, 0, 0);
	if (ours >= 0 && r < 0) {
		wh_closep(&ours);
		return wh_fail(err, r, "cannot close the userfaultfd in process %d: %s", (int)pid,
		               strerror(-r));
	}
	return ours;
}
