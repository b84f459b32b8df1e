/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A page may come by push while its FETCH is on the way. The guest is awake then, and the answer
 * finds the page no longer missing and is dropped. It is also dropped if the page was given back
 * meanwhile; then somebody may still wait for it, and gets zero.
 */

#include "fault.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "urgency.h"
#include "urgent.h"
#include "walk.h"
#include "zero.h"

#include "wherry/assert.h"

/* Questions that are open at once: more than a guest has threads that can wait. */
#define ASKED_MAX 256u

/* Pages that a fault shows at once where memory is kept: each would be a fault. */
#define NEAR_PAGES 64u

/* How often the thread looks whether it is to stop. */
#define PATIENCE_MS 100

struct asked {
	uint64_t page;  /* the next one that is to come; the first is the first of its granule */
	uint64_t end;   /* behind the last one */
	uint32_t count; /* pages that were asked for */
	bool is_read;   /* by RDMA, so there is no answer to come */
	uint64_t since_ns;
};

struct wh_fault {
	struct wh_fault_config cfg;
	struct wh_fill *fill;
	struct wh_urgent urgent;
	struct asked asked[ASKED_MAX];
	uint32_t asked_count;
	struct wh_walks walks;
	uint64_t now_ns; /* when the step began to act */
	_Atomic int error;

	pthread_t thread;
	bool thread_runs;
	_Atomic bool stop;
};

struct wh_fault *wh_fault_new(const struct wh_fault_config *cfg)
{
	struct wh_fault *fault = calloc(1, sizeof(*fault));

	if (!fault)
		return NULL;
	fault->cfg = *cfg;
	fault->fill = cfg->missing->fill;
	wh_walks_init(&fault->walks);
	return wh_urgent_init(&fault->urgent, cfg->urgent) == 0 ? fault : wh_fault_free(fault);
}

static void fail(struct wh_fault *fault, int code)
{
	int none = 0;

	(void)atomic_compare_exchange_strong(&fault->error, &none, code);
}

int wh_fault_error(const struct wh_fault *fault)
{
	return atomic_load(&fault->error);
}

/* --- what the guest does ---------------------------------------------------------------------- */

/* The first page of what can only be filled together with @page. */
static uint64_t granule_of(const struct wh_fault *fault, uint64_t page)
{
	const struct wh_region *region = wh_ram_region(fault->cfg.ram, page);

	return page - (page - region->first_page) % fault->fill->granule;
}

/* Pages that are there as one where @page is. */
static uint32_t unit_of(const struct wh_fault *fault, uint64_t page)
{
	return wh_ram_region(fault->cfg.ram, page)->page_bytes / WH_PAGE_SIZE;
}

/* Pages of @region from @page on, some, of which none is owed. */
static uint32_t near(const struct wh_fault *fault, const struct wh_region *region, uint64_t page)
{
	const uint64_t behind = region->first_page + region->bytes / WH_PAGE_SIZE;
	uint32_t count = 1;

	while (count < NEAR_PAGES && page + count < behind &&
	       !wh_missing_has(fault->cfg.missing, page + count))
		count++;
	return count;
}

/* Nobody owes this page: who waits for it gets what is there by now, or zero. */
static void give(struct wh_fault *fault, uint64_t page)
{
	const struct wh_region *region = wh_ram_region(fault->cfg.ram, page);
	const uint32_t unit = unit_of(fault, page);
	int r = 0;

	page -= (page - region->first_page) % unit;
	if (!fault->fill->show(fault->fill, page, unit > 1 ? unit : near(fault, region, page)))
		r = fault->fill->zero(fault->fill, page, unit);
	if (r < 0)
		fail(fault, r);
}

static struct asked *find_asked(struct wh_fault *fault, uint64_t page)
{
	for (uint32_t i = 0; i < fault->asked_count; i++)
		if (page >= fault->asked[i].page && page < fault->asked[i].end)
			return &fault->asked[i];
	return NULL;
}

/* How many pages from @page on to ask for: missing ones, of its region, that nobody has asked for. */
static uint32_t pages_to_ask(struct wh_fault *fault, uint64_t page)
{
	const uint32_t granule = fault->fill->granule;
	struct wh_run room = { 0 };

	/* Granules are large where there are any. */
	if (granule > 1 || !wh_missing_find(fault->cfg.missing, page, WH_FETCH_PAGES_MAX, &room) ||
	    room.first != page)
		return granule;
	room = wh_ram_clip(fault->cfg.ram, room);
	for (uint32_t i = 0; i < fault->asked_count; i++)
		if (fault->asked[i].page > page && fault->asked[i].page < page + room.count)
			room.count = (uint32_t)(fault->asked[i].page - page);
	return wh_walks_ask(&fault->walks, page, room.count);
}

static void fetch(struct wh_fault *fault, uint64_t page, uint32_t count)
{
	const struct wh_region *region = wh_ram_region(fault->cfg.ram, page);
	const struct wh_record record = {
		.type = WH_RECORD_FETCH,
		.region = fault->cfg.ids->peer[region - fault->cfg.ram->regions],
		.length = WH_SPAN_BYTES,
		.offset = (page - region->first_page) * WH_PAGE_SIZE,
	};
	int r = wh_urgent_span(&fault->urgent, &record, count * WH_PAGE_SIZE);

	if (r < 0)
		fail(fault, r);
}

/* Whether the pages of @run are on their way by RDMA now. */
static bool is_read(struct wh_fault *fault, struct wh_run run)
{
	struct wh_rdma_reads *reads = fault->cfg.reads;

	return reads && reads->ops->ask(reads, run) == 0;
}

static void ask(struct wh_fault *fault, uint64_t page)
{
	const struct wh_run run = { .first = page, .count = pages_to_ask(fault, page) };
	const struct asked asked = { .page = page,
		                     .end = page + run.count,
		                     .count = run.count,
		                     .is_read = is_read(fault, run),
		                     .since_ns = fault->now_ns };

	if (!asked.is_read)
		fetch(fault, page, run.count);
	fault->asked[fault->asked_count++] = asked;
	wh_stat_add(fault->cfg.stats, WH_STAT_FAULTS, 1);
}

static void on_fault(void *context, uint64_t page)
{
	struct wh_fault *fault = context;
	const uint64_t first = granule_of(fault, page);

	if (!wh_missing_has(fault->cfg.missing, page))
		give(fault, page);
	else if (!find_asked(fault, first))
		ask(fault, first);
}

static void on_removed(void *context, uint64_t page, uint64_t count)
{
	struct wh_fault *fault = context;
	const uint64_t unit = unit_of(fault, page);
	const uint64_t start = wh_ram_region(fault->cfg.ram, page)->first_page;
	const uint64_t first = (page - start + unit - 1) / unit,
		       behind = (page - start + count) / unit;

	/* Of a page that is there as one a part is still owed, if not all was given back. */
	if (first < behind)
		wh_missing_forget(fault->cfg.missing, start + first * unit,
		                  (behind - first) * unit);
}

/* Take all events there are; what does not fit into the table waits in the kernel. */
static void take_events(struct wh_fault *fault)
{
	const struct wh_fill_handler handler = { .fault = on_fault,
		                                 .removed = on_removed,
		                                 .context = fault };
	int n = 1;

	/* This ends: there are as many events as threads that can wait, until they are answered. */
	while (n > 0 && fault->asked_count < ASKED_MAX) {
		n = fault->fill->take(fault->fill, &handler, ASKED_MAX - fault->asked_count);
		if (n < 0)
			fail(fault, n);
	}
}

/* --- what the source answers ------------------------------------------------------------------ */

/* The first page that @record is about. Return: 0, or -EPROTO if that does not exist. */
static int page_of(const struct wh_fault *fault, const struct wh_record *record, uint64_t *page)
{
	const struct wh_region *region;
	int32_t local = 0;

	if (record->region < WH_REGIONS_MAX)
		local = fault->cfg.ids->local[record->region];
	if (local == 0)
		return -EPROTO;
	region = &fault->cfg.ram->regions[local - 1];
	if (record->offset >= region->bytes || record->offset % WH_PAGE_SIZE)
		return -EPROTO;
	*page = region->first_page + record->offset / WH_PAGE_SIZE;
	return 0;
}

/* Return: 0 or -errno. */
static int place(struct wh_fault *fault, struct wh_run run, const uint8_t *contents)
{
	int r;

	/* This ends: only we take the events that stand in the way, and take them here. */
	do {
		r = wh_missing_put(fault->cfg.missing, run.first, run.count, contents);
		if (r == -EAGAIN)
			take_events(fault);
	} while (r == -EAGAIN && !wh_fault_error(fault));
	return r;
}

/* The pages of @run have come, which @asked is about. Only its first page is surely waited for. */
static void count_answer(struct wh_fault *fault, struct asked *asked, struct wh_run run)
{
	const uint64_t waited_ns = wh_now_ns(fault->cfg.clock) - asked->since_ns;

	if (run.first + asked->count == asked->end)
		wh_stat_count_fault(fault->cfg.stats, waited_ns);
	asked->page += run.count;
	if (asked->page < asked->end)
		return;
	wh_walks_answered(&fault->walks, asked->count, waited_ns);
	*asked = fault->asked[--fault->asked_count];
}

/* Pages of @run have come, a part of what @asked is about; without contents they are zero. Return: 0 or -errno. */
static int settle(struct wh_fault *fault, struct asked *asked, struct wh_run run,
                  const uint8_t *contents)
{
	const bool owed = wh_missing_has(fault->cfg.missing, run.first);
	int r;

	if (contents)
		r = place(fault, run, contents);
	else
		r = wh_missing_zero(fault->cfg.missing, run.first, run.count);
	if (r < 0)
		return r;
	for (uint32_t i = 0; (!owed || !contents) && i < fault->fill->granule;
	     i += unit_of(fault, run.first))
		give(fault, run.first + i);

	/* More may have been asked for meanwhile, at the end of the table. */
	count_answer(fault, asked, run);
	return 0;
}

/* Take a part of the answer to what was asked for; without contents it is zero. Return: 0 or -errno. */
static int on_answer(struct wh_fault *fault, const struct wh_record *record, uint32_t bytes,
                     const uint8_t *contents)
{
	struct wh_run run = { .count = bytes / WH_PAGE_SIZE };
	struct asked *asked;
	int r = page_of(fault, record, &run.first);

	asked = r == 0 ? find_asked(fault, run.first) : NULL;
	if (!asked || asked->is_read || asked->page != run.first || bytes == 0 ||
	    bytes % (fault->fill->granule * WH_PAGE_SIZE) || run.count > asked->end - asked->page)
		return -EPROTO;
	wh_stat_add(fault->cfg.stats, WH_STAT_FAULT_BYTES, contents ? bytes : 0);
	return settle(fault, asked, run, contents);
}

static int take_answers(struct wh_fault *fault)
{
	struct wh_record record;
	const uint8_t *payload;
	int r = wh_urgent_receive(&fault->urgent);

	if (r < 0)
		return r;
	/* This ends: the buffer is finite. */
	while ((r = wh_urgent_next(&fault->urgent, &record, &payload)) > 0) {
		if (record.type == WH_RECORD_WRITE)
			r = on_answer(fault, &record, record.length, payload);
		else if (record.type == WH_RECORD_ZEROES)
			r = on_answer(fault, &record, wh_span_decode(payload), NULL);
		else if (fault->cfg.reads)
			r = fault->cfg.reads->ops->record(fault->cfg.reads, &record, payload);
		else
			r = -EPROTO;
		if (r < 0)
			return r;
	}
	return r;
}

/* --- what was read by RDMA -------------------------------------------------------------------- */

/* Place what @read has brought: first what is surely waited for. Return: 0 or -errno. */
static int settle_read(struct wh_fault *fault, struct asked *asked, const struct wh_rdma_read *read)
{
	const uint32_t granule = fault->fill->granule;
	struct wh_run run = { .first = read->run.first, .count = granule };
	uint32_t left = read->run.count;
	const uint8_t *at = read->contents;
	int r = 0;

	while (r == 0 && left > 0) {
		bool zero;
		const uint32_t alike = wh_pages_alike(at, left, granule, &zero);

		run.count = left == read->run.count ? granule : alike;
		r = settle(fault, asked, run, zero ? NULL : at);
		run.first += run.count;
		at += (size_t)run.count * WH_PAGE_SIZE;
		left -= run.count;
	}
	return r;
}

static int on_read(struct wh_fault *fault, const struct wh_rdma_read *read)
{
	const uint32_t bytes = read->run.count * WH_PAGE_SIZE;
	struct asked *asked = find_asked(fault, read->run.first);

	wh_assert(asked && asked->is_read && asked->page == read->run.first);
	if (!read->contents) {
		asked->is_read = false;
		fetch(fault, asked->page, asked->count);
		return 0;
	}
	wh_stat_add(fault->cfg.stats, WH_STAT_FAULT_BYTES, bytes);
	wh_stat_add(fault->cfg.stats, WH_STAT_RDMA_READ_BYTES, bytes);
	return settle_read(fault, asked, read);
}

/* Return: 0 or -errno. */
static int take_reads(struct wh_fault *fault)
{
	struct wh_rdma_reads *reads = fault->cfg.reads;
	struct wh_rdma_read read;
	int r = reads->ops->look(reads, &fault->urgent);

	/* This ends: what is asked for meanwhile is not here before the next look, or has failed for good. */
	while (r == 0 && reads->ops->take(reads, &read)) {
		r = on_read(fault, &read);
		if (r == 0)
			r = reads->ops->end(reads, &fault->urgent, &read);
	}
	return r;
}

/* Whether what is read will end a wait, so that there may be one. */
static bool may_wait(struct wh_fault *fault)
{
	struct wh_rdma_reads *reads = fault->cfg.reads;

	return !reads || reads->ops->arm(reads);
}

/* --- a step ----------------------------------------------------------------------------------- */

int wh_fault_step(struct wh_fault *fault, int timeout_ms)
{
	const bool full = fault->asked_count == ASKED_MAX;
	const int wait_ms = may_wait(fault) ? timeout_ms : 0;
	struct pollfd fds[] = {
		{ .fd = fault->urgent.fd, .events = POLLIN },
		{ .fd = full ? -1 : fault->fill->fd, .events = POLLIN },
		{ .fd = fault->cfg.reads ? fault->cfg.reads->fd : -1, .events = POLLIN },
	};
	int r;

	if (poll(fds, 3, wait_ms) < 0)
		return errno == EINTR ? 0 : -errno;
	fault->now_ns = wh_now_ns(fault->cfg.clock);
	if (fds[0].revents) {
		r = take_answers(fault);
		if (r < 0)
			fail(fault, r);
	}
	if (fds[1].revents || fault->fill->fd < 0)
		take_events(fault);
	r = fault->cfg.reads ? take_reads(fault) : 0;
	if (r < 0)
		fail(fault, r);
	r = wh_urgent_flush(&fault->urgent);
	if (r < 0)
		fail(fault, r);
	wh_stat_set(fault->cfg.stats, WH_STAT_LEFT_BYTES,
	            wh_missing_left(fault->cfg.missing) * WH_PAGE_SIZE);
	return wh_fault_error(fault);
}

/* --- the thread ------------------------------------------------------------------------------- */

static void *fault_thread(void *arg)
{
	struct wh_fault *fault = arg;

	wh_urgency_lead();
	/* Ends when it is stopped, or fails. */
	while (!atomic_load(&fault->stop)) {
		int r = wh_fault_step(fault, PATIENCE_MS);

		if (r < 0) {
			fail(fault, r);
			break;
		}
	}
	return NULL;
}

int wh_fault_start(struct wh_fault *fault)
{
	int r;

	wh_urgency_yield();
	r = -pthread_create(&fault->thread, NULL, fault_thread, fault);

	fault->thread_runs = r == 0;
	if (r == 0)
		(void)pthread_setname_np(fault->thread, "wherry-fault"); /* for top(1) */
	return r;
}

/* What was asked for and came by push: those waits are over, too. */
static void count_unanswered(struct wh_fault *fault)
{
	const uint64_t now_ns = wh_now_ns(fault->cfg.clock);

	for (uint32_t i = 0; i < fault->asked_count; i++)
		if (fault->asked[i].page + fault->asked[i].count == fault->asked[i].end &&
		    !wh_missing_has(fault->cfg.missing, fault->asked[i].page))
			wh_stat_count_fault(fault->cfg.stats, now_ns - fault->asked[i].since_ns);
}

struct wh_fault *wh_fault_free(struct wh_fault *fault)
{
	if (!fault)
		return NULL;
	if (fault->thread_runs) {
		atomic_store(&fault->stop, true);
		(void)shutdown(fault->urgent.fd, SHUT_RD); /* ends its poll() at once */
		(void)pthread_join(fault->thread, NULL);
	}
	count_unanswered(fault);
	if (fault->cfg.reads && fault->urgent.in)
		fault->cfg.reads->ops->stop(fault->cfg.reads, &fault->urgent);
	wh_urgent_done(&fault->urgent);
	free(fault);
	return NULL;
}
