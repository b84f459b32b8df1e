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

#include "huge.h"

#include "wherry/assert.h"
#include "wherry/fdpass.h"
#include "wherry/limits.h"
#include "wherry/transport.h"

/* What one fill fills lies in two page tables at most, wherever the memory is mapped. */
#define FILLS_MAX (WH_PAGE_TABLES_MAX / 2)

/* So much is received before it is filled in: it stays in the cache that a core has for itself. */
#define FILL_BYTES (512u << 10)

static void init_lock(pthread_rwlock_t *lock)
{
	pthread_rwlockattr_t attr;

	/* Who puts all the time must not keep out who needs the place for itself. */
	wh_assert(pthread_rwlockattr_init(&attr) == 0);
	wh_assert(pthread_rwlockattr_setkind_np(&attr,
	                                        PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP) == 0);
	wh_assert(pthread_rwlock_init(lock, &attr) == 0);
	(void)pthread_rwlockattr_destroy(&attr);
}

void wh_place_init(struct wh_place *place)
{
	*place = (struct wh_place){ .fd = -1, .uffd = -1 };
	init_lock(&place->use);
	wh_assert(pthread_mutex_init(&place->turn, NULL) == 0);
}

static void unmap(struct wh_place *place)
{
	if (place->addr)
		(void)munmap(place->addr, place->mapped);
	if (place->over)
		(void)munmap(place->over, place->mapped);
	place->addr = place->over = NULL;
	place->mapped = 0;
	wh_closep(&place->uffd);
}

void wh_place_done(struct wh_place *place)
{
	unmap(place);
	(void)pthread_mutex_destroy(&place->turn);
	(void)pthread_rwlock_destroy(&place->use);
}

static bool is_hugetlbfs(int fd)
{
	return wh_huge_page_bytes(fd) > WH_PAGE_SIZE;
}

/* Whether it is filled: a tmpfs that makes huge pages gives their size for its blocks. */
static bool is_filled(int fd)
{
	struct stat st;

	if (is_hugetlbfs(fd))
		return true;
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

static int map(uint8_t **ret, int fd, uint64_t bytes)
{
	/* Huge pages are reserved when the memory is emptied, and not here. */
	void *addr = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);

	if (addr == MAP_FAILED)
		return -errno;
	*ret = addr;
	(void)madvise(addr, bytes, MADV_SEQUENTIAL); /* our mapping is no use of the memory */
	return 0;
}

static int prepare_to_fill(struct wh_place *place, int fd, uint64_t bytes)
{
	int r = map(&place->addr, fd, bytes);

	place->mapped = bytes;
	place->fills = 0;
	if (r == 0 && is_hugetlbfs(fd))
		r = map(&place->over, fd, bytes);
	if (r < 0)
		return r;
	place->uffd = register_mapping(place);
	return place->uffd < 0 ? place->uffd : 0;
}

int wh_place_lend(struct wh_place *place, int fd, uint64_t bytes)
{
	int r;

	wh_assert(bytes > 0 && place->bytes == 0);
	unmap(place); /* of what was lent here before */
	if (is_filled(fd)) {
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

void wh_place_divert(struct wh_place *place, const struct wh_memory *memory)
{
	wh_assert(memory->bytes > 0 && place->bytes == 0);
	(void)pthread_rwlock_wrlock(&place->use);
	place->divert = memory->put;
	place->context = memory->context;
	place->bytes = memory->bytes;
	(void)pthread_rwlock_unlock(&place->use);
}

void wh_place_take_back(struct wh_place *place)
{
	(void)pthread_rwlock_wrlock(&place->use);
	place->bytes = 0;
	place->divert = NULL;
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

static bool is_filled_in_small_pages(const struct wh_place *place)
{
	return !place->divert && !place->over && place->uffd >= 0;
}

uint32_t wh_place_piece(struct wh_place *place)
{
	uint32_t bytes;

	(void)pthread_rwlock_rdlock(&place->use);
	bytes = is_filled_in_small_pages(place) ? FILL_BYTES : WH_WRITE_LEN_MAX;
	(void)pthread_rwlock_unlock(&place->use);
	return bytes;
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

/* How many bytes from @offset on, whole pages of the next @len, are there and not a hole. */
static uint32_t bytes_there(const struct wh_place *place, uint32_t len, uint64_t offset)
{
	uint8_t there[WH_RUN_PAGES_MAX];
	uint32_t pages = 0;

	if (mincore(place->addr + offset, len, there) < 0)
		return 0;
	while (pages < len / WH_PAGE_SIZE && there[pages] & 1)
		pages++;
	return pages * WH_PAGE_SIZE;
}

/* Fill holes from the front. Return: bytes, 0 if there is a page or no memory, or -errno. */
static int64_t fill_some(const struct wh_place *place, const uint8_t *from, uint32_t len,
                         uint64_t offset)
{
	struct uffdio_copy copy = { .dst = (uintptr_t)place->addr + offset,
		                    .src = (uintptr_t)from,
		                    .len = len };

	/* This ends: the kernel is asked again only when something came between. */
	while (ioctl(place->uffd, UFFDIO_COPY, &copy) < 0) {
		if (copy.copy > 0)
			break;
		if (errno == EEXIST || errno == ENOMEM)
			return 0;
		if (errno != EAGAIN)
			return -errno;
	}
	return copy.copy;
}

/*
 * Fill what is a hole, and copy over what is there: that needs no memory, so touching it is safe. To find
 * out by filling costs as much as to fill, so once something was there, it is looked for first.
 */
static int fill_or_copy(struct wh_place *place, const uint8_t *from, uint32_t len, uint64_t offset)
{
	/* This ends: each turn gets a page further, or fails. */
	while (len > 0) {
		int64_t n = place->rewrites ? bytes_there(place, len, offset) : 0;

		if (n > 0) {
			memcpy(place->addr + offset, from, (size_t)n);
		} else {
			n = fill_some(place, from, len, offset);
			place->rewrites = n == 0;
		}
		if (n < 0)
			return (int)n;
		/* The page is swapped out, or the tmpfs is full: a write will say which. */
		if (n == 0 && bytes_there(place, WH_PAGE_SIZE, offset) == 0)
			return overwrite(place, from, len, offset);
		from += n;
		len -= (uint32_t)n;
		offset += (uint64_t)n;
	}
	return 0;
}

/* Whether page tables for all of it would be too many. */
static bool is_large(const struct wh_place *place)
{
	return place->mapped / WH_PAGE_TABLE_BYTES >= WH_PAGE_TABLES_MAX;
}

/*
 * What was filled stays in our page tables: to take it out costs a tenth of all the work of receiving,
 * and when the mover ends nobody waits for that. But they must not grow with the guest.
 */
static int put_small_pages(struct wh_place *place, const uint8_t *from, uint32_t len,
                           uint64_t offset)
{
	int r = fill_or_copy(place, from, len, offset);

	place->fills++;
	if (r == 0 && is_large(place))
		(void)madvise(place->addr + offset, len, MADV_DONTNEED);
	return r;
}

/* Put what lies in one huge page. */
static int put_huge(const struct wh_place *place, const uint8_t *from, uint32_t len,
                    uint64_t offset)
{
	struct uffdio_copy copy = { .dst = (uintptr_t)place->addr + offset,
		                    .src = (uintptr_t)from,
		                    .len = len };
	int r;

	/* If this fails, there is a page, or no page free: the next step will say which. */
	if (len == WH_HUGE_BYTES_MAX && ioctl(place->uffd, UFFDIO_COPY, &copy) == 0)
		return 0;
	r = wh_huge_allocate(place->over + offset, len);
	if (r == 0)
		memcpy(place->over + offset, from, len);
	return r;
}

static int put_huge_pages(const struct wh_place *place, const uint8_t *from, uint32_t len,
                          uint64_t offset)
{
	int r = 0;

	while (r == 0 && len > 0) {
		const uint32_t room = WH_HUGE_BYTES_MAX - (uint32_t)(offset % WH_HUGE_BYTES_MAX);
		const uint32_t part = len < room ? len : room;

		r = put_huge(place, from, part, offset);
		from += part;
		len -= part;
		offset += part;
	}
	return r;
}

static int put(struct wh_place *place, const uint8_t *from, uint32_t len, uint64_t offset)
{
	if (!holds(place, offset, len))
		return -EPROTO; /* taken back since the header came, or never lent */
	if (place->divert)
		return place->divert(place->context, offset, from, len);
	if (place->over)
		return put_huge_pages(place, from, len, offset);
	if (place->uffd >= 0)
		return put_small_pages(place, from, len, offset);
	return overwrite(place, from, len, offset);
}

static bool has_many_page_tables(const struct wh_place *place)
{
	return !place->divert && place->fills >= FILLS_MAX && is_large(place);
}

/* Nothing else frees page tables. If the new mapping fails, the memory is written instead. */
static void map_anew(struct wh_place *place)
{
	(void)pthread_rwlock_wrlock(&place->use);
	if (has_many_page_tables(place) && place->bytes > 0) {
		unmap(place);
		if (prepare_to_fill(place, place->fd, place->bytes) < 0)
			unmap(place);
	}
	(void)pthread_rwlock_unlock(&place->use);
}

int wh_place_put(struct wh_place *place, const uint8_t *from, uint32_t len, uint64_t offset)
{
	bool many;
	int r;

	(void)pthread_rwlock_rdlock(&place->use);
	r = put(place, from, len, offset);
	many = has_many_page_tables(place);
	(void)pthread_rwlock_unlock(&place->use);
	if (many)
		map_anew(place);
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
	if (holds(place, offset, len) && !place->divert)
		r = read_all(place->fd, to, len, offset);
	(void)pthread_rwlock_unlock(&place->use);
	return r;
}
