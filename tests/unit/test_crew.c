/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "crew.h"

#include "wherry/limits.h"

#define PARTS 1000u
#define NONE  UINT64_MAX

struct record {
	_Atomic uint32_t done[PARTS];
	_Atomic uint32_t at_work[WH_SCAN_THREADS_MAX]; /* parts that the member is at */
	_Atomic uint32_t begun;
	_Atomic uint32_t overlaps;
	uint64_t fail_at;
};

static int note_part(void *context, uint32_t member, uint64_t part)
{
	struct record *record = context;

	record->begun++;
	if (record->at_work[member]++ > 0)
		record->overlaps++;
	record->done[part]++;
	record->at_work[member]--;
	return part == record->fail_at ? -EIO : 0;
}

static void assert_does_all(struct wh_crew *crew, uint32_t parts)
{
	struct record record = { .fail_at = NONE };

	assert_int_equal(wh_crew_run(crew, note_part, &record, parts), 0);

	for (uint32_t i = 0; i < PARTS; i++)
		assert_int_equal(record.done[i], i < parts);
	assert_int_equal(record.overlaps, 0);
}

static void does_each_part_once_with_any_number_of_members(void **state)
{
	static const uint32_t sizes[] = { 1, 2, 3, WH_SCAN_THREADS_MAX };

	(void)state;
	for (uint32_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		wh_cleanup(wh_crew_closep) struct wh_crew *crew = NULL;

		assert_int_equal(wh_crew_open(&crew, sizes[i], NULL), 0);
		assert_int_equal(wh_crew_size(crew), sizes[i]);

		assert_does_all(crew, PARTS);
	}
}

static void does_one_job_after_the_other(void **state)
{
	wh_cleanup(wh_crew_closep) struct wh_crew *crew = NULL;

	(void)state;
	assert_int_equal(wh_crew_open(&crew, 3, NULL), 0);

	for (uint32_t parts = 0; parts < 500; parts++)
		assert_does_all(crew, parts);
}

static void begins_nothing_after_a_failure(void **state)
{
	struct record record = { .fail_at = 10 };
	wh_cleanup(wh_crew_closep) struct wh_crew *alone = NULL;

	(void)state;
	assert_int_equal(wh_crew_open(&alone, 1, NULL), 0);

	assert_int_equal(wh_crew_run(alone, note_part, &record, PARTS), -EIO);

	assert_int_equal(record.begun, 11);
}

static void returns_the_failure_of_any_member_and_works_on(void **state)
{
	wh_cleanup(wh_crew_closep) struct wh_crew *crew = NULL;

	(void)state;
	assert_int_equal(wh_crew_open(&crew, 4, NULL), 0);

	for (uint64_t part = 0; part < PARTS; part += 37) {
		struct record record = { .fail_at = part };

		assert_int_equal(wh_crew_run(crew, note_part, &record, PARTS), -EIO);
	}
	assert_does_all(crew, PARTS);
}

static void closes_what_was_never_opened(void **state)
{
	(void)state;
	assert_null(wh_crew_close(NULL));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(does_each_part_once_with_any_number_of_members),
		cmocka_unit_test(does_one_job_after_the_other),
		cmocka_unit_test(begins_nothing_after_a_failure),
		cmocka_unit_test(returns_the_failure_of_any_member_and_works_on),
		cmocka_unit_test(closes_what_was_never_opened),
	};

	return cmocka_run_group_tests_name("crew", tests, NULL, NULL);
}
