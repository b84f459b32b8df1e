/* SPDX-License-Identifier: Apache-2.0 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "crew.h"
#include "pageset.h"

static int setup(void **state)
{
	*state = wh_pageset_new(200);
	return *state ? 0 : -1;
}

static int teardown(void **state)
{
	*state = wh_pageset_free(*state);
	return 0;
}

static void assert_takes(struct wh_pageset *set, uint32_t max, uint64_t first, uint32_t count)
{
	struct wh_run run;

	assert_true(wh_pageset_take_run(set, max, &run));
	assert_int_equal(run.first, first);
	assert_int_equal(run.count, count);
}

static void assert_empty(struct wh_pageset *set)
{
	struct wh_run run = { .first = 77, .count = 77 };

	assert_int_equal(wh_pageset_count(set), 0);
	assert_false(wh_pageset_take_run(set, UINT32_MAX, &run));
	assert_int_equal(run.first, 77);
	assert_int_equal(run.count, 77);
}

static void is_empty_at_first(void **state)
{
	assert_empty(*state);
}

static void holds_what_was_added_and_nothing_beside_it(void **state)
{
	static const struct {
		uint64_t first, count;
	} cases[] = { { 0, 1 },  { 63, 1 },  { 64, 1 },   { 62, 2 },  { 63, 2 },
		      { 0, 64 }, { 64, 64 }, { 60, 140 }, { 199, 1 }, { 0, 200 } };

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		wh_cleanup(wh_pageset_freep) struct wh_pageset *set = wh_pageset_new(200);
		uint64_t end = cases[i].first + cases[i].count;

		wh_pageset_add(set, cases[i].first, cases[i].count);

		assert_int_equal(wh_pageset_count(set), cases[i].count);
		for (uint64_t page = 0; page < 200; page++)
			assert_int_equal(wh_pageset_has(set, page),
			                 page >= cases[i].first && page < end);
	}
}

static void takes_the_lowest_run_first(void **state)
{
	struct wh_pageset *set = *state;

	wh_pageset_add(set, 190, 10);
	wh_pageset_add(set, 3, 2);
	wh_pageset_add(set, 60, 70);

	assert_takes(set, UINT32_MAX, 3, 2);
	assert_takes(set, UINT32_MAX, 60, 70);
	assert_takes(set, UINT32_MAX, 190, 10);
	assert_empty(set);
}

static void joins_neighbours_and_forgets_doubles(void **state)
{
	struct wh_pageset *set = *state;

	wh_pageset_add(set, 62, 2);
	wh_pageset_add(set, 64, 2);
	wh_pageset_add(set, 63, 2);

	assert_int_equal(wh_pageset_count(set), 4);
	assert_takes(set, UINT32_MAX, 62, 4);
}

static void takes_no_more_than_the_maximum(void **state)
{
	struct wh_pageset *set = *state;

	wh_pageset_add(set, 60, 10);

	assert_takes(set, 4, 60, 4);
	assert_takes(set, 1, 64, 1);
	assert_takes(set, 5, 65, 5);
	assert_empty(set);
}

static void finds_pages_added_below_the_last_one_taken(void **state)
{
	struct wh_pageset *set = *state;

	wh_pageset_add(set, 150, 1);
	assert_takes(set, UINT32_MAX, 150, 1);

	wh_pageset_add(set, 149, 1);
	wh_pageset_add(set, 2, 1);

	assert_int_equal(wh_pageset_count(set), 2);
	assert_takes(set, UINT32_MAX, 2, 1);
	assert_takes(set, UINT32_MAX, 149, 1);
	assert_empty(set);
}

static void removes_single_pages(void **state)
{
	struct wh_pageset *set = *state;

	wh_pageset_add(set, 63, 3);
	wh_pageset_remove(set, 64);
	wh_pageset_remove(set, 100); /* was never in it */

	assert_takes(set, UINT32_MAX, 63, 1);
	assert_takes(set, UINT32_MAX, 65, 1);
	assert_empty(set);
}

static void merges_without_touching_the_other(void **state)
{
	wh_cleanup(wh_pageset_freep) struct wh_pageset *other = wh_pageset_new(200);
	struct wh_pageset *set = *state;

	wh_pageset_add(set, 100, 1);
	assert_takes(set, UINT32_MAX, 100, 1);
	wh_pageset_add(set, 101, 1);
	wh_pageset_add(other, 5, 1);
	wh_pageset_add(other, 100, 1);
	wh_pageset_merge(set, other);

	assert_int_equal(wh_pageset_count(other), 2);
	assert_takes(set, UINT32_MAX, 5, 1);
	assert_takes(set, UINT32_MAX, 100, 2);
	assert_empty(set);
}

static void merging_an_empty_set_changes_nothing(void **state)
{
	wh_cleanup(wh_pageset_freep) struct wh_pageset *other = wh_pageset_new(200);
	struct wh_pageset *set = *state;

	wh_pageset_add(set, 199, 1);
	wh_pageset_merge(set, other);

	assert_takes(set, UINT32_MAX, 199, 1);
	assert_empty(set);
}

static void subtracts_without_touching_the_other(void **state)
{
	wh_cleanup(wh_pageset_freep) struct wh_pageset *other = wh_pageset_new(200);
	struct wh_pageset *set = *state;

	wh_pageset_add(set, 60, 10);
	wh_pageset_add(other, 5, 1);
	wh_pageset_add(other, 62, 4);
	wh_pageset_add(other, 69, 10);
	wh_pageset_subtract(set, other);

	assert_int_equal(wh_pageset_count(other), 15);
	assert_takes(set, UINT32_MAX, 60, 2);
	assert_takes(set, UINT32_MAX, 66, 3);
	assert_empty(set);
}

/* Memory of this process that is its own; pages that were only read do not count. */
static uint64_t own_kib(void)
{
	FILE *status = fopen("/proc/self/status", "re");
	char line[128];
	uint64_t kib = 0;

	assert_non_null(status);
	while (kib == 0 && fgets(line, sizeof(line), status))
		if (strncmp(line, "RssAnon:", strlen("RssAnon:")) == 0)
			kib = strtoull(line + strlen("RssAnon:"), NULL, 10);
	(void)fclose(status); /* only read */
	assert_true(kib > 0);
	return kib;
}

static void takes_memory_only_near_what_was_added(void **state)
{
	const uint64_t pages = UINT64_C(1) << 28; /* of 1 TiB: 32 MiB of bits */
	wh_cleanup(wh_pageset_freep) struct wh_pageset *set = wh_pageset_new(pages);
	wh_cleanup(wh_pageset_freep) struct wh_pageset *other = wh_pageset_new(pages);
	uint64_t before = own_kib();
	struct wh_run run;

	(void)state;
	(void)madvise(set->bits, pages / 8, MADV_NOHUGEPAGE);
	wh_pageset_add(set, pages / 2, 1);
	wh_pageset_merge(set, other);
	assert_int_equal(wh_pageset_count(set), 1);
	assert_false(wh_pageset_has(set, 0));
	assert_true(wh_pageset_take_run(set, 512, &run));
	assert_false(wh_pageset_take_run(set, 512, &run));

	assert_true(own_kib() < before + 4096); /* the kernel counts roughly */
}

static void refuses_a_size_that_no_memory_can_hold(void **state)
{
	(void)state;
	assert_null(wh_pageset_new(UINT64_MAX));
	assert_null(wh_pageset_new(UINT64_MAX - 63));
}

/* Parts begin and end within words: neighbours share them. The highest are added first. */
#define PART_PAGES 37u
#define PARTS      500u

static int add_part(void *context, uint32_t member, uint64_t part)
{
	uint64_t first = (PARTS - 1 - part) * PART_PAGES;

	(void)member;
	for (uint64_t page = first; page < first + PART_PAGES; page++)
		wh_pageset_add(context, page, 1);
	return 0;
}

static void keeps_what_several_threads_add_at_once(void **state)
{
	wh_cleanup(wh_crew_closep) struct wh_crew *crew = NULL;

	(void)state;
	assert_int_equal(wh_crew_open(&crew, 4, NULL), 0);
	for (uint32_t i = 0; i < 20; i++) {
		const uint64_t pages = (uint64_t)PARTS * PART_PAGES;
		wh_cleanup(wh_pageset_freep) struct wh_pageset *set = wh_pageset_new(pages);

		assert_int_equal(wh_crew_run(crew, add_part, set, PARTS), 0);

		assert_int_equal(wh_pageset_count(set), pages);
		assert_takes(set, UINT32_MAX, 0, (uint32_t)pages);
	}
}

static uint32_t roll(uint64_t *random, uint32_t sides)
{
	*random = *random * UINT64_C(6364136223846793005) + 1442695040888963407u;
	return (uint32_t)(*random >> 33) % sides;
}

/* The lowest run of @pages that crosses no multiple of @max, taken out: what the set must do. */
static struct wh_run naive_take(bool *pages, uint32_t count, uint32_t max)
{
	struct wh_run run = { 0 };
	uint32_t at = 0;

	while (at < count && !pages[at])
		at++;
	run.first = at;
	while (at < count && pages[at]) {
		pages[at++] = false;
		run.count++;
		if (at % max == 0)
			break;
	}
	return run;
}

static void assert_same(const struct wh_pageset *set, const bool *pages, uint32_t count)
{
	uint32_t sum = 0;

	for (uint32_t i = 0; i < count; i++) {
		assert_int_equal(wh_pageset_has(set, i), pages[i]);
		sum += pages[i];
	}
	assert_int_equal(wh_pageset_count(set), sum);
}

static void random_step(struct wh_pageset *set, bool *pages, uint32_t count, uint64_t *random)
{
	uint32_t first = roll(random, count);
	uint32_t len = 1 + roll(random, count - first);
	struct wh_run expected, run;

	switch (roll(random, 3)) {
	case 0:
		wh_pageset_add(set, first, len);
		memset(pages + first, true, len);
		return;
	case 1:
		wh_pageset_remove(set, first);
		pages[first] = false;
		return;
	default:
		expected = naive_take(pages, count, len);
		assert_int_equal(wh_pageset_take_run(set, len, &run), expected.count > 0);
		if (expected.count > 0) {
			assert_int_equal(run.first, expected.first);
			assert_int_equal(run.count, expected.count);
		}
	}
}

static void agrees_with_a_naive_set_in_any_order_of_calls(void **state)
{
	uint64_t random = 1;

	(void)state;
	for (uint32_t i = 0; i < 300; i++) {
		uint32_t count = 1 + roll(&random, 300);
		wh_cleanup(wh_pageset_freep) struct wh_pageset *set = wh_pageset_new(count);
		bool pages[300] = { false };

		for (uint32_t turn = 0; turn < 40; turn++) {
			random_step(set, pages, count, &random);
			assert_same(set, pages, count);
		}
	}
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(is_empty_at_first),
		TEST(holds_what_was_added_and_nothing_beside_it),
		TEST(takes_the_lowest_run_first),
		TEST(joins_neighbours_and_forgets_doubles),
		TEST(takes_no_more_than_the_maximum),
		TEST(finds_pages_added_below_the_last_one_taken),
		TEST(removes_single_pages),
		TEST(merges_without_touching_the_other),
		TEST(merging_an_empty_set_changes_nothing),
		TEST(subtracts_without_touching_the_other),
		TEST(keeps_what_several_threads_add_at_once),
		TEST(takes_memory_only_near_what_was_added),
		TEST(refuses_a_size_that_no_memory_can_hold),
		TEST(agrees_with_a_naive_set_in_any_order_of_calls),
	};

	return cmocka_run_group_tests_name("pageset", tests, NULL, NULL);
}
