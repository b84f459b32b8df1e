/* SPDX-License-Identifier: Apache-2.0 */

#include "place.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/userfaultfd.h>

#include "wherry/assert.h"
#include "wherry/fdpass.h"
#include "wherry/limits.h"

void wh_place_init(struct wh_place *place)
{
	*place = (struct wh_place){ .fd = -1, .uffd = -1 };
	wh_assert(pthread_rwlock_init(&place->use, NULL) == 0);
	wh_assert(pthread_mutex_init(&place->turn, NULL) == 0);
}

static void unmap(struct wh_place *place)
{
	if (place->addr)
		(void)munmap(place->addr, place->mapped);
	place->addr = NULL;
	wh_closep(&place->uffd);
}

void wh_place_done(struct wh_place *place)
{
	unmap(place);
	(void)pthread_mutex_destroy(&place->turn);
	(void)pthread_rwlock_destroy(&place->use);
}

/* Whether @fd's pages are small: a tmpfs that makes huge ones gives their size for its blocks. */
static bool has_small_pages(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && st.st_blksize == (blksize_t)WH_PAGE_SIZE;
}

/* A userfaultfd for the mapping. We never touch it, so there is no fault to serve. */
static int register_mapping(const struct wh_place *place)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = {
		.range = { .start = (uintptr_t)place->addr, .len = place->mapped },
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};
	wh_cleanup(wh_closep) int fd =
		(int)syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);

	if (fd < 0 || ioctl(fd, UFFDIO_API, &api) < 0 || ioctl(fd, UFFDIO_REGISTER, &reg) < 0)
		return -errno;
	return wh_steal_fd(&fd);
}

static int prepare_to_fill(struct wh_place *place, int fd, uint64_t bytes)
{
	void *addr = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (addr == MAP_FAILED)
		return -errno;
	place->addr = addr;
	place->mapped = bytes;
	(void)madvise(addr, bytes, MADV_SEQUENTIAL); /* our mapping is no use of the memory */
	place->uffd = register_mapping(place);
	return place->uffd < 0 ? place->uffd : 0;
}

int wh_place_lend(struct wh_place *place, int fd, uint64_t bytes)
{
	int r;

	wh_assert(bytes > 0 && place->bytes == 0 && !place->addr);
	if (has_small_pages(fd)) {
		r = prepare_to_fill(place, fd, bytes);
		if (r < 0) {
			unmap(place);
			return r;
		}
	}
	(void)pthread_rwlock_wrlock(&place->use);
	place->fd = fd;
	place->bytes = bytes;
	(void)pthread_rwlock_unlock(&place->use);
	return 0;
}

void wh_place_take_back(struct wh_place *place)
{
	(void)pthread_rwlock_wrlock(&place->use);
	place->bytes = 0;
	unmap(place);
	(void)pthread_rwlock_unlock(&place->use);
}

static bool holds(const struct wh_place *place, uint64_t offset, uint32_t len)
{
	return offset <= place->bytes && len <= place->bytes - offset;
}

bool wh_place_holds(struct wh_place *place, uint64_t offset, uint32_t len)
{
	bool is_lent;

	(void)pthread_rwlock_rdlock(&place->use);
	is_lent = holds(place, offset, len);
	(void)pthread_rwlock_unlock(&place->use);
	return is_lent;
}

/* Fill holes from the front, up to the first page that is there. Return: bytes, or -errno. */
static int64_t fill_holes(const struct wh_place *place, const uint8_t *from, uint32_t len,
                          uint64_t offset)
{
	uint32_t done = 0;

	/* This ends: each turn fills a page more, or finds one, or fails. */
	while (done < len) {
		struct uffdio_copy copy = { .dst = (uintptr_t)place->addr + offset + done,
			                    .src = (uintptr_t)from + done,
			                    .len = len - done };

		if (ioctl(place->uffd, UFFDIO_COPY, &copy) == 0)
			return len;
		if (copy.copy > 0)
			done += (uint32_t)copy.copy;
		/* Of a full tmpfs it says ENOMEM; a write will say what it is. */
		else if (errno == EEXIST || errno == ENOMEM)
			return done;
		else if (errno != EAGAIN)
			return -errno;
	}
	return done;
}

/*
 * What was filled is out of our page tables again at once: those would be 2 MiB for each GiB, and
 * taking all of it down at the end would keep the mover from ending.
 */
static int64_t fill(const struct wh_place *place, const uint8_t *from, uint32_t len,
                    uint64_t offset)
{
	int64_t filled = fill_holes(place, from, len, offset);

	if (filled > 0)
		(void)madvise(place->addr + offset, (size_t)filled, MADV_DONTNEED);
	return filled;
}

/* Write all of it. Return: 0 or -errno. */
static int write_all(int fd, const uint8_t *from, uint32_t len, uint64_t offset)
{
	while (len > 0) {
		ssize_t n = pwrite(fd, from, len, (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		from += n;
		len -= (uint32_t)n;
		offset += (uint64_t)n;
	}
	return 0;
}

static int overwrite(struct wh_place *place, const uint8_t *from, uint32_t len, uint64_t offset)
{
	int r;

	(void)pthread_mutex_lock(&place->turn);
	r = write_all(place->fd, from, len, offset);
	(void)pthread_mutex_unlock(&place->turn);
	return r;
}

static int put(struct wh_place *place, const uint8_t *from, uint32_t len, uint64_t offset)
{
	int64_t filled = 0;

	if (!holds(place, offset, len))
		return -EPROTO; /* taken back since the header came, or never lent */
	if (place->uffd >= 0)
		filled = fill(place, from, len, offset);
	if (filled < 0)
		return (int)filled;
	if (filled == len)
		return 0;
	return overwrite(place, from + filled, len - (uint32_t)filled, offset + (uint64_t)filled);
}

int wh_place_put(struct wh_place *place, const uint8_t *from, uint32_t len, uint64_t offset)
{
	int r;

	(void)pthread_rwlock_rdlock(&place->use);
	r = put(place, from, len, offset);
	(void)pthread_rwlock_unlock(&place->use);
	return r;
}

/* Read all of it. Return: 0 or -errno. */
static int read_all(int fd, uint8_t *to, uint32_t len, uint64_t offset)
{
	while (len > 0) {
		ssize_t n = pread(fd, to, len, (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		to += n;
		len -= (uint32_t)n;
		offset += (uint64_t)n;
	}
	return 0;
}

int wh_place_get(struct wh_place *place, uint8_t *to, uint32_t len, uint64_t offset)
{
	int r = -EPROTO;

	(void)pthread_rwlock_rdlock(&place->use);
	if (holds(place, offset, len))
		r = read_all(place->fd, to, len, offset);
	(void)pthread_rwlock_unlock(&place->use);
	return r;
}
