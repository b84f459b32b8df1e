/* SPDX-License-Identifier: Apache-2.0 */

/* The target against a fake link: the test plays the source, in good and in bad faith. */

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
#include "target.h"

#include "wherry/fdpass.h"
#include "wherry/session.h"

#define PAGES 16u
#define BYTES ((uint64_t)PAGES * WH_PAGE_SIZE)

struct fixture {
	struct wh_ram ram; /* "a" and "b", PAGES each */
	struct wh_stats stats;
	struct fake_link *link;
	struct wh_target target;
	struct wh_error err;
};

static uint64_t fake_now(const struct wh_clock *clock)
{
	(void)clock;
	return 5;
}

static const struct wh_clock fake_clock = { .now_ns = fake_now };

static int setup(void **state)
{
	static struct fixture f;

	f = (struct fixture){ .link = fake_link_new(1) };
	for (int i = 0; i < 2; i++) {
		int fd = memfd_create("ram", MFD_CLOEXEC);

		assert_int_equal(ftruncate(fd, BYTES), 0);
		assert_int_equal(wh_ram_add(&f.ram, i ? "b" : "a", BYTES, fd, NULL), 0);
	}
	f.target = (struct wh_target){ .ram = &f.ram,
		                       .link = fake_link_transport(f.link),
		                       .clock = &fake_clock,
		                       .stats = &f.stats };
	*state = &f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	f->link = fake_link_free(f->link);
	for (uint16_t i = 0; i < f->ram.count; i++)
		wh_closep(&f->ram.regions[i].fd);
	return 0;
}

/* --- what a source says ----------------------------------------------------------------------- */

/* Deliver @frame and let the target take it. */
static int say(struct fixture *f, const struct wh_frame *frame)
{
	fake_link_deliver(f->link, frame);
	return wh_target_step(&f->target, 0, &f->err);
}

static int say_region(struct fixture *f, uint16_t id, const char *name, uint64_t bytes)
{
	struct wh_frame frame = { .kind = WH_FRAME_REGION, .region = { .id = id, .bytes = bytes } };

	memcpy(frame.region.name, name, strlen(name) + 1);
	return say(f, &frame);
}

static int say_start(struct fixture *f, uint16_t regions)
{
	return say(f, &(struct wh_frame){
			      .kind = WH_FRAME_START,
			      .start = { .page_size = WH_PAGE_SIZE, .regions = regions } });
}

static int say_zero(struct fixture *f, uint16_t region, uint64_t first, uint32_t count)
{
	return say(f, &(struct wh_frame){ .kind = WH_FRAME_ZERO,
	                                  .zero = { .region = region,
	                                            .count = 1,
	                                            .runs = { { first, count } } } });
}

static int say_round_end(struct fixture *f, uint32_t round, bool last)
{
	return say(f, &(struct wh_frame){ .kind = WH_FRAME_ROUND_END,
	                                  .round_end = { .round = round, .last = last } });
}

/* Ids 7 for "b" and 0 for "a": the source's own numbers, in its own order. */
static void agree(struct fixture *f)
{
	assert_int_equal(say_region(f, 7, "b", BYTES), WH_TARGET_MORE);
	assert_int_equal(say_region(f, 0, "a", BYTES), WH_TARGET_MORE);
	assert_int_equal(say_start(f, 2), WH_TARGET_MORE);
}

static void assert_breach(struct fixture *f, int result, const char *words)
{
	assert_int_equal(result, -EPROTO);
	if (!strstr(f->err.text, words))
		fail_msg("'%s' says nothing of '%s'", f->err.text, words);
}

static enum wh_session_state state_of(const struct fixture *f)
{
	return (enum wh_session_state)wh_stat_get(&f->stats, WH_STAT_STATE);
}

static void put_junk(struct fixture *f)
{
	for (int i = 0; i < 2; i++)
		for (off_t page = 0; page < PAGES; page++)
			assert_int_equal(
				pwrite(f->ram.regions[i].fd, "junk", 4, page * WH_PAGE_SIZE), 4);
}

static bool has_junk(struct fixture *f, int region, off_t page)
{
	char text[4] = { 0 };

	assert_int_equal(pread(f->ram.regions[region].fd, text, 4, page * WH_PAGE_SIZE), 4);
	return memcmp(text, "junk", 4) == 0;
}

/* --- in good faith ---------------------------------------------------------------------------- */

static void regions_are_lent_under_the_sources_ids(void **state)
{
	struct fixture *f = *state;

	agree(f);

	assert_int_equal(fake_link_memory(f->link, 7)->fd, f->ram.regions[1].fd);
	assert_int_equal(fake_link_memory(f->link, 0)->fd, f->ram.regions[0].fd);
	assert_int_equal(fake_link_memory(f->link, 0)->bytes, BYTES);
	assert_int_equal(fake_link_memory(f->link, 1)->bytes, 0);
	assert_int_equal(fake_link_frames(f->link), 1);
	assert_int_equal(fake_link_frame(f->link, 0)->kind, WH_FRAME_READY);
	assert_int_equal(state_of(f), WH_SESSION_PRECOPY);
}

static void start_empties_the_ram(void **state)
{
	struct fixture *f = *state;

	put_junk(f);
	agree(f);

	for (uint64_t page = 0; page < f->ram.pages; page++)
		assert_true(wh_ram_is_hole(&f->ram, page));
}

static void zero_runs_are_emptied_and_nothing_else(void **state)
{
	struct fixture *f = *state;

	agree(f);
	put_junk(f);

	assert_int_equal(say_zero(f, 7, 3, 2), WH_TARGET_MORE);
	assert_int_equal(say_zero(f, 0, PAGES - 1, 1), WH_TARGET_MORE);

	for (off_t page = 0; page < PAGES; page++) {
		assert_int_equal(has_junk(f, 1, page), page != 3 && page != 4);
		assert_int_equal(has_junk(f, 0, page), page != PAGES - 1);
	}
}

static void zero_runs_in_memory_that_a_device_holds_are_written(void **state)
{
	struct fixture *f = *state;

	agree(f);
	put_junk(f);
	fake_link_pin(f->link, 7, 0, UINT64_C(4) * WH_PAGE_SIZE);

	assert_int_equal(say_zero(f, 7, 3, 1), WH_TARGET_MORE);
	assert_int_equal(say_zero(f, 7, 4, 1), WH_TARGET_MORE);

	assert_false(has_junk(f, 1, 3));
	assert_false(wh_ram_is_hole(&f->ram, f->ram.regions[1].first_page + 3));
	assert_true(wh_ram_is_hole(&f->ram, f->ram.regions[1].first_page + 4));
}

static void each_round_is_answered(void **state)
{
	struct fixture *f = *state;

	agree(f);
	for (uint32_t round = 1; round <= 3; round++) {
		assert_int_equal(say_round_end(f, round, false), WH_TARGET_MORE);
		assert_int_equal(fake_link_frames(f->link), 1 + round);
		assert_int_equal(fake_link_frame(f->link, round)->kind, WH_FRAME_ROUND_LANDED);
		assert_int_equal(fake_link_frame(f->link, round)->round_landed.round, round);
		assert_int_equal(fake_link_memory(f->link, 7)->bytes, BYTES);
	}
}

static void after_the_last_round_no_memory_is_lent(void **state)
{
	struct fixture *f = *state;

	agree(f);
	assert_int_equal(say_round_end(f, 1, true), WH_TARGET_LANDED);

	assert_int_equal(fake_link_memory(f->link, 7)->bytes, 0);
	assert_int_equal(fake_link_memory(f->link, 0)->bytes, 0);
	assert_int_equal(fake_link_frame(f->link, 1)->kind, WH_FRAME_ROUND_LANDED);
	assert_int_equal(state_of(f), WH_SESSION_LANDED);
	assert_int_equal(wh_stat_get(&f->stats, WH_STAT_LANDED_NS), 5);
}

static void after_the_last_round_any_end_of_the_link_is_good(void **state)
{
	struct fixture *f = *state;

	agree(f);
	assert_int_equal(say_round_end(f, 1, true), WH_TARGET_LANDED);
	assert_int_equal(wh_target_step(&f->target, 0, NULL), WH_TARGET_LANDED);
	fake_link_hang_up(f->link);
	assert_int_equal(wh_target_step(&f->target, 0, NULL), WH_TARGET_CLOSED);
}

/* --- in bad faith ----------------------------------------------------------------------------- */

static void frames_have_their_time(void **state)
{
	struct fixture *f = *state;

	assert_breach(f, say_zero(f, 0, 0, 1), "while opening");
	assert_breach(f, say_round_end(f, 1, false), "while opening");
	agree(f);
	assert_breach(f, say_region(f, 1, "a", BYTES), "while precopy");
	assert_breach(f, say_start(f, 2), "while precopy");
	assert_int_equal(say_round_end(f, 1, true), WH_TARGET_LANDED);
	assert_breach(f, say_zero(f, 0, 0, 1), "while landed");
	assert_breach(f, say_round_end(f, 2, true), "while landed");
}

static void frames_of_the_target_are_not_the_sources(void **state)
{
	const struct wh_frame ready = { .kind = WH_FRAME_READY };
	const struct wh_frame landed = { .kind = WH_FRAME_ROUND_LANDED };
	struct fixture *f = *state;

	assert_breach(f, say(f, &ready), "while opening");
	assert_breach(f, say(f, &landed), "while opening");
	agree(f);
	assert_breach(f, say(f, &ready), "while precopy");
	assert_breach(f, say(f, &landed), "while precopy");
}

static void bytes_that_are_no_frame_are_refused(void **state)
{
	struct fixture *f = *state;

	fake_link_deliver_bytes(f->link, "\xff\xff\xff", 3);
	assert_breach(f, wh_target_step(&f->target, 0, &f->err), "3 bytes");
}

static void unknown_ram_is_refused(void **state)
{
	struct fixture *f = *state;

	assert_breach(f, say_region(f, 0, "c", BYTES), "'c'");
}

static void ram_of_another_size_is_refused(void **state)
{
	struct fixture *f = *state;

	assert_breach(f, say_region(f, 0, "a", BYTES + WH_PAGE_SIZE), "69632 bytes at the source");
}

static void ids_out_of_range_are_refused(void **state)
{
	struct fixture *f = *state;

	assert_breach(f, say_region(f, WH_REGIONS_MAX, "a", BYTES), "out of range");
	assert_breach(f, say_region(f, UINT16_MAX, "a", BYTES), "out of range");
	assert_int_equal(say_region(f, WH_REGIONS_MAX - 1, "a", BYTES), WH_TARGET_MORE);
}

static void an_id_given_twice_is_refused(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(say_region(f, 0, "a", BYTES), WH_TARGET_MORE);
	assert_breach(f, say_region(f, 0, "b", BYTES), "id 0 is given twice");
}

static void ram_given_two_ids_is_refused(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(say_region(f, 0, "a", BYTES), WH_TARGET_MORE);
	assert_breach(f, say_region(f, 1, "a", BYTES), "'a' is given twice");
}

static void too_few_regions_are_refused(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(say_region(f, 0, "a", BYTES), WH_TARGET_MORE);
	assert_breach(f, say_start(f, 1), "this side has 2");
}

static void a_wrong_number_of_regions_is_refused(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(say_region(f, 0, "a", BYTES), WH_TARGET_MORE);
	assert_int_equal(say_region(f, 1, "b", BYTES), WH_TARGET_MORE);
	assert_breach(f, say_start(f, 3), "3 RAM regions");
}

static void another_page_size_is_refused_and_nothing_is_emptied(void **state)
{
	struct fixture *f = *state;

	put_junk(f);
	assert_int_equal(say_region(f, 0, "a", BYTES), WH_TARGET_MORE);
	assert_int_equal(say_region(f, 1, "b", BYTES), WH_TARGET_MORE);
	assert_breach(f,
	              say(f, &(struct wh_frame){ .kind = WH_FRAME_START,
	                                         .start = { .page_size = 65536, .regions = 2 } }),
	              "65536");
	assert_true(has_junk(f, 0, 0));
}

static void zero_runs_in_unknown_ram_are_refused(void **state)
{
	struct fixture *f = *state;

	agree(f);
	assert_breach(f, say_zero(f, 1, 0, 1), "unknown RAM 1");
	assert_breach(f, say_zero(f, UINT16_MAX, 0, 1), "unknown RAM");
}

static void zero_runs_behind_the_end_are_refused(void **state)
{
	static const struct wh_run runs[] = { { PAGES, 1 },      { PAGES - 1, 2 },
		                              { 0, PAGES + 1 },  { UINT64_MAX, 1 },
		                              { 0, UINT32_MAX }, { UINT64_MAX, UINT32_MAX },
		                              { 3, 0 },          { UINT64_C(1) << 52, 1 } };
	struct fixture *f = *state;

	agree(f);
	put_junk(f);
	for (size_t i = 0; i < sizeof(runs) / sizeof(runs[0]); i++)
		assert_breach(f, say_zero(f, 0, runs[i].first, runs[i].count),
		              "behind the end of RAM 'a'");
	for (off_t page = 0; page < PAGES; page++)
		assert_true(has_junk(f, 0, page));
}

static void skipped_and_repeated_rounds_are_refused(void **state)
{
	struct fixture *f = *state;

	agree(f);
	assert_breach(f, say_round_end(f, 2, false), "round 2 ended after round 0");
	assert_breach(f, say_round_end(f, 0, false), "round 0 ended after round 0");
	assert_int_equal(say_round_end(f, 1, false), WH_TARGET_MORE);
	assert_breach(f, say_round_end(f, 1, false), "round 1 ended after round 1");
	assert_breach(f, say_round_end(f, UINT32_MAX, true), "ended after round 1");
	assert_int_equal(state_of(f), WH_SESSION_PRECOPY);
}

static int say_kind(struct fixture *f, enum wh_frame_kind kind)
{
	return say(f, &(struct wh_frame){ .kind = kind });
}

static int say_missing(struct fixture *f)
{
	return say(f, &(struct wh_frame){ .kind = WH_FRAME_MISSING,
	                                  .zero = { .count = 1, .runs = { { 1, 1 } } } });
}

static void post_copy_needs_a_file_for_what_is_missing(void **state)
{
	struct fixture *f = *state;

	agree(f);
	assert_int_equal(say_missing(f), -EOPNOTSUPP);
	assert_non_null(strstr(f->err.text, "not set up for post-copy"));
	assert_int_equal(say_kind(f, WH_FRAME_SWITCH), -EOPNOTSUPP);
}

/* Some of it in huge pages of hugetlbfs, and another part no multiple of them, as far as the target knows. */
static void post_copy_that_cannot_be_is_not_offered(void **state)
{
	struct fixture *f = *state;
	struct wh_missing missing = { 0 };
	const struct wh_frame *ready;

	f->target.missing = &missing;
	f->ram.regions[1].page_bytes = 2 * BYTES;
	agree(f);
	ready = fake_link_frame(f->link, fake_link_frames(f->link) - 1);
	assert_int_equal(ready->kind, WH_FRAME_READY);
	assert_int_equal(ready->ready.missing_order, WH_GRANULE_NONE);
	assert_int_equal(ready->ready.fill_order, WH_GRANULE_NONE);
	assert_int_equal(state_of(f), WH_SESSION_PRECOPY);
	assert_int_equal(say_missing(f), -EOPNOTSUPP);
}

static void only_a_target_that_resumes_takes_resume(void **state)
{
	struct fixture *f = *state;

	assert_breach(f, say_kind(f, WH_FRAME_RESUME), "frame 10 while opening");
	f->target.resume = true;
	assert_breach(f, say_start(f, 0), "frame 2 while opening");
}

static void post_copy_begins_after_rounds_have(void **state)
{
	struct fixture *f = *state;

	assert_breach(f, say_missing(f), "frame 7 while opening");
	assert_breach(f, say_kind(f, WH_FRAME_SWITCH), "frame 8 while opening");
}

static void a_source_that_leaves_early_is_lost(void **state)
{
	struct fixture *f = *state;

	agree(f);
	fake_link_hang_up(f->link);
	assert_int_equal(wh_target_step(&f->target, 0, &f->err), -ECONNRESET);
	assert_non_null(strstr(f->err.text, "early"));
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(regions_are_lent_under_the_sources_ids),
		TEST(start_empties_the_ram),
		TEST(zero_runs_are_emptied_and_nothing_else),
		TEST(zero_runs_in_memory_that_a_device_holds_are_written),
		TEST(each_round_is_answered),
		TEST(after_the_last_round_no_memory_is_lent),
		TEST(after_the_last_round_any_end_of_the_link_is_good),
		TEST(frames_have_their_time),
		TEST(frames_of_the_target_are_not_the_sources),
		TEST(bytes_that_are_no_frame_are_refused),
		TEST(unknown_ram_is_refused),
		TEST(ram_of_another_size_is_refused),
		TEST(ids_out_of_range_are_refused),
		TEST(an_id_given_twice_is_refused),
		TEST(ram_given_two_ids_is_refused),
		TEST(too_few_regions_are_refused),
		TEST(a_wrong_number_of_regions_is_refused),
		TEST(another_page_size_is_refused_and_nothing_is_emptied),
		TEST(zero_runs_in_unknown_ram_are_refused),
		TEST(zero_runs_behind_the_end_are_refused),
		TEST(skipped_and_repeated_rounds_are_refused),
		TEST(post_copy_needs_a_file_for_what_is_missing),
		TEST(post_copy_that_cannot_be_is_not_offered),
		TEST(only_a_target_that_resumes_takes_resume),
		TEST(post_copy_begins_after_rounds_have),
		TEST(a_source_that_leaves_early_is_lost),
	};

	return cmocka_run_group_tests_name("target", tests, NULL, NULL);
}
