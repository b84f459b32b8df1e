/* SPDX-License-Identifier: Apache-2.0 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "events.h"

#include "wherry/limits.h"

struct fixture {
	struct wh_events *events;
	json_t *answer;
};

static int setup(void **state)
{
	static struct fixture f;

	f = (struct fixture){ .events = wh_events_new() };
	*state = &f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	json_decref(f->answer);
	f->events = wh_events_free(f->events);
	return 0;
}

static void add(struct fixture *f, const char *fields)
{
	wh_events_add(f->events, &(struct wh_log_event){
					 .time_ms = 1764104463123,
					 .time = "2025-11-25T21:01:03.123456Z",
					 .level = "info",
					 .event = "migration.state",
					 .fields = fields,
				 });
}

static void add_many(struct fixture *f, uint64_t count)
{
	for (uint64_t i = 0; i < count; i++)
		add(f, "{\"n\":1}");
}

/* What came after @after. Return: the list. */
static const json_t *ask(struct fixture *f, uint64_t after)
{
	json_decref(f->answer);
	f->answer = json_object();
	wh_events_after(f->events, after, "a", f->answer);
	return json_object_get(f->answer, "events");
}

static json_int_t number_in(const json_t *object, const char *key)
{
	assert_true(json_is_integer(json_object_get(object, key)));
	return json_integer_value(json_object_get(object, key));
}

/* The numbers of @list run from @first to @last. */
static void expect_numbers(const json_t *list, json_int_t first, json_int_t last)
{
	assert_int_equal(json_array_size(list), last - first + 1);
	for (json_int_t n = first; n <= last; n++)
		assert_int_equal(number_in(json_array_get(list, (size_t)(n - first)), "number"), n);
}

static void an_event_has_what_the_log_says(void **state)
{
	struct fixture *f = *state;
	const json_t *event;
	char *text;

	add(f, "{\"vm\":\"db1\",\"bytes\":7,\"code\":-5}");
	event = json_array_get(ask(f, 0), 0);

	text = json_dumps(event, JSON_COMPACT | JSON_SORT_KEYS);
	assert_string_equal(text,
	                    "{\"event\":\"migration.state\","
	                    "\"fields\":{\"bytes\":7,\"code\":-5,\"vm\":\"db1\"},"
	                    "\"level\":\"info\",\"ms\":1764104463123,\"node\":\"a\",\"number\":1,"
	                    "\"time\":\"2025-11-25T21:01:03.123456Z\"}");
	free(text);
}

static void there_are_none_before_the_first(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(json_array_size(ask(f, 0)), 0);
	assert_int_equal(number_in(f->answer, "last"), 0);
	assert_int_equal(number_in(f->answer, "missed"), 0);
}

static void a_reader_gets_each_event_once_and_in_order(void **state)
{
	struct fixture *f = *state;

	add_many(f, 3);
	expect_numbers(ask(f, 0), 1, 3);
	assert_int_equal(number_in(f->answer, "last"), 3);
	add_many(f, 2);
	expect_numbers(ask(f, 3), 4, 5);
	assert_int_equal(json_array_size(ask(f, 5)), 0);
	assert_int_equal(number_in(f->answer, "last"), 5);
	assert_int_equal(number_in(f->answer, "missed"), 0);
}

static void the_oldest_make_room(void **state)
{
	struct fixture *f = *state;

	add_many(f, WH_EVENTS_MAX);
	expect_numbers(ask(f, 0), 1, WH_EVENTS_MAX);
	assert_int_equal(number_in(f->answer, "missed"), 0);

	add_many(f, 10);
	expect_numbers(ask(f, 0), 11, WH_EVENTS_MAX + 10);
	assert_int_equal(number_in(f->answer, "last"), WH_EVENTS_MAX + 10);
}

static void a_reader_that_is_late_hears_how_many_it_missed(void **state)
{
	struct fixture *f = *state;

	add_many(f, WH_EVENTS_MAX + 10);

	(void)ask(f, 0);
	assert_int_equal(number_in(f->answer, "missed"), 10);
	expect_numbers(ask(f, 4), 11, WH_EVENTS_MAX + 10);
	assert_int_equal(number_in(f->answer, "missed"), 6);
	(void)ask(f, 10);
	assert_int_equal(number_in(f->answer, "missed"), 0);
	expect_numbers(ask(f, 11), 12, WH_EVENTS_MAX + 10);
	assert_int_equal(number_in(f->answer, "missed"), 0);
}

static void a_number_of_an_earlier_wherryd_means_all(void **state)
{
	struct fixture *f = *state;

	add_many(f, 3);
	expect_numbers(ask(f, 4000), 1, 3);
	assert_int_equal(number_in(f->answer, "last"), 3);
	assert_int_equal(number_in(f->answer, "missed"), 0);
}

static void their_text_is_limited_together(void **state)
{
	static char reason[(1 << 20) + 1];
	struct fixture *f = *state;
	char *fields = NULL;

	memset(reason, 'x', sizeof(reason) - 1);
	assert_true(asprintf(&fields, "{\"reason\":\"%s\"}", reason) > 0);
	for (int i = 0; i < 6; i++)
		add(f, fields);
	free(fields);

	/* Each is a bit longer than a quarter. */
	expect_numbers(ask(f, 0), 4, 6);
	assert_int_equal(number_in(f->answer, "missed"), 3);
}

static void the_largest_numbers_do_not_spoil_an_event(void **state)
{
	struct fixture *f = *state;
	const json_t *fields;

	add(f, "{\"n\":18446744073709551615,\"m\":-9223372036854775808}");
	fields = json_object_get(json_array_get(ask(f, 0), 0), "fields");

	assert_true(json_number_value(json_object_get(fields, "n")) > 1.8e19);
	assert_true(json_number_value(json_object_get(fields, "m")) < -9.2e18);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(an_event_has_what_the_log_says),
		TEST(there_are_none_before_the_first),
		TEST(a_reader_gets_each_event_once_and_in_order),
		TEST(the_oldest_make_room),
		TEST(a_reader_that_is_late_hears_how_many_it_missed),
		TEST(a_number_of_an_earlier_wherryd_means_all),
		TEST(their_text_is_limited_together),
		TEST(the_largest_numbers_do_not_spoil_an_event),
	};

	return cmocka_run_group_tests_name("events", tests, NULL, NULL);
}
