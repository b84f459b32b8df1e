/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Whole migrations in one thread: the real source and target, the loop transport, a fake clock
 * and a guest that never stops writing. A seed decides everything, faults included.
 *
 *	test_migration [SEED]	one run, or SEEDS of them
 *
 * Then again with disks that write memory late, after it was reported as written; and with RDMA
 * beside the link, which breaks, is late, is refused, or has room for little.
 *
 * After each run: the guest runs on exactly one side, its memory there is what it wrote, and the
 * states were left only by legal moves. A run that fails prints its seed.
 */

#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "fake_guest.h"
#include "fake_verbs.h"
#include "loop_ends.h"
#include "rdma_link.h"
#include "session.h"
#include "source.h"
#include "target.h"
#include "transport_loop.h"
#include "transport_ops.h"

#include "wherry/limits.h"

#define SEEDS 400u

/* A run that has not ended by then goes nowhere. */
#define LONGEST_RUN_NS (600 * WH_NSEC_PER_SEC)

/* What the guest does in each millisecond: 0 to so many pages, by seed. */
#define ACTIONS_MAX 10u

/* The same if it reads disks as well: what it wrote within a read's time must fit into the last pass. */
#define ACTIONS_READING_MAX 4u

/* So long a read takes at most, by seed; and less than a millisecond at least. */
#define READ_MS_MAX 6u

const struct wh_transport_ops *const wh_transports[] = { &wh_transport_loop, &wh_transport_rdma,
	                                                 NULL };
const struct wh_transport_ops *const wh_rdma_beside = &wh_transport_loop;

enum fault {
	NO_FAULT,
	LINK_RESET,  /* at some landing */
	TARGET_FULL, /* at some landing */
	MOVER_DIES,  /* at some time */
	FAULTS,
};

enum disks {
	NO_DISKS,
	DISKS,        /* read with O_DIRECT, and the source knows */
	UNTOLD_DISKS, /* the source does not: pages will be stale */
};

enum rdma {
	NO_RDMA,
	RDMA,
	RDMA_LITTLE_ROOM,
	RDMA_NO_DEVICE,
	RDMA_SOURCE_LOST, /* at some time: its device is removed */
	RDMA_TARGET_LOST,
	RDMA_PAIR_FAILS,
	RDMA_SOURCE_REFUSES, /* to enroll more, from some chunk on */
	RDMA_TARGET_REFUSES,
	RDMA_KINDS,
};

/* What a side with RDMA forgets to do: pages will be stale. */
enum lapse {
	NO_LAPSE,
	NO_DISCARDS,    /* the source does not say what was given back */
	TARGET_PUNCHES, /* whatever its device has */
};

struct world {
	uint64_t seed;
	enum disks disks;
	uint64_t read_ns;     /* no read takes as long */
	uint64_t reads;       /* begun, tracked or not */
	uint32_t more_rounds; /* before the guest is stopped */
	uint64_t now_ns;
	uint64_t die_at_ns;
	uint32_t actions;   /* of the guest, for each millisecond */
	uint64_t action_ns; /* time the guest has not used yet, times @actions */
	bool source_runs;   /* the guest does, there */
	enum rdma rdma;
	uint64_t strike_at_ns; /* what @rdma says */
	enum lapse lapse;
	struct wh_rdma_link *source_rdma, *target_rdma; /* borrowed */
	uint64_t rdma_bytes;
	uint32_t fell_back, came_up; /* ends */
	bool stale;                  /* it moved, and its memory is not what it wrote */
	struct fake_guest guest;
	struct wh_loop *loop;

	struct wh_stats source_stats, target_stats;
	enum wh_session_state source_seen, target_seen;
	struct wh_ram target_ram;
	int target_fds[FAKE_REGIONS];
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

/* The states a side may have passed through since it was last looked at. */
static bool reachable(enum wh_session_state from, enum wh_session_state to)
{
	if (from == to || wh_session_may_move(from, to))
		return true;
	for (int via = 0; via < WH_SESSION_STATES; via++)
		if (wh_session_may_move(from, (enum wh_session_state)via) &&
		    wh_session_may_move((enum wh_session_state)via, to))
			return true;
	return false;
}

static void check_moves(const struct wh_stats *stats, enum wh_session_state *seen)
{
	enum wh_session_state now = (enum wh_session_state)wh_stat_get(stats, WH_STAT_STATE);

	assert_true(reachable(*seen, now));
	*seen = now;
}

static void begin_read(struct world *w, bool tracked)
{
	fake_guest_read(&w->guest, w->now_ns, w->read_ns, tracked);
	w->reads++;
}

/* Have happen to RDMA what is to. */
static void strike(struct world *w)
{
	struct wh_verbs *source = w->source_rdma->verbs, *target = w->target_rdma->verbs;

	if (w->now_ns < w->strike_at_ns || w->source_rdma->state != WH_RDMA_UP)
		return;
	w->strike_at_ns = UINT64_MAX;
	if (w->rdma == RDMA_SOURCE_LOST)
		fake_verbs_remove(source, -ENODEV);
	else if (w->rdma == RDMA_TARGET_LOST && w->target_rdma->state == WH_RDMA_UP)
		fake_verbs_remove(target, -ENODEV);
	else if (w->rdma == RDMA_PAIR_FAILS)
		fake_verbs_fail(source, (uint32_t)(w->seed % w->source_rdma->options.pairs),
		                -ETIMEDOUT);
	else if (w->rdma == RDMA_SOURCE_REFUSES)
		fake_verbs_limit_enrolled(source, 0, -ENOMEM);
	else if (w->rdma == RDMA_TARGET_REFUSES && w->target_rdma->state == WH_RDMA_UP)
		fake_verbs_limit_enrolled(target, 0, -ENOMEM);
}

static void on_punching(void *context, const void *addr)
{
	const struct world *w = context;

	if (w->source_rdma && w->source_rdma->verbs)
		fake_verbs_detach(w->source_rdma->verbs, addr);
}

static void on_carries(void *context, enum wh_transport_kind kind, const char *why)
{
	struct world *w = context;

	assert_true((kind == WH_TRANSPORT_TCP) == (*why != '\0'));
	if (kind == WH_TRANSPORT_RDMA)
		w->came_up++;
	else
		w->fell_back++;
}

/* Time passes: the guest writes, the target takes what came. */
static void step(void *context, uint64_t passed_ns)
{
	struct world *w = context;

	w->now_ns += passed_ns;
	assert_true(w->now_ns < LONGEST_RUN_NS);
	if (w->now_ns >= w->die_at_ns)
		wh_loop_break(w->loop, -ECONNRESET);
	if (w->rdma != NO_RDMA)
		strike(w);
	w->action_ns += passed_ns * w->actions;
	if (w->source_runs)
		fake_guest_land(&w->guest, w->now_ns);
	for (; w->source_runs && w->action_ns >= WH_NSEC_PER_MSEC;
	     w->action_ns -= WH_NSEC_PER_MSEC) {
		fake_guest_act(&w->guest);
		if (w->disks != NO_DISKS)
			begin_read(w, true);
	}
	if (w->target_result >= 0 && w->target_result != WH_TARGET_CLOSED)
		w->target_result = wh_target_step(&w->target, 0, NULL);
	check_moves(&w->source_stats, &w->source_seen);
	check_moves(&w->target_stats, &w->target_seen);
}

static int track(struct wh_source *source, struct wh_error *err)
{
	struct world *w = source->context;

	(void)err;
	/* Of what is being read already, nothing is ever reported. */
	for (uint32_t i = 0; w->disks != NO_DISKS && i < FAKE_READS; i++)
		begin_read(w, false);
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
	assert_true(w->source_runs);
	step(w, WH_NSEC_PER_MSEC); /* the hypervisor takes a moment */
	if (w->more_rounds > 0) {
		w->more_rounds--;
		return WH_SOURCE_AGAIN;
	}
	fake_guest_finish(&w->guest);
	w->source_runs = false;
	return 0;
}

static void set_up_target(struct world *w, uint64_t pages)
{
	for (uint16_t i = 0; i < FAKE_REGIONS; i++) {
		const struct wh_region *like = &w->guest.ram.regions[FAKE_REGIONS - 1 - i];

		/* Another order than the source's, and junk in it: neither may matter. */
		w->target_fds[FAKE_REGIONS - 1 - i] = fake_ram_file(pages);
		assert_int_equal(pwrite(w->target_fds[FAKE_REGIONS - 1 - i], "junk", 4, 4096), 4);
		assert_int_equal(wh_ram_add(&w->target_ram, like->name, like->bytes,
		                            w->target_fds[FAKE_REGIONS - 1 - i], NULL),
		                 0);
	}
	w->target = (struct wh_target){ .ram = &w->target_ram,
		                        .clock = &fake_clock,
		                        .stats = &w->target_stats };
}

static struct wh_transport *open_end(struct world *w, bool passive)
{
	static struct wh_transport_ops lapsing;
	const struct wh_rdma_options options =
		small_rdma_options(1 + (uint32_t)(w->seed % 4), w->rdma == RDMA_LITTLE_ROOM);
	struct wh_transport *link;

	if (w->rdma == NO_RDMA)
		return open_loop_end(passive);
	/* Only one of the two has none. */
	fake_verbs_refuse_open(w->rdma == RDMA_NO_DEVICE && passive == (w->seed % 2 > 0) ? -ENODEV
	                                                                                 : 0);
	link = open_rdma_end(passive, &options, on_carries, w);
	*(passive ? &w->target_rdma : &w->source_rdma) = (struct wh_rdma_link *)link;
	if (w->lapse == (passive ? TARGET_PUNCHES : NO_DISCARDS)) {
		lapsing = wh_transport_rdma;
		lapsing.pins = passive ? NULL : lapsing.pins;
		lapsing.discard = passive ? lapsing.discard : NULL;
		link->ops = &lapsing;
	}
	return link;
}

static int run_source(struct world *w)
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
		.downtime_target_ns = w->disks == NO_DISKS ? WH_NSEC_PER_MSEC
		                                           : 10 * WH_NSEC_PER_MSEC,
		.echo_ns = w->disks == DISKS ? w->read_ns : 0,
		.track = track,
		.converged = converged,
		.stop_guest = stop_guest,
		.context = w,
	};
	int r;

	w->target.link = open_end(w, true);
	source.link = link = open_end(w, false);
	lend_to_loop(link, &w->guest.ram);
	r = wh_source_run(&source, NULL);
	w->rdma_bytes = wh_transport_sent(link).rdma_bytes;
	w->source_rdma = NULL;
	(void)wh_transport_close(link);
	return r;
}

/* What the daemons make of it: the guest runs on there only if both sides say LANDED. */
static void check_outcome(struct world *w, int result)
{
	bool landed = wh_stat_get(&w->target_stats, WH_STAT_STATE) == WH_SESSION_LANDED;

	if (result == 0) {
		assert_true(landed);
		assert_false(w->source_runs);
		if (w->disks == UNTOLD_DISKS || w->lapse != NO_LAPSE)
			w->stale = !fake_guest_is_intact(&w->guest, w->target_fds);
		else
			assert_true(fake_guest_is_intact(&w->guest, w->target_fds));
		if (w->target_result != WH_TARGET_CLOSED)
			assert_int_equal(wh_target_step(&w->target, 0, NULL), WH_TARGET_CLOSED);
		return;
	}
	/* It failed: the guest goes on at the source, whose memory is as it wrote it. */
	w->source_runs = true;
	assert_true(fake_guest_is_intact(&w->guest, w->guest.fds));
}

static uint32_t pick(uint64_t *random, uint32_t sides)
{
	*random = *random * UINT64_C(6364136223846793005) + 1442695040888963407u;
	return (uint32_t)(*random >> 40) % sides;
}

/* Return: whether the memory moved. */
static bool run_kind(uint64_t seed, enum disks disks, enum rdma rdma, enum lapse lapse)
{
	static struct world w;
	uint64_t random = seed * 2654435761u;
	enum fault fault = disks == UNTOLD_DISKS || lapse != NO_LAPSE ? NO_FAULT
	                                                              : (enum fault)(seed % FAULTS);
	uint64_t pages = 16 + pick(&random, 600);
	const struct wh_loop_world world = {
		.name = "sim",
		.clock = &fake_clock,
		.seed = seed,
		.reset_after = fault == LINK_RESET ? 1 + pick(&random, 1000) : 0,
		.full_after = fault == TARGET_FULL ? 1 + pick(&random, 1000) : 0,
		.urgent = { -1, -1 },
		.step = step,
		.context = &w,
	};
	int r;

	w = (struct world){ .seed = seed, .disks = disks, .source_runs = true, .rdma = rdma };
	w.actions = pick(&random, 1 + (disks == NO_DISKS ? ACTIONS_MAX : ACTIONS_READING_MAX));
	w.read_ns = (1 + pick(&random, READ_MS_MAX * 1000)) * UINT64_C(1000);
	w.more_rounds = pick(&random, 3);
	w.die_at_ns = fault == MOVER_DIES ? pick(&random, 40) * WH_NSEC_PER_MSEC : UINT64_MAX;
	the_world = &w;
	w.strike_at_ns = pick(&random, 8000) * UINT64_C(1000);
	w.lapse = lapse;
	fake_verbs_set_seed(seed);
	fake_guest_init(&w.guest, pages, seed);
	w.guest.punching = on_punching;
	w.guest.context = &w;
	set_up_target(&w, pages);
	w.loop = wh_loop_new(&world);

	r = run_source(&w);
	check_outcome(&w, r);
	if (fault == NO_FAULT)
		assert_int_equal(r, 0);

	w.target.link = wh_transport_close(w.target.link);
	w.loop = wh_loop_free(w.loop);
	for (uint16_t i = 0; i < FAKE_REGIONS; i++)
		(void)close(w.target_fds[i]);
	fake_guest_done(&w.guest);
	return r == 0;
}

static bool run_world(uint64_t seed, enum disks disks, enum rdma rdma)
{
	return run_kind(seed, disks, rdma, NO_LAPSE);
}

/* An assertion anywhere ends in one of these: say which seed repeats it. */
static uint64_t running_seed;

static void print_seed(void)
{
	/* After an abort there is nothing to lose. NOLINTNEXTLINE(bugprone-signal-handler) */
	(void)fprintf(stderr, "this run is repeated by: test_migration %" PRIu64 "\n",
	              running_seed);
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

static void every_seed_leaves_the_guest_intact_on_one_side(void **state)
{
	const uint64_t *only = *state;
	uint32_t moved = 0, rounds = 0;
	uint64_t unchanged_bytes = 0;
	uint64_t delta_bytes = 0;

	if (only) {
		running_seed = *only;
		(void)run_world(*only, NO_DISKS, NO_RDMA);
		(void)run_world(*only, DISKS, NO_RDMA);
		for (int rdma = RDMA; rdma < RDMA_KINDS; rdma++)
			(void)run_world(*only, NO_DISKS, (enum rdma)rdma);
		running_seed = 0;
		return;
	}
	for (running_seed = 1; running_seed <= SEEDS; running_seed++) {
		moved += run_world(running_seed, NO_DISKS, NO_RDMA);
		rounds += (uint32_t)wh_stat_get(&the_world->source_stats, WH_STAT_ROUND);
		unchanged_bytes += wh_stat_get(&the_world->source_stats, WH_STAT_UNCHANGED_BYTES);
		delta_bytes += wh_stat_get(&the_world->source_stats, WH_STAT_DELTA_RAW_BYTES);
	}
	running_seed = 0;
	print_message("# %u of %u runs moved the guest, the others met a fault; %u rounds, %" PRIu64
	              " pages were not changed, %" PRIu64 " sent as differences\n",
	              moved, SEEDS, rounds, unchanged_bytes / WH_PAGE_SIZE,
	              delta_bytes / WH_PAGE_SIZE);

	/* Both kinds must have been tried, and many rounds, for this test to mean anything. */
	assert_in_range(moved, SEEDS / FAULTS, SEEDS - SEEDS / FAULTS);
	assert_in_range(rounds, 2 * SEEDS, 1000 * SEEDS);
	assert_in_range(unchanged_bytes, (uint64_t)SEEDS * 10 * WH_PAGE_SIZE, UINT64_MAX);
	assert_true(delta_bytes >= (uint64_t)rounds * WH_PAGE_SIZE);
}

static void no_page_is_stale_that_a_disk_writes_late(void **state)
{
	uint64_t reads = 0, echo_pages = 0;
	uint32_t moved = 0;

	(void)state;
	for (running_seed = 1; running_seed <= SEEDS; running_seed++) {
		moved += run_world(running_seed, DISKS, NO_RDMA);
		reads += the_world->reads;
		echo_pages +=
			wh_stat_get(&the_world->source_stats, WH_STAT_ECHO_BYTES) / WH_PAGE_SIZE;
	}
	running_seed = 0;
	print_message("# %u of %u runs moved the guest; %" PRIu64 " reads, %" PRIu64
	              " pages sent once more\n",
	              moved, SEEDS, reads, echo_pages);

	assert_in_range(moved, SEEDS / FAULTS, SEEDS - SEEDS / FAULTS);
	assert_in_range(reads, 20 * SEEDS, UINT64_MAX);
	assert_in_range(echo_pages, 10 * SEEDS, UINT64_MAX);
}

/* Else the test above would show nothing. */
static void without_the_echo_there_are_stale_pages(void **state)
{
	uint32_t stale = 0;

	(void)state;
	print_message("# of pages that differ, these are wanted:\n");
	for (running_seed = 1; running_seed <= SEEDS / 4; running_seed++) {
		assert_true(run_world(running_seed, UNTOLD_DISKS, NO_RDMA));
		stale += the_world->stale;
	}
	running_seed = 0;
	print_message("# %u of %u runs left a stale page\n", stale, SEEDS / 4);

	assert_in_range(stale, SEEDS / 16, SEEDS / 4);
}

static void rdma_may_break_at_any_moment(void **state)
{
	uint32_t moved = 0, fell_back = 0, came_up = 0;
	uint64_t rdma_bytes = 0;

	(void)state;
	for (running_seed = 1; running_seed <= SEEDS; running_seed++) {
		const uint32_t kind =
			RDMA + (uint32_t)(running_seed / FAULTS % (RDMA_KINDS - RDMA));

		moved += run_world(running_seed, NO_DISKS, (enum rdma)kind);
		fell_back += the_world->fell_back;
		came_up += the_world->came_up;
		rdma_bytes += the_world->rdma_bytes;
	}
	running_seed = 0;
	print_message("# %u of %u runs moved the guest; RDMA came up at %u ends and was given up "
	              "at %u, %" PRIu64 " pages went by it\n",
	              moved, SEEDS, came_up, fell_back, rdma_bytes / WH_PAGE_SIZE);

	/* What goes by RDMA meets no fault of TCP's. */
	assert_in_range(moved, SEEDS / FAULTS, SEEDS - 1);
	assert_in_range(came_up, SEEDS, 2 * SEEDS);
	assert_in_range(fell_back, SEEDS / 8, SEEDS);
	assert_in_range(rdma_bytes, (uint64_t)SEEDS * 100 * WH_PAGE_SIZE, UINT64_MAX);
}

/* Else rdma_may_break_at_any_moment() would not show that each side minds what its device holds. */
static void find_stale_pages(enum lapse lapse)
{
	uint32_t stale = 0;

	print_message("# of pages that differ, these are wanted:\n");
	for (running_seed = 1; running_seed <= SEEDS; running_seed++) {
		assert_true(run_kind(running_seed, NO_DISKS, RDMA, lapse));
		stale += the_world->stale;
	}
	running_seed = 0;
	print_message("# %u of %u runs left a stale page\n", stale, SEEDS);

	assert_in_range(stale, SEEDS / 100, SEEDS);
}

static void a_link_that_is_not_told_of_discards_sends_stale_pages(void **state)
{
	(void)state;
	find_stale_pages(NO_DISCARDS);
}

static void a_target_that_punches_what_its_device_holds_loses_pages(void **state)
{
	(void)state;
	find_stale_pages(TARGET_PUNCHES);
}

int main(int argc, char **argv)
{
	static uint64_t seed;
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_prestate_setup_teardown(
			every_seed_leaves_the_guest_intact_on_one_side, NULL, seed_teardown,
			argc > 1 ? &seed : NULL),
		cmocka_unit_test_teardown(no_page_is_stale_that_a_disk_writes_late, seed_teardown),
		cmocka_unit_test_teardown(without_the_echo_there_are_stale_pages, seed_teardown),
		cmocka_unit_test_teardown(rdma_may_break_at_any_moment, seed_teardown),
		cmocka_unit_test_teardown(a_link_that_is_not_told_of_discards_sends_stale_pages,
		                          seed_teardown),
		cmocka_unit_test_teardown(a_target_that_punches_what_its_device_holds_loses_pages,
		                          seed_teardown),
	};

	if (argc > 1)
		seed = strtoull(argv[1], NULL, 10);
	(void)signal(SIGABRT, on_abort);
	return cmocka_run_group_tests_name("migration", tests, NULL, NULL);
}
