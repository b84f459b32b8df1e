/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Precopy where memory is tracked in huge pages, and rounds that end before their time, for
 * post-copy or a pause. As in test_precopy.c, nothing of it is real but the code.
 */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "precopy_rig.h"

/* --- memory that is tracked in huge pages ----------------------------------------------------- */

/* The second region is; it is on a tmpfs all the same. */
static const uint8_t secret[WH_CHANGED_SECRET_BYTES] = "of one migration";

static struct wh_copies *make_huge(struct rig *f)
{
	f->ram.regions[1].page_bytes = SECOND_PAGES * WH_PAGE_SIZE;
	f->precopy.copies = wh_copies_new(&f->ram, secret);
	assert_non_null(f->precopy.copies);
	return f->precopy.copies;
}

/* The tracker reports the huge page, which is all of the second region. */
static void collect_huge(struct rig *f)
{
	wh_pageset_add(f->precopy.pending, FIRST_PAGES, SECOND_PAGES);
}

static void only_changed_pages_of_a_huge_one_are_sent_again(void **state)
{
	struct rig *f = *state;
	wh_cleanup(wh_copies_freep) struct wh_copies *copies = make_huge(f);
	struct wh_round round;

	(void)copies;
	rig_dirty(f, FIRST_PAGES, 40);
	collect_huge(f);
	assert_int_equal(wh_precopy_round(&f->precopy, false, &round), 0);
	assert_int_equal(round.data_pages, 40);
	rig_touch(f, FIRST_PAGES + 3, 'y');
	rig_touch(f, FIRST_PAGES + 60, 'y');
	rig_touch(f, FIRST_PAGES + 9, '\0');
	collect_huge(f);
	assert_int_equal(wh_precopy_round(&f->precopy, false, &round), 0);

	assert_int_equal(round.data_pages, 2);
	assert_int_equal(round.same_pages, SECOND_PAGES - 3);
	assert_int_equal(f->precopy.left_pages, 0);
	for (uint64_t page = 0; page < SECOND_PAGES; page++) {
		assert_int_equal(rig_times_sent(f, FIRST_PAGES + page),
		                 (page < 40) + (page == 3 || page == 60));
		assert_int_equal(rig_times_told(f, FIRST_PAGES + page), page >= 40 || page == 9);
	}
	assert_int_equal(wh_stat_get(&f->stats, WH_STAT_UNCHANGED_BYTES),
	                 (SECOND_PAGES - 3) * WH_PAGE_SIZE);
}

static void huge_pages_are_sent_in_runs_and_wait_for_room(void **state)
{
	struct rig *f = *state;
	wh_cleanup(wh_copies_freep) struct wh_copies *copies = make_huge(f);
	struct wh_round round;

	(void)copies;
	for (uint64_t page = 0; page < SECOND_PAGES; page += 2)
		rig_dirty(f, FIRST_PAGES + page, 1);
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
	struct rig *f = *state;
	wh_cleanup(wh_copies_freep) struct wh_copies *copies = make_huge(f);
	struct wh_round round;

	(void)copies;
	wh_pageset_add(f->dirty.removed, FIRST_PAGES + 7, 1);
	collect_huge(f);
	assert_int_equal(wh_precopy_round(&f->precopy, false, &round), 0);

	assert_int_equal(rig_times_told(f, FIRST_PAGES + 7), 1);
	for (uint64_t page = 0; page < SECOND_PAGES; page++)
		assert_true(wh_ram_is_hole(&f->ram, FIRST_PAGES + page));
	assert_false(wh_pageset_has(f->dirty.removed, FIRST_PAGES + 7));
}

/* What the peer has of page FIRST_PAGES, and a guest that writes to it at the worst time. */
struct swapper {
	struct rig *f;
	char peer[WH_PAGE_SIZE];
	char there; /* what the guest writes when the page leaves */
	char then;  /* and when it has left */
};

static void swap(void *context, const struct wh_write *w)
{
	struct swapper *s = context;

	rig_touch(s->f, FIRST_PAGES, s->there);
	if (w->copy)
		memcpy(s->peer, w->copy, sizeof(s->peer));
	else
		memcpy(s->peer, s->f->ram.regions[1].addr, sizeof(s->peer));
	rig_touch(s->f, FIRST_PAGES, s->then);
}

static void a_page_that_was_another_while_it_left_is_not_taken_for_sent(void **state)
{
	static const char after[] = { 'A', 'B', 'C' };
	struct rig *f = *state;
	wh_cleanup(wh_copies_freep) struct wh_copies *copies = make_huge(f);
	struct swapper s = { .f = f, .there = 'B' };
	struct wh_round round;

	(void)copies;
	fake_link_set_leaves(f->link, swap, &s);
	for (size_t i = 0; i < sizeof(after); i++) {
		rig_touch(f, FIRST_PAGES, 'A');
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

/* --- rounds that end early, and post-copy -------------------------------------------------------- */

/* The owner wants the round to end, or gives up: the look's answer. */
static int say_what_is_asked_for(void *context)
{
	return *(int *)context;
}

static void a_round_that_is_to_end_leaves_the_rest_pending(void **state)
{
	struct rig *f = *state;
	struct wh_round round;
	int answer_to_look = 1;

	rig_dirty(f, 3, 40);
	f->precopy.look = say_what_is_asked_for;
	f->precopy.context = &answer_to_look;
	assert_int_equal(wh_precopy_round(&f->precopy, false, &round), 0);
	assert_int_equal(round.data_pages, 0);
	assert_int_equal(wh_pageset_count(f->precopy.pending), 40);

	/* And is the next one's. */
	f->precopy.look = NULL;
	f->precopy.ends_early = false;
	assert_int_equal(wh_precopy_round(&f->precopy, false, &round), 0);
	assert_int_equal(round.data_pages, 40);
	assert_int_equal(rig_times_sent(f, 3), 1);
}

/* Time passes: the owner is asked each time. */
static uint64_t ticking_now(const struct wh_clock *clock)
{
	static uint64_t now_ns;

	(void)clock;
	return now_ns += WH_NSEC_PER_SEC;
}

static int end_when_asked_often(void *context)
{
	return ++*(uint32_t *)context > 4;
}

static void a_wait_ends_when_the_next_round_is_to_end(void **state)
{
	struct rig *f = *state;
	int answer_to_look = 1;

	f->precopy.look = say_what_is_asked_for;
	f->precopy.context = &answer_to_look;

	assert_int_equal(wh_precopy_wait(&f->precopy, UINT64_MAX), 0);

	assert_true(f->precopy.ends_early);
}

static void a_wait_fails_when_the_owner_gives_up_or_the_link_is_lost(void **state)
{
	struct rig *f = *state;
	int answer_to_look = -ESHUTDOWN;

	/* The clock stands still: nothing else ends it. */
	f->precopy.look = say_what_is_asked_for;
	f->precopy.context = &answer_to_look;
	assert_int_equal(wh_precopy_wait(&f->precopy, UINT64_MAX), -ESHUTDOWN);
	f->precopy.look = NULL;

	fake_link_hang_up(f->link);
	assert_int_equal(wh_precopy_wait(&f->precopy, UINT64_MAX), -ECONNRESET);
}

static void a_wait_for_what_is_past_is_none(void **state)
{
	struct rig *f = *state;

	assert_int_equal(wh_precopy_wait(&f->precopy, 0), 0);
}

/* A guest so large that what it touched is looked for in pieces; @touched are far from each other. */
static void make_large(struct rig *f, const uint64_t touched[], size_t count)
{
	wh_ram_unmap(&f->ram);
	rig_add_region(f, "large", 10ull * 65536);
	assert_int_equal(wh_ram_map(&f->ram, NULL), 0);
	f->precopy.pending = wh_pageset_free(f->precopy.pending);
	f->precopy.pending = wh_pageset_new(f->ram.pages);
	f->dirty.removed = wh_pageset_free(f->dirty.removed);
	f->dirty.removed = wh_pageset_new(f->ram.pages);
	for (size_t i = 0; i < count; i++)
		rig_touch(f, touched[i], 'x');
}

/* What is not pending after it is taken for zero. */
static void a_first_round_that_is_to_end_still_looks_for_all_memory(void **state)
{
	static const struct wh_clock ticking = { .now_ns = ticking_now };
	const uint64_t touched[] = { 5, 70000, 200000, 300000, 400000, 655000, 655500 };
	const size_t count = sizeof(touched) / sizeof(touched[0]);
	struct rig *f = *state;
	struct wh_round round;
	uint32_t asked = 0;
	uint64_t left;

	make_large(f, touched, count);
	f->precopy.clock = &ticking;
	f->precopy.look = end_when_asked_often;
	f->precopy.context = &asked;
	f->precopy.find_touched = true;
	assert_int_equal(wh_precopy_round(&f->precopy, false, &round), 0);

	assert_true(f->precopy.ends_early);
	left = wh_pageset_count(f->precopy.pending);
	assert_in_range(left, 1, count - 1);
	for (size_t i = 0; i < count; i++)
		assert_int_equal(rig_times_sent(f, touched[i]) +
		                         wh_pageset_has(f->precopy.pending, touched[i]),
		                 1);
	assert_int_equal(round.data_pages, count - left);
	assert_false(f->precopy.find_touched);
}

/* In post-copy the peer's memory is not what an earlier round made it. */
static void what_is_sent_in_post_copy_builds_on_nothing(void **state)
{
	struct rig *f = *state;
	wh_cleanup(wh_copies_freep) struct wh_copies *copies = make_huge(f);
	struct wh_round round;

	rig_dirty(f, 3, 1);
	rig_dirty(f, FIRST_PAGES, 2);
	assert_int_equal(wh_precopy_round(&f->precopy, false, &round), 0);
	assert_int_equal(fake_link_write(f->link, 0)->round, 1);

	f->precopy.postcopy = true;
	wh_copies_peer_lost(copies);
	wh_pageset_add(f->precopy.pending, 3, 1);
	wh_pageset_add(f->precopy.pending, FIRST_PAGES, 2);
	assert_int_equal(wh_precopy_round(&f->precopy, true, &round), 0);
	assert_int_equal(round.data_pages, 3);
	assert_int_equal(round.same_pages, 0);
	for (uint32_t i = 2; i < fake_link_writes(f->link); i++)
		assert_int_equal(fake_link_write(f->link, i)->round, 0);
}

static void huge_pages_go_whole_where_the_peer_fills_them_whole(void **state)
{
	struct rig *f = *state;
	wh_cleanup(wh_copies_freep) struct wh_copies *copies = make_huge(f);

	rig_dirty(f, FIRST_PAGES + 5, 1);
	wh_copies_peer_lost(copies);
	f->precopy.postcopy = true;
	collect_huge(f);
	wh_precopy_begin_round(&f->precopy);
	assert_int_equal(
		wh_precopy_send_data(&f->precopy, (struct wh_run){ .first = FIRST_PAGES,
	                                                           .count = SECOND_PAGES }),
		0);
	assert_int_equal(wh_precopy_end_round(&f->precopy, true), 0);

	assert_int_equal(fake_link_writes(f->link), 1);
	assert_int_equal(fake_link_write(f->link, 0)->len, SECOND_PAGES * WH_PAGE_SIZE);
	assert_non_null(fake_link_write(f->link, 0)->copy);
	assert_true(wh_ram_is_hole(&f->ram, FIRST_PAGES + 4));
}

static void a_round_fails_as_its_owner_says(void **state)
{
	struct rig *f = *state;
	struct wh_round round;
	int answer_to_look = -ESHUTDOWN;

	rig_dirty(f, 3, 40);
	f->precopy.look = say_what_is_asked_for;
	f->precopy.context = &answer_to_look;
	assert_int_equal(wh_precopy_round(&f->precopy, false, &round), -ESHUTDOWN);
}

static void no_more_is_posted_than_leaves_in_time(void **state)
{
	struct rig *f = *state;
	struct wh_round round;

	/*
	 * However slow the link is, the longest write is posted. It is the first of three here; the
	 * others, which are shorter together, wait until it has left.
	 */
	f->precopy.backlog_ns = WH_NSEC_PER_MSEC;
	f->precopy.rate_bps = 1;
	rig_dirty(f, 0, GUEST_PAGES);
	assert_int_equal(wh_precopy_round(&f->precopy, false, &round), 0);
	assert_int_equal(fake_link_writes(f->link), 3);
	assert_int_equal(fake_link_max_in_flight(f->link), 2);
	assert_int_equal(round.data_pages, GUEST_PAGES);
}

static void settling_is_a_round_without_pages_and_says_nothing_about_the_rate(void **state)
{
	struct rig *f = *state;

	wh_pageset_add(f->precopy.pending, 3, 40);
	f->precopy.rate_bps = 12345;
	assert_int_equal(wh_precopy_settle(&f->precopy), 0);
	assert_int_equal(f->precopy.round, 1);
	assert_true(f->precopy.landed);
	assert_int_equal(f->precopy.rate_bps, 12345);
	assert_int_equal(wh_pageset_count(f->precopy.pending), 40);
	assert_int_equal(fake_link_writes(f->link), 0);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, rig_setup, rig_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(only_changed_pages_of_a_huge_one_are_sent_again),
		TEST(huge_pages_are_sent_in_runs_and_wait_for_room),
		TEST(holes_of_huge_memory_are_told_and_not_filled),
		TEST(a_page_that_was_another_while_it_left_is_not_taken_for_sent),
		TEST(a_round_that_is_to_end_leaves_the_rest_pending),
		TEST(a_wait_ends_when_the_next_round_is_to_end),
		TEST(a_wait_fails_when_the_owner_gives_up_or_the_link_is_lost),
		TEST(a_wait_for_what_is_past_is_none),
		TEST(a_first_round_that_is_to_end_still_looks_for_all_memory),
		TEST(what_is_sent_in_post_copy_builds_on_nothing),
		TEST(huge_pages_go_whole_where_the_peer_fills_them_whole),
		TEST(a_round_fails_as_its_owner_says),
		TEST(no_more_is_posted_than_leaves_in_time),
		TEST(settling_is_a_round_without_pages_and_says_nothing_about_the_rate),
	};

	return cmocka_run_group_tests_name("precopy_ends", tests, NULL, NULL);
}
