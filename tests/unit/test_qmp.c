/* SPDX-License-Identifier: Apache-2.0 */

/* What a line of a QEMU is. */

#include "qmp.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static int classify(struct wh_qmp_line *ret, json_t **json, const char *text)
{
	struct wh_error err;
	int r = wh_json_parse(json, text, strlen(text), &err);

	return r < 0 ? r : wh_qmp_classify(ret, *json, &err);
}

static void tells_the_kinds_of_lines_apart(void **state)
{
	static const struct {
		const char *text;
		enum wh_qmp_kind kind;
		const char *word;
	} cases[] = {
		{ "{\"QMP\": {\"version\": {}, \"capabilities\": [\"oob\"]}}", WH_QMP_GREETING,
		  NULL },
		{ "{\"return\": {}}", WH_QMP_RESULT, NULL },
		{ "{\"return\": [1, 2], \"id\": 7}", WH_QMP_RESULT, NULL },
		{ "{\"error\": {\"class\": \"GenericError\", \"desc\": \"no\"}}", WH_QMP_ERROR,
		  "no" },
		{ "{\"error\": {}}", WH_QMP_ERROR, "" },
		{ "{\"timestamp\": {}, \"event\": \"STOP\"}", WH_QMP_EVENT, "STOP" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		wh_cleanup(wh_json_unrefp) json_t *json = NULL;
		struct wh_qmp_line line = { 0 };

		assert_int_equal(classify(&line, &json, cases[i].text), 0);
		assert_int_equal(line.kind, cases[i].kind);
		if (cases[i].word)
			assert_string_equal(line.text, cases[i].word);
	}
}

static void an_event_may_have_data(void **state)
{
	wh_cleanup(wh_json_unrefp) json_t *json = NULL;
	struct wh_qmp_line line = { 0 };

	(void)state;
	assert_int_equal(classify(&line, &json,
	                          "{\"event\": \"MIGRATION\", \"data\": {\"status\": \"device\"}}"),
	                 0);
	assert_string_equal(wh_json_text(line.data, "status"), "device");
}

static void refuses_everything_else(void **state)
{
	static const char *const cases[] = {
		"", "7", "[]", "{}", "{\"QMP\": 1}", "{\"event\": 3}", "{\"return\": {}",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		wh_cleanup(wh_json_unrefp) json_t *json = NULL;
		struct wh_qmp_line line = { 0 };

		assert_int_equal(classify(&line, &json, cases[i]), -EPROTO);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tells_the_kinds_of_lines_apart),
		cmocka_unit_test(an_event_may_have_data),
		cmocka_unit_test(refuses_everything_else),
	};

	return cmocka_run_group_tests_name("qmp", tests, NULL, NULL);
}
