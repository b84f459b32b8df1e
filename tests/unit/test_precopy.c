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
#include <unistd.h>

#include <cmocka.h>

#include "precopy_rig.h"

static void answer_for_another_round(struct fake_link *link, const struct wh_frame *frame)
{
	if (frame->kind == WH_FRAME_ROUND_END)
		rig_land(link, frame->round_end.round + 1);
}

static void answer_twice(struct fake_link *link, const struct wh_frame *frame)
{
	rig_answer(link, frame);
	rig_answer(link, frame);
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
	struct rig *f = *state;
	struct wh_round round;

	rig_dirty(f, 3, 2);
	rig_dirty(f, 200, 1);

	assert_int_equal(wh_precopy_round(&f->precopy, false, &round), 0);

	assert_int_equal(round.data_pages, 3);
	for (uint64_t page = 0; page < GUEST_PAGES; page++) {
		assert_int_equal(rig_times_sent(f, page), page == 3 || page == 4 || page == 200);
		assert_int_equal(rig_times_told(f, page), 0);
	}
	assert_int_equal(wh_pageset_count(f->precopy.pending), 0);
}

static void waits_for_room_when_the_queue_is_full(void **state)
{
	struct rig *f = *state;
	struct wh_round round;

	/* Every other page, so that each becomes a write of its own. */
	for (uint64_t page = 0; page < 32; page += 2)
		rig_dirty(f, page, 1);

	assert_int_equal(wh_precopy_round(&f->precopy, false, &round), 0);

	assert_int_equal(round.data_pages, 16);
	assert_int_equal(fake_link_writes(f->link), 16);
	assert_int_equal(fake_link_max_in_flight(f->link), DEPTH);
	assert_int_equal(f->precopy.in_flight, 0);
}

static void waits_for_room_for_a_frame(void **state)
{
	struct rig *f = *state;
	struct wh_round round;

	rig_clear(f, 5, 1);
	fake_link_refuse_frames(f->link, 2);

	assert_int_equal(wh_precopy_round(&f->precopy, false, &round), 0);

	assert_int_equal(fake_link_frames(f->link), 2);
	assert_int_equal(rig_times_told(f, 5), 1);
}

static void zero_pages_are_told_and_never_sent(void **state)
{
	struct rig *f = *state;
	struct wh_round round;

	rig_dirty(f, 10, 1);
	rig_clear(f, 11, 3);
	rig_dirty(f, 14, 1);
	rig_clear(f, 99, 1);

	assert_int_equal(wh_precopy_round(&f->precopy, false, &round), 0);

	assert_int_equal(round.data_pages, 2);
	for (uint64_t page = 0; page < GUEST_PAGES; page++) {
		assert_int_equal(rig_times_sent(f, page), page == 10 || page == 14);
		assert_int_equal(rig_times_told(f, page), (page >= 11 && page < 14) || page == 99);
	}
	assert_int_equal(wh_stat_get(&f->stats, WH_STAT_ZERO_BYTES), 4 * WH_PAGE_SIZE);
	assert_int_equal(fake_link_forgotten_bytes(f->link), 4 * WH_PAGE_SIZE);
	assert_int_equal(wh_stat_get(&f->stats, WH_STAT_PAGE_BYTES), 2 * WH_PAGE_SIZE);
}

/* The first run has only zero pages: so the next ones are looked at by all. */
static void a_crew_finds_what_is_zero(void **state)
{
	static const uint64_t data[] = { WH_RUN_PAGES_MAX,      WH_RUN_PAGES_MAX + 1,
		                         WH_RUN_PAGES_MAX + 20, FIRST_PAGES - 1,
		                         FIRST_PAGES,           FIRST_PAGES + 50,
		                         GUEST_PAGES - 1 };
	static struct wh_look looks[2];
	struct rig *f = *state;
	struct wh_round round;
	uint64_t sent = 0;

	assert_int_equal(wh_crew_open(&f->precopy.crew, 3, NULL), 0);
	f->precopy.looks = looks;
	rig_clear(f, 0, GUEST_PAGES);
	for (size_t i = 0; i < sizeof(data) / sizeof(*data); i++)
		rig_touch(f, data[i], 'x');

	assert_int_equal(wh_precopy_round(&f->precopy, false, &round), 0);
	f->precopy.crew = wh_crew_close(f->precopy.crew);

	for (size_t i = 0; i < sizeof(data) / sizeof(*data); i++)
		sent += rig_times_sent(f, data[i]);
	assert_int_equal(sent, sizeof(data) / sizeof(*data));
	assert_int_equal(round.data_pages, sent);
	for (uint64_t page = 0; page < GUEST_PAGES; page++)
		assert_int_equal(rig_times_sent(f, page) + rig_times_told(f, page), 1);
}

/* See look.h: one page of each block is read, and the blocks are looked at in their order. */
static void a_block_goes_whole_where_its_sample_has_contents(void **state)
{
	struct rig *f = *state;
	const uint64_t block = 2ull * WH_LOOK_PAGES, sample = block;
	struct wh_round round;
	char first_byte = 'x';

	rig_clear(f, block, WH_LOOK_PAGES);
	assert_int_equal(
		pwrite(f->ram.regions[0].fd, &first_byte, 1, (off_t)(sample * WH_PAGE_SIZE)), 1);
	rig_clear(f, block + WH_LOOK_PAGES + 1, WH_LOOK_PAGES - 1); /* no whole block */

	assert_int_equal(wh_precopy_round(&f->precopy, false, &round), 0);

	assert_int_equal(round.data_pages, WH_LOOK_PAGES);
	for (uint64_t page = block; page < block + WH_LOOK_PAGES; page++)
		assert_int_equal(rig_times_sent(f, page), 1);
	assert_int_equal(rig_times_told(f, block + WH_LOOK_PAGES + 1), 1);
}

static void many_zero_runs_need_more_than_one_frame(void **state)
{
	struct rig *f = *state;
	struct wh_round round;

	for (uint64_t page = 0; page < 2ull * (WH_ZERO_RUNS_MAX + 1); page += 2)
		rig_clear(f, page, 1);

	assert_int_equal(wh_precopy_round(&f->precopy, false, &round), 0);

	assert_int_equal(fake_link_frames(f->link), 3);
	assert_int_equal(fake_link_frame(f->link, 0)->zero.count, WH_ZERO_RUNS_MAX);
	assert_int_equal(fake_link_frame(f->link, 1)->zero.count, 1);
	for (uint64_t page = 0; page < 2ull * (WH_ZERO_RUNS_MAX + 1); page++)
		assert_int_equal(rig_times_told(f, page), page % 2 == 0);
}

static void runs_are_cut_at_region_ends(void **state)
{
	struct rig *f = *state;
	struct wh_round round;

	rig_dirty(f, FIRST_PAGES - 2, 4);

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
	struct rig *f = *state;
	struct wh_round round;

	rig_clear(f, FIRST_PAGES - 1, 2);

	assert_int_equal(wh_precopy_round(&f->precopy, false, &round), 0);

	assert_int_equal(fake_link_frames(f->link), 3);
	assert_int_equal(fake_link_frame(f->link, 0)->zero.region, 0);
	assert_int_equal(fake_link_frame(f->link, 0)->zero.runs[0].first, FIRST_PAGES - 1);
	assert_int_equal(fake_link_frame(f->link, 1)->zero.region, 1);
	assert_int_equal(fake_link_frame(f->link, 1)->zero.runs[0].first, 0);
}

static void no_write_is_longer_than_the_limit(void **state)
{
	struct rig *f = *state;
	struct wh_round round;

	rig_dirty(f, 0, FIRST_PAGES);

	assert_int_equal(wh_precopy_round(&f->precopy, false, &round), 0);

	assert_int_equal(fake_link_writes(f->link), 2);
	assert_int_equal(fake_link_write(f->link, 0)->len, WH_WRITE_LEN_MAX);
	assert_int_equal(round.data_pages, FIRST_PAGES);
}

/* --- memory that was given back --------------------------------------------------------------- */

static void a_hole_given_back_is_told_and_not_filled(void **state)
{
	struct rig *f = *state;
	struct wh_round round;

	wh_pageset_add(f->dirty.removed, 7, 1);
	wh_pageset_add(f->precopy.pending, 7, 1);

	assert_int_equal(wh_precopy_round(&f->precopy, false, &round), 0);

	assert_int_equal(rig_times_told(f, 7), 1);
	assert_true(wh_ram_is_hole(&f->ram, 7));
	assert_false(wh_pageset_has(f->dirty.removed, 7));
}

static void a_page_given_back_and_still_there_stays_noted(void **state)
{
	struct rig *f = *state;
	struct wh_round round;

	rig_dirty(f, 7, 1);
	wh_pageset_add(f->dirty.removed, 7, 1);

	assert_int_equal(wh_precopy_round(&f->precopy, false, &round), 0);

	assert_int_equal(rig_times_sent(f, 7), 1);
	assert_true(wh_pageset_has(f->dirty.removed, 7));
}

/* Its device goes on with the page that was there. */
static void the_link_is_told_before_a_page_given_back_is_sent(void **state)
{
	struct rig *f = *state;
	struct wh_round round;

	rig_dirty(f, 7, 1);
	wh_pageset_add(f->dirty.removed, 7, 1);
	assert_int_equal(wh_precopy_round(&f->precopy, false, &round), 0);
	assert_int_equal(fake_link_discarded_bytes(f->link), WH_PAGE_SIZE);

	/* The tracker is done with it, but it may have gone since. */
	wh_dirty_forget(&f->dirty, 7);
	rig_dirty(f, 7, 1);
	assert_int_equal(wh_precopy_round(&f->precopy, false, &round), 0);
	assert_int_equal(fake_link_discarded_bytes(f->link), 2 * WH_PAGE_SIZE);

	/* What was told after that is what is there. */
	rig_dirty(f, 7, 1);
	assert_int_equal(wh_precopy_round(&f->precopy, false, &round), 0);
	assert_int_equal(fake_link_discarded_bytes(f->link), 2 * WH_PAGE_SIZE);
}

/* Else it would be told as zero in each round. */
static void a_zero_page_that_a_device_holds_is_taken_for_gone(void **state)
{
	struct rig *f = *state;
	struct wh_round round;

	rig_clear(f, 7, 1);
	wh_pageset_add(f->dirty.removed, 7, 1);
	fake_link_pin(f->link, 0, 0, (uint64_t)FIRST_PAGES * WH_PAGE_SIZE);

	assert_int_equal(wh_precopy_round(&f->precopy, false, &round), 0);

	assert_int_equal(rig_times_told(f, 7), 1);
	assert_false(wh_pageset_has(f->dirty.removed, 7));
}

/* --- rounds ----------------------------------------------------------------------------------- */

static void rounds_are_numbered_and_the_last_is_marked(void **state)
{
	struct rig *f = *state;
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
	struct rig *f = *state;
	struct wh_round round;

	rig_dirty(f, 0, 8);
	rig_clear(f, 20, 8);

	assert_int_equal(wh_precopy_round(&f->precopy, false, &round), 0);

	assert_int_equal(f->precopy.left_pages, 0);
	assert_int_equal(wh_stat_get(&f->stats, WH_STAT_LEFT_BYTES), 0);
	assert_int_equal(wh_stat_get(&f->stats, WH_STAT_ROUND_BYTES), 16 * WH_PAGE_SIZE);
	assert_int_equal(wh_stat_get(&f->stats, WH_STAT_WIRE_BYTES), 8 * WH_PAGE_SIZE);
}

/* --- failures --------------------------------------------------------------------------------- */

static void assert_round_fails(struct rig *f, int code)
{
	struct wh_round round = { .data_pages = 77 };

	assert_int_equal(wh_precopy_round(&f->precopy, false, &round), code);
	assert_int_equal(round.data_pages, 77);
}

static void leaves_the_result_alone_when_the_link_dies(void **state)
{
	struct rig *f = *state;

	rig_dirty(f, 0, 1);
	rig_dirty(f, 9, 1);
	fake_link_fail_after(f->link, 1, -ECONNRESET);

	assert_round_fails(f, -ECONNRESET);
}

static void an_answer_for_another_round_is_a_breach(void **state)
{
	struct rig *f = *state;

	fake_link_set_peer(f->link, answer_for_another_round);
	assert_round_fails(f, -EPROTO);
}

static void an_answer_too_many_is_a_breach(void **state)
{
	struct rig *f = *state;
	struct wh_round round;

	/* The second one is seen when the next round looks at the link. */
	fake_link_set_peer(f->link, answer_twice);
	assert_int_equal(wh_precopy_round(&f->precopy, false, &round), 0);
	assert_round_fails(f, -EPROTO);
}

static void another_frame_than_the_answer_is_a_breach(void **state)
{
	struct rig *f = *state;

	fake_link_set_peer(f->link, answer_too_early);
	assert_round_fails(f, -EPROTO);
}

static void bytes_that_are_no_frame_are_a_breach(void **state)
{
	struct rig *f = *state;

	fake_link_deliver_bytes(f->link, "\xff", 1);
	assert_round_fails(f, -EPROTO);
}

static void a_peer_that_hangs_up_is_lost(void **state)
{
	struct rig *f = *state;

	fake_link_set_peer(f->link, hang_up_instead);
	assert_round_fails(f, -ECONNRESET);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, rig_setup, rig_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(sends_every_pending_page_once),
		TEST(the_link_is_told_before_a_page_given_back_is_sent),
		TEST(a_zero_page_that_a_device_holds_is_taken_for_gone),
		TEST(waits_for_room_when_the_queue_is_full),
		TEST(waits_for_room_for_a_frame),
		TEST(zero_pages_are_told_and_never_sent),
		TEST(a_crew_finds_what_is_zero),
		TEST(a_block_goes_whole_where_its_sample_has_contents),
		TEST(many_zero_runs_need_more_than_one_frame),
		TEST(runs_are_cut_at_region_ends),
		TEST(zero_runs_are_cut_at_region_ends),
		TEST(no_write_is_longer_than_the_limit),
		TEST(a_hole_given_back_is_told_and_not_filled),
		TEST(a_page_given_back_and_still_there_stays_noted),
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
