/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What the hypervisor is made to do:
 *
 *	userfaultfd(), ioctl(UFFDIO_API), ioctl(UFFDIO_REGISTER) for each range, close()
 *
 * We take our copy just before the close, which is left out for post-copy. Every failure closes the
 * descriptor there as well, and that undoes the registrations.
 *
 * Memory that is kept is in its file and, where the hypervisor touched it, in its page table; there it
 * would be seen without waiting. So first it is made to forget it, by madvise(). Once the memory is
 * registered that would be an event somebody had to take, so this comes before, and what was touched in
 * between is looked for afterwards.
 */

#include "attach.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "remote.h"

#include "wherry/fdpass.h"
#include "wherry/linux_compat.h"

/* What is asked of the userfaultfd. */
struct purpose {
	int flags;
	uint64_t features;
	uint64_t mode;      /* to register with */
	uint64_t kept_mode; /* and what is kept, with this as well; 0: that makes no difference */
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
	            UFFD_FEATURE_MINOR_SHMEM | UFFD_FEATURE_MINOR_HUGETLBFS |
	            UFFD_FEATURE_EVENT_REMOVE,
	.mode = UFFDIO_REGISTER_MODE_MISSING,
	.kept_mode = UFFDIO_REGISTER_MODE_MINOR,
	.lacking = "this kernel cannot wait for pages of shared memory",
};

static int register_ranges(struct wh_remote *remote, int fd, const struct wh_vmm_map *map,
                           const struct purpose *purpose, struct wh_error *err)
{
	for (size_t i = 0; i < map->count; i++) {
		struct uffdio_register reg = {
			.range = { .start = map->ranges[i].addr, .len = map->ranges[i].bytes },
			.mode = purpose->mode | (map->ranges[i].kept ? purpose->kept_mode : 0),
		};
		int r = (int)wh_remote_ioctl(remote, fd, UFFDIO_REGISTER, &reg, sizeof(reg));

		if (r == -EBUSY)
			return wh_fail(err, r, "something else tracks the guest's memory already");
		if (r < 0)
			return wh_fail(err, r, "cannot track the guest's memory: %s", strerror(-r));
	}
	return 0;
}

/* Find what the hypervisor maps of @range: all from the first page to the last. Return: 0 or -errno. */
static int find_mapped(int pagemap, const struct wh_vmm_range *range, struct wh_vmm_range *ret)
{
	struct page_region runs[64];
	struct pm_scan_arg arg = {
		.size = sizeof(arg),
		.start = range->addr,
		.end = range->addr + range->bytes,
		.vec = (uintptr_t)runs,
		.vec_len = sizeof(runs) / sizeof(runs[0]),
		.category_mask = PAGE_IS_PRESENT,
		.return_mask = PAGE_IS_PRESENT,
	};

	*ret = (struct wh_vmm_range){ 0 };
	/* This ends: each turn gets further. */
	while (arg.start < arg.end) {
		int n = ioctl(pagemap, PAGEMAP_SCAN, &arg);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n > 0 && ret->bytes == 0)
			ret->addr = runs[0].start;
		if (n > 0)
			ret->bytes = runs[n - 1].end - ret->addr;
		arg.start = arg.walk_end;
	}
	return 0;
}

static int forget(struct wh_remote *remote, const struct wh_vmm_range *range, struct wh_error *err)
{
	int r = (int)wh_remote_call(remote, SYS_madvise, range->addr, range->bytes,
	                            MADV_DONTNEED_LOCKED);

	return r < 0 ? wh_fail(err, r, "the hypervisor cannot let go of its guest's memory: %s",
	                       strerror(-r))
	             : 0;
}

/* Have it map nothing of what is kept, or, at the @last look, make sure of that. */
static int forget_kept(struct wh_remote *remote, pid_t pid, const struct wh_vmm_map *map, bool last,
                       struct wh_error *err)
{
	wh_cleanup(wh_closep) int pagemap = -1;
	char path[32];
	int r = 0;

	(void)snprintf(path, sizeof(path), "/proc/%d/pagemap", (int)pid);
	pagemap = open(path, O_RDONLY | O_CLOEXEC);
	if (pagemap < 0)
		return wh_fail(err, -errno, "%s: %s", path, strerror(errno));
	for (size_t i = 0; r == 0 && i < map->count; i++) {
		struct wh_vmm_range mapped = { 0 };

		if (map->ranges[i].kept)
			r = find_mapped(pagemap, &map->ranges[i], &mapped);
		if (r < 0)
			return wh_fail(err, r, "%s: %s", path, strerror(-r));
		if (mapped.bytes > 0 && last)
			return wh_fail(err, -EBUSY, "the hypervisor uses its guest's memory");
		if (mapped.bytes > 0)
			r = forget(remote, &mapped, err);
	}
	return r;
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
	return register_ranges(remote, fd, map, purpose, err);
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
	r = purpose->kept_mode ? forget_kept(remote, pid, map, false, err) : 0;
	if (r < 0)
		return r;
	number = make(remote, purpose, err);
	if (number < 0)
		return number;
	ours = set_up(remote, number, map, purpose, err);
	if (ours == 0 && purpose->kept_mode)
		ours = forget_kept(remote, pid, map, true, err);
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

int wh_attach_loosen(pid_t pid, const struct wh_vmm_range *range, struct wh_error *err)
{
	wh_cleanup(wh_remote_closep) struct wh_remote *remote = NULL;
	int r = wh_remote_open(&remote, pid, err);

	return r < 0 ? r : forget(remote, range, err);
}

int wh_attach_drop(pid_t pid, int there, struct wh_error *err)
{
	wh_cleanup(wh_remote_closep) struct wh_remote *remote = NULL;
	int r = wh_remote_open(&remote, pid, err);

	return r < 0 ? r : drop(remote, pid, there, err);
}
