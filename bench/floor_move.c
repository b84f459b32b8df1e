/* SPDX-License-Identifier: Apache-2.0 */

/*
 * floor_move - bytes from a RAM file on one host into one on another, and nothing else.
 *
 *	floor_move receive FILE ADDRESS PORT CONNECTIONS WAY POLL_US SPIN_US
 *	floor_move send FILE ADDRESS PORT CONNECTIONS WAY POLL_US SPIN_US
 *
 * The cheapest system calls found for each step, no protocol, no tracking, no test for zero pages:
 * what this takes is the floor for any mover on the machine. The receiver prints "ready" when it
 * listens, and "done" when every byte is in place. Connection number i carries the i-th share of
 * the file; both files have the same size. WAY is "best", or one of those that were compared:
 *
 *	send		sendfile	the kernel hands the file's pages to the socket (best)
 *			copy		send() from a mapping of the file
 *			splice		the same by vmsplice() and splice() (best on hugetlbfs)
 *			fixed, chain	by io_uring: floor_ring.c says how
 *	receive		fill		receive into a buffer, UFFDIO_COPY (best for small pages)
 *			write		receive into a buffer, pwrite() (best for huge pages)
 *			map		receive into a mapping of the file, populated ahead
 *			ring, sqpoll, fixed
 *					receive by io_uring, UFFDIO_COPY
 *			fixed-write	the same as fixed, WRITE_FIXED
 *
 * POLL_US has the kernel poll the network interface's queue for so long when nothing has come, if it
 * has one: that is said. SPIN_US is how long a thread looks again and again before it sleeps.
 *
 * On hugetlbfs there is no sendfile and no write.
 */

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <linux/magic.h>
#include <linux/userfaultfd.h>

#include "floor_ring.h"

#include "wherry/clock.h"

#define PAGE            4096u
#define CHUNK           ((size_t)2 << 20)   /* a huge page */
#define SMALL_CHUNK     ((size_t)512 << 10) /* to fill small pages: stays in a core's own cache */
#define PIPE            (1 << 20)           /* what anybody may have */
#define CONNECTIONS_MAX 16

static struct {
	int file;
	off_t bytes;
	int connections;
	const char *way;
	size_t piece; /* received and put in place at once */
	uint32_t poll_us, spin_us;
	uint8_t *addr;        /* the file, mapped, for the ways that need it */
	int uffd;             /* to fill */
	pthread_mutex_t turn; /* to write: waiters would spin in the kernel */
} job = { .uffd = -1, .turn = PTHREAD_MUTEX_INITIALIZER };

struct share {
	int socket;
	off_t from, to; /* of the file */
	int pipe[2];    /* to splice */
	size_t in_pipe;
	struct floor_ring *ring; /* of the ways that use one */
	pthread_t thread;
};

static _Noreturn void die(const char *what)
{
	perror(what);
	exit(EXIT_FAILURE);
}

static void check(bool good, const char *what)
{
	if (!good)
		die(what);
}

static bool way_is(const char *name)
{
	return !strcmp(job.way, name);
}

/* A socket that does not wait itself, because we look first for as long as we are to spin. */
static void await(int fd, short events)
{
	const uint64_t until_ns = wh_now_ns(&wh_clock_monotonic) + job.spin_us * UINT64_C(1000);
	struct pollfd p = { .fd = fd, .events = events };

	while (poll(&p, 1, 0) == 0 && wh_now_ns(&wh_clock_monotonic) < until_ns)
		;
	(void)poll(&p, 1, -1);
}

static void open_ring(struct share *share, bool receives)
{
	const struct floor_ring_config cfg = { .way = job.way,
		                               .socket = share->socket,
		                               .file = job.file,
		                               .chunk = CHUNK,
		                               .from = receives ? NULL : job.addr + share->from,
		                               .bytes = (size_t)(share->to - share->from),
		                               .poll_us = job.poll_us,
		                               .spin_us = job.spin_us };

	if (floor_ring_serves(job.way))
		share->ring = floor_ring_open(&cfg);
}

/* The pipe is empty before it takes more, so what is in it ends at where the share goes on. */
static ssize_t splice_some(struct share *share, size_t left)
{
	struct iovec part = { job.addr + share->from, left < PIPE ? left : PIPE };
	ssize_t n;

	if (share->in_pipe == 0) {
		n = vmsplice(share->pipe[1], &part, 1, 0);
		check(n > 0, "vmsplice");
		share->in_pipe = (size_t)n;
	}
	n = splice(share->pipe[0], NULL, share->socket, NULL, share->in_pipe, SPLICE_F_MORE);
	share->in_pipe -= n > 0 ? (size_t)n : 0;
	share->from += n > 0 ? n : 0;
	return n;
}

static ssize_t send_some(struct share *share, off_t first)
{
	size_t left = (size_t)(share->to - share->from);
	ssize_t n;

	if (way_is("splice"))
		return splice_some(share, left);
	if (way_is("sendfile"))
		return sendfile(share->socket, job.file, &share->from, left);
	if (share->ring) {
		n = (ssize_t)floor_ring_send(share->ring, share->from,
		                             (size_t)(share->from - first), left);
		share->from += n;
		return n;
	}
	n = send(share->socket, job.addr + share->from, left < CHUNK ? left : CHUNK, MSG_NOSIGNAL);
	share->from += n > 0 ? n : 0;
	return n;
}

static void *send_share(void *arg)
{
	struct share *share = arg;
	const off_t first = share->from;

	if (way_is("splice"))
		check(pipe2(share->pipe, O_CLOEXEC) == 0 &&
		              fcntl(share->pipe[0], F_SETPIPE_SZ, PIPE) == PIPE,
		      "pipe");
	open_ring(share, false);
	while (share->from < share->to) {
		const ssize_t n = send_some(share, first);

		check(n > 0 || (n < 0 && errno == EAGAIN), "send");
		if (n < 0)
			await(share->socket, POLLOUT);
	}
	share->ring = floor_ring_close(share->ring);
	return NULL;
}

static void put(const uint8_t *from, size_t len, off_t offset)
{
	struct uffdio_copy copy = { .dst = (uintptr_t)job.addr + (uint64_t)offset,
		                    .src = (uintptr_t)from,
		                    .len = len };

	if (job.uffd >= 0) {
		check(ioctl(job.uffd, UFFDIO_COPY, &copy) == 0, "UFFDIO_COPY");
	} else if (way_is("write")) {
		(void)pthread_mutex_lock(&job.turn);
		check(pwrite(job.file, from, len, offset) == (ssize_t)len, "pwrite");
		(void)pthread_mutex_unlock(&job.turn);
	}
}

/* Where the next bytes go at first. */
static uint8_t *room(uint8_t *buffer, off_t offset, size_t len)
{
	if (!way_is("map"))
		return buffer;
	check(madvise(job.addr + offset, len, MADV_POPULATE_WRITE) == 0, "populate");
	return job.addr + offset;
}

static void receive_all(const struct share *share, uint8_t *to, size_t len)
{
	/* This ends: bytes come, or the program does. */
	while (len > 0) {
		const ssize_t n = recv(share->socket, to, len, MSG_WAITALL);

		if (n < 0 && errno == EAGAIN) {
			await(share->socket, POLLIN);
			continue;
		}
		check(n > 0, "recv");
		to += n;
		len -= (size_t)n;
	}
}

static void receive_chunk(struct share *share, uint8_t *buffer, size_t len)
{
	if (!share->ring) {
		receive_all(share, room(buffer, share->from, len), len);
		put(buffer, len, share->from);
		return;
	}
	put(floor_ring_receive(share->ring, len), len, share->from);
	if (way_is("fixed-write"))
		floor_ring_write(share->ring, len, share->from);
	floor_ring_release(share->ring, len);
}

static void *receive_share(void *arg)
{
	struct share *share = arg;
	uint8_t *buffer = aligned_alloc(PAGE, CHUNK);

	check(buffer, "memory");
	open_ring(share, true);
	while (share->from < share->to) {
		const size_t left = (size_t)(share->to - share->from);
		const size_t len = left < job.piece ? left : job.piece;

		receive_chunk(share, buffer, len);
		share->from += (off_t)len;
	}
	share->ring = floor_ring_close(share->ring);
	free(buffer);
	return NULL;
}

static void open_uffd(void)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = { .range = { .start = (uintptr_t)job.addr,
		                                  .len = (uint64_t)job.bytes },
		                       .mode = UFFDIO_REGISTER_MODE_MISSING };

	job.uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);
	check(job.uffd >= 0 && ioctl(job.uffd, UFFDIO_API, &api) == 0 &&
	              ioctl(job.uffd, UFFDIO_REGISTER, &reg) == 0,
	      "userfaultfd");
}

static int new_socket(void)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	check(fd >= 0, "socket");
	/* What a mover would choose; without it, the host's choice is measured. */
	(void)setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "cubic", strlen("cubic"));
	if (job.poll_us)
		check(setsockopt(fd, SOL_SOCKET, SO_BUSY_POLL, &job.poll_us, sizeof(job.poll_us)) ==
		                      0 &&
		              setsockopt(fd, SOL_SOCKET, SO_PREFER_BUSY_POLL, &(int){ 1 },
		                         sizeof(int)) == 0,
		      "busy polling");
	return fd;
}

/* The first connection made is the first one accepted: one at a time. */
static void connect_all(struct share *shares, const struct sockaddr_in *peer)
{
	for (int i = 0; i < job.connections; i++) {
		shares[i].socket = new_socket();
		check(connect(shares[i].socket, (const struct sockaddr *)peer, sizeof(*peer)) == 0,
		      "connect");
	}
}

static void accept_all(struct share *shares, const struct sockaddr_in *here)
{
	int listener = new_socket();

	check(setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &(int){ 1 }, sizeof(int)) == 0 &&
	              bind(listener, (const struct sockaddr *)here, sizeof(*here)) == 0 &&
	              listen(listener, job.connections) == 0,
	      "listen");
	check(puts("ready") >= 0 && fflush(stdout) == 0, "output");
	for (int i = 0; i < job.connections; i++) {
		shares[i].socket = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		check(shares[i].socket >= 0, "accept");
	}
	(void)close(listener);
}

/* Busy polling needs a queue of the interface, and some have none. */
static void tell_queue(int fd)
{
	unsigned id = 0;
	socklen_t len = sizeof(id);

	if (job.poll_us && getsockopt(fd, SOL_SOCKET, SO_INCOMING_NAPI_ID, &id, &len) == 0)
		(void)fprintf(stderr, "floor_move: the receiving queue is %u%s\n", id,
		              id ? "" : ", none: nothing is polled"); /* nowhere else to say it */
}

static void run(struct share *shares, void *(*thread)(void *))
{
	const off_t chunks = job.bytes / (off_t)CHUNK;

	for (int i = 0; i < job.connections; i++) {
		shares[i].from = chunks * i / job.connections * (off_t)CHUNK;
		shares[i].to = i + 1 == job.connections
		                       ? job.bytes
		                       : chunks * (i + 1) / job.connections * (off_t)CHUNK;
		if (job.spin_us && !floor_ring_serves(job.way))
			check(fcntl(shares[i].socket, F_SETFL, O_NONBLOCK) == 0, "nonblock");
		errno = pthread_create(&shares[i].thread, NULL, thread, &shares[i]);
		check(errno == 0, "thread");
	}
	for (int i = 0; i < job.connections; i++)
		(void)pthread_join(shares[i].thread, NULL);
	tell_queue(shares[0].socket);
}

static const char *best_way(bool receives, blksize_t page)
{
	struct statfs fs;

	check(fstatfs(job.file, &fs) == 0, "statfs");
	if (fs.f_type == HUGETLBFS_MAGIC)
		return receives ? "fill" : "splice";
	return !receives ? "sendfile" : page == PAGE ? "fill" : "write";
}

static void open_file(const char *path, bool receives)
{
	struct stat st;

	job.file = open(path, O_RDWR | O_CLOEXEC);
	check(job.file >= 0 && fstat(job.file, &st) == 0, path);
	job.bytes = st.st_size;
	if (way_is("best"))
		job.way = best_way(receives, st.st_blksize);
	job.piece = way_is("fill") && st.st_blksize == PAGE ? SMALL_CHUNK : CHUNK;
	if (way_is("sendfile") || way_is("write") || way_is("fixed-write"))
		return;
	job.addr = mmap(NULL, (size_t)job.bytes, PROT_READ | PROT_WRITE, MAP_SHARED, job.file, 0);
	check(job.addr != MAP_FAILED, "mmap");
	if (way_is("fill") || (receives && floor_ring_serves(job.way)))
		open_uffd();
}

static bool knows(bool receives, const char *way)
{
	static const char *const ways[2][9] = {
		{ "best", "sendfile", "copy", "splice", "fixed", "chain" },
		{ "best", "fill", "write", "map", "ring", "sqpoll", "fixed", "fixed-write" }
	};

	for (size_t i = 0; ways[receives][i]; i++)
		if (!strcmp(ways[receives][i], way))
			return true;
	return false;
}

int main(int argc, char **argv)
{
	struct share shares[CONNECTIONS_MAX] = { 0 };
	struct sockaddr_in address = { .sin_family = AF_INET };
	bool receives = argc > 1 && !strcmp(argv[1], "receive");

	if (argc != 9 || (!receives && strcmp(argv[1], "send") != 0) || !knows(receives, argv[6]) ||
	    inet_pton(AF_INET, argv[3], &address.sin_addr) != 1 ||
	    (job.connections = atoi(argv[5])) < 1 || job.connections > CONNECTIONS_MAX) {
		(void)fprintf(stderr,
		              "usage: floor_move receive|send FILE ADDRESS PORT "
		              "CONNECTIONS WAY POLL_US SPIN_US\n"); /* nowhere else to say it */
		return EXIT_FAILURE;
	}
	address.sin_port = htons((uint16_t)atoi(argv[4]));
	job.way = argv[6];
	job.poll_us = (uint32_t)strtoul(argv[7], NULL, 10);
	job.spin_us = (uint32_t)strtoul(argv[8], NULL, 10);
	open_file(argv[2], receives);
	if (receives)
		accept_all(shares, &address);
	else
		connect_all(shares, &address);
	run(shares, receives ? receive_share : send_share);
	if (receives)
		check(puts("done") >= 0 && fflush(stdout) == 0, "output");
	return EXIT_SUCCESS;
}
