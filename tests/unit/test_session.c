/* SPDX-License-Identifier: Apache-2.0 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "session.h"

struct move {
	enum wh_session_state from, to;
};

static const struct move legal[] = {
	{ WH_SESSION_OPENING, WH_SESSION_ATTACHING }, /* the source's way */
	{ WH_SESSION_OPENING, WH_SESSION_PRECOPY },   /* the target's way */
	{ WH_SESSION_OPENING, WH_SESSION_POSTCOPY },  /* resumed */
	{ WH_SESSION_OPENING, WH_SESSION_FAILED },
	{ WH_SESSION_ATTACHING, WH_SESSION_PRECOPY },
	{ WH_SESSION_ATTACHING, WH_SESSION_POSTCOPY }, /* the target's way */
	{ WH_SESSION_ATTACHING, WH_SESSION_LANDED },   /* the target's way, out of post-copy */
	{ WH_SESSION_ATTACHING, WH_SESSION_FAILED },
	{ WH_SESSION_PRECOPY, WH_SESSION_CONVERGED },
	{ WH_SESSION_PRECOPY, WH_SESSION_LANDED },    /* the target's way */
	{ WH_SESSION_PRECOPY, WH_SESSION_ATTACHING }, /* the target's way to post-copy */
	{ WH_SESSION_PRECOPY, WH_SESSION_FAILED },
	{ WH_SESSION_CONVERGED, WH_SESSION_LAST_PASS },
	{ WH_SESSION_CONVERGED, WH_SESSION_FAILED },
	{ WH_SESSION_LAST_PASS, WH_SESSION_LANDED },
	{ WH_SESSION_LAST_PASS, WH_SESSION_POSTCOPY },
	{ WH_SESSION_LAST_PASS, WH_SESSION_FAILED },
	{ WH_SESSION_POSTCOPY, WH_SESSION_ATTACHING }, /* the target's way */
	{ WH_SESSION_POSTCOPY, WH_SESSION_LANDED },
	{ WH_SESSION_POSTCOPY, WH_SESSION_FAILED },
};

static bool is_legal(enum wh_session_state from, enum wh_session_state to)
{
	for (size_t i = 0; i < sizeof(legal) / sizeof(legal[0]); i++)
		if (legal[i].from == from && legal[i].to == to)
			return true;
	return false;
}

static void exactly_the_legal_moves_are_allowed(void **state)
{
	(void)state;
	for (int from = 0; from < WH_SESSION_STATES; from++)
		for (int to = 0; to < WH_SESSION_STATES; to++)
			assert_int_equal(
				wh_session_may_move((enum wh_session_state)from,
			                            (enum wh_session_state)to),
				is_legal((enum wh_session_state)from, (enum wh_session_state)to));
}

static void a_session_starts_in_opening(void **state)
{
	const struct wh_stats stats = { 0 };

	(void)state;
	assert_int_equal(wh_stat_get(&stats, WH_STAT_STATE), WH_SESSION_OPENING);
}

static void a_move_is_published(void **state)
{
	struct wh_stats stats = { 0 };

	(void)state;
	wh_session_move(&stats, WH_SESSION_PRECOPY);
	assert_int_equal(wh_stat_get(&stats, WH_STAT_STATE), WH_SESSION_PRECOPY);
	wh_session_move(&stats, WH_SESSION_LANDED);
	assert_int_equal(wh_stat_get(&stats, WH_STAT_STATE), WH_SESSION_LANDED);
}

static void every_state_has_its_name(void **state)
{
	static const char *const names[] = { "opening",   "attaching", "precopy", "converged",
		                             "last-pass", "postcopy",  "landed",  "failed" };

	(void)state;
	assert_int_equal(sizeof(names) / sizeof(names[0]), WH_SESSION_STATES);
	for (int i = 0; i < WH_SESSION_STATES; i++)
		assert_string_equal(wh_session_state_name((enum wh_session_state)i), names[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(exactly_the_legal_moves_are_allowed),
		cmocka_unit_test(a_session_starts_in_opening),
		cmocka_unit_test(a_move_is_published),
		cmocka_unit_test(every_state_has_its_name),
	};

	return cmocka_run_group_tests_name("session", tests, NULL, NULL);
}
