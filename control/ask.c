/* SPDX-License-Identifier: Apache-2.0 */

#include "ask.h"

#include <stdio.h>

#include "wherry/assert.h"

void wh_ask_answer(struct wh_ask *ask, json_t *answer)
{
	json_t *json = answer ? answer : json_object();

	wh_assert(json);
	(void)json_object_set_new(json, "ok", json_true());
	ask->reply(ask, json);
}

/* Words quote what was asked, and may be cut within a letter of more than one byte. */
static json_t *string_of(const char *why)
{
	char plain[WH_ERROR_TEXT_MAX];
	json_t *json = json_string(why);

	if (json)
		return json;
	(void)snprintf(plain, sizeof(plain), "%s", why);
	for (char *c = plain; *c; c++)
		if (*c < ' ' || *c > '~')
			*c = '?';
	return json_string(plain);
}

static void refuse(struct wh_ask *ask, const char *why)
{
	json_t *json = json_pack("{s:b, s:o}", "ok", 0, "error", string_of(why));

	wh_assert(json);
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
