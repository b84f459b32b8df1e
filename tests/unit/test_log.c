/* SPDX-License-Identifier: Apache-2.0 */

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "wherry/fdpass.h"
#include "wherry/log.h"

struct fixture {
	int out;     /* what standard error is led to comes out here */
	int stderr_; /* the real one */
	char text[1024];
};

static int setup(void **state)
{
	static struct fixture f;
	int ends[2];

	assert_int_equal(pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
	f.out = ends[0];
	f.stderr_ = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0);
	assert_true(f.stderr_ >= 0);
	assert_int_equal(dup2(ends[1], STDERR_FILENO), STDERR_FILENO);
	wh_closep(&ends[1]);
	*state = &f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	(void)dup2(f->stderr_, STDERR_FILENO);
	wh_closep(&f->stderr_);
	wh_closep(&f->out);
	return 0;
}

/* Return: what was written to standard error since the last call. */
static const char *logged(struct fixture *f)
{
	ssize_t n = read(f->out, f->text, sizeof(f->text) - 1);

	f->text[n > 0 ? n : 0] = '\0';
	return f->text;
}

static void use(bool json, enum wh_log_level level)
{
	const struct wh_log_config cfg = { .level = level, .json = json };

	wh_log_setup(&cfg); /* without a tap */
}

static void a_text_line_has_priority_event_and_fields(void **state)
{
	use(false, WH_LOG_INFO);
	wh_log(WH_LOG_INFO, "migration.started", WH_STR("vm", "db1"), WH_U64("bytes", UINT64_MAX),
	       WH_I64("code", -5));

	assert_string_equal(logged(*state), "<6>migration.started vm=db1 "
	                                    "bytes=18446744073709551615 code=-5\n");
}

static void text_values_are_quoted_where_they_would_be_misread(void **state)
{
	static const struct {
		const char *value, *text;
	} cases[] = {
		{ "plain", "plain" },
		{ "", "\"\"" },
		{ NULL, "\"\"" },
		{ "two words", "\"two words\"" },
		{ "a=b", "\"a=b\"" },
		{ "say \"x\"", "\"say \\\"x\\\"\"" },
		{ "a\\b", "\"a\\\\b\"" },
		{ "a\nb", "\"a\\u000ab\"" },
		{ "a\rb", "\"a\\u000db\"" },
		{ "\x1b[2J", "\"\\u001b[2J\"" },
	};

	use(false, WH_LOG_INFO);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char expected[64];

		wh_log(WH_LOG_ERROR, "e", WH_STR("v", cases[i].value));
		(void)snprintf(expected, sizeof(expected), "<3>e v=%s\n", cases[i].text);
		assert_string_equal(logged(*state), expected);
	}
}

static void lines_above_the_level_are_left_out(void **state)
{
	use(false, WH_LOG_WARNING);
	wh_log(WH_LOG_INFO, "e", WH_U64("n", 1));
	wh_log(WH_LOG_DEBUG, "e", WH_U64("n", 2));
	assert_string_equal(logged(*state), "");
	wh_log(WH_LOG_WARNING, "e", WH_U64("n", 3));
	assert_string_equal(logged(*state), "<4>e n=3\n");

	use(false, WH_LOG_DEBUG);
	wh_log(WH_LOG_DEBUG, "e", WH_U64("n", 4));
	assert_string_equal(logged(*state), "<7>e n=4\n");
}

/* What a JSON line holds behind its time, which is of this form: */
#define STAMP "{\"time\":\"2000-00-00T00:00:00.000000Z\","

static const char *behind_the_time(const char *line)
{
	const char *digits = "0123456789";

	for (size_t i = 0; i < strlen(STAMP); i++)
		if (!strchr(digits, STAMP[i]))
			assert_int_equal(line[i], STAMP[i]);
		else
			assert_non_null(strchr(digits, line[i]));
	return line + strlen(STAMP);
}

static void a_json_line_is_one_object(void **state)
{
	use(true, WH_LOG_INFO);
	wh_log(WH_LOG_WARNING, "link.lost", WH_STR("vm", "db1"), WH_U64("n", 7),
	       WH_I64("code", -104));

	assert_string_equal(behind_the_time(logged(*state)),
	                    "\"level\":\"warning\",\"event\":\"link.lost\",\"vm\":\"db1\","
	                    "\"n\":7,\"code\":-104}\n");
}

static void json_strings_are_escaped(void **state)
{
	use(true, WH_LOG_INFO);
	wh_log(WH_LOG_INFO, "e", WH_STR("v", "\"\\\n\t\x01 \xc3\xa4/"), WH_STR("w", NULL));

	assert_string_equal(behind_the_time(logged(*state)),
	                    "\"level\":\"info\",\"event\":\"e\","
	                    "\"v\":\"\\\"\\\\\\u000a\\u0009\\u0001 \xc3\xa4/\",\"w\":\"\"}\n");
}

static void what_is_not_utf8_is_replaced_in_json(void **state)
{
	static const struct {
		const char *value, *text;
	} cases[] = {
		{ "\xc3\xa4 \xe2\x82\xac \xf0\x9f\x90\x84",
		  "\xc3\xa4 \xe2\x82\xac \xf0\x9f\x90\x84" },
		{ "\xff!", "\\ufffd!" },
		{ "\xc3", "\\ufffd" },                       /* cut off */
		{ "\xc3x", "\\ufffdx" },                     /* the same */
		{ "\x80", "\\ufffd" },                       /* goes on, but from nowhere */
		{ "\xc0\xaf", "\\ufffd\\ufffd" },            /* longer than needed */
		{ "\xed\xa0\x80", "\\ufffd\\ufffd\\ufffd" }, /* half of a pair */
		{ "\xf4\x90\x80\x80", "\\ufffd\\ufffd\\ufffd\\ufffd" }, /* above the last one */
	};

	use(true, WH_LOG_INFO);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char expected[128];

		wh_log(WH_LOG_INFO, "e", WH_STR("v", cases[i].value));
		(void)snprintf(expected, sizeof(expected),
		               "\"level\":\"info\",\"event\":\"e\",\"v\":\"%s\"}\n", cases[i].text);
		assert_string_equal(behind_the_time(logged(*state)), expected);
	}
}

struct tapped {
	unsigned count;
	char text[256];
};

static void tap(void *ctx, const struct wh_log_event *e)
{
	struct tapped *t = ctx;

	t->count++;
	(void)snprintf(t->text, sizeof(t->text),
	               "{\"time\":\"%s\",\"level\":\"%s\",\"event\":\"%s\",%s", e->time, e->level,
	               e->event, e->fields + 1);
	assert_true(e->time_ms > 0);
}

static void the_tap_gets_what_a_json_line_says(void **state)
{
	struct tapped tapped = { 0 };
	const struct wh_log_config cfg = {
		.level = WH_LOG_INFO, .json = true, .tap = tap, .tap_ctx = &tapped
	};
	char line[300];

	wh_log_setup(&cfg);
	wh_log(WH_LOG_ERROR, "e.f", WH_STR("v", "a \"b\""), WH_I64("n", -7), WH_U64("m", 7));

	(void)snprintf(line, sizeof(line), "%s\n", tapped.text);
	assert_string_equal(line, logged(*state));
	assert_non_null(strstr(line, "\"v\":\"a \\\"b\\\"\",\"n\":-7,\"m\":7}"));
}

static void the_tap_has_a_level_of_its_own(void **state)
{
	struct tapped tapped = { 0 };
	struct wh_log_config cfg = { .level = WH_LOG_ERROR, .tap = tap, .tap_ctx = &tapped };

	wh_log_setup(&cfg);
	wh_log(WH_LOG_INFO, "e", WH_U64("n", 1));
	assert_string_equal(logged(*state), "");
	assert_int_equal(tapped.count, 1);

	cfg.level = WH_LOG_DEBUG;
	wh_log_setup(&cfg);
	wh_log(WH_LOG_DEBUG, "e", WH_U64("n", 2));
	assert_string_equal(logged(*state), "<7>e n=2\n");
	assert_int_equal(tapped.count, 1);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_text_line_has_priority_event_and_fields),
		TEST(text_values_are_quoted_where_they_would_be_misread),
		TEST(lines_above_the_level_are_left_out),
		TEST(a_json_line_is_one_object),
		TEST(json_strings_are_escaped),
		TEST(what_is_not_utf8_is_replaced_in_json),
		TEST(the_tap_gets_what_a_json_line_says),
		TEST(the_tap_has_a_level_of_its_own),
	};

	return cmocka_run_group_tests_name("log", tests, NULL, NULL);
}
