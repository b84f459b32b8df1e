/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Precopy rounds against a fake link and a fake tracker: no sockets, no clock, no kernel
 * features. What is checked is the promise of precopy.c: every page that is pending when a round
 * begins leaves exactly once, as data or as zero.
 */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "fake_link.h"
#include "precopy.h"

#include "wherry/fdpass.h"

/* Two regions: more than the longest run, so that its length is cut, and a small one. */
#define FIRST_PAGES  (WH_RUN_PAGES_MAX + 88u)
#define SECOND_PAGES 100u
#define GUEST_PAGES  (FIRST_PAGES + SECOND_PAGES)
#define DEPTH        4u

struct wh_dirty {
	struct wh_pageset *removed;
};

bool wh_dirty_any_removed(struct wh_dirty *dirty)
{
	return wh_pageset_count(dirty->removed) > 0;
}

bool wh_dirty_removed(struct wh_dirty *dirty, uint64_t page)
{
	return wh_pageset_has(dirty->removed, page);
}

void wh_dirty_forget(struct wh_dirty *dirty, uint64_t page)
{
	wh_pageset_remove(dirty->removed, page);
}

struct fixture {
	struct wh_ram ram;
	struct wh_dirty dirty;
	struct wh_stats stats;
	struct fake_link *link;
	struct wh_precopy precopy;
};

static uint64_t fake_now(const struct wh_clock *clock)
{
	(void)clock;
	return WH_NSEC_PER_SEC;
}

static const struct wh_clock fake_clock = { .now_ns = fake_now };

static void touch(struct fixture *f, uint64_t page, char what)
{
	const struct wh_region *region = wh_ram_region(&f->ram, page);
	off_t offset = (off_t)((page - region->first_page + 1) * WH_PAGE_SIZE) - 1;

	assert_int_equal(pwrite(region->fd, &what, 1, offset), 1);
}

/* The guest wrote pages [@first, @first + @count): each has contents, in its last byte. */
static void dirty(struct fixture *f, uint64_t first, uint32_t count)
{
	wh_pageset_add(f->precopy.pending, first, count);
	for (uint64_t page = first; page < first + count; page++)
		touch(f, page, 'x');
}

/* The guest cleared these pages. */
static void clear(struct fixture *f, uint64_t first, uint32_t count)
{
	wh_pageset_add(f->precopy.pending, first, count);
	for (uint64_t page = first; page < first + count; page++)
		touch(f, page, '\0');
}

/* How often @page was written. Its place there must be its place here. */
static uint32_t times_sent(const struct fixture *f, uint64_t page)
{
	uint32_t times = 0;

	for (uint32_t i = 0; i < fake_link_writes(f->link); i++) {
		const struct wh_write *w = fake_link_write(f->link, i);
		uint64_t first =
			f->ram.regions[w->src_region].first_page + w->src_offset / WH_PAGE_SIZE;

		assert_int_equal(w->src_region, w->dst_region);
		assert_int_equal(w->src_offset, w->dst_offset);
		times += page >= first && page < first + w->len / WH_PAGE_SIZE;
	}
	return times;
}

/* How often @page was told to be zero. */
static uint32_t times_told(const struct fixture *f, uint64_t page)
{
	uint32_t times = 0;

	for (uint32_t i = 0; i < fake_link_frames(f->link); i++) {
		const struct wh_frame *frame = fake_link_frame(f->link, i);

		if (frame->kind != WH_FRAME_ZERO)
			continue;
		for (uint16_t k = 0; k < frame->zero.count; k++) {
			uint64_t first = f->ram.regions[frame->zero.region].first_page +
			                 frame->zero.runs[k].first;

			times += page >= first && page < first + frame->zero.runs[k].count;
		}
	}
	return times;
}

static void land(struct fake_link *link, uint32_t round)
{
	fake_link_deliver(link, &(struct wh_frame){ .kind = WH_FRAME_ROUND_LANDED,
	                                            .round_landed = { .round = round } });
}

static void answer(struct fake_link *link, const struct wh_frame *frame)
{
	if (frame->kind == WH_FRAME_ROUND_END)
		land(link, frame->round_end.round);
}

static void answer_for_another_round(struct fake_link *link, const struct wh_frame *frame)
{
	if (frame->kind == WH_FRAME_ROUND_END)
		land(link, frame->round_end.round + 1);
}

static void answer_twice(struct fake_link *link, const struct wh_frame *frame)
{
	answer(link, frame);
	answer(link, frame);
}

static void answer_too_early(struct fake_link *link, const struct wh_frame *frame)
{
	if (frame->kind == WH_FRAME_ROUND_END)
		fake_link_deliver(link, &(struct wh_frame){ .kind = WH_FRAME_READY });
}

static void hang_up_instead(struct fake_link *link, const struct wh_frame *frame)
{
	(void)frame;
	fake_link_hang_up(link);
}

/* --- what leaves ------------------------------------------------------------------------------ */

static void sends_every_pending_page_once(void **state)
{
	struct fixture *f = *state;
	struct wh_round round;

	dirty(f, 3, 2);
	dirty(f, 200, 1);

	assert_int_equal(wh_precopy_round(&f->precopy, false, &round), 0);

	assert_int_equal(round.data_pages, 3);
	for (uint64_t page = 0; page < GUEST_PAGES; page++) {
		assert_int_equal(times_sent(f, page), page == 3 || page == 4 || page == 200);
		assert_int_equal(times_told(f, page), 0);
	}
	assert_int_equal(wh_pageset_count(f->precopy.pending), 0);
}

static void waits_for_room_when_the_queue_is_full(void **state)
{
	struct fixture *f = *state;
	struct wh_round round;

	/* Every other page, so that each becomes a write of its own. */
	for (uint64_t page = 0; page < 32; page += 2)
		dirty(f, page, 1);

	assert_int_equal(wh_precopy_round(&f->precopy, false, &round), 0);

	assert_int_equal(round.data_pages, 16);
	assert_int_equal(fake_link_writes(f->link), 16);
	assert_int_equal(fake_link_max_in_flight(f->link), DEPTH);
	assert_int_equal(f->precopy.in_flight, 0);
}

static void waits_for_room_for_a_frame(void **state)
{
	struct fixture *f = *state;
	struct wh_round round;

	clear(f, 5, 1);
	fake_link_refuse_frames(f->link, 2);

	assert_int_equal(wh_precopy_round(&f->precopy, false, &round), 0);

	assert_int_equal(fake_link_frames(f->link), 2);
	assert_int_equal(times_told(f, 5), 1);
}

static void zero_pages_are_told_and_never_sent(void **state)
{
	struct fixture *f = *state;
	struct wh_round round;

	dirty(f, 10, 1);
	clear(f, 11, 3);
	dirty(f, 14, 1);
	clear(f, 99, 1);

	assert_int_equal(wh_precopy_round(&f->precopy, false, &round), 0);

	assert_int_equal(round.data_pages, 2);
	for (uint64_t page = 0; page < GUEST_PAGES; page++) {
		assert_int_equal(times_sent(f, page), page == 10 || page == 14);
		assert_int_equal(times_told(f, page), (page >= 11 && page < 14) || page == 99);
	}
	assert_int_equal(wh_stat_get(&f->stats, WH_STAT_ZERO_BYTES), 4 * WH_PAGE_SIZE);
	assert_int_equal(fake_link_forgotten_bytes(f->link), 4 * WH_PAGE_SIZE);
	assert_int_equal(wh_stat_get(&f->stats, WH_STAT_PAGE_BYTES), 2 * WH_PAGE_SIZE);
}

/* See look.h: one page of each block is read, and the blocks are looked at in their order. */
static void a_block_goes_whole_where_its_sample_has_contents(void **state)
{
	struct fixture *f = *state;
	const uint64_t block = 2ull * WH_LOOK_PAGES, sample = block;
	struct wh_round round;
	char first_byte = 'x';

	clear(f, block, WH_LOOK_PAGES);
	assert_int_equal(
		pwrite(f->ram.regions[0].fd, &first_byte, 1, (off_t)(sample * WH_PAGE_SIZE)), 1);
	clear(f, block + WH_LOOK_PAGES + 1, WH_LOOK_PAGES - 1); /* no whole block */

	assert_int_equal(wh_precopy_round(&f->precopy, false, &round), 0);

	assert_int_equal(round.data_pages, WH_LOOK_PAGES);
	for (uint64_t page = block; page < block + WH_LOOK_PAGES; page++)
		assert_int_equal(times_sent(f, page), 1);
	assert_int_equal(times_told(f, block + WH_LOOK_PAGES + 1), 1);
}

static void many_zero_runs_need_more_than_one_frame(void **state)
{
	struct fixture *f = *state;
	struct wh_round round;

	for (uint64_t page = 0; page < 2ull * (WH_ZERO_RUNS_MAX + 1); page += 2)
		clear(f, page, 1);

	assert_int_equal(wh_precopy_round(&f->precopy, false, &round), 0);

	assert_int_equal(fake_link_frames(f->link), 3);
	assert_int_equal(fake_link_frame(f->link, 0)->zero.count, WH_ZERO_RUNS_MAX);
	assert_int_equal(fake_link_frame(f->link, 1)->zero.count, 1);
	for (uint64_t page = 0; page < 2ull * (WH_ZERO_RUNS_MAX + 1); page++)
		assert_int_equal(times_told(f, page), page % 2 == 0);
}

static void runs_are_cut_at_region_ends(void **state)
{
	struct fixture *f = *state;
	struct wh_round round;

	dirty(f, FIRST_PAGES - 2, 4);

	assert_int_equal(wh_precopy_round(&f->precopy, false, &round), 0);

	assert_int_equal(fake_link_writes(f->link), 2);
	assert_int_equal(fake_link_write(f->link, 0)->src_region, 0);
	assert_int_equal(fake_link_write(f->link, 0)->len, 2 * WH_PAGE_SIZE);
	assert_int_equal(fake_link_write(f->link, 1)->src_region, 1);
	assert_int_equal(fake_link_write(f->link, 1)->src_offset, 0);
	assert_int_equal(fake_link_write(f->link, 1)->len, 2 * WH_PAGE_SIZE);
}

static void zero_runs_are_cut_at_region_ends(void **state)
{
	struct fixture *f = *state;
	struct wh_round round;

	clear(f, FIRST_PAGES - 1, 2);

	assert_int_equal(wh_precopy_round(&f->precopy, false, &round), 0);

	assert_int_equal(fake_link_frames(f->link), 3);
	assert_int_equal(fake_link_frame(f->link, 0)->zero.region, 0);
	assert_int_equal(fake_link_frame(f->link, 0)->zero.runs[0].first, FIRST_PAGES - 1);
	assert_int_equal(fake_link_frame(f->link, 1)->zero.region, 1);
	assert_int_equal(fake_link_frame(f->link, 1)->zero.runs[0].first, 0);
}

static void no_write_is_longer_than_the_limit(void **state)
{
	struct fixture *f = *state;
	struct wh_round round;

	dirty(f, 0, FIRST_PAGES);

	assert_int_equal(wh_precopy_round(&f->precopy, false, &round), 0);

	assert_int_equal(fake_link_writes(f->link), 2);
	assert_int_equal(fake_link_write(f->link, 0)->len, WH_WRITE_LEN_MAX);
	assert_int_equal(round.data_pages, FIRST_PAGES);
}

/* --- memory that was given back --------------------------------------------------------------- */

static void a_hole_given_back_is_told_and_not_filled(void **state)
{
	struct fixture *f = *state;
	struct wh_round round;

	wh_pageset_add(f->dirty.removed, 7, 1);
	wh_pageset_add(f->precopy.pending, 7, 1);

	assert_int_equal(wh_precopy_round(&f->precopy, false, &round), 0);

	assert_int_equal(times_told(f, 7), 1);
	assert_true(wh_ram_is_hole(&f->ram, 7));
	assert_false(wh_pageset_has(f->dirty.removed, 7));
}

static void a_page_given_back_and_still_there_stays_noted(void **state)
{
	struct fixture *f = *state;
	struct wh_round round;

	dirty(f, 7, 1);
	wh_pageset_add(f->dirty.removed, 7, 1);

	assert_int_equal(wh_precopy_round(&f->precopy, false, &round), 0);

	assert_int_equal(times_sent(f, 7), 1);
	assert_true(wh_pageset_has(f->dirty.removed, 7));
}

/* --- rounds ----------------------------------------------------------------------------------- */

static void rounds_are_numbered_and_the_last_is_marked(void **state)
{
	struct fixture *f = *state;
	struct wh_round round;

	assert_int_equal(wh_precopy_round(&f->precopy, false, &round), 0);
	assert_int_equal(wh_precopy_round(&f->precopy, true, &round), 0);

	assert_int_equal(fake_link_frames(f->link), 2);
	for (uint32_t i = 0; i < 2; i++) {
		assert_int_equal(fake_link_frame(f->link, i)->kind, WH_FRAME_ROUND_END);
		assert_int_equal(fake_link_frame(f->link, i)->round_end.round, i + 1);
		assert_int_equal(fake_link_frame(f->link, i)->round_end.last, i == 1);
	}
	assert_int_equal(wh_stat_get(&f->stats, WH_STAT_ROUND), 2);
}

static void nothing_is_left_after_a_round(void **state)
{
	struct fixture *f = *state;
	struct wh_round round;

	dirty(f, 0, 8);
	clear(f, 20, 8);

	assert_int_equal(wh_precopy_round(&f->precopy, false, &round), 0);

	assert_int_equal(f->precopy.left_pages, 0);
	assert_int_equal(wh_stat_get(&f->stats, WH_STAT_LEFT_BYTES), 0);
	assert_int_equal(wh_stat_get(&f->stats, WH_STAT_ROUND_BYTES), 16 * WH_PAGE_SIZE);
	assert_int_equal(wh_stat_get(&f->stats, WH_STAT_WIRE_BYTES), 8 * WH_PAGE_SIZE);
}

/* --- memory that is tracked in huge pages ----------------------------------------------------- */

/* The second region is; it is on a tmpfs all the same. */
static const uint8_t secret[WH_CHANGED_SECRET_BYTES] = "of one migration";

static struct wh_copies *make_huge(struct fixture *f)
{
	f->ram.regions[1].page_bytes = SECOND_PAGES * WH_PAGE_SIZE;
	f->precopy.copies = wh_copies_new(&f->ram, secret);
	assert_non_null(f->precopy.copies);
	return f->precopy.copies;
}

/* The tracker reports the huge page, which is all of the second region. */
static void collect_huge(struct fixture *f)
{
	wh_pageset_add(f->precopy.pending, FIRST_PAGES, SECOND_PAGES);
}

static void only_changed_pages_of_a_huge_one_are_sent_again(void **state)
{
	struct fixture *f = *state;
	wh_cleanup(wh_copies_freep) struct wh_copies *copies = make_huge(f);
	struct wh_round round;

	(void)copies;
	dirty(f, FIRST_PAGES, 40);
	collect_huge(f);
	assert_int_equal(wh_precopy_round(&f->precopy, false, &round), 0);
	assert_int_equal(round.data_pages, 40);
	touch(f, FIRST_PAGES + 3, 'y');
	touch(f, FIRST_PAGES + 60, 'y');
	touch(f, FIRST_PAGES + 9, '\0');
	collect_huge(f);
	assert_int_equal(wh_precopy_round(&f->precopy, false, &round), 0);

	assert_int_equal(round.data_pages, 2);
	assert_int_equal(round.same_pages, SECOND_PAGES - 3);
	assert_int_equal(f->precopy.left_pages, 0);
	for (uint64_t page = 0; page < SECOND_PAGES; page++) {
		assert_int_equal(times_sent(f, FIRST_PAGES + page),
		                 (page < 40) + (page == 3 || page == 60));
		assert_int_equal(times_told(f, FIRST_PAGES + page), page >= 40 || page == 9);
	}
	assert_int_equal(wh_stat_get(&f->stats, WH_STAT_UNCHANGED_BYTES),
	                 (SECOND_PAGES - 3) * WH_PAGE_SIZE);
}

static void huge_pages_are_sent_in_runs_and_wait_for_room(void **state)
{
	struct fixture *f = *state;
	wh_cleanup(wh_copies_freep) struct wh_copies *copies = make_huge(f);
	struct wh_round round;

	(void)copies;
	for (uint64_t page = 0; page < SECOND_PAGES; page += 2)
		dirty(f, FIRST_PAGES + page, 1);
	collect_huge(f);
	for (uint32_t i = 0; i < 3; i++) {
		assert_int_equal(wh_precopy_round(&f->precopy, false, &round), 0);
		assert_int_equal(round.data_pages, i == 0 ? SECOND_PAGES / 2 : 0);
		collect_huge(f);
	}
	assert_int_equal(fake_link_max_in_flight(f->link), DEPTH);
}

static void holes_of_huge_memory_are_told_and_not_filled(void **state)
{
	struct fixture *f = *state;
	wh_cleanup(wh_copies_freep) struct wh_copies *copies = make_huge(f);
	struct wh_round round;

	(void)copies;
	wh_pageset_add(f->dirty.removed, FIRST_PAGES + 7, 1);
	collect_huge(f);
	assert_int_equal(wh_precopy_round(&f->precopy, false, &round), 0);

	assert_int_equal(times_told(f, FIRST_PAGES + 7), 1);
	for (uint64_t page = 0; page < SECOND_PAGES; page++)
		assert_true(wh_ram_is_hole(&f->ram, FIRST_PAGES + page));
	assert_false(wh_pageset_has(f->dirty.removed, FIRST_PAGES + 7));
}

/* What the peer has of page FIRST_PAGES, and a guest that writes to it at the worst time. */
struct swapper {
	struct fixture *f;
	char peer[WH_PAGE_SIZE];
	char there; /* what the guest writes when the page leaves */
	char then;  /* and when it has left */
};

static void swap(void *context, const struct wh_write *w)
{
	struct swapper *s = context;

	touch(s->f, FIRST_PAGES, s->there);
	if (w->copy)
		memcpy(s->peer, w->copy, sizeof(s->peer));
	else
		memcpy(s->peer, s->f->ram.regions[1].addr, sizeof(s->peer));
	touch(s->f, FIRST_PAGES, s->then);
}

static void a_page_that_was_another_while_it_left_is_not_taken_for_sent(void **state)
{
	static const char after[] = { 'A', 'B', 'C' };
	struct fixture *f = *state;
	wh_cleanup(wh_copies_freep) struct wh_copies *copies = make_huge(f);
	struct swapper s = { .f = f, .there = 'B' };
	struct wh_round round;

	(void)copies;
	fake_link_set_leaves(f->link, swap, &s);
	for (size_t i = 0; i < sizeof(after); i++) {
		touch(f, FIRST_PAGES, 'A');
		s.there = 'B';
		s.then = after[i];
		collect_huge(f);
		assert_int_equal(wh_precopy_round(&f->precopy, false, &round), 0);
		/* It was written, so it is collected; now the guest stands still. */
		s.there = s.then;
		collect_huge(f);
		assert_int_equal(wh_precopy_round(&f->precopy, false, &round), 0);
		assert_memory_equal(s.peer, f->ram.regions[1].addr, WH_PAGE_SIZE);
	}
}

/* --- failures --------------------------------------------------------------------------------- */

static void assert_round_fails(struct fixture *f, int code)
{
	struct wh_round round = { .data_pages = 77 };

	assert_int_equal(wh_precopy_round(&f->precopy, false, &round), code);
	assert_int_equal(round.data_pages, 77);
}

static void leaves_the_result_alone_when_the_link_dies(void **state)
{
	struct fixture *f = *state;

	dirty(f, 0, 1);
	dirty(f, 9, 1);
	fake_link_fail_after(f->link, 1, -ECONNRESET);

	assert_round_fails(f, -ECONNRESET);
}

static void an_answer_for_another_round_is_a_breach(void **state)
{
	struct fixture *f = *state;

	fake_link_set_peer(f->link, answer_for_another_round);
	assert_round_fails(f, -EPROTO);
}

static void an_answer_too_many_is_a_breach(void **state)
{
	struct fixture *f = *state;
	struct wh_round round;

	/* The second one is seen when the next round looks at the link. */
	fake_link_set_peer(f->link, answer_twice);
	assert_int_equal(wh_precopy_round(&f->precopy, false, &round), 0);
	assert_round_fails(f, -EPROTO);
}

static void another_frame_than_the_answer_is_a_breach(void **state)
{
	struct fixture *f = *state;

	fake_link_set_peer(f->link, answer_too_early);
	assert_round_fails(f, -EPROTO);
}

static void bytes_that_are_no_frame_are_a_breach(void **state)
{
	struct fixture *f = *state;

	fake_link_deliver_bytes(f->link, "\xff", 1);
	assert_round_fails(f, -EPROTO);
}

static void a_peer_that_hangs_up_is_lost(void **state)
{
	struct fixture *f = *state;

	fake_link_set_peer(f->link, hang_up_instead);
	assert_round_fails(f, -ECONNRESET);
}

static void add_region(struct fixture *f, const char *name, uint64_t pages)
{
	int fd = memfd_create("ram", MFD_CLOEXEC);

	assert_int_equal(ftruncate(fd, (off_t)(pages * WH_PAGE_SIZE)), 0);
	assert_int_equal(wh_ram_add(&f->ram, name, pages * WH_PAGE_SIZE, fd, NULL), 0);
}

static int setup(void **state)
{
	static struct fixture f;

	f = (struct fixture){ .link = fake_link_new(DEPTH) };
	fake_link_set_peer(f.link, answer);
	add_region(&f, "first", FIRST_PAGES);
	add_region(&f, "second", SECOND_PAGES);
	assert_int_equal(wh_ram_map(&f.ram, NULL), 0);
	f.dirty.removed = wh_pageset_new(GUEST_PAGES);
	f.precopy = (struct wh_precopy){
		.link = fake_link_transport(f.link),
		.ram = &f.ram,
		.dirty = &f.dirty,
		.clock = &fake_clock,
		.stats = &f.stats,
		.pending = wh_pageset_new(GUEST_PAGES),
	};
	*state = &f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	f->link = fake_link_free(f->link);
	f->dirty.removed = wh_pageset_free(f->dirty.removed);
	f->precopy.pending = wh_pageset_free(f->precopy.pending);
	wh_ram_unmap(&f->ram);
	for (uint16_t i = 0; i < f->ram.count; i++)
		wh_closep(&f->ram.regions[i].fd);
	return 0;
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(sends_every_pending_page_once),
		TEST(waits_for_room_when_the_queue_is_full),
		TEST(waits_for_room_for_a_frame),
		TEST(zero_pages_are_told_and_never_sent),
		TEST(a_block_goes_whole_where_its_sample_has_contents),
		TEST(many_zero_runs_need_more_than_one_frame),
		TEST(runs_are_cut_at_region_ends),
		TEST(zero_runs_are_cut_at_region_ends),
		TEST(no_write_is_longer_than_the_limit),
		TEST(a_hole_given_back_is_told_and_not_filled),
		TEST(a_page_given_back_and_still_there_stays_noted),
		TEST(only_changed_pages_of_a_huge_one_are_sent_again),
		TEST(huge_pages_are_sent_in_runs_and_wait_for_room),
		TEST(holes_of_huge_memory_are_told_and_not_filled),
		TEST(a_page_that_was_another_while_it_left_is_not_taken_for_sent),
		TEST(rounds_are_numbered_and_the_last_is_marked),
		TEST(nothing_is_left_after_a_round),
		TEST(leaves_the_result_alone_when_the_link_dies),
		TEST(an_answer_for_another_round_is_a_breach),
		TEST(an_answer_too_many_is_a_breach),
		TEST(another_frame_than_the_answer_is_a_breach),
		TEST(bytes_that_are_no_frame_are_a_breach),
		TEST(a_peer_that_hangs_up_is_lost),
	};

	return cmocka_run_group_tests_name("precopy", tests, NULL, NULL);
}
