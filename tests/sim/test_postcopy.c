/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Whole post-copy migrations in one thread: as in test_migration.c, with a guest that runs at the
 * destination before its memory is there, and links that are lost at any moment and resumed. A seed
 * decides everything.
 *
 *	test_postcopy [SEED]	one run, or SEEDS of them
 *
 * At the end the memory at the destination is what the guest wrote, on both sides, and none of its
 * processors waits.
 *
 * Pages that it waits for are fetched, or read by RDMA, which may break at any moment.
 */

#include <errno.h>
#include <inttypes.h>
#include <malloc.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "fake_fill.h"
#include "fake_guest.h"
#include "fake_verbs.h"
#include "loop_ends.h"
#include "serve.h"
#include "session.h"
#include "source.h"
#include "target.h"
#include "transport_loop.h"
#include "transport_ops.h"

#include "wherry/limits.h"

#define SEEDS 300u

/* With RDMA, which costs more: 30 for each thing that may happen to it. */
#define READ_SEEDS 210u

/* A run that has not ended by then goes nowhere. */
#define LONGEST_RUN_NS (600 * WH_NSEC_PER_SEC)

/* Disks that are read with O_DIRECT write memory late: as late as this, in half of the runs. */
#define READ_NS (2 * WH_NSEC_PER_MSEC)

/* Failures of one run, at most; then it is left in peace. */
#define LOSSES_MAX 6u

/* Turns of the threads that serve faults by RDMA, while the link makes one. */
#define TURNS_MAX 12u

const struct wh_transport_ops *const wh_transports[] = { &wh_transport_loop, &wh_transport_rdma,
	                                                 NULL };
const struct wh_transport_ops *const wh_rdma_beside = &wh_transport_loop;

enum rdma {
	NO_RDMA,
	RDMA,
	RDMA_LITTLE_ROOM,
	RDMA_NO_DEVICE,   /* at one side, when reads are to begin */
	RDMA_SOURCE_LOST, /* at some time in post-copy: its device is removed */
	RDMA_TARGET_LOST,
	RDMA_READ_FAILS,
	RDMA_SOURCE_REFUSES, /* to enroll more, from some time on */
	RDMA_KINDS,
};

struct world {
	uint64_t random;
	uint64_t now_ns;
	uint64_t switch_at_ns;
	uint64_t pause_at_ns;
	uint64_t break_at_ns;
	uint32_t losses;  /* so far */
	uint32_t told_no; /* that it cannot be post-copy */
	bool source_runs, target_runs;
	bool disks;
	uint32_t huge_pages; /* small pages of a page of the target's first region */
	bool kept;           /* the target's memory, which is full of junk at first */
	enum rdma rdma;
	struct wh_serve *serve; /* borrowed: of a source in post-copy, where there is RDMA */
	uint64_t strike_at_ns;  /* what @rdma says */
	uint32_t fell_back;     /* ends that have said that nothing is read any more */
	uint64_t read_bytes;    /* by RDMA, by all movers of the target */
	uint64_t have_bytes;    /* of them, that the source knows of */
	struct fake_guest guest;
	struct wh_loop *loop;
	struct wh_loop_world loop_world;

	struct wh_stats source_stats, target_stats;
	struct wh_ram target_ram;
	int target_fds[FAKE_REGIONS];
	struct fake_fill fill;
	int missing_fd;
	struct wh_missing missing;
	struct wh_target target;
	int target_result;
};

/* The clock has no context of its own, and there is one world at a time. */
static struct world *the_world;

static uint64_t fake_now(const struct wh_clock *clock)
{
	(void)clock;
	return the_world->now_ns;
}

static const struct wh_clock fake_clock = { .now_ns = fake_now };

static uint32_t pick(struct world *w, uint32_t sides)
{
	w->random = w->random * UINT64_C(6364136223846793005) + 1442695040888963407u;
	return (uint32_t)(w->random >> 40) % sides;
}

/* --- the guest at the destination ------------------------------------------------------------- */

/* What page @page, numbered as at the destination, must hold. */
static uint8_t *shadow_of(struct world *w, uint64_t page)
{
	const struct wh_region *region = wh_ram_region(&w->target_ram, page);

	for (uint16_t i = 0; i < FAKE_REGIONS; i++)
		if (!strcmp(w->guest.ram.regions[i].name, region->name))
			return w->guest.shadow +
			       (w->guest.ram.regions[i].first_page + page - region->first_page) *
			               WH_PAGE_SIZE;
	fail();
	return NULL;
}

static void read_page(struct world *w, uint64_t page)
{
	const struct wh_region *region = wh_ram_region(&w->target_ram, page);
	uint8_t contents[WH_PAGE_SIZE];

	assert_int_equal(pread(region->fd, contents, sizeof(contents),
	                       (off_t)((page - region->first_page) * WH_PAGE_SIZE)),
	                 sizeof(contents));
	assert_memory_equal(contents, shadow_of(w, page), sizeof(contents));
}

static void write_page(struct world *w, uint64_t page)
{
	const struct wh_region *region = wh_ram_region(&w->target_ram, page);
	uint8_t *shadow = shadow_of(w, page);

	memset(shadow, (int)pick(w, 256), WH_PAGE_SIZE);
	assert_int_equal(pwrite(region->fd, shadow, WH_PAGE_SIZE,
	                        (off_t)((page - region->first_page) * WH_PAGE_SIZE)),
	                 WH_PAGE_SIZE);
}

/* One of its processors does something, unless it waits. */
static void late_act(struct world *w)
{
	const uint32_t vcpu = pick(w, FAKE_VCPUS);
	const uint64_t page = pick(w, (uint32_t)w->target_ram.pages);

	if (w->fill.vcpus[vcpu].waits || w->fill.busy)
		return;
	if (pick(w, 16) == 0 && wh_ram_region(&w->target_ram, page)->page_bytes == WH_PAGE_SIZE) {
		fake_fill_remove(&w->fill, page);
		memset(shadow_of(w, page), 0, WH_PAGE_SIZE);
	} else if (fake_fill_touch(&w->fill, vcpu, page)) {
		read_page(w, page);
		if (pick(w, 4) == 0)
			write_page(w, page);
	}
}

/* --- time ------------------------------------------------------------------------------------- */

static void step_target(struct world *w)
{
	if (w->target_result < 0 || w->target_result == WH_TARGET_CLOSED)
		return;
	w->target_result = wh_target_step(&w->target, 0, NULL);
	/* What its thread would do. The link breaks, the urgent connection does not. */
	if (w->target.fault && w->target_result >= 0)
		assert_int_equal(wh_fault_step(w->target.fault, 0), 0);
}

/* Have happen to RDMA what is to, while pages are read by it. */
static void strike(struct world *w)
{
	struct wh_verbs *source = fake_verbs_newest(false), *target = fake_verbs_newest(true);

	if (w->now_ns < w->strike_at_ns || !w->target_runs || !w->target.reads || !source ||
	    !target)
		return;
	w->strike_at_ns = UINT64_MAX;
	if (w->rdma == RDMA_SOURCE_LOST)
		fake_verbs_remove(source, -ENODEV);
	else if (w->rdma == RDMA_TARGET_LOST)
		fake_verbs_remove(target, -ENODEV);
	else if (w->rdma == RDMA_READ_FAILS)
		fake_verbs_fail(target, 0, -EIO);
	else if (w->rdma == RDMA_SOURCE_REFUSES)
		fake_verbs_limit_enrolled(source, 0, -ENOMEM);
}

/* The threads that serve faults, which do not wait for the link. */
static void serve_faults(struct world *w)
{
	for (uint32_t turns = pick(w, TURNS_MAX); turns > 0; turns--) {
		if (w->target_runs)
			late_act(w);
		assert_int_equal(wh_serve_step(w->serve, 0), 0);
		assert_int_equal(wh_fault_step(w->target.fault, 0), 0);
	}
}

static void on_carries(void *context, enum wh_transport_kind kind, const char *why)
{
	struct world *w = context;

	if (kind == WH_TRANSPORT_TCP && strstr(why, "post-copy"))
		w->fell_back += strstr(why, "by RDMA: ") != NULL;
}

static void step(void *context, uint64_t passed_ns)
{
	struct world *w = context;

	w->now_ns += passed_ns;
	assert_true(w->now_ns < LONGEST_RUN_NS);
	if (w->now_ns >= w->break_at_ns)
		wh_loop_break(w->loop, -ECONNRESET);
	if (w->source_runs)
		fake_guest_land(&w->guest, w->now_ns);
	if (w->source_runs && pick(w, 8) == 0)
		fake_guest_act(&w->guest);
	if (w->source_runs && w->disks && pick(w, 8) == 0)
		fake_guest_read(&w->guest, w->now_ns, READ_NS, true);
	if (w->target_runs)
		late_act(w);
	if (w->rdma != NO_RDMA)
		strike(w);
	if (w->serve && w->target.fault && w->target_result >= 0)
		serve_faults(w);
	step_target(w);
}

/* --- the daemons' part ------------------------------------------------------------------------ */

static int track(struct wh_source *source, struct wh_error *err)
{
	struct world *w = source->context;

	(void)err;
	for (uint32_t i = 0; w->disks && i < FAKE_READS; i++)
		fake_guest_read(&w->guest, w->now_ns, READ_NS, false);
	source->dirty = w->guest.dirty;
	return 0;
}

static int converged(struct wh_source *source, struct wh_error *err)
{
	struct world *w = source->context;

	(void)err;
	assert_true(w->source_runs);
	return 0;
}

static int stop_guest(struct wh_source *source, struct wh_error *err)
{
	struct world *w = source->context;

	(void)err;
	/* The guest does not stand still for what the target does about the pages it was named so far. */
	if (source->mode == WH_SWITCH_POSTCOPY)
		assert_true(w->target.round > wh_stat_get(&w->source_stats, WH_STAT_ROUND));
	step(w, WH_NSEC_PER_MSEC); /* the hypervisor takes a moment */
	fake_guest_finish(&w->guest);
	w->source_runs = false;
	return 0;
}

static int switch_mode(struct wh_source *source)
{
	struct world *w = source->context;

	if (w->now_ns >= w->pause_at_ns)
		return WH_SWITCH_PAUSE;
	return w->now_ns >= w->switch_at_ns ? WH_SWITCH_POSTCOPY : WH_SWITCH_NONE;
}

static void no_postcopy(struct wh_source *source)
{
	struct world *w = source->context;

	w->told_no++;
}

static int switched(struct wh_source *source, struct wh_error *err)
{
	struct world *w = source->context;

	(void)err;
	w->target_runs = true;
	w->strike_at_ns = w->now_ns + pick(w, 1000) * UINT64_C(1000);
	if (w->losses < LOSSES_MAX && pick(w, 3))
		w->break_at_ns = w->now_ns + pick(w, 3000) * UINT64_C(1000);
	return 0;
}

static void serve_by(void *context, struct wh_serve *serve)
{
	struct world *w = context;

	assert_int_equal(wh_serve_step(serve, 0), 0);
	if (w->rdma != NO_RDMA)
		w->serve = serve;
}

static int attach(struct wh_target *target, struct wh_fill **fill, struct wh_error *err)
{
	struct world *w = target->context;

	(void)err;
	if (target->resume)
		w->fill.fill.wake(&w->fill.fill, 0, w->target_ram.pages);
	else
		fake_fill_init(&w->fill, &w->target_ram);
	if (!target->resume && w->kept)
		fake_fill_keep(&w->fill, &w->missing);
	*fill = &w->fill.fill;
	return 0;
}

static int detach(struct wh_target *target, struct wh_error *err)
{
	struct world *w = target->context;

	(void)target;
	(void)err;
	fake_fill_release(&w->fill);
	w->target_runs = false;
	return 0;
}

/* --- links ------------------------------------------------------------------------------------ */

static void open_world(struct world *w)
{
	/* The first link may get as far as post-copy; those that resume have less to do. */
	const bool breaks = w->losses < LOSSES_MAX && pick(w, 3);
	const uint32_t landings = w->losses ? 60 : 900;
	const uint32_t ms = w->losses ? 4 : 30;
	const int room = 1 << 20; /* bytes: one thread writes and reads */

	w->loop_world = (struct wh_loop_world){
		.name = "sim",
		.clock = &fake_clock,
		.seed = w->random,
		.reset_after = breaks && pick(w, 2) ? 1 + pick(w, landings) : 0,
		.step = step,
		.context = w,
	};
	w->break_at_ns = breaks && !w->loop_world.reset_after
	                         ? w->now_ns + pick(w, ms) * WH_NSEC_PER_MSEC
	                         : UINT64_MAX;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, w->loop_world.urgent),
	                 0);
	assert_int_equal(
		setsockopt(w->loop_world.urgent[0], SOL_SOCKET, SO_SNDBUF, &room, sizeof(room)), 0);
	assert_int_equal(
		setsockopt(w->loop_world.urgent[1], SOL_SOCKET, SO_SNDBUF, &room, sizeof(room)), 0);
	w->loop = wh_loop_new(&w->loop_world);
}

static void close_world(struct world *w)
{
	wh_target_done(&w->target);
	w->target.link = wh_transport_close(w->target.link);
	w->loop = wh_loop_free(w->loop);
	(void)close(w->loop_world.urgent[0]);
	(void)close(w->loop_world.urgent[1]);
	wh_missing_close(&w->missing);
}

static struct wh_transport *open_end(struct world *w, bool passive)
{
	const struct wh_rdma_options options =
		small_rdma_options(1 + pick(w, 2), w->rdma == RDMA_LITTLE_ROOM);
	struct wh_transport *link;

	if (w->rdma == NO_RDMA)
		return open_loop_end(passive);
	fake_verbs_refuse_open(0);
	link = open_rdma_end(passive, &options, on_carries, w);
	/* What opens next is the source's for writes, or what reads at either side. */
	if (w->rdma == RDMA_NO_DEVICE && !passive)
		fake_verbs_refuse_open(-ENODEV);
	return link;
}

/* One pair of movers. Return: what the source says; @postcopy: whether it became that. */
static int run_movers(struct world *w, bool resume, bool *postcopy)
{
	static const uint8_t secret[WH_CHANGED_SECRET_BYTES] = "of one migration";
	wh_cleanup(wh_copies_freep) struct wh_copies *copies =
		w->guest.huge ? wh_copies_new(&w->guest.ram, secret) : NULL;
	struct wh_transport *link;
	struct wh_source source = {
		.ram = &w->guest.ram,
		.clock = &fake_clock,
		.stats = &w->source_stats,
		.copies = copies,
		.downtime_target_ns = 1,
		.echo_ns = w->disks ? READ_NS : 0,
		.track = track,
		.converged = converged,
		.stop_guest = stop_guest,
		.switch_mode = switch_mode,
		.no_postcopy = no_postcopy,
		.switched = switched,
		.serve_by = serve_by,
		.context = w,
		.resume = resume,
	};
	int r;

	memset(&w->source_stats, 0, sizeof(w->source_stats));
	memset(&w->target_stats, 0, sizeof(w->target_stats));
	open_world(w);
	assert_int_equal(wh_missing_open(&w->missing, w->missing_fd, w->target_ram.pages, NULL), 0);
	w->target_result = 0;
	w->target = (struct wh_target){
		.ram = &w->target_ram,
		.link = open_end(w, true),
		.clock = &fake_clock,
		.stats = &w->target_stats,
		.missing = &w->missing,
		.resume = resume,
		.attach = attach,
		.detach = detach,
		.context = w,
		.fault_by_hand = true,
	};
	source.link = link = open_end(w, false);
	lend_to_loop(link, &w->guest.ram);
	r = wh_source_run(&source, NULL);
	w->serve = NULL;
	w->read_bytes += wh_stat_get(&w->target_stats, WH_STAT_RDMA_READ_BYTES);
	w->have_bytes += wh_stat_get(&w->source_stats, WH_STAT_RDMA_READ_BYTES);
	*postcopy = source.became_postcopy;
	(void)wh_transport_close(link);
	close_world(w);
	return r;
}

static void set_up(struct world *w, uint64_t seed, enum rdma rdma)
{
	static const char junk[WH_PAGE_SIZE] = "junk";
	uint64_t pages;

	fake_verbs_set_seed(rdma == NO_RDMA ? 0 : seed);
	*w = (struct world){ .random = seed * 2654435761u,
		             .rdma = rdma,
		             .source_runs = true,
		             .pause_at_ns = UINT64_MAX,
		             .huge_pages = 1 };
	pages = 16 + pick(w, rdma == NO_RDMA ? 600 : 2000);
	if (pick(w, 4) == 0)
		w->huge_pages = 2; /* few enough for answers that nobody reads any more */
	pages -= pages % w->huge_pages;
	if (pages * WH_PAGE_SIZE == WH_HUGE_BYTES_MAX)
		pages -= w->huge_pages; /* so that this is never a granule */
	w->switch_at_ns = pick(w, 12) * WH_NSEC_PER_MSEC;
	w->kept = pick(w, 3) == 0;
	w->disks = pick(w, 2) == 0;
	fake_guest_init(&w->guest, pages, seed);
	for (uint16_t i = 0; i < FAKE_REGIONS; i++) {
		/* Another order than the source's. */
		const struct wh_region *like = &w->guest.ram.regions[FAKE_REGIONS - 1 - i];
		int fd = fake_ram_file(pages);

		w->target_fds[FAKE_REGIONS - 1 - i] = fd;
		for (off_t page = 0; w->kept && page < (off_t)(like->bytes / WH_PAGE_SIZE); page++)
			assert_int_equal(pwrite(fd, junk, sizeof(junk), page * WH_PAGE_SIZE),
			                 sizeof(junk));
		assert_int_equal(wh_ram_add(&w->target_ram, like->name, like->bytes, fd, NULL), 0);
	}
	w->target_ram.regions[0].page_bytes = w->huge_pages * WH_PAGE_SIZE;
	w->missing_fd = memfd_create("missing", MFD_CLOEXEC);
	assert_int_equal(ftruncate(w->missing_fd, (off_t)wh_missing_file_bytes(w->target_ram.pages *
	                                                                       WH_PAGE_SIZE)),
	                 0);
}

static void tear_down(struct world *w)
{
	fake_fill_done(&w->fill);
	for (uint16_t i = 0; i < FAKE_REGIONS; i++)
		(void)close(w->target_fds[i]);
	(void)close(w->missing_fd);
	fake_guest_done(&w->guest);
}

struct outcome {
	uint32_t moved, postcopies, losses;
	uint64_t touches;
	uint32_t read_in, fell_back; /* runs */
	uint64_t read_bytes;
};

/* What is to be true of the reads of a run that moved the guest. */
static void check_reads(const struct world *w, struct outcome *sum)
{
	const bool nothing_strikes = w->rdma == RDMA || w->rdma == RDMA_LITTLE_ROOM ||
	                             w->rdma == RDMA_SOURCE_REFUSES;

	assert_true(w->have_bytes <= w->read_bytes);
	if (w->losses == 0)
		assert_int_equal(w->have_bytes, w->read_bytes);
	if (w->losses == 0 && nothing_strikes)
		assert_int_equal(w->fell_back, 0);
	if (w->rdma == NO_RDMA || w->rdma == RDMA_NO_DEVICE)
		assert_int_equal(w->read_bytes, 0);
	sum->read_in += w->read_bytes > 0;
	sum->fell_back += w->fell_back > 0;
	sum->read_bytes += w->read_bytes;
}

static void run_world(uint64_t seed, enum rdma rdma, struct outcome *sum)
{
	static struct world w;
	bool postcopy, again;
	int r;

	the_world = &w;
	set_up(&w, seed, rdma);
	r = run_movers(&w, false, &postcopy);
	if (r < 0 && !postcopy) {
		/* The guest goes on where it was. */
		assert_true(fake_guest_is_intact(&w.guest, w.guest.fds));
		tear_down(&w);
		return;
	}
	while (r < 0) {
		w.losses++;
		sum->losses++;
		r = run_movers(&w, true, &again);
	}
	/* Nothing waits, and nothing is lost: neither what came nor what the guest wrote there. */
	for (uint32_t i = 0; i < FAKE_VCPUS; i++)
		assert_false(w.fill.vcpus[i].waits);
	assert_true(fake_guest_is_intact(&w.guest, w.target_fds));
	check_reads(&w, sum);
	sum->moved++;
	sum->postcopies += postcopy;
	sum->touches += w.fill.touches;
	tear_down(&w);
}

/* Huge pages of hugetlbfs and others, no multiple of them, as far as the target knows. */
static void where_post_copy_cannot_be_the_guest_moves_without(void **state)
{
	static struct world w;
	bool postcopy;

	(void)state;
	the_world = &w;
	for (uint64_t seed = 1; seed <= 50; seed++) {
		set_up(&w, seed, NO_RDMA);
		w.switch_at_ns = 0;
		w.losses = LOSSES_MAX; /* there is nothing to resume */
		w.pause_at_ns = 20 * WH_NSEC_PER_MSEC;
		w.target_ram.regions[0].page_bytes = WH_HUGE_BYTES_MAX;
		assert_int_equal(run_movers(&w, false, &postcopy), 0);
		assert_false(postcopy);
		assert_int_equal(w.told_no, 1);
		assert_true(fake_guest_is_intact(&w.guest, w.target_fds));
		tear_down(&w);
	}
}

/* An assertion anywhere ends in one of these: say which seed repeats it. */
static uint64_t running_seed;

static void print_seed(void)
{
	/* After an abort there is nothing to lose. NOLINTNEXTLINE(bugprone-signal-handler) */
	(void)fprintf(stderr, "this run is repeated by: test_postcopy %" PRIu64 "\n", running_seed);
}

static void on_abort(int sig)
{
	(void)sig;
	print_seed();
}

static int seed_teardown(void **state)
{
	(void)state;
	if (running_seed)
		print_seed();
	return 0;
}

static void every_seed_brings_all_memory_behind_the_guest(void **state)
{
	const uint64_t *only = *state;
	struct outcome sum = { 0 };

	if (only) {
		running_seed = *only;
		for (int rdma = NO_RDMA; rdma < RDMA_KINDS; rdma++)
			run_world(*only, (enum rdma)rdma, &sum);
		running_seed = 0;
		return;
	}
	for (running_seed = 1; running_seed <= SEEDS; running_seed++)
		run_world(running_seed, NO_RDMA, &sum);
	running_seed = 0;
	print_message("# %u of %u runs moved the guest, %u in post-copy, which lost its link %u "
	              "times; it used %ju pages there meanwhile\n",
	              sum.moved, SEEDS, sum.postcopies, sum.losses, (uintmax_t)sum.touches);

	/* All of it must have been tried, for this test to mean anything. */
	assert_in_range(sum.postcopies, SEEDS / 4, SEEDS);
	assert_in_range(sum.losses, SEEDS / 4, SEEDS * LOSSES_MAX);
	assert_in_range(sum.touches, SEEDS, UINT32_MAX);
}

static void reads_may_break_at_any_moment(void **state)
{
	struct outcome sum = { 0 };

	(void)state;
	for (running_seed = 1; running_seed <= READ_SEEDS; running_seed++)
		run_world(running_seed, (enum rdma)(1 + running_seed % (RDMA_KINDS - 1)), &sum);
	running_seed = 0;
	print_message(
		"# %u of %u runs moved the guest, %u in post-copy, %u read pages by RDMA, %ju "
		"in all; in %u that broke\n",
		sum.moved, READ_SEEDS, sum.postcopies, sum.read_in,
		(uintmax_t)(sum.read_bytes / WH_PAGE_SIZE), sum.fell_back);

	/* All of it must have been tried, for this test to mean anything. */
	assert_in_range(sum.read_in, READ_SEEDS / 5, READ_SEEDS);
	assert_in_range(sum.fell_back, READ_SEEDS / 8, READ_SEEDS);
	assert_in_range(sum.read_bytes, (uint64_t)READ_SEEDS * WH_PAGE_SIZE, UINT64_MAX);
}

int main(int argc, char **argv)
{
	static uint64_t seed;
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_prestate_setup_teardown(
			every_seed_brings_all_memory_behind_the_guest, NULL, seed_teardown,
			argc > 1 ? &seed : NULL),
		cmocka_unit_test_teardown(reads_may_break_at_any_moment, seed_teardown),
		cmocka_unit_test(where_post_copy_cannot_be_the_guest_moves_without),
	};

	/* Links come and go, and each has a large buffer: the kernel need not see that. */
	(void)mallopt(M_MMAP_THRESHOLD, 32 << 20);
	(void)mallopt(M_TRIM_THRESHOLD, 256 << 20);
	if (argc > 1)
		seed = strtoull(argv[1], NULL, 10);
	(void)signal(SIGABRT, on_abort);
	return cmocka_run_group_tests_name("postcopy", tests, NULL, NULL);
}
