/* SPDX-License-Identifier: Apache-2.0 */

#include "worker_link.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "wherry/fdpass.h"
#include "wherry/limits.h"

#include "token_bucket.h"

static int gone(struct wh_error *err, int r)
{
	return wh_fail(err, r, "wherryd is gone: %s", strerror(-r));
}

static bool has_missing(const struct wh_worker_start *start)
{
	return start->role == WH_ROLE_TARGET && start->postcopy;
}

/* Descriptors that START must bring: the stats page, RAM, the missing file, the bucket, what is only held. */
static uint32_t descriptors_of(const struct wh_worker_start *start)
{
	return 1 + start->region_count + has_missing(start) + (start->bucket != 0) +
	       start->hold_count;
}

static bool rdma_is_right(const struct wh_worker_start *start)
{
	const uint64_t chunk = start->rdma_chunk_bytes;

	return start->transport == WH_TRANSPORT_TCP ||
	       (start->transport < WH_TRANSPORT_KINDS && start->rdma_pairs >= 1 &&
	        start->rdma_pairs <= WH_RDMA_PAIRS_MAX && chunk >= WH_RDMA_CHUNK_BYTES_MIN &&
	        chunk <= WH_RDMA_CHUNK_BYTES_MAX && (chunk & (chunk - 1)) == 0);
}

static int check_start(const struct wh_job *job, const struct wh_fdpass *msg, struct wh_error *err)
{
	const struct wh_worker_start *start = &job->start;

	if (msg->len != sizeof(*start) || start->type != WH_WORKER_START ||
	    start->region_count == 0 || start->region_count > WH_REGIONS_MAX ||
	    start->connections == 0 || start->connections > WH_CONNECTIONS_MAX ||
	    start->hold_count > WH_WORKER_HOLD_MAX || (start->resume && !start->postcopy) ||
	    !rdma_is_right(start) || msg->fd_count != descriptors_of(start))
		return wh_fail(err, -EPROTO, "wherryd and wherry-mover are not of one version");
	return 0;
}

/* The map outlives its descriptor, which the mover could do nothing else with. */
static int map_bucket(struct wh_job *job, int fd, struct wh_error *err)
{
	void *page = mmap(NULL, sizeof(*job->bucket), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (page == MAP_FAILED)
		return wh_fail(err, -errno, "cannot map the limit's bucket: %s", strerror(errno));
	job->bucket = page;
	return 0;
}

int wh_worker_receive(struct wh_job *ret, struct wh_error *err)
{
	int fds[3 + WH_REGIONS_MAX + WH_WORKER_HOLD_MAX];
	struct wh_fdpass msg = { .data = &ret->start,
		                 .len = sizeof(ret->start),
		                 .fds = fds,
		                 .fd_count = sizeof(fds) / sizeof(fds[0]) };
	uint32_t next;
	int r = wh_fdpass_recv(WH_WORKER_FD, &msg);

	if (r <= 0)
		return gone(err, r < 0 ? r : -EPIPE);
	r = check_start(ret, &msg, err);
	if (r < 0)
		return r;

	ret->stats = mmap(NULL, sizeof(*ret->stats), PROT_READ | PROT_WRITE, MAP_SHARED, fds[0], 0);
	if (ret->stats == MAP_FAILED)
		return wh_fail(err, -errno, "cannot map the stats page: %s", strerror(errno));
	for (uint32_t i = 0; r == 0 && i < ret->start.region_count; i++) {
		const struct wh_worker_region *region = &ret->start.regions[i];

		r = wh_ram_add(&ret->ram, region->name, region->bytes, fds[1 + i], err);
	}
	next = 1 + ret->start.region_count;
	ret->missing_fd = has_missing(&ret->start) ? fds[next++] : -1;
	if (r == 0 && ret->start.bucket)
		r = map_bucket(ret, fds[next], err);
	return r; /* the descriptors behind these are only held */
}

static int send_message(const void *message, size_t len, struct wh_error *err)
{
	const struct wh_fdpass msg = { .data = (void *)(uintptr_t)message, .len = len };
	int r = wh_fdpass_send(WH_WORKER_FD, &msg);

	return r < 0 ? gone(err, r) : 0;
}

int wh_worker_note(enum wh_worker_type type, struct wh_error *err)
{
	const struct wh_worker_note note = { .type = (uint32_t)type };

	return send_message(&note, sizeof(note), err);
}

int wh_worker_landed(bool postcopy, int vmm_uffd, struct wh_error *err)
{
	const struct wh_worker_landed landed = { .type = WH_WORKER_LANDED,
		                                 .postcopy = postcopy,
		                                 .vmm_uffd = vmm_uffd };

	return send_message(&landed, sizeof(landed), err);
}

void wh_worker_listening(uint16_t port)
{
	const struct wh_worker_listening listening = { .type = WH_WORKER_LISTENING, .port = port };

	(void)send_message(&listening, sizeof(listening), NULL);
}

void wh_worker_transport(enum wh_transport_kind kind, const char *why)
{
	struct wh_worker_transport transport = { .type = WH_WORKER_TRANSPORT, .kind = kind };

	(void)snprintf(transport.why.text, sizeof(transport.why.text), "%s", why);
	(void)send_message(&transport, sizeof(transport), NULL);
}

void wh_worker_fail(int code, const struct wh_error *error)
{
	const struct wh_worker_failed failed = { .type = WH_WORKER_FAILED,
		                                 .code = code,
		                                 .error = *error };

	(void)send_message(&failed, sizeof(failed), NULL);
}

/* Take the daemon's next message, which is a note or SWITCH. Return: 0 or -errno. */
static int receive(struct wh_worker_switch *ret, struct wh_error *err)
{
	struct wh_fdpass msg = { .data = ret, .len = sizeof(*ret) };
	int r;

	*ret = (struct wh_worker_switch){ 0 };
	r = wh_fdpass_recv(WH_WORKER_FD, &msg);
	if (r <= 0)
		return gone(err, r < 0 ? r : -EPIPE);
	if (msg.len == sizeof(struct wh_worker_note) &&
	    (ret->type == WH_WORKER_FINISH || ret->type == WH_WORKER_AGAIN))
		return 0;
	if (msg.len == sizeof(*ret) && ret->type == WH_WORKER_SWITCH &&
	    (ret->mode == WH_SWITCH_POSTCOPY || ret->mode == WH_SWITCH_PAUSE))
		return 0;
	return wh_fail(err, -EPROTO, "wherryd said %u, which is out of place", ret->type);
}

int wh_worker_switch_mode(void)
{
	struct pollfd fd = { .fd = WH_WORKER_FD, .events = POLLIN };
	struct wh_worker_switch message;
	int r;

	if (poll(&fd, 1, 0) <= 0)
		return WH_SWITCH_NONE;
	r = receive(&message, NULL);
	if (r < 0)
		return r;
	return message.type == WH_WORKER_SWITCH ? (int)message.mode : -EPROTO;
}

int wh_worker_await_finish(struct wh_error *err)
{
	struct wh_worker_switch message;
	int r;

	/* This ends: one of both comes, or the daemon goes. */
	do
		r = receive(&message, err);
	while (r == 0 && message.type == WH_WORKER_SWITCH);
	return r < 0 ? r : (int)message.type;
}

void wh_worker_await_end(void)
{
	struct wh_worker_switch message;

	/* This ends: the daemon goes. */
	while (receive(&message, NULL) == 0)
		;
}
