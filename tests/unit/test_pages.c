/* SPDX-License-Identifier: Apache-2.0 */

/* The guest's program judges every migration: this is about its judgement. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "cursor.h"
#include "pages.h"

#define PAGES 1000u
#define PAGE  7u
#define TOUCH 64u

static struct pages pages;

static int setup(void **state)
{
	(void)state;
	pages_init(&pages, PAGES, TOUCH);
	for (uint32_t i = 0; i < PAGES; i++)
		pages_write(&pages, i);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	pages_done(&pages);
	return 0;
}

static void write_often(uint32_t times)
{
	for (uint32_t i = 0; i < times; i++)
		pages_write(&pages, PAGE);
}

static uint32_t bytes_that_differ(const uint8_t *a, const uint8_t *b)
{
	uint32_t differ = 0;

	for (uint32_t i = 0; i < PAGE_BYTES; i++)
		differ += a[i] != b[i];
	return differ;
}

static void a_small_write_changes_few_bytes_and_each_in_turn(void **state)
{
	static uint8_t before[PAGE_BYTES], first[PAGE_BYTES];
	const uint8_t *page = (const uint8_t *)pages.page[PAGE];

	(void)state;
	memcpy(first, page, PAGE_BYTES);
	for (uint32_t i = 0; i < PAGE_BYTES / TOUCH; i++) {
		memcpy(before, page, PAGE_BYTES);
		pages_write(&pages, PAGE);
		assert_in_range(bytes_that_differ(page, before), 1, TOUCH + sizeof(uint64_t));
		assert_int_equal(pages_check(&pages, PAGE).state, PAGE_GOOD);
	}

	/* Some byte may happen to be what it was. */
	assert_in_range(bytes_that_differ(page, first), PAGE_BYTES * 9 / 10, PAGE_BYTES);
}

static void a_change_on_top_of_an_older_page_is_noticed(void **state)
{
	static uint64_t older[PAGE_WORDS], before[PAGE_WORDS];
	uint64_t *page = pages.page[PAGE];

	(void)state;
	for (uint32_t missed = 1; missed < PAGE_BYTES / TOUCH; missed++) {
		memcpy(older, page, PAGE_BYTES);
		write_often(missed);
		memcpy(before, page, PAGE_BYTES);
		write_often(1);
		for (uint32_t i = 0; i < PAGE_WORDS; i++)
			if (page[i] != before[i])
				older[i] = page[i];
		memcpy(page, older, PAGE_BYTES);

		assert_int_equal(pages_check(&pages, PAGE).state, PAGE_TORN);
		pages_repair(&pages, PAGE, &(struct page_report){ .expected = missed + 2 });
		assert_int_equal(pages_check(&pages, PAGE).state, PAGE_GOOD);
		teardown(NULL);
		setup(NULL);
	}
}

static void an_older_page_is_stale_and_another_one_wrong(void **state)
{
	static uint64_t older[PAGE_WORDS];

	(void)state;
	write_often(5);
	memcpy(older, pages.page[PAGE], PAGE_BYTES);
	write_often(1);
	memcpy(pages.page[PAGE], older, PAGE_BYTES);
	assert_int_equal(pages_check(&pages, PAGE).state, PAGE_STALE);

	memcpy(pages.page[PAGE], pages.page[PAGE + 1], PAGE_BYTES);
	assert_int_equal(pages_check(&pages, PAGE).state, PAGE_WRONG);
	memset(pages.page[PAGE], 0, PAGE_BYTES);
	assert_int_equal(pages_check(&pages, PAGE).state, PAGE_LOST);
}

/* How often each page is visited in @steps. */
static void visit(enum pattern pattern, uint32_t steps, uint32_t visits[PAGES])
{
	struct cursor c = cursor_make(PAGES, 0, pattern);

	memset(visits, 0, PAGES * sizeof(*visits));
	for (uint32_t i = 0; i < steps; i++) {
		uint32_t page = cursor_step(&c);

		assert_in_range(page, 0, PAGES - 1);
		visits[page]++;
	}
}

static void seq_and_random_visit_each_page_once_in_a_pass(void **state)
{
	uint32_t visits[PAGES];

	(void)state;
	for (int pattern = PATTERN_SEQ; pattern <= PATTERN_RANDOM; pattern++) {
		visit((enum pattern)pattern, PAGES, visits);
		for (uint32_t i = 0; i < PAGES; i++)
			assert_int_equal(visits[i], 1);
	}
}

static void zipf_visits_each_page_and_few_of_them_mostly(void **state)
{
	uint32_t visits[PAGES], often = 0, visited = 0;

	(void)state;
	visit(PATTERN_ZIPF, 100 * PAGES, visits);

	/* Of 1000 pages, by Zipf's law, 1 in 7 visits is to the first and each other one has fewer. */
	for (uint32_t i = 0; i < PAGES; i++) {
		visited += visits[i] > 0;
		if (visits[i] > PAGES)
			often += visits[i];
	}
	assert_int_equal(visited, PAGES);
	assert_in_range(often, 40 * PAGES, 70 * PAGES);
}

static void a_cursor_keeps_its_pace(void **state)
{
	const uint64_t start_ns = 5000000000, second_ns = 1000000000, step_ns = 10000;
	struct cursor c = cursor_make(PAGES, 64, PATTERN_SEQ);
	uint32_t batches = 0;

	(void)state;
	(void)cursor_due(&c, start_ns);
	for (uint64_t ns = start_ns; ns < start_ns + second_ns; ns += step_ns)
		batches += cursor_due(&c, ns);

	/* At first it catches up a moment. */
	assert_in_range(batches * CURSOR_BATCH * PAGE_BYTES, 64u << 20, (64u << 20) * 11 / 10);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_small_write_changes_few_bytes_and_each_in_turn),
		TEST(a_change_on_top_of_an_older_page_is_noticed),
		TEST(an_older_page_is_stale_and_another_one_wrong),
		TEST(seq_and_random_visit_each_page_once_in_a_pass),
		TEST(zipf_visits_each_page_and_few_of_them_mostly),
		TEST(a_cursor_keeps_its_pace),
	};

	return cmocka_run_group_tests_name("pages", tests, NULL, NULL);
}
