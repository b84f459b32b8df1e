/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What the balloon and free page reporting do to tracked memory: the guest's pages vanish.
 *
 * The scan does not see it where the pages were protected, so UFFD_EVENT_REMOVE must tell. It
 * comes for madvise() and holds the caller until it is read, so before the pages vanish. It does
 * not come for fallocate() alone; QEMU calls that first and madvise(MADV_DONTNEED) after it.
 */

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tap.h"
#include "tracked.h"

#define PAGES    64u
#define FIRST    10u /* the range that vanishes */
#define COUNT    4u
#define PAUSE_MS 100 /* long enough for a system call that does not block */
#define WAIT_MS  5000

struct remover {
	struct tracked *t;
	int advice; /* for madvise(), or NO_ADVICE */
	bool punch; /* fallocate() before it */
	_Atomic bool done;
	int result;
};

#define NO_ADVICE (-1)

static void *remove_pages(void *arg)
{
	struct remover *r = arg;

	if (r->punch)
		r->result = fallocate(r->t->file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		                      FIRST * PAGE, COUNT * PAGE);
	if (r->advice != NO_ADVICE)
		r->result |= madvise(r->t->addr + FIRST * PAGE, COUNT * PAGE, r->advice);
	atomic_store(&r->done, true);
	return NULL;
}

/* Write every page and protect them all. */
static void fill(struct tracked *t)
{
	for (uint32_t page = 0; page < PAGES; page++)
		t->addr[page * PAGE] = 'x';
	(void)tracked_scan(t);
}

static char content(const struct tracked *t)
{
	return *(volatile char *)(t->addr + FIRST * PAGE);
}

static bool is_our_range(const struct tracked *t, const struct uffd_msg *msg)
{
	uint64_t start = (uintptr_t)t->addr + FIRST * PAGE;

	return msg->event == UFFD_EVENT_REMOVE && msg->arg.remove.start == start &&
	       msg->arg.remove.end == start + COUNT * PAGE;
}

/* Wait for an event, and hold it back for a while to see that the caller waits. */
static void expect_event(struct remover *r, const char *call)
{
	struct pollfd ready = { .fd = r->t->uffd, .events = POLLIN };
	struct uffd_msg msg = { 0 };
	bool came = poll(&ready, 1, WAIT_MS) == 1;
	bool blocked;
	char before = content(r->t);

	(void)poll(NULL, 0, PAUSE_MS);
	blocked = !atomic_load(&r->done);
	tap_need(!came || read(r->t->uffd, &msg, sizeof(msg)) == sizeof(msg), "read an event");

	tap_ok(is_our_range(r->t, &msg), "%s: the event names exactly the range", call);
	tap_ok(blocked, "%s: the caller waits until the event is read", call);
	if (!r->punch)
		tap_ok(before == 'x', "%s: and its pages are still there until then", call);
}

static void removed_by_advice(struct tracked *t, int advice, bool punch, const char *call)
{
	struct remover r = { .t = t, .advice = advice, .punch = punch };
	pthread_t thread;

	fill(t);
	tap_need(pthread_create(&thread, NULL, remove_pages, &r) == 0, "pthread_create");
	expect_event(&r, call);
	(void)pthread_join(thread, NULL);

	tap_ok(r.result == 0 && content(t) == (advice == MADV_REMOVE || punch ? 0 : 'x'),
	       "%s: afterwards the pages %s", call,
	       advice == MADV_REMOVE || punch ? "read as zeros" : "read as before");
	tap_ok(tracked_scan(t) == 0, "%s: a scan does NOT report protected pages", call);
	t->addr[FIRST * PAGE] = 'y';
	(void)tracked_scan(t);
	tap_ok(tracked_only(t, FIRST, 1), "%s: they stay protected: the next write is seen", call);
}

static void punching_alone_is_silent(struct tracked *t)
{
	struct remover r = { .t = t, .advice = NO_ADVICE, .punch = true };
	struct pollfd ready = { .fd = t->uffd, .events = POLLIN };

	fill(t);
	(void)remove_pages(&r);

	tap_ok(r.result == 0 && content(t) == 0, "PUNCH_HOLE alone: the pages vanish");
	tap_ok(poll(&ready, 1, PAUSE_MS) == 0, "PUNCH_HOLE alone: NO event comes");
	tap_ok(tracked_scan(t) == 0, "PUNCH_HOLE alone: a scan does NOT report protected pages");
}

static void written_pages_stay_reported(struct tracked *t)
{
	struct remover r = { .t = t, .advice = NO_ADVICE, .punch = true };

	fill(t);
	for (uint32_t page = FIRST; page < FIRST + COUNT; page++)
		t->addr[page * PAGE] = 'y';
	(void)remove_pages(&r);

	(void)tracked_scan(t);
	tap_ok(tracked_only(t, FIRST, COUNT), "pages written and then punched are reported");
}

int main(void)
{
	struct tracked t = tracked_memory(PAGES);

	removed_by_advice(&t, MADV_REMOVE, false, "MADV_REMOVE");
	removed_by_advice(&t, MADV_DONTNEED, false, "MADV_DONTNEED");
	removed_by_advice(&t, MADV_DONTNEED, true, "PUNCH_HOLE, then MADV_DONTNEED");
	punching_alone_is_silent(&t);
	written_pages_stay_reported(&t);
	return tap_done();
}
