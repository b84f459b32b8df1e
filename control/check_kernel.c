/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Check: the kernel. Two pages of our own are tracked as a guest's are: a userfaultfd with the features
 * that the mover asks for, and PAGEMAP_SCAN with its flags. dataplane/attach.c, dataplane/dirty.c.
 */

#include "check.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "files.h"

#include "wherry/fdpass.h"
#include "wherry/linux_compat.h"

#define BYTES (2 * (size_t)WH_PAGE_SIZE)

#define TRACKING                                                                                 \
	(UFFD_FEATURE_WP_ASYNC | UFFD_FEATURE_WP_UNPOPULATED | UFFD_FEATURE_WP_HUGETLBFS_SHMEM | \
	 UFFD_FEATURE_EVENT_REMOVE)
#define FAULTING                                                                                  \
	(UFFD_FEATURE_MISSING_SHMEM | UFFD_FEATURE_MISSING_HUGETLBFS | UFFD_FEATURE_MINOR_SHMEM | \
	 UFFD_FEATURE_MINOR_HUGETLBFS | UFFD_FEATURE_EVENT_REMOVE)

#define UNPRIVILEGED "/proc/sys/vm/unprivileged_userfaultfd"

/* Return: a userfaultfd with these features, or -errno: -EINVAL if the kernel does not have them. */
static int open_uffd(int flags, uint64_t features)
{
	struct uffdio_api api = { .api = UFFD_API, .features = features };
	wh_cleanup(wh_closep) int fd =
		(int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | flags);

	if (fd < 0 || ioctl(fd, UFFDIO_API, &api) < 0)
		return -errno;
	return wh_steal_fd(&fd);
}

/* Track @memory, write to it, and see whether that is seen. Return: 0 or -errno. */
static int track(int uffd, char *memory)
{
	struct uffdio_register reg = {
		.range = { .start = (uintptr_t)memory, .len = BYTES },
		.mode = UFFDIO_REGISTER_MODE_WP,
	};
	struct page_region runs[2];
	struct pm_scan_arg scan = {
		.size = sizeof(scan),
		.flags = PM_SCAN_WP_MATCHING | PM_SCAN_CHECK_WPASYNC,
		.start = (uintptr_t)memory,
		.end = (uintptr_t)memory + BYTES,
		.vec = (uintptr_t)runs,
		.vec_len = 2,
		.category_mask = PAGE_IS_WRITTEN,
		.return_mask = PAGE_IS_WRITTEN,
	};
	wh_cleanup(wh_closep) int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);

	if (pagemap < 0 || ioctl(uffd, UFFDIO_REGISTER, &reg) < 0 ||
	    ioctl(pagemap, PAGEMAP_SCAN, &scan) < 0)
		return -errno;
	memory[WH_PAGE_SIZE] = 1;
	scan.walk_end = 0;
	if (ioctl(pagemap, PAGEMAP_SCAN, &scan) != 1 ||
	    runs[0].start != (uintptr_t)memory + WH_PAGE_SIZE)
		return -ENOSYS;
	return 0;
}

static int try_tracking(void)
{
	wh_cleanup(wh_closep) int uffd = open_uffd(UFFD_USER_MODE_ONLY, TRACKING);
	wh_cleanup(wh_closep) int file = -1;
	char *memory;
	int r;

	if (uffd < 0)
		return uffd;
	file = memfd_create("wherry-check", MFD_CLOEXEC);
	if (file < 0 || ftruncate(file, (off_t)BYTES) < 0)
		return -errno;
	memory = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	if (memory == MAP_FAILED)
		return -errno;
	r = track(uffd, memory);
	wh_closep(&uffd);
	(void)munmap(memory, BYTES); /* it is there */
	return r;
}

static bool is_privileged_only(void)
{
	wh_cleanup(wh_freep) char *text = NULL;
	size_t len = 0;

	return wh_file_read(UNPRIVILEGED, 16, &text, &len, NULL) == 0 && *text == '0';
}

static void check_postcopy(struct wh_check_list *list)
{
	wh_cleanup(wh_closep) int uffd = open_uffd(0, FAULTING);

	if (uffd < 0)
		wh_check_heed(
			list, "kernel-postcopy",
			"its kernel cannot wait for pages of shared memory (%s): no post-copy",
			strerror(-uffd));
	else if (is_privileged_only())
		wh_check_heed(
			list, "kernel-postcopy",
			"post-copy only of guests that root runs, as vm.unprivileged_userfaultfd "
			"is 0");
	else
		wh_check_yes(list, "kernel-postcopy", "its kernel can do post-copy");
}

void wh_check_kernel(struct wh_check_list *list)
{
	int r = try_tracking();

	if (r < 0)
		wh_check_no(list, "kernel-tracking",
		            "Linux 6.7 or newer, and a wherryd that may use userfaultfd(2)",
		            "its kernel cannot track a guest's memory: %s", strerror(-r));
	else
		wh_check_yes(list, "kernel-tracking", "its kernel can track a guest's memory");
	check_postcopy(list);
}
