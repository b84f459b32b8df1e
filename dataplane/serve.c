/* SPDX-License-Identifier: Apache-2.0 */

#include "serve.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "urgency.h"
#include "urgent.h"
#include "zero.h"

/* How often the thread looks whether it is to stop. */
#define PATIENCE_MS 100

struct wh_serve {
	struct wh_serve_config cfg;
	struct wh_urgent urgent;
	_Atomic int error;
	uint8_t *contents; /* owned; of what is answered */
	pthread_t thread;
	bool thread_runs;
	_Atomic bool stop;
};

/* What a FETCH may be about at most. */
static uint32_t pages_max(uint32_t granule)
{
	return granule > 1 ? granule : WH_FETCH_PAGES_MAX;
}

struct wh_serve *wh_serve_new(const struct wh_serve_config *cfg)
{
	struct wh_serve *serve = calloc(1, sizeof(*serve));

	if (!serve)
		return NULL;
	serve->cfg = *cfg;
	serve->contents =
		aligned_alloc(WH_PAGE_SIZE, (size_t)pages_max(cfg->granule) * WH_PAGE_SIZE);
	if (!serve->contents || wh_urgent_init(&serve->urgent, cfg->urgent) < 0)
		return wh_serve_free(serve);
	return serve;
}

int wh_serve_error(const struct wh_serve *serve)
{
	return atomic_load(&serve->error);
}

uint64_t wh_serve_sent_bytes(const struct wh_serve *serve)
{
	return atomic_load_explicit(&serve->urgent.sent_bytes, memory_order_relaxed);
}

/* The region that a FETCH or HAVE of @bytes is about, or NULL if it is about none. */
static const struct wh_region *region_of(const struct wh_serve *serve,
                                         const struct wh_record *record, uint32_t bytes)
{
	const struct wh_region *region = &serve->cfg.ram->regions[record->region];
	const uint32_t granule_bytes = serve->cfg.granule * WH_PAGE_SIZE;

	if (record->region >= serve->cfg.ram->count || bytes == 0 ||
	    bytes > pages_max(serve->cfg.granule) * WH_PAGE_SIZE || bytes % granule_bytes ||
	    record->offset % granule_bytes || record->offset >= region->bytes ||
	    bytes > region->bytes - record->offset)
		return NULL;
	return region;
}

/* Not through a mapping: there a hole would be filled, or be a signal where pages are huge. */
static int read_contents(struct wh_serve *serve, int fd, uint64_t offset, uint32_t bytes)
{
	uint8_t *to = serve->contents;

	while (bytes > 0) {
		ssize_t n = pread(fd, to, bytes, (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO; /* the RAM file was cut short */
		to += n;
		offset += (uint64_t)n;
		bytes -= (uint32_t)n;
	}
	return 0;
}

/* Tell what has been read. @record: of the first page. Return: 0 or -errno. */
static int tell(struct wh_serve *serve, struct wh_record record, uint32_t bytes)
{
	const uint8_t *at = serve->contents;
	int r = 0;

	while (r == 0 && bytes > 0) {
		bool zero;
		const uint32_t alike = WH_PAGE_SIZE * wh_pages_alike(at, bytes / WH_PAGE_SIZE,
		                                                     serve->cfg.granule, &zero);

		record.type = zero ? WH_RECORD_ZEROES : WH_RECORD_WRITE;
		record.length = zero ? WH_SPAN_BYTES : alike;
		if (zero)
			r = wh_urgent_span(&serve->urgent, &record, alike);
		else
			r = wh_urgent_write(&serve->urgent, &record, at);
		wh_stat_add(serve->cfg.stats, zero ? WH_STAT_ZERO_BYTES : WH_STAT_FAULT_BYTES,
		            alike);
		wh_stat_add(serve->cfg.stats, WH_STAT_PAGE_BYTES, zero ? 0 : alike);
		record.offset += alike;
		at += alike;
		bytes -= alike;
	}
	return r;
}

/* The guest waited for @bytes of @region, from @offset on, which it gets, or has got. */
static void count(struct wh_serve *serve, const struct wh_region *region, uint64_t offset,
                  uint32_t bytes)
{
	wh_push_served(serve->cfg.push, region->first_page + offset / WH_PAGE_SIZE,
	               bytes / WH_PAGE_SIZE);
	wh_stat_add(serve->cfg.stats, WH_STAT_FAULTS, 1);
}

/* Answer a FETCH. Return: 0 or -errno. */
static int answer(struct wh_serve *serve, const struct wh_record *fetch, const uint8_t *payload)
{
	const uint32_t bytes = wh_span_decode(payload);
	const struct wh_region *region = region_of(serve, fetch, bytes);
	int r;

	if (!region)
		return -EPROTO;
	r = read_contents(serve, region->fd, fetch->offset, bytes);
	if (r < 0)
		return r;
	count(serve, region, fetch->offset, bytes);
	if (serve->cfg.lend)
		serve->cfg.lend->ops->want(serve->cfg.lend,
		                           region->first_page + fetch->offset / WH_PAGE_SIZE);
	return tell(serve, *fetch, bytes);
}

/* The destination has read pages itself. Return: 0 or -EPROTO. */
static int on_have(struct wh_serve *serve, const struct wh_record *have, const uint8_t *payload)
{
	const uint32_t bytes = wh_span_decode(payload);
	const struct wh_region *region = region_of(serve, have, bytes);

	if (!region || serve->cfg.lend->ops->have(serve->cfg.lend, bytes) < 0)
		return -EPROTO;
	count(serve, region, have->offset, bytes);
	wh_stat_add(serve->cfg.stats, WH_STAT_FAULT_BYTES, bytes);
	wh_stat_add(serve->cfg.stats, WH_STAT_PAGE_BYTES, bytes);
	wh_stat_add(serve->cfg.stats, WH_STAT_RDMA_READ_BYTES, bytes);
	return 0;
}

static int act(struct wh_serve *serve, const struct wh_record *record, const uint8_t *payload)
{
	if (record->type == WH_RECORD_FETCH)
		return answer(serve, record, payload);
	if (!serve->cfg.lend)
		return -EPROTO;
	if (record->type == WH_RECORD_HAVE)
		return on_have(serve, record, payload);
	return serve->cfg.lend->ops->record(serve->cfg.lend, record, payload);
}

static int take_records(struct wh_serve *serve)
{
	struct wh_record record;
	const uint8_t *payload;
	int r = wh_urgent_receive(&serve->urgent);

	if (r < 0)
		return r;
	/* This ends: the buffer is finite. */
	while ((r = wh_urgent_next(&serve->urgent, &record, &payload)) > 0) {
		r = act(serve, &record, payload);
		if (r < 0)
			return r;
	}
	return r;
}

/* How long to wait, no longer than @timeout_ms. */
static int patience(const struct wh_serve *serve, int timeout_ms)
{
	const struct wh_rdma_lend *lend = serve->cfg.lend;
	uint64_t now_ns, ms;

	if (!lend || lend->wake_ns == UINT64_MAX)
		return timeout_ms;
	now_ns = wh_now_ns(serve->cfg.clock);
	ms = lend->wake_ns > now_ns ? (lend->wake_ns - now_ns) / WH_NSEC_PER_MSEC + 1 : 0;
	return ms < (uint64_t)timeout_ms ? (int)ms : timeout_ms;
}

int wh_serve_step(struct wh_serve *serve, int timeout_ms)
{
	struct wh_rdma_lend *lend = serve->cfg.lend;
	struct pollfd fds[] = {
		{ .fd = serve->urgent.fd, .events = POLLIN },
		{ .fd = lend ? lend->fd : -1, .events = POLLIN },
	};
	int r = 0;

	if (poll(fds, 2, patience(serve, timeout_ms)) < 0)
		return errno == EINTR ? 0 : -errno;
	if (fds[0].revents)
		r = take_records(serve);
	if (r == 0 && lend)
		r = lend->ops->look(lend, &serve->urgent, serve->cfg.push);
	return r < 0 ? r : wh_urgent_flush(&serve->urgent);
}

static void *serve_thread(void *arg)
{
	struct wh_serve *serve = arg;
	int r = 0;

	wh_urgency_lead();
	/* Ends when it is stopped, or fails. */
	while (r == 0 && !atomic_load(&serve->stop))
		r = wh_serve_step(serve, PATIENCE_MS);
	atomic_store(&serve->error, r);
	return NULL;
}

int wh_serve_start(struct wh_serve *serve)
{
	int r;

	wh_urgency_yield();
	r = -pthread_create(&serve->thread, NULL, serve_thread, serve);

	serve->thread_runs = r == 0;
	if (r == 0)
		(void)pthread_setname_np(serve->thread, "wherry-serve"); /* for top(1) */
	return r;
}

struct wh_serve *wh_serve_free(struct wh_serve *serve)
{
	if (!serve)
		return NULL;
	if (serve->thread_runs) {
		atomic_store(&serve->stop, true);
		(void)shutdown(serve->urgent.fd, SHUT_RD); /* ends its poll() at once */
		(void)pthread_join(serve->thread, NULL);
	}
	wh_urgent_done(&serve->urgent);
	free(serve->contents);
	free(serve);
	return NULL;
}
