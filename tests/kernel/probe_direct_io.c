/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Reads with O_DIRECT into tracked memory: the tracker sees when pages are pinned, and not what a device
 * writes into them after that.
 *
 * How long a device takes is not for a test to say. So "after that" is shown with a buffer of io_uring,
 * which is pinned when it is registered and written when something is read into it.
 */

#include <fcntl.h>
#include <liburing.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include "tap.h"
#include "tracked.h"

#define PAGES 64u
#define FIRST 10u /* what is read into */
#define COUNT 4u
#define BYTES (COUNT * PAGE)

/* A file of 'x' on a real file system: what a tmpfs calls O_DIRECT is none. */
static int direct_file(void)
{
	char path[] = "/var/tmp/wherry-probe.XXXXXX";
	static char contents[BYTES];
	int fd = mkstemp(path);
	int direct;

	tap_need(fd >= 0, path);
	memset(contents, 'x', sizeof(contents));
	tap_need(write(fd, contents, sizeof(contents)) == (ssize_t)sizeof(contents), "write");
	tap_need(fsync(fd) == 0, "fsync");
	direct = open(path, O_RDONLY | O_DIRECT | O_CLOEXEC);
	(void)unlink(path);
	(void)close(fd);
	if (direct < 0)
		tap_skip_all("O_DIRECT in /var/tmp");
	return direct;
}

static void a_read_is_a_write(struct tracked *t)
{
	char *at = t->addr + FIRST * PAGE;
	int file = direct_file();

	memset(at, 'a', BYTES);
	(void)tracked_scan(t);
	tap_need(pread(file, at, BYTES, 0) == (ssize_t)BYTES, "pread");
	tap_ok(at[0] == 'x' && at[BYTES - 1] == 'x', "O_DIRECT reads into protected memory");
	(void)tracked_scan(t);
	tap_ok(tracked_only(t, FIRST, COUNT), "and a scan reports exactly these pages");
	(void)close(file);
}

static void read_into(struct io_uring *ring, int file, char *at)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
	struct io_uring_cqe *cqe;

	io_uring_prep_read_fixed(sqe, file, at, PAGE, 0, 0);
	tap_need(io_uring_submit(ring) == 1 && io_uring_wait_cqe(ring, &cqe) == 0, "a read");
	tap_need(cqe->res == (int)PAGE, "a read into a registered buffer");
	io_uring_cqe_seen(ring, cqe);
}

static void what_is_pinned_is_written_unseen(struct tracked *t)
{
	char *at = t->addr + FIRST * PAGE;
	const struct iovec buffer = { .iov_base = at, .iov_len = BYTES };
	int file = memfd_create("disk", MFD_CLOEXEC);
	struct io_uring ring;

	tap_need(pwrite(file, "y", 1, PAGE - 1) == 1, "a memfd");
	memset(at, 'a', BYTES);
	(void)tracked_scan(t);
	if (io_uring_queue_init(4, &ring, 0) < 0)
		tap_skip_all("io_uring");
	tap_need(io_uring_register_buffers(&ring, &buffer, 1) == 0, "io_uring_register_buffers");
	(void)tracked_scan(t);
	tap_ok(tracked_only(t, FIRST, COUNT), "to pin pages counts as a write, at once");

	read_into(&ring, file, at + PAGE);
	tap_ok(at[2 * PAGE - 1] == 'y', "they can be written after a scan has protected them");
	tap_ok(tracked_scan(t) == 0, "and then a scan does NOT report them");
	at[2 * PAGE] = 'b';
	(void)tracked_scan(t);
	tap_ok(tracked_only(t, FIRST + 2, 1), "they stay protected: a write of the owner is seen");
	io_uring_queue_exit(&ring);
	(void)close(file);
}

static void what_was_pinned_before_is_written_unseen(void)
{
	struct tracked t = tracked_memory(PAGES);
	char *at = t.addr + FIRST * PAGE;
	const struct iovec buffer = { .iov_base = at, .iov_len = BYTES };
	int file = memfd_create("disk", MFD_CLOEXEC);
	struct io_uring ring;

	tap_need(pwrite(file, "y", 1, PAGE - 1) == 1, "a memfd");
	tap_need(io_uring_queue_init(4, &ring, 0) == 0, "io_uring");
	tap_need(io_uring_register_buffers(&ring, &buffer, 1) == 0, "io_uring_register_buffers");
	tracked_protect(&t);
	read_into(&ring, file, at);
	tap_ok(at[PAGE - 1] == 'y' && tracked_scan(&t) == 0,
	       "nor are pages reported that were pinned before they were protected first");
	io_uring_queue_exit(&ring);
	(void)close(file);
}

int main(void)
{
	struct tracked t = tracked_memory(PAGES);

	tracked_protect(&t);
	a_read_is_a_write(&t);
	what_is_pinned_is_written_unseen(&t);
	what_was_pinned_before_is_written_unseen();
	return tap_done();
}
