/* SPDX-License-Identifier: Apache-2.0 */

#include "ask.h"

#include "wherry/assert.h"

void wh_ask_answer(struct wh_ask *ask, json_t *answer)
{
	json_t *json = answer ? answer : json_object();

	wh_assert(json);
	(void)json_object_set_new(json, "ok", json_true());
	ask->reply(ask, json);
}

static void refuse(struct wh_ask *ask, const char *why)
{
	json_t *json = json_pack("{s:b, s:s}", "ok", 0, "error", why);

	wh_assert(json); /* the words of errors are plain text */
	ask->reply(ask, json);
}

void wh_ask_refuse(struct wh_ask *ask, const struct wh_error *err)
{
	refuse(ask, err->text);
}

void wh_ask_pass(struct wh_ask *ask, json_t *answer, const char *why)
{
	if (answer)
		ask->reply(ask, answer);
	else
		refuse(ask, why);
}
