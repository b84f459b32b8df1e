/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What the hypervisor is made to do:
 *
 *	userfaultfd(), ioctl(UFFDIO_API), ioctl(UFFDIO_REGISTER) for each range, close()
 *
 * We take our copy just before the close, which is left out for post-copy. Every failure closes the
 * descriptor there as well, and that undoes the registrations.
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

/* What is asked of the userfaultfd. */
struct purpose {
	int flags;
	uint64_t features;
	uint64_t mode; /* to register with */
	const char *lacking;
};

/*
 * Write protection never waits for us, so faults from user mode alone are enough; asking for no
 * more needs no privilege of the hypervisor.
 */
static const struct purpose tracking = {
	.flags = UFFD_USER_MODE_ONLY,
	.features = UFFD_FEATURE_WP_ASYNC | UFFD_FEATURE_WP_UNPOPULATED |
	            UFFD_FEATURE_WP_HUGETLBFS_SHMEM | UFFD_FEATURE_EVENT_REMOVE,
	.mode = UFFDIO_REGISTER_MODE_WP,
	.lacking = "this kernel cannot track memory asynchronously: 6.7 or newer needed",
};

/* A hypervisor touches its guest's memory in system calls, too: KVM_RUN is one. */
static const struct purpose faulting = {
	.features = UFFD_FEATURE_MISSING_SHMEM | UFFD_FEATURE_MISSING_HUGETLBFS |
	            UFFD_FEATURE_EVENT_REMOVE,
	.mode = UFFDIO_REGISTER_MODE_MISSING,
	.lacking = "this kernel cannot wait for pages of shared memory",
};

static int register_ranges(struct wh_remote *remote, int fd, const struct wh_vmm_map *map,
                           uint64_t mode, struct wh_error *err)
{
	for (size_t i = 0; i < map->count; i++) {
		struct uffdio_register reg = {
			.range = { .start = map->ranges[i].addr, .len = map->ranges[i].bytes },
			.mode = mode,
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
                  const struct purpose *purpose, struct wh_error *err)
{
	struct uffdio_api api = { .api = UFFD_API, .features = purpose->features };
	int r = (int)wh_remote_ioctl(remote, fd, UFFDIO_API, &api, sizeof(api));

	if (r == -EINVAL)
		return wh_fail(err, -EOPNOTSUPP, "%s", purpose->lacking);
	if (r < 0)
		return wh_fail(err, r, "userfaultfd: %s", strerror(-r));
	return register_ranges(remote, fd, map, purpose->mode, err);
}

int wh_attach_take(pid_t pid, int fd, struct wh_error *err)
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

/* Make the userfaultfd there. Return: its number in the hypervisor, or -errno. */
static int make(struct wh_remote *remote, const struct purpose *purpose, struct wh_error *err)
{
	int there = (int)wh_remote_call(remote, SYS_userfaultfd,
	                                (uint64_t)(O_CLOEXEC | O_NONBLOCK | purpose->flags), 0, 0);

	if (there == -EPERM)
		return wh_fail(err, there,
		               "the hypervisor may not make a userfaultfd for its system calls: "
		               "set vm.unprivileged_userfaultfd=1 on this host");
	if (there < 0)
		return wh_fail(err, there, "userfaultfd: %s", strerror(-there));
	return there;
}

/* Close descriptor @there, if the process is as it should be. Return: 0 or -errno. */
static int drop(struct wh_remote *remote, pid_t pid, int there, struct wh_error *err)
{
	int r = (int)wh_remote_call(remote, SYS_close, (uint64_t)there, 0, 0);

	return r < 0 ? wh_fail(err, r, "cannot close the userfaultfd in process %d: %s", (int)pid,
	                       strerror(-r))
	             : 0;
}

/* Attach for @purpose. It stays open there, as number @there, unless that is NULL. */
static int attach(pid_t pid, const struct wh_vmm_map *map, const struct purpose *purpose,
                  int *there, struct wh_error *err)
{
	wh_cleanup(wh_remote_closep) struct wh_remote *remote = NULL;
	int number, ours, r;

	r = wh_remote_open(&remote, pid, err);
	if (r < 0)
		return r;
	number = make(remote, purpose, err);
	if (number < 0)
		return number;
	ours = set_up(remote, number, map, purpose, err);
	if (ours == 0)
		ours = wh_attach_take(pid, number, err);
	if (ours >= 0 && there) {
		*there = number;
		return ours;
	}
	r = drop(remote, pid, number, ours < 0 ? NULL : err);
	if (ours >= 0 && r < 0) {
		wh_closep(&ours);
		return r;
	}
	return ours;
}

int wh_attach(pid_t pid, const struct wh_vmm_map *map, struct wh_error *err)
{
	return attach(pid, map, &tracking, NULL, err);
}

int wh_attach_faults(pid_t pid, const struct wh_vmm_map *map, int *there, struct wh_error *err)
{
	return attach(pid, map, &faulting, there, err);
}

int wh_attach_drop(pid_t pid, int there, struct wh_error *err)
{
	wh_cleanup(wh_remote_closep) struct wh_remote *remote = NULL;
	int r = wh_remote_open(&remote, pid, err);

	return r < 0 ? r : drop(remote, pid, there, err);
}
